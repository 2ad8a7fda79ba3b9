"""Published architectures to put the prior beside: ConvLSTM, and SimVP with gated attention."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONTEXT = 5  # frames that the small ones predict from

State = tuple[Tensor, Tensor]  # what a cell of an LSTM puts out, and what it remembers


class ConvLSTM(nn.Module):
    """Shi et al. 2015, "Convolutional LSTM Network": encoder and forecaster, section 3.2.

    Peepholes are one number a channel. Frames are folded into blocks of patch x patch pixels.

    Args:
        channels: of the frames.
        hidden: channels of the layers.
        kernel: side of the convolutions.
        patch: side of the blocks.
    """

    def __init__(
        self,
        channels: int = 3,
        hidden: tuple[int, ...] = (64, 64),
        kernel: int = 3,
        patch: int = 4,
    ) -> None:
        super().__init__()
        self.patch = patch
        folded = channels * patch**2
        widths = list(itertools.pairwise((folded, *hidden)))
        self.encoder = nn.ModuleList(ConvLSTMCell(a, b, kernel) for a, b in widths)
        widths[0] = (0, hidden[0])  # the forecaster has no input
        self.forecaster = nn.ModuleList(ConvLSTMCell(a, b, kernel) for a, b in widths)
        self.read = nn.Conv2d(sum(hidden), folded, 1)

    def forward(self, clips: Tensor, steps: int = 1) -> Tensor:
        """(N, T, channels, H, W) in [0, 1] -> the next frames, (N, steps, channels, H, W)."""
        states: list[State | None] = [None] * len(self.encoder)
        for frame in clips.unbind(1):
            x = F.pixel_unshuffle(frame, self.patch)  # (N, folded, H / patch, W / patch)
            self._update(self.encoder, x, states)
        frames = []
        for _ in range(steps):
            outputs = self._update(self.forecaster, None, states)
            x = self.read(torch.cat(outputs, 1))  # (N, folded, H / patch, W / patch)
            frame = F.pixel_shuffle(x, self.patch)  # (N, channels, H, W)
            frames.append(frame.sigmoid())
        return torch.stack(frames, 1)

    @staticmethod
    def _update(cells: nn.ModuleList, x: Tensor | None, states: list[State | None]) -> list[Tensor]:
        """Run a stack of cells once, and put their new states in place; the outputs of all."""
        outputs = []
        for level, cell in enumerate(cells):
            state = cell(x, states[level])
            states[level] = state
            x = state[0]
            outputs.append(x)
        return outputs


class ConvLSTMCell(nn.Module):
    """One layer of a ConvLSTM.

    Args:
        inputs: channels of the input; 0: it has none, only its state.
        hidden: channels of the output.
        kernel: side of the convolution.
    """

    def __init__(self, inputs: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs + hidden, 4 * hidden, kernel, padding=kernel // 2)
        self.peep = nn.Parameter(torch.zeros(3, hidden, 1, 1))
        self.hidden = hidden

    def forward(self, x: Tensor | None, state: State | None) -> State:
        """(N, inputs, h, w) and a state, both (N, hidden, h, w) -> the next state."""
        if state is None:
            assert x is not None
            empty = x.new_zeros(len(x), self.hidden, *x.shape[-2:])
            state = (empty, empty)
        output, memory = state
        if x is not None:
            output = torch.cat([x, output], 1)
        input_gate, forget_gate, update, output_gate = self.conv(output).chunk(4, 1)
        input_gate = torch.sigmoid(input_gate + self.peep[0] * memory)
        forget_gate = torch.sigmoid(forget_gate + self.peep[1] * memory)
        memory = forget_gate * memory + input_gate * torch.tanh(update)
        output_gate = torch.sigmoid(output_gate + self.peep[2] * memory)
        return output_gate * torch.tanh(memory), memory


class SimVP(nn.Module):
    """Gao et al. 2022 with the gated attention translator of Tan et al. 2022 (gSTA).

    Args:
        frames: of a clip; as many are predicted.
        channels: of the frames.
        hid_s: channels of encoder and decoder.
        hid_t: channels of the translator.
        n_s: layers of encoder and decoder.
        n_t: blocks of the translator.
    """

    def __init__(
        self,
        frames: int,
        channels: int = 1,
        hid_s: int = 64,
        hid_t: int = 512,
        n_s: int = 4,
        n_t: int = 8,
    ) -> None:
        super().__init__()
        strides = list(itertools.islice(itertools.cycle((1, 2)), n_s))
        widths = [channels] + [hid_s] * (n_s - 1)
        down = [ConvBlock(width, hid_s, s) for width, s in zip(widths, strides, strict=True)]
        self.encoder = nn.ModuleList(down)
        up = [ConvBlock(hid_s, hid_s, up=stride == 2) for stride in reversed(strides)]
        self.decoder = nn.ModuleList(up)
        self.read = nn.Conv2d(hid_s, channels, 1)
        widths = [frames * hid_s] + [hid_t] * (n_t - 1) + [frames * hid_s]
        blocks = [GatedAttentionBlock(a, b) for a, b in itertools.pairwise(widths)]
        self.translator = nn.Sequential(*blocks)

    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, channels, H, W), T = frames -> the next T frames, of the same shape."""
        x = clips.flatten(0, 1)  # (N * T, channels, H, W)
        x = self.encoder[0](x)  # (N * T, hid_s, H, W)
        skip = x
        for layer in self.encoder[1:]:
            x = layer(x)  # (N * T, hid_s, h, w)
        x = x.unflatten(0, clips.shape[:2])
        shape = x.shape
        x = self.translator(x.flatten(1, 2))  # (N, T * hid_s, h, w)
        x = x.reshape(shape).flatten(0, 1)  # (N * T, hid_s, h, w)
        for layer in self.decoder[:-1]:
            x = layer(x)
        x = self.decoder[-1](x + skip)  # (N * T, hid_s, H, W)
        return self.read(x).unflatten(0, clips.shape[:2])


class ConvBlock(nn.Module):
    """Convolution (strided, or followed by a pixel shuffle), GroupNorm, SiLU.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: of the convolution.
        up: twice the size comes out.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, up: bool = False) -> None:
        super().__init__()
        made = 4 * outputs if up else outputs
        self.conv = nn.Conv2d(inputs, made, 3, stride, 1)
        self.up = up
        self.norm = nn.GroupNorm(2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, h', w')."""
        x = self.conv(x)
        if self.up:
            x = F.pixel_shuffle(x, 2)
        return F.silu(self.norm(x))


class GatedAttentionBlock(nn.Module):
    """Gated spatial attention of large kernels, and an MLP with a depthwise convolution.

    Args:
        width: channels of the input.
        outputs: channels of the output.
        ratio: how many times wider the MLP is.
    """

    def __init__(self, width: int, outputs: int, ratio: int = 8) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))
        self.enter = nn.Conv2d(width, width, 1)
        self.leave = nn.Conv2d(width, width, 1)
        self.near = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.far = nn.Conv2d(width, width, 7, padding=9, dilation=3, groups=width)
        self.gate = nn.Conv2d(width, 2 * width, 1)
        wide = ratio * width
        self.mlp = nn.Sequential(
            nn.Conv2d(width, wide, 1),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide),
            nn.GELU(),
            nn.Conv2d(wide, width, 1),
        )
        scale = torch.full((width, 1, 1), 0.01)
        self.scales = nn.ParameterList(nn.Parameter(scale.clone()) for _ in range(2))
        self.project = nn.Identity() if width == outputs else nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) -> (N, outputs, h, w)."""
        y = self.norms[0](x)
        seen = F.gelu(self.enter(y))
        seen = self.far(self.near(seen))
        attention, gate = self.gate(seen).chunk(2, 1)
        attended = self.leave(attention * torch.sigmoid(gate))
        x = x + self.scales[0] * (attended + y)
        x = x + self.scales[1] * self.mlp(self.norms[1](x))
        return self.project(x)


SMALL: dict[str, Callable[[], nn.Module]] = {
    "simvp": lambda: SimVP(CONTEXT, 3, hid_s=16, hid_t=64, n_t=4),
    "convlstm": lambda: ConvLSTM(3, (48, 48), 3),
}
