"""Motion between two frames: reading along it, and least squares that find it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DAMPING = 1e-4  # added to squared gradients: a picture without any has no motion
OUTLIER = 0.02  # a difference in colour from which on a pixel counts less


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """x (N, C, H, W) read at place + flow (N, 2, H, W), (dx, dy) in pixels; the border's value outside."""
    size = x.new_tensor(x.shape[:-3:-1])
    places = (_centres(x) + flow.permute(0, 2, 3, 1)) * (2 / size) + (1 / size - 1)
    return F.grid_sample(x, places, padding_mode="border", align_corners=False)


def _centres(x: Tensor) -> Tensor:
    """Of (..., H, W): x and y of each pixel, (H, W, 2)."""
    rows, columns = (torch.arange(n, device=x.device, dtype=x.dtype) for n in x.shape[-2:])
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)


def upsample_flow(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2 H, 2 W), bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def box_filter(x: Tensor, radius: int) -> Tensor:
    """Means over windows of 2 * radius + 1 pixels a side, the border repeated outside; (N, C, H, W), the same."""
    width = 2 * radius + 1  # sums of shifted copies: on batches faster than avg_pool2d
    for dim in (2, 3):
        padded = F.pad(x, [0, 0, radius, radius] if dim == 2 else [radius, radius, 0, 0], mode="replicate")
        x = sum(padded.narrow(dim, k, x.shape[dim]) for k in range(width)) / width
    return x


def lucas_kanade(a: Tensor, b: Tensor, flow: Tensor, rounds: int = 8) -> Tensor:
    """The step s that makes a(x + s) equal to b(x + 2 s), and flow + s smooth where the pictures say little.

    Least squares over windows of 5x5 pixels (Lucas and Kanade 1981), and `rounds` of Jacobi's iteration that pull
    every vector to the mean of its neighbours (Horn and Schunck 1981; both together: Bruhn et al. 2005). How hard
    they pull is measured in the clip's own mean gradient. What is read outside the frame does not count, nor does
    a change of light, the median of all differences.

    a, b: (N, C, H, W) in [0, 1] or shifted, read along flow (N, 2, H, W) and 2 * flow. Returns (N, 2, H, W), at
    most 2 pixels each way.
    """
    padded = F.pad((a + b) / 2, [1] * 4, mode="replicate")
    dx = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    dy = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    off = remove_brightness_change(a - b)
    products = torch.stack([(p * q).sum(1) for p, q in ((dx, dx), (dx, dy), (dy, dy), (dx, off), (dy, off))], 1)
    counts = in_frame(flow) / (1 + off.square().mean(1, keepdim=True) / OUTLIER**2).sqrt()
    xx, xy, yy, x, y = box_filter(products * counts, 2).split(1, 1)
    pull = DAMPING + (xx + yy).mean((2, 3), keepdim=True)
    xx, yy = xx + pull, yy + pull
    inverse, cross = torch.cat([yy, xx], 1) / (xx * yy - xy * xy), xy / (xx * yy - xy * xy)
    known = torch.cat([x, y], 1) - pull * flow
    fixed, own, other = flow + inverse * known - cross * known.flip(1), pull * inverse, -pull * cross
    found = flow
    for _ in range(rounds):
        mean = box_filter(found, 1)
        found = torch.addcmul(torch.addcmul(fixed, own, mean), other, mean.flip(1))
    return (found - flow).clamp(-2, 2)


def refine_flow(a: Tensor, b: Tensor, flow: Tensor, change: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Steps of `lucas_kanade` that bring a, read along flow, and b, along 2 * flow + change, together.

    a, b: (N, C, H, W); flow, change: (N, 2, H, W). Returns the flow, at most half the frame, and the last step.
    """
    size, step = max(flow.shape[-2:]) / 2, torch.zeros_like(flow)
    for _ in range(steps):
        step = lucas_kanade(warp(a, flow), warp(b, 2 * flow + change), flow)
        flow = (flow + step).clamp(-size, size)
    return flow, step


def refine_flow_from_zero(a: Tensor, b: Tensor, flow: Tensor, change: Tensor) -> Tensor:
    """Two steps of `refine_flow` from flow, and two from rest: what a coarser level got wrong may be nearer to rest.

    A place keeps the one by which 7x7 pixels around it, and the whole frame, are more alike. Shapes as `refine_flow`.
    """
    a, b, change = (torch.cat([x, x]) for x in (a, b, change))
    flow, _ = refine_flow(a, b, torch.cat([flow, torch.zeros_like(flow)]), change, 2)
    off = (remove_brightness_change(warp(a, flow) - warp(b, 2 * flow + change)).square().sum(1, keepdim=True) + 1e-6).sqrt()
    (there, rest), (first, second) = flow.chunk(2), (box_filter(off, 3) + off.mean((2, 3), keepdim=True)).chunk(2)
    return torch.where(second < first, rest, there)


def invert_flow(flow: Tensor, last: Tensor, before: Tensor) -> Tensor:
    """Where each pixel of the next frame comes from, (N, 2, H, W) -> where each of the last one goes.

    At half size, then at full size, four rounds of: least squares on the last two frames, (N, 3, H, W); the median
    of 5x5 vectors (Sun et al. 2010, section 4); the best vector near by (Barnes et al. 2009, section 3.2).
    """
    ahead = F.avg_pool2d(-flow, 2) / 2
    for a, b in ((F.avg_pool2d(last, 2), F.avg_pool2d(before, 2)), (last, before)):
        ahead = ahead if a.shape[-1] == ahead.shape[-1] else 2 * upsample_flow(ahead)
        for _ in range(4):
            ahead = ahead - lucas_kanade(a, warp(b, -ahead), -ahead, rounds=30)
            ahead = _best(_around(ahead, 5).median(0).values, a, b)
    return _around(ahead, 5).median(0).values


def _around(flow: Tensor, side: int, apart: int = 1) -> Tensor:
    """Of each place, the vectors of side x side others, so many pixels apart: (side * side, N, 2, H, W)."""
    padded = F.pad(flow, [side // 2 * apart] * 4, mode="replicate")
    return F.unfold(padded, side, apart).view(len(flow), 2, -1, *flow.shape[-2:]).permute(2, 0, 1, 3, 4)


def _best(flow: Tensor, last: Tensor, before: Tensor) -> Tensor:
    """Along which vector are 3x3 pixels most alike: a place's own, one 3 or 1 pixels away, the whole frame's?"""
    for apart in (3, 1):
        tried = torch.cat([flow[None], _around(flow, 3, apart), dominant_motion(flow)[None]])
        then, now = (x.repeat(len(tried), 1, 1, 1) for x in (before, last))
        off = remove_brightness_change(warp(then, -tried.flatten(0, 1)) - now).abs().mean(1, keepdim=True)
        costs = box_filter(off.clamp(max=0.2), 1).unflatten(0, tried.shape[:2])
        costs[-1] *= 0.9  # where the pictures cannot tell, all move as one
        flow = tried.gather(0, costs.argmin(0, keepdim=True).expand(-1, -1, 2, -1, -1))[0]
    return flow


def dominant_motion(flow: Tensor) -> Tensor:
    """The affine motion that most of a flow agrees with, by reweighted least squares; (N, 2, H, W), the same."""
    places = F.pad(_centres(flow) / max(flow.shape[-2:]) - 0.5, [1, 0], value=1.0).flatten(0, 1)
    vectors = flow.flatten(2).mT
    found = vectors.median(1, keepdim=True).values
    for scale in (3, 1, 0.5, 0.25):  # pixels from which on a vector counts less
        heavy = places / (1 + ((vectors - found) / scale).square().sum(2, keepdim=True))
        found = places @ torch.linalg.solve(heavy.mT @ places + 1e-4 * torch.eye(3).to(flow), heavy.mT @ vectors)
    return found.mT.reshape(flow.shape)


def remove_brightness_change(off: Tensor) -> Tensor:
    """A difference (N, C, H, W) without that of the light: its median (each third pixel will do, in less time)."""
    some = off.flatten(2)[..., ::3]  # the largest half, not `median`: ONNX has no median
    return off - some.topk(some.shape[2] // 2 + 1).values[..., -1:, None]


def in_frame(flow: Tensor) -> Tensor:
    """1 where twice the flow (N, 2, H, W) ends in the frame, else 0; (N, 1, H, W)."""
    high, wide = flow.shape[-2:]
    x, y = (_centres(flow).permute(2, 0, 1) + 2 * flow).unbind(1)
    return ((x > -1) & (x < wide) & (y > -1) & (y < high)).to(flow)[:, None]


def mix_neighbours(flow: Tensor, logits: Tensor) -> Tensor:
    """Each pixel's motion as a mean over its 3x3 neighbours', weighted by softmax of (N, 9, H, W)."""
    high, wide = flow.shape[-2:]
    padded, weights = F.pad(flow, [1] * 4, mode="replicate"), logits.softmax(1).split(1, 1)
    return sum(w * padded[:, :, k // 3 : k // 3 + high, k % 3 : k % 3 + wide] for k, w in enumerate(weights))


def solve_linear(matrix: Tensor, right: Tensor) -> Tensor:
    """Gauss and Jordan's elimination, without pivots: (..., K, K), positive definite, and (..., K) -> (..., K).

    For K of a few and very many systems; unlike `torch.linalg.solve`, it can be exported to ONNX.
    """
    rows = list(torch.cat([matrix, right[..., None]], -1).unbind(-2))
    for k in range(len(rows)):
        rows[k] = rows[k] / rows[k][..., k : k + 1]
        rows = [row if j == k else row - row[..., k : k + 1] * rows[k] for j, row in enumerate(rows)]
    return torch.stack([row[..., -1] for row in rows], -1)
