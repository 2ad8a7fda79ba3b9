"""The prior: one network that answers for a frame it was not given, whichever that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eon_utils.config import device
from eon_utils.data.clips import check_whole
from eon_utils.models.coarse_to_fine import coarse_to_fine
from eon_utils.models.content_encoder import ContentEncoder
from eon_utils.models.descriptors import velocity_histogram
from eon_utils.models.inputs import check_tensor, in_unit_range, split_batch, unbatched
from eon_utils.models.optical_flow import invert_flow
from eon_utils.models.trajectory_net import (
    COLOURS,
    SLOTS,
    Reading,
    Source,
    TrajectoryNet,
    TrajectoryNetConfig,
    colour_pyramid,
)
from eon_utils.models.weight_files import load_tensors, read_weights, write_weights

CLIP_AXES = 5  # (N, T, 3, H, W)
MULTIPLE = 16  # of height and width
PIXELS_AT_ONCE = 16 * 64 * 64  # of the frames that are predicted together: it bounds the memory
ON_GPU = 16  # times as many on a GPU
TAKES = "the prior takes clips"  # how errors of what it is given begin
EXTRA = 4  # channels of a map for way and bend


class Prior(nn.Module):
    """Answers for a frame that it was not given: the next one, or any other.

    **What is built in.** Least squares find a motion from coarse to fine (`coarse_to_fine`). With
    four frames or more they are also asked what they would have said of the last frames, which are
    known; by that the clip itself says how far its motion can be trusted (`fit_to_past`).

    **What is learnt.** A network (`TrajectoryNet`) takes this as a start and an input. It encodes
    the four nearest frames, reads them along trajectories from coarse to fine, corrects these, and
    weighs at each pixel all that the frame may be. It adds what nothing given explains. Untrained,
    it changes nothing. A second network, `ContentEncoder`, learns what stays the same in a clip.

    Which frames are given, and when they were taken, is an input: the same weights predict,
    interpolate and fill in.

    Clips are (N, T, 3, H, W), H and W multiples of 16: float in [0, 1], or uint8.

    Args:
        settings: of `TrajectoryNetConfig`: encoder, decoder, fusion, content.

    Examples:
        >>> Prior(fusion=8).config.fusion
        8
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.config = TrajectoryNetConfig(**settings)
        self.net = TrajectoryNet(self.config)
        self.content = ContentEncoder(self.config.content)

    def forward(self, clips: Tensor) -> Tensor:
        """The next frame, with gradients: (N, T, 3, H, W) -> (N, 3, H, W), about [0, 1].

        Clips, and errors of what they are not, as `predict`.
        """
        return self._in_parts(lambda part: self.predict_motion(part).frame, self._checked(clips))

    def predict_motion(self, clips: Tensor) -> Reading:
        """(N, T, 3, H, W) in [0, 1], T >= 2 -> the next frame, and all that it is made of."""
        return self.read(clips, range(-clips.shape[1], 0))

    def read(self, clips: Tensor, times: Sequence[float]) -> Reading:
        """The frame at time 0, and all that it is made of.

        Args:
            clips: (N, T, 3, H, W) in [0, 1].
            times: when each frame was taken, T numbers, none of them 0, at least two different.
        """
        slots = nearest_slots(times)
        chosen = [float(times[slot]) for slot in slots]
        if chosen[0] > 0 and min(chosen) > 0:  # a film backwards is a film
            chosen = [-time for time in chosen]
        frames = clips[:, slots]  # (N, 4, 3, H, W)
        clock = clips.new_tensor(chosen).expand(clips.shape[0], -1)
        return self.net(frames, clock, fit=chosen == [-1, -2, -3, -4])

    @torch.no_grad()
    def predict(self, clips: Tensor, steps: int | None = None) -> Tensor:
        """Predict the next frame, or several.

        Of several, each is predicted from those before it. Where it can be, it is read from the
        last frame given, along all motions since, so that it stays sharp.

        Args:
            clips: (N, T, 3, H, W), T >= 2, H and W multiples of 16; float in [0, 1], or uint8.
            steps: how many frames; None: the next one.

        Returns:
            (N, 3, H, W) in [0, 1]; with `steps`, (N, steps, 3, H, W).

        Raises:
            ValueError: for another shape, type or range, or steps that are not whole or below 1.
            TypeError: for what is no tensor.

        Examples:
            >>> prior = load_prior()
            >>> prior.predict(torch.rand(2, 5, 3, 32, 48)).shape
            torch.Size([2, 3, 32, 48])
            >>> prior.predict(torch.rand(2, 5, 3, 32, 48), steps=4).shape
            torch.Size([2, 4, 3, 32, 48])
        """
        clips = self._checked(clips)
        if steps is not None:
            check_whole("steps", steps, 1)
        frames = self._in_parts(lambda part: self._next_frames(part, steps or 1), clips)
        return frames[:, 0] if steps is None else frames

    def roll_out(self, clips: Tensor, steps: int) -> list[Reading]:
        """The next frames one after the other, each with all that it is made of.

        Args:
            clips: (N, T, 3, H, W) in [0, 1], T >= 2.
            steps: how many.
        """
        pyramid = self.net.encode(clips.flip(1)[:, :SLOTS])  # the last frame first
        source = None
        readings = []
        while True:
            count = pyramid[0].shape[1]
            slots = [slot % count for slot in range(SLOTS)]
            times = clips.new_tensor([-1.0 - slot for slot in slots]).expand(clips.shape[0], -1)
            used = [level[:, slots] for level in pyramid]
            reading = self.net.read(used, times, source, fit=count == SLOTS)
            readings.append(reading)
            if len(readings) == steps:
                return readings
            source = Source(clips[:, -1], reading.way.detach())
            new = self.net.encode(reading.frame.clamp(0, 1)[:, None])
            levels = zip(new, pyramid, strict=True)
            pyramid = [torch.cat([level, old], 1)[:, :SLOTS] for level, old in levels]

    def _next_frames(self, clips: Tensor, steps: int) -> Tensor:
        """(N, steps, 3, H, W) in [0, 1]."""
        frames = [reading.frame for reading in self.roll_out(clips, steps)]
        return torch.stack(frames, 1).clamp(0, 1)

    @torch.no_grad()
    def between(self, before: Tensor, after: Tensor) -> Tensor:
        """The frame in the middle between two clips.

        Args:
            before: (N, T, 3, H, W), T >= 1, the frames up to the missing one; H and W multiples of
                16; float in [0, 1], or uint8.
            after: the same shape, the frames from the missing one on.

        Returns:
            (N, 3, H, W) in [0, 1].

        Raises:
            ValueError: for another shape, type or range, or two that differ in shape.

        Examples:
            >>> before, after = torch.rand(2, 2, 1, 3, 32, 48)
            >>> load_prior().between(before, after).shape
            torch.Size([2, 3, 32, 48])
        """
        before = self._checked(before, least=1)
        after = self._checked(after, least=1)
        if before.shape != after.shape:
            shapes = f"{tuple(before.shape)} and {tuple(after.shape)}"
            raise ValueError(f"before and after must have the same shape, not {shapes}")
        length = before.shape[1]
        times = [*range(-length, 0), *range(1, length + 1)]
        return self._fill(torch.cat([before, after], 1), times)

    @torch.no_grad()
    def fill(self, clips: Tensor, times: Sequence[float]) -> Tensor:
        """A frame that is missing anywhere: before, between or after those given.

        Args:
            clips: (N, T, 3, H, W), T >= 2, H and W multiples of 16; float in [0, 1], or uint8.
            times: when each frame was taken, counted from the missing one: T numbers, none of them
                0, at least two different. The four nearest are used.

        Returns:
            (N, 3, H, W) in [0, 1].

        Raises:
            ValueError: for another shape, type or range, or other times.

        Examples:
            >>> load_prior().fill(torch.rand(2, 3, 3, 32, 48), [-2, -1, 1]).shape
            torch.Size([2, 3, 32, 48])
        """
        clips = self._checked(clips)
        return self._fill(clips, _checked_times(times, clips.shape[1]))

    def _fill(self, clips: Tensor, times: Sequence[float]) -> Tensor:
        return self._in_parts(lambda part: self.read(part, times).frame.clamp(0, 1), clips)

    @torch.no_grad()
    def flow(self, clips: Tensor) -> Tensor:
        """Where each pixel of the last frame goes.

        Least squares on the last two frames say where each pixel of the next one comes from, and
        `invert_flow` turns that round. Nothing in it is learnt: the network's motion, which is paid
        by the pixel, makes no better start.

        Args:
            clips: as `predict`.

        Returns:
            (N, 2, H, W), (dx, dy) in pixels a frame.

        Raises:
            ValueError: as `predict`.

        Examples:
            >>> load_prior().flow(torch.rand(2, 5, 3, 32, 48)).shape
            torch.Size([2, 2, 32, 48])
        """
        return self._in_parts(self._flow, self._checked(clips))

    def _flow(self, clips: Tensor) -> Tensor:
        frames = clips[:, [-1, -2]]  # (N, 2, 3, H, W)
        times = clips.new_tensor([-1.0, -2.0]).expand(clips.shape[0], 2)
        velocity = coarse_to_fine(colour_pyramid(frames), times)[0]  # (N, 2, H, W)
        return invert_flow(-velocity, *frames.unbind(1))

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Name, channels and stride of each map of `forward_features`, in timm's words."""
        info = []
        for level, width in enumerate(self.config.decoder):
            info.append(
                {"module": f"motion{level}", "num_chs": width + EXTRA, "reduction": 2**level}
            )
        for level, width in enumerate(self.config.encoder, 1):
            info.append(
                {"module": f"looks{level}", "num_chs": width + COLOURS, "reduction": 2**level}
            )
        return info

    def forward_features(self, clips: Tensor) -> dict[str, Tensor]:
        """What the network knows of a clip, with gradients: see `feature_info`.

        Args:
            clips: as `predict`.

        Returns:
            Name -> map (N, C, H / stride, W / stride). "motion": what the decoder knows of the next
            frame; the last four channels are the way to the last frame and the bend of the
            trajectory, in pixels of that map. "looks": the last frame as it is encoded; the first
            three channels are its colours.

        Raises:
            ValueError: as `predict`.
        """
        parts = [self._feature_maps(part) for part in self._parts(self._checked(clips))]
        maps = [torch.cat(same) for same in zip(*parts, strict=True)]
        names = [info["module"] for info in self.feature_info]
        return dict(zip(names, maps, strict=True))

    def _feature_maps(self, clips: Tensor) -> list[Tensor]:
        """Those of `forward_features`, in the order of `feature_info`."""
        levels = self.predict_motion(clips).levels[::-1]  # from the finest on
        looks = self.net.encode(clips[:, -1:])[1:]
        maps = []
        for level in levels:
            maps.append(torch.cat([level.state, *level.trajectory], 1))
        for level in looks[: len(self.config.encoder)]:
            maps.append(level[:, 0])
        return maps

    @torch.no_grad()
    def features(self, clips: Tensor) -> Tensor:
        """One vector a clip, frozen: the same length for any T, H and W.

        How it moves, 132 numbers: a histogram of the velocities (`flow`) in each quarter of the
        frame. How it looks, 128 numbers: the maxima that the `ContentEncoder` finds, mean of the
        frames.

        Args:
            clips: as `predict`.

        Returns:
            (N, D).

        Raises:
            ValueError: as `predict`.

        Examples:
            >>> load_prior().features(torch.rand(2, 5, 3, 32, 48)).shape
            torch.Size([2, 260])
        """
        return self._in_parts(self._features, self._checked(clips))

    @torch.no_grad()
    def looks(self, clips: Tensor) -> Tensor:
        """How a clip looks: the last 128 numbers of `features`, in a fifth of the time.

        Args:
            clips: as `predict`.

        Returns:
            (N, 128).

        Raises:
            ValueError: as `predict`.
        """
        return self._in_parts(self._looks, self._checked(clips))

    def _features(self, clips: Tensor) -> Tensor:
        motion = velocity_histogram(self._flow(clips))
        return torch.cat([motion, self._looks(clips)], 1)

    def _looks(self, clips: Tensor) -> Tensor:
        frames = clips.flatten(0, 1)[:, None]  # (N * T, 1, 3, H, W)
        described = self._in_parts(lambda some: self.content(some[:, 0]), frames)
        _, maxima = described.chunk(2, 1)  # (N * T, 128)
        return maxima.unflatten(0, clips.shape[:2]).mean(1)

    def _in_parts(self, function: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
        """A function of clips (N, ...), asked about a few at a time."""
        return torch.cat([function(part) for part in self._parts(clips)])

    def _parts(self, clips: Tensor) -> Sequence[Tensor]:
        """Clips (N, T, 3, H, W) as `split_batch` gives them."""
        pixels = PIXELS_AT_ONCE * (ON_GPU if clips.is_cuda else 1)
        height, width = clips.shape[-2:]
        return split_batch(self, clips, max(pixels // (height * width), 1))

    def _checked(self, clips: Tensor, least: int = 2) -> Tensor:
        """The clips as the network takes them."""
        check_tensor(clips, TAKES)
        shape = tuple(clips.shape)
        fits = len(shape) == CLIP_AXES and shape[1] >= least and shape[2] == COLOURS
        sides = shape[3:]
        if not fits or 0 in sides or any(side % MULTIPLE for side in sides):
            wanted = f"(N, T, 3, H, W) with T >= {least}, H and W multiples of {MULTIPLE}"
            raise ValueError(f"{TAKES} {wanted}, not {shape}{unbatched(shape, CLIP_AXES)}")
        return in_unit_range(clips, TAKES).to(next(self.parameters()))


def _checked_times(times: Sequence[float], count: int) -> list[float]:
    """So many times of frames, as numbers."""
    try:
        known = [float(time) for time in times]
    except (TypeError, ValueError):
        known = []
    usable = all(isfinite(time) and time != 0 for time in known)
    if len(known) != count or not usable or len(set(known)) == 1:
        need = f"{count} numbers, none of them 0, at least two different"
        raise ValueError(f"times={times!r} must be {need}")
    return known


def nearest_slots(times: Sequence[float]) -> list[int]:
    """Which frames are read, by their times: the four nearest, those before first.

    Where there are fewer, they come again in turn. The first two differ in time.

    Examples:
        >>> nearest_slots([-2, -1, 1, 2])
        [1, 2, 0, 3]
        >>> nearest_slots([-2, -1])
        [1, 0, 1, 0]
    """
    order = sorted(range(len(times)), key=lambda index: (abs(times[index]), times[index]))
    first = order[0]
    second = next(index for index in order if times[index] != times[first])
    order.remove(second)
    order.insert(1, second)
    return [order[slot % len(order)] for slot in range(SLOTS)]


def load_prior(path: str | Path | None = None) -> Prior:
    """The shipped prior, or one of your own: in `eval` mode, without gradients.

    Args:
        path: of a file that `save_prior` wrote; None: the shipped one.

    Raises:
        ValueError: if the file is missing, damaged, not a prior, or not the one that its model card
            names.

    Examples:
        >>> prior = load_prior()
        >>> prior.training
        False
    """
    return read_prior(path).to(device())


def read_prior(path: str | Path | None = None) -> Prior:
    """As `load_prior`, on the CPU."""
    weights = read_weights("prior", "prior", path)
    remedy = "it may be of another version; train it again: `make prior`"
    settings = {name: _as_tuple(value) for name, value in weights.about["model"].items()}
    try:
        model = Prior(**settings)
    except TypeError as error:
        raise ValueError(
            f"{weights.file} holds another kind of prior ({error}); {remedy}"
        ) from error
    if settings and "content" not in settings:
        raise ValueError(f"{weights.file} holds a prior without a content encoder; {remedy}")
    load_tensors(model, weights)
    return model.requires_grad_(False).eval()


def _as_tuple(value: Any) -> Any:  # noqa: ANN401  (JSON has lists alone)
    return tuple(value) if isinstance(value, list) else value


def save_prior(model: Prior, path: str | Path, **about: object) -> str:
    """Write a prior's weights, in half precision, and what it takes to load them.

    Args:
        model: to save.
        path: of the file.
        about: what else the file says of itself, as JSON.

    Returns:
        The file's SHA-256.
    """
    description = {"model": asdict(model.config), **about}
    return write_weights(model, path, "prior", description, torch.float16)
