"""The convolutional autoencoders of phase 2, one class for four architectures, and the predictor made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class ConvAutoencoder(nn.Module):
    """Strided convolutions down to a code, transposed convolutions back up, optionally with (noisy) skips.

    Every layer is 5x5 with stride 2: it halves, or doubles, height and width. Skips hand each inner encoder
    output to the decoder layer of the same size, as further channels. Noise is added to the skips in `train`
    mode only. The non-linearity is tanh: what it returns stays in [-1, 1], so noise of a given size cannot be
    drowned out by louder features (`activation=torch.relu` shows what happens otherwise).

    widths: channels after each encoder layer. skips: use them or not. noise: standard deviation of the Gaussian
    noise on the skips. inputs: channels of what comes in. Images are (N, inputs, H, W) in [0, 1], with H and W
    multiples of 2 ** len(widths).
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (8, 16, 32, 64),
        skips: bool = False,
        noise: float = 0.0,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        inputs: int = 3,
    ) -> None:
        super().__init__()
        self.skips, self.noise, self.activation, self.inputs = skips, noise, activation, inputs
        channels = (inputs, *widths)
        self.encoder = nn.ModuleList(
            nn.Conv2d(a, b, 5, stride=2, padding=2) for a, b in zip(channels, widths, strict=False)
        )
        self.decoder = nn.ModuleList()
        for level in reversed(range(len(widths))):
            inner = level == len(widths) - 1  # the innermost layer is fed by the code alone
            given = widths[level] * (2 if skips and not inner else 1)
            made = widths[level - 1] if level else 3
            self.decoder.append(nn.ConvTranspose2d(given, made, 5, stride=2, padding=2, output_padding=1))

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(N, inputs, H, W) -> the code (N, C, h, w) and the skips, finest first (an empty list without skips)."""
        multiple = 2 ** len(self.encoder)
        if images.ndim != 4 or images.shape[1] != self.inputs or any(s % multiple for s in images.shape[2:]):
            wanted = f"(N, {self.inputs}, H, W) with H and W multiples of {multiple}"
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
        """(N, inputs, H, W) in [0, 1] -> its reconstruction, or what else it is trained for, (N, 3, H, W)."""
        return self.decode(*self.encode(images))


class FramePredictor(nn.Module):
    """An autoencoder of phase 2 that is given the last frames of a clip, stacked, and asked for the next one.

    context: frames stacked. change: the network's output is added to the last frame; it starts as 0, "nothing
    moves". design: widths, skips, noise of `ConvAutoencoder`.
    """

    def __init__(self, context: int = 4, change: bool = False, **design: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.context, self.change = context, change
        self.net = ConvAutoencoder(inputs=3 * context, **design)
        if change:
            for parameter in self.net.decoder[-1].parameters():
                nn.init.zeros_(parameter)

    def encode(self, clips: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(N, T, 3, H, W) in [0, 1], T >= context -> the code and the skips, as `ConvAutoencoder.encode`."""
        if clips.ndim != 5 or clips.shape[1] < self.context:
            raise ValueError(
                f"FramePredictor takes clips (N, T >= {self.context}, 3, H, W), not {tuple(clips.shape)}"
            )
        return self.net.encode(clips[:, -self.context :].flatten(1, 2))

    def decode(self, clips: Tensor, code: Tensor, skips: list[Tensor]) -> Tensor:
        """The clips, their code and skips -> the next frame (N, 3, H, W), about [0, 1], not clipped."""
        made = self.net.decode(code, skips)
        return clips[:, -1] + (made - 0.5) if self.change else made

    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) in [0, 1] -> the next frame (N, 3, H, W), about [0, 1], not clipped."""
        return self.decode(clips, *self.encode(clips))


@torch.no_grad()
def rollout(predict: Callable[[Tensor], Tensor], clips: Tensor, steps: int) -> Tensor:
    """Predict a frame, append it to the clips, predict the next: `steps` frames, its own output fed back.

    predict: (N, T, 3, H, W) -> (N, 3, H, W). Returns (N, steps, 3, H, W), clipped to [0, 1].
    """
    for _ in range(steps):
        clips = torch.cat([clips, predict(clips)[:, None].clamp(0, 1)], 1)
    return clips[:, -steps:]
