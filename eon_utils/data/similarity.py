"""Motions of leaves and cameras: similarities (shift, turn and zoom) of the plane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Similarity:
    """The map u -> A u + b of points of the plane, in pixels; or an array of such maps.

    Pixel centres are at whole numbers and a half.

    Attributes:
        matrix: A, (..., 2, 2).
        shift: b, (..., 2).

    Examples:
        >>> quarter = Similarity(turn_and_zoom(np.array(np.pi / 2), np.array(2.0)), np.ones(2))
        >>> quarter(np.array([1.0, 0.0])).round(6).tolist()
        [1.0, 3.0]
        >>> quarter.inverse()(np.array([1.0, 3.0])).round(6).tolist()
        [1.0, 0.0]
    """

    matrix: np.ndarray
    shift: np.ndarray

    def __getitem__(self, index: Any) -> Similarity:  # noqa: ANN401  # whatever an array takes
        return Similarity(self.matrix[index], self.shift[index])

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 2) are mapped to, (..., 2)."""
        first_column, second_column = np.moveaxis(self.matrix, -1, 0)  # (..., 2) each
        x, y = np.moveaxis(points, -1, 0)[..., None]  # (..., 1) each
        return first_column * x + second_column * y + self.shift

    def inverse(self) -> Similarity:
        """The maps back."""
        matrix = np.linalg.inv(self.matrix)
        return Similarity(matrix, -np.einsum("...ij,...j->...i", matrix, self.shift))


def direction(angle: float | np.ndarray) -> np.ndarray:
    """Angles in radians, (...) -> unit vectors (..., 2)."""
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def turn_and_zoom(angle: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Angles in radians and scales, (...) -> matrices (..., 2, 2)."""
    c = scale * np.cos(angle)
    s = scale * np.sin(angle)
    first_row = np.stack([c, -s], -1)  # (..., 2)
    second_row = np.stack([s, c], -1)
    return np.stack([first_row, second_row], -2)  # (..., 2, 2)


def random_motions(
    rng: np.random.Generator, count: int, frames: int, speed: float, jitter: float
) -> Similarity:
    """Smooth random motions.

    Their velocities are log-uniform from a twentieth of `speed` to `speed`: creeping is as common
    as haste.

    Args:
        rng: decides everything.
        count: how many.
        frames: T.
        speed: largest velocity in the middle of the clip, in pixels a frame.
        jitter: how much each velocity changes from frame to frame, as a share of itself.

    Returns:
        An array (T, count) of similarities.
    """
    time = np.arange(frames)[:, None] - (frames - 1) / 2  # (T, 1), 0 in the middle
    pace = speed * 20 ** -rng.random(count)  # (N,) pixels a frame
    heading = rng.random(count) * 2 * np.pi
    velocity = pace[:, None] * direction(heading)  # (N, 2)
    acceleration = 0.1 * pace[:, None] * rng.normal(size=(count, 2))
    turn, zoom = 0.015 * pace * rng.normal(size=(2, count))  # (N,) radians a frame; half of it: log
    travelled = time[..., None] * velocity  # (T, N, 2)
    shift = travelled + 0.5 * time[..., None] ** 2 * acceleration
    if jitter:
        steps = rng.normal(size=shift.shape)
        shift += jitter * pace[:, None] * steps.cumsum(0)
    matrix = turn_and_zoom(time * turn, np.exp(0.5 * time * zoom))  # (T, N, 2, 2)
    return Similarity(matrix, shift)


def clip_jitter(rng: np.random.Generator, jitter: float) -> float:
    """A clip's own jitter: none in half of the clips, else up to `jitter`.

    Nothing is drawn where `jitter` is 0.
    """
    return jitter * max(0.0, rng.uniform(-1, 1)) if jitter else 0.0


@lru_cache(maxsize=4)
def pixel_centres(size: int, oversampling: int = 1) -> np.ndarray:
    """Centres of the samples of a square frame: (side, side, 2), x and y in pixels, float32."""
    centres = (np.arange(size * oversampling, dtype=np.float32) + 0.5) / oversampling
    grid = np.stack(np.meshgrid(centres, centres), -1)
    grid.flags.writeable = False
    return grid


def channels_third(array: np.ndarray) -> Tensor:
    """(T, H, W, C) -> a tensor (T, C, H, W), the same numbers in memory."""
    return torch.from_numpy(array).movedim(-1, 1)
