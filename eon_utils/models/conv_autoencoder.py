"""The convolutional autoencoders of lesson 02, and the predictor made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from eon_utils.models.inputs import as_float, check_tensor

KERNEL = 5  # side in pixels
COLOURS = 3
IMAGE_AXES = 4  # (N, C, H, W)
CLIP_AXES = 5  # (N, T, C, H, W)


class ConvAutoencoder(nn.Module):
    """Strided convolutions down to a code, transposed convolutions back up; if asked, with skips.

    Every layer is 5x5 with stride 2: it halves, or doubles, height and width. Skips hand each inner
    encoder output to the decoder layer of the same size, as further channels. Noise is added to
    them in `train` mode only. The non-linearity is tanh: what it returns stays in [-1, 1], so noise
    of a given size cannot be drowned out by louder features (`activation=torch.relu` shows what
    happens otherwise).

    Args:
        widths: channels after each encoder layer.
        skips: use them or not.
        noise: standard deviation of the Gaussian noise on the skips.
        activation: the non-linearity.
        inputs: channels of the images.

    Examples:
        >>> model = ConvAutoencoder(skips=True, noise=0.25)
        >>> code, skips = model.encode(torch.rand(2, 3, 64, 48))
        >>> code.shape
        torch.Size([2, 64, 4, 3])
        >>> model.decode(code, skips).shape
        torch.Size([2, 3, 64, 48])
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
        self.skips = skips
        self.noise = noise
        self.activation = activation
        self.inputs = inputs
        self.encoder = nn.ModuleList()
        for width in widths:
            self.encoder.append(nn.Conv2d(inputs, width, KERNEL, stride=2, padding=2))
            inputs = width
        self.decoder = nn.ModuleList()
        outputs = [COLOURS, *widths[:-1]]
        for level in reversed(range(len(widths))):
            innermost = level == len(widths) - 1  # fed by the code alone
            inputs = 2 * widths[level] if skips and not innermost else widths[level]
            layer = nn.ConvTranspose2d(
                inputs, outputs[level], KERNEL, stride=2, padding=2, output_padding=1
            )
            self.decoder.append(layer)

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images -> the code and the skips.

        Args:
            images: (N, inputs, H, W), float in [0, 1] or uint8, H and W multiples of
                2 ** len(widths).

        Returns:
            The code (N, C, h, w), and the skips, finest first: an empty list without skips.

        Raises:
            ValueError: for another shape or type.
            TypeError: for what is no tensor.
        """
        images = as_float(images, "ConvAutoencoder takes images")
        multiple = 2 ** len(self.encoder)
        fits = images.ndim == IMAGE_AXES and images.shape[1] == self.inputs
        if not fits or any(side % multiple for side in images.shape[2:]):
            wanted = f"(N, {self.inputs}, H, W) with H and W multiples of {multiple}"
            raise ValueError(f"ConvAutoencoder takes images {wanted}, not {tuple(images.shape)}")
        x = images - 0.5  # centred: what lesson 01 found
        features = []
        for layer in self.encoder:
            x = self.activation(layer(x))  # (N, width, H / 2, W / 2)
            features.append(x)
        return x, features[:-1] if self.skips else []

    def decode(self, code: Tensor, skips: list[Tensor]) -> Tensor:
        """The code and the skips, as `encode` gives them -> (N, 3, H, W), about [0, 1]."""
        layers = self.decoder[1:]
        coarsest_first = skips[::-1] if skips else [None] * len(layers)
        x = self.decoder[0](code)
        for layer, skip in zip(layers, coarsest_first, strict=True):
            x = self.activation(x)
            if skip is not None:
                x = torch.cat([x, self._with_noise(skip)], dim=1)
            x = layer(x)  # (N, width, 2 H, 2 W)
        return x + 0.5

    def _with_noise(self, skip: Tensor) -> Tensor:
        if self.training and self.noise:
            skip = skip + self.noise * torch.randn_like(skip)
        return skip

    def forward(self, images: Tensor) -> Tensor:
        """(N, inputs, H, W) in [0, 1] -> what it is trained for, (N, 3, H, W), about [0, 1]."""
        code, skips = self.encode(images)
        return self.decode(code, skips)


class FramePredictor(nn.Module):
    """An autoencoder of lesson 02 that predicts the next frame from the last ones, stacked.

    Args:
        context: frames stacked.
        residual: the network's output is added to the last frame; it starts as 0, "nothing moves".
        design: widths, skips, noise of `ConvAutoencoder`.

    Examples:
        >>> model = FramePredictor(context=4, residual=True)
        >>> model(torch.rand(2, 5, 3, 32, 32)).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(self, context: int = 4, residual: bool = False, **design: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.context = context
        self.residual = residual
        self.net = ConvAutoencoder(inputs=COLOURS * context, **design)
        if residual:
            for parameter in self.net.decoder[-1].parameters():
                nn.init.zeros_(parameter)

    def encode(self, clips: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(N, T, 3, H, W), float in [0, 1] or uint8, T >= context -> as `ConvAutoencoder.encode`.

        Raises:
            ValueError: for another shape or type.
            TypeError: for what is no tensor.
        """
        check_tensor(clips, "FramePredictor takes clips")
        if clips.ndim != CLIP_AXES or clips.shape[1] < self.context:
            wanted = f"(N, T >= {self.context}, 3, H, W)"
            raise ValueError(f"FramePredictor takes clips {wanted}, not {tuple(clips.shape)}")
        stacked = clips[:, -self.context :].flatten(1, 2)  # (N, context * 3, H, W)
        return self.net.encode(stacked)

    def decode(self, clips: Tensor, code: Tensor, skips: list[Tensor]) -> Tensor:
        """The clips, their code and skips -> the next frame (N, 3, H, W), about [0, 1]."""
        output = self.net.decode(code, skips)
        if self.residual:
            return as_float(clips[:, -1], "FramePredictor takes clips") + (output - 0.5)
        return output

    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) in [0, 1] -> the next frame (N, 3, H, W), about [0, 1]."""
        code, skips = self.encode(clips)
        return self.decode(clips, code, skips)


@torch.no_grad()
def rollout(predict: Callable[[Tensor], Tensor], clips: Tensor, steps: int) -> Tensor:
    """Predict a frame, append it to the clips, predict the next: its own output fed back.

    Args:
        predict: (N, T, 3, H, W) -> (N, 3, H, W).
        clips: (N, T, 3, H, W), float in [0, 1] or uint8.
        steps: frames to predict.

    Returns:
        (N, steps, 3, H, W), clipped to [0, 1].

    Raises:
        ValueError: for clips of another type.
        TypeError: for what is no tensor.
    """
    clips = as_float(clips, "rollout takes clips")
    for _ in range(steps):
        frame = predict(clips).clamp(0, 1)
        clips = torch.cat([clips, frame[:, None]], 1)
    return clips[:, -steps:]
