"""What a model has to beat: linear codes and JPEG; copies, straight lines and optical flow.

Pictures and clips are float in [0, 1], or uint8, which counts as 255ths; what is returned is float.
Another type or range is a ValueError, and what is no tensor a TypeError.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eon_utils.models.inputs import in_unit_range

if TYPE_CHECKING:
    from PIL.Image import Image

TAKES = "a baseline takes pictures"  # how errors of what it is given begin
SCAN_START = b"\xff\xda"  # of a JPEG file: its header ends here
NO_ARRAY: Any = None  # OpenCV's type stubs do not say that an array may be left out


class PatchPCA:
    """The best linear code of patches: their principal components, fitted in closed form.

    Args:
        images: (N, 3, H, W) in [0, 1], H and W multiples of `patch`.
        patch: side of a patch in pixels.

    Attributes:
        directions: the principal directions, strongest first, as the columns of a matrix
            (3 * patch**2, 3 * patch**2).

    Examples:
        >>> images = torch.rand(8, 3, 64, 64)
        >>> PatchPCA(images, patch=8)(images, 512).shape
        torch.Size([8, 3, 64, 64])
    """

    def __init__(self, images: Tensor, patch: int = 16) -> None:
        self.patch = patch
        columns = self._to_columns(images)  # (N, 3 * patch**2, L)
        patches = columns.transpose(1, 2).flatten(0, 1)  # (N * L, 3 * patch**2)
        _, directions = torch.linalg.eigh(patches.T @ patches)
        self.directions = directions.flip(1)

    def __call__(self, images: Tensor, code_size: int) -> Tensor:
        """Encode and decode.

        Args:
            images: (N, 3, H, W) in [0, 1].
            code_size: how many numbers the code has for each 64x64 pixels.

        Returns:
            What is left of the images, the same shape, in [0, 1].
        """
        numbers = code_size * self.patch**2 // 64**2  # for each patch
        basis = self.directions[:, :numbers]
        columns = self._to_columns(images)
        code = basis.T @ columns  # (N, numbers, L)
        height, width = images.shape[-2:]
        output = F.fold(basis @ code, (height, width), self.patch, stride=self.patch)
        return (output + 0.5).clamp(0, 1)

    def _to_columns(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3 * patch**2, L): a column for each of the L patches."""
        images = in_unit_range(images, TAKES)
        return F.unfold(images - 0.5, self.patch, stride=self.patch)


def jpeg(images: Tensor, budget: int) -> Tensor:
    """Each image as the best JPEG whose coded pixels take at most `budget` bytes.

    The header is not counted, as a decoder could know it.

    Args:
        images: (N, 3, H, W) in [0, 1].
        budget: bytes an image.

    Returns:
        The same shape; plain gray where not even the coarsest quality fits.
    """
    from PIL import Image

    images = in_unit_range(images, TAKES)
    output = torch.full_like(images, 0.5, device="cpu")
    pixels = (255 * images).round().byte()
    pixels = pixels.permute(0, 2, 3, 1).cpu().numpy()  # (N, H, W, 3)
    for index, picture in enumerate(pixels):
        file = _best_jpeg(Image.fromarray(picture), budget)
        if file is not None:
            decoded = np.array(Image.open(file))
            output[index] = torch.from_numpy(decoded).permute(2, 0, 1) / 255
    return output.to(images.device)


def _best_jpeg(picture: Image, budget: int) -> io.BytesIO | None:
    """The file of the highest quality that is within the budget, None if there is none."""
    best = None
    for quality in range(1, 100, 2):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        coded = file.getvalue()
        if len(coded) - coded.index(SCAN_START) > budget:
            break
        best = file
    return best


def copy_last(clips: Tensor) -> Tensor:
    """Nothing moves: the last frame again.

    Args:
        clips: (N, T, 3, H, W) in [0, 1].

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    return in_unit_range(clips[:, -1], TAKES)


def linear_extrapolation(clips: Tensor) -> Tensor:
    """Every pixel changes as it did: the last frame, and its difference from the one before.

    Args:
        clips: (N, T, 3, H, W) in [0, 1], T >= 2.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    before, last = in_unit_range(clips[:, -2:], TAKES).unbind(1)
    extrapolated = 2 * last - before
    return extrapolated.clamp(0, 1)


def forward_flow(clips: Tensor, method: str = "dis") -> Tensor:
    """Where each pixel of the last frame goes if it moves on as it did.

    This is the flow from the last frame back to the one before, with its sign changed.

    Args:
        clips: (N, T, 3, H, W) in [0, 1], T >= 2.
        method: "dis" (Kroeger et al. 2016) or "tvl1" (Zach et al. 2007).

    Returns:
        (N, 2, H, W), (dx, dy) in pixels a frame.

    Raises:
        ValueError: for another method.
    """
    if method not in FLOW_METHODS:
        raise ValueError(f"method={method!r} must be one of {', '.join(FLOW_METHODS)}")
    flow_between = FLOW_METHODS[method]
    flows = [-flow_between(last, before) for before, last in _last_two_frames(clips)]
    return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).to(clips.device)


def flow_extrapolation(clips: Tensor) -> Tensor:
    """Every surface moves on as it did: optical flow, extrapolated by one frame.

    The flow (DIS, Kroeger et al. 2016) from the last frame back to the one before says where each
    surface came from. The next frame is the last one, read at that distance again. A second lookup
    takes the flow from where the surface is now.

    Args:
        clips: (N, T, 3, H, W) in [0, 1], T >= 2, H and W at least 16.

    Returns:
        (N, 3, H, W) in [0, 1], on the same device.
    """
    height, width = clips.shape[-2:]
    across = np.arange(width, dtype=np.float32)
    down = np.arange(height, dtype=np.float32)
    grid = np.stack(np.meshgrid(across, down), -1)  # (H, W, 2), (x, y)
    frames = []
    for before, last in _last_two_frames(clips):
        flow = _dis_flow(last, before)
        flow = _read_at(flow, grid + flow)
        frames.append(_read_at(last, grid + flow))
    output = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    return output.clamp(0, 1).to(clips.device)


def _last_two_frames(clips: Tensor) -> np.ndarray:
    """(N, T, 3, H, W) -> (N, 2, H, W, 3)."""
    frames = in_unit_range(clips[:, -2:], TAKES).cpu()
    return frames.permute(0, 1, 3, 4, 2).contiguous().numpy()


def _to_gray(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) in [0, 1] -> (H, W) uint8."""
    import cv2

    gray = 255 * cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return gray.round().clip(0, 255).astype(np.uint8)


def _dis_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Frames (H, W, 3) in [0, 1] -> how far each pixel moves from first to second, (H, W, 2)."""
    import cv2

    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(0)  # the frames are small
    return method.calc(_to_gray(first), _to_gray(second), NO_ARRAY)


def _tvl1_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """As `_dis_flow`, slower and smoother."""
    from skimage.registration import optical_flow_tvl1

    first_gray = _to_gray(first) / 255
    second_gray = _to_gray(second) / 255
    down, across = optical_flow_tvl1(first_gray, second_gray, dtype=np.float32)
    return np.stack((across, down), -1)


def _read_at(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(H, W, C) read at places (H, W, 2), (x, y), by linear interpolation; the border goes on."""
    import cv2

    return cv2.remap(values, places, NO_ARRAY, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


FLOW_METHODS = {"dis": _dis_flow, "tvl1": _tvl1_flow}
FRAME_BASELINES = {
    "copy last": copy_last,
    "linear": linear_extrapolation,
    "optical flow": flow_extrapolation,
}
