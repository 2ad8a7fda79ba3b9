"""Moving digits as clips: real handwritten digits that cross a black frame and bounce off its edges."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eon_utils.data.clips import ClipSource

# The labels show that 14 forms with the same text were filled in, one after the other: the last two are held out.
TRAINING_DIGITS, HELD_OUT_DIGITS = range(1545), range(1545, 1797)


@lru_cache(maxsize=1)
def _handwriting() -> np.ndarray:
    """scikit-learn's digits, (1797, 65) float32: 8x8 gray values from 0 to 16 a row, then the label."""
    # Finding the folder does without the seconds that importing scikit-learn takes.
    folder = Path(find_spec("sklearn").submodule_search_locations[0])
    return np.loadtxt(folder / "datasets/data/digits.csv.gz", delimiter=",", dtype=np.float32)


@lru_cache(maxsize=2 * len(TRAINING_DIGITS))
def _digit(index: int, side: int) -> np.ndarray:
    """Digit `index` in white on black, (side + 2, side + 2) in [0, 1], the outermost pixels black."""
    cells = torch.from_numpy(_handwriting()[index, :64].reshape(1, 1, 8, 8) / 16)
    smooth = F.interpolate(F.pad(cells, (1, 1, 1, 1)), (4 * side, 4 * side), mode="bicubic", align_corners=False)
    strokes = (4 * (smooth - 0.5) + 0.5).clamp(0, 1)  # crisp as ink: gray values there are counts of ink pixels
    return F.pad(F.avg_pool2d(strokes, 4), (1, 1, 1, 1))[0, 0].numpy()


class MovingDigits(ClipSource):
    """Clips of moving digits (Moving MNIST: Srivastava et al. 2015).

    `digits` digits, in boxes of 28/64 of the side, start anywhere and move in any direction, at a constant speed
    of 1 to 5 pixels a frame (at 64 pixels a side, else in proportion). They bounce off the edges and are merged by
    their maximum. Positions are fractions of a pixel, drawn with linear interpolation. Training and held-out clips
    have different digit images.

    Args:
        count, frames, size, seed, start, train: as `ClipSource`.
        digits: how many in a clip, at least 1.
        labels: also give the digits' values, (digits,), int64.

    Raises:
        ValueError: for a number below its least value.
    """

    name = "digits"
    weight = 1.0
    card = "digits.md"
    smallest = 8

    def __init__(
        self,
        count: int,
        frames: int = 5,
        size: int = 64,
        seed: int = 0,
        start: int = 0,
        train: bool = True,
        digits: int = 2,
        labels: bool = False,
    ) -> None:
        super().__init__(count, frames, size, seed, start, train)
        if digits < 1:
            raise ValueError(f"digits={digits!r} must be at least 1")
        self.digits = digits
        self.labels = labels

    def clip(self, index: int) -> Tensor | tuple[Tensor, Tensor]:
        """Clip number `index`, (T, 3, H, W); with `labels` also the digits' values, (digits,)."""
        side, images = round(28 / 64 * self.size), TRAINING_DIGITS if self.train else HELD_OUT_DIGITS
        room, time = self.size - side, np.arange(self.frames)[:, None]
        canvas = np.zeros((self.frames, self.size + 1, self.size + 1), np.float32)
        rng = np.random.default_rng((self.seed, int(self.train), index))
        chosen = rng.integers(images.start, images.stop, self.digits)
        for image in chosen:
            ink, heading = _digit(int(image), side), rng.random() * 2 * np.pi
            pace = (1 + 4 * rng.random()) * self.size / 64 * np.array([np.cos(heading), np.sin(heading)])
            unbounded = rng.random(2) * room + time * pace
            place = room - np.abs(unbounded % (2 * room) - room)  # a triangle wave: bounced off the edges
            corner = np.floor(place).astype(int)
            x, y = (place - corner).astype(np.float32).T[..., None, None]
            rows = (1 - y) * ink[1:] + y * ink[:-1]
            drawn = (1 - x) * rows[..., 1:] + x * rows[..., :-1]
            for frame, (left, top) in enumerate(corner):
                box = canvas[frame, top : top + side + 1, left : left + side + 1]
                np.maximum(box, drawn[frame], out=box)
        clip = torch.from_numpy(canvas[:, None, : self.size, : self.size]).expand(-1, 3, -1, -1).contiguous()
        if not self.labels:
            return clip
        return clip, torch.from_numpy(_handwriting()[chosen, 64].astype(np.int64))
