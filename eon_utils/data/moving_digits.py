"""Moving digits as clips: handwritten digits that cross a black frame and bounce off its edges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eon_utils.data.clips import ClipSource
from eon_utils.data.similarity import direction

# The labels show that 14 forms with the same text were filled in, one after the other: the last two
# are held out.
TRAINING_DIGITS = range(1545)
HELD_OUT_DIGITS = range(1545, 1797)
DIGIT_SIZE = 28 / 64  # of the frame's side, as in Moving MNIST
REFERENCE_SIZE = 64  # side of a frame, in pixels, for which speeds are given


@dataclass(frozen=True)
class MovingDigits(ClipSource):
    """Clips of moving digits (Moving MNIST: Srivastava et al. 2015).

    The digits, in boxes of 28/64 of the side, start anywhere and move in any direction. Their speed
    is constant, 1 to 5 pixels a frame at 64 pixels a side, else in proportion. They bounce off the
    edges and are merged by their maximum. Positions are fractions of a pixel, drawn with linear
    interpolation. Training and held-out clips have different digit images.

    Args:
        count, frames, size, seed, start, train: as of `ClipSource`; the size at least 8.
        digits: how many in a clip, at least 1.
        labels: also give the digits' values, (digits,), int64.

    Examples:
        >>> clip, values = MovingDigits(1, frames=3, size=32, labels=True)[0]
        >>> clip.shape, values.shape
        (torch.Size([3, 3, 32, 32]), torch.Size([2]))
    """

    digits: int = 2
    labels: bool = False

    name = "digits"
    weight = 1.5
    quick = True
    card = "digits.md"
    least: ClassVar = ClipSource.least | {"size": 8, "digits": 1}

    def clip(self, index: int) -> Tensor | tuple[Tensor, Tensor]:
        """Clip number `index`, (T, 3, H, W); with `labels` also the digits' values, (digits,)."""
        rng = np.random.default_rng((self.seed, int(self.train), index))
        images = TRAINING_DIGITS if self.train else HELD_OUT_DIGITS
        side = round(DIGIT_SIZE * self.size)
        canvas = np.zeros((self.frames, self.size + 1, self.size + 1), np.float32)
        chosen = rng.integers(images.start, images.stop, self.digits)
        for image in chosen:
            place = self._path(rng, self.size - side)
            _draw(canvas, _digit(int(image), side), place)
        gray = torch.from_numpy(canvas)[:, None, : self.size, : self.size]  # (T, 1, H, W)
        clip = gray.expand(-1, 3, -1, -1).contiguous()
        if not self.labels:
            return clip
        values = _handwriting()[chosen, 64].astype(np.int64)
        return clip, torch.from_numpy(values)

    def _path(self, rng: np.random.Generator, room: int) -> np.ndarray:
        """Where a digit's upper left corner is, (T, 2), x and y from 0 to `room`, in pixels."""
        time = np.arange(self.frames)[:, None]  # (T, 1)
        heading = rng.random() * 2 * np.pi
        pace = (1 + 4 * rng.random()) * self.size / REFERENCE_SIZE
        unbounded = rng.random(2) * room + time * (pace * direction(heading))  # (T, 2)
        return room - np.abs(
            unbounded % (2 * room) - room
        )  # a triangle wave: bounced off the edges


def _draw(canvas: np.ndarray, ink: np.ndarray, place: np.ndarray) -> None:
    """Draw a moving digit onto a canvas (T, H, W), in place.

    Args:
        canvas: what was drawn so far.
        ink: the digit, (side + 2, side + 2), its outermost pixels black.
        place: its upper left corner in each frame, (T, 2), in pixels.
    """
    corner = np.floor(place).astype(int)
    fraction = (place - corner).astype(np.float32)
    x = fraction[:, 0, None, None]  # (T, 1, 1)
    y = fraction[:, 1, None, None]
    rows = (1 - y) * ink[1:] + y * ink[:-1]  # (T, side + 1, side + 2)
    shifted = (1 - x) * rows[..., 1:] + x * rows[..., :-1]  # (T, side + 1, side + 1)
    side = shifted.shape[-1]
    for frame, (left, top) in enumerate(corner):
        box = canvas[frame, top : top + side, left : left + side]
        np.maximum(box, shifted[frame], out=box)


@lru_cache(maxsize=2 * len(TRAINING_DIGITS))
def _digit(index: int, side: int) -> np.ndarray:
    """A digit in white on black, (side + 2, side + 2) in [0, 1], the outermost pixels black."""
    gray = _handwriting()[index, :64].reshape(1, 1, 8, 8) / 16
    padded = F.pad(torch.from_numpy(gray), (1, 1, 1, 1))  # (1, 1, 10, 10)
    large = (4 * side, 4 * side)
    smooth = F.interpolate(padded, large, mode="bicubic", align_corners=False)
    # Crisp as ink: the gray values there are counts of ink pixels.
    strokes = (4 * (smooth - 0.5) + 0.5).clamp(0, 1)
    digit = F.avg_pool2d(strokes, 4)  # (1, 1, side, side)
    return F.pad(digit, (1, 1, 1, 1))[0, 0].numpy()


@lru_cache(maxsize=1)
def _handwriting() -> np.ndarray:
    """scikit-learn's digits, (1797, 65): a row 8x8 gray values from 0 to 16, then the label.

    The file is found without the seconds that importing scikit-learn takes.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ImportError(
            "the digits are inside the package scikit-learn: pip install scikit-learn"
        )
    file = Path(spec.origin).parent / "datasets/data/digits.csv.gz"
    return np.loadtxt(file, delimiter=",", dtype=np.float32)
