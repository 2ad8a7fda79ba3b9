"""What an exercise's cell draws: the reader's code at work, beside the course's own.

A trial takes the same arguments as the exercise's grader (see `graders`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from eon_utils.data.dead_leaves import DeadLeaves
from eon_utils.evaluation.baselines import copy_last
from eon_utils.evaluation.metrics import accuracy, next_frame_psnr
from eon_utils.models.conv_autoencoder import ConvAutoencoder, FramePredictor
from eon_utils.models.pca_autoencoder import Autoencoder, LocalPCA, patchify
from eon_utils.notebook.display import show, table
from eon_utils.notebook.figures import contact_sheet, curves
from eon_utils.notebook.graders import BATCH, descend, right_by_part, split_code
from eon_utils.notebook.looks import looks_of

Series = dict[str, tuple[Sequence[float], Sequence[float]]]  # name -> (x, y)

SIZE = (6.8, 3.0)  # of a figure, in inches
MARKS = 8  # levels that a curve of notebook 04 has


@torch.no_grad()
def perfect_autoencoder(model: Any, start: nn.Module, pictures: Tensor) -> None:  # noqa: ANN401
    units = model.decoder.weight.T[: len(pictures)].unflatten(1, pictures.shape[1:])
    units = 0.5 + 0.5 * units / units.abs().amax((1, 2, 3), keepdim=True)
    fig = contact_sheet({"returned": model(pictures), "its units": units}, most=3)
    show(fig, "What the network returns, and the first units of its decoder as pictures")


def xavier_start(restart: Callable[[Any], object], pictures: Tensor, steps: int) -> None:
    starts = {"default start": lambda model: None, "your start": restart}
    accuracies = {}
    for name, prepare in starts.items():
        torch.manual_seed(0)
        model = ConvAutoencoder().to(pictures.device)
        prepare(model)
        curve = _train(model, pictures, lambda model, batch, step: model(batch), steps)
        accuracies[name] = (range(1, steps + 1), curve)
    fig, ax = _axes()
    curves(accuracies, "training step", "accuracy [%]", ax)
    show(fig, "Accuracy of V2 by training step, from PyTorch's default start and from yours")


def skips_cut_by_turns(
    forward: Callable[[Any, Tensor, int], Tensor],
    models: Mapping[str, Any],
    pictures: Tensor,
    steps: int,
) -> None:
    torch.manual_seed(0)
    mine = ConvAutoencoder(skips=True).to(pictures.device)
    _train(mine, pictures, forward, steps)
    rows = []
    for name, model in {**models, "yours": mine}.items():
        with torch.no_grad():
            code, skips = model.encode(pictures)
            cut = [torch.zeros_like(skip) for skip in skips]
            silenced = code.mean(0, keepdim=True).expand_as(code)
            outputs = [(code, skips), (silenced, skips), (code, cut)]
            levels = [100 * accuracy(model.decode(*inputs), pictures) for inputs in outputs]
        rows.append((name, *levels))
    table(("accuracy [%]", "as it is", "code silenced", "skips cut"), rows)


def _train(
    model: nn.Module, pictures: Tensor, forward: Callable[[Any, Tensor, int], Tensor], steps: int
) -> list[float]:
    """Accuracy in percent by step, over a short training."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve = []
    for step in range(steps):
        output = forward(model, pictures, step)
        loss = F.huber_loss(output, pictures)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(100 * accuracy(output.detach(), pictures))
    return curve


@torch.no_grad()
def random_bases(
    choose: Callable[[LocalPCA, Tensor], Tensor], model: Autoencoder, pictures: Tensor
) -> None:
    photo = pictures[:1]
    cells = patchify(photo - 0.5)
    choice, numbers = split_code(model, photo)
    drawn = choose(model.local_pca, cells).to(cells.device)
    codes = model.local_pca.encode(cells, model.channels, drawn)  # (n, k)
    yours = codes.T.reshape(1, -1, *choice.shape[2:])
    best = torch.cat([choice, numbers], 1)
    row = torch.cat([photo, model.reconstruct(best), model.reconstruct(yours)])
    titles = ["as it is", "best bases", "your bases"]
    fig = contact_sheet({"never seen": row}, titles, against=photo.expand_as(row))
    show(fig, "A photograph, and what is left of it in the best bases and in those that you chose")


def code_error(
    error: Callable[[Autoencoder, Tensor, Tensor, Tensor], Tensor],
    model: Autoencoder,
    photo: Tensor,
) -> None:
    levels = descend(error, model, photo)
    print(f"PSNR of the photograph: {levels[0]:.2f} dB, then {levels[-1]:.2f} dB")


def fewest_frames(fewest: object, gains: Mapping[int, float]) -> None:
    measured: Series = {"V3": (list(gains), list(gains.values()))}
    fig, ax = _axes()
    ax.set_ylim(min(0, *gains.values()) - 1, max(0, *gains.values()) + 1)
    curves(measured, "frames of context", "gain over copy last [dB]", ax, marker="o")
    ax.set_xticks(list(gains))
    show(fig, "Gain over copy last by the number of frames that a small V3 is given")


def train(model: FramePredictor, batches: Iterable[Tensor]) -> None:
    """Train a predictor of frames on clips (N, T, 3, H, W), to predict the last one."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for clips in batches:
        _step(model, optimizer, clips)


def new_leaves(draw: Callable[[int], Tensor], held_out: Tensor, steps: int) -> None:
    again = DeadLeaves(BATCH, held_out.shape[1], held_out.shape[-1], 0).stack()
    batches = {"the same clips again": lambda step: again, "yours": draw}
    levels: Series = {n: _learn(batch, held_out, steps) for n, batch in batches.items()}
    copied = next_frame_psnr(copy_last, held_out)
    levels["copy last"] = ([0, steps], [copied, copied])
    fig, ax = _axes()
    curves(levels, "training step", "PSNR on unseen leaves [dB]", ax, marker="o")
    show(fig, "PSNR on leaves never seen by training step, with your clips and with the same")


def _axes() -> tuple[Figure, Axes]:
    """A small figure with room above the curves for their names."""
    fig, ax = plt.subplots(figsize=SIZE)
    ax.margins(y=0.12)
    return fig, ax


def _learn(
    batch: Callable[[int], Tensor], held_out: Tensor, last: int
) -> tuple[list[int], list[float]]:
    """Steps, and the PSNR in dB of a small V3 after them."""
    torch.manual_seed(0)
    model = FramePredictor(held_out.shape[1] - 1, residual=True, skips=True).to(held_out.device)
    steps = [0]
    levels = [next_frame_psnr(model, held_out)]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(last):
        _step(model, optimizer, batch(step).to(held_out.device))
        if (step + 1) % max(last // MARKS, 1) == 0:
            steps.append(step + 1)
            levels.append(next_frame_psnr(model, held_out))
    return steps, levels


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, clips: Tensor) -> None:
    loss = F.huber_loss(model(clips[:, :-1]), clips[:, -1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def slow_motion(slow: Callable[[Tensor], Tensor], films: Tensor) -> None:
    film = films[:1]
    yours = torch.cat([film[0, 3:4], slow(film)[0], film[0, 6:7]])
    titles = ["fourth frame", "yours", "yours", "seventh frame"]
    fig = contact_sheet({"leaves": yours}, titles, against=film[0, 3:7])
    show(fig, "The fourth to the seventh frame of a film of leaves, with your two in the middle")


def best_parts(winners: object, right_from: Callable[[str, slice], float], looks: slice) -> None:
    measured = right_by_part(right_from, looks)
    fig, ax = plt.subplots(figsize=SIZE)
    parts = ("moves", "looks")
    for offset, (part, look) in enumerate(zip(parts, looks_of(parts), strict=True)):
        places = [place + 0.4 * offset for place in range(len(measured))]
        heights = [by_part[part] for by_part in measured.values()]
        bars = ax.bar(places, heights, 0.38, color=look.colour, label=part, hatch="//" * offset)
        ax.bar_label(bars, fmt="%.0f")
    ax.set_xticks([place + 0.2 for place in range(len(measured))], list(measured))
    ax.set(ylabel="right answers [%]", ylim=(0, 112))
    fig.legend(loc="outside upper right", ncols=2)
    show(fig, "Right answers to three questions from how a clip moves, and from how it looks")
