"""Leaves and pans: clips that move, and a flow that carries each frame onto the next."""

import pytest
import torch
from flow_checks import carried_back

from eon_utils.data.camera_pans import CameraPans
from eon_utils.data.dead_leaves import DeadLeaves
from eon_utils.evaluation.metrics import psnr

both = pytest.mark.parametrize("source", [DeadLeaves, CameraPans])


@both
def test_clips_are_the_same_with_and_without_flow(source):
    clips = source(4, frames=3, size=32, seed=5, start=7).stack()
    assert torch.equal(clips, source(4, 3, 32, seed=5, start=7, flow=True).stack()[0])


@both
def test_clips_are_rgb_in_unit_range_and_move(source):
    clips = source(60).stack()
    assert clips.min() >= 0 and clips.max() <= 1 and clips.isfinite().all()
    still = psnr(clips[:, 0], clips[:, 1])
    assert 15 < still.median() < 30 and still.max() > 30  # most move, some barely


@both
def test_flow_carries_each_frame_onto_the_next(source):
    clips, flow, hidden = source(40, flow=True).stack()
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


@both
def test_flow_carries_the_first_frame_too(source):
    clips, flow, hidden = source(40, flow=True).stack()
    carried = carried_back(clips[:, 1], flow[:, 0])
    error = (carried - clips[:, 0]).square().mean(1, keepdim=True)
    assert error[~hidden[:, 0]].median() < 1e-4


@both
def test_one_frame_has_no_flow(source):
    clip, flow, hidden = source(1, frames=1, size=16, flow=True)[0]
    assert clip.shape == (1, 3, 16, 16)
    assert flow.shape == (0, 2, 16, 16) and hidden.shape == (0, 1, 16, 16)


@both
def test_half_of_the_clips_are_unsteady_with_jitter(source):
    _, steady, _ = source(40, frames=4, size=32, seed=2, flow=True).stack()
    _, shaky, _ = source(40, frames=4, size=32, seed=2, flow=True, jitter=1.0).stack()

    def acceleration(flow):
        return flow.mean((-1, -2)).diff(dim=1).norm(dim=2).mean(1)  # (N,)

    assert acceleration(shaky).mean() > 1.5 * acceleration(steady).mean()
    typical = acceleration(steady).quantile(0.9)
    assert 0.2 < (acceleration(shaky) < typical).float().mean() < 0.8
