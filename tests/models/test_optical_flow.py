"""Reading along a flow, least squares that find it, and what else flows are made of."""

import pytest
import torch

from eon_utils.models import optical_flow
from eon_utils.models.optical_flow import (
    dominant_motion,
    in_frame,
    invert_flow,
    lucas_kanade,
    neighbours,
    pixel_grid,
    remove_brightness_change,
    solve_linear,
    upsample_flow,
    warp,
    window_mean,
)


def constant(dx, dy, height=16, width=16):
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, height, width)


def ends(ways):
    """Where ways (N, K, 2, H, W) end, (N, K, H, W, 2)."""
    return pixel_grid(ways) + ways.permute(0, 1, 3, 4, 2)


def test_warp_reads_at_a_distance():
    frame = torch.rand(1, 3, 16, 16)
    read = warp(frame, constant(2.0, 1.0))
    assert torch.allclose(read[..., :-1, :-2], frame[..., 1:, 2:], atol=1e-5)
    assert torch.allclose(read[..., -1, -1], frame[..., -1, -1], atol=1e-5), "the border goes on"


def test_what_is_made_once_serves_any_mode_and_type():
    frame = torch.rand(1, 3, 20, 28)  # a size that no other test has
    with torch.inference_mode():
        warp(frame, constant(0.5, 0.5, 20, 28))
    flow = constant(0.5, 0.5, 20, 28).clone().requires_grad_()
    warp(frame, flow).square().sum().backward()
    assert flow.grad is not None and flow.grad.abs().max() > 0
    assert pixel_grid(frame) is pixel_grid(frame)
    assert pixel_grid(frame.double()).dtype == torch.float64


def test_a_window_has_the_mean_of_its_pixels():
    x = torch.rand(2, 3, 12, 16)
    for radius in (1, 2, 3):
        middle = x[..., 6 - radius : 7 + radius, 8 - radius : 9 + radius].mean((2, 3))
        assert torch.allclose(window_mean(x, radius)[..., 6, 8], middle, atol=1e-6)


def test_at_the_border_a_window_ends():
    x = torch.rand(2, 3, 12, 16)
    corner = x[..., :2, :3].mean((2, 3))
    assert torch.allclose(window_mean(x, 1)[..., 0, 1], corner, atol=1e-6)


def test_upsampling_keeps_values():
    assert torch.equal(upsample_flow(constant(1.5, -2.0)), constant(1.5, -2.0, 32, 32))


def test_steps_of_least_squares_find_a_small_shift(moving):
    clip = moving(0.6, -0.4, frames=2)
    before, last = clip.unbind(1)
    shift = torch.zeros(1, 2, 64, 64)
    for _ in range(8):
        seen = in_frame(ends(shift[:, None]))
        shift = shift + lucas_kanade(last, warp(before, shift), shift, seen, rounds=8)
    inner = (slice(None), slice(8, -8), slice(8, -8))
    error = (shift[0][inner] - torch.tensor([-0.6, 0.4])[:, None, None]).norm(dim=0)
    difference = (before - last)[0][inner][0].abs()
    moved = difference > difference.median()  # elsewhere it is the neighbours' mean
    assert error[moved].median() < 0.2


def test_what_is_not_seen_moves_as_its_neighbours(moving):
    before, last = moving(0.6, -0.4, frames=2).unbind(1)
    shift = constant(1.0, 1.0, 64, 64)
    nothing = torch.zeros(1, 1, 64, 64)
    change = lucas_kanade(last, warp(before, shift), shift, nothing, rounds=8)
    assert change.abs().max() < 1e-5


def test_a_flow_is_turned_round(moving):
    before, last = moving(2.0, -1.0, frames=2).unbind(1)
    forward = invert_flow(constant(-1.5, 0.5, 64, 64), last, before)
    error = forward[0, :, 16:-16, 16:-16] - torch.tensor([2.0, -1.0])[:, None, None]
    assert error.norm(dim=0).median() < 0.2


def test_most_of_a_flow_is_affine_whatever_a_part_does():
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    affine = torch.stack([1 + 0.05 * x - 0.02 * y, -0.5 + 0.03 * y])[None].repeat(2, 1, 1, 1)
    disturbed = affine.clone()
    disturbed[:, :, :12, :20] = 5.0  # something else moves there
    assert (dominant_motion(disturbed) - affine).abs().max() < 0.1


def test_a_change_of_light_is_removed():
    difference = torch.zeros(1, 3, 16, 16)
    difference[..., :4, :4] = 0.7
    assert torch.allclose(remove_brightness_change(difference + 0.2), difference, atol=1e-6)


def test_ways_that_leave_the_frame_are_known():
    ways = torch.stack([constant(-1.0, 0.0), constant(4.0, 0.0)], 1)
    inside = in_frame(ends(ways))[0, 0]
    assert inside[:, 1:12].all()
    assert not inside[:, 0].any(), "the first way ends on the left of it"
    assert not inside[:, 12:].any(), "the second one on the right"


@pytest.mark.parametrize("size", [(16, 16), (5, 24), (1, 2)])
def test_the_median_is_that_of_5x5_vectors(size):
    flow = torch.randn(2, 2, *size).round(decimals=1)  # some are equal
    assert torch.equal(optical_flow._median(flow), neighbours(flow, 5).median(0).values)


@pytest.mark.parametrize("count", [3, 5, 9, 24, 25, 49])
def test_a_median_network_finds_the_median(count):
    rows = list(torch.randn(count, 200).unbind(0))
    sought = torch.stack(rows).sort(0).values[count // 2]
    for low, high in optical_flow._median_network(count):
        rows[low], rows[high] = rows[low].minimum(rows[high]), rows[low].maximum(rows[high])
    assert torch.equal(rows[count // 2], sought)


def test_neighbours_come_row_by_row():
    flow = torch.rand(2, 2, 12, 16)
    around = neighbours(flow, 3, apart=2)
    assert around.shape == (9, 2, 2, 12, 16)
    assert torch.equal(around[4], flow)
    assert torch.equal(around[0, ..., 2:, 2:], flow[..., :-2, :-2]), "the first: up and left"
    assert torch.equal(around[5, ..., :-2], flow[..., 2:]), "after a place's own: the right one"


def test_elimination_solves():
    rng = torch.Generator().manual_seed(0)
    factor = torch.randn(2, 7, 5, 5, generator=rng)
    right = torch.randn(2, 7, 5, generator=rng)
    matrix = factor @ factor.mT + torch.eye(5)
    assert torch.allclose(solve_linear(matrix, right), torch.linalg.solve(matrix, right), atol=1e-4)
