"""Moving leaves and pans: clips from a seed, flow that carries a frame onto the next, nothing shared held out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eon_utils.data import dead_leaves as motion
from eon_utils.data.photos import HELD_OUT_PHOTOS, TRAINING_PHOTOS
from eon_utils.evaluation.metrics import psnr
from eon_utils.data.dead_leaves import leaves, pans

SOURCES = pytest.mark.parametrize("source", [leaves, pans])


def carried_back(following, flow):
    """(N, 3, H, W) frames read where `flow` (N, 2, H, W) says that the surfaces of the frame before went."""
    side = flow.shape[-1]
    centres = torch.arange(side) + 0.5
    place = torch.stack(torch.meshgrid(centres, centres, indexing="xy")) + flow
    grid = (2 * place / side - 1).permute(0, 2, 3, 1)
    return F.grid_sample(following, grid, padding_mode="border", align_corners=False)


@SOURCES
def test_a_clip_depends_on_seed_and_index_alone(source):
    several = source(4, frames=3, size=32, seed=5, start=7)
    assert several.shape == (4, 3, 3, 32, 32) and several.dtype == torch.float32
    assert torch.equal(several[1:3], source(2, 3, 32, seed=5, start=8))
    assert torch.equal(several, source(4, 3, 32, seed=5, start=7, flow=True)[0])
    assert not torch.equal(several[0], several[1])
    assert not torch.equal(several[0], source(1, 3, 32, seed=6, start=7)[0])


@SOURCES
def test_clips_are_rgb_in_unit_range_and_move(source):
    clips = source(60)
    assert clips.min() >= 0 and clips.max() <= 1 and clips.isfinite().all()
    still = psnr(clips[:, 0], clips[:, 1])
    assert 15 < still.median() < 30 and still.max() > 30  # most move, some barely


@SOURCES
def test_flow_carries_each_frame_onto_the_next(source):
    clips, flow, hidden = source(40, flow=True)
    assert flow.shape == (40, 4, 2, 64, 64) and flow.dtype == torch.float32
    assert hidden.shape == (40, 4, 1, 64, 64) and hidden.dtype == torch.bool
    now, following = clips[:, 2], clips[:, 3]
    carried = carried_back(following, flow[:, 2])
    error = (carried - now).square().mean(1, keepdim=True)
    stays = (following - now).square().mean(1, keepdim=True)
    seen = ~hidden[:, 2]
    assert error[seen].mean() < 0.15 * stays[seen].mean()
    assert error[seen].median() < 1e-4
    wrong = carried_back(following, -flow[:, 2])
    assert (wrong - now).square().mean() > 5 * error[seen].mean()


def test_occlusions_are_where_flow_fails():
    clips, flow, hidden = leaves(40, flow=True)
    error = (carried_back(clips[:, 1], flow[:, 0]) - clips[:, 0]).square().mean(1, keepdim=True)
    inside = F.pad(torch.ones(1, 1, 48, 48), (8, 8, 8, 8)).bool().expand_as(error)  # what another leaf hides
    assert error[hidden[:, 0] & inside].mean() > 10 * error[~hidden[:, 0] & inside].mean()
    assert 0.01 < hidden.float().mean() < 0.2


def test_the_flow_of_a_pan_is_one_similarity():
    _, flow, _ = pans(10, size=32, flow=True)
    centres = torch.arange(32) + 0.5
    x, y = torch.meshgrid(centres, centres, indexing="xy")
    # dx = a x - b y + c and dy = b x + a y + d: four numbers for all pixels
    ones, none = torch.ones_like(x), torch.zeros_like(x)
    basis = torch.stack([torch.stack([x, -y, ones, none]), torch.stack([y, x, none, ones])], 1).flatten(1).T
    for field in flow[:, 0].flatten(1):
        fitted = torch.linalg.lstsq(basis, field[:, None]).solution
        assert (basis @ fitted - field[:, None]).abs().max() < 1e-3


def test_clips_accelerate_turn_and_zoom():
    _, flow, _ = leaves(60, flow=True)
    middle = flow[..., 31:33, 31:33].mean((-1, -2))
    assert (middle[:, 3] - middle[:, 0]).norm(dim=1).median() > 0.05
    _, flow, _ = pans(60, flow=True)
    across = flow[:, 0, :, 32, -1] - flow[:, 0, :, 32, 0]  # dx differs: zoom, dy differs: turn
    assert (across.abs() > 0.3).float().mean(0).min() > 0.2


def test_light_changes_in_some_clips():
    clips = leaves(200, size=32)
    change = (clips[:, -1].mean((1, 2, 3)) - clips[:, 0].mean((1, 2, 3))).abs()
    assert 0.1 < (change > 0.05).float().mean() < 0.5


def test_speed_is_a_limit():
    _, slow, _ = leaves(30, flow=True, speed=1)
    _, fast, _ = leaves(30, flow=True, speed=8)
    assert slow.norm(dim=2).mean() < fast.norm(dim=2).mean() / 4


def test_held_out_leaves_have_other_numbers_and_other_textures():
    assert not torch.equal(leaves(1), leaves(1, train=False))
    # Steps between neighbours: the clouds themselves have so few waves that any two of them are somewhat alike.
    steps = [np.diff(motion._textures(train)[:, ::8].astype(np.float32)) for train in (True, False)]
    ours, theirs = (step.reshape(motion.TEXTURES, -1) for step in steps)
    assert np.abs(np.corrcoef(ours, theirs)[: len(ours), len(ours) :]).max() < 0.2


def test_held_out_pans_take_other_photographs(monkeypatch):
    taken = set()
    original = motion._pyramid
    monkeypatch.setattr(motion, "_pyramid", lambda name: taken.add(name) or original(name))
    pans(100, size=16)
    assert taken == set(TRAINING_PHOTOS)
    taken.clear()
    pans(100, size=16, train=False)
    assert taken == set(HELD_OUT_PHOTOS) and not taken & set(TRAINING_PHOTOS)


def test_a_photograph_stays_in_view():
    # A border that is repeated shows as rows or columns that do not change: none of a textured photograph does.
    clips = pans(100, size=32, names=("grass", "gravel"), speed=8)
    for edges in (clips[..., :2, :], clips[..., -2:, :], clips[..., :2].mT, clips[..., -2:].mT):
        assert (edges[..., 0, :] - edges[..., 1, :]).abs().mean(-1).min() > 1e-4


@SOURCES
@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 2, "start": -1}])
def test_wrong_counts_are_named(source, wrong):
    with pytest.raises(ValueError, match=next(k for k in ("start", "count") if k in wrong)):
        source(**wrong)


def test_unknown_photographs_are_named():
    with pytest.raises(ValueError, match="mona_lisa"):
        pans(1, names=("mona_lisa",))
