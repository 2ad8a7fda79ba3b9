"""What a model has to beat: linear algebra, and thirty years of engineering."""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


class PatchPCA:
    """The best linear code of patches: their principal components, fitted in closed form.

    pictures: (N, 3, H, W) in [0, 1]. patch: side of a patch in pixels; H and W are multiples of it. `directions`
    are the principal ones as columns, strongest first, (3 * patch**2, 3 * patch**2).
    """

    def __init__(self, pictures: Tensor, patch: int = 16) -> None:
        self.patch = patch
        patches = F.unfold(pictures - 0.5, patch, stride=patch).transpose(1, 2).flatten(0, 1)
        self.directions = torch.linalg.eigh(patches.T @ patches)[1].flip(1)

    def __call__(self, pictures: Tensor, numbers: int) -> Tensor:
        """(N, 3, H, W) -> what `numbers` numbers for each 64x64 pixels leave of it; same shape, in [0, 1]."""
        kept = self.directions[:, : numbers * self.patch**2 // 64**2]
        columns = F.unfold(pictures - 0.5, self.patch, stride=self.patch)
        rebuilt = F.fold(kept @ (kept.T @ columns), pictures.shape[-2:], self.patch, stride=self.patch)
        return (rebuilt + 0.5).clamp(0, 1)


def jpeg(pictures: Tensor, budget: int) -> Tensor:
    """Each picture as the best JPEG whose coded pixels take at most `budget` bytes; the header is not counted.

    (N, 3, H, W) in [0, 1] -> the same shape; plain gray where not even the coarsest quality fits.
    """
    best = torch.full_like(pictures, 0.5, device="cpu")
    for index, values in enumerate((255 * pictures).round().byte().permute(0, 2, 3, 1).cpu().numpy()):
        picture = Image.fromarray(values)
        for quality in range(1, 100, 2):
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=quality, optimize=True)
            coded = file.getvalue()
            if len(coded) - coded.index(b"\xff\xda") > budget:  # the header ends where the scan starts
                break
            best[index] = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
    return best.to(pictures.device)
