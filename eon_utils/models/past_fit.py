"""The fit to the past: what classical flow would have predicted of frames that are known."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from eon_utils.models.coarse_to_fine import coarse_to_fine, read_along
from eon_utils.models.optical_flow import global_mean, solve_linear, window_mean

DEFAULT_WEIGHTS = (0.9, 0.05, 0.0, 0.0)  # of the four hypotheses, where the past says nothing
ENDS = 3  # frames that are predicted: the one to come, and the last two
GLOBAL_WEIGHT = 5.0  # of the whole frame in the fit, beside a place's own surroundings
POOLED = 4  # side of the squares of pixels that share their weights
RIDGE = 0.02  # pull towards the default, as a share of the hypotheses' mean square
POWER = 4.0  # of a mean squared error, by which the fit and its rivals are weighed
BONUSES = (1.0, 0.0, 1.75)  # logits by which the fit, its first hypothesis and no change count more
NEAR = 4  # pixels each way, within which an error of the past raises doubt
DOUBTED = 2e-4  # mean squared error of 37 dB: half in doubt
LEAST_SQUARE = 1e-5  # of differences; what is smaller says nothing


class PastFit(NamedTuple):
    """What classical flow predicts, fitted to the past."""

    frame: Tensor  # (N, 3, H, W), shifted as the frames are
    error: Tensor  # (N, 1, H, W): squared, of the plain prediction of the last frame
    doubt: Tensor  # (N, 1, H, W): 0 where that was exact, up to 1; how much there is to learn
    velocities: list[Tensor]  # of the frame to come, as `coarse_to_fine` gives them


@torch.no_grad()
def fit_to_past(pyramid: list[Tensor]) -> PastFit:
    """The next frame from the last four, by classical flow, as far as that was right before.

    The last two frames given are predicted too, each from the two before it. Four hypotheses are
    fitted to these answers by ridge regression (`leave_one_out_weights`): the last frame along the
    motion; the frame before it, along the motion; the first of them, blurred; the frame before, not
    moved. A clip that stands still, flickers or moves unsteadily says so itself.

    Args:
        pyramid: fine to coarse, four frames (N, 4, 3, h, w) at each level, the last one first.
    """
    frames = pyramid[0]
    count = frames.shape[0]  # not len(), which an export takes for a constant
    pairs = [torch.cat([level[:, end : end + 2] for end in range(ENDS)]) for level in pyramid]
    times = frames.new_tensor([-1.0, -2.0]).expand(ENDS * count, 2)
    velocities = coarse_to_fine(pairs, times)
    ways = times[:, :, None, None, None] * velocities[0][:, None]
    reads = read_along(pairs[0], ways)  # (3 N, 2, 3, H, W)
    last, before = pairs[0].unbind(1)  # (3 N, 3, H, W) each
    moved, moved_before = reads.unbind(1)
    hypotheses = [moved, moved_before, window_mean(moved, 1), before]
    differences = torch.stack(hypotheses, 1) - last[:, None]  # (3 N, 4, 3, H, W)
    future, *past = differences.view(ENDS, count, *differences.shape[1:]).unbind(0)
    answers = torch.stack([frames[:, 0] - frames[:, 1], frames[:, 1] - frames[:, 2]])
    default = frames.new_tensor(DEFAULT_WEIGHTS)
    weights = leave_one_out_weights(torch.stack(past), answers, default)  # (N, 4, H, W)
    frame = frames[:, 0] + (weights[:, :, None] * future).sum(1)
    error = (past[0][:, 0] - answers[0]).square().mean(1, keepdim=True)
    around = (window_mean(error, NEAR) + global_mean(error)) / 2
    doubt = around / (around + DOUBTED)
    return PastFit(frame, error, doubt, [velocity[:count] for velocity in velocities])


def ridge_weights(hypotheses: Tensor, target: Tensor, default: Tensor) -> Tensor:
    """Weights of hypotheses at each place, by ridge regression on frames of the past.

    The sums run over frames, colours, windows of 20 pixels a side and, `GLOBAL_WEIGHT` times as
    heavy, the whole frame.

    Args:
        hypotheses: (L, N, K, 3, H, W) for L frames of the past, differences from the frame before.
        target: what these frames were, likewise, (L, N, 3, H, W).
        default: weights towards which the regression pulls, (K,).

    Returns:
        (N, K, H, W).
    """
    products = _products(hypotheses, target).sum(0)
    return _upsample(_solved(products, default), target)


def _products(hypotheses: Tensor, target: Tensor) -> Tensor:
    """Mean products of hypotheses with each other, and with the target last, around each place.

    Args:
        hypotheses, target: as `ridge_weights`.

    Returns:
        (L, N, K * (K + 1), h, w).
    """
    known = torch.cat([hypotheses, target[:, :, None]], 2)  # (L, N, K + 1, 3, H, W)
    frames, count, fitted = known.shape[:3]
    height, width = (side // POOLED for side in known.shape[-2:])
    squares = F.pixel_unshuffle(known.flatten(0, 2), POOLED)  # (L * N * (K + 1), 48, h, w)
    squares = squares.view(frames * count, fitted, *squares.shape[1:])
    squares = squares.permute(0, 3, 4, 1, 2).flatten(0, 2)  # (L * N * h * w, K + 1, 48)
    products = squares[:, :-1].bmm(squares.transpose(1, 2))  # (L * N * h * w, K, K + 1)
    products = products / squares.shape[2]
    products = products.view(frames * count, height, width, (fitted - 1) * fitted)
    products = products.permute(0, 3, 1, 2)
    sums = _surroundings(products)
    return sums.view(frames, count, *sums.shape[1:])


def _solved(products: Tensor, default: Tensor) -> Tensor:
    """Weights of the hypotheses by their products, (N, K * (K + 1), h, w): (N, K, h, w)."""
    count = len(default)
    sums = products.permute(0, 2, 3, 1)
    sums = sums.unflatten(3, (count, count + 1))  # (N, h, w, K, K + 1)
    matrix = sums[..., :-1]  # (N, h, w, K, K)
    right = sums[..., -1]  # (N, h, w, K)

    squares = matrix.diagonal(dim1=3, dim2=4)  # (N, h, w, K)
    pull = LEAST_SQUARE + RIDGE * squares.mean(3)
    pull = pull[..., None]  # (N, h, w, 1)
    identity = torch.eye(count).to(matrix)
    matrix = matrix + pull[..., None] * identity
    right = right + pull * default
    weights = solve_linear(matrix, right)  # (N, h, w, K)
    return weights.permute(0, 3, 1, 2)


def leave_one_out_weights(hypotheses: Tensor, target: Tensor, default: Tensor) -> Tensor:
    """`ridge_weights`, mixed with two rivals by how each would have done on the past.

    The rivals are the first hypothesis alone, and none: the last frame as it is. The fit is judged
    on each frame of the past by weights from the other one. Each of the three counts by the inverse
    fourth power of its error, the geometric mean of both frames: what was right once and wrong once
    is no better than what was half right twice. `BONUSES` favours some. With one frame of the past,
    nothing is mixed.

    Args:
        hypotheses, target, default: as `ridge_weights`, L at most 2.

    Returns:
        (N, K, H, W).
    """
    if len(target) == 1:
        return ridge_weights(hypotheses, target, default)
    products = _products(hypotheses, target)
    both = products.sum(0)
    first, second = products.unbind(0)
    weights = _solved(torch.cat([both, second, first]), default)
    fitted, *others = _upsample(weights, target).chunk(3)  # three of (N, K, H, W)
    left_out = torch.stack(others)[:, :, :, None] * hypotheses  # (2, N, K, 3, H, W)
    left_out = left_out.sum(2)

    errors = torch.stack([left_out - target, hypotheses[:, :, 0] - target, target], 2)
    errors = errors.square().mean(3)  # (2, N, 3, H, W)
    errors = F.avg_pool2d(errors.flatten(0, 1), POOLED)  # (2 N, 3, h, w)
    errors = LEAST_SQUARE + _surroundings(errors) / (1 + GLOBAL_WEIGHT)
    levels = errors.log().unflatten(0, (2, -1)).mean(0)  # (N, 3, h, w)
    logits = levels.new_tensor(BONUSES).view(3, 1, 1) - POWER * levels
    shares = _upsample(logits.softmax(1), target)  # (N, 3, H, W)
    fit_share, first_share, _ = shares.split(1, 1)  # (N, 1, H, W) each
    mixed = fit_share * fitted
    return torch.cat([mixed[:, :1] + first_share, mixed[:, 1:]], 1)


def _surroundings(x: Tensor) -> Tensor:
    """(N, C, h, w) -> the same: means around each place, plus the weighted global mean."""
    return window_mean(x, 2) + GLOBAL_WEIGHT * global_mean(x)


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
