"""A camera that moves over photographs: clips in which every motion is known, and clips with a name for each."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from torch import Tensor

from eon_utils.data.clips import ClipSource
from eon_utils.data.photos import HELD_OUT_PHOTOS, TRAINING_PHOTOS, photograph
from eon_utils.data.similarity import (
    channels_third,
    clip_jitter,
    invert,
    pixel_centres,
    random_motions,
    similarity,
    transform,
)

MOVES = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
MOVES += ("turn right", "turn left", "zoom in", "zoom out", "still")


class CameraPans(ClipSource):
    """Clips of a camera that pans, turns and zooms over photographs.

    A surface leaves the view at the frame's edge only.

    Args:
        count, frames, size, seed, start, train: as `ClipSource`.
        speed, flow, jitter: as `DeadLeaves`.
        names: photographs to take, else `TRAINING_PHOTOS` or, held out, `HELD_OUT_PHOTOS`.

    Raises:
        ValueError: for a number below its least value, and for a photograph that is not there.
    """

    name = "pans"
    weight = 3.0
    card = "pans.md"
    training_settings = {"jitter": 1.0}

    def __init__(
        self,
        count: int,
        frames: int = 5,
        size: int = 64,
        seed: int = 0,
        start: int = 0,
        train: bool = True,
        speed: float = 4.0,
        flow: bool = False,
        names: tuple[str, ...] | None = None,
        jitter: float = 0.0,
    ) -> None:
        super().__init__(count, frames, size, seed, start, train)
        self.speed = speed
        self.flow = flow
        self.names = names or (TRAINING_PHOTOS if train else HELD_OUT_PHOTOS)
        self.jitter = jitter

    def clip(self, index: int) -> Tensor | tuple[Tensor, ...]:
        """Clip number `index`, (T, 3, H, W); with `flow` also the flow and the mask."""
        parts = _pan(
            index, self.frames, self.size, self.seed, self.names, self.speed, self.flow, self.jitter
        )
        parts = tuple(channels_third(part) for part in parts)
        return parts if self.flow else parts[0]


class LabelledMoves(ClipSource):
    """Clips of a picture that moves in one of 13 ways, `MOVES`, in turn; and which, a number.

    The picture is part of a photograph (`TRAINING_PHOTOS` or, held out, `HELD_OUT_PHOTOS`), and moves by 0.5 to 3
    pixels a frame of 64 pixels: straight ahead, the direction off by up to 12 degrees, or turning or growing so
    that points at 3/8 of the side from the middle move as fast. Grain of 0.01 (standard deviation) is on top.

    Args:
        count, frames, size, seed, start, train: as `ClipSource`.
    """

    name = "moves"
    weight = 0.0
    card = "pans.md"

    def clip(self, index: int) -> tuple[Tensor, int]:
        """Clip number `index`, (T, 3, H, W), and its label, an index into `MOVES`."""
        names = TRAINING_PHOTOS if self.train else HELD_OUT_PHOTOS
        time = np.arange(self.frames) - (self.frames - 1) / 2
        rng = np.random.default_rng((self.seed, index, int(self.train)))
        kind, levels = index % len(MOVES), _pyramid(names[rng.integers(len(names))])
        pace, angle = rng.uniform(0.5, 3) * self.size / 64, (kind + rng.uniform(-0.27, 0.27)) * np.pi / 4
        ahead = pace * np.array([np.cos(angle), np.sin(angle)]) * (kind < 8)
        round_, growth = (
            pace / (3 / 8 * self.size) * np.array([(kind == 8) - (kind == 9), (kind == 10) - (kind == 11)])
        )
        matrix = similarity(time * round_, np.exp(time * growth))
        clip = _shot(rng, levels, matrix, time[:, None] * ahead + self.size / 2, self.size)
        clip = (clip + 0.01 * rng.standard_normal(clip.shape, np.float32)).clip(0, 1)
        return channels_third(clip), kind


@lru_cache(maxsize=32)
def _pyramid(name: str) -> list[np.ndarray]:
    """A photograph as float32 (H, W, 3) in [0, 1], and the same halved and halved again down to 32 pixels."""
    import cv2

    levels = [np.asarray(photograph(name).convert("RGB"), np.float32) / 255]
    while min(levels[-1].shape[:2]) >= 64:
        high, wide = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (wide // 2, high // 2), interpolation=cv2.INTER_AREA))
    return levels


def _pan(
    index: int, frames: int, size: int, seed: int, names: tuple[str, ...], speed: float, flow: bool, jitter: float
) -> tuple[np.ndarray, ...]:
    """One clip (T, size, size, 3); with `flow` also (T - 1, size, size, 2) and (T - 1, size, size, 1)."""
    rng = np.random.default_rng((seed, index))
    levels = _pyramid(names[rng.integers(len(names))])
    jitter = clip_jitter(rng, jitter)
    matrix, shift = (part[:, 0] for part in random_motions(rng, 1, frames, speed, jitter))
    shift = shift + size / 2
    clip = _shot(rng, levels, matrix, shift, size)
    if not flow:
        return (clip,)
    back, origin = invert(matrix, shift)
    centre = pixel_centres(size)
    after = [transform(matrix[t + 1], shift[t + 1], transform(back[t], origin[t], centre)) for t in range(frames - 1)]
    hidden = [~((place >= 0) & (place < size)).all(-1, keepdims=True) for place in after]
    return clip, np.float32(after) - centre, np.stack(hidden)


def _shot(
    rng: np.random.Generator, levels: list[np.ndarray], matrix: np.ndarray, shift: np.ndarray, size: int
) -> np.ndarray:
    """A photograph (`_pyramid`) seen by a moving camera, (T, size, size, 3): where, and how near, is drawn."""
    import cv2

    high, wide = levels[0].shape[:2]
    shorter = min(high, wide)
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    back, origin = invert(matrix, shift)
    reach = np.abs(transform(back[:, None], origin[:, None], corners)).max((0, 1))  # half of what the camera sees
    scale = 0.8 * (shorter / (2.5 * size) / 0.8) ** rng.random()  # photograph pixels a frame pixel, log-uniform
    scale = max(min(scale, 0.5 * wide / reach[0], 0.5 * high / reach[1]), 1e-3)
    margin = scale * reach
    middle = margin + rng.random(2) * (np.array([wide, high]) - 2 * margin)
    mirror = np.array([rng.choice([-1.0, 1.0]), 1.0])
    level = min(max(int(np.log2(max(scale, 1))), 0), len(levels) - 1)
    source, shrink = levels[level], np.array(levels[level].shape[1::-1]) / [wide, high]
    clip = np.empty((len(matrix), size, size, 3), np.float32)
    for t in range(len(matrix)):
        inverse = (scale * mirror * shrink)[:, None] * back[t]
        start = (middle + scale * mirror * origin[t]) * shrink
        start = start + inverse @ [0.5, 0.5] - 0.5  # OpenCV's pixel centres are at whole numbers
        warp = np.concatenate([inverse, start[:, None]], 1)
        method = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        clip[t] = cv2.warpAffine(source, warp, (size, size), flags=method, borderMode=cv2.BORDER_REPLICATE)
    return clip
