"""Random changes to a clip, after which it is as good a clip to learn from as before."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def augment(clip: Tensor, rng: np.random.Generator, frames: int, reversible: bool = True) -> Tensor:
    """A clip to train on: a random part of `clip`, changed at random.

    Frames in a row; or, in one clip of eight, every second one; or, in one of ten, any in order. Time reversed,
    mirrored both ways and transposed, half of the time each. Four clips of ten are enlarged by up to 2.5 (what
    moves, then moves faster). Darker or brighter, and in four of ten with grain.

    Args:
        clip: (T, 3, S, S) in [0, 1].
        rng: decides everything.
        frames: how many to keep, at most T.
        reversible: whether time may run backwards.

    Returns:
        (frames, 3, S, S) in [0, 1].
    """
    clip = clip[_moments(rng, len(clip), frames)]
    clip = _enlarged(clip, rng)
    backwards, mirrored, upside_down, transposed = rng.random(4) < 0.5
    if backwards and reversible:
        clip = clip.flip(0)
    if mirrored:
        clip = clip.flip(-1)
    if upside_down:
        clip = clip.flip(-2)
    if transposed:
        clip = clip.transpose(-1, -2)
    clip = clip * rng.uniform(0.6, 1.1)
    if rng.random() < 0.4:
        noise = torch.from_numpy(rng.standard_normal(clip.shape, dtype=np.float32))
        clip = clip + rng.uniform(0, 0.02) * noise
    return clip.clamp(0, 1).contiguous()


def _moments(rng: np.random.Generator, length: int, frames: int) -> np.ndarray:
    """Which frames of a clip to keep, in order, (frames,)."""
    pace = rng.random()
    if pace < 0.12 and 2 * frames - 1 <= length:
        return 2 * np.arange(frames)
    if pace < 0.22:
        return np.sort(rng.choice(length, frames, replace=False))
    return rng.integers(length - frames + 1) + np.arange(frames)


def _enlarged(clip: Tensor, rng: np.random.Generator) -> Tensor:
    """Four clips of ten: a random square of them at full size; the others as they are."""
    side = clip.shape[-1]
    part = round(side * rng.uniform(0.4, 1)) if rng.random() < 0.4 else side
    if part == side:
        return clip
    top, left = rng.integers(0, side - part + 1, 2)
    clip = clip[..., top : top + part, left : left + part]
    return F.interpolate(clip, (side, side), mode="bilinear", align_corners=False)
