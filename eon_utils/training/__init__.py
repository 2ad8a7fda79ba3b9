"""The run around a training loop, and the recipes of the weights that ship."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["model_card", "prior_scaling", "recording", "run", "train_autoencoder", "train_prior"],
)
