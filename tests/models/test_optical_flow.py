"""Reading along a flow, least squares that find it, and what else flows are made of."""

import torch

from eon_utils.models.optical_flow import (
    box_filter,
    dominant_motion,
    in_frame,
    lucas_kanade,
    mix_neighbours,
    neighbours,
    refine_flow_from_zero,
    remove_brightness_change,
    solve_linear,
    upsample_flow,
    warp,
)


def constant(dx, dy, height=16, width=16):
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, height, width)


def test_warp_reads_at_a_distance():
    frame = torch.rand(1, 3, 16, 16)
    read = warp(frame, constant(2.0, 1.0))
    assert torch.allclose(read[..., :-1, :-2], frame[..., 1:, 2:], atol=1e-5)
    assert torch.allclose(read[..., -1, -1], frame[..., -1, -1], atol=1e-5), "the border goes on"


def test_a_box_is_the_mean_of_its_window():
    x = torch.rand(2, 3, 12, 16)
    for radius in (1, 2, 3):
        padded = torch.nn.functional.pad(x, [radius] * 4, mode="replicate")
        means = torch.nn.functional.avg_pool2d(padded, 2 * radius + 1, 1)
        assert torch.allclose(box_filter(x, radius), means, atol=1e-6)


def test_upsampling_keeps_values():
    assert torch.equal(upsample_flow(constant(1.5, -2.0)), constant(1.5, -2.0, 32, 32))


def test_steps_of_least_squares_find_a_small_shift(moving):
    clip = moving(0.6, -0.4, frames=3)
    flow = torch.zeros(1, 2, 64, 64)
    for _ in range(8):
        flow = flow + lucas_kanade(warp(clip[:, 1], flow), warp(clip[:, 0], 2 * flow), flow)
    inner = (slice(None), slice(8, -8), slice(8, -8))
    error = (flow[0][inner] - torch.tensor([-0.6, 0.4])[:, None, None]).norm(dim=0)
    difference = (clip[0, 1][inner] - clip[0, 0][inner])[0].abs()
    moved = difference > difference.median()  # elsewhere it is the neighbours' mean
    assert error[moved].median() < 0.2


def test_rest_is_tried_where_the_coarser_level_was_wrong(moving):
    clip = moving(0.3, -0.2, frames=3)
    last, before = clip[:, 1], clip[:, 0]
    wrong = torch.full((1, 2, 64, 64), 5.0)
    zeros = torch.zeros_like(wrong)
    from_wrong = refine_flow_from_zero(last, before, wrong, zeros)
    assert from_wrong.norm(dim=1).median() < 1, "nearer to rest than to what the coarser level said"
    from_rest = refine_flow_from_zero(last, before, zeros, zeros)
    alike = torch.allclose(from_wrong, from_rest, atol=0.5)
    assert alike or (from_wrong - from_rest).norm(dim=1).median() < 0.1


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


def test_vectors_that_leave_the_frame_are_known():
    inside = in_frame(constant(2.0, 0.0))[0, 0]
    assert inside[:, :12].all(), "twice the flow is four pixels"
    assert not inside[:, 12:].any()


def test_neighbours_come_row_by_row():
    flow = torch.rand(2, 2, 12, 16)
    around = neighbours(flow, 3, apart=2)
    assert around.shape == (9, 2, 2, 12, 16)
    assert torch.equal(around[4], flow)
    assert torch.equal(around[0, ..., 2:, 2:], flow[..., :-2, :-2]), "the first: up and left"
    assert torch.equal(around[5, ..., :-2], flow[..., 2:]), "after a place's own: the right one"


def test_a_mean_of_neighbours_is_weighted_by_their_logits():
    flow = torch.rand(2, 2, 12, 16)
    around = neighbours(flow, 3)
    for index in (0, 4, 7):
        logits = torch.zeros(2, 9, 12, 16)
        logits[:, index] = 50.0
        assert torch.allclose(mix_neighbours(flow, logits), around[index], atol=1e-5)
    even = mix_neighbours(flow, torch.zeros(2, 9, 12, 16))
    assert torch.allclose(even, around.mean(0), atol=1e-5)


def test_elimination_solves():
    rng = torch.Generator().manual_seed(0)
    factor = torch.randn(2, 7, 5, 5, generator=rng)
    right = torch.randn(2, 7, 5, generator=rng)
    matrix = factor @ factor.mT + torch.eye(5)
    assert torch.allclose(solve_linear(matrix, right), torch.linalg.solve(matrix, right), atol=1e-4)
