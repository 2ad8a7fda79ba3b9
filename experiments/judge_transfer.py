"""How soon the prior learns a game never seen: beside the same network as built, in several games, five seeds.

    python tests/judge_transfer.py [--games donkey_kong,freeway] [--steps 40] [--seeds 5]

Prints a Markdown table: PSNR in dB on 24 clips of another episode after so many steps of eight clips, mean
(spread) of the seeds, which choose the clips to learn from, their order, and the network as built.
"""

import argparse

import torch
from torch import Tensor, nn

import eon_utils as eon
from eon_utils.training import train_prior as prior_training

GAMES = ("donkey_kong", "fishing_derby", "freeway", "ms_pacman")
LEARNERS = tuple((name, count) for name in ("prior", "as built") for count in (10, 30, 100))


def loss(model: nn.Module, batch: Tensor, step: int) -> Tensor:
    return prior_training.prediction_loss(model, batch, step)[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--games", default=",".join(GAMES))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    marks = [step for step in (0, 5, 10, 20, 40, 80, 160) if step < args.steps] + [args.steps]
    print(f"| game | copy last | learner | {' | '.join(map(str, marks))} |\n|---|---:|---|{'---:|' * len(marks)}")
    for game in args.games.split(","):
        how = {"frames": 6, "size": 64, "start": 1, "names": (game,)}
        world = eon.videos.games(100, seed=3, train=True, **how)
        unseen = eon.videos.games(24, seed=4, train=False, **how)
        copied = eon.next_frame_psnr(eon.copy_last, unseen)
        for name, count in LEARNERS:
            levels = []
            for seed in range(args.seeds):
                mixed = world[torch.randperm(len(world), generator=torch.Generator().manual_seed(seed))]
                torch.manual_seed(seed)
                model = eon.load_prior() if name == "prior" else eon.Prior()
                levels.append(eon.transfer.fine_tune(model, mixed[:count], unseen, loss, marks, seed)[2])
            cells = [f"{part.mean():.2f} ({part.std():.2f})" for part in torch.tensor(levels).T]
            print(f"| {game} | {copied:.2f} | {name}, {count} clips | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
