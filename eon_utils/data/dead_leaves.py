"""Dead leaves that move: clips with natural-image statistics in which every motion is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from eon_utils.data.clips import ClipSource
from eon_utils.data.leaf_statistics import (
    leaf_colours,
    leaf_contrast,
    leaf_radii,
    leaf_stretch,
    noise_tile,
)
from eon_utils.data.similarity import (
    Similarity,
    channels_third,
    clip_jitter,
    direction,
    pixel_centres,
    random_motions,
    turn_and_zoom,
)

OVERSAMPLING = 3  # leaves are drawn this much larger; odd: one sample is at the pixel's centre
TEXTURES = 12
TILE = 1024  # texels a side of a texture, a power of 2
FINENESS = 4  # texels a pixel, so that detail moves smoothly
SUBPIXEL_BITS = 4  # OpenCV draws polygons with corners at sixteenths of a pixel
ANGLES = np.linspace(0, 2 * np.pi, 32, endpoint=False)
CIRCLE = direction(ANGLES)  # (32, 2)


@dataclass(frozen=True)
class DeadLeaves(ClipSource):
    """Clips of moving dead leaves.

    Leaves (see `dead_leaves_images`) move, turn and grow on their own, each with its own
    acceleration. They lie over a ground, under a camera that moves in the same ways. Some clips
    brighten or darken. The held-out stream has other random numbers and other textures.

    On request a clip comes with its exact optical flow, and with where that ends in an occlusion,
    as the synthetic clips of Yu et al. 2024 do.

    Args:
        count, frames, size, seed, start, train: as of `ClipSource`.
        speed: the fastest a leaf or the camera is in the middle of a clip, in pixels a frame.
        flow: also give the flow from each frame to the next, (T - 1, 2, H, W), (dx, dy) in pixels;
            and a mask of the pixels whose surface is not in view in the next frame,
            (T - 1, 1, H, W), bool.
        jitter: half of the clips move unsteadily: from frame to frame their velocities change by up
            to that share of themselves (standard deviation).

    Examples:
        >>> clip, flow, hidden = DeadLeaves(1, frames=3, size=16, flow=True)[0]
        >>> clip.shape, flow.shape, hidden.shape
        (torch.Size([3, 3, 16, 16]), torch.Size([2, 2, 16, 16]), torch.Size([2, 1, 16, 16]))
    """

    speed: float = 4.0
    flow: bool = False
    jitter: float = 0.0

    name = "leaves"
    weight = 2.0
    card = "leaves.md"
    training_settings: ClassVar = {"jitter": 1.0}

    def clip(self, index: int) -> Tensor | tuple[Tensor, ...]:
        """Clip number `index`, (T, 3, H, W); with `flow` also the flow and the mask."""
        rng = np.random.default_rng((self.seed, index, int(self.train)))
        count = int(rng.integers(10, 100))  # L; leaf 0 is the ground
        motion = self._motion(rng, count)
        owner = self._draw(motion, _outlines(rng, count, self.size))
        looks = _random_looks(rng, count, self.size)
        light = rng.normal(0, 0.03, 2) * (rng.random() < 0.3)  # gain and offset, see `_paint`
        clip = channels_third(self._paint(motion, owner, looks, light.astype(np.float32)))
        if not self.flow:
            return clip
        flow, hidden = self._true_flow(motion, owner)
        return clip, channels_third(flow), channels_third(hidden)

    def _motion(self, rng: np.random.Generator, count: int) -> Similarity:
        """From each leaf's own frame to the picture, (T, L)."""
        jitter = clip_jitter(rng, self.jitter)
        camera = random_motions(rng, 1, self.frames, self.speed, jitter)
        leaves = random_motions(rng, count, self.frames, self.speed, jitter)
        still = rng.random(count) < rng.random()  # these move with the camera alone
        still[0] = True
        leaves.matrix[:, still] = np.eye(2)
        leaves.shift[:, still] = 0
        place = rng.uniform(-0.3, 1.3, (count, 2)) * self.size - self.size / 2
        turn = turn_and_zoom(rng.random(count) * 2 * np.pi, np.ones(count))  # (L, 2, 2)
        matrix = camera.matrix @ leaves.matrix @ turn  # (T, L, 2, 2)
        by_camera = np.broadcast_to(camera.matrix, matrix.shape)
        seen_at = np.einsum("tlij,tlj->tli", by_camera, place + leaves.shift)  # (T, L, 2)
        return Similarity(matrix, seen_at + camera.shift + self.size / 2)

    def _draw(self, motion: Similarity, outlines: np.ndarray) -> np.ndarray:
        """Which leaf is seen at each sample, (T, S, S) uint8, with S = OVERSAMPLING * size."""
        import cv2

        side = self.size * OVERSAMPLING
        unit = 2**SUBPIXEL_BITS
        corners = motion[:, :, None](outlines) * OVERSAMPLING - 0.5  # (T, L, 32, 2)
        corners = (corners * unit).round().astype(np.int32)
        in_view = (corners.max(2) > 0) & (corners.min(2) < side * unit)  # (T, L, 2)
        in_view[:, 0] = False  # the ground is everywhere
        owner = np.zeros((self.frames, side, side), np.uint8)
        for t, leaf in np.argwhere(in_view.all(2)):
            cv2.fillPoly(owner[t], [corners[t, leaf]], int(leaf), shift=SUBPIXEL_BITS)
        return owner

    def _paint(
        self, motion: Similarity, owner: np.ndarray, looks: _Looks, light: np.ndarray
    ) -> np.ndarray:
        """The clip, (T, H, W, 3), in a light that changes to and fro.

        `light` is the change in the first frame, of the gain and of the offset of the brightness.
        It swings, so that a long clip does not end in the dark.
        """
        import cv2

        to_leaf = motion.inverse()
        clip = np.empty((self.frames, self.size, self.size, 3), np.float32)
        for t in range(self.frames):
            picture = self._paint_frame(owner[t], to_leaf[t], looks)
            gain, brightness = light * np.float32(5 * np.sin(t / 5))
            picture = (picture * (1 + gain) + brightness).clip(0, 1)  # (S, S, 3)
            clip[t] = cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return clip

    def _paint_frame(self, owner: np.ndarray, to_leaf: Similarity, looks: _Looks) -> np.ndarray:
        """A frame without its light, (S, S, 3), from the leaf of each sample (S, S).

        Texture coordinates and shading are affine in a sample's place: three numbers a leaf for
        each.
        """
        leaf = owner.reshape(-1).astype(np.intp)  # (S * S,)
        x, y = pixel_centres(self.size, OVERSAMPLING).reshape(-1, 2).T
        x_matrix = to_leaf.matrix[:, 0].T  # (2, L)
        y_matrix = to_leaf.matrix[:, 1].T
        shift = to_leaf.shift.T  # (2, L)

        def affine(slope: np.ndarray, constant: np.ndarray) -> np.ndarray:
            """Per leaf (2, L) and (L,) -> per sample (S * S,)."""
            a, b = slope.astype(np.float32)
            c = constant.astype(np.float32)
            return x * a.take(leaf) + y * b.take(leaf) + c.take(leaf)

        start = looks.zoom * shift + looks.offset.T  # (2, L)
        column = affine(looks.zoom * x_matrix, start[0])
        row = affine(looks.zoom * y_matrix, start[1])
        slope = np.einsum("li,lij->jl", looks.slope, to_leaf.matrix)  # (2, L)
        shade = affine(slope, (looks.slope * to_leaf.shift).sum(-1))
        texel = _wrap(row) * TILE + _wrap(column)
        texel += looks.tile.take(leaf) * TILE**2
        shade += looks.contrast.take(leaf) * _textures(self.train).take(texel)
        planes = [colour.take(leaf) + shade for colour in looks.colour.T]
        return np.stack(planes, -1).reshape(*owner.shape, 3)

    def _true_flow(self, motion: Similarity, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The flow, (T - 1, H, W, 2), and the mask of where it ends, (T - 1, H, W, 1)."""
        middle = slice(OVERSAMPLING // 2, None, OVERSAMPLING)  # the sample at each pixel's centre
        centres = pixel_centres(self.size)  # (H, W, 2)
        to_leaf = motion.inverse()
        flow = np.empty((self.frames - 1, *centres.shape), np.float32)
        hidden = np.empty((*flow.shape[:3], 1), bool)
        for t in range(self.frames - 1):
            leaf = owner[t, middle, middle]  # (H, W)
            on_leaf = to_leaf[t][leaf](centres)
            place = motion[t + 1][leaf](on_leaf)  # (H, W, 2)
            flow[t] = place - centres
            hidden[t] = _is_hidden(leaf, owner[t + 1], place)[..., None]
        return flow, hidden


class _Looks(NamedTuple):
    """How each leaf of a clip looks."""

    tile: np.ndarray  # (L,) its texture, of TEXTURES
    zoom: np.ndarray  # (L,) texels a pixel
    offset: np.ndarray  # (L, 2) the texel at the leaf's own origin
    contrast: np.ndarray  # (L,)
    slope: np.ndarray  # (L, 2) shading a pixel
    colour: np.ndarray  # (L, 3)


def _random_looks(rng: np.random.Generator, count: int, size: int) -> _Looks:
    tile = rng.integers(0, TEXTURES, count)
    zoom = FINENESS * np.exp(rng.uniform(-1, 0.5, count))
    offset = rng.integers(8 * TILE, 9 * TILE, (count, 2)).astype(np.float64)
    contrast = leaf_contrast(rng, count).astype(np.float32)
    slope = rng.normal(0, 0.12, (count, 2)) / size
    return _Looks(tile, zoom, offset, contrast, slope, leaf_colours(rng, count))


def _wrap(texel: np.ndarray) -> np.ndarray:
    """Texture coordinates as whole numbers from 0 to TILE - 1."""
    return texel.astype(np.int32) & (TILE - 1)


def _is_hidden(leaf: np.ndarray, owner: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Pixels (H, W) of which another leaf owns their new place, or which are out of view there.

    Args:
        leaf: that a pixel shows, (H, W).
        owner: of each sample in the next frame, (S, S).
        place: where the pixels' surfaces are then, in pixels, (H, W, 2).
    """
    last = len(owner) - 1
    sample = np.floor(place * OVERSAMPLING).astype(int)
    in_frame = ((sample >= 0) & (sample <= last)).all(-1)
    nearest = sample.clip(0, last)
    next_leaf = owner[nearest[..., 1], nearest[..., 0]]
    return ~in_frame | (next_leaf != leaf)


@lru_cache(maxsize=2)
def _textures(train: bool) -> np.ndarray:
    """Textures from grain to clouds, (TEXTURES, TILE, TILE), float16.

    They have no detail that a pixel could not show.
    """
    rng = np.random.default_rng((7, int(train)))
    tiles = np.empty((TEXTURES, TILE, TILE), np.float16)
    for tile, slope in zip(tiles, np.linspace(1.5, 3, TEXTURES), strict=True):
        tile[:] = noise_tile(rng, TILE, slope, finest=0.5 / FINENESS)
    return tiles


def _outlines(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Ellipses, rectangles and blobs around 0, in pixels, (count, 32, 2)."""
    smallest = rng.uniform(2, 5)
    largest = rng.uniform(0.2, 0.6) * size
    radius = leaf_radii(rng, count, smallest, largest)  # (L,)
    lobes = rng.integers(2, 6, count)
    depth = rng.uniform(0.1, 0.4, count)
    phase = rng.random(count) * 2 * np.pi
    wave = np.cos(lobes[:, None] * ANGLES + phase[:, None])  # (L, 32)
    blob = 1 + depth[:, None] * wave
    square = 1 / np.abs(CIRCLE).max(-1)  # (32,)
    shapes = [np.ones_like(blob), np.broadcast_to(square, blob.shape), blob]
    kind = rng.integers(0, len(shapes), count)
    length = radius[:, None] * np.choose(kind[:, None], shapes)  # (L, 32)
    stretch = leaf_stretch(rng, count)
    axes = np.stack([stretch, 1 / stretch], -1)  # (L, 2)
    return length[..., None] * CIRCLE * axes[:, None]
