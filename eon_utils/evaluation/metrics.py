"""How good is a reconstruction: accuracy, PSNR, SSIM, on images (N, 3, H, W) in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

EXACT = 60.0  # dB; a rounding error of 1/1000, below what eight bits show


def accuracy(images: Tensor, targets: Tensor) -> float:
    """1 - mean absolute error, a fraction (1 is perfect). Any two shapes that broadcast."""
    return 1 - (images - targets).abs().mean().item()


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB for peak 1, one value an image: (N, ...) -> (N,). Infinite if identical."""
    return -10 * torch.log10((images - targets).square().flatten(1).mean(1))


@torch.no_grad()
def next_frame_psnr(predict: Callable[[Tensor], Tensor], clips: Tensor) -> float:
    """Mean PSNR in dB with which each clip's last frame is predicted from those before it; exact counts as 60 dB.

    predict: (N, T, 3, H, W) -> (N, 3, H, W), clipped here to [0, 1]. clips: (N, T + 1, 3, H, W) in [0, 1].
    """
    return psnr(predict(clips[:, :-1]).clamp(0, 1), clips[:, -1]).clamp(max=EXACT).mean().item()


@torch.no_grad()
def deep_path_share(model: nn.Module, clips: Tensor) -> float:
    """Of the accuracy lost by silencing the code, and by cutting the skips: the code's part, a fraction.

    Silenced is a code that is replaced by its mean over the clips; cut are skips that are 0. model: as
    `models.FramePredictor`. clips: (N, T + 1, 3, H, W) in [0, 1], the last frame is the target. 1 without skips, 0
    where neither costs anything; far from training it may be any number, also a negative one.
    """
    given, target = clips[:, :-1], clips[:, -1]
    code, skips = model.encode(given)
    ways = (code, skips), (code.mean(0, keepdim=True).expand_as(code), skips), (code, [0 * skip for skip in skips])
    whole, silenced, cut = (accuracy(model.decode(given, *way).clamp(0, 1), target) for way in ways)
    return (whole - silenced) / ((2 * whole - silenced - cut) or 1.0)


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
