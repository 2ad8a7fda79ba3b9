"""Dead leaves: procedural pictures with the statistics of photographs, as many as you like, from a seed.

Leaves of all sizes fall one upon another (Lee, Mumford & Huang 2001, section 3): with sizes distributed as r^-3
the result looks alike at every scale, as photographs do, and occlusion gives it their sharp edges between even
regions. Each leaf carries its own 1/f^a texture, as in Baradad et al. 2021 (section 3), and its own shading.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

OVERSAMPLING = 3  # rendered this many times larger, then averaged down: anti-aliased edges
TEXTURE = 256  # pixels a side of a texture tile
ROUND = np.stack([np.cos(np.linspace(0, 2 * np.pi, 24, False)), np.sin(np.linspace(0, 2 * np.pi, 24, False))], 1)
SQUARE = np.array([[1.0, 1], [1, -1], [-1, -1], [-1, 1]])


@lru_cache(maxsize=1)
def _textures(count: int = 16) -> np.ndarray:
    """(count, TEXTURE, TEXTURE) noise of unit variance that tiles, power 1/f^a, a from 1 (grain) to 3 (clouds)."""
    rng = np.random.default_rng(0)
    radius = np.hypot(np.fft.fftfreq(TEXTURE)[:, None], np.fft.rfftfreq(TEXTURE)[None])
    radius[0, 0] = np.inf  # no mean
    slopes = np.linspace(1, 3, count)[:, None, None]
    waves = radius ** (-slopes / 2) * np.exp(2j * np.pi * rng.random((count, *radius.shape)))
    tiles = np.fft.irfft2(waves, (TEXTURE, TEXTURE))
    return (tiles / tiles.std((1, 2), keepdims=True)).astype(np.float32)


def _colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3) colours of one scene: they differ more in brightness than in hue, as those of a photograph do."""
    bright = np.clip(rng.uniform(0.25, 0.75) + rng.normal(0, 0.25, count), 0.02, 0.98)
    hue = rng.normal(0, 0.06, 2) + rng.standard_t(3, (count, 2)) * rng.uniform(0.01, 0.07)
    opponent = np.array([[1, 0, -1], [0.35, -0.7, 0.35]])  # red against blue, magenta against green
    return (bright[:, None] + hue @ opponent).astype(np.float32)


def _leaf_map(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side) whole numbers: which leaf is seen at each pixel; 0 is the ground."""
    count = int(rng.integers(40, 700))
    smallest, largest = rng.uniform(1, 4) * OVERSAMPLING, rng.uniform(0.25, 1) * side
    spread = rng.random(count)
    radius = (smallest**-2 + spread * (largest**-2 - smallest**-2)) ** -0.5  # inverse of the r^-3 distribution
    stretch = np.exp(rng.normal(0, 0.35, count))
    axes = np.stack([radius * stretch, radius / stretch], 1)
    centre = rng.uniform(-0.15, 1.15, (count, 2)) * side
    angle = rng.random(count) * np.pi
    turn = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], 1).reshape(-1, 2, 2)
    outlines = [
        ((shape * axes[:, None]) @ turn + centre[:, None]).reshape(count, -1).tolist() for shape in (ROUND, SQUARE)
    ]
    square = rng.random(count) < 0.5
    picture = Image.new("I", (side, side), 0)
    draw = ImageDraw.Draw(picture)
    for leaf in range(count):
        draw.polygon(outlines[int(square[leaf])][leaf], fill=leaf + 1)
    return np.asarray(picture)


def scene(index: int, size: int = 64, seed: int = 0) -> Tensor:
    """Picture `index` of the endless stream `seed`: it depends on these two and the size alone.

    Returns (3, size, size), float32 RGB in [0, 1].
    """
    rng, side = np.random.default_rng((seed, index)), size * OVERSAMPLING
    used, leaf = np.unique(_leaf_map(rng, side), return_inverse=True)
    leaf, count = leaf.reshape(side, side), len(used)
    y, x = np.mgrid[:side, :side]
    tile, zoom = rng.integers(0, len(_textures()), count), rng.integers(1, 4, count)
    shift = rng.integers(0, TEXTURE, (2, count))
    contrast = np.abs(rng.standard_t(3, count)) * rng.uniform(0.01, 0.06)
    light = rng.normal(0, 0.12, (2, count))
    texture = _textures()[
        tile[leaf], (y // zoom[leaf] + shift[0][leaf]) % TEXTURE, (x // zoom[leaf] + shift[1][leaf]) % TEXTURE
    ]
    shade = contrast[leaf] * texture + light[0][leaf] * (x / side - 0.5) + light[1][leaf] * (y / side - 0.5)
    picture = np.clip(_colours(rng, count)[leaf] + shade[..., None], 0, 1).astype(np.float32)
    return F.avg_pool2d(torch.from_numpy(picture).permute(2, 0, 1), OVERSAMPLING)


def dead_leaves_images(count: int, size: int = 64, seed: int = 0, start: int = 0) -> Tensor:
    """Pictures `start` to `start + count - 1` of stream `seed`: (count, 3, size, size), float32 RGB in [0, 1]."""
    return torch.stack([scene(index, size, seed) for index in range(start, start + count)])
