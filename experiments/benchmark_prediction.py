"""Equal budget: SimVP, ConvLSTM and the prior, trained on the same clips for the same time, on two CPU cores.

    python tests/benchmark_prediction.py [--seconds 300] [--on leaves,digits] [--models simvp,convlstm,prior]

Small models of the published architectures; `tests/test_benchmark.py` holds their full sizes against the papers.
Prints PSNR on 48 held-out clips of the source by training second, beside copying and optical flow; with --out also
writes it as JSON, a model and source after another, so that an interrupted run keeps what it has.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import eon_utils as eon
from eon_utils.training import train_prior as prior_training
from eon_utils.config import RUNS


class ConvLSTM(nn.Module):
    """Shi et al. 2015, "Convolutional LSTM Network": encoder and forecaster, section 3.2; peepholes a channel.

    Frames are folded into patch x patch blocks. hidden: channels of the layers. Clips (N, T, channels, H, W) ->
    the next frame (N, channels, H, W), or `steps` of them (N, steps, channels, H, W).
    """

    def __init__(
        self, channels: int = 3, hidden: tuple[int, ...] = (64, 64), kernel: int = 3, patch: int = 4
    ) -> None:
        super().__init__()
        self.patch, folded = patch, channels * patch**2
        self.encoder = nn.ModuleList(Cell(a, b, kernel) for a, b in zip((folded, *hidden), hidden, strict=False))
        self.forecaster = nn.ModuleList(Cell(a, b, kernel) for a, b in zip((0, *hidden), hidden, strict=False))
        self.read = nn.Conv2d(sum(hidden), folded, 1)

    def forward(self, clips: Tensor, steps: int | None = None) -> Tensor:
        states = [None] * len(self.encoder)
        for frame in clips.unbind(1):
            x = F.pixel_unshuffle(frame, self.patch)
            for level, cell in enumerate(self.encoder):
                x, states[level] = cell(x, states[level])
        made = []
        for _ in range(steps or 1):
            x, tops = None, []
            for level, cell in enumerate(self.forecaster):
                x, states[level] = cell(x, states[level])
                tops.append(x)
            made.append(F.pixel_shuffle(self.read(torch.cat(tops, 1)), self.patch).sigmoid())
        return torch.stack(made, 1) if steps else made[0]


class Cell(nn.Module):
    """One ConvLSTM layer; `given` 0 takes no input, only its state."""

    def __init__(self, given: int, made: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(given + made, 4 * made, kernel, padding=kernel // 2)
        self.peep = nn.Parameter(torch.zeros(3, made, 1, 1))
        self.made = made

    def forward(
        self, x: Tensor | None, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is None:
            empty = x.new_zeros(len(x), self.made, *x.shape[-2:])
            state = empty, empty
        hidden, cell = state
        i, f, g, o = self.conv(hidden if x is None else torch.cat([x, hidden], 1)).chunk(4, 1)
        i, f = torch.sigmoid(i + self.peep[0] * cell), torch.sigmoid(f + self.peep[1] * cell)
        cell = f * cell + i * torch.tanh(g)
        hidden = torch.sigmoid(o + self.peep[2] * cell) * torch.tanh(cell)
        return hidden, (hidden, cell)


class SimVP(nn.Module):
    """Gao et al. 2022 with the gated attention translator of Tan et al. 2022 (gSTA).

    space, time: channels of encoder and translator; layers, blocks: their depths. Clips (N, T, channels, H, W)
    with T = frames -> the next frames, as many, (N, T, channels, H, W).
    """

    def __init__(
        self, frames: int, channels: int = 1, space: int = 64, time: int = 512, layers: int = 4, blocks: int = 8
    ) -> None:
        super().__init__()
        strides = ([1, 2] * layers)[:layers]
        self.encoder = nn.ModuleList(
            SpaceBlock(channels if at == 0 else space, space, stride) for at, stride in enumerate(strides)
        )
        self.decoder = nn.ModuleList(SpaceBlock(space, space, up=stride == 2) for stride in reversed(strides))
        self.read = nn.Conv2d(space, channels, 1)
        sizes = [frames * space] + [time] * (blocks - 1) + [frames * space]
        self.translator = nn.Sequential(*(GatedBlock(a, b) for a, b in itertools.pairwise(sizes)))

    def forward(self, clips: Tensor) -> Tensor:
        x, skip = clips.flatten(0, 1), None
        for layer in self.encoder:
            x = layer(x)
            skip = x if skip is None else skip
        x = x.unflatten(0, clips.shape[:2])
        x = self.translator(x.flatten(1, 2)).reshape(x.shape).flatten(0, 1)
        for layer in self.decoder[:-1]:
            x = layer(x)
        return self.read(self.decoder[-1](x + skip)).unflatten(0, clips.shape[:2])


class SpaceBlock(nn.Module):
    """Convolution (strided, or followed by a pixel shuffle), GroupNorm, SiLU."""

    def __init__(self, given: int, made: int, stride: int = 1, up: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(given, made * (4 if up else 1), 3, stride, 1)
        self.up, self.norm = up, nn.GroupNorm(2, made)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.silu(self.norm(F.pixel_shuffle(x, 2) if self.up else x))


class GatedBlock(nn.Module):
    """Gated spatial attention of large kernels, and an MLP with a depthwise convolution."""

    def __init__(self, given: int, made: int, ratio: int = 8) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(given) for _ in range(2))
        self.enter, self.leave = nn.Conv2d(given, given, 1), nn.Conv2d(given, given, 1)
        self.near = nn.Conv2d(given, given, 5, padding=2, groups=given)
        self.far = nn.Conv2d(given, given, 7, padding=9, dilation=3, groups=given)
        self.gate = nn.Conv2d(given, 2 * given, 1)
        wide = ratio * given
        self.mlp = nn.Sequential(
            nn.Conv2d(given, wide, 1),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide),
            nn.GELU(),
            nn.Conv2d(wide, given, 1),
        )
        self.scales = nn.ParameterList(nn.Parameter(torch.full((given, 1, 1), 0.01)) for _ in range(2))
        self.change = nn.Conv2d(given, made, 1) if given != made else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[0](x)
        attention, gate = self.gate(self.far(self.near(F.gelu(self.enter(y))))).chunk(2, 1)
        x = x + self.scales[0] * (self.leave(attention * torch.sigmoid(gate)) + y)
        return self.change(x + self.scales[1] * self.mlp(self.norms[1](x)))


GIVEN = 5
SMALL: dict[str, Callable[[], nn.Module]] = {
    "simvp": lambda: SimVP(GIVEN, 3, space=16, time=64, blocks=4),
    "convlstm": lambda: ConvLSTM(3, (48, 48), 3),
}


def predict(model: nn.Module, clips: Tensor) -> Tensor:
    """The next frame from the last `GIVEN`: SimVP gives as many frames as it gets, the first is wanted."""
    made = model(clips[:, -GIVEN:])
    return (made[:, 0] if made.ndim == 5 else made).clamp(0, 1)


def train_small(model: nn.Module, draw: Callable, seconds: float, judge: Callable) -> None:
    """Adam, mean squared error, one cycle of the rate (SimVP's own recipe) over the seconds."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    spent, step, marks = 0.0, 0, list(MARKS)
    while spent < seconds:
        share = spent / seconds
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min((share + 0.01) / 0.2, (1 - share) / 0.8)
        clips = draw(step)
        start = time.perf_counter()
        model.train()
        made = model(clips[:, :GIVEN])
        loss = F.mse_loss(made[:, 0] if made.ndim == 5 else made, clips[:, GIVEN])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        spent, step = spent + time.perf_counter() - start, step + 1
        if marks and spent >= marks[0]:
            judge(marks.pop(0), model.eval())
    judge(seconds, model.eval(), step)


MARKS = (5, 10, 20, 30, 60, 90, 120, 180, 240)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--on", default="leaves,digits")
    parser.add_argument("--models", default="simvp,convlstm,prior")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = json.loads(args.out.read_text()) if args.out and args.out.exists() else []
    for source in args.on.split(","):
        clips = prior_training.pool(source, prior_training.POOL[source], RUNS / "prior", args.seed)
        test = eon.videos.SOURCES[source](48, 6, 64, 5, 0, False)
        for name, method in eon.FRAME_BASELINES.items():
            print(source, name, f"{eon.psnr(method(test[:, :5]), test[:, 5]).mean():.2f}", flush=True)
        for name in args.models.split(","):
            torch.manual_seed(args.seed)
            curve = []

            @torch.no_grad()
            def judge(
                second: float, model: nn.Module, step: int = 0, name=name, source=source, curve=curve, test=test
            ) -> None:
                made = torch.cat([predict(model, part) for part in test[:, :5].split(12)])
                curve.append((second, eon.psnr(made, test[:, 5]).mean().item()))
                print(source, name, f"{second:g} s: {curve[-1][1]:.2f} dB {step or ''}", flush=True)

            batch = 16 if name in SMALL else prior_training.BATCH
            frames = GIVEN + 1 if name in SMALL else 5
            draw = prior_training.batches({source: clips}, {source: 1.0}, args.seed, frames, batch)
            model = SMALL[name]() if name in SMALL else eon.Prior()
            judge(0, model.eval())
            if name in SMALL:
                train_small(model, draw, args.seconds, judge)
            else:
                marks = list(MARKS)

                def look(run, both, marks=marks, judge=judge) -> None:
                    if marks and run.history.seconds and run.history.seconds[-1] >= marks[0]:
                        judge(marks.pop(0), both.average.eval())

                run, average = prior_training.train(
                    model, draw, 1_000_000, seconds=args.seconds, name=f"benchmark_{source}", watch=look
                )
                judge(args.seconds, average, run.done)
            parameters = sum(p.numel() for p in model.parameters())
            found.append({"on": source, "model": name, "parameters": parameters, "curve": curve})
            if args.out:
                args.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
