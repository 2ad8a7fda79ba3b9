"""Many pictures in one WebP: the atlas that a widget moves over without asking the kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from eon_utils.notebook.display import image_bytes

STATIC = Path(__file__).parent / "static"
CONTROLS = (STATIC / "controls.js").read_text(encoding="utf-8")
CHART = (STATIC / "chart.js").read_text(encoding="utf-8")
PLAYER = CONTROLS + (STATIC / "player.js").read_text(encoding="utf-8")
SCRUBBER = CONTROLS + CHART + (STATIC / "scrubber.js").read_text(encoding="utf-8")
CSS = (STATIC / "widgets.css").read_text(encoding="utf-8")

ATLAS_BYTES = 640_000  # at most; in base64, a third more, a saved widget stays below 1 MB
ATLAS_PIXELS = 10_500_000  # 42 MB once decoded in the browser, so that a dozen fit on one page
PAD = 2  # pixels around each picture of a film: WebP smooths across the border between two
SAMPLE = 8  # tiles whose size in bytes speaks for that of all


@dataclass(frozen=True)
class PageRoom:
    """Room for rows of pictures on the page, in CSS pixels.

    Attributes:
        width: of a row.
        square: height of a picture that is square, at most.
        height: of all rows.
        gap: between two pictures.
    """

    width: int
    square: int
    height: int = 620
    gap: int = 6

    def picture_width(self, shape: tuple[int, int], rows: int, columns: int) -> int:
        """Width at which pictures fit, for their shape (H, W)."""
        height, width = shape
        room = self.width / columns - self.gap
        by_width = min(self.square, room) * height / width
        shown = min(self.height / rows, by_width)
        return round(shown * width / height)


class Atlas(NamedTuple):
    """Tiles in rows, as a WebP file."""

    data: bytes
    columns: int  # tiles in a row


class AtlasPacker:
    """Puts tiles into an atlas if they fit. A tile is N pictures side by side.

    Args:
        budget: bytes of the atlas, at most.
        pad: pixels added around each picture.
        period: after so many tiles the next row or step begins.
        remember: reuse what tiles of a size and quality weighed, where many such are tried.
    """

    def __init__(
        self, budget: int = ATLAS_BYTES, pad: int = 0, period: int = 1, remember: bool = False
    ) -> None:
        self.budget = budget
        self.pad = pad
        self.period = period
        self.remember = remember
        self.weights: dict[tuple[int, int, int], float] = {}  # bytes a tile

    def pack(
        self, tiles: Sequence[np.ndarray], cell: tuple[int, int], quality: int
    ) -> Atlas | None:
        """Make an atlas.

        Args:
            tiles: uint8 (N, H, W, 3) each.
            cell: width and height to which each picture is scaled.
            quality: of the WebP, up to 100.

        Returns:
            The atlas; None if it has too many pixels or bytes.
        """
        if self._pixels(tiles, cell) > ATLAS_PIXELS:
            return None
        key = (*cell, quality)
        if key not in self.weights or not self.remember:
            self.weights[key] = self._weigh(tiles, cell, quality)
        if self.weights[key] * len(tiles) > self.budget:
            return None
        atlas = encode_atlas([side_by_side(tile, cell, self.pad) for tile in tiles], quality)
        self.weights[key] = len(atlas.data) / len(tiles)
        return atlas if len(atlas.data) <= self.budget else None

    def _pixels(self, tiles: Sequence[np.ndarray], cell: tuple[int, int]) -> int:
        width = cell[0] + 2 * self.pad
        height = cell[1] + 2 * self.pad
        pictures = len(tiles) * len(tiles[0])
        return pictures * width * height

    def _weigh(self, tiles: Sequence[np.ndarray], cell: tuple[int, int], quality: int) -> float:
        """Bytes a tile, from a sample."""
        stride = max(1, len(tiles) // SAMPLE)
        while math.gcd(stride, self.period) > 1:  # every frame has its chance
            stride += 1
        sample = [side_by_side(tile, cell, self.pad) for tile in tiles[::stride]]
        return len(encode_atlas(sample, quality).data) / len(sample)


def cell_size(width: int, height: int, most: float) -> tuple[int, int]:
    """The size at which pictures are stored: even, as WebP halves the resolution of colours.

    Args:
        width: of the pictures as they are, in pixels.
        height: likewise.
        most: the width that is enough.

    Returns:
        Width and height.

    Examples:
        >>> cell_size(256, 176, 64)
        (64, 44)
    """
    scale = min(1.0, most / width)
    return _even(width * scale), _even(height * scale)


def _even(side: float) -> int:
    return max(2, 2 * round(side / 2))


def encode_atlas(tiles: Sequence[np.ndarray], quality: int) -> Atlas:
    """Tiles (h, w, 3) in rows, as near to a square as they come.

    Browsers decode no side beyond 16,383 pixels.
    """
    height, width = tiles[0].shape[:2]
    square = math.sqrt(len(tiles) * height / width)
    columns = max(1, min(len(tiles), round(square)))
    rows = math.ceil(len(tiles) / columns)
    page = np.zeros((rows, height, columns, width, 3), np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        page[row, :, column] = tile
    image = Image.fromarray(page.reshape(rows * height, columns * width, 3))
    return Atlas(image_bytes(image, "WEBP", quality=quality, method=3), columns)


def side_by_side(pictures: np.ndarray, size: tuple[int, int], pad: int = 0) -> np.ndarray:
    """Scale pictures and put them into one row.

    Args:
        pictures: uint8 (N, H, W, 3).
        size: width and height of each.
        pad: pixels added around each, as at its edge.

    Returns:
        uint8 (height + 2 * pad, N * (width + 2 * pad), 3).

    Examples:
        >>> side_by_side(np.zeros((3, 8, 8, 3), np.uint8), (6, 4), pad=1).shape
        (6, 24, 3)
    """
    around = ((pad, pad), (pad, pad), (0, 0))
    row = [np.pad(resized(picture, size), around, mode="edge") for picture in pictures]
    return np.concatenate(row, axis=1)


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) -> (height, width, 3), for `size` = (width, height)."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.HAMMING))


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 to `count` - 1, evenly spaced, both ends among them.

    Examples:
        >>> evenly(10, 4)
        [0, 3, 6, 9]
    """
    spaced = np.linspace(0, count - 1, min(count, most))
    return sorted({round(position) for position in spaced})
