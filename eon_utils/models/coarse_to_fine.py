"""Classical flow between frames at any two times: least squares, from coarse to fine."""

from __future__ import annotations

import torch
from torch import Tensor

from eon_utils.models.optical_flow import (
    global_mean,
    in_frame,
    lucas_kanade,
    pixel_grid,
    read_at,
    remove_brightness_change,
    upsample_flow,
    warp,
    window_mean,
)

ROUNDS = 6  # of smoothing in a step of least squares
COARSEST_STEPS = 3  # of least squares
STEPS = 1  # at the levels below it
FINEST_STEPS = 2
RIVAL_STEPS = 2  # from the coarser level's velocity, and from rest
ROUNDING = 1e-6


@torch.no_grad()
def coarse_to_fine(pyramid: list[Tensor], times: Tensor) -> list[Tensor]:
    """How fast what is seen at each place at time 0 moves, found in two frames at other times.

    At each level but the ends, steps of least squares start from the coarser level's velocity, and
    from rest, and each place keeps what makes the frames more alike. Where a coarser level was
    wrong, nobody is bound by it.

    Args:
        pyramid: fine to coarse, two frames (N, 2, 3, h, w) at each level.
        times: of the two frames, (N, 2), different.

    Returns:
        Fine to coarse, (N, 2, h, w): (dx, dy) in pixels of the level for each step of time.
    """
    times = times[:, :, None, None, None]  # (N, 2, 1, 1, 1)
    apart = times[:, 1] - times[:, 0]  # (N, 1, 1, 1)
    coarsest = pyramid[-1]
    velocity = coarsest.new_zeros(coarsest.shape[0], 2, *coarsest.shape[-2:])
    velocity = _refine(coarsest, times, apart, velocity, COARSEST_STEPS)
    velocities = [velocity]
    for level in reversed(range(len(pyramid) - 1)):
        pair = pyramid[level]
        velocity = 2 * upsample_flow(velocity)
        steps = FINEST_STEPS
        if level:
            velocity = _refine_from_rest_too(pair, times, apart, velocity)
            steps = STEPS
        velocity = _refine(pair, times, apart, velocity, steps)
        velocities.append(velocity)
    return velocities[::-1]


def read_along(frames: Tensor, ways: Tensor) -> Tensor:
    """Frames (N, K, C, h, w), each read along a way of its own, (N, K, 2, h, w)."""
    read = warp(frames.flatten(0, 1), ways.flatten(0, 1))
    return read.view(frames.shape)


def _places(times: Tensor, velocity: Tensor) -> Tensor:
    """Where a velocity (N, 2, h, w) leads at times (N, K, 1, 1, 1), (N, K, h, w, 2)."""
    by_place = velocity.permute(0, 2, 3, 1)[:, None]  # (N, 1, h, w, 2)
    return torch.addcmul(pixel_grid(velocity), times, by_place)


def _read(frames: Tensor, places: Tensor) -> Tensor:
    """Frames (N, K, C, h, w), each at places of its own, (N, K, h, w, 2)."""
    return read_at(frames.flatten(0, 1), places.flatten(0, 1)).view(frames.shape)


def _refine(pair: Tensor, times: Tensor, apart: Tensor, velocity: Tensor, steps: int) -> Tensor:
    """Steps of least squares, and no velocity above half a frame for each step of time."""
    limit = max(velocity.shape[-2:]) / 2
    for _ in range(steps):
        velocity = velocity + _update(pair, times, apart, velocity)
    return velocity.clamp(-limit, limit)


def _refine_from_rest_too(pair: Tensor, times: Tensor, apart: Tensor, velocity: Tensor) -> Tensor:
    """Steps from the velocity so far and steps from rest; each place keeps the better one.

    Better is the one by which 7x7 pixels around a place, and the whole frame, are more alike.
    """
    pair = torch.cat([pair, pair])  # (2 N, 2, 3, h, w): from the velocity, from rest
    times = torch.cat([times, times])
    apart = torch.cat([apart, apart])
    velocity = torch.cat([velocity, torch.zeros_like(velocity)])
    for _ in range(RIVAL_STEPS):
        velocity = velocity + _update(pair, times, apart, velocity)
    first, second = _read(pair, _places(times, velocity)).unbind(1)  # (2 N, 3, h, w) each
    difference = remove_brightness_change(first - second)
    error = difference.square().sum(1, keepdim=True)  # (2 N, 1, h, w)
    error = (error + ROUNDING).sqrt()
    cost = window_mean(error, 3) + global_mean(error)
    half = pair.shape[0] // 2
    cost_moving, cost_from_rest = cost[:half], cost[half:]
    moving, from_rest = velocity[:half], velocity[half:]
    return torch.where(cost_from_rest < cost_moving, from_rest, moving)


def _update(pair: Tensor, times: Tensor, apart: Tensor, velocity: Tensor) -> Tensor:
    """A step of least squares: the change of velocity that makes both frames alike.

    Args:
        pair: two frames, (N, 2, 3, h, w).
        times: of them, (N, 2, 1, 1, 1).
        apart: time from the first to the second, (N, 1, 1, 1).
        velocity: so far, (N, 2, h, w).

    Returns:
        (N, 2, h, w).
    """
    places = _places(times, velocity)  # (N, 2, h, w, 2)
    first, second = _read(pair, places).unbind(1)  # (N, 3, h, w) each
    change = lucas_kanade(first, second, apart * velocity, in_frame(places), ROUNDS)
    return change / apart
