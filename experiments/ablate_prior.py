"""What each ingredient of the prior buys: the same training, a minute long, with one thing changed.

    python experiments/ablate_prior.py [--seconds 60] [--seed 0] [--videos my_clips/]

Prints a Markdown table: PSNR in dB of the next frame on 48 held-out clips of each source (and on
own videos, mean of files at 64 and at 128 pixels), how far the mean of the sources is from that of
the first row, and the mean of the sources of the frame between two on each side.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import common
import torch
from torch import Tensor

import eon_utils as eon
from eon_utils.config import device
from eon_utils.evaluation.metrics import EXACT
from eon_utils.training import train_prior

CONTEXTS = (2, 3)  # frames, instead of four
MIDDLE = 3  # the frame that is asked for between two on each side
BATCH = 8  # clips that are judged at once
STEPS = 1_000_000  # more than the seconds allow
LOADER_STEPS = 10_000  # after which the loader begins anew
DESIGNS: dict[str, dict[str, Any]] = {  # name -> what `Prior` is built with
    "as it ships": {},
    "half as wide": {"encoder": (12, 24, 36, 48), "decoder": (12, 24, 36, 48, 64), "fusion": 12},
    "a quarter as wide": {"encoder": (6, 12, 18, 24), "decoder": (6, 12, 18, 24, 32), "fusion": 6},
    "coarse levels narrow": {"encoder": (24, 24, 24, 24), "decoder": (24, 24, 24, 24, 24)},
    "few channels to weigh with": {"fusion": 8},
}
WITHOUT = {f"without {source}": source for source in eon.SOURCES}
VARIANTS = [*DESIGNS, *WITHOUT]


Predict = Callable[[Tensor], Tensor]


class Table:
    """Prints a row for each prior that it judges; the first is what the others are compared with.

    Args:
        sources: name -> clips.
        videos: name -> clips of each file.
    """

    def __init__(self, sources: dict[str, Tensor], videos: dict[str, list[Tensor]]) -> None:
        self.sources = sources
        self.videos = videos
        self.first: float | None = None
        common.print_head("", *sources, *videos, "mean of sources", "between, mean of sources")

    def judge(self, name: str, prior: eon.Prior, predict: Predict | None = None) -> None:
        """Print the row of a prior.

        Args:
            name: of the row.
            prior: that is judged.
            predict: another way to ask it for the next frame; the frame between is left out then.
        """
        following = predict or prior.predict
        levels = [eon.next_frame_psnr(following, clips) for clips in self.sources.values()]
        mean = sum(levels) / len(levels)
        for files in self.videos.values():
            parts = [eon.next_frame_psnr(following, clips) for clips in files]
            levels.append(sum(parts) / len(parts))
        if self.first is None:
            self.first = mean
        cells = [f"{level:.2f}" for level in levels]
        middle = "" if predict else f"{self.between(prior):.2f}"
        common.print_row(name, *cells, f"{mean - self.first:+.2f}", middle)

    def between(self, prior: eon.Prior) -> float:
        """PSNR of the frame between two on each side, mean of the sources."""
        levels = []
        for clips in self.sources.values():
            before = clips[:, MIDDLE - 2 : MIDDLE]
            after = clips[:, MIDDLE + 1 : MIDDLE + 3]
            level = eon.psnr(prior.between(before, after), clips[:, MIDDLE])
            levels.append(level.clamp(max=EXACT).mean())
        return torch.stack(levels).mean().item()


def train(
    name: str, args: argparse.Namespace, sources: Sequence[eon.ClipSource | eon.CachedClips]
) -> eon.Prior:
    """Train one of `VARIANTS` on clips of the sources."""
    weights = train_prior.default_mixture()
    if name in WITHOUT:
        weights[WITHOUT[name]] = 0.0
    torch.manual_seed(args.seed)
    prior = eon.Prior(**DESIGNS.get(name, {}))
    loader = train_prior.mixture_loader(sources, LOADER_STEPS, args.seed, weights)
    _, trained = train_prior.train(prior, loader, STEPS, name="ablation", seconds=args.seconds)
    return trained


@torch.no_grad()
def without_fit(prior: eon.Prior, clips: Tensor) -> Tensor:
    """The next frame from the last four, where the past is not asked how right motion was."""
    frames = clips.flip(1)[:, :4]  # the last one first
    times = clips.new_tensor([-1, -2, -3, -4]).expand(len(clips), 4)
    parts = zip(frames.split(BATCH), times.split(BATCH), strict=True)
    return torch.cat([prior.net(some, clock).frame for some, clock in parts])


def judge_less(table: Table, prior: eon.Prior, seed: int) -> None:
    """Rows of the same prior without its fit and with less context, and of an untrained one."""
    table.judge("not fitted to the past", prior, lambda clips: without_fit(prior, clips))
    for context in CONTEXTS:
        few = f"{context} frames of context"
        table.judge(few, prior, lambda clips, last=context: prior.predict(clips[:, -last:]))
    torch.manual_seed(seed)
    table.judge("not trained at all", eon.Prior().eval().to(device()))


def main() -> None:
    """Train and judge all variants."""
    options = common.parser(__doc__)
    common.add_training_options(options)
    common.add_seconds_option(options, 60)
    common.add_videos_option(options)
    options.add_argument(
        "--only", nargs="+", choices=VARIANTS, default=VARIANTS, help="variants (all of them)"
    )
    args = options.parse_args()
    videos = {}
    for size in (64, 128) if args.videos else ():
        videos[f"own, {size}"] = list(common.own_clips(args.videos, size).values())
    sources = train_prior.training_sources(args.seed, args.folder, args.scale)
    table = Table(common.source_clips(args.clips), videos)
    for name in args.only:
        prior = train(name, args, sources)
        table.judge(name, prior)
        if name == VARIANTS[0]:
            judge_less(table, prior, args.seed)


if __name__ == "__main__":
    main()
