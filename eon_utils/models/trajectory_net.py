"""The network of the prior: it reads a frame that it was not given along the motion of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eon_utils.models.coarse_to_fine import coarse_to_fine, read_along
from eon_utils.models.optical_flow import upsample_flow, warp
from eon_utils.models.past_fit import PastFit, fit_to_past

COLOURS = 3
SLOTS = 4  # frames that are read, the nearest in time first
LEAST_SIDE = 4  # in pixels, of the coarsest level
FAR_PENALTY = 3.0  # logit by which, untrained, a frame counts less for each step of time
OTHER_PENALTY = 1.0  # likewise along the other trajectory
STILL_PENALTY = 4.0  # likewise where it is not moved
FIT_BONUS = 4.0  # logit by which, untrained, the fit to the past counts more
ABSENT = -100.0  # logit of a hypothesis that there is not
CLASSICAL_GATE = 3.0  # logit by which, untrained, a level takes the classical way
BEND_GATE = -1.0  # logit by which, untrained, a level takes over the coarser one's bend
RESIDUAL_GATE = -2.0
STILL = 2 * SLOTS + 1  # of the hypotheses: the nearest frame, not moved


@dataclass(frozen=True)
class TrajectoryNetConfig:
    """What a `TrajectoryNet`, and the prior around it, are built with.

    Attributes:
        encoder: channels of the encoder at 1/2, 1/4, ... of the size.
        decoder: channels of the decoder at full size, 1/2, 1/4, ...: one more than the encoder.
        fusion: channels of the last layers.
        content: channels of the `ContentEncoder`.
    """

    encoder: tuple[int, ...] = (24, 48, 72, 96)
    decoder: tuple[int, ...] = (24, 48, 72, 96, 128)
    fusion: int = 24
    content: tuple[int, ...] = (16, 32, 48, 128)


def colour_pyramid(frames: Tensor) -> list[Tensor]:
    """Frames (N, K, 3, H, W), fine to coarse: halved while they can be."""
    levels = [frames]
    while _can_be_halved(levels[-1]):
        smaller = F.avg_pool2d(levels[-1].flatten(0, 1), 2)
        levels.append(smaller.unflatten(0, frames.shape[:2]))
    return levels


class Clock(NamedTuple):
    """The times of frames, and how much of a `Trajectory`'s way and bend lies before each."""

    times: Tensor  # (N, 4), none of them 0, the nearest first
    straight: Tensor  # (N, 4, 1, 1, 1)
    bent: Tensor  # (N, 4, 1, 1, 1)

    @classmethod
    def of(cls, times: Tensor) -> Clock:
        """The clock of frames taken at some times, (N, 4)."""
        t = times[:, :, None, None, None]
        nearest = t[:, :1]
        return cls(times, t / nearest, t * (t - nearest) / 2)


class Trajectory(NamedTuple):
    """Where what is seen at a place at time 0 is at other times, in pixels of a level, (dx, dy).

    With t0 the time of the nearest frame, it is at x + way t / t0 + bend t (t - t0) / 2.
    """

    way: Tensor  # (N, 2, h, w): to the nearest frame
    bend: Tensor  # (N, 2, h, w): how it leaves the straight line

    def to(self, clock: Clock) -> Tensor:
        """The ways to the frames of a clock, (N, 4, 2, h, w)."""
        straight = clock.straight * self.way[:, None]
        return torch.addcmul(straight, clock.bent, self.bend[:, None])

    def upsample(self) -> Trajectory:
        """The same for a level of twice the size, without gradients."""
        both = torch.cat(self, 1).detach()  # each level answers for itself
        both = 2 * upsample_flow(both)
        return Trajectory(*both.chunk(2, 1))


class Source(NamedTuple):
    """A given frame to read far ahead from, and the way there from the nearest frame."""

    frame: Tensor  # (N, 3, H, W) in [0, 1]
    way: Tensor  # (N, 2, H, W)


class Level(NamedTuple):
    """What a level of the decoder finds."""

    trajectory: Trajectory
    logits: Tensor  # (N, 4, h, w): which of the frames to read
    state: Tensor  # (N, C, h, w): what the decoder knows
    colours: Tensor  # (N, 4, 3, h, w): of the frames, shifted
    clock: Clock  # of the frames

    @property
    def blend(self) -> Tensor:
        """The frames as read here, (N, 3, h, w), shifted: what a loss asks for, and nobody else."""
        read = read_along(self.colours, self.trajectory.to(self.clock))
        return (self.logits.softmax(1)[:, :, None] * read).sum(1)


class Reading(NamedTuple):
    """What a `TrajectoryNet` makes of its frames: the frame asked for, and all it is made of."""

    frame: Tensor  # (N, 3, H, W), about [0, 1]: the masks' blend of hypotheses, plus the residual
    hypotheses: Tensor  # (N, 11, 3, H, W): four along each trajectory, source, still, fit
    masks: Tensor  # (N, 11, 1, H, W), sum 1
    residual: Tensor  # (N, 3, H, W): what no hypothesis explains
    way: Tensor  # (N, 2, H, W): to the source, or to the nearest frame
    levels: list[Level]  # coarse to fine


class TrajectoryNet(nn.Module):
    """Reads the frame at time 0 from four others, whatever their times.

    Args:
        config: how it is built; None: as the shipped one.
    """

    def __init__(self, config: TrajectoryNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or TrajectoryNetConfig()
        seen = [COLOURS]  # channels of a frame at each level, fine to coarse
        self.encoder = nn.ModuleList()
        inputs = COLOURS
        for width in self.config.encoder:
            down = nn.Conv2d(inputs, width, 3, stride=2, padding=1)
            self.encoder.append(nn.Sequential(down, nn.GELU(), conv(width, width), nn.GELU()))
            seen.append(COLOURS + width)
            inputs = width

        self.decoder = nn.ModuleList()
        self.narrow = nn.ModuleList()
        self.heads = nn.ModuleList()
        widths = self.config.decoder
        for level, width in enumerate(widths):
            inputs = SLOTS * seen[level] + 6 + SLOTS  # reads, three motions, times
            if level + 1 < len(widths):
                self.narrow.append(nn.Conv2d(widths[level + 1], width, 1))
                inputs += width
            layers = [conv(inputs, width), nn.GELU(), conv(width, width), nn.GELU()]
            self.decoder.append(nn.Sequential(*layers))
            self.heads.append(conv(width, 4 + 2 + SLOTS))  # changes, gates, logits

        fine = widths[0]
        hypotheses = 2 * SLOTS + 3
        fusion = self.config.fusion
        self.other = conv(fine, 4)
        self.fusion = nn.Sequential(
            conv(COLOURS * hypotheses + 1 + fine, fusion),
            nn.GELU(),
            conv(fusion, fusion),
            nn.GELU(),
            conv(fusion, hypotheses + 1 + COLOURS),
        )
        self._initialize()

    def _initialize(self) -> None:
        """Untrained, it is classical optical flow."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.other.weight, std=0.01)
        for layer in [*self.heads, self.fusion[-1]]:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, frames: Tensor, times: Tensor, source: Source | None = None, fit: bool = False
    ) -> Reading:
        """The frame at time 0.

        Args:
            frames: (N, 4, 3, H, W) in [0, 1], the nearest in time first.
            times: of them, (N, 4), none of them 0, the first two different.
            source: for a frame far ahead, what it is read from beside the nearest one.
            fit: fit classical flow to the past; the times are then -1, -2, -3, -4.
        """
        return self.read(self.encode(frames), times, source, fit)

    def encode(self, frames: Tensor) -> list[Tensor]:
        """(N, K, 3, H, W) in [0, 1] -> fine to coarse: colours, features; (N, K, 3 + C, h, w).

        Beyond the encoder's levels, while the frames can be halved, colours alone.
        """
        colours = frames.flatten(0, 1) - 0.5  # (N * K, 3, H, W)
        levels = [colours]
        features = colours
        for stage in self.encoder:
            features = stage(features)  # (N * K, C, h, w)
            colours = F.avg_pool2d(colours, 2)  # (N * K, 3, h, w)
            levels.append(torch.cat([colours, features], 1))
        while _can_be_halved(colours):
            colours = F.avg_pool2d(colours, 2)
            levels.append(colours)
        return [level.view(*frames.shape[:2], *level.shape[1:]) for level in levels]

    def read(
        self,
        pyramid: list[Tensor],
        times: Tensor,
        source: Source | None = None,
        fit: bool = False,
    ) -> Reading:
        """As `forward`, from frames that are encoded already."""
        times = times.to(pyramid[0])
        colours = [level[:, :, :COLOURS] for level in pyramid]
        past = None
        with torch.autocast(times.device.type, enabled=False):  # least squares needs all digits
            if fit:
                past = fit_to_past(colours)
                velocities = past.velocities
            else:
                pairs = [level[:, :2] for level in colours]
                velocities = coarse_to_fine(pairs, times[:, :2])
        clock = Clock.of(times)
        nearest = times[:, 0, None, None, None]
        levels: list[Level] = []
        for index in reversed(range(len(self.decoder))):
            classical = nearest * velocities[index]  # (N, 2, h, w)
            above = levels[-1] if levels else None
            levels.append(self._decode(index, pyramid[index], clock, classical, above))
        return self._fuse(pyramid[0], clock, levels, source, past)

    def _decode(
        self,
        index: int,
        features: Tensor,
        clock: Clock,
        classical: Tensor,
        above: Level | None,
    ) -> Level:
        """What a level finds.

        Args:
            index: of the level, 0 at full size.
            features: of the frames there, (N, 4, 3 + C, h, w).
            clock: of the frames.
            classical: the way to the nearest frame by least squares, (N, 2, h, w).
            above: what the next coarser level found.
        """
        if above is None:
            trajectory = Trajectory(classical, torch.zeros_like(classical))
        else:
            trajectory = above.trajectory.upsample()
        reads = read_along(features, Trajectory(classical, trajectory.bend).to(clock))
        differences = reads[:, 1:] - reads[:, :1]  # (N, 3, 3 + C, h, w)
        times = 0.25 * clock.times[:, :, None, None]
        times = times.expand(-1, -1, *features.shape[-2:])  # (N, 4, h, w)
        inputs = [reads[:, 0], differences.flatten(1, 2), 0.2 * classical]
        inputs += [0.2 * trajectory.bend, classical - trajectory.way, times]
        if above is None:
            distance = clock.times.abs() - clock.times[:, :1].abs()  # (N, 4)
            logits = -FAR_PENALTY * distance[:, :, None, None]
        else:
            inputs.append(upsample_flow(self.narrow[index](above.state)))
            logits = upsample_flow(above.logits)
        state = self.decoder[index](torch.cat(inputs, 1))  # (N, C, h, w)
        output = self.heads[index](state)  # (N, 10, h, w)
        change, gate, keep, more = output.split((4, 1, 1, SLOTS), 1)
        way = trajectory.way.lerp(classical, torch.sigmoid(gate + CLASSICAL_GATE).to(classical))
        bend = torch.sigmoid(keep + BEND_GATE) * trajectory.bend
        change = change * 0.5**index  # in pixels of the frame
        trajectory = _changed(Trajectory(way, bend), change)
        logits = logits + more
        return Level(trajectory, logits, state, features[:, :, :COLOURS], clock)

    def _fuse(
        self,
        frames: Tensor,
        clock: Clock,
        levels: list[Level],
        source: Source | None,
        past: PastFit | None,
    ) -> Reading:
        """Weigh all that the frame asked for may be, and add what none of it explains."""
        trajectory, logits, state = levels[-1][:3]
        other = _changed(trajectory, self.other(state))
        first = read_along(frames, trajectory.to(clock))  # (N, 4, 3, H, W)
        second = read_along(frames, other.to(clock))
        way = trajectory.way
        far = first[:, 0]  # (N, 3, H, W)
        if source is not None:
            way = way + warp(source.way, way)
            far = warp(source.frame - 0.5, way)
        nearest = logits[:, :1]
        if past is None:
            fitted = far
            error = torch.zeros_like(nearest)
            doubt = torch.ones_like(nearest)
            fit_logit = torch.full_like(nearest, ABSENT)
        else:
            fitted = past.frame
            error = past.error
            doubt = past.doubt
            fit_logit = torch.full_like(nearest, FIT_BONUS)
        further = torch.stack([far, frames[:, 0], fitted], 1)
        hypotheses = torch.cat([first, second, further], 1)  # (N, 11, 3, H, W)
        output = self.fusion(torch.cat([hypotheses.flatten(1, 2), 10 * error, state], 1))
        more, gate, colours = output.split((hypotheses.shape[1], 1, COLOURS), 1)
        bonus = [logits, logits - OTHER_PENALTY, nearest, nearest - STILL_PENALTY, fit_logit]
        masks = (torch.cat(bonus, 1) + more).softmax(1)  # (N, 11, H, W)
        # Where the past went as its motion said, the frame is the fit: a network only adds noise.
        others = doubt * masks[:, :-1]
        masks = torch.cat([others, 1 - others.sum(1, keepdim=True)], 1)
        masks = masks[:, :, None]  # (N, 11, 1, H, W)
        residual = doubt * torch.sigmoid(gate + RESIDUAL_GATE) * colours  # (N, 3, H, W)
        hypotheses = hypotheses + 0.5
        frame = (masks * hypotheses).sum(1) + residual
        # A clip of one picture goes on with that picture, to the last bit.
        changes = frames.amax(1) != frames.amin(1)  # (N, 3, H, W)
        frame = torch.where(changes.any((1, 2, 3), keepdim=True), frame, hypotheses[:, STILL])
        return Reading(frame, hypotheses, masks, residual, way, levels)


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3, same size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _changed(trajectory: Trajectory, change: Tensor) -> Trajectory:
    """A trajectory with a change (N, 4, h, w), no further than half the frame a step."""
    limit = max(change.shape[-2:]) / 2
    both = torch.cat(trajectory, 1) + change
    both = both.clamp(-limit, limit)
    return Trajectory(*both.chunk(2, 1))


def _can_be_halved(colours: Tensor) -> bool:
    height, width = colours.shape[-2:]
    return min(height, width) >= 2 * LEAST_SIDE and height % 2 == 0 and width % 2 == 0
