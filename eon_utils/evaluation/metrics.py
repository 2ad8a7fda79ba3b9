"""How good a reconstruction is, and how like photographs pictures are.

Pictures are (N, 3, H, W), float in [0, 1], or uint8, which counts as 255ths. Anything else but
tensors of float or uint8 is a ValueError or a TypeError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from eon_utils.models.conv_autoencoder import FramePredictor
from eon_utils.models.inputs import as_float

EXACT = 60.0  # dB; a rounding error of 1/1000, below what eight bits show
SSIM_WINDOW = 11  # pixels a side
NYQUIST = 0.5  # cycles a pixel: no picture holds a higher frequency
TAKES = "a measure takes pictures"  # how errors of what it is given begin
SLOPE_BAND = (0.04, 0.4)  # cycles a pixel, between which the slope of a spectrum is taken


def accuracy(images: Tensor, targets: Tensor) -> float:
    """One minus the mean absolute error, a fraction; 1 is perfect.

    Args:
        images: any shape.
        targets: a shape that broadcasts with it.

    Returns:
        One number for all of them.

    Examples:
        >>> accuracy(torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.25))
        0.75
    """
    error = (as_float(images, TAKES) - as_float(targets, TAKES)).abs().mean()
    return 1 - error.item()


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB for a peak of 1; infinite where an image is exact.

    Args:
        images: (N, ...).
        targets: a shape that broadcasts with it.

    Returns:
        One value an image, (N,).

    Examples:
        >>> psnr(torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)).shape
        torch.Size([2])
    """
    squares = (as_float(images, TAKES) - as_float(targets, TAKES)).square()
    error = squares.flatten(1).mean(1)  # (N,)
    return -10 * torch.log10(error)


@torch.no_grad()
def next_frame_psnr(predict: Callable[[Tensor], Tensor], clips: Tensor) -> float:
    """Mean PSNR in dB with which each clip's last frame is predicted from those before it.

    An exact frame counts as 60 dB, so that no infinity spoils the mean.

    Args:
        predict: (N, T, 3, H, W) in [0, 1] -> (N, 3, H, W); clipped here to [0, 1].
        clips: (N, T + 1, 3, H, W) in [0, 1].
    """
    clips = as_float(clips, TAKES)
    context = clips[:, :-1]
    target = clips[:, -1]
    predicted = predict(context).clamp(0, 1)
    values = psnr(predicted, target).clamp(max=EXACT)  # (N,)
    return values.mean().item()


@torch.no_grad()
def deep_path_share(model: FramePredictor, clips: Tensor) -> float:
    """How much of a predictor's accuracy comes through its code, and not through its skips.

    Accuracy is lost when the code is replaced by its mean over the clips, and when the skips are
    set to 0. The first loss is divided by both together.

    Args:
        model: predicts the next frame by `encode` and `decode`.
        clips: (N, T + 1, 3, H, W) in [0, 1]; the last frame is the target.

    Returns:
        A fraction: 1 without skips, 0 where neither costs anything. Far from training it may be
        any number, also a negative one.
    """
    context = clips[:, :-1]
    target = clips[:, -1]
    code, skips = model.encode(context)
    mean_code = code.mean(0, keepdim=True).expand_as(code)
    no_skips = [0 * skip for skip in skips]

    def decoded_accuracy(code: Tensor, skips: list[Tensor]) -> float:
        output = model.decode(context, code, skips)
        return accuracy(output.clamp(0, 1), target)

    intact = decoded_accuracy(code, skips)
    code_silenced = decoded_accuracy(mean_code, skips)
    skips_cut = decoded_accuracy(code, no_skips)
    both_losses = 2 * intact - code_silenced - skips_cut
    return (intact - code_silenced) / (both_losses or 1.0)


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) with a Gaussian window of 11x11 pixels.

    Args:
        images: (N, 3, H, W) in [0, 1].
        targets: the same shape.

    Returns:
        One value an image, (N,); 1 is perfect.

    Raises:
        ValueError: for pictures smaller than the window.
    """
    from skimage.metrics import structural_similarity

    size = tuple(images.shape[-2:])
    if min(size) < SSIM_WINDOW:
        raise ValueError(f"ssim needs pictures of at least 11x11 pixels, not {size}")
    values = []
    images = as_float(images, TAKES).detach().cpu()
    targets = as_float(targets, TAKES).detach().cpu()
    for image, target in zip(images, targets, strict=True):
        value = structural_similarity(
            image.numpy(),
            target.numpy(),
            data_range=1.0,
            channel_axis=0,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        values.append(float(cast(float, value)))
    return torch.tensor(values)


def spectrum(images: Tensor, bins: int = 24) -> tuple[Tensor, Tensor]:
    """Power by spatial frequency: the mean over all directions, images and channels.

    Args:
        images: (N, C, H, W).
        bins: how many equal steps of frequency.

    Returns:
        Frequencies (bins,) in cycles a pixel, up to 0.5 (Nyquist), and mean power (bins,).

    Examples:
        >>> frequencies, power = spectrum(torch.rand(2, 3, 32, 32), bins=8)
        >>> frequencies.shape, power.shape
        (torch.Size([8]), torch.Size([8]))
    """
    height, width = images.shape[-2:]
    waves = torch.fft.fft2(as_float(images, TAKES), norm="ortho")
    power = waves.abs().square().mean((0, 1))  # (H, W)
    down = torch.fft.fftfreq(height)[:, None]
    across = torch.fft.fftfreq(width)[None]
    radius = (down.square() + across.square()).sqrt()  # (H, W), cycles a pixel
    radius = radius.to(power.device)
    kept = radius <= NYQUIST
    edges = torch.linspace(0, NYQUIST, bins + 1, device=power.device)
    index = torch.bucketize(radius[kept], edges[1:-1])
    total = torch.bincount(index, weights=power[kept], minlength=bins)
    count = torch.bincount(index, minlength=bins).clamp(min=1)
    centres = (edges[:-1] + edges[1:]) / 2
    return centres, total / count


def spectral_slope(images: Tensor) -> float:
    """Slope of power against frequency, both logarithmic, from 0.04 to 0.4 cycles a pixel.

    Each image's mean is removed first.

    Args:
        images: (N, C, H, W).

    Returns:
        About -2.5 for photographs of 64 pixels, -2 for Gaussian 1/f^2 noise, 0 for white noise.
    """
    images = as_float(images, TAKES)
    means = images.mean((2, 3), keepdim=True)
    frequency, power = spectrum(images - means)
    lowest, highest = SLOPE_BAND
    band = (frequency > lowest) & (frequency < highest)
    x = frequency[band].log()
    y = power[band].log()
    x = x - x.mean()
    slope = (x * y).sum() / x.square().sum()
    return slope.item()


def derivative_kurtosis(images: Tensor) -> float:
    """Kurtosis of the differences in gray between horizontal neighbours: how heavy their tails are.

    Args:
        images: (N, C, H, W).

    Returns:
        3 for Gaussian noise, over 6 for photographs, whose edges make the tails heavy.
    """
    gray = as_float(images, TAKES).mean(1)  # (N, H, W)
    difference = gray.diff(dim=2).flatten()
    difference = difference - difference.mean()
    fourth_moment = difference.pow(4).mean()
    variance = difference.square().mean()
    return (fourth_moment / variance.square()).item()
