"""The online fit: how far a prediction can be trusted, asked of the clip's own past. No parameters to learn."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from eon_utils.models.optical_flow import box_filter, solve_linear

DEFAULT_WEIGHTS = (0.7, 0.05, 0.0, 0.0, 0.2)  # of the five hypotheses, where the past says nothing
GLOBAL_WEIGHT = 5.0  # how heavy the whole frame is in the fit, beside a place's own surroundings


def ridge_weights(hypotheses: Tensor, target: Tensor, default: Tensor) -> Tensor:
    """Ridge regression of what target, (L, N, 3, H, W), on hypotheses, (L, N, K, 3, H, W) -> weights (N, K, H, W).

    Towards `default`, (K,). The sums run over L frames, three colours, windows of 20 pixels a side and, GLOBAL_WEIGHT times
    as heavy, the whole frame; all are differences from the frame before.
    """
    count = hypotheses.shape[2]
    parts = [*hypotheses.unbind(2), target]
    products = torch.stack([(a * b).mean(2) for a in parts[:-1] for b in parts], 2).sum(0)
    coarse = F.avg_pool2d(products, 4)
    sums = box_filter(coarse, 2) + GLOBAL_WEIGHT * coarse.mean((2, 3), keepdim=True)
    sums = sums.permute(0, 2, 3, 1).unflatten(-1, (count, count + 1))
    gram, right = sums[..., :-1], sums[..., -1]
    pull = (1e-5 + 0.02 * gram.diagonal(dim1=-2, dim2=-1).mean(-1))[..., None]
    solved = solve_linear(gram + pull[..., None] * torch.eye(count).to(gram), right + pull * default)
    return F.interpolate(solved.permute(0, 3, 1, 2), size=target.shape[-2:], mode="bilinear", align_corners=False)


def leave_one_out_weights(hypotheses: Tensor, target: Tensor, default: Tensor) -> Tensor:
    """`ridge_weights`, mixed with the first guess alone and with none, as each would have done on the past.

    The fit is judged on each frame by weights from the other one. Each of the three counts by the inverse square
    of its error, the fit e times as much. Shapes as `ridge_weights`.
    """
    weights = ridge_weights(hypotheses, target, default)
    if len(target) < 2:
        return weights
    first = torch.zeros_like(weights)
    first[:, 0] = 1
    tried = [ridge_weights(hypotheses[1:], target[1:], default), ridge_weights(hypotheses[:1], target[:1], default)]
    made = [(torch.stack(tried)[:, :, :, None] * hypotheses).sum(2), hypotheses[:, :, 0], torch.zeros_like(target)]
    errors = torch.stack([(part - target).square().mean((0, 2)) for part in made], 1)
    coarse = F.avg_pool2d(errors, 4)
    errors = 1e-5 + (box_filter(coarse, 2) + GLOBAL_WEIGHT * coarse.mean((2, 3), keepdim=True)) / (1 + GLOBAL_WEIGHT)
    shares = (weights.new_tensor([1.0, 0.0, 0.0])[:, None, None] - 2 * errors.log()).softmax(1)
    shares = F.interpolate(shares, size=weights.shape[-2:], mode="bilinear", align_corners=False)
    return shares[:, :1] * weights + shares[:, 1:2] * first
