"""How the prior's score grows with its size and with the real video that it sees.

    python experiments/scale_prior.py --videos my_clips/ --score others/ [--steps 4000] [--seed 0]

Prints a Markdown table: trainings from nothing, of equally many steps, and what each reaches on the
videos that it is judged by: mean PSNR of the next frame and of the one in between, over that of
optical flow, in dB. How it grows with hours is in the card and the recording of each training.
With --out, also as a file that `eon.prior_scaling.read_scaling` reads.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import common
import torch

from eon_utils.config import device
from eon_utils.data.video_clips import video_files
from eon_utils.training import train_prior
from eon_utils.training.prior_scaling import Measured, write_scaling
from eon_utils.training.prior_score import TASKS, PriorScore
from eon_utils.training.processes import PRECISIONS, several_processes


class Variant(NamedTuple):
    """A training of the table."""

    width: int = train_prior.WIDTH
    share: float = 1.0  # of the files of real video


VARIANTS = {
    "0.1 million parameters": Variant(width=6),
    "0.3 million": Variant(width=10),
    "1 million": Variant(width=18),
    "as it ships": Variant(),
    "3 million": Variant(width=32),
    "no real video": Variant(share=0),
    "an eighth of it": Variant(share=1 / 8),
    "half of it": Variant(share=1 / 2),
}


def some_files(folders: list[Path], share: float) -> tuple[str, ...]:
    """A share of the files, spread evenly over their names; all folders alike."""
    files = sorted(str(path) for path in video_files([str(folder) for folder in folders]))
    count = round(share * len(files))
    return tuple(files[index * len(files) // count] for index in range(count))


def train(variant: Variant, args: argparse.Namespace) -> tuple[train_prior.Prior, float, int]:
    """Train a variant: the prior, the hours that it took, the files that it saw."""
    files = some_files(args.videos, variant.share)
    mixture = train_prior.default_mixture(videos=bool(files))
    sources = train_prior.training_sources(
        args.seed, args.folder, args.scale, common.SIZE, mixture, files
    )
    loader = train_prior.mixture_loader(
        sources, args.steps, args.seed, mixture, args.batch, args.loaders
    )
    torch.manual_seed(args.seed)
    prior = train_prior.widened(variant.width)
    fabric = several_processes(precision=args.precision)
    run, trained = train_prior.train(
        prior, loader, args.steps, name="scaling", lr=args.lr, fabric=fabric
    )
    return trained, run.history.spent / 3600, len(files)


def judged(name: str, prior: train_prior.Prior, judge: PriorScore, *facts: int) -> Measured:
    """What a prior reaches; the facts are files, steps and clips a step of its training."""
    parameters = sum(parameter.numel() for parameter in prior.net.parameters())
    gains = judge(train_prior.PriorObjective(prior.eval().to(device())))
    return Measured(name, parameters, *facts, *(gains[task] for task in TASKS))


def print_measured(one: Measured, hours: float) -> None:
    """A row: what was trained, with what, and what it reaches."""
    gains = [f"{one.next:+.2f}", f"{one.between:+.2f}"]
    parameters = f"{one.parameters:,}"
    common.print_row(one.name, parameters, one.videos, one.steps, f"{hours:.2f}", *gains)


def main() -> None:
    """Train and judge all variants."""
    options = common.parser(__doc__)
    common.add_training_options(options)
    options.add_argument(
        "--videos", nargs="+", type=Path, required=True, help="folders of real video to train on"
    )
    options.add_argument("--score", type=Path, help="folder of videos to judge by (made clips)")
    options.add_argument("--steps", type=int, default=4000, help="of each training (4000)")
    options.add_argument("--batch", type=int, default=16, help="clips a step (16)")
    options.add_argument("--lr", type=float, default=5e-4, help="learning rate (5e-4)")
    options.add_argument("--loaders", type=int, default=0, help="processes that load clips (0)")
    options.add_argument(
        "--precision", choices=PRECISIONS, default="32-true", help="numbers (32-true)"
    )
    options.add_argument(
        "--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="trainings (all)"
    )
    options.add_argument("--out", type=Path, help="file for the table as CSV (none)")
    args = options.parse_args()
    judge = PriorScore(common.SIZE, args.score)
    common.print_head("", "parameters", "real files", "steps", "hours", *TASKS)
    first = judged("untrained", train_prior.widened(train_prior.WIDTH), judge, 0, 0, args.batch)
    print_measured(first, 0)
    measured = [first]
    for name in args.only:
        prior, hours, files = train(VARIANTS[name], args)
        measured.append(judged(name, prior, judge, files, args.steps, args.batch))
        print_measured(measured[-1], hours)
        if args.out:
            write_scaling(measured, args.out)


if __name__ == "__main__":
    main()
