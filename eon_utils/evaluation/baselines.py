"""What a model has to beat: linear algebra, and thirty years of engineering; copies, lines and optical flow."""

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


def copy_last(clips: Tensor) -> Tensor:
    """Nothing moves: (N, T, 3, H, W) -> the last frame, (N, 3, H, W)."""
    return clips[:, -1]


def linear_extrapolation(clips: Tensor) -> Tensor:
    """Every pixel goes on as it did: (N, T, 3, H, W), T >= 2 -> last + (last - one before), in [0, 1]."""
    return (2 * clips[:, -1] - clips[:, -2]).clamp(0, 1)


def _gray(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) in [0, 1] -> (H, W) uint8."""
    import cv2

    return (255 * cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)).round().clip(0, 255).astype(np.uint8)


def _flow(before: np.ndarray, after: np.ndarray, method: str) -> np.ndarray:
    """Two frames (H, W, 3) in [0, 1] -> where each pixel of the first is in the second, (H, W, 2), (dx, dy)."""
    import cv2

    before, after = _gray(before), _gray(after)
    if method == "tvl1":
        from skimage.registration import optical_flow_tvl1

        return np.stack(optical_flow_tvl1(before / 255, after / 255, dtype=np.float32)[::-1], -1)
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)  # the frames are small
    return dis.calc(before, after, None)


def _frames(clips: Tensor) -> np.ndarray:
    """(N, T, 3, H, W) -> the last two frames, (N, 2, H, W, 3)."""
    return clips[:, -2:].cpu().permute(0, 1, 3, 4, 2).contiguous().numpy()


def forward_flow(clips: Tensor, method: str = "dis") -> Tensor:
    """Where each pixel of the last frame goes if it moves on as it did: (N, T, 3, H, W) -> (N, 2, H, W), (dx, dy).

    The flow from the last frame back to the one before, turned round. method: "dis" (Kroeger et al. 2016) or
    "tvl1" (Zach et al. 2007).
    """
    flows = [-_flow(last, before, method) for before, last in _frames(clips)]
    return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).to(clips.device)


def flow_extrapolation(clips: Tensor) -> Tensor:
    """Every surface moves on as it did: DIS optical flow (Kroeger et al. 2016), extrapolated by one frame.

    The flow from the last frame back to the one before says where each surface came from. The next frame is the
    last one, read at that distance again; a second lookup takes the flow from where the surface is now.

    (N, T, 3, H, W) in [0, 1], T >= 2, H and W at least 16 -> (N, 3, H, W), the same device.
    """
    import cv2

    here = np.stack(np.meshgrid(*(np.arange(side, dtype=np.float32) for side in clips.shape[:-3:-1])), -1)
    how = {"interpolation": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    made = []
    for before, last in _frames(clips):
        flow = _flow(last, before, "dis")
        flow = cv2.remap(flow, here + flow, None, **how)
        made.append(cv2.remap(last, here + flow, None, **how))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).clamp(0, 1).to(clips.device)


FRAME_BASELINES = {"copy last": copy_last, "linear": linear_extrapolation, "optical flow": flow_extrapolation}
