"""Equal budget: SimVP, ConvLSTM and the prior, trained on the same clips for the same time.

    python experiments/benchmark_prediction.py [--seconds 300] [--on leaves digits]
        [--models simvp convlstm prior] [--out curves.json]

Small models of the published architectures, see `rivals.py`. Prints PSNR in dB on 48 held-out clips
of the source by second of training, beside copying and optical flow. With --out it is also written
as JSON, after each model, so that an interrupted run keeps what it has.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import common
import rivals
import torch
import torch.nn.functional as F
from rivals import CONTEXT
from torch import Tensor, nn
from torch.utils.data import DataLoader

import eon_utils as eon
from eon_utils.config import device
from eon_utils.training import train_prior

MODELS = (*rivals.SMALL, "prior")
MARKS = (5, 10, 20, 30, 60, 90, 120, 180, 240)  # seconds of training at which to measure
PEAK_LR = 2e-3
WARMUP = 0.2  # share of the time in which the learning rate rises
BATCH = 16  # clips a step of the rivals
STEPS = 1_000_000  # more than the seconds allow
LOADER_STEPS = 10_000  # after which a loader begins anew
PREDICT_BATCH = 12

Clips = eon.ClipSource | eon.CachedClips
Watch = Callable[[nn.Module, float], None]  # a model, after so many seconds of training


class Curve:
    """PSNR of a model on held-out clips, by second of training, printed as it comes.

    Args:
        title: before each value.
        clips: (N, 6, 3, H, W) in [0, 1].
        predict: model, context (N, 5, 3, H, W) -> next frames (N, 3, H, W).
    """

    def __init__(
        self, title: str, clips: Tensor, predict: Callable[[nn.Module, Tensor], Tensor]
    ) -> None:
        self.title = title
        self.context = clips[:, :CONTEXT]
        self.target = clips[:, CONTEXT]
        self.predict = predict
        self.marks = list(MARKS)
        self.values: list[tuple[float, float]] = []

    def watch(self, model: nn.Module, seconds: float) -> None:
        """Measure, if the next mark is reached."""
        if self.marks and seconds >= self.marks[0]:
            self.measure(model, self.marks.pop(0))

    @torch.no_grad()
    def measure(self, model: nn.Module, second: float) -> None:
        """PSNR of the model as it is."""
        model.eval()
        parts = self.context.split(PREDICT_BATCH)
        frames = torch.cat([self.predict(model, part).clamp(0, 1) for part in parts])
        level = eon.psnr(frames, self.target).mean().item()
        self.values.append((second, level))
        print(f"{self.title} {second:g} s: {level:.2f} dB", flush=True)


def first_frame(model: nn.Module, context: Tensor) -> Tensor:
    """The next frame of a rival, which may give more of them."""
    return model(context)[:, 0]


def train_rival(model: nn.Module, loader: DataLoader, seconds: float, watch: Watch) -> int:
    """Adam, mean squared error, one cycle of the learning rate (SimVP's own recipe); the steps."""
    optimizer = torch.optim.Adam(model.parameters(), PEAK_LR, fused=True)
    spent = 0.0
    step = 0
    for clips in endless(loader):
        if spent >= seconds:
            break
        start = time.perf_counter()
        share = spent / seconds
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LR * min((share + 0.01) / WARMUP, (1 - share) / (1 - WARMUP))
        frames = first_frame(model.train(), clips[:, :CONTEXT])
        loss = F.mse_loss(frames, clips[:, CONTEXT])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        spent += time.perf_counter() - start
        step += 1
        watch(model, spent)
    return step


def endless(loader: DataLoader) -> Iterator[Tensor]:
    """Its batches, again and again."""
    for batch in itertools.chain.from_iterable(itertools.repeat(loader)):
        yield batch.to(device())


def run_rival(
    name: str, title: str, clips: Clips, test: Tensor, args: argparse.Namespace
) -> tuple[nn.Module, Curve]:
    """Train and measure one of `rivals.SMALL`."""
    model = rivals.SMALL[name]().to(device())
    mixture = eon.Mixture([clips], LOADER_STEPS * BATCH, args.seed, frames=CONTEXT + 1)
    curve = Curve(title, test, first_frame)
    curve.measure(model, 0)
    steps = train_rival(model, DataLoader(mixture, BATCH), args.seconds, curve.watch)
    curve.measure(model, args.seconds)
    print(f"{title}: {steps:,} steps", flush=True)
    return model, curve


def run_prior(
    title: str, clips: Clips, test: Tensor, args: argparse.Namespace
) -> tuple[nn.Module, Curve]:
    """Train and measure the prior."""
    model = eon.Prior().to(device())
    loader = train_prior.mixture_loader([clips], LOADER_STEPS, args.seed)
    curve = Curve(title, test, lambda prior, context: prior(context))
    curve.measure(model, 0)

    def watch(run: eon.TrainingRun) -> None:
        objective = run.trained
        assert isinstance(objective, train_prior.PriorObjective)
        curve.watch(objective.prior, run.history.spent)

    name = f"benchmark_{clips.name}"
    _, trained = train_prior.train(
        model, loader, STEPS, name=name, seconds=args.seconds, watch=watch
    )
    curve.measure(trained, args.seconds)
    return trained, curve


def parse() -> argparse.Namespace:
    """The options."""
    options = common.parser(__doc__)
    common.add_training_options(options)
    common.add_seconds_option(options, 300)
    options.add_argument(
        "--on",
        nargs="+",
        choices=eon.SOURCES,
        default=("leaves", "digits"),
        help="sources (leaves digits)",
    )
    options.add_argument(
        "--models", nargs="+", choices=MODELS, default=MODELS, help="what to train (all of them)"
    )
    options.add_argument("--out", type=Path, help="a JSON file for the curves, added to (none)")
    return options.parse_args()


def main() -> None:
    """Train all models on all sources."""
    args = parse()
    curves = json.loads(args.out.read_text()) if args.out and args.out.exists() else []
    held_out = common.source_clips(args.clips)
    for source in args.on:
        (clips,) = train_prior.training_sources(
            args.seed, args.folder, args.scale, mixture={source: 1.0}
        )
        test = held_out[source]
        for name, predict in eon.FRAME_BASELINES.items():
            level = eon.psnr(predict(test[:, :CONTEXT]), test[:, CONTEXT]).mean()
            print(f"{source} {name} {level:.2f} dB", flush=True)
        for name in args.models:
            torch.manual_seed(args.seed)
            title = f"{source} {name}"
            if name == "prior":
                model, curve = run_prior(title, clips, test, args)
            else:
                model, curve = run_rival(name, title, clips, test, args)
            size = sum(parameter.numel() for parameter in model.parameters())
            row = {"on": source, "model": name, "parameters": size, "curve": curve.values}
            curves.append(row)
            if args.out:
                args.out.write_text(json.dumps(curves, indent=1))


if __name__ == "__main__":
    main()
