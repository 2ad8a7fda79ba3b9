"""How fast the sources make clips, beside how fast models train on them: one core.

    python experiments/benchmark_clips.py [--seconds 5] [--videos my_clips/]

Clips have 5 frames of 64x64. Prints a table. "waits" is the share of a training's time in which its
next batch was not ready, when a process of its own makes batches on another core (`DataLoader` with
one worker). The mixture is of clips made before, changed at random, as in the prior's training.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator

os.environ["OMP_NUM_THREADS"] = "1"  # one core, before torch and OpenCV start

import common
import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import eon_utils as eon

STREAMS = (*eon.SOURCES, "mixture")
BATCH = 16
CONTEXT = 4  # frames to predict from
ENDLESS = 1_000_000  # clips, more than the seconds allow
DRAWS = 100_000  # of the mixture
LEAST = 3  # batches in a measurement
WARM_UP = 5  # steps before the waiting is measured; more than a worker makes ahead


class TwoWarps(nn.Module):
    """A sketch of what predicts by motion: a U-Net that gives two flows, masks and a residual.

    Args:
        width: channels at half the size; twice and four times as many below.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w1, w2, w3, w4 = (width, 2 * width, 4 * width, 4 * width)
        down = [(3 * CONTEXT, w1), (w1, w2), (w2, w3), (w3, w4)]
        self.down = nn.ModuleList(self.block(a, b, 2) for a, b in down)
        up = [(w4 + w3, w3), (w3 + w2, w2), (w2 + w1, w1)]
        self.up = nn.ModuleList(self.block(a, b, 1) for a, b in up)
        self.head = nn.Conv2d(width, 10, 3, padding=1)

    @staticmethod
    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        """Two convolutions."""
        first = nn.Conv2d(inputs, outputs, 3, stride, 1)
        second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

    def forward(self, clips: Tensor) -> Tensor:
        """(N, 4, 3, H, W) -> the next frame, (N, 3, H, W)."""
        x = clips.flatten(1, 2)  # (N, 12, H, W)
        skips = []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2)
            x = layer(torch.cat([x, skip], 1))
        x = F.interpolate(self.head(x), scale_factor=2, mode="bilinear")
        flows, masks, residual = x.split([4, 3, 3], 1)
        last = clips[:, -1]
        guesses = [eon.warp(last, flow) for flow in flows.chunk(2, 1)]
        guesses.append(residual)
        weights = masks.softmax(1)[:, :, None]  # (N, 3, 1, H, W)
        return (torch.stack(guesses, 1) * weights).sum(1)


def models() -> dict[str, nn.Module]:
    """What trains on the clips."""
    phase_4 = eon.FramePredictor(residual=True, skips=True, noise=0.25)
    return {"V4 of phase 4": phase_4, "two warps": TwoWarps()}


def trainer(model: nn.Module) -> Callable[[Tensor], None]:
    """A function that trains the model by one step on clips (N, 5, 3, H, W)."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)

    def step(clips: Tensor) -> None:
        output = model(clips[:, :CONTEXT])
        loss = F.huber_loss(output, clips[:, CONTEXT])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def clips_a_second(work: Callable[[], object], seconds: float) -> float:
    """Clips a second of work that handles a batch: the median of calls, after one to warm up."""
    work()
    durations = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(durations) < LEAST:
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return BATCH / statistics.median(durations)


def batches(clips: Dataset, workers: int) -> Iterator[Tensor]:
    """Batches without end."""
    loader = DataLoader(clips, BATCH, num_workers=workers)
    return itertools.chain.from_iterable(itertools.repeat(loader))


def waiting(step: Callable[[Tensor], None], clips: Dataset, seconds: float) -> float:
    """Share of the time in which a training waits for batches; the start is not counted."""
    made = batches(clips, workers=1)
    for _ in range(WARM_UP):
        step(next(made))
    waited = 0.0
    begin = time.perf_counter()
    while time.perf_counter() < begin + seconds:
        start = time.perf_counter()
        batch = next(made)
        waited += time.perf_counter() - start
        step(batch)
    return waited / (time.perf_counter() - begin)


def stream(name: str, count: int) -> Dataset:
    """Clips to time: an endless stream of a source, or the mixture, of `count` clips of each."""
    if name in eon.SOURCES:
        return eon.SOURCES[name](ENDLESS)
    caches = []
    for source in eon.SOURCES.values():
        clips = source(count, frames=8, **source.training_settings)
        caches.append(eon.CachedClips(clips))
    return eon.Mixture(caches, DRAWS)


def parse() -> argparse.Namespace:
    """The options."""
    options = common.parser(__doc__)
    options.add_argument("--seconds", type=float, default=5, help="a measurement (5)")
    options.add_argument("--clips", type=int, default=200, help="a source, in the mixture (200)")
    options.add_argument(
        "--only", nargs="+", choices=STREAMS, default=STREAMS, help="what to time (all of it)"
    )
    common.add_videos_option(options)
    return options.parse_args()


def main() -> None:
    """Time everything."""
    args = parse()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    fixed = torch.rand(BATCH, CONTEXT + 1, 3, 64, 64)
    steps = {}
    speeds = {}
    for name, model in models().items():
        steps[name] = trainer(model.to(memory_format=torch.channels_last))
        speeds[name] = clips_a_second(lambda step=steps[name]: step(fixed), args.seconds)
        size = sum(parameter.numel() for parameter in model.parameters())
        print(f"{name} ({size:,} parameters) trains at {speeds[name]:,.0f} clips a second")
    columns = []
    for name in steps:
        columns += [f"times {name}", f"waits of {name}"]
    print()
    common.print_head("source", "clips a second", *columns)
    for source in args.only:
        clips = stream(source, args.clips)
        made = batches(clips, workers=0)
        speed = clips_a_second(lambda made=made: next(made), args.seconds)
        cells = []
        for name, step in steps.items():
            share = waiting(step, clips, args.seconds)
            cells += [f"{speed / speeds[name]:.1f}", f"{100 * share:.1f} %"]
        common.print_row(source, f"{speed:,.0f}", *cells)
    if args.videos:
        start = time.perf_counter()
        clips, _ = eon.video_folder(args.videos, limit=1000)
        speed = len(clips) / (time.perf_counter() - start)
        print(f"\n{args.videos}: {len(clips)} clips, {speed:.0f} a second")


if __name__ == "__main__":
    main()
