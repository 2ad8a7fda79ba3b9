"""Few labels: how many right answers a handful of labelled clips a class buys.

A classifier learns from the *support* set, inputs with their labels, and is asked for the labels of
the *query* set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eon_utils.config import device
from eon_utils.data.atari import HELD_OUT_GAMES, AtariGames
from eon_utils.data.camera_pans import MOVES, LabelledMoves
from eon_utils.data.moving_digits import MovingDigits
from eon_utils.models.inputs import as_float
from eon_utils.threads import core_watch

TAKES = "a classifier takes inputs"  # how errors of what it is given begin
WIDTHS = (32, 48, 64, 64)  # of the network that learns from scratch
EMBED_BATCH = 32
QUERY_BATCH = 64

# Support, its labels, query -> classes of the query.
Classifier = Callable[[Tensor, Tensor, Tensor], Tensor]


class Labelled(NamedTuple):
    """Clips, or vectors that describe them, with a class each."""

    inputs: Tensor  # (N, ...)
    labels: Tensor  # (N,), int64


def labelled_clips(
    task: str, per_class: int, frames: int, size: int, seed: int, train: bool
) -> Labelled:
    """As many labelled clips of each class of a task.

    Args:
        task: one of `TASKS`: "how it moves", the 13 moves of `LabelledMoves`; "which game", the ten
            held-out games; "which digit", one of ten.
        per_class: clips a class.
        frames: frames a clip.
        size: side of the square frames in pixels.
        seed: of the clips.
        train: clips to learn from, else to be asked about: those show other photographs, episodes
            and digit images.

    Returns:
        Clips (N, frames, 3, size, size) in [0, 1], and their labels (N,).

    Raises:
        ValueError: for an unknown task.

    Examples:
        >>> clips, labels = labelled_clips("how it moves", 2, frames=3, size=16, seed=0, train=True)
        >>> clips.shape, labels.shape
        (torch.Size([26, 3, 3, 16, 16]), torch.Size([26]))
    """
    if task not in _MAKERS:
        raise ValueError(f"task={task!r} must be one of {', '.join(TASKS)}")
    return _MAKERS[task](per_class, frames, size, seed, train)


def _moves(per_class: int, frames: int, size: int, seed: int, train: bool) -> Labelled:
    source = LabelledMoves(len(MOVES) * per_class, frames, size, seed, train=train)
    clips, labels = source.stack()
    return Labelled(clips, labels)


def _games(per_class: int, frames: int, size: int, seed: int, train: bool) -> Labelled:
    parts = []
    for name in HELD_OUT_GAMES:
        # A game's first moments are the same in every episode, so clip 0 is left out.
        source = AtariGames(per_class, frames, size, seed, start=1, train=train, names=(name,))
        parts.append(source.stack())
    labels = torch.arange(len(parts)).repeat_interleave(per_class)
    return Labelled(torch.cat(parts), labels)


def _digits(per_class: int, frames: int, size: int, seed: int, train: bool) -> Labelled:
    count = 30 * per_class + 100  # enough for each of ten digits to turn up so often
    source = MovingDigits(count, frames, size, seed, train=train, digits=1, labels=True)
    clips, values = source.stack()
    labels = values[:, 0]
    chosen = sample_shots(labels, per_class, seed)
    return Labelled(clips[chosen], labels[chosen])


_MAKERS = {"how it moves": _moves, "which game": _games, "which digit": _digits}
TASKS = tuple(_MAKERS)


def embed(encoder: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """Vectors of many clips, a batch after another.

    Args:
        encoder: clips -> vectors, such as `Prior.features`.
        clips: (N, T, 3, H, W).

    Returns:
        (N, D), on the CPU.
    """
    where = device()
    vectors = [encoder(batch.to(where)).cpu() for batch in clips.split(EMBED_BATCH)]
    return torch.cat(vectors)


def pca_features(support: Tensor, query: Tensor, count: int = 100) -> tuple[Tensor, Tensor]:
    """Both sets along the principal components of the support set.

    Args:
        support: (N, ...), float, or uint8, which counts as 255ths.
        query: (M, ...), likewise.
        count: how many components; there are no more than N.

    Returns:
        (N, K) and (M, K).
    """
    support = as_float(support, TAKES).flatten(1)
    query = as_float(query, TAKES).flatten(1)
    mean = support.mean(0)
    centred = support - mean
    _, _, components = torch.pca_lowrank(centred, min(count, len(support)), center=False)
    return centred @ components, (query - mean) @ components


def sample_shots(labels: Tensor, shots: int, seed: int) -> Tensor:
    """Draw as many clips of each class at random.

    Args:
        labels: (N,).
        shots: how many of each class.
        seed: of the draw.

    Returns:
        Their indices, (classes * shots,).

    Raises:
        ValueError: if a class has fewer.
    """
    rng = np.random.default_rng((seed, shots))
    chosen = []
    for label in labels.unique().tolist():
        indices = np.flatnonzero(labels.numpy() == label)
        count = len(indices)
        if count < shots:
            raise ValueError(
                f"class {label} has {count} clips, {shots} were asked for: draw more clips"
            )
        chosen.append(rng.permutation(indices)[:shots])
    return torch.from_numpy(np.concatenate(chosen))


def linear_probe(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
    """A linear probe: logistic regression on vectors whose numbers have unit variance.

    Args:
        support: vectors (N, D).
        labels: their classes (N,).
        query: vectors (M, D).

    Returns:
        The classes of the query, (M,).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    model.fit(support.numpy(), labels.numpy())
    return torch.from_numpy(model.predict(query.numpy()))


def few_shot_accuracy(
    classifier: Classifier,
    support: tuple[Tensor, Tensor],
    query: tuple[Tensor, Tensor],
    shots: Sequence[int],
    seeds: int,
) -> Tensor:
    """How much of the query set is classified right from so many examples a class.

    Args:
        classifier: `linear_probe`, or another function of support, its labels and query. PyTorch
            is seeded anew before each call.
        support: inputs and labels to draw the examples from, such as `Labelled`.
        query: inputs and labels to ask about.
        shots: numbers of examples a class.
        seeds: how many draws of each.

    Returns:
        Percent, (len(shots), seeds).
    """
    inputs, labels = support
    questions, truth = query
    right = torch.empty(len(shots), seeds)
    for row, count in enumerate(shots):
        for seed in range(seeds):
            torch.manual_seed(seed)
            chosen = sample_shots(labels, count, seed)
            answers = classifier(inputs[chosen], labels[chosen], questions)
            right[row, seed] = (answers == truth).float().mean()
    return 100 * right


def train_from_scratch(
    support: Tensor, labels: Tensor, query: Tensor, steps: int, batch: int = 32
) -> Tensor:
    """As `linear_probe`, by a small network that learns from pixels, with Adam.

    Args:
        support: clips (N, T, 3, H, W), float in [0, 1] or uint8.
        labels: their classes (N,).
        query: clips (M, T, 3, H, W), likewise.
        steps: batches to train on.
        batch: clips a batch.

    Returns:
        The classes of the query, (M,).
    """
    model = _small_network(support.shape[1], int(labels.max()) + 1)
    model(_last_and_differences(support[:1]))  # settles the size of the last layer
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(steps):
        core_watch().update()
        chosen = torch.randint(len(support), (min(batch, len(support)),))
        scores = model(_last_and_differences(support[chosen]))
        loss = F.cross_entropy(scores, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    answers = []
    with torch.no_grad():
        for part in query.split(QUERY_BATCH):
            scores = model(_last_and_differences(part))
            answers.append(scores.argmax(1))
    return torch.cat(answers)


def _small_network(frames: int, classes: int) -> nn.Module:
    """Four convolutions of stride 2 and a linear layer."""
    layers: list[nn.Module] = []
    for before, after in pairwise((3 * frames, *WIDTHS)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GELU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(classes))


def _last_and_differences(clips: Tensor) -> Tensor:
    """(N, T, 3, H, W) -> (N, 3 * T, H, W): the last frame, and the differences of all."""
    clips = as_float(clips, TAKES)
    last = clips[:, -1:] - 0.5
    differences = 4 * clips.diff(dim=1)
    return torch.cat([last, differences], 1).flatten(1, 2)
