"""What scrubbers, posters and the live panel read from the histories of training runs."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from eon_utils.training.history import History

FILM_AXES = 5  # (N, K, H, W, 3); pictures have one less
CURVE_POINTS = 300  # at most, of a loss curve
WINDOW = 100  # values of which a smoothed one is the median, about
MOST_IMAGES = 6  # shown side by side
MOST_CLIPS = 4  # the same of clips, whose frames need more room
FILM_ROWS = 9  # of clips and models in one scrubber, about


def targets(run: History) -> np.ndarray:
    """What the pictures of a run should become: uint8 (N, H, W, 3), or films (N, K, H, W, 3)."""
    assert run.target is not None
    return run.target


def is_film(run: History) -> bool:
    """Whether a run predicts films, not pictures."""
    return run.target is not None and run.target.ndim == FILM_AXES


def shown_count(runs: Sequence[History]) -> int:
    """How many pictures, or clips, a scrubber of these runs shows; of more models fewer clips."""
    count = len(targets(runs[0]))
    if not is_film(runs[0]):
        return min(count, MOST_IMAGES)
    clips = min(MOST_CLIPS, FILM_ROWS // len(runs))
    return min(count, max(2, clips))


def frames_of(pictures: np.ndarray) -> np.ndarray:
    """(N, K, H, W, 3) -> (K, N, H, W, 3); pictures, (N, H, W, 3), are films of one frame."""
    if pictures.ndim == FILM_AXES:
        return pictures.swapaxes(0, 1)
    return pictures[None]


def context_frames(runs: Iterable[History]) -> list[np.ndarray]:
    """The frames that predictions start from, each (N, H, W, 3): of the run that was given most."""
    longest: list[np.ndarray] = []
    for run in runs:
        if run.context is not None:
            frames = list(frames_of(run.context))
            longest = max(longest, frames, key=len)
    return longest


def last_snapshot(run: History, step: float) -> int:
    """The index of a run's last snapshot at or before a step; the first one's if there is none."""
    return max(bisect_right(run.snapshot_steps, step) - 1, 0)


def value_at(series: Sequence[float], step: int) -> float | None:
    """The value after `step` updates, or the last of a run that was over before.

    Args:
        series: one value a step.
        step: counted from 0.

    Returns:
        Five significant digits; None if the value is not finite.

    Examples:
        >>> value_at([3.0, 2.0, 1.0], 1), value_at([3.0, 2.0, 1.0], 99)
        (2.0, 1.0)
    """
    last = len(series) - 1
    value = float(series[min(step, last)])
    return float(f"{value:.5g}") if math.isfinite(value) else None


def value_text(value: float | None) -> str:
    """A value of a loss as text."""
    return "not finite" if value is None else f"{value:.3g}"


def percent_at(accuracy: Sequence[float], step: int) -> float | None:
    """An accuracy after `step` updates, in percent; None if it is not finite."""
    value = value_at(accuracy, step)
    return None if value is None else round(100 * value, 2)


def loss_curve(loss: Sequence[float], keep: Sequence[int]) -> list[list]:
    """A loss for a plot with two logarithmic axes.

    Args:
        loss: one value a step.
        keep: steps that are to be among the points.

    Returns:
        Steps and values: at most 300 points, log-spaced, those that are not above zero left out.
    """
    last = len(loss)
    spaced = np.geomspace(1, last, CURVE_POINTS - 1 - len(keep)).astype(int).tolist()
    kept = [min(step, last) for step in keep]
    steps = []
    values = []
    for step in sorted({0, *spaced, *kept}):
        value = value_at(loss, step)
        if value is not None and value > 0:
            steps.append(step)
            values.append(value)
    return [steps, values]


def smooth_curve(loss: Sequence[float], steps: Sequence[int]) -> list[float]:
    """A loss without its noise at some steps: medians over a tenth of the step to both sides.

    The window is as long before a step as after it, so that nothing moves in time; at both ends of
    the run it is of one value, so that they stay. Of long windows a hundred values are taken, so
    that it can be called while a training runs.

    Args:
        loss: one value a step.
        steps: as `loss_curve` gives them, so that their values are above zero.

    Returns:
        A value a step, of five significant digits.

    Examples:
        >>> smooth_curve([8.0, 4.0, 2.0, 1.0], [0, 1, 3])
        [8.0, 4.0, 1.0]
    """
    last = len(loss) - 1
    smooth = []
    for step in steps:
        step = min(step, last)
        reach = min(step // 10, last - step)
        stride = max(1, 2 * reach // WINDOW)
        before = step - reach // stride * stride  # so that the step's own value is among them
        window = np.asarray(loss[before : step + reach + 1 : stride], dtype=float)
        middle = np.median(window[np.isfinite(window) & (window > 0)])
        smooth.append(float(f"{middle:.5g}"))
    return smooth
