"""What each ingredient of the prior buys: the same training, a minute long, with one thing changed.

    python tests/ablate_prior.py [--seconds 60] [--seed 0] [--videos my_clips/]

Prints a Markdown table: PSNR in dB on 48 held-out clips of each source (and on own videos, mean of files at 64 and
at 128 pixels), as differences from the row "as it ships" in the mean of the sources.
"""

import argparse
import warnings
from pathlib import Path

import torch

import eon_utils as eon
from eon_utils.training import train_prior as prior_training
from eon_utils.config import RUNS

MIXTURE = prior_training.MIXTURE
VARIANTS = {  # name -> what `Prior` is built with, what it is trained on
    "as it ships": ({}, MIXTURE),
    "no motion, only what is new": ({"candidates": 0}, MIXTURE),
    "one motion": ({"candidates": 1}, MIXTURE),
    "three motions": ({"candidates": 3}, MIXTURE),
    "no noise on the skips": ({"noise": 0.0}, MIXTURE),
    "noise of 0.25": ({"noise": 0.25}, MIXTURE),
} | {f"without {name}": ({}, MIXTURE | {name: 0.0}) for name in MIXTURE}
CONTEXTS = (2, 3, 4)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--videos", type=Path)
    args = parser.parse_args()
    pools = {name: prior_training.pool(name, count, RUNS / "prior") for name, count in prior_training.POOL.items()}
    tests = {name: [make(48, 6, 64, 5, 0, False)] for name, make in eon.videos.SOURCES.items()}
    if args.videos:
        files = sorted(file for file in args.videos.iterdir() if file.suffix != ".md")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for size in (64, 128):
                tests[f"own, {size}"] = [eon.videos.folder(file, 6, size, limit=24)[0] for file in files]

    def judge(name: str, model: torch.nn.Module, base: float | None = None) -> float:
        found = [sum(eon.next_frame_psnr(model, part) for part in parts) / len(parts) for parts in tests.values()]
        mean = sum(found[: len(MIXTURE)]) / len(MIXTURE)
        cells = [f"{value:.2f}" for value in found]
        print(f"| {name} | {' | '.join(cells)} | {0 if base is None else mean - base:+.2f} |", flush=True)
        return mean

    print(
        f"| seed {args.seed}, {args.seconds:g} s | {' | '.join(tests)} | mean |\n|---|{'---|' * (len(tests) + 1)}"
    )
    base = None
    for name, (design, mixture) in VARIANTS.items():
        torch.manual_seed(args.seed)
        draw = prior_training.batches(pools, mixture, args.seed)
        how = {"seconds": args.seconds, "name": "ablation"}
        run, model = prior_training.train(eon.Prior(**design), draw, 1_000_000, **how)
        mean = judge(f"{name} ({run.done:,} steps)", model, base)
        if base is None:
            base = mean
            for context in CONTEXTS:
                model.context = context
                judge(f"{context} frames of context", model, base)
            torch.manual_seed(args.seed)
            judge("not trained at all", eon.Prior().eval(), base)


if __name__ == "__main__":
    main()
