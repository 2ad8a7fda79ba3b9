"""Random changes to a clip, after which it is as good a clip to learn from as before."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SKIPPING = 0.12  # share of clips of which every second frame is kept
SHUFFLING = 0.10  # share of clips of which any frames are kept, in order
ENLARGED = 0.4  # share of clips of which a part is enlarged
GRAINY = 0.4  # share of clips with noise


def augment(clip: Tensor, rng: np.random.Generator, frames: int, reversible: bool = True) -> Tensor:
    """A clip to train on: a random part of `clip`, changed at random.

    - Frames in a row; or, in one clip of eight, every second one; or, in one of ten, any in order.
    - Time reversed, mirrored both ways and transposed, half of the time each.
    - Four clips of ten are enlarged by up to 2.5: what moves, then moves faster.
    - Darker or brighter, and in four of ten with grain.

    Args:
        clip: (T, 3, S, S) in [0, 1].
        rng: decides everything.
        frames: how many to keep, at most T.
        reversible: whether time may run backwards.

    Returns:
        (frames, 3, S, S) in [0, 1].

    Examples:
        >>> augment(torch.rand(8, 3, 32, 32), np.random.default_rng(0), frames=5).shape
        torch.Size([5, 3, 32, 32])
    """
    clip = clip[_pick_frames(rng, len(clip), frames)]  # (frames, 3, S, S)
    clip = _enlarge(clip, rng)
    backwards, mirrored, upside_down, transposed = rng.random(4) < 0.5
    if backwards and reversible:
        clip = clip.flip(0)
    clip = turn(clip, mirrored, upside_down, transposed)
    clip = clip * rng.uniform(0.6, 1.1)
    if rng.random() < GRAINY:
        noise = rng.standard_normal(clip.shape, dtype=np.float32)
        clip = clip + rng.uniform(0, 0.02) * torch.from_numpy(noise)
    return clip.clamp(0, 1).contiguous()


def turn(images: Tensor, mirrored: bool, upside_down: bool, transposed: bool) -> Tensor:
    """Square images (..., S, S), mirrored, turned upside down, transposed, in that order."""
    if mirrored:
        images = images.flip(-1)
    if upside_down:
        images = images.flip(-2)
    if transposed:
        images = images.transpose(-1, -2)
    return images


def _pick_frames(rng: np.random.Generator, length: int, frames: int) -> np.ndarray:
    """Which frames of a clip to keep, in order, (frames,)."""
    kind = rng.random()
    if kind < SKIPPING and 2 * frames - 1 <= length:
        return 2 * np.arange(frames)
    if kind < SKIPPING + SHUFFLING:
        return np.sort(rng.choice(length, frames, replace=False))
    first = rng.integers(length - frames + 1)
    return first + np.arange(frames)


def _enlarge(clip: Tensor, rng: np.random.Generator) -> Tensor:
    """Some clips: a random square of them at full size; the others as they are."""
    side = clip.shape[-1]
    part = side
    if rng.random() < ENLARGED:
        part = round(side * rng.uniform(0.4, 1))
    if part == side:
        return clip
    top, left = rng.integers(0, side - part + 1, 2)
    clip = clip[..., top : top + part, left : left + part]  # (frames, 3, part, part)
    return F.interpolate(clip, (side, side), mode="bilinear", align_corners=False)
