"""How soon the prior learns a game never seen, beside the same network as it is built.

    python experiments/judge_transfer.py [--games donkey_kong freeway] [--steps 40] [--seeds 5]

Prints a Markdown table: PSNR in dB on 24 clips of another episode after so many steps of eight
clips, mean (spread) of the seeds. These choose the clips to learn from, their order and the network
as built.
"""

from __future__ import annotations

import argparse

import common
import torch
from torch import Tensor, nn

import eon_utils as eon
from eon_utils.config import device
from eon_utils.training import train_prior

GAMES = ("donkey_kong", "fishing_derby", "freeway", "ms_pacman")
MARKS = (0, 5, 10, 20, 40, 80, 160)  # steps at which to measure
LEARNERS = ("prior", "as built")


def loss(model: nn.Module, clips: Tensor, step: int) -> Tensor:
    """The loss that the prior was trained with."""
    assert isinstance(model, eon.Prior)
    return train_prior.prediction_loss(model, clips, step)[0]


def game_clips(name: str, count: int, seed: int, train: bool) -> Tensor:
    """Clips of one game, (count, 6, 3, 64, 64); the first moments, alike in all episodes, not."""
    return eon.AtariGames(count, 6, 64, seed, start=1, train=train, names=(name,)).stack()


def build(learner: str, seed: int) -> eon.Prior:
    """One of `LEARNERS`."""
    torch.manual_seed(seed)
    return eon.load_prior() if learner == "prior" else eon.Prior().to(device())


def learn(
    learner: str, clips: Tensor, unseen: Tensor, count: int, marks: list[int], seeds: int
) -> list[str]:
    """Cells of a learner: at each mark mean and spread of the seeds, in dB.

    Args:
        learner: one of `LEARNERS`.
        clips: of which each seed chooses some, (N, 6, 3, 64, 64).
        unseen: to measure on.
        count: clips to learn from.
        marks: steps at which to measure.
        seeds: how many.
    """
    levels = []
    for seed in range(seeds):
        order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(seed))
        chosen = clips[order][:count]
        curve = eon.transfer.fine_tune(build(learner, seed), chosen, unseen, loss, marks, seed)
        levels.append(curve.psnr)
    at_marks = torch.tensor(levels).T  # (marks, seeds)
    return [f"{level.mean():.2f} ({spread(level):.2f})" for level in at_marks]


def spread(values: Tensor) -> float:
    """Standard deviation; 0 of a single value."""
    return values.std().item() if len(values) > 1 else 0.0


def parse() -> argparse.Namespace:
    """The options."""
    options = common.parser(__doc__)
    options.add_argument(
        "--games", nargs="+", choices=eon.HELD_OUT_GAMES, default=GAMES, help=f"({' '.join(GAMES)})"
    )
    options.add_argument("--steps", type=int, default=40, help="of the training (40)")
    options.add_argument("--seeds", type=int, default=5, help="how many (5)")
    options.add_argument("--clips", type=int, default=24, help="clips to measure on (24)")
    options.add_argument(
        "--counts",
        nargs="+",
        type=int,
        default=(10, 30, 100),
        help="numbers of clips to learn from (10 30 100)",
    )
    return options.parse_args()


def main() -> None:
    """Let both learn each game."""
    args = parse()
    marks = [step for step in MARKS if step < args.steps]
    marks.append(args.steps)
    common.print_head("game", "copy last", "learner", *map(str, marks))
    for game in args.games:
        clips = game_clips(game, max(args.counts), seed=3, train=True)
        unseen = game_clips(game, args.clips, seed=4, train=False).to(device())
        copied = eon.next_frame_psnr(eon.copy_last, unseen)
        for learner in LEARNERS:
            for count in args.counts:
                cells = learn(learner, clips, unseen, count, marks, args.seeds)
                common.print_row(game, f"{copied:.2f}", f"{learner}, {count} clips", *cells)


if __name__ == "__main__":
    main()
