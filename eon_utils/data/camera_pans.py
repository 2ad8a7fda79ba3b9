"""A camera that moves over photographs: clips of known motion, and clips with a name for each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from torch import Tensor

from eon_utils.data.clips import ClipSource
from eon_utils.data.photos import HELD_OUT_PHOTOS, TRAINING_PHOTOS, photograph
from eon_utils.data.similarity import (
    Similarity,
    channels_third,
    clip_jitter,
    direction,
    pixel_centres,
    random_motions,
    turn_and_zoom,
)

DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
MOVES = (*DIRECTIONS, "turn right", "turn left", "zoom in", "zoom out", "still")
SMALLEST_LEVEL = 32  # pixels: photographs are halved down to that


@dataclass(frozen=True)
class CameraPans(ClipSource):
    """Clips of a camera that pans, turns and zooms over photographs.

    A surface leaves the view at the frame's edge only.

    Args:
        count, frames, size, seed, start, train: as of `ClipSource`.
        speed: the fastest the camera is in the middle of a clip, in pixels a frame.
        flow: also give the flow and the mask of pixels that leave the view, as `DeadLeaves` does.
        names: photographs to take, else `TRAINING_PHOTOS` or, held out, `HELD_OUT_PHOTOS`.
        jitter: as of `DeadLeaves`.

    Raises:
        ValueError: as `ClipSource`, and for a photograph that is not there.

    Examples:
        >>> CameraPans(2, frames=3, size=16, names=("grass",)).stack().shape
        torch.Size([2, 3, 3, 16, 16])
    """

    speed: float = 4.0
    flow: bool = False
    names: tuple[str, ...] | None = None
    jitter: float = 0.0

    name = "pans"
    weight = 1.5
    quick = True
    card = "pans.md"
    training_settings: ClassVar = {"jitter": 1.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.names or ():
            photograph(name)

    def clip(self, index: int) -> Tensor | tuple[Tensor, ...]:
        """Clip number `index`, (T, 3, H, W); with `flow` also the flow and the mask."""
        rng = np.random.default_rng((self.seed, index))
        pyramid = _random_pyramid(rng, self.names or photo_names(self.train))
        jitter = clip_jitter(rng, self.jitter)
        motion = random_motions(rng, 1, self.frames, self.speed, jitter)[:, 0]  # (T,)
        motion = Similarity(motion.matrix, motion.shift + self.size / 2)
        clip = channels_third(_film(rng, pyramid, motion, self.size))
        if not self.flow:
            return clip
        flow, hidden = _true_flow(motion, self.size)
        return clip, channels_third(flow), channels_third(hidden)


@dataclass(frozen=True)
class LabelledMoves(ClipSource):
    """Clips of a picture that moves in one of 13 ways, `MOVES`, in turn; and which, a number.

    The picture is part of a photograph (`TRAINING_PHOTOS` or, held out, `HELD_OUT_PHOTOS`). It
    moves by 0.5 to 3 pixels a frame of 64 pixels: straight ahead, the direction off by up to 12
    degrees; or turning or growing so that points at 3/8 of the side from the middle move as fast.
    Grain of 0.01 (standard deviation) is on top.

    Args:
        count, frames, size, seed, start, train: as of `ClipSource`.

    Examples:
        >>> clips, labels = LabelledMoves(3, frames=2, size=16).stack()
        >>> clips.shape, [MOVES[label] for label in labels]
        (torch.Size([3, 2, 3, 16, 16]), ['right', 'down right', 'down'])
    """

    name = "moves"
    weight = 0.0
    card = "pans.md"

    def clip(self, index: int) -> tuple[Tensor, int]:
        """Clip number `index`, (T, 3, H, W), and its label, an index into `MOVES`."""
        rng = np.random.default_rng((self.seed, index, int(self.train)))
        pyramid = _random_pyramid(rng, photo_names(self.train))
        label = index % len(MOVES)
        clip = _film(rng, pyramid, self._motion(rng, label), self.size)  # (T, H, W, 3)
        grain = 0.01 * rng.standard_normal(clip.shape, np.float32)
        return channels_third((clip + grain).clip(0, 1)), label

    def _motion(self, rng: np.random.Generator, label: int) -> Similarity:
        """The motion (T,) that a label names."""
        time = np.arange(self.frames) - (self.frames - 1) / 2  # 0 in the middle
        pace = rng.uniform(0.5, 3) * self.size / 64  # pixels a frame
        angle = (label + rng.uniform(-0.27, 0.27)) * np.pi / 4
        velocity = pace * direction(angle) * (label < len(DIRECTIONS))
        relative_pace = pace / (3 / 8 * self.size)  # a frame: radians, or log scale
        turn = relative_pace * {"turn right": 1, "turn left": -1}.get(MOVES[label], 0)
        growth = relative_pace * {"zoom in": 1, "zoom out": -1}.get(MOVES[label], 0)
        matrix = turn_and_zoom(time * turn, np.exp(time * growth))
        return Similarity(matrix, time[:, None] * velocity + self.size / 2)


def photo_names(train: bool) -> tuple[str, ...]:
    """The photographs to train on, or the held-out ones."""
    return TRAINING_PHOTOS if train else HELD_OUT_PHOTOS


@lru_cache(maxsize=32)
def _pyramid(name: str) -> list[np.ndarray]:
    """A photograph, float32 (H, W, 3) in [0, 1], and the same halved and halved again."""
    import cv2

    level = np.asarray(photograph(name).convert("RGB"), np.float32) / 255
    levels: list[np.ndarray] = [level]
    while min(level.shape[:2]) >= 2 * SMALLEST_LEVEL:
        height, width = level.shape[:2]
        level = cv2.resize(level, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(level)
    return levels


def _random_pyramid(rng: np.random.Generator, names: tuple[str, ...]) -> list[np.ndarray]:
    return _pyramid(names[rng.integers(len(names))])


def _film(
    rng: np.random.Generator, pyramid: list[np.ndarray], motion: Similarity, size: int
) -> np.ndarray:
    """A photograph seen by a moving camera, (T, size, size, 3).

    Where, how near and whether mirrored is drawn. The camera never sees beyond the edges.

    Args:
        rng: decides the view.
        pyramid: of the photograph.
        motion: from the camera's plane to the frame, (T,).
        size: side of the frames in pixels.
    """
    import cv2

    height, width = pyramid[0].shape[:2]
    extent = np.array([width, height])
    to_plane = motion.inverse()
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    reach = np.abs(to_plane[:, None](corners)).max((0, 1))  # (2,) half of what the camera sees
    scale = _random_scale(rng, extent, reach, size)  # photograph pixels a frame pixel
    margin = scale * reach
    middle = margin + rng.random(2) * (extent - 2 * margin)
    zoom = scale * np.array([rng.choice([-1.0, 1.0]), 1.0])  # mirrored half of the time
    level = pyramid[min(int(np.log2(max(scale, 1))), len(pyramid) - 1)]
    shrink = np.array(level.shape[1::-1]) / extent  # (2,)

    clip = np.empty((len(motion.matrix), size, size, 3), np.float32)
    method = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for t in range(len(clip)):
        matrix = (zoom * shrink)[:, None] * to_plane.matrix[t]  # frame -> level of the photograph
        shift = (middle + zoom * to_plane.shift[t]) * shrink
        shift = shift + matrix @ [0.5, 0.5] - 0.5  # OpenCV's pixel centres are at whole numbers
        warp = np.concatenate([matrix, shift[:, None]], 1)  # (2, 3)
        clip[t] = cv2.warpAffine(
            level, warp, (size, size), flags=method, borderMode=cv2.BORDER_REPLICATE
        )
    return clip


def _random_scale(
    rng: np.random.Generator, extent: np.ndarray, reach: np.ndarray, size: int
) -> float:
    """Photograph pixels a frame pixel, log-uniform from 0.8, so that the camera's view fits in."""
    widest = float(extent.min()) / (2.5 * size)  # the frame covers two fifths of the shorter side
    scale = 0.8 * (widest / 0.8) ** rng.random()
    fitting = 0.5 * extent / reach
    return max(min(scale, *fitting), 1e-3)


def _true_flow(motion: Similarity, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The flow, (T - 1, H, W, 2), and the mask of what leaves the view, (T - 1, H, W, 1)."""
    centres = pixel_centres(size)  # (H, W, 2)
    to_plane = motion.inverse()
    count = len(motion.matrix) - 1
    place = np.empty((count, *centres.shape), np.float32)
    hidden = np.empty((count, size, size, 1), bool)
    for t in range(count):
        new_place = motion[t + 1](to_plane[t](centres))  # (H, W, 2)
        in_frame = (new_place >= 0) & (new_place < size)
        place[t] = new_place
        hidden[t] = ~in_frame.all(-1, keepdims=True)
    return place - centres, hidden
