"""What a training leaves behind: its loss by step, and pictures of what the model returned."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eon_utils.models.inputs import as_float

SNAPSHOTS = 60  # at most, in one run
SNAPSHOT_WIDTH = 256  # pixels at most: no wider than a scrubber shows


@dataclass
class History:
    """What a run leaves behind; step k means: after k updates.

    Attributes:
        loss: one value a step.
        accuracy: one value a step, a fraction; empty if it is not logged.
        seconds: training time so far, one value a step.
        snapshot_steps: the steps at which pictures were taken.
        snapshots: one a snapshot step, uint8, each (N, H, W, 3), of films (N, K, H, W, 3).
        measures: one a snapshot step: what `measure` returned.
        target: what the pictures should be, uint8, as a snapshot.
        context: the frames from which a film is predicted, uint8 (N, C, H, W, 3).
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    snapshot_steps: list[int] = field(default_factory=list)
    snapshots: list[np.ndarray] = field(default_factory=list)
    measures: list[dict[str, float]] = field(default_factory=list)
    target: np.ndarray | None = None
    context: np.ndarray | None = None

    @property
    def spent(self) -> float:
        """Seconds of training so far."""
        return self.seconds[-1] if self.seconds else 0.0

    def first(self, accuracy: float) -> tuple[int, float] | None:
        """Step and seconds at which the accuracy first reached a level; None if it never did."""
        for step, reached in enumerate(self.accuracy):
            if reached >= accuracy:
                return step, self.seconds[step]
        return None

    def forget_after(self, step: int) -> None:
        """Drop what was logged after `step`: the run went back to it."""
        for series in (self.loss, self.accuracy, self.seconds):
            del series[step:]


def snapshot_steps(steps: int, marks: tuple[int, ...] = ()) -> set[int]:
    """At most `SNAPSHOTS` steps from 0 to the last, even on a log scale, with `marks`."""
    marks = tuple(mark for mark in marks if mark <= steps)
    spaced = np.geomspace(1, steps + 1, SNAPSHOTS - len(marks)).round().astype(int) - 1
    return {*spaced.tolist(), *marks, steps}


@torch.no_grad()
def to_uint8(images: Tensor) -> np.ndarray:
    """Pictures to keep, no wider than `SNAPSHOT_WIDTH`.

    Args:
        images: (N, 3, H, W), or films (N, K, 3, H, W): float, clipped to [0, 1], or uint8.

    Returns:
        uint8 (N, h, w, 3), or (N, K, h, w, 3).

    Raises:
        ValueError: for another type.
        TypeError: for what is no tensor.

    Examples:
        >>> to_uint8(torch.rand(2, 3, 40, 60)).shape
        (2, 40, 60, 3)
    """
    images = as_float(images, "to_uint8 takes pictures")
    lead = images.shape[:-3]
    images = images.flatten(0, -4)
    height, width = images.shape[-2:]
    if width > SNAPSHOT_WIDTH:
        smaller = (round(height * SNAPSHOT_WIDTH / width), SNAPSHOT_WIDTH)
        images = F.interpolate(images, smaller, mode="area")
    images = (images.clamp(0, 1) * 255).round().byte()
    images = images.permute(0, 2, 3, 1)  # (N * K, h, w, 3)
    return images.unflatten(0, lead).cpu().numpy()
