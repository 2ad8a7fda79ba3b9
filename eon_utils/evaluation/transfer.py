"""What phase 6 asks of a prior: few labels, surprise, in-betweening. Networks and baselines are asked alike."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from eon_utils.evaluation.baselines import forward_flow
from eon_utils.evaluation.metrics import next_frame_psnr
from eon_utils.models.optical_flow import box_filter, warp
from eon_utils.models.prior import Prior

Predict = Callable[[Tensor], Tensor]
Loss = Callable[[nn.Module, Tensor, int], Tensor]


def fine_tune(
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


def make_events(films: Tensor, seed: int) -> dict[str, Tensor]:
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
        trust.append(1 / (box_filter(wrong, 3) + wrong.mean((2, 3), keepdim=True) + 1e-4))
    return (made[0] * trust[0] + made[1] * trust[1]) / (trust[0] + trust[1])


def interpolate_by_flow(before: Tensor, after: Tensor) -> Tensor:
    """As `between`, by optical flow (DIS) from neighbour to neighbour, each of them read half-way."""
    pair = torch.stack([before[:, -1], after[:, 0]], 1)
    there, back = -forward_flow(pair), -forward_flow(pair.flip(1))
    return (warp(pair[:, 0], there / 2) + warp(pair[:, 1], back / 2)) / 2


def to_onnx(network: Prior, clips: Tensor, file: str | Path) -> None:
    """Write a network on the CPU as ONNX: input "clips", of the shape of (N, T, 3, H, W), output "frame"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shapes become constants; the other exporter takes three times as long
        names = {"input_names": ["clips"], "output_names": ["frame"]}
        torch.onnx.export(network, (clips,), file, dynamo=False, opset_version=20, **names)
