"""How good is a reconstruction: accuracy, PSNR, SSIM, on images (N, 3, H, W) in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor


def accuracy(images: Tensor, targets: Tensor) -> float:
    """1 - mean absolute error, a fraction (1 is perfect). Any two shapes that broadcast."""
    return 1 - (images - targets).abs().mean().item()


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB for peak 1, one value an image: (N, ...) -> (N,). Infinite if identical."""
    return -10 * torch.log10((images - targets).square().flatten(1).mean(1))


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004), 11x11 Gaussian window: (N, 3, H, W) -> (N,), 1 is perfect.

    Raises ValueError for pictures smaller than the window.
    """
    from skimage.metrics import structural_similarity

    if min(images.shape[-2:]) < 11:
        raise ValueError(f"ssim needs pictures of at least 11x11 pixels, not {tuple(images.shape[-2:])}")
    how = {"data_range": 1.0, "channel_axis": 0, "gaussian_weights": True, "use_sample_covariance": False}
    pairs = zip(images.detach().cpu().numpy(), targets.detach().cpu().numpy(), strict=True)
    return torch.tensor([float(structural_similarity(a, b, **how)) for a, b in pairs])


def spectrum(images: Tensor, bins: int = 24) -> tuple[Tensor, Tensor]:
    """Radially averaged power by spatial frequency, over all images and channels.

    (N, C, H, W) -> frequencies (bins,) in cycles a pixel, up to 0.5 (Nyquist), and mean power (bins,).
    """
    h, w = images.shape[-2:]
    power = torch.fft.fft2(images, norm="ortho").abs().square().mean((0, 1))
    radius = (torch.fft.fftfreq(h)[:, None].square() + torch.fft.fftfreq(w)[None].square()).sqrt().to(power.device)
    edges = torch.linspace(0, 0.5, bins + 1, device=power.device)
    inside = radius <= 0.5
    index = torch.bucketize(radius[inside], edges[1:-1])
    total = torch.bincount(index, weights=power[inside], minlength=bins)
    return (edges[:-1] + edges[1:]) / 2, total / torch.bincount(index, minlength=bins).clamp(min=1)


def spectral_slope(images: Tensor) -> float:
    """Slope of power against frequency, both logarithmic, 0.04 to 0.4 cycles a pixel, each image's mean removed.

    (N, C, H, W) -> about -2.5 for photographs of 64 pixels, -2 for Gaussian 1/f^2 noise, 0 for white noise.
    """
    frequency, power = spectrum(images - images.mean((2, 3), keepdim=True))
    inside = (frequency > 0.04) & (frequency < 0.4)
    x, y = frequency[inside].log(), power[inside].log()
    x = x - x.mean()
    return ((x * y).sum() / x.square().sum()).item()


def derivative_kurtosis(images: Tensor) -> float:
    """Kurtosis of the gray differences between horizontal neighbours: 3 for a Gaussian, over 6 for photographs."""
    step = images.mean(1).diff(dim=2).flatten()
    step = step - step.mean()
    return (step.pow(4).mean() / step.square().mean().square()).item()
