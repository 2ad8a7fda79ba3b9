"""What a model has to beat: linear codes and JPEG; copies, straight lines and optical flow."""

import pytest
import torch

import eon_utils as eon
from eon_utils import copy_last, flow_extrapolation, next_frame_psnr, psnr
from eon_utils.evaluation.baselines import linear_extrapolation


@pytest.fixture(scope="module")
def pictures():
    return eon.dead_leaves_images(24)


@pytest.fixture(scope="module")
def pans():
    return eon.CameraPans(4, frames=6, seed=1).stack()


def middle(images, border):
    """Images without their borders, so many pixels wide."""
    inner = slice(border, -border)
    return images[..., inner, inner]


# --- codes of pictures ---


def test_patch_pca_keeps_everything_with_all_numbers(pictures):
    pca = eon.PatchPCA(pictures, patch=16)
    assert torch.allclose(pca(pictures, 12288), pictures, atol=1e-4)
    codes = [pca(pictures, size) for size in (128, 512, 2048)]
    quality = [psnr(code, pictures).mean() for code in codes]
    assert quality == sorted(quality)


def test_patch_pca_has_orthogonal_directions_strongest_first(pictures):
    pca = eon.PatchPCA(pictures, patch=8)
    products = pca.directions.T @ pca.directions
    assert torch.allclose(products, torch.eye(192), atol=1e-4)
    strongest = pca.directions[:, 0]
    assert strongest.std() < 0.2 * strongest.abs().mean(), "the brightness"


def test_jpeg_keeps_to_its_budget(pictures):
    some = pictures[:3]
    few = psnr(eon.jpeg(some, 600), some).mean()
    many = psnr(eon.jpeg(some, 3000), some).mean()
    assert few < many
    assert (eon.jpeg(pictures[:1], 10) == 0.5).all()


# --- the next frame ---


def test_steady_change_goes_on():
    frames = [torch.full((1, 3, 16, 16), level) for level in (0.0, 0.2, 0.4, 0.6, 0.9)]
    clips = torch.stack(frames, 1)
    predicted = linear_extrapolation(clips[:, :3])
    assert torch.allclose(predicted, frames[3])
    assert torch.equal(copy_last(clips[:, :3]), frames[2])
    assert linear_extrapolation(clips).max() == 1, "clipped"


def test_flow_beats_the_others_where_things_move(pans):
    copied = next_frame_psnr(copy_last, pans)
    linear = next_frame_psnr(linear_extrapolation, pans)
    flow = next_frame_psnr(flow_extrapolation, pans)
    assert flow > max(copied, linear) + 3
    assert list(eon.FRAME_BASELINES) == ["copy last", "linear", "optical flow"]


def test_optical_flow_moves_by_what_moved(pans):
    first, last, target = (pans[:1, 0].roll(shift, -1) for shift in (0, 2, 4))
    predicted = flow_extrapolation(torch.stack([first, last], 1))
    target = middle(target, 8)
    copied = psnr(middle(last, 8), target)
    assert psnr(middle(predicted, 8), target) > copied + 8


def test_optical_flow_leaves_a_still_alone(pans):
    picture = pans[:1, 0]
    still = torch.stack([picture, picture, picture], 1)
    assert torch.equal(flow_extrapolation(still), picture)


def test_frames_may_be_wider_than_high(pans):
    clips = pans[..., :32, :]
    assert flow_extrapolation(clips).shape == (4, 3, 32, 64)
    assert eon.forward_flow(clips).shape == (4, 2, 32, 64)


@pytest.mark.parametrize("method", ["dis", "tvl1"])
def test_forward_flow_sees_a_moved_picture(method):
    large = eon.photos((80, 80), ("astronaut",))
    frames = [middle(large.roll(2 * frame, -1), 8) for frame in range(4)]
    flow = eon.forward_flow(torch.stack(frames, 1), method)
    assert flow.shape == (1, 2, 64, 64)
    across, down = middle(flow[0], 16).mean((1, 2))
    assert abs(across - 2) < 0.4
    assert abs(down) < 0.4


def test_an_unknown_flow_is_named(pans):
    with pytest.raises(ValueError, match=r"method='raft' must be one of dis, tvl1"):
        eon.forward_flow(pans, "raft")
