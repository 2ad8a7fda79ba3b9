"""What phase 6 asks of a prior, and of baselines: a new world, surprise, the frame in between."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from eon_utils.evaluation.baselines import forward_flow
from eon_utils.evaluation.metrics import EXACT, next_frame_psnr, psnr
from eon_utils.models.optical_flow import warp, window_mean
from eon_utils.models.prior import Prior

BATCH = 8  # clips a step of fine-tuning
PREDICT_BATCH = 32
CONTEXT = 5  # frames that a prediction is made from
EVENT_FRAME = 6  # of a film: in which the event takes place
DISC_RADIUS = (5, 9)  # pixels of 64, of a new object

Predict = Callable[[Tensor], Tensor]  # clips (N, T, 3, H, W) -> the next frames (N, 3, H, W)
Fill = Callable[[Tensor, Sequence[float]], Tensor]  # clips and their times -> missing frames
Loss = Callable[[nn.Module, Tensor, int], Tensor]  # model, batch of clips, step -> a scalar


class LearningCurve(NamedTuple):
    """How a training went, one value a mark."""

    steps: tuple[int, ...]
    seconds: tuple[float, ...]  # of training, without the measuring
    psnr: tuple[float, ...]  # dB, on clips that were not trained on


def fine_tune(
    model: nn.Module,
    clips: Tensor,
    unseen: Tensor,
    loss_function: Loss,
    marks: Sequence[int],
    seed: int,
) -> LearningCurve:
    """Train a copy of a predictor on batches of eight clips.

    Args:
        model: predicts the next frame; it stays as it is.
        clips: (N, T, 3, H, W) in [0, 1], to train on.
        unseen: (M, T, 3, H, W), whose last frames are predicted at each mark. The training runs on
            their device.
        loss_function: model, batch and step -> loss.
        marks: steps at which to measure; the training ends with the last.
        seed: of the batches, and of PyTorch.
    """
    model = copy.deepcopy(model).requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    seconds = 0.0
    measured = []
    for step in range(marks[-1] + 1):
        if step in marks:
            level = next_frame_psnr(model.eval(), unseen)
            measured.append((step, seconds, level))
        start = time.perf_counter()
        chosen = torch.randint(len(clips), (BATCH,), generator=generator)
        loss = loss_function(model.train(), clips[chosen].to(unseen.device), step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds += time.perf_counter() - start
    return LearningCurve(*zip(*measured, strict=True))


def make_events(films: Tensor, seed: int) -> dict[str, Tensor]:
    """Clips of steady motion in whose last frame something happens.

    "nothing": the motion goes on. "scene cut": a frame of another film. "teleport": six frames are
    left out. "backwards": time turns round. "frozen": the frame before comes again. "new object":
    suddenly there is a disc of one colour, 5 to 9 of 64 pixels in radius, half of the range away
    from what it hides.

    Args:
        films: (N, T >= 13, 3, H, W) in [0, 1], of steady motion.
        seed: of the discs.

    Returns:
        Name of an event -> clips (N, 7, 3, H, W).
    """
    before = films[:, :EVENT_FRAME]
    steady = films[:, EVENT_FRAME]
    last_frames = {
        "nothing": steady,
        "scene cut": steady.roll(1, 0),
        "teleport": films[:, 2 * EVENT_FRAME],
        "backwards": films[:, EVENT_FRAME - 2],
        "frozen": films[:, EVENT_FRAME - 1],
        "new object": _with_disc(steady, seed),
    }
    return {name: torch.cat([before, last[:, None]], 1) for name, last in last_frames.items()}


def _with_disc(frames: Tensor, seed: int) -> Tensor:
    """(N, 3, H, W) with a disc of one colour in each, somewhere."""
    count, _, height, width = frames.shape
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    share = rng.uniform(0.2, 0.8, (count, 2, 1, 1))  # of the way down and across
    centre = share * np.array([[[height]], [[width]]])  # (N, 2, 1, 1)
    radius = rng.uniform(*DISC_RADIUS, (count, 1, 1)) * height / 64
    distance = np.hypot(y - centre[:, 0], x - centre[:, 1])  # (N, H, W)
    disc = torch.from_numpy(distance < radius)[:, None].to(frames.device)  # (N, 1, H, W)
    total = (frames * disc).sum((2, 3), keepdim=True)
    hidden = total / disc.sum((2, 3), keepdim=True)  # (N, 3, 1, 1): the mean of what it hides
    return torch.where(disc, (hidden + 0.5) % 1, frames)


@torch.no_grad()
def surprise(predict: Predict, events: dict[str, Tensor]) -> dict[str, Tensor]:
    """How much worse the last frame was predicted than the three before it.

    What counts is the logarithm of the last frame's mean squared error, less the mean of those of
    the three: what is hard to predict all the time is no surprise. All events have the same past,
    so that it is predicted once.

    Args:
        predict: predicts the next frame.
        events: name -> clips (N, T >= 6, 3, H, W) in [0, 1] that differ in their last frame alone,
            as `make_events` gives them.

    Returns:
        Name -> (N,); about 0 where the last frame is as the others.
    """
    clips = next(iter(events.values()))
    last = clips.shape[1] - 1
    usual = []
    for frame in (last - 3, last - 2, last - 1):
        predicted = _predict_frame(predict, clips, frame)
        usual.append(_log_error(predicted, clips[:, frame]))
    level = torch.stack(usual).mean(0)  # (N,)
    expected = _predict_frame(predict, clips, last)
    return {name: _log_error(expected, part[:, last]) - level for name, part in events.items()}


def _predict_frame(predict: Predict, clips: Tensor, frame: int) -> Tensor:
    """A frame of each clip, predicted from those before it, (N, 3, H, W) in [0, 1]."""
    context = clips[:, max(frame - CONTEXT, 0) : frame]
    predicted = [predict(part) for part in context.split(PREDICT_BATCH)]
    return torch.cat(predicted).clamp(0, 1)


def _log_error(predicted: Tensor, actual: Tensor) -> Tensor:
    """Logarithm of each frame's mean squared error, (N,)."""
    error = (predicted - actual).square().flatten(1).mean(1)  # (N,)
    return (error + 1e-6).log()


@torch.no_grad()
def between(predict: Predict, before: Tensor, after: Tensor) -> Tensor:
    """The frame between two clips, by a method that can predict the next frame and no other.

    It predicts the frame from each side, the later one backwards. Each side counts, place by place,
    by how well it predicted its own last frame.

    Args:
        predict: predicts the next frame.
        before: (N, T >= 3, 3, H, W) in [0, 1], the frames up to the missing one.
        after: the same shape, the frames from the missing one on.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    forwards, trust_forwards = _predict_with_trust(predict, before)
    backwards, trust_backwards = _predict_with_trust(predict, after.flip(1))
    total = forwards * trust_forwards + backwards * trust_backwards
    return total / (trust_forwards + trust_backwards)


def _predict_with_trust(predict: Predict, clips: Tensor) -> tuple[Tensor, Tensor]:
    """The next frames (N, 3, H, W), and how far to trust them at each pixel, (N, 1, H, W)."""
    known = predict(clips[:, :-1]).clamp(0, 1)
    error = (known - clips[:, -1]).square().mean(1, keepdim=True)  # (N, 1, H, W)
    mean_error = error.mean((2, 3), keepdim=True)
    trust = 1 / (window_mean(error, 3) + mean_error + 1e-4)
    return predict(clips).clamp(0, 1), trust


def interpolate_by_flow(before: Tensor, after: Tensor) -> Tensor:
    """As `between`, by optical flow (DIS) from neighbour to neighbour, each of them read half-way.

    Args:
        before: (N, T, 3, H, W) in [0, 1], the frames up to the missing one.
        after: (N, T, 3, H, W), the frames from the missing one on.

    Returns:
        (N, 3, H, W).
    """
    first = before[:, -1]
    second = after[:, 0]
    pair = torch.stack([first, second], 1)
    to_second = -forward_flow(pair)
    to_first = -forward_flow(pair.flip(1))
    from_first = warp(first, to_second / 2)
    from_second = warp(second, to_first / 2)
    return (from_first + from_second) / 2


def leave_one_out(fill: Fill, clips: Tensor) -> Tensor:
    """PSNR in dB of each frame of a clip, filled in from all others; an exact one counts as 60.

    Args:
        fill: such as `Prior.fill`.
        clips: (N, T >= 3, 3, H, W) in [0, 1].

    Returns:
        (T,), means over the clips.
    """
    frames = range(clips.shape[1])
    levels = []
    for missing in frames:
        given = [frame for frame in frames if frame != missing]
        times = [frame - missing for frame in given]
        filled = fill(clips[:, given], times)
        level = psnr(filled, clips[:, missing]).clamp(max=EXACT)  # (N,)
        levels.append(level.mean())
    return torch.stack(levels)


def to_onnx(network: Prior, clips: Tensor, file: str | Path) -> None:
    """Write a network on the CPU as ONNX: input "clips", output "frame".

    Args:
        network: the prior, in `eval` mode.
        clips: an example, (N, T, 3, H, W). The graph takes any number of clips, of this length and
            size only.
        file: where to.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lengths and sizes become constants is meant
        torch.onnx.export(
            network,
            (clips,),
            file,
            input_names=["clips"],
            output_names=["frame"],
            dynamic_axes={"clips": {0: "N"}, "frame": {0: "N"}},
            dynamo=False,  # the newer exporter takes three times as long
            opset_version=20,
        )
