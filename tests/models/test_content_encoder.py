"""The content encoder: it says what is in a frame, not where."""

import pytest
import torch

from eon_utils.models.content_encoder import ContentEncoder


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ContentEncoder().eval()


@pytest.mark.parametrize(("height", "width"), [(4, 8), (16, 48), (64, 64)])
def test_any_size_becomes_as_many_numbers(encoder, height, width):
    assert encoder(torch.rand(2, 3, height, width)).shape == (2, encoder.numbers)


@pytest.mark.parametrize("shift", [(8, 0), (0, 24), (-16, 40)])
def test_where_a_thing_is_does_not_matter(encoder, shift):
    frame = torch.zeros(1, 3, 64, 64)
    frame[:, :, 5:20, 3:24] = torch.rand(1, 3, 15, 21)
    described, again = (encoder(picture) for picture in (frame, frame.roll(shift, (2, 3))))
    assert torch.allclose(described, again, atol=1e-4)


def test_what_is_there_does(encoder):
    first, second = encoder(torch.rand(2, 3, 32, 32))
    assert (first - second).abs().max() > 0.1


@pytest.mark.parametrize("widths", [(12, 16, 16, 32), (0, 8, 8, 8), (8, 8)])
def test_other_widths_are_named(widths):
    with pytest.raises(ValueError, match=r"content=\(.*must be 4 multiples of 8"):
        ContentEncoder(widths)
