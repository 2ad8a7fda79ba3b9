"""What each ingredient of the prior and of its training buys: the same training without it.

    python experiments/ablate_prior.py --videos my_clips/ --score others/ [--steps 4000] [--seed 0]

Prints a Markdown table: trainings from nothing of equally many steps, with one thing left out, and
what each reaches: PSNR in dB of the next frame from five, and of the one between two frames on each
side, on held-out clips of each source, in the mean, and on the videos to judge by, mean of files.
In brackets: how far it is from the first row. By the times of single steps two cores need half an
hour for a row; no whole row was timed.

A finished row is kept in the file --out, and a training has a checkpoint, so the same command goes
on where it was stopped. Other rows, seeds and steps may be added in other calls.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import common
import torch
from silence_prior import PARTS, Judged, Part, judge, silence

import eon_utils as eon
from eon_utils.config import RUNS, device
from eon_utils.data.files import whole_file
from eon_utils.training import train_prior
from eon_utils.training.launchers import PRECISIONS, several_processes


class Variant(NamedTuple):
    """What differs from the training of the prior that ships.

    Attributes:
        silent: parts of the network that say nothing.
        questions: kinds that are asked, in turn; none: the usual ones.
        level_weight: of the loss of each coarser level.
        already_good: mean squared error; what is better hardly counts.
        without: sources of which no clips are drawn.
        trains: False: the network is as it is built.
    """

    silent: Sequence[Part] = ()
    questions: tuple[str, ...] = ()
    level_weight: float = train_prior.LEVEL_WEIGHT
    already_good: float = train_prior.ALREADY_GOOD
    without: tuple[str, ...] = ()
    trains: bool = True


NEVER_AHEAD = tuple("next" if kind == "ahead" else kind for kind in train_prior.QUESTIONS)
FIRST = "as it ships"
VARIANTS = {
    FIRST: Variant(),
    **{f"without {part}": Variant(layers) for part, layers in PARTS.items() if layers},
    "without losses of coarser levels": Variant(level_weight=0.0),
    "with what is better than 40 dB": Variant(already_good=1e-5),
    "asked for the next frame alone": Variant(questions=("next",)),
    "asked for the one between alone": Variant(questions=("between",)),
    "never asked for several frames": Variant(questions=NEVER_AHEAD),
    "without real video": Variant(without=(train_prior.NEW_WORLD,)),
    "without generated clips": Variant(without=tuple(eon.SOURCES)),
    "not trained": Variant(trains=False),
}
del VARIANTS["without all that is learnt"]  # nothing would be left to train


class Measured(NamedTuple):
    """A row of the file: a training, and PSNR in dB of what it answers."""

    name: str
    seed: int
    steps: int
    batch: int
    videos: int  # files of real video that it saw
    judged: str  # what the answers are about: "generated", or "videos"
    next: float
    between: float


def train(name: str, args: argparse.Namespace) -> tuple[eon.Prior, int]:
    """Train a variant: the prior, and the number of files of real video that it saw."""
    variant = VARIANTS[name]
    torch.manual_seed(args.seed)
    prior = silence(eon.Prior(), variant.silent)
    if not variant.trains:
        return prior.eval().to(device()), 0
    real = train_prior.NEW_WORLD not in variant.without
    videos = [str(folder) for folder in args.videos] if real else []
    mixture = train_prior.default_mixture(bool(videos))
    mixture = {source: mixture[source] for source in mixture if source not in variant.without}
    sources = train_prior.training_sources(
        args.seed, args.folder, args.scale, common.SIZE, mixture, videos
    )
    loader = train_prior.mixture_loader(sources, args.steps, args.seed, mixture, args.batch)
    settings = {
        "QUESTIONS": variant.questions or train_prior.QUESTIONS,
        "LEVEL_WEIGHT": variant.level_weight,
        "ALREADY_GOOD": variant.already_good,
    }
    with patch.multiple(train_prior, **settings):
        _, trained = train_prior.train(
            prior,
            loader,
            args.steps,
            name=f"ablation_{name.replace(' ', '_')}_{args.seed}",
            learn="frames",
            folder=args.folder,
            fabric=several_processes(precision=args.precision),
            facts={"variant": name},
            resume=True,
        )
    files = len(train_prior.video_files(videos))
    return trained, files


def read_rows(file: Path) -> list[Measured]:
    """What earlier calls kept; nothing where there is no file."""
    if not file.exists():
        return []
    rows = []
    with file.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            counts = [int(row[name]) for name in ("seed", "steps", "batch", "videos")]
            levels = [float(row[name]) for name in ("next", "between")]
            rows.append(Measured(row["name"], *counts, row["judged"], *levels))
    return rows


def write_rows(rows: Sequence[Measured], file: Path) -> None:
    """Keep all that was measured so far."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as partial, partial.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(Measured._fields)
        writer.writerows(rows)


def measured(name: str, args: argparse.Namespace, judged: Judged) -> list[Measured]:
    """Train and judge a variant."""
    prior, files = train(name, args)
    rows = []
    for about, groups in judged.items():
        levels = [round(judge(prior, question, groups), 3) for question in ("next", "between")]
        rows.append(Measured(name, args.seed, args.steps, args.batch, files, about, *levels))
    return rows


def print_measured(name: str, rows: Sequence[Measured], first: Sequence[Measured]) -> None:
    """A row of the table."""
    cells = []
    for row in rows:
        beside = next((other for other in first if other.judged == row.judged), None)
        for task in ("next", "between"):
            level = getattr(row, task)
            apart = f" ({level - getattr(beside, task):+.2f})" if beside and row != beside else ""
            cells.append(f"{level:.2f}{apart}")
    common.print_row(name, *cells)


def main() -> None:
    """Train and judge all variants."""
    options = common.parser(__doc__)
    common.add_training_options(options)
    help_text = "folders of real video to train on (none)"
    options.add_argument("--videos", nargs="+", type=Path, default=[], help=help_text)
    options.add_argument("--score", type=Path, help="folder of videos to judge by (none)")
    options.add_argument("--steps", type=int, default=4000, help="of each training (4000)")
    options.add_argument("--batch", type=int, default=16, help="clips a step (16)")
    help_text = "numbers (32-true)"
    options.add_argument("--precision", choices=PRECISIONS, default="32-true", help=help_text)
    options.add_argument(
        "--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="trainings (all)"
    )
    out = RUNS / "ablations.csv"
    options.add_argument("--out", type=Path, default=out, help=f"file for the values ({out})")
    args = options.parse_args()
    judged = common.judged_clips(args.clips, args.score)
    rows = read_rows(args.out)
    first: list[Measured] = []
    heads = [f"{task}, {name}" for name in judged for task in ("next", "between")]
    common.print_head("", *heads)
    for name in args.only:
        wanted = (name, args.seed, args.steps, args.batch)
        found = [row for row in rows if row[:4] == wanted and row.judged in judged]
        if len(found) < len(judged):
            found = measured(name, args, judged)
            rows += found
            write_rows(rows, args.out)
        if name == FIRST:
            first = found
        print_measured(name, found, first)


if __name__ == "__main__":
    main()
