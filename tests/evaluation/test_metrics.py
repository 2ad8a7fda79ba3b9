"""Metrics: values known in closed form, statistics of noise, and what counts as exact."""

import pytest
import torch

from eon_utils import (
    FramePredictor,
    accuracy,
    copy_last,
    deep_path_share,
    derivative_kurtosis,
    next_frame_psnr,
    psnr,
    spectral_slope,
    spectrum,
    ssim,
)


def test_metrics_in_closed_form():
    black = torch.zeros(2, 3, 16, 16)
    gray = torch.full((2, 3, 16, 16), 0.1)
    assert accuracy(black, gray) == pytest.approx(0.9)
    assert psnr(black, gray).tolist() == pytest.approx([20, 20], abs=1e-4)
    assert psnr(black, black).isinf().all()
    assert ssim(gray, gray).tolist() == pytest.approx([1, 1])
    small = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ValueError, match="11x11"):
        ssim(small, small)


def test_spectrum_finds_a_wave():
    x = torch.arange(64)
    wave = torch.sin(2 * torch.pi * x / 8)  # period 8 pixels: 0.125 cycles a pixel
    frequencies, power = spectrum(wave.expand(1, 1, 64, 64))
    assert abs(frequencies[power.argmax()] - 0.125) < 0.02


def test_noise_is_white_and_gaussian():
    torch.manual_seed(0)
    noise = torch.randn(20, 3, 64, 64)
    assert abs(spectral_slope(noise)) < 0.1
    assert derivative_kurtosis(noise) == pytest.approx(3, abs=0.1)


def test_next_frame_psnr_is_that_of_the_last_frame():
    clips = torch.rand(3, 5, 3, 16, 16)
    last = clips[:, 3]
    target = clips[:, 4]
    target.copy_((last + 0.1).clamp(0, 1))
    expected = psnr(last, target).mean().item()
    assert next_frame_psnr(copy_last, clips) == pytest.approx(expected)


def test_an_exact_frame_counts_as_60_db():
    clips = torch.rand(3, 5, 3, 16, 16)
    assert next_frame_psnr(lambda context: clips[:, -1], clips) == 60, "no infinity spoils the mean"
    clips[:, -1] = 1
    assert next_frame_psnr(lambda context: context[:, -1] + 9, clips) == 60, "clipped"


class KnownParts(FramePredictor):
    """The last frame, plus some of a code that tells clips apart, and of a skip that does not."""

    def __init__(self, code, skip):
        super().__init__()
        self.code = code
        self.skip = skip

    def encode(self, clips):
        code = clips[:, -1].mean((1, 2, 3))
        skip = torch.ones(len(clips), 1, 1, 1)
        return code.view(-1, 1, 1, 1), [skip]

    def decode(self, clips, code, skips):
        return clips[:, -1] + self.code * code + self.skip * skips[0]


@pytest.mark.parametrize(
    ("code", "skip", "share"), [(0.2, 0.0, 1.0), (0.0, 0.2, 0.0), (0.0, 0.0, 0.0)]
)
def test_deep_path_share_of_known_parts(code, skip, share):
    brightness = torch.linspace(0, 0.6, 4).view(4, 1, 1, 1, 1)
    context = brightness.expand(4, 2, 3, 8, 8)
    model = KnownParts(code, skip)
    target = model.decode(context, *model.encode(context))
    clips = torch.cat([context, target[:, None]], 1)
    assert deep_path_share(model, clips) == pytest.approx(share, abs=1e-5)
