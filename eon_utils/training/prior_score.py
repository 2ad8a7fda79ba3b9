"""How well a prior does while it trains, beside classical optical flow."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eon_utils.config import device
from eon_utils.data.files import list_files
from eon_utils.data.sources import SOURCES
from eon_utils.data.video_clips import fingerprint, score_clips
from eon_utils.evaluation.baselines import copy_last, flow_extrapolation
from eon_utils.evaluation.metrics import psnr
from eon_utils.evaluation.transfer import interpolate_by_flow
from eon_utils.models.prior import Prior, load_prior, save_prior
from eon_utils.models.weight_files import read_weights
from eon_utils.training.run import TrainingRun

FRAMES = 5  # of a clip: the next one from four, the one in the middle from two on each side
MIDDLE = 2
CLIPS = 8  # held-out ones of each source that makes them
IN_ALL = 32  # clips of videos that a training is judged by, at most
PER_FILE = 4  # clips of a video that a card judges by
SEED = 5  # of held-out clips
FIRST = 100  # steps, before which it is judged once, untrained
TASKS = ("next", "between")

Predict = Callable[[Tensor], Tensor]
Between = Callable[[Tensor, Tensor], Tensor]


def decibels(predict: Predict, between: Between, clips: Tensor) -> dict[str, float]:
    """Mean PSNR of the last frame from those before, and of the middle one from the others.

    Args:
        predict: the next frame, from (N, 4, 3, H, W).
        between: the frame between two clips (N, 2, 3, H, W).
        clips: (N, 5, 3, H, W) in [0, 1].

    Returns:
        "next" and "between", in dB.
    """
    following = predict(clips[:, :-1]).clamp(0, 1)
    middle = between(clips[:, :MIDDLE], clips[:, MIDDLE + 1 :]).clamp(0, 1)
    return {
        "next": psnr(following, clips[:, -1]).mean().item(),
        "between": psnr(middle, clips[:, MIDDLE]).mean().item(),
    }


class PriorScore:
    """Judges a prior as it trains: mean PSNR over that of optical flow, in dB.

    It is the `measure` of a `TrainingRun`. The best state by the mean of the two tasks is kept.

    Args:
        size: side of the frames in pixels.
        folder: of videos; None: held-out clips of the sources that make them.
        kept: how the paths of the states begin that are kept; None: none is.
    """

    def __init__(
        self, size: int, folder: str | Path | None = None, kept: Path | None = None
    ) -> None:
        self.size = size
        self.folder = folder
        self.kept = kept
        self.done = 0
        self.too_early = False

    def follow(self, run: TrainingRun) -> None:
        """Leave out the steps in which next to nothing changes: the `watch` of `train`."""
        self.done = run.done + 1  # it counts the step when the loop's body is through
        self.too_early = self.done < min(FIRST, run.steps)

    @cached_property
    def best(self) -> Path:
        """The file of the best state by these clips: by others, another is kept."""
        return self._beside("best.safetensors")

    @cached_property
    def states(self) -> Path:
        """The folder of all states that were judged by these clips, by the step."""
        return self._beside("states")

    def _beside(self, name: str) -> Path:
        assert self.kept is not None
        clips = "generated"
        if self.folder is not None:
            clips = fingerprint(_files(self.folder))[:8]
        return self.kept.with_name(f"{self.kept.name}_{clips}_{name}")

    def forget(self) -> None:
        """Remove the states that are kept."""
        self.best.unlink(missing_ok=True)
        shutil.rmtree(self.states, ignore_errors=True)

    @cached_property
    def clips(self) -> dict[str, Tensor]:
        """Name of a video or a source -> clips (N, 5, 3, size, size)."""
        if self.folder is None:
            clips = {}
            for name, source in SOURCES.items():
                held_out = source(CLIPS, FRAMES, self.size, seed=SEED, train=False)
                clips[name] = held_out.stack()
            return clips
        clips = score_clips(self.folder, FRAMES, self.size, per_file=1)
        names = [*clips]
        apart = max(len(names) / IN_ALL, 1)
        chosen = [names[int(index * apart)] for index in range(min(len(names), IN_ALL))]
        return {name: clips[name] for name in chosen}

    @cached_property
    def flow(self) -> dict[str, float]:
        """What optical flow reaches, in dB."""
        parts = [
            decibels(flow_extrapolation, interpolate_by_flow, part) for part in self.clips.values()
        ]
        return {task: sum(part[task] for part in parts) / len(parts) for task in TASKS}

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The gain of each task, by a module whose `prior` is judged; nothing where it's early."""
        if self.too_early:
            return {}
        prior: Any = model.prior
        assert isinstance(prior, Prior)
        where = next(prior.parameters()).device
        # All at once, as each counts alike.
        together = torch.cat([*self.clips.values()]).to(where)
        means = decibels(prior.predict, prior.between, together)
        gains = {task: round(means[task] - self.flow[task], 4) for task in TASKS}
        if self.kept is not None:
            self._keep_best(prior, sum(gains.values()) / len(gains))
            self._keep_state(prior, gains)
        return gains

    def _keep_state(self, prior: Prior, gains: dict[str, float]) -> None:
        file = self.states / f"{self.done:07d}.safetensors"
        if self.done or not file.exists():  # resumed, it may be asked before it knows the step
            _keep(prior, file, steps=self.done, **gains)

    def _keep_best(self, prior: Prior, score: float) -> None:
        if self.best.exists():
            before = read_weights("prior", "best prior so far", self.best).about["score"]
            if score <= before:
                return
        _keep(prior, self.best, score=score)


def _files(folder: str | Path) -> list[Path]:
    return list_files(folder, "folder", "a folder of videos")


def _keep(prior: Prior, file: Path, **about: float) -> None:
    """Save a state. A full disk only warns: it must not end a training."""
    try:
        save_prior(prior, file, **about)
    except OSError as error:
        warnings.warn(f"a state is not kept: {error}; the training goes on", stacklevel=2)


def file_rows(path: Path, folder: str | Path, size: int) -> list[list[str]]:
    """What a prior reaches on each video of a folder, beside flow (DIS) and copying, in dB.

    Args:
        path: of its weights.
        folder: of videos.
        size: side of the frames in pixels.

    Returns:
        A row a file, and their mean: name, then next frame and frame between, each by the prior, by
        flow, and copied from the frame before.
    """
    prior = load_prior(path)
    methods: list[tuple[Predict, Between]] = [
        (prior.predict, prior.between),
        (flow_extrapolation, interpolate_by_flow),
        (copy_last, lambda before, after: before[:, -1]),
    ]
    values = {}
    for name, clips in score_clips(folder, FRAMES, size, PER_FILE).items():
        reached = [decibels(*method, clips.to(device())) for method in methods]
        values[name] = [method[task] for task in TASKS for method in reached]
    means = torch.tensor([*values.values()]).mean(0).tolist()
    rows = []
    for name, row in [*values.items(), ("mean of the files", means)]:
        rows.append([name, *(f"{value:.2f}" for value in row)])
    return rows
