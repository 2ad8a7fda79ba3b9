"""The fit to the past: weights of hypotheses, how the past judges them, and what they predict."""

import pytest
import torch

import eon_utils as eon
from eon_utils.models.coarse_to_fine import coarse_to_fine
from eon_utils.models.optical_flow import warp
from eon_utils.models.past_fit import fit_to_past, leave_one_out_weights, ridge_weights


def test_ridge_finds_the_weights_that_made_a_frame():
    rng = torch.Generator().manual_seed(0)
    hypotheses = torch.randn(2, 3, 4, 3, 32, 32, generator=rng)
    true = torch.tensor([0.5, -0.2, 0.0, 0.7])
    default = torch.tensor([0.9, 0.05, 0.0, 0.0])
    target = (hypotheses * true.view(4, 1, 1, 1)).sum(2)
    fitted = ridge_weights(hypotheses, target, default)
    assert (fitted - true.view(4, 1, 1)).abs().max() < 0.05
    nothing = ridge_weights(0 * hypotheses, 0 * target, default)
    expected = default.view(4, 1, 1).expand_as(nothing)
    assert torch.allclose(nothing, expected, atol=1e-5), "where nothing moved, the default stays"


def test_what_would_have_failed_on_the_past_counts_for_less():
    rng = torch.Generator().manual_seed(0)
    hypotheses = torch.randn(2, 1, 5, 3, 32, 32, generator=rng)
    default = torch.tensor([0.7, 0.05, 0.0, 0.0, 0.2])
    lawful = hypotheses[:, :, 1]
    fitted = ridge_weights(hypotheses, lawful, default)
    mixed = leave_one_out_weights(hypotheses, lawful, default)
    assert (mixed - fitted).abs().max() < 0.05

    fickle = torch.stack([3 * hypotheses[0, :, 1], -hypotheses[1, :, 1]])  # then its opposite
    fitted = ridge_weights(hypotheses, fickle, default)
    mixed = leave_one_out_weights(hypotheses, fickle, default)
    assert (mixed[:, 1] < 0.8 * fitted[:, 1]).all()


def test_one_frame_of_the_past_cannot_judge_itself():
    rng = torch.Generator().manual_seed(0)
    hypotheses = torch.randn(1, 2, 5, 3, 32, 32, generator=rng)
    target = hypotheses[:, :, 1]
    default = torch.tensor([0.7, 0.05, 0.0, 0.0, 0.2])
    fitted = ridge_weights(hypotheses, target, default)
    assert torch.equal(leave_one_out_weights(hypotheses, target, default), fitted)


def predictions(clip, pyramid):
    """The next frame of a clip (N, T, 3, H, W): by the fit, and by motion alone."""
    frames = clip.flip(1)[:, :4]  # the last one first
    fit = fit_to_past(pyramid(frames)).frame + 0.5
    times = torch.tensor([-1.0, -2.0]).expand(len(clip), 2)
    velocity = coarse_to_fine(pyramid(frames[:, :2]), times)[0]
    return fit, warp(clip[:, -1], -velocity)


@pytest.fixture(scope="module")
def pictures():
    return eon.CameraPans(4, 1, 64, seed=3, train=False).stack()[:, 0]


def test_what_stands_still_stays(pyramid, pictures):
    still = pictures[:, None].expand(-1, 4, -1, -1, -1)
    frame, _ = predictions(still, pyramid)
    assert (frame - pictures).abs().max() < 1e-3


def test_what_flickers_goes_on_flickering(pyramid, pictures):
    dark = 0.6 * pictures
    dark[..., 20:40, 20:40] = 0.9
    clip = torch.stack([pictures, dark, pictures, dark], 1)
    fit, plain = predictions(clip, pyramid)
    assert (eon.psnr(fit, pictures) > eon.psnr(plain, pictures) + 6).all()


def test_steady_motion_is_followed_as_by_motion_alone(pyramid, moving):
    clip = moving(1.5, -1.0, frames=5)
    fit, plain = predictions(clip[:, :4], pyramid)
    inner = (..., slice(8, -8), slice(8, -8))
    target = clip[:, 4][inner]
    assert eon.psnr(fit[inner], target) > eon.psnr(plain[inner], target) - 0.1
    assert eon.psnr(fit[inner], target) > eon.psnr(clip[:, 3][inner], target) + 10


def test_the_fit_says_how_wrong_motion_was(pyramid, moving, pictures):
    frames = moving(1.5, -1.0, frames=4).flip(1)
    steady = fit_to_past(pyramid(frames))
    frames = frames.clone()
    frames[:, 0] = pictures[0]  # nothing announced it
    abrupt = fit_to_past(pyramid(frames))
    assert abrupt.error.mean() > 20 * steady.error.mean()
    assert steady.error.shape == (1, 1, 64, 64)
    assert [velocity.shape[-1] for velocity in steady.velocities] == [64, 32, 16, 8, 4]
