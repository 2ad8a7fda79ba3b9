"""What each ingredient of the prior buys: the same training, a minute long, with one thing changed.

    python experiments/ablate_prior.py [--seconds 60] [--seed 0] [--videos my_clips/]

Prints a Markdown table: PSNR in dB on 48 held-out clips of each source (and on own videos, mean of
files at 64 and at 128 pixels), and how far the mean of the sources is from that of the first row.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import common
import torch
from torch import Tensor

import eon_utils as eon
from eon_utils.training import train_prior

CONTEXTS = (2, 3, 4)  # frames, instead of five
STEPS = 1_000_000  # more than the seconds allow
LOADER_STEPS = 10_000  # after which the loader begins anew
DESIGNS: dict[str, dict[str, Any]] = {  # name -> what `Prior` is built with
    "as it ships": {},
    "no motion, only a residual": {"candidates": 0},
    "one motion": {"candidates": 1},
    "three motions": {"candidates": 3},
    "no noise on the skips": {"noise": 0.0},
    "noise of 0.25": {"noise": 0.25},
}
WITHOUT = {f"without {source}": source for source in eon.SOURCES}
VARIANTS = [*DESIGNS, *WITHOUT]


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
        common.print_head("", *sources, *videos, "mean of sources")

    def judge(self, name: str, prior: eon.Prior) -> None:
        """Print the row of a prior."""
        levels = [eon.next_frame_psnr(prior, clips) for clips in self.sources.values()]
        mean = sum(levels) / len(levels)
        for files in self.videos.values():
            parts = [eon.next_frame_psnr(prior, clips) for clips in files]
            levels.append(sum(parts) / len(parts))
        if self.first is None:
            self.first = mean
        cells = [f"{level:.2f}" for level in levels]
        common.print_row(name, *cells, f"{mean - self.first:+.2f}")


def train(name: str, args: argparse.Namespace, sources: list[eon.CachedClips]) -> eon.Prior:
    """Train one of `VARIANTS` on cached clips; prints how far it came."""
    weights = train_prior.default_mixture()
    if name in WITHOUT:
        weights[WITHOUT[name]] = 0.0
    torch.manual_seed(args.seed)
    prior = eon.Prior(**DESIGNS.get(name, {}))
    loader = train_prior.mixture_loader(sources, LOADER_STEPS, args.seed, weights)
    _, trained = train_prior.train(prior, loader, STEPS, name="ablation", seconds=args.seconds)
    return trained


def judge_shipped(table: Table, prior: eon.Prior, seed: int) -> None:
    """Rows of the same prior with less context, and of one that was not trained."""
    for context in CONTEXTS:
        prior.config = replace(prior.config, context=context)
        table.judge(f"{context} frames of context", prior)
    torch.manual_seed(seed)
    untrained = eon.Prior().eval()
    table.judge("not trained at all", untrained.to(next(prior.parameters()).device))


def main() -> None:
    """Train and judge all variants."""
    options = common.parser(__doc__)
    common.add_training_options(options, seconds=60)
    common.add_videos_option(options)
    options.add_argument(
        "--only", nargs="+", choices=VARIANTS, default=VARIANTS, help="variants (all of them)"
    )
    args = options.parse_args()
    videos = {}
    for size in (64, 128) if args.videos else ():
        videos[f"own, {size}"] = list(common.own_clips(args.videos, size).values())
    sources = train_prior.training_clips(args.seed, args.folder, args.scale)
    table = Table(common.source_clips(args.clips), videos)
    for name in args.only:
        prior = train(name, args, sources)
        table.judge(name, prior)
        if name == VARIANTS[0]:
            judge_shipped(table, prior, args.seed)


if __name__ == "__main__":
    main()
