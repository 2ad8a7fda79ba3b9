"""What phase 6 asks of a prior: few labels, surprise, in-betweening. Networks and baselines are asked alike."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eon_utils.baselines import carried_flow
from eon_utils.digits import digits
from eon_utils.flow import box, warp
from eon_utils.games import HELD_OUT_GAMES, games
from eon_utils.metrics import next_frame_psnr
from eon_utils.motion import MOVES, moves
from eon_utils.presets import device
from eon_utils.prior import Prior

Predict = Callable[[Tensor], Tensor]
Answer = Callable[[Tensor, Tensor, Tensor], Tensor]
Loss = Callable[[nn.Module, Tensor, int], Tensor]
Labelled = tuple[Tensor, Tensor]  # clips, or vectors, and their labels
TASKS = ("how it moves", "which game", "which digit")


def labelled(task: str, each: int, frames: int, size: int, seed: int, train: bool) -> Labelled:
    """`each` labelled clips a class of one of `TASKS`: (N, frames, 3, size, size) in [0, 1], and labels (N,).

    The 13 moves of `motion.moves`; the ten held-out games; one digit, of ten. Clips to ask about (`train=False`)
    show other photographs, episodes, digit images. Raises ValueError for an unknown task.
    """
    if task == "how it moves":
        return moves(len(MOVES) * each, frames, size, seed, train=train)
    if task == "which game":
        how = {"seed": seed, "start": 1, "train": train}  # a game's first moments are the same in every episode
        parts = [games(each, frames, size, names=(name,), **how) for name in HELD_OUT_GAMES]
        return torch.cat(parts), torch.arange(len(parts)).repeat_interleave(each)
    if task == "which digit":
        clips, values = digits(30 * each + 100, frames, size, seed, train=train, digits=1, labels=True)
        chosen = few(values[:, 0], each, seed)
        return clips[chosen], values[chosen, 0]
    raise ValueError(f"task={task!r} must be one of {', '.join(TASKS)}")


def vectors(look: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """What `look` makes of many clips, such as `Prior.features`: (N, T, 3, H, W) -> (N, D), on the CPU."""
    where = device()
    return torch.cat([look(part.to(where)).cpu() for part in clips.split(32)])


def components(given: Tensor, asked: Tensor, count: int = 100) -> tuple[Tensor, Tensor]:
    """(N, ...), (M, ...) -> (N, K), (M, K): both along the `count` principal components of the first."""
    given, asked = given.flatten(1), asked.flatten(1)
    middle = given.mean(0)
    ways = torch.pca_lowrank(given - middle, min(count, len(given)), center=False)[2]
    return (given - middle) @ ways, (asked - middle) @ ways


def few(labels: Tensor, shots: int, seed: int) -> Tensor:
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


def probe(given: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """A linear probe: logistic regression of labels (N,) on vectors (N, D), each number at unit variance.

    Returns the classes that it gives `asked`, (M, D): (M,).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    return torch.from_numpy(model.fit(given.numpy(), labels.numpy()).predict(asked.numpy()))


def right(answer: Answer, given: Labelled, asked: Labelled, shots: Sequence[int], seeds: int) -> Tensor:
    """How many of `asked` are answered right, in percent, (len(shots), seeds): from so many of `given` a class.

    answer: `probe`, or another of what is given, its labels, what is asked; PyTorch is seeded anew for each.
    """
    found = torch.empty(len(shots), seeds)
    for row, count in enumerate(shots):
        for seed in range(seeds):
            torch.manual_seed(seed)
            chosen = few(given[1], count, seed)
            found[row, seed] = (answer(given[0][chosen], given[1][chosen], asked[0]) == asked[1]).float().mean()
    return 100 * found


def from_scratch(clips: Tensor, labels: Tensor, asked: Tensor, steps: int, batch: int = 32) -> Tensor:
    """As `probe`, by a small network that learns from pixels: (N, T, 3, H, W), labels -> classes of `asked`, (M,).

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


def adapt(
    model: nn.Module, clips: Tensor, unseen: Tensor, loss_of: Loss, marks: Sequence[int], seed: int
) -> tuple[tuple[float, ...], ...]:
    """Train a copy of a predictor on batches of eight of `clips`, (N, T, 3, H, W), up to the last of `marks`.

    loss_of: (model, batch, step) -> loss. Returns, at each mark, steps, seconds of training, and the PSNR on the
    last frames of `unseen` in dB.
    """
    model, where = copy.deepcopy(model).requires_grad_(True), unseen.device
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-4)
    rng, spent, curve = torch.Generator().manual_seed(seed), 0.0, []
    torch.manual_seed(seed)
    for step in range(marks[-1] + 1):
        if step in marks:
            with torch.no_grad():
                curve.append((step, spent, next_frame_psnr(model.eval(), unseen)))
        start = time.perf_counter()
        batch = clips[torch.randint(len(clips), (8,), generator=rng)].to(where)
        loss = loss_of(model.train(), batch, step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        spent += time.perf_counter() - start
    return tuple(zip(*curve, strict=True))


def happened(films: Tensor, seed: int) -> dict[str, Tensor]:
    """Films (N, T >= 13, 3, H, W) of steady motion -> name of an event -> (N, 7, 3, H, W) whose last frame has it.

    "nothing": as it was. "scene cut": a frame of another film. "teleport": six frames are left out. "backwards":
    time turns round. "frozen": the last frame comes again. "new object": suddenly there is a disc, 5 to 9 of 64
    pixels in radius, of one colour that is half of the range away from what it hides.
    """
    rng, (count, high, wide) = np.random.default_rng(seed), (len(films), *films.shape[-2:])
    y, x = np.mgrid[:high, :wide]
    centres = rng.uniform(0.2, 0.8, (count, 2, 1, 1)) * np.array([[[high]], [[wide]]])
    radius = rng.uniform(5, 9, (count, 1, 1)) * high / 64
    disc = torch.from_numpy(np.hypot(y - centres[:, 0], x - centres[:, 1]) < radius)[:, None].to(films.device)
    hidden = (films[:, 6] * disc).sum((2, 3), keepdim=True) / disc.sum((2, 3), keepdim=True)
    ends = {"nothing": films[:, 6], "scene cut": films[:, 6].roll(1, 0), "teleport": films[:, 12]}
    ends |= {"backwards": films[:, 4], "frozen": films[:, 5]}
    ends |= {"new object": torch.where(disc, (hidden + 0.5) % 1, films[:, 6])}
    return {name: torch.cat([films[:, :6], last[:, None]], 1) for name, last in ends.items()}


@torch.no_grad()
def surprise(predict: Predict, clips: Tensor) -> Tensor:
    """How much worse the last frame of (N, T >= 6, 3, H, W) was foreseen than the three before it, (N,).

    The logarithm of its mean squared error, less the mean of theirs: what is hard to foresee all the time is no
    surprise.
    """
    logs, length = [], clips.shape[1]
    for end in range(length - 1, length - 5, -1):
        made = torch.cat([predict(part[:, max(end - 5, 0) : end]) for part in clips.split(32)]).clamp(0, 1)
        logs.append(((made - clips[:, end]).square().flatten(1).mean(1) + 1e-6).log())
    return logs[0] - torch.stack(logs[1:]).mean(0)


@torch.no_grad()
def between(predict: Predict, before: Tensor, after: Tensor) -> Tensor:
    """The frame between two clips, (N, T >= 3, 3, H, W) each, foreseen from both sides: (N, 3, H, W).

    Each side counts, place by place, by how well it foresaw its own last frame: what is hidden on one side may be
    in view on the other.
    """
    made, trust = [], []
    for clips in (before, after.flip(1)):
        wrong = (predict(clips[:, :-1]).clamp(0, 1) - clips[:, -1]).square().mean(1, keepdim=True)
        made.append(predict(clips).clamp(0, 1))
        trust.append(1 / (box(wrong, 3) + wrong.mean((2, 3), keepdim=True) + 1e-4))
    return (made[0] * trust[0] + made[1] * trust[1]) / (trust[0] + trust[1])


def half_way(before: Tensor, after: Tensor) -> Tensor:
    """As `between`, by optical flow (DIS) from neighbour to neighbour, each of them read half-way."""
    pair = torch.stack([before[:, -1], after[:, 0]], 1)
    there, back = -carried_flow(pair), -carried_flow(pair.flip(1))
    return (warp(pair[:, 0], there / 2) + warp(pair[:, 1], back / 2)) / 2


def to_onnx(network: Prior, clips: Tensor, file: str | Path) -> None:
    """Write a network on the CPU as ONNX: input "clips", of the shape of (N, T, 3, H, W), output "frame"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shapes become constants; the other exporter takes three times as long
        names = {"input_names": ["clips"], "output_names": ["frame"]}
        torch.onnx.export(network, (clips,), file, dynamo=False, opset_version=20, **names)
