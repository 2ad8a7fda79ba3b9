"""Few labels: how many right answers a handful of labelled clips a class buys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eon_utils.config import device
from eon_utils.data.atari import HELD_OUT_GAMES, AtariGames
from eon_utils.data.camera_pans import MOVES, LabelledMoves
from eon_utils.data.moving_digits import MovingDigits

Answer = Callable[[Tensor, Tensor, Tensor], Tensor]
Labelled = tuple[Tensor, Tensor]  # clips, or vectors, and their labels
TASKS = ("how it moves", "which game", "which digit")


def labelled_clips(task: str, each: int, frames: int, size: int, seed: int, train: bool) -> Labelled:
    """`each` labelled clips a class of one of `TASKS`: (N, frames, 3, size, size) in [0, 1], and labels (N,).

    The 13 moves of `LabelledMoves`; the ten held-out games; one digit, of ten. Clips to ask about (`train=False`)
    show other photographs, episodes, digit images. Raises ValueError for an unknown task.
    """
    if task == "how it moves":
        clips, labels = LabelledMoves(len(MOVES) * each, frames, size, seed, train=train).stack()
        return clips, labels
    if task == "which game":
        how = {"seed": seed, "start": 1, "train": train}  # a game's first moments are the same in every episode
        parts = [AtariGames(each, frames, size, names=(name,), **how).stack() for name in HELD_OUT_GAMES]
        return torch.cat(parts), torch.arange(len(parts)).repeat_interleave(each)
    if task == "which digit":
        source = MovingDigits(30 * each + 100, frames, size, seed, train=train, digits=1, labels=True)
        clips, values = source.stack()
        chosen = sample_shots(values[:, 0], each, seed)
        return clips[chosen], values[chosen, 0]
    raise ValueError(f"task={task!r} must be one of {', '.join(TASKS)}")


def embed(look: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """What `look` makes of many clips, such as `Prior.features`: (N, T, 3, H, W) -> (N, D), on the CPU."""
    where = device()
    return torch.cat([look(part.to(where)).cpu() for part in clips.split(32)])


def pca_features(given: Tensor, asked: Tensor, count: int = 100) -> tuple[Tensor, Tensor]:
    """(N, ...), (M, ...) -> (N, K), (M, K): both along the `count` principal components of the first."""
    given, asked = given.flatten(1), asked.flatten(1)
    middle = given.mean(0)
    ways = torch.pca_lowrank(given - middle, min(count, len(given)), center=False)[2]
    return (given - middle) @ ways, (asked - middle) @ ways


def sample_shots(labels: Tensor, shots: int, seed: int) -> Tensor:
    """Places of `shots` clips of each class, drawn at random, (classes * shots,).

    Raises ValueError if a class has fewer.
    """
    rng, found = np.random.default_rng((seed, shots)), []
    for kind in labels.unique().tolist():
        places = np.flatnonzero(labels.numpy() == kind)
        if len(places) < shots:
            raise ValueError(f"class {kind} has {len(places)} clips, {shots} were asked for: draw more clips")
        found.append(rng.permutation(places)[:shots])
    return torch.from_numpy(np.concatenate(found))


def linear_probe(given: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """A linear probe: logistic regression of labels (N,) on vectors (N, D), each number at unit variance.

    Returns the classes that it gives `asked`, (M, D): (M,).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    return torch.from_numpy(model.fit(given.numpy(), labels.numpy()).predict(asked.numpy()))


def few_shot_accuracy(answer: Answer, given: Labelled, asked: Labelled, shots: Sequence[int], seeds: int) -> Tensor:
    """How many of `asked` are answered right, in percent, (len(shots), seeds): from so many of `given` a class.

    answer: `linear_probe`, or another of what is given, its labels, what is asked; PyTorch is seeded anew for each.
    """
    found = torch.empty(len(shots), seeds)
    for row, count in enumerate(shots):
        for seed in range(seeds):
            torch.manual_seed(seed)
            chosen = sample_shots(given[1], count, seed)
            found[row, seed] = (answer(given[0][chosen], given[1][chosen], asked[0]) == asked[1]).float().mean()
    return 100 * found


def train_from_scratch(clips: Tensor, labels: Tensor, asked: Tensor, steps: int, batch: int = 32) -> Tensor:
    """As `linear_probe`, by a small network that learns from pixels: (N, T, 3, H, W), labels -> classes of `asked`, (M,).

    Four convolutions of stride 2 on the last frame and the differences of all; Adam, `steps` batches.
    """
    classes, frames = int(labels.max()) + 1, clips.shape[1]

    def stacked(part: Tensor) -> Tensor:
        return torch.cat([part[:, -1:] - 0.5, 4 * part.diff(dim=1)], 1).flatten(1, 2)

    widths = (3 * frames, 32, 48, 64, 64)
    layers = [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.GELU()) for a, b in pairwise(widths)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(classes))
    model(stacked(clips[:1]))
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(steps):
        chosen = torch.randint(len(clips), (min(batch, len(clips)),))
        loss = F.cross_entropy(model(stacked(clips[chosen])), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return torch.cat([model(stacked(part)).argmax(1) for part in asked.split(64)])
