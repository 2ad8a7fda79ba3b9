"""What moving leaves and a moving camera share: motions that are similarities (shift, turn and zoom).

The point u of a surface is seen in frame t at A_t u + b_t, in pixels, with pixel centres at whole numbers and a
half.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def similarity(angle: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Angles in radians and scales (...) -> matrices (..., 2, 2)."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


def random_motions(
    rng: np.random.Generator, count: int, frames: int, speed: float, jitter: float
) -> tuple[np.ndarray, np.ndarray]:
    """`count` smooth motions: matrices (frames, count, 2, 2) and shifts in pixels (frames, count, 2).

    Paces are log-uniform from a twentieth of `speed` to `speed`: creeping is as common as haste.
    """
    time = np.arange(frames)[:, None] - (frames - 1) / 2
    pace = speed * 20 ** -rng.random(count)
    heading = rng.random(count) * 2 * np.pi
    velocity = pace[:, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
    change = 0.1 * pace[:, None] * rng.normal(size=(count, 2))  # of the velocity, in each frame
    turn, zoom = 0.015 * pace * rng.normal(size=(2, count))
    shift = time[..., None] * velocity + 0.5 * time[..., None] ** 2 * change
    if jitter:
        shift += jitter * pace[:, None] * rng.normal(size=shift.shape).cumsum(0)
    return similarity(time * turn, np.exp(0.5 * time * zoom)), shift


def clip_jitter(rng: np.random.Generator, jitter: float) -> float:
    """A clip's own jitter: none in half of the clips, else up to `jitter`. Draws nothing where that is 0."""
    return jitter * max(0.0, rng.uniform(-1, 1)) if jitter else 0.0


def pixel_centres(size: int, oversampling: int = 1) -> np.ndarray:
    """Centres of the samples of a square frame: (side, side, 2), x and y in pixels."""
    centres = (np.arange(size * oversampling, dtype=np.float32) + 0.5) / oversampling
    return np.stack(np.meshgrid(centres, centres), -1)


def transform(matrix: np.ndarray, shift: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Matrices (..., 2, 2) and shifts (..., 2) on points (..., 2)."""
    x, y = points[..., 0], points[..., 1]
    return np.stack([matrix[..., k, 0] * x + matrix[..., k, 1] * y + shift[..., k] for k in (0, 1)], -1)


def invert(matrix: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inverse = np.linalg.inv(matrix)
    return inverse, -np.einsum("...ij,...j->...i", inverse, shift)


def channels_third(array: np.ndarray) -> Tensor:
    """(T, H, W, C) -> a tensor (T, C, H, W), the same numbers in memory."""
    return torch.from_numpy(array).movedim(-1, 1)
