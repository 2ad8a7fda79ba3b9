"""How tests read a frame along a flow, apart from the code that they test."""

import torch
import torch.nn.functional as F


def carried_back(following, flow):
    """Frames read where a flow says that the surfaces of the frame before went.

    `following` is (N, 3, H, W), `flow` (N, 2, H, W).
    """
    side = flow.shape[-1]
    centres = torch.arange(side) + 0.5
    place = torch.stack(torch.meshgrid(centres, centres, indexing="xy")) + flow
    grid = (2 * place / side - 1).permute(0, 2, 3, 1)
    return F.grid_sample(following, grid, padding_mode="border", align_corners=False)
