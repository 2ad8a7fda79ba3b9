"""Clips in which every motion is known: moving dead leaves, and a camera that moves over photographs.

Both give the exact optical flow on request, and where it ends in an occlusion, as the synthetic clips of Yu et al.
2024 do. All motions are similarities: the point u of a surface is seen in frame t at A_t u + b_t, in pixels, with
pixel centres at whole numbers and a half.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from eon_utils.images import HELD_OUT, TRAINING, photograph

OVERSAMPLING = 3  # leaves are drawn this many times larger; odd, so that one sample is at the pixel's centre
TEXTURES, TILE, FINENESS = 12, 1024, 4  # how many; texels a side; texels a pixel, so that detail moves smoothly
ANGLES = np.linspace(0, 2 * np.pi, 32, endpoint=False)
Clips = Tensor | tuple[Tensor, Tensor, Tensor]


def leaves(
    count: int,
    frames: int = 5,
    size: int = 64,
    seed: int = 0,
    start: int = 0,
    train: bool = True,
    speed: float = 4.0,
    flow: bool = False,
    jitter: float = 0.0,
) -> Clips:
    """Clips `start` to `start + count - 1` of a stream of moving dead leaves.

    Leaves (see `scenes`) move, turn and grow on their own, each with its own acceleration, over a ground, under a
    camera that does the same; some clips brighten or darken. `speed` is the fastest a leaf or the camera starts
    with, in pixels a frame. With `jitter`, half of the clips move unsteadily: from frame to frame their velocities
    change by up to that share of their pace (standard deviation). The held-out stream (`train=False`) has other
    random numbers and other textures.

    Returns (count, frames, 3, size, size), float32 RGB in [0, 1]. With `flow` also the flow from each frame to the
    next, (count, frames - 1, 2, size, size), (dx, dy) in pixels, and a mask of the pixels whose surface is not in
    view in the next frame, (count, frames - 1, 1, size, size), bool. Raises ValueError for a count below 1.
    """
    how = frames, size, seed, train, speed, flow, jitter
    return _stack([_leaves(index, *how) for index in _indices(count, start)], flow)


def pans(
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
) -> Clips:
    """Clips `start` to `start + count - 1` of a camera that pans, turns and zooms over photographs.

    `names`: photographs to take, else `TRAINING` or, held out, `HELD_OUT`. Arguments, results and errors are those
    of `leaves`; a surface leaves the view at the frame's edge only.
    """
    names = names or (TRAINING if train else HELD_OUT)
    return _stack([_pan(i, frames, size, seed, names, speed, flow, jitter) for i in _indices(count, start)], flow)


MOVES = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
MOVES += ("turn right", "turn left", "zoom in", "zoom out", "still")


def moves(
    count: int, frames: int = 5, size: int = 64, seed: int = 0, start: int = 0, train: bool = True
) -> tuple[Tensor, Tensor]:
    """Clips of a picture that moves in one of 13 ways, `MOVES`, in turn; and which, (count,), int64.

    The picture is part of a photograph (`TRAINING` or, held out, `HELD_OUT`), and moves by 0.5 to 3 pixels a frame
    of 64 pixels: straight ahead, the direction off by up to 12 degrees, or turning or growing so that points at
    3/8 of the side from the middle move as fast. Grain of 0.01 (standard deviation) is on top. Clip i depends on
    (seed, i), frames, size and train alone.

    Returns (count, frames, 3, size, size), float32 RGB in [0, 1], and labels. Raises ValueError as `leaves`.
    """
    clips, names = [], TRAINING if train else HELD_OUT
    time, indices = np.arange(frames) - (frames - 1) / 2, _indices(count, start)
    for index in indices:
        rng = np.random.default_rng((seed, index, int(train)))
        kind, levels = index % len(MOVES), _pyramid(names[rng.integers(len(names))])
        pace, angle = rng.uniform(0.5, 3) * size / 64, (kind + rng.uniform(-0.27, 0.27)) * np.pi / 4
        ahead = pace * np.array([np.cos(angle), np.sin(angle)]) * (kind < 8)
        round_, growth = pace / (3 / 8 * size) * np.array([(kind == 8) - (kind == 9), (kind == 10) - (kind == 11)])
        matrix = _similarity(time * round_, np.exp(time * growth))
        clip = _shot(rng, levels, matrix, time[:, None] * ahead + size / 2, size)
        clips.append((clip + 0.01 * rng.standard_normal(clip.shape, np.float32)).clip(0, 1))
    return _stack([(clip,) for clip in clips], flow=False), torch.tensor([index % len(MOVES) for index in indices])


def _indices(count: int, start: int) -> range:
    if count < 1 or start < 0:
        raise ValueError(f"count={count!r} must be at least 1 and start={start!r} at least 0")
    return range(start, start + count)


def _stack(parts: list[tuple[np.ndarray, ...]], flow: bool) -> Clips:
    """Arrays with the channels last -> tensors with the channels third."""
    stacked = [torch.from_numpy(np.stack(kind)).movedim(-1, 2) for kind in zip(*parts, strict=True)]
    return tuple(stacked) if flow else stacked[0]


def _similarity(angle: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Angles in radians and scales (...) -> matrices (..., 2, 2)."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


def _motions(
    rng: np.random.Generator, count: int, frames: int, speed: float, jitter: float
) -> tuple[np.ndarray, np.ndarray]:
    """`count` smooth motions: matrices (frames, count, 2, 2) and shifts in pixels (frames, count, 2).

    Paces are log-uniform from a twentieth of `speed` to `speed`: creeping is as common as haste.
    """
    time = np.arange(frames)[:, None] - (frames - 1) / 2
    pace = speed * 20 ** -rng.random(count)
    heading = rng.random(count) * 2 * np.pi
    velocity = pace[:, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
    change = 0.1 * pace[:, None] * rng.normal(size=(count, 2))  # of the velocity, in each frame
    turn, zoom = 0.015 * pace * rng.normal(size=(2, count))
    shift = time[..., None] * velocity + 0.5 * time[..., None] ** 2 * change
    if jitter:
        shift += jitter * pace[:, None] * rng.normal(size=shift.shape).cumsum(0)
    return _similarity(time * turn, np.exp(0.5 * time * zoom)), shift


def _unsteady(rng: np.random.Generator, jitter: float) -> float:
    """A clip's own jitter: none in half of the clips, else up to `jitter`. Draws nothing where that is 0."""
    return jitter * max(0.0, rng.uniform(-1, 1)) if jitter else 0.0


def _grid(size: int, oversampling: int = 1) -> np.ndarray:
    """Centres of the samples of a square frame: (side, side, 2), x and y in pixels."""
    centres = (np.arange(size * oversampling, dtype=np.float32) + 0.5) / oversampling
    return np.stack(np.meshgrid(centres, centres), -1)


def _apply(matrix: np.ndarray, shift: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Matrices (..., 2, 2) and shifts (..., 2) on points (..., 2)."""
    x, y = points[..., 0], points[..., 1]
    return np.stack([matrix[..., k, 0] * x + matrix[..., k, 1] * y + shift[..., k] for k in (0, 1)], -1)


def _inverse(matrix: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inverse = np.linalg.inv(matrix)
    return inverse, -np.einsum("...ij,...j->...i", inverse, shift)


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
    jitter = _unsteady(rng, jitter)
    camera, pan = _motions(rng, 1, frames, speed, jitter)
    own, drift = _motions(rng, count, frames, speed, jitter)
    rest = (rng.random(count) < rng.random()) | (np.arange(count) == 0)  # these move with the camera alone
    own[:, rest], drift[:, rest] = np.eye(2), 0
    away = rng.uniform(-0.3, 1.3, (count, 2)) * size - size / 2
    turned = _similarity(rng.random(count) * 2 * np.pi, np.ones(count))
    matrix = camera @ own @ turned  # (T, L, 2, 2): a leaf's own frame -> the picture
    shift = np.einsum("tlij,tlj->tli", np.broadcast_to(camera, matrix.shape), away + drift) + pan + size / 2

    outlines = _outlines(rng, count, size)
    polygons = _apply(matrix[:, :, None], shift[:, :, None], outlines) * OVERSAMPLING - 0.5
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
    back, origin = _inverse(matrix, shift)
    x, y = _grid(size, OVERSAMPLING).reshape(-1, 2).T
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
    centre, middle = _grid(size), owner[:, OVERSAMPLING // 2 :: OVERSAMPLING, OVERSAMPLING // 2 :: OVERSAMPLING]
    moved, hidden = [], []
    for t in range(frames - 1):
        of = middle[t]
        after = _apply(matrix[t + 1][of], shift[t + 1][of], _apply(back[t][of], origin[t][of], centre))
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
    jitter = _unsteady(rng, jitter)
    matrix, shift = (part[:, 0] for part in _motions(rng, 1, frames, speed, jitter))
    shift = shift + size / 2
    clip = _shot(rng, levels, matrix, shift, size)
    if not flow:
        return (clip,)
    back, origin = _inverse(matrix, shift)
    centre = _grid(size)
    after = [_apply(matrix[t + 1], shift[t + 1], _apply(back[t], origin[t], centre)) for t in range(frames - 1)]
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
    back, origin = _inverse(matrix, shift)
    reach = np.abs(_apply(back[:, None], origin[:, None], corners)).max((0, 1))  # half of what the camera sees
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
