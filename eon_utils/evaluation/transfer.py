"""What phase 6 asks of a prior, and of baselines.

A new world, surprise, the frame in between, a damaged frame; on generated clips and camera video.

Clips and frames are float in [0, 1], or uint8, which counts as 255ths. Another type or range is a
ValueError, and what is no tensor a TypeError.
"""

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

from eon_utils.config import CAMERA
from eon_utils.data.atari import AtariGames
from eon_utils.data.files import whole_file
from eon_utils.data.sources import SOURCES
from eon_utils.data.video_folder import video_folder
from eon_utils.evaluation.baselines import forward_flow
from eon_utils.evaluation.metrics import EXACT, next_frame_psnr, psnr
from eon_utils.models.inputs import as_float, in_unit_range
from eon_utils.models.optical_flow import warp, window_mean
from eon_utils.models.prior import Prior
from eon_utils.threads import core_watch

TAKES = "an experiment of phase 6 takes clips"  # how errors of what it is given begin
BATCH = 8  # clips a step of fine-tuning
LEARNING_RATE = 1e-3  # of fine-tuning
WARMUP = 5  # steps in which it rises: at full length the first ones can ruin what was learnt
PREDICT_BATCH = 32
CONTEXT = 5  # frames that a prediction is made from
EVENT_FRAME = 6  # of a film: in which the event takes place
DISC_RADIUS = (5, 9)  # pixels of 64, of a new object
WORLD_FRAMES = CONTEXT + 1  # of a clip of a new world
OWN_CLIPS = 128  # of your videos, at most, in both halves of a new world
SPANS = CONTEXT + 3  # frames of a clip to ask several questions about
MIDDLE = 3  # of such a clip, the frame that is made up or damaged
INPAINT_RADIUS = 3  # pixels from which a lost one is grown

Predict = Callable[[Tensor], Tensor]  # clips (N, T, 3, H, W) -> the next frames (N, 3, H, W)
Ahead = Callable[[Tensor, int], Tensor]  # clips, steps -> the next frames (N, steps, 3, H, W)
Between = Callable[[Tensor, Tensor], Tensor]  # frames before and after -> the one in the middle
Fill = Callable[[Tensor, Sequence[float]], Tensor]  # clips and their times -> missing frames
Loss = Callable[[nn.Module, Tensor, int], Tensor]  # model, batch of clips, step -> a scalar


class World(NamedTuple):
    """Clips that a prior has never seen the like of."""

    name: str
    clips: Tensor  # to learn from, (N, 6, 3, S, S) in [0, 1]
    unseen: Tensor  # to be judged by, (M, 6, 3, S, S)


def game_world(game: str, size: int, count: int, judged: int, seed: int) -> World:
    """A game: clips to learn from, and as many of another episode as are `judged`.

    Args:
        game: such as one of `HELD_OUT_GAMES`.
        size: S, side of the square frames in pixels.
        count: clips to learn from.
        judged: clips to be judged by.
        seed: of the episodes.
    """
    clips = []
    for number, train in ((count, True), (judged, False)):
        # Its first moments are the same in every episode, so clip 0 is left out.
        source = AtariGames(number, WORLD_FRAMES, size, seed, start=1, train=train, names=(game,))
        clips.append(source.stack())
        seed += 1
    return World(game, *clips)


def video_world(videos: str | Path, name: str, size: int) -> World:
    """Videos: their first clips to learn from, the others to be judged by.

    Args:
        videos: a folder, or a file.
        name: of the world.
        size: S, side of the square frames in pixels.

    Raises:
        FileNotFoundError: for a path that does not exist.
        ValueError: for videos of fewer than two clips of six frames.
    """
    clips, _ = video_folder(videos, WORLD_FRAMES, size, limit=OWN_CLIPS)
    half = len(clips) // 2
    if not half:
        raise ValueError(
            f"videos={str(videos)!r} has one clip of {WORLD_FRAMES} frames; two or more are "
            "needed: add a video"
        )
    return World(name, clips[:half], clips[half:])


class LearningCurve(NamedTuple):
    """How a training went, one value a mark."""

    steps: tuple[int, ...]
    seconds: tuple[float, ...]  # of training, without the measuring
    psnr: tuple[float, ...]  # dB, on clips that were not trained on
    frames: tuple[Tensor, ...]  # the last ones of watched clips as predicted, (K, 3, H, W)


def fine_tune(
    model: nn.Module,
    clips: Tensor,
    unseen: Tensor,
    loss_function: Loss,
    marks: Sequence[int],
    seed: int,
    watched: Tensor | None = None,
) -> LearningCurve:
    """Train a copy of a predictor on batches of eight clips; the learning rate rises at first.

    Args:
        model: predicts the next frame; it stays as it is.
        clips: (N, T, 3, H, W) in [0, 1], to train on.
        unseen: (M, T, 3, H, W), whose last frames are predicted at each mark. The training runs on
            their device.
        loss_function: model, batch and step -> loss.
        marks: steps at which to measure; the training ends with the last.
        seed: of the batches, and of PyTorch.
        watched: (K, T, 3, H, W), whose last frames as predicted at each mark are kept; default:
            none.
    """
    clips = in_unit_range(clips, TAKES)
    model = copy.deepcopy(model).requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    seconds = 0.0
    measured = []
    frames = []
    for step in range(marks[-1] + 1):
        core_watch().update()
        if step in marks:
            level = next_frame_psnr(model.eval(), unseen)
            measured.append((step, seconds, level))
            if watched is not None:
                with torch.no_grad():
                    frames.append(model(watched[:, :-1]).cpu())
        start = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min((step + 1) / WARMUP, 1)
        chosen = torch.randint(len(clips), (BATCH,), generator=generator)
        loss = loss_function(model.train(), clips[chosen].to(unseen.device), step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds += time.perf_counter() - start
    steps, times, levels = zip(*measured, strict=True)
    return LearningCurve(steps, times, levels, tuple(frames))


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
    films = in_unit_range(films, TAKES)
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
    events = {name: in_unit_range(part, TAKES) for name, part in events.items()}
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
    before = in_unit_range(before, TAKES)
    after = in_unit_range(after, TAKES)
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
    first = in_unit_range(before[:, -1], TAKES)
    second = in_unit_range(after[:, 0], TAKES)
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
    clips = in_unit_range(clips, TAKES)
    frames = range(clips.shape[1])
    levels = []
    for missing in frames:
        given = [frame for frame in frames if frame != missing]
        times = [frame - missing for frame in given]
        filled = fill(clips[:, given], times)
        level = psnr(filled, clips[:, missing]).clamp(max=EXACT)  # (N,)
        levels.append(level.mean())
    return torch.stack(levels)


# --- several questions about the same clips, and a damaged frame ---


def camera_clips(
    videos: str | Path, size: int, count: int, seed: int, frames: int = SPANS
) -> dict[str, Tensor]:
    """Clips that no program made, as far as there are any.

    Args:
        videos: your own, a folder or a file; empty: none.
        size: S, side of the square frames in pixels.
        count: clips, at most, shared out evenly among the files.
        seed: of generated clips.
        frames: T, frames a clip.

    Returns:
        Name -> (N, T, 3, S, S) in [0, 1]: "camera video" where the clips are there that are kept
        beside the project (`CAMERA`), "your videos" where some are named. Where neither is,
        "generated clips", as many of each source.

    Raises:
        FileNotFoundError: where your videos do not exist.
        ValueError: where none of them can be used.
    """
    clips = {}
    if CAMERA.is_dir():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on its files
            clips["camera video"], _ = video_folder(CAMERA, frames, size, limit=count)
    if videos:
        clips["your videos"], _ = video_folder(videos, frames, size, limit=count)
    if not clips:
        each = max(count // len(SOURCES), 1)
        sources = [make(each, frames, size, seed, train=False) for make in SOURCES.values()]
        clips["generated clips"] = torch.cat([source.stack() for source in sources])
    return clips


def lose_squares(frames: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Damage frames: a square of each, half as wide as the frame, is lost.

    Args:
        frames: (N, 3, H, W).
        seed: of the places.

    Returns:
        The frames, black where they are lost; and where that is, bool (N, 1, H, W).
    """
    count, _, height, width = frames.shape
    rng = np.random.default_rng(seed)
    side = min(height, width) // 2
    top = torch.from_numpy(rng.integers(height - side, size=(count, 1, 1, 1), endpoint=True))
    left = torch.from_numpy(rng.integers(width - side, size=(count, 1, 1, 1), endpoint=True))
    y = torch.arange(height)[:, None]  # (H, 1)
    x = torch.arange(width)  # (W,)
    lost = (y >= top) & (y < top + side) & (x >= left) & (x < left + side)  # (N, 1, H, W)
    lost = lost.to(frames.device)
    return frames.masked_fill(lost, 0.0), lost


def inpaint(frames: Tensor, lost: Tensor) -> Tensor:
    """Lost parts, grown over from their rims, without other frames (Telea 2004, by OpenCV).

    Args:
        frames: (N, 3, H, W) in [0, 1].
        lost: bool (N, 1, H, W).

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    import cv2

    frames = in_unit_range(frames, TAKES)
    pixels = (255 * frames).round().byte().permute(0, 2, 3, 1).cpu().numpy()  # (N, H, W, 3)
    holes = lost[:, 0].byte().cpu().numpy()  # (N, H, W)
    grown = [
        cv2.inpaint(picture, hole, INPAINT_RADIUS, cv2.INPAINT_TELEA)
        for picture, hole in zip(pixels, holes, strict=True)
    ]
    restored = torch.from_numpy(np.stack(grown)).permute(0, 3, 1, 2) / 255
    return torch.where(lost, restored.to(frames.device), frames)


def psnr_where(frames: Tensor, target: Tensor, where: Tensor) -> Tensor:
    """PSNR in dB of some pixels of each frame, at most 60; (N,).

    Args:
        frames: (N, 3, H, W) in [0, 1].
        target: the same shape.
        where: which pixels count, bool (N, 1, H, W).
    """
    difference = as_float(frames, TAKES) - as_float(target, TAKES)
    squares = difference.square().mean(1, keepdim=True)  # (N, 1, H, W)
    error = (squares * where).sum((1, 2, 3)) / where.sum((1, 2, 3))
    return -10 * error.clamp(min=10 ** (-EXACT / 10)).log10()


@torch.no_grad()
def several_questions(
    ahead: Ahead, between: Between, clips: Tensor, seed: int
) -> dict[str, Tensor]:
    """What a method reaches on clips, asked for frames to come, in between and damaged.

    Args:
        ahead: predicts frames to come, such as `Prior.predict`.
        between: the frame in the middle between two clips, such as `Prior.between`.
        clips: (N, T >= 8, 3, H, W) in [0, 1].
        seed: of the damage.

    Returns:
        Question -> PSNR in dB, (N,); an exact frame counts as 60. "next" and "third" frame after
        five; "in between", from two frames on each side; "lost square": of the same frame half the
        width and height is lost, and made up from its neighbours. There, lost pixels count alone.
    """
    clips = in_unit_range(clips, TAKES)
    target = clips[:, MIDDLE]
    frames = ahead(clips[:, :CONTEXT], SPANS - CONTEXT)
    filled = between(clips[:, MIDDLE - 2 : MIDDLE], clips[:, MIDDLE + 1 : MIDDLE + 3])
    _, lost = lose_squares(target, seed)
    return {
        "next": psnr(frames[:, 0], clips[:, CONTEXT]).clamp(max=EXACT),
        "third": psnr(frames[:, -1], clips[:, SPANS - 1]).clamp(max=EXACT),
        "in between": psnr(filled, target).clamp(max=EXACT),
        "lost square": psnr_where(filled, target, lost),
    }


def inpainted(clips: Tensor, seed: int) -> dict[str, Tensor]:
    """The lost squares of `several_questions`, by `inpaint`: without the neighbours.

    Args:
        clips: (N, T >= 8, 3, H, W) in [0, 1].
        seed: of the damage.

    Returns:
        "lost square" -> PSNR of the lost pixels in dB, (N,).
    """
    clips = in_unit_range(clips, TAKES)
    target = clips[:, MIDDLE]
    damaged, lost = lose_squares(target, seed)
    return {"lost square": psnr_where(inpaint(damaged, lost), target, lost)}


def to_onnx(network: Prior, clips: Tensor, file: str | Path) -> None:
    """Write a network on the CPU as ONNX: input "clips", output "frame".

    Args:
        network: the prior, in `eval` mode.
        clips: an example, (N, T, 3, H, W). The graph takes any number of clips, of this length and
            size only.
        file: where to. It is there afterwards completely or not at all.
    """
    with whole_file(Path(file).expanduser()) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lengths and sizes become constants is meant
        torch.onnx.export(
            network,
            (clips,),
            partial,
            input_names=["clips"],
            output_names=["frame"],
            dynamic_axes={"clips": {0: "N"}, "frame": {0: "N"}},
            dynamo=False,  # the newer exporter takes three times as long
            opset_version=20,
        )
