"""Describes what is in a frame, wherever in it that is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYERS = 4  # that have a width
GROUP = 8  # channels that are normalized together


class ContentEncoder(nn.Module):
    """A convolutional network whose numbers say what is in a frame, not where.

    Opposite edges of a frame are glued together (circular padding). With any other padding what is
    near an edge is seen differently, and a network that is asked to tell clips apart learns to tell
    them by where things are.

    Args:
        widths: channels at half the size, at a quarter, and of two further stages there; multiples
            of 8.

    Raises:
        ValueError: for other widths.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48, 128)) -> None:
        super().__init__()
        if len(widths) != LAYERS or any(width < GROUP or width % GROUP for width in widths):
            raise ValueError(f"content={widths!r} must be {LAYERS} multiples of {GROUP}")
        half, quarter, further, last = widths
        self.numbers = 2 * last
        # No smaller than a quarter: the strokes of a digit are a few pixels wide.
        self.stages = nn.Sequential(
            _conv(3, half, stride=2),
            _conv(half, quarter, stride=2),
            _Residual(quarter),
            _conv(quarter, further),
            _Residual(further),
            _conv(further, last),
            _Residual(last),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) in [0, 1], H and W at least 4 -> mean and maximum of each channel.

        Returns:
            (N, 256) with the default widths.
        """
        maps = self.stages(frames - 0.5)  # (N, C, H / 4, W / 4)
        flat = maps.flatten(2)
        return torch.cat([flat.mean(2), flat.amax(2)], 1)


class _Residual(nn.Module):
    """Two convolutions that change what they are given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = _glued(width, width)
        self.norm = nn.GroupNorm(width // GROUP, width)

    def forward(self, x: Tensor) -> Tensor:
        change = self.first(x)
        change = self.norm(self.second(change))
        return F.gelu(x + change)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    norm = nn.GroupNorm(outputs // GROUP, outputs)
    return nn.Sequential(_glued(inputs, outputs, stride), norm, nn.GELU())


def _glued(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3x3; beyond an edge comes the opposite one."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False, padding_mode="circular")
