"""The convolutional autoencoders of phase 2: one class, four architectures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class ConvAutoencoder(nn.Module):
    """Strided convolutions down to a code, transposed convolutions back up, optionally with (noisy) skips.

    Every layer is 5x5 with stride 2: it halves, or doubles, height and width. Skips hand each inner encoder
    output to the decoder layer of the same size, as further channels. Noise is added to the skips in `train`
    mode only. The non-linearity is tanh: what it returns stays in [-1, 1], so noise of a given size cannot be
    drowned out by louder features (`activation=torch.relu` shows what happens otherwise).

    widths: channels after each encoder layer. skips: use them or not. noise: standard deviation of the Gaussian
    noise on the skips. Images are (N, 3, H, W) in [0, 1], with H and W multiples of 2 ** len(widths).
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (8, 16, 32, 64),
        skips: bool = False,
        noise: float = 0.0,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
    ) -> None:
        super().__init__()
        self.skips, self.noise, self.activation = skips, noise, activation
        channels = (3, *widths)
        self.encoder = nn.ModuleList(
            nn.Conv2d(a, b, 5, stride=2, padding=2) for a, b in zip(channels, widths, strict=False)
        )
        self.decoder = nn.ModuleList()
        for level in reversed(range(len(widths))):
            inner = level == len(widths) - 1  # the innermost layer is fed by the code alone
            given = widths[level] * (2 if skips and not inner else 1)
            self.decoder.append(
                nn.ConvTranspose2d(given, channels[level], 5, stride=2, padding=2, output_padding=1)
            )

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(N, 3, H, W) -> the code (N, C, h, w) and the skips, finest first (an empty list without skips)."""
        multiple = 2 ** len(self.encoder)
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % multiple or images.shape[3] % multiple:
            wanted = f"(N, 3, H, W) with H and W multiples of {multiple}"
            raise ValueError(f"ConvAutoencoder takes images {wanted}, not {tuple(images.shape)}")
        x = images - 0.5  # centred: what phase 1 found
        features = []
        for layer in self.encoder:
            x = self.activation(layer(x))
            features.append(x)
        return x, features[:-1] if self.skips else []

    def decode(self, code: Tensor, skips: list[Tensor]) -> Tensor:
        """The code and the skips, as `encode` gives them -> (N, 3, H, W), about [0, 1], not clipped."""
        x = self.decoder[0](code)
        for layer, skip in zip(self.decoder[1:], reversed(skips or [None] * len(self.decoder[1:])), strict=True):
            x = self.activation(x)
            if skip is not None:
                noise = self.noise * torch.randn_like(skip) if self.training and self.noise else 0
                x = torch.cat([x, skip + noise], dim=1)
            x = layer(x)
        return x + 0.5

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> its reconstruction, same shape."""
        return self.decode(*self.encode(images))
