"""The convolutional autoencoders of phase 2: shapes, sizes, noise, and bad input."""

import pytest
import torch

from eon_utils import ConvAutoencoder
from eon_utils.notebook.figures import trace


@pytest.mark.parametrize(
    "options", [{"widths": (8,)}, {}, {"skips": True}, {"skips": True, "noise": 0.25}]
)
def test_autoencoder_shapes(options):
    model = ConvAutoencoder(**options)
    images = torch.rand(2, 3, 48, 64)
    code, skips = model.encode(images)
    assert model(images).shape == images.shape
    assert len(skips) == (len(model.encoder) - 1 if options.get("skips") else 0)
    assert code.shape == ((2, 8, 24, 32) if options.get("widths") else (2, 64, 3, 4))
    assert code.abs().max() <= 1


def test_parameter_counts_of_the_four():
    counts = []
    for options in ({"widths": (8,)}, {}, {"skips": True}, {"skips": True, "noise": 0.25}):
        model = ConvAutoencoder(**options)
        counts.append(sum(parameter.numel() for parameter in model.parameters()))
    assert counts == [1211, 135_779, 152_379, 152_379]


def test_noise_is_on_the_skips_in_training_only():
    model = ConvAutoencoder(skips=True, noise=0.25)
    images = torch.rand(1, 3, 32, 32)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_a_decoder_needs_all_skips_or_none():
    model = ConvAutoencoder(skips=True)
    code, skips = model.encode(torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match="zip"):
        model.decode(code, skips[1:])


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 33, 32), (1, 3, 32, 40)])
def test_wrong_shapes_are_named(shape):
    with pytest.raises(ValueError, match=r"multiples of 16, not \("):
        ConvAutoencoder()(torch.rand(shape))


def test_trace_lists_layers_in_the_order_in_which_they_ran():
    layers = trace(ConvAutoencoder(skips=True), torch.rand(1, 3, 32, 48))
    assert [layer.output_shape[0] for layer in layers] == [8, 16, 32, 64, 32, 16, 8, 3]
    assert sum(layer.parameters for layer in layers) == 152_379
