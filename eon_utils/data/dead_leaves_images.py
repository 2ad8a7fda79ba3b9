"""Dead leaves: procedural pictures with the statistics of photographs, from a seed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from eon_utils.data.clips import check_whole
from eon_utils.data.leaf_statistics import (
    leaf_colours,
    leaf_contrast,
    leaf_radii,
    leaf_stretch,
    noise_tile,
)
from eon_utils.data.similarity import direction

OVERSAMPLING = 3  # drawn this many times larger, then averaged down: anti-aliased edges
TEXTURES = 16
TILE = 256  # pixels a side of a texture
CIRCLE = direction(np.linspace(0, 2 * np.pi, 24, endpoint=False))  # (24, 2)
SQUARE = np.array([[1.0, 1], [1, -1], [-1, -1], [-1, 1]])


def dead_leaves_images(count: int, size: int = 64, seed: int = 0, start: int = 0) -> Tensor:
    """Pictures of dead leaves, numbers `start` to `start + count - 1` of an endless stream.

    Leaves of all sizes fall one upon another (Lee, Mumford & Huang 2001, section 3). With sizes of
    density r^-3 the result looks alike at every scale, as photographs do. Occlusion gives it their
    sharp edges between even regions. Each leaf has a 1/f^a texture of its own, as in Baradad et al.
    2021 (section 3), and its own shading.

    Args:
        count: number of pictures, at least 1.
        size: side of the square pictures in pixels, at least 1.
        seed: of the stream.
        start: number of the first picture in the stream, at least 0.

    Returns:
        (count, 3, size, size), float32 RGB in [0, 1].

    Raises:
        ValueError: for a number that is not whole or below its least value.

    Examples:
        >>> dead_leaves_images(2, size=32).shape
        torch.Size([2, 3, 32, 32])
    """
    check_whole("count", count, 1)
    check_whole("size", size, 1)
    check_whole("start", start, 0)
    indices = range(start, start + count)
    return torch.stack([dead_leaves_image(index, size, seed) for index in indices])


def dead_leaves_image(index: int, size: int = 64, seed: int = 0) -> Tensor:
    """Picture `index` of the endless stream `seed`: it depends on these and the size alone.

    Returns:
        (3, size, size), float32 RGB in [0, 1].
    """
    rng = np.random.default_rng((seed, index))
    side = size * OVERSAMPLING  # S
    seen, leaf = np.unique(_leaf_map(rng, side), return_inverse=True)
    leaf = leaf.reshape(side, side)
    shade = _shade(rng, leaf, len(seen))  # (S, S)
    colour = leaf_colours(rng, len(seen))[leaf]  # (S, S, 3)
    picture = np.clip(colour + shade[..., None], 0, 1).astype(np.float32)
    large = torch.from_numpy(picture).permute(2, 0, 1)  # (3, S, S)
    return F.avg_pool2d(large, OVERSAMPLING)


def _leaf_map(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side) whole numbers: which leaf is seen at each pixel; 0 is the ground."""
    count = int(rng.integers(40, 700))
    smallest = rng.uniform(1, 4) * OVERSAMPLING
    largest = rng.uniform(0.25, 1) * side
    radius = leaf_radii(rng, count, smallest, largest)  # (L,)
    stretch = leaf_stretch(rng, count)
    axes = np.stack([radius * stretch, radius / stretch], 1)  # (L, 2)
    centre = rng.uniform(-0.15, 1.15, (count, 2)) * side
    angle = rng.random(count) * np.pi
    c = np.cos(angle)
    s = np.sin(angle)
    turn = np.stack([c, s, -s, c], 1).reshape(-1, 2, 2)  # for points that are rows
    ellipses = (CIRCLE * axes[:, None]) @ turn + centre[:, None]  # (L, 24, 2)
    rectangles = (SQUARE * axes[:, None]) @ turn + centre[:, None]  # (L, 4, 2)
    is_rectangle = rng.random(count) < 0.5
    picture = Image.new("I", (side, side), 0)
    draw = ImageDraw.Draw(picture)
    for leaf in range(count):
        outline = rectangles[leaf] if is_rectangle[leaf] else ellipses[leaf]
        draw.polygon(outline.ravel().tolist(), fill=leaf + 1)
    return np.asarray(picture)


def _shade(rng: np.random.Generator, leaf: np.ndarray, count: int) -> np.ndarray:
    """Texture and shading, (S, S), of a map of `count` leaves (S, S)."""
    side = len(leaf)
    textures = _textures()
    y, x = np.mgrid[:side, :side]
    tile = rng.integers(0, len(textures), count)
    zoom = rng.integers(1, 4, count)
    shift_y, shift_x = rng.integers(0, TILE, (2, count))
    contrast = leaf_contrast(rng, count)
    slope_x, slope_y = rng.normal(0, 0.12, (2, count))
    row = (y // zoom[leaf] + shift_y[leaf]) % TILE
    column = (x // zoom[leaf] + shift_x[leaf]) % TILE
    shade = contrast[leaf] * textures[tile[leaf], row, column]
    shade = shade + slope_x[leaf] * (x / side - 0.5)
    return shade + slope_y[leaf] * (y / side - 0.5)


@lru_cache(maxsize=1)
def _textures() -> np.ndarray:
    """Textures from grain to clouds, (TEXTURES, TILE, TILE), float32."""
    rng = np.random.default_rng(0)
    tiles = np.empty((TEXTURES, TILE, TILE), np.float32)
    for tile, slope in zip(tiles, np.linspace(1, 3, TEXTURES), strict=True):
        tile[:] = noise_tile(rng, TILE, slope)
    return tiles
