"""Short descriptions of maps, whatever their size: what a linear probe can work with."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SPEEDS = (0.5, 1.0, 2.0, 4.0)  # pixels a frame
DIRECTIONS = 8
REST_WIDTH = 0.3  # pixels a frame: standard deviation of the bin around rest
RELATIVE_WIDTH = 0.5  # of the other bins, as a share of their speed
QUARTERS = 2  # parts of the frame along each side


def velocity_histogram(velocity: Tensor) -> Tensor:
    """How much of each quarter of the frame moves how: a histogram with soft bins.

    The bins are rest, and four speeds in eight directions.

    Args:
        velocity: (N, 2, H, W), (dx, dy) in pixels a frame.

    Returns:
        (N, 132) in [0, 1]: 33 bins times four quarters.

    Examples:
        >>> to_the_right = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
        >>> histogram = velocity_histogram(to_the_right)
        >>> histogram.shape, histogram[0].argmax().item() // 4  # rest is bin 0
        (torch.Size([1, 132]), 17)
    """
    centres = [(0.0, 0.0)]
    widths = [REST_WIDTH]
    for speed in SPEEDS:
        for direction in range(DIRECTIONS):
            angle = 2 * math.pi * direction / DIRECTIONS
            centres.append((speed * math.cos(angle), speed * math.sin(angle)))
            widths.append(RELATIVE_WIDTH * speed)
    centre = velocity.new_tensor(centres)[:, :, None, None]  # (33, 2, 1, 1)
    width = velocity.new_tensor(widths)[:, None, None]  # (33, 1, 1)
    distance = (velocity[:, None] - centre).square().sum(2)  # (N, 33, H, W)
    share = torch.exp(-distance / (2 * width.square()))
    return F.adaptive_avg_pool2d(share, QUARTERS).flatten(1)
