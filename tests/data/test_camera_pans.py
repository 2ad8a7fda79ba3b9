"""Pans: one motion for all pixels, which photographs they show, and that these fill the view."""

import pytest
import torch

from eon_utils.data import camera_pans
from eon_utils.data.camera_pans import MOVES, CameraPans, LabelledMoves
from eon_utils.data.photos import HELD_OUT_PHOTOS, TRAINING_PHOTOS


def test_the_flow_of_a_pan_is_one_similarity():
    _, flow, _ = CameraPans(10, size=32, flow=True).stack()
    centres = torch.arange(32) + 0.5
    x, y = torch.meshgrid(centres, centres, indexing="xy")
    # dx = a x - b y + c and dy = b x + a y + d: four numbers for all pixels
    ones, zeros = torch.ones_like(x), torch.zeros_like(x)
    of_dx = torch.stack([x, -y, ones, zeros])
    of_dy = torch.stack([y, x, zeros, ones])
    basis = torch.stack([of_dx, of_dy], 1).flatten(1).T
    for field in flow[:, 0].flatten(1):
        solution = torch.linalg.lstsq(basis, field[:, None]).solution
        assert (basis @ solution - field[:, None]).abs().max() < 1e-3


def test_pans_turn_and_zoom():
    _, flow, _ = CameraPans(60, flow=True).stack()
    across = flow[:, 0, :, 32, -1] - flow[:, 0, :, 32, 0]  # dx differs: zoom, dy differs: turn
    assert (across.abs() > 0.3).float().mean(0).min() > 0.2


@pytest.mark.parametrize("source", [CameraPans, LabelledMoves])
def test_held_out_clips_take_other_photographs(source, monkeypatch):
    taken = set()
    original = camera_pans._pyramid
    monkeypatch.setattr(camera_pans, "_pyramid", lambda name: taken.add(name) or original(name))
    source(100, size=16).stack()
    assert taken == set(TRAINING_PHOTOS)
    taken.clear()
    source(100, size=16, train=False).stack()
    assert taken == set(HELD_OUT_PHOTOS) and not taken & set(TRAINING_PHOTOS)


def test_a_photograph_stays_in_view():
    # A border that is repeated shows as rows or columns that do not change: none of a textured
    # photograph does.
    clips = CameraPans(100, size=32, names=("grass", "gravel"), speed=8).stack()
    for edges in (clips[..., :2, :], clips[..., -2:, :], clips[..., :2].mT, clips[..., -2:].mT):
        assert (edges[..., 0, :] - edges[..., 1, :]).abs().mean(-1).min() > 1e-4


def test_unknown_photographs_are_named_at_once():
    with pytest.raises(ValueError, match="mona_lisa"):
        CameraPans(1, names=("mona_lisa",))


def test_moves_take_turns():
    clips, labels = LabelledMoves(15, frames=3, size=16, start=12).stack()
    assert clips.shape == (15, 3, 3, 16, 16) and clips.dtype == torch.float32
    assert clips.min() >= 0 and clips.max() <= 1
    assert labels.tolist() == [12, *range(13), 0] and len(MOVES) == 13
