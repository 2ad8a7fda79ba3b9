"""How fast the video sources make clips, beside how fast models eat them: one core, clips of 5 frames of 64x64.

    python tests/benchmark_videos.py [--seconds 5] [--videos my_clips/]

Prints a table. "waits" is the share of a training's time in which its next batch was not ready, when one process
makes batches in the background (`videos.Prefetched`) on a core of its own.
"""

import argparse
import itertools
import os
import statistics
import time
from functools import partial

os.environ["OMP_NUM_THREADS"] = "1"  # one core, before torch and OpenCV start

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eon_utils.data import clips as videos
from eon_utils.models.conv_autoencoder import FramePredictor

BATCH = 16


class TwoWarps(nn.Module):
    """A sketch of what predicts by motion: a U-Net that gives two flows, masks and a residual."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = [12, width, 2 * width, 4 * width, 4 * width]
        self.down = nn.ModuleList(self.block(a, b, 2) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(
            self.block(a + b, b, 1) for a, b in zip(widths[:1:-1], widths[-2:0:-1], strict=True)
        )
        self.head = nn.Conv2d(width, 10, 3, padding=1)

    @staticmethod
    def block(given: int, made: int, stride: int) -> nn.Module:
        layers = [nn.Conv2d(given, made, 3, stride, 1), nn.ReLU(), nn.Conv2d(made, made, 3, 1, 1), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, clips: Tensor) -> Tensor:
        x, skips = clips[:, -4:].flatten(1, 2), []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            x = layer(torch.cat([F.interpolate(x, scale_factor=2), skip], 1))
        x = F.interpolate(self.head(x), scale_factor=2, mode="bilinear")
        flows, masks, residual = x.split([4, 3, 3], 1)
        here = F.affine_grid(torch.eye(2, 3).expand(len(x), 2, 3), clips[:, -1].shape, align_corners=False)
        seen = [
            F.grid_sample(clips[:, -1], here + f.movedim(1, 3), align_corners=False) for f in flows.chunk(2, 1)
        ]
        return (torch.stack([*seen, residual], 1) * masks.softmax(1)[:, :, None]).sum(1)


def rate(work, seconds: float) -> float:
    """Median of clips a second over repeated batches, after one to warm up."""
    work(0)
    taken, end, step = [], time.perf_counter() + seconds, 1
    while time.perf_counter() < end or len(taken) < 3:
        start = time.perf_counter()
        work(step)
        taken.append(time.perf_counter() - start)
        step += 1
    return BATCH / statistics.median(taken)


def training(model: nn.Module, batches):
    """step -> nothing: one training step on the batch of that step."""
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)

    def step(number: int) -> None:
        clips = batches(number)
        loss = F.huber_loss(model(clips[:, :4]), clips[:, 4])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def waits(model: nn.Module, batches, seconds: float) -> float:
    """Share of the time in which a training waits for batches made in the background; not counting the start."""
    ahead = videos.Prefetched(batches, 10**6)
    step = training(model, ahead)
    for number in range(20):
        step(number)
    before, start, number = ahead.waited, time.perf_counter(), 20
    while time.perf_counter() < start + seconds:
        step(number)
        number += 1
    return (ahead.waited - before) / (time.perf_counter() - start)


def batch(make, step: int) -> Tensor:
    return make(BATCH, start=step * BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="seconds a measurement")
    parser.add_argument("--videos", default="", help="a folder of videos to read, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    fixed = torch.rand(BATCH, 5, 3, 64, 64)
    eaters = {"V4 of phase 4": FramePredictor(change=True, skips=True, noise=0.25), "two warps": TwoWarps()}
    eats = {name: rate(training(model, lambda _: fixed), given.seconds) for name, model in eaters.items()}
    for name, clips in eats.items():
        size = sum(p.numel() for p in eaters[name].parameters())
        print(f"{name} ({size:,} parameters) trains at {clips:,.0f} clips a second")
    columns = [f"{what} {name}" for name in eats for what in ("times", "waits of")]
    print(f"\n| source | clips a second | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    for name, make in (videos.SOURCES | {"mixed": videos.mixed}).items():
        work = partial(batch, make)
        makes = rate(work, given.seconds)
        row = [f"{makes / eats[n]:.1f} | {100 * waits(m, work, given.seconds):.1f} %" for n, m in eaters.items()]
        print(f"| {name} | {makes:,.0f} | {' | '.join(row)} |", flush=True)
    if given.videos:
        start = time.perf_counter()
        clips, _ = videos.folder(given.videos, limit=1000)
        print(f"\n{given.videos}: {len(clips)} clips, {len(clips) / (time.perf_counter() - start):.0f} a second")


if __name__ == "__main__":
    main()
