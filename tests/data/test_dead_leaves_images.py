"""Pictures of dead leaves: what they promise, and the statistics they share with photographs."""

import pytest
import torch

from eon_utils.data.dead_leaves_images import dead_leaves_image, dead_leaves_images
from eon_utils.data.photos import HELD_OUT_PHOTOS, PHOTOS, TRAINING_PHOTOS, random_crops
from eon_utils.evaluation.metrics import derivative_kurtosis, spectral_slope


@pytest.fixture(scope="module")
def leaves():
    return dead_leaves_images(200)


@pytest.fixture(scope="module")
def photographs():
    return random_crops(200, names=TRAINING_PHOTOS + HELD_OUT_PHOTOS)


@pytest.fixture(scope="module")
def noise():
    """Gaussian pictures with power 1/f^2, (200, 1, 64, 64).

    They are alike at every scale as photographs are, but have no edges.
    """
    frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(64)[None])
    frequency[0, 0] = torch.inf  # no mean
    white = torch.randn(200, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    return torch.fft.ifft2(torch.fft.fft2(white) / frequency).real


def test_a_picture_depends_on_seed_index_and_size_alone():
    several = dead_leaves_images(3, size=32, seed=5, start=7)
    assert several.shape == (3, 3, 32, 32) and several.dtype == torch.float32
    assert torch.equal(several[1], dead_leaves_image(8, 32, seed=5)) and torch.equal(
        several[1:], dead_leaves_images(2, 32, 5, start=8)
    )
    assert not torch.equal(several[0], several[1])
    assert not torch.equal(several[0], dead_leaves_image(7, 32, seed=6))


def test_pictures_are_rgb_in_unit_range(leaves):
    assert leaves.shape == (200, 3, 64, 64) and leaves.min() >= 0 and leaves.max() <= 1
    assert leaves.flatten(1).std(1).min() > 0.01  # none is empty
    assert (leaves[:, 0] - leaves[:, 2]).abs().flatten(1).mean(
        1
    ).median() > 0.02  # they have colour


def test_the_spectrum_is_that_of_photographs(leaves, photographs, noise):
    # Measured: dead leaves -2.8, crops of all photographs -2.55, of the colour ones -2.8. Both are
    # steeper than the -2 of large ensembles of photographs: a few pictures, most of them smooth at
    # the scale of a pixel. So dead leaves are compared with the pictures in use, not with the
    # number in the books, which the noise stands for.
    assert abs(spectral_slope(leaves) - spectral_slope(photographs)) < 0.3
    assert abs(spectral_slope(leaves) - spectral_slope(random_crops(200, names=PHOTOS))) < 0.3
    assert (
        abs(spectral_slope(noise) - spectral_slope(photographs)) > 0.3
        and abs(spectral_slope(noise) + 2) < 0.1
    )


def test_dead_leaves_and_photographs_have_edges(leaves, photographs, noise):
    assert (
        derivative_kurtosis(leaves) > 6 and derivative_kurtosis(photographs) > 6
    )  # measured: 13 and 13
    assert abs(derivative_kurtosis(noise) - 3) < 0.3  # the same test sees that these have none


def test_wrong_numbers_are_named():
    for wrong in ({"count": 0}, {"count": 1, "size": 0}, {"count": 1, "start": -1}):
        parameter = list(wrong)[-1]
        with pytest.raises(ValueError, match=f"{parameter}=.*must be a whole number, at least"):
            dead_leaves_images(**wrong)
