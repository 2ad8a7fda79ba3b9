"""Motion between two frames: reading along it, and least squares that find it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DAMPING = 1e-4  # added to squared gradients: a picture without any has no motion
ROUNDS = 8  # of smoothing the motion, a step
OUTLIER = 0.02  # a difference in colour from which on a pixel counts less


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """x (N, C, H, W) read at place + flow (N, 2, H, W), (dx, dy) in pixels; the border's value outside."""
    size = x.new_tensor(x.shape[:-3:-1])
    places = (_centres(x) + flow.movedim(1, -1)) * (2 / size) + (1 / size - 1)
    return F.grid_sample(x, places, padding_mode="border", align_corners=False)


def _centres(x: Tensor) -> Tensor:
    """Of (..., H, W): x and y of each pixel, (H, W, 2)."""
    rows, columns = (torch.arange(n, device=x.device, dtype=x.dtype) for n in x.shape[-2:])
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)


def double(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2 H, 2 W), bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def box(x: Tensor, radius: int) -> Tensor:
    """Means over windows of 2 * radius + 1 pixels a side, of what is inside; the same shape."""
    return F.avg_pool2d(x, 2 * radius + 1, 1, radius, count_include_pad=False)


def lucas_kanade(a: Tensor, b: Tensor, flow: Tensor) -> Tensor:
    """The step s that makes a(x + s) equal to b(x + 2 s), and flow + s smooth where the pictures say little.

    Least squares over windows of 5x5 pixels (Lucas and Kanade 1981), and ROUNDS of Jacobi's iteration that pull
    every vector to the mean of its neighbours (Horn and Schunck 1981; both together: Bruhn et al. 2005). How hard
    they pull is measured in the clip's own mean gradient. What is read outside the frame does not count, nor does
    a change of light, the median of all differences.

    a, b: (N, C, H, W) in [0, 1] or shifted, read along flow (N, 2, H, W) and 2 * flow. Returns (N, 2, H, W), at
    most 2 pixels each way.
    """
    padded = F.pad((a + b) / 2, [1] * 4, mode="replicate")
    dx = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    dy = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    off = a - b
    off = off - off.flatten(2).median(2).values[..., None, None]
    products = torch.stack([(p * q).sum(1) for p, q in ((dx, dx), (dx, dy), (dy, dy), (dx, off), (dy, off))], 1)
    counts = inside(flow) / (1 + off.square().mean(1, keepdim=True) / OUTLIER**2).sqrt()
    xx, xy, yy, x, y = box(products * counts, 2).split(1, 1)
    pull = DAMPING + (xx + yy).mean((2, 3), keepdim=True)
    xx, yy = xx + pull, yy + pull
    inverse, cross = torch.cat([yy, xx], 1) / (xx * yy - xy * xy), xy / (xx * yy - xy * xy)
    known = torch.cat([x, y], 1) - pull * flow
    fixed, own, other = flow + inverse * known - cross * known.flip(1), pull * inverse, -pull * cross
    found = flow
    for _ in range(ROUNDS):
        mean = box(found, 1)
        found = fixed + own * mean + other * mean.flip(1)
    return (found - flow).clamp(-2, 2)


def inside(flow: Tensor) -> Tensor:
    """1 where twice the flow (N, 2, H, W) ends in the frame, else 0; (N, 1, H, W)."""
    high, wide = flow.shape[-2:]
    x, y = (_centres(flow).movedim(-1, 0) + 2 * flow).unbind(1)
    return ((x > -1) & (x < wide) & (y > -1) & (y < high)).to(flow)[:, None]


def share(flow: Tensor, logits: Tensor) -> Tensor:
    """Each pixel's motion as a mean over its 3x3 neighbours', weighted by softmax of (N, 9, H, W)."""
    high, wide = flow.shape[-2:]
    padded, weights = F.pad(flow, [1] * 4, mode="replicate"), logits.softmax(1).split(1, 1)
    return sum(w * padded[:, :, k // 3 : k // 3 + high, k % 3 : k % 3 + wide] for k, w in enumerate(weights))
