"""How soon the prior learns a world never seen, beside the same network as it is built.

    python experiments/judge_transfer.py [--worlds donkey_kong camera] [--steps 20] [--seeds 3]

The worlds are the ten games that were never trained on, and one of camera video: half of a file is
learnt from, and the other half predicted. Prints a row a world: PSNR in dB of the last frame of
clips not learnt from, before and after so many steps of eight clips, mean (spread) of the seeds.
These choose the clips to learn from, their order and the network as built.

Each world's values are kept in a CSV file as soon as they are there. A later call with the same
settings goes on with the worlds that the file has not.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import NamedTuple

import common
import torch
from torch import Tensor, nn

import eon_utils as eon
from eon_utils.config import CAMERA, RUNS, device
from eon_utils.data.files import whole_file
from eon_utils.evaluation.transfer import World
from eon_utils.training import train_prior

CAMERA_WORLD = "camera"
VIDEO = CAMERA / "gpmf-parser_02.mp4"  # a walk along a path
MARKS = (0, 5, 10, 20, 40, 80, 160)  # steps at which to measure
LEARNERS = ("prior", "as built")


class Measured(NamedTuple):
    """A line of the file."""

    world: str
    learner: str
    clips: int  # to learn from
    seed: int
    step: int
    psnr: float  # dB
    copied: float  # dB, by copying the last frame


def loss(model: nn.Module, clips: Tensor, step: int) -> Tensor:
    """The loss that the prior was trained with."""
    assert isinstance(model, eon.Prior)
    return train_prior.prediction_loss(model, clips, step)[0]


def make_world(name: str, args: argparse.Namespace) -> World:
    """A game, or camera video."""
    if name == CAMERA_WORLD:
        world = eon.transfer.video_world(args.video, name, common.SIZE)
        return world._replace(unseen=world.unseen[: args.clips])
    return eon.transfer.game_world(name, common.SIZE, max(args.counts), args.clips, seed=3)


def build(learner: str, seed: int) -> eon.Prior:
    """One of `LEARNERS`."""
    torch.manual_seed(seed)
    return eon.load_prior() if learner == "prior" else eon.Prior().to(device())


def learn(world: World, args: argparse.Namespace) -> list[Measured]:
    """Let both learn a world, from each number of clips, with each seed."""
    unseen = world.unseen.to(device())
    copied = eon.next_frame_psnr(eon.copy_last, unseen)
    lines = []
    for learner in LEARNERS:
        for count in args.counts:
            for seed in range(args.seeds):
                order = torch.randperm(
                    len(world.clips), generator=torch.Generator().manual_seed(seed)
                )
                chosen = world.clips[order][:count]
                model = build(learner, seed)
                curve = eon.transfer.fine_tune(model, chosen, unseen, loss, marks(args), seed)
                for step, level in zip(curve.steps, curve.psnr, strict=True):
                    lines.append(Measured(world.name, learner, count, seed, step, level, copied))
    return lines


def marks(args: argparse.Namespace) -> list[int]:
    """Steps at which to measure."""
    return [*(step for step in MARKS if step < args.steps), args.steps]


def print_rows(lines: list[Measured], args: argparse.Namespace) -> None:
    """A world: at each mark mean and spread of the seeds, in dB, a row a learner."""
    for learner in LEARNERS:
        for count in args.counts:
            cells = []
            for step in marks(args):
                at_mark = [
                    line.psnr
                    for line in lines
                    if (line.learner, line.clips, line.step) == (learner, count, step)
                ]
                levels = torch.tensor(at_mark)
                cells.append(f"{levels.mean():.2f} ({spread(levels):.2f})")
            copied = f"{lines[0].copied:.2f}"
            common.print_row(lines[0].world, copied, f"{learner}, {count} clips", *cells)


def spread(values: Tensor) -> float:
    """Standard deviation; 0 of a single value."""
    return values.std().item() if len(values) > 1 else 0.0


def read_lines(file: Path, args: argparse.Namespace) -> list[Measured]:
    """What an earlier call kept; nothing where there is no file.

    Raises:
        SystemExit: for a file of other settings.
    """
    if not file.exists():
        return []
    lines = []
    with file.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            counts = (int(row["clips"]), int(row["seed"]), int(row["step"]))
            levels = (float(row["psnr"]), float(row["copied"]))
            lines.append(Measured(row["world"], row["learner"], *counts, *levels))
    kept = {(line.clips, line.seed, line.step) for line in lines}
    wanted = {
        (c, seed, step) for c in args.counts for seed in range(args.seeds) for step in marks(args)
    }
    if lines and kept != wanted:
        raise SystemExit(f"--out {file} has other settings; name another file, or remove it")
    return lines


def write_lines(lines: list[Measured], file: Path) -> None:
    """Keep all that was measured so far."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as partial, partial.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(Measured._fields)
        writer.writerows(lines)


def parse() -> argparse.Namespace:
    """The options."""
    options = common.parser(__doc__)
    worlds = [*eon.HELD_OUT_GAMES, CAMERA_WORLD]
    options.add_argument(
        "--worlds", nargs="+", choices=worlds, help="games, or camera (all that there are)"
    )
    options.add_argument("--video", type=Path, default=VIDEO, help="file or folder of camera video")
    options.add_argument("--steps", type=int, default=20, help="of the training (20)")
    options.add_argument("--seeds", type=int, default=3, help="how many (3)")
    options.add_argument("--clips", type=int, default=12, help="clips to measure on (12)")
    options.add_argument(
        "--counts", nargs="+", type=int, default=[10], help="numbers of clips to learn from (10)"
    )
    out = RUNS / "judge_transfer.csv"
    options.add_argument("--out", type=Path, default=out, help=f"file for the values ({out})")
    args = options.parse_args()
    if args.worlds is None:
        args.worlds = worlds if args.video.exists() else worlds[:-1]
    elif CAMERA_WORLD in args.worlds and not args.video.exists():
        options.error(f"--video {args.video} does not exist: name a file of camera video")
    return args


def main() -> None:
    """Let both learn each world."""
    args = parse()
    lines = read_lines(args.out, args)
    common.print_head("world", "copy last", "learner", *map(str, marks(args)))
    for name in args.worlds:
        of_world = [line for line in lines if line.world == name]
        if not of_world:
            of_world = learn(make_world(name, args), args)
            lines += of_world
            write_lines(lines, args.out)
        print_rows(of_world, args)


if __name__ == "__main__":
    main()
