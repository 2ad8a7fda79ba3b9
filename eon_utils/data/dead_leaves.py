"""Dead leaves that move: clips with natural-image statistics in which every motion is known.

They give the exact optical flow on request, and where it ends in an occlusion, as the synthetic clips of Yu et al.
2024 do.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from torch import Tensor

from eon_utils.data.clips import ClipSource
from eon_utils.data.similarity import (
    channels_third,
    clip_jitter,
    invert,
    pixel_centres,
    random_motions,
    similarity,
    transform,
)

OVERSAMPLING = 3  # leaves are drawn this many times larger; odd, so that one sample is at the pixel's centre
TEXTURES, TILE, FINENESS = 12, 1024, 4  # how many; texels a side; texels a pixel, so that detail moves smoothly
ANGLES = np.linspace(0, 2 * np.pi, 32, endpoint=False)


class DeadLeaves(ClipSource):
    """Clips of moving dead leaves.

    Leaves (see `scenes`) move, turn and grow on their own, each with its own acceleration, over a ground, under a
    camera that does the same; some clips brighten or darken. The held-out stream (`train=False`) has other random
    numbers and other textures.

    Args:
        count, frames, size, seed, start, train: as `ClipSource`.
        speed: the fastest a leaf or the camera starts with, in pixels a frame.
        flow: also give the flow from each frame to the next, (T - 1, 2, H, W), (dx, dy) in pixels, and a mask of
            the pixels whose surface is not in view in the next frame, (T - 1, 1, H, W), bool.
        jitter: half of the clips move unsteadily: from frame to frame their velocities change by up to that share
            of their pace (standard deviation).
    """

    name = "leaves"
    weight = 5.0
    card = "leaves.md"
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
        jitter: float = 0.0,
    ) -> None:
        super().__init__(count, frames, size, seed, start, train)
        self.speed = speed
        self.flow = flow
        self.jitter = jitter

    def clip(self, index: int) -> Tensor | tuple[Tensor, ...]:
        """Clip number `index`, (T, 3, H, W); with `flow` also the flow and the mask."""
        parts = _leaves(
            index, self.frames, self.size, self.seed, self.train, self.speed, self.flow, self.jitter
        )
        parts = tuple(channels_third(part) for part in parts)
        return parts if self.flow else parts[0]


@lru_cache(maxsize=2)
def _textures(train: bool) -> np.ndarray:
    """(TEXTURES, TILE, TILE) float16 noise that tiles, unit variance, power 1/f^a with a from 1.5 (grain) to 3
    (clouds), without detail that a pixel could not show."""
    rng = np.random.default_rng((7, int(train)))
    radius = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None])
    band = (radius > 0) & (radius < 0.5 / FINENESS)
    tiles = np.empty((TEXTURES, TILE, TILE), np.float16)
    for tile, slope in zip(tiles, np.linspace(1.5, 3, TEXTURES), strict=True):
        power = np.where(band, np.maximum(radius, 1e-6) ** (-slope / 2), 0)
        noise = np.fft.irfft2(power * np.exp(2j * np.pi * rng.random(radius.shape)), (TILE, TILE))
        tile[:] = noise / noise.std()
    return tiles


def _outlines(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """(count, 32, 2) outlines around 0 in pixels: ellipses, rectangles and blobs, radii of density r^-3."""
    smallest, largest = rng.uniform(2, 5), rng.uniform(0.2, 0.6) * size
    radius = (smallest**-2 + rng.random(count) * (largest**-2 - smallest**-2)) ** -0.5
    lobes, depth, phase = rng.integers(2, 6, count), rng.uniform(0.1, 0.4, count), rng.random(count) * 2 * np.pi
    blob = 1 + depth[:, None] * np.cos(lobes[:, None] * ANGLES + phase[:, None])
    square = 1 / np.maximum(np.abs(np.cos(ANGLES)), np.abs(np.sin(ANGLES)))
    kind = rng.integers(0, 3, count)[:, None]
    length = radius[:, None] * np.choose(kind, [np.ones_like(blob), np.broadcast_to(square, blob.shape), blob])
    stretch = np.exp(rng.normal(0, 0.35, count))
    points = length[..., None] * np.stack([np.cos(ANGLES), np.sin(ANGLES)], -1)
    return points * np.stack([stretch, 1 / stretch], -1)[:, None]


def _colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3) colours that differ more in brightness than in hue, as those of one photograph do."""
    bright = np.clip(rng.uniform(0.25, 0.75) + rng.normal(0, 0.25, count), 0.02, 0.98)
    hue = rng.normal(0, 0.06, 2) + rng.standard_t(3, (count, 2)) * rng.uniform(0.01, 0.07)
    return (bright[:, None] + hue @ [[1, 0, -1], [0.35, -0.7, 0.35]]).astype(np.float32)


def _leaves(
    index: int, frames: int, size: int, seed: int, train: bool, speed: float, flow: bool, jitter: float
) -> tuple[np.ndarray, ...]:
    """One clip (T, size, size, 3); with `flow` also (T - 1, size, size, 2) and (T - 1, size, size, 1)."""
    import cv2

    rng = np.random.default_rng((seed, index, int(train)))
    count = int(rng.integers(10, 100))  # leaf 0 is the ground
    jitter = clip_jitter(rng, jitter)
    camera, pan = random_motions(rng, 1, frames, speed, jitter)
    own, drift = random_motions(rng, count, frames, speed, jitter)
    rest = (rng.random(count) < rng.random()) | (np.arange(count) == 0)  # these move with the camera alone
    own[:, rest], drift[:, rest] = np.eye(2), 0
    away = rng.uniform(-0.3, 1.3, (count, 2)) * size - size / 2
    turned = similarity(rng.random(count) * 2 * np.pi, np.ones(count))
    matrix = camera @ own @ turned  # (T, L, 2, 2): a leaf's own frame -> the picture
    shift = np.einsum("tlij,tlj->tli", np.broadcast_to(camera, matrix.shape), away + drift) + pan + size / 2

    outlines = _outlines(rng, count, size)
    polygons = transform(matrix[:, :, None], shift[:, :, None], outlines) * OVERSAMPLING - 0.5
    polygons = (polygons * 16).round().astype(np.int32)
    seen = ((polygons.max(2) > 0) & (polygons.min(2) < size * OVERSAMPLING * 16)).all(2)
    owner = np.zeros((frames, size * OVERSAMPLING, size * OVERSAMPLING), np.uint8)
    for t, leaf in np.argwhere(seen):
        if leaf:
            cv2.fillPoly(owner[t], [polygons[t, leaf]], int(leaf), shift=4)

    tile = rng.integers(0, TEXTURES, count) * TILE**2
    zoom, offset = FINENESS * np.exp(rng.uniform(-1, 0.5, count)), rng.integers(8 * TILE, 9 * TILE, (count, 2))
    contrast = np.float32(np.abs(rng.standard_t(3, count)) * rng.uniform(0.01, 0.06))
    ramp, colours = rng.normal(0, 0.12, (count, 2)) / size, _colours(rng, count)
    light = np.float32(rng.normal(0, 0.03, 2) * (rng.random() < 0.3))  # first change a frame, in gain and offset
    back, origin = invert(matrix, shift)
    x, y = pixel_centres(size, OVERSAMPLING).reshape(-1, 2).T
    clip = np.empty((frames, size, size, 3), np.float32)
    for t in range(frames):
        # Texture coordinates and shading are affine in the pixel's place: three numbers a leaf for each.
        rows = [*(zoom * back[t].transpose(1, 2, 0)), np.einsum("li,lij->jl", ramp, back[t])]
        fixed = [*(zoom * origin[t].T + offset.T), (ramp * origin[t]).sum(-1)]
        of = owner[t].reshape(-1).astype(np.intp)
        column, row, shade = (
            x * a.take(of) + y * b.take(of) + c.take(of)
            for (a, b), c in zip(np.float32(rows), np.float32(fixed), strict=True)
        )
        texel = (row.astype(np.int32) & (TILE - 1)) * TILE + (column.astype(np.int32) & (TILE - 1)) + tile.take(of)
        shade += contrast.take(of) * _textures(train).take(texel)
        planes = [colour.take(of) + shade for colour in colours.T]
        gain, offset = light * np.float32(5 * np.sin(t / 5))  # to and fro: a long clip does not end in the dark
        picture = np.stack(planes, -1).reshape(*owner[t].shape, 3) * (1 + gain) + offset
        clip[t] = cv2.resize(picture.clip(0, 1), (size, size), interpolation=cv2.INTER_AREA)
    if not flow:
        return (clip,)
    centre, middle = pixel_centres(size), owner[:, OVERSAMPLING // 2 :: OVERSAMPLING, OVERSAMPLING // 2 :: OVERSAMPLING]
    moved, hidden = [], []
    for t in range(frames - 1):
        of = middle[t]
        after = transform(matrix[t + 1][of], shift[t + 1][of], transform(back[t][of], origin[t][of], centre))
        moved.append(after - centre)
        hidden.append(_hidden(of, owner[t + 1], after))
    return clip, np.float32(moved), np.stack(hidden)


def _hidden(of: np.ndarray, owner: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Pixels of surface `of` that another surface owns, or that are outside, where they are `after`."""
    side = len(owner)
    sample = np.floor(after * OVERSAMPLING).astype(int)
    inside = ((sample >= 0) & (sample < side)).all(-1)
    x, y = sample.clip(0, side - 1)[..., 0], sample.clip(0, side - 1)[..., 1]
    return (~inside | (owner[y, x] != of))[..., None]
