"""The network of the prior: it explains the next frame by motion, from coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eon_utils.models.optical_flow import (
    mix_neighbours,
    refine_flow,
    refine_flow_from_zero,
    upsample_flow,
    warp,
)

COLOURS = 3
NEIGHBOURS = 9  # whose motion a pixel may share: 3x3
MOTION_CHANNELS = 6  # flow, acceleration and the last update, as the decoder sees them
CONTEXT_CHANNELS = 24  # that a coarse level hears of the level before
BLEND_CHANNELS = 24  # of the last layers
LEAST_LEVELS = 3
LEAST_SIDE = 16  # in pixels, of a frame that is halved again
COARSEST_STEPS = 3  # of least squares
MIDDLE_STEPS = 1
FINEST_STEPS = 2
FIRST_BONUS = 3.0  # logit by which, untrained, the first motion counts more


@dataclass(frozen=True)
class MotionNetConfig:
    """What a `MotionNet`, and the `Prior` around it, are built with.

    Attributes:
        widths: channels of the encoder at the finest level, and at the others.
        hidden: channels of the decoder, likewise.
        candidates: motions to choose from; 0 turns motion off.
        noise: standard deviation of the noise on the skips in `train` mode.
        context: frames that the prior looks at, 2 to 5.
    """

    widths: tuple[int, int] = (8, 16)
    hidden: tuple[int, int] = (16, 40)
    candidates: int = 2
    noise: float = 0.1
    context: int = 5


class Motion(NamedTuple):
    """Motion at one level, (dx, dy) in pixels of that level."""

    flow: Tensor  # (N, 2, h, w): from the next frame back to the last one
    acceleration: Tensor  # (N, 2, h, w): change of the flow from frame to frame

    @property
    def over_two_frames(self) -> Tensor:
        """From the next frame back to the one before the last, (N, 2, h, w)."""
        return 2 * self.flow + self.acceleration

    @property
    def over_three_frames(self) -> Tensor:
        """From the next frame back to the third last, (N, 2, h, w)."""
        return 3 * (self.flow + self.acceleration)

    def upsample(self) -> Motion:
        """The same for the next level, of twice the size, without gradients."""
        flow = self.flow.detach()  # each level answers for itself: through many warps they are wild
        acceleration = self.acceleration.detach()
        return Motion(2 * upsample_flow(flow), 2 * upsample_flow(acceleration))


class MotionPrediction(NamedTuple):
    """What a `MotionNet` predicts: the next frame, and all that it is made of."""

    frame: Tensor  # (N, 3, H, W), about [0, 1]: the masks' blend of hypotheses, plus the residual
    hypotheses: Tensor  # (N, G, 3, H, W): last frame along each flow, frame before it, last frame
    masks: Tensor  # (N, G, 1, H, W), sum 1
    residual: Tensor  # (N, 3, H, W): what no hypothesis explains
    flows: Tensor  # (N, candidates, 2, H, W), at least one: as `Motion.flow`
    levels: list[Motion]  # coarse to fine
    states: list[Tensor]  # coarse to fine: what the decoder knows, (N, C, h, w)


class MotionNet(nn.Module):
    """An encoder, and a decoder with noisy skips that finds a motion from coarse to fine.

    Lists of layers hold two entries: for the finest level, and one that all coarser levels share.

    Args:
        config: how it is built; None: as the shipped one.
    """

    def __init__(self, config: MotionNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or MotionNetConfig()
        fine, coarse = self.config.widths
        small, large = self.config.hidden
        candidates = self.config.candidates
        hypotheses = candidates + 2 if candidates else 1

        fine_encoder = conv(COLOURS, fine)
        coarse_encoder = nn.Sequential(conv(COLOURS, coarse), nn.GELU(), conv(coarse, coarse))
        self.encoder = nn.ModuleList([fine_encoder, coarse_encoder])

        fine_narrow = nn.Conv2d(large, small, 1)
        coarse_narrow = nn.Conv2d(large, CONTEXT_CHANNELS, 1)
        self.narrow = nn.ModuleList([fine_narrow, coarse_narrow])

        fine_inputs = small + 2 * (COLOURS + fine) + MOTION_CHANNELS
        fine_decoder = nn.Sequential(conv(fine_inputs, small), nn.GELU())
        coarse_inputs = CONTEXT_CHANNELS + 3 * (COLOURS + coarse) + MOTION_CHANNELS
        coarse_decoder = nn.Sequential(
            conv(coarse_inputs, large), nn.GELU(), conv(large, large), nn.GELU()
        )
        self.decoder = nn.ModuleList([fine_decoder, coarse_decoder])

        outputs = 2 + 2 + NEIGHBOURS  # corrections of flow and acceleration, logits
        self.heads = nn.ModuleList([conv(small, outputs), conv(large, outputs)])

        self.others = conv(small, 2 * (candidates - 1)) if candidates > 1 else None
        self.last = nn.Sequential(
            conv(COLOURS * hypotheses + small + 1, BLEND_CHANNELS),
            nn.GELU(),
            conv(BLEND_CHANNELS, BLEND_CHANNELS),
            nn.GELU(),
            conv(BLEND_CHANNELS, hypotheses + 1 + COLOURS),
        )
        for layer in [*self.heads, self.last[-1]]:  # untrained, it is classical optical flow
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, frames: Tensor) -> MotionPrediction:
        """Three frames (N, 3, 3, H, W) in [0, 1] -> the next one, and all that it is made of."""
        return self.predict(frames, self.encode(frames))

    def encode(self, frames: Tensor) -> list[Tensor]:
        """(N, T, 3, H, W) in [0, 1] -> fine to coarse: colours, features; (N, T, 3 + C, h, w)."""
        rgb = frames.flatten(0, 1) - 0.5  # (N * T, 3, H, W)
        levels = [self._encode_level(rgb, 0)]
        while len(levels) < LEAST_LEVELS or _can_be_halved(rgb):
            rgb = F.avg_pool2d(rgb, 2)  # (N * T, 3, h, w)
            levels.append(self._encode_level(rgb, 1))
        return [level.unflatten(0, frames.shape[:2]) for level in levels]

    def _encode_level(self, rgb: Tensor, own: int) -> Tensor:
        features = torch.tanh(self.encoder[own](rgb))  # (N * T, C, h, w)
        if self.training and self.config.noise:
            features = features + self.config.noise * torch.randn_like(features)
        return torch.cat([rgb, features], 1)

    def estimate_motion(self, pyramid: list[Tensor]) -> tuple[list[Motion], list[Tensor]]:
        """Find the motion: at each level least squares, then the decoder, which corrects them.

        Args:
            pyramid: of three frames, as `encode` gives it.

        Returns:
            Coarse to fine: motions, and states of the decoder, (N, C, h, w).
        """
        motion = _no_motion(pyramid)
        logits = _zeros(pyramid, NEIGHBOURS)  # (N, 9, h, w)
        context = _zeros(pyramid, CONTEXT_CHANNELS)  # (N, 24, h, w)
        levels: list[Motion] = []
        states: list[Tensor] = []
        for level in reversed(range(len(pyramid))):
            own = min(level, 1)
            if states:
                motion = motion.upsample()
                logits = F.interpolate(logits, scale_factor=2)
                context = upsample_flow(self.narrow[own](states[-1]))
            motion, update = least_squares(pyramid, level, motion)
            inputs = [context, *_warped_features(pyramid, level, motion)]
            inputs += [0.2 * motion.flow, 0.2 * motion.acceleration, update]
            state = self.decoder[own](torch.cat(inputs, 1))  # (N, C, h, w)
            output = self.heads[own](state)
            motion, logits = _correct(motion, logits, output)
            levels.append(motion)
            states.append(state)
        return levels, states

    def predict(self, frames: Tensor, pyramid: list[Tensor]) -> MotionPrediction:
        """Predict the frame after three others.

        Args:
            frames: (N, 3, 3, H, W) in [0, 1].
            pyramid: of them, as `encode` gives it.
        """
        levels, states = self.estimate_motion(pyramid)
        flows = [levels[-1].flow]  # of (N, 2, H, W)
        if self.others is not None:
            others = self.others(states[-1])  # (N, 2 * (candidates - 1), H, W)
            flows += [flows[0] + other for other in others.split(2, 1)]
        hypotheses, mismatch = self._hypotheses(frames, flows, levels[-1])

        count = len(hypotheses)
        inputs = torch.cat([*hypotheses, states[-1], 10 * mismatch], 1)
        output = self.last(inputs)  # (N, count + 4, H, W)
        logits, gate, colours = output.split((count, 1, COLOURS), 1)
        bonus = output.new_tensor([FIRST_BONUS] + [0.0] * (count - 1))
        masks = (logits + bonus[:, None, None]).softmax(1)
        masks = masks[:, :, None]  # (N, count, 1, H, W)
        residual = torch.sigmoid(gate) * colours  # (N, 3, H, W)
        stacked = torch.stack(hypotheses, 1)  # (N, count, 3, H, W)
        frame = (masks * stacked).sum(1) + residual  # (N, 3, H, W)
        flow = torch.stack(flows, 1)
        return MotionPrediction(frame, stacked, masks, residual, flow, levels, states)

    def _hypotheses(
        self, frames: Tensor, flows: list[Tensor], motion: Motion
    ) -> tuple[list[Tensor], Tensor]:
        """What the next frame may be, (N, 3, H, W) each; how far two differ, (N, 1, H, W)."""
        last = frames[:, 2]
        if not self.config.candidates:
            return [last], last[:, :1] * 0
        hypotheses = [warp(last, flow) for flow in flows]
        from_before = warp(frames[:, 1], motion.over_two_frames)
        mismatch = (from_before - hypotheses[0]).square()
        return [*hypotheses, from_before, last], mismatch.mean(1, keepdim=True)


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3, same size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


@torch.no_grad()
def least_squares_flow(pyramid: list[Tensor]) -> Tensor:
    """The flow that least squares find alone, (N, 2, H, W), in a pyramid of three frames."""
    motion = _no_motion(pyramid)
    for level in reversed(range(len(pyramid))):
        if level < len(pyramid) - 1:
            motion = motion.upsample()
        motion, _ = least_squares(pyramid, level, motion)
    return motion.flow


@torch.no_grad()
def least_squares(pyramid: list[Tensor], level: int, motion: Motion) -> tuple[Motion, Tensor]:
    """The motion, brought nearer at one level of a pyramid; and the last update, (N, 2, h, w)."""
    last = pyramid[level][:, 2, :COLOURS]  # (N, 3, h, w)
    before = pyramid[level][:, 1, :COLOURS]
    flow, acceleration = motion
    if level == len(pyramid) - 1:
        steps = COARSEST_STEPS
    elif level == 0:
        steps = FINEST_STEPS
    else:
        steps = MIDDLE_STEPS
        flow = refine_flow_from_zero(last, before, flow, acceleration)
    flow, update = refine_flow(last, before, flow, acceleration, steps)
    return Motion(flow, acceleration), update


def _correct(motion: Motion, logits: Tensor, output: Tensor) -> tuple[Motion, Tensor]:
    """A level's motion and its neighbours' logits, with what the head puts out, (N, 13, h, w)."""
    flow, acceleration, more_logits = output.split((2, 2, NEIGHBOURS), 1)
    limit = max(output.shape[-2:]) / 2  # what is faster is not seen
    logits = logits + more_logits
    flow = mix_neighbours(motion.flow + flow, logits)
    flow = flow.clamp(-limit, limit)
    acceleration = motion.acceleration + acceleration
    acceleration = acceleration.clamp(-limit, limit)
    return Motion(flow, acceleration), logits


def _warped_features(pyramid: list[Tensor], level: int, motion: Motion) -> list[Tensor]:
    """A level's colours and features, warped along a motion, (N, 3 + C, h, w) for each frame."""
    features = pyramid[level]  # (N, 3, 3 + C, h, w)
    third_last, before, last = features.unbind(1)
    warped = [warp(last, motion.flow), warp(before, motion.over_two_frames)]
    if level:  # the third last is not worth its time at full size
        warped.append(warp(third_last, motion.over_three_frames))
    return warped


def _zeros(pyramid: list[Tensor], channels: int) -> Tensor:
    """(N, channels, h, w) for the coarsest level."""
    coarsest = pyramid[-1]
    return coarsest.new_zeros(len(coarsest), channels, *coarsest.shape[-2:])


def _no_motion(pyramid: list[Tensor]) -> Motion:
    return Motion(_zeros(pyramid, 2), _zeros(pyramid, 2))


def _can_be_halved(rgb: Tensor) -> bool:
    height, width = rgb.shape[-2:]
    return min(height, width) >= LEAST_SIDE and height % 2 == 0 and width % 2 == 0
