"""The network of the prior: it explains the next frame by motion, from coarse to fine, and adds what is residual."""

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

STEPS = (3, 1, 2)  # of least squares at the coarsest level, at those between, at the finest


@dataclass(frozen=True)
class MotionNetConfig:
    """What a `MotionNet`, and the `Prior` around it, are built with.

    widths: channels of the encoder at the finest level and at the others. hidden: of the decoder, likewise.
    candidates: motions to choose from; 0 turns motion off. noise: standard deviation of the noise on the skips in
    `train` mode. context: frames that the prior looks at, 2 to 5.
    """

    widths: tuple[int, int] = (8, 16)
    hidden: tuple[int, int] = (16, 40)
    candidates: int = 2
    noise: float = 0.1
    context: int = 5


class MotionPrediction(NamedTuple):
    """What the network of a `Prior` makes of clips (N, T, 3, H, W); one entry a pixel of the frame to come."""

    frame: Tensor  # (N, 3, H, W), about [0, 1]: the masks' blend of the hypotheses, and what is residual
    hypotheses: Tensor  # (N, G, 3, H, W): the last frame along each motion, the one before along the first, the last
    masks: Tensor  # (N, G, 1, H, W), sum 1
    residual: Tensor  # (N, 3, H, W): what no guess explains
    flows: Tensor  # (N, candidates, 2, H, W), (dx, dy) in pixels: where in the last frame each pixel is read
    levels: list[tuple[Tensor, Tensor]]  # coarse to fine: flow, and its change from frame to frame
    states: list[Tensor]  # coarse to fine: what the decoder knows, (N, C, h, w)


class MotionNet(nn.Module):
    """An encoder, and a decoder with noisy skips that finds a motion from coarse to fine."""

    def __init__(self, config: MotionNetConfig = MotionNetConfig()) -> None:  # noqa: B008
        super().__init__()
        self.config = config
        widths, hidden = config.widths, config.hidden
        candidates = self.candidates = config.candidates
        self.noise = config.noise
        fine, coarse = widths
        small, large = hidden
        self.encoder = nn.ModuleList(
            [conv(3, fine), nn.Sequential(conv(3, coarse), nn.GELU(), conv(coarse, coarse))]
        )
        self.narrow = nn.ModuleList([nn.Conv2d(large, small, 1), nn.Conv2d(large, 24, 1)])
        self.decoder = nn.ModuleList(
            [
                nn.Sequential(conv(small + 2 * (fine + 3) + 6, small), nn.GELU()),
                nn.Sequential(conv(24 + 3 * (coarse + 3) + 6, large), nn.GELU(), conv(large, large), nn.GELU()),
            ]
        )
        self.heads = nn.ModuleList(conv(n, 4 + 9) for n in hidden)
        hypotheses = candidates + 2 if candidates else 1
        self.others = conv(small, 2 * (candidates - 1)) if candidates > 1 else None
        self.last = nn.Sequential(
            conv(3 * hypotheses + small + 1, 24), nn.GELU(), conv(24, 24), nn.GELU(), conv(24, hypotheses + 4)
        )
        for layer in [*self.heads, self.last[-1]]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, frames: Tensor) -> MotionPrediction:
        """(N, 3, 3, H, W) in [0, 1], three frames -> the next frame and all that it is made of."""
        return self.predict(frames, self.encode(frames))

    def predict(self, frames: Tensor, pyramid: list[Tensor]) -> MotionPrediction:
        """Three frames (N, 3, 3, H, W) and their features -> explanation."""
        last, before = frames[:, 2], frames[:, 1]
        levels, states = self.estimate_motion(pyramid)
        flow, change = levels[-1]
        flows, hypotheses = [flow], [last]
        if self.candidates:
            flows += [flow + other for other in self.others(states[-1]).split(2, 1)] if self.others else []
            hypotheses = [*(warp(last, f) for f in flows), warp(before, 2 * flow + change), last]
        match = (hypotheses[-2] - hypotheses[0]).square().mean(1, keepdim=True) if self.candidates else last[:, :1] * 0
        made = self.last(torch.cat([*hypotheses, states[-1], 10 * match], 1))
        bias = made.new_tensor([3.0] + [0.0] * (len(hypotheses) - 1))
        masks = (made[:, : len(hypotheses)] + bias[:, None, None]).softmax(1)[:, :, None]
        residual = torch.sigmoid(made[:, -4:-3]) * made[:, -3:]
        stacked = torch.stack(hypotheses, 1)
        frame = (masks * stacked).sum(1) + residual
        return MotionPrediction(frame, stacked, masks, residual, torch.stack(flows, 1), levels, states)

    def encode(self, frames: Tensor) -> list[Tensor]:
        """(N, T, 3, H, W) -> fine to coarse: colours and features, (N, T, 3 + C, h, w)."""
        rgb, levels = frames.flatten(0, 1) - 0.5, []
        while len(levels) < 3 or (min(rgb.shape[-2:]) >= 16 and not any(side % 2 for side in rgb.shape[-2:])):
            rgb = F.avg_pool2d(rgb, 2) if levels else rgb
            skip = torch.tanh(self.encoder[min(len(levels), 1)](rgb))
            if self.training and self.noise:
                skip = skip + self.noise * torch.randn_like(skip)
            levels.append(torch.cat([rgb, skip], 1).unflatten(0, frames.shape[:2]))
        return levels

    def estimate_motion(
        self, pyramid: list[Tensor], learnt: bool = True
    ) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        """Features of three frames -> coarse to fine: (flow, change), each (N, 2, h, w); states (N, C, h, w)."""
        states, levels = [], []
        flow = change = ties = pyramid[-1]  # replaced at once
        for level in range(len(pyramid) - 1, -1, -1):
            skips, own = pyramid[level], min(level, 1)  # one small network for all coarser levels
            rgb = skips[:, :, :3]
            if levels:  # each level answers for itself: gradients through many warps are wild
                flow, change = 2 * upsample_flow(flow.detach()), 2 * upsample_flow(change.detach())
                ties = F.interpolate(ties, scale_factor=2)
            else:
                flow, ties = (rgb.new_zeros(len(rgb), n, *rgb.shape[-2:]) for n in (2, 9))
                change = flow
            with torch.no_grad():
                if levels and level:
                    flow = refine_flow_from_zero(rgb[:, 2], rgb[:, 1], flow, change)
                flow, step = refine_flow(rgb[:, 2], rgb[:, 1], flow, change, STEPS[min(len(levels), 1) + (level == 0)])
            if not learnt:  # least squares alone
                levels.append((flow, change))
                continue
            along = [warp(skips[:, 2], flow), warp(skips[:, 1], 2 * flow + change)]
            if level:  # the third frame is not worth its time at full size
                along.append(warp(skips[:, 0], 3 * (flow + change)))
            known = rgb.new_zeros(len(rgb), 24, *rgb.shape[-2:])
            if states:
                known = upsample_flow(self.narrow[own](states[-1]))
            states.append(self.decoder[own](torch.cat([known, *along, 0.2 * flow, 0.2 * change, step], 1)))
            made = self.heads[own](states[-1])
            ties = ties + made[:, 4:]
            size = max(rgb.shape[-2:]) / 2  # faster is not seen
            flow = mix_neighbours(flow + made[:, :2], ties).clamp(-size, size)
            change = (change + made[:, 2:4]).clamp(-size, size)
            levels.append((flow, change))
        return levels, states


def conv(given: int, made: int) -> nn.Conv2d:
    """3x3, same size."""
    return nn.Conv2d(given, made, 3, padding=1)
