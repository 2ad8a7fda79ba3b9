"""What more training, more parameters and more real video buy: measured, for a figure."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eon_utils.data.files import whole_file
from eon_utils.models.weight_files import WEIGHTS, read_weights

FILE = "prior_scaling.csv"
BATCH = 16  # clips a step of a training that does not say


class Measured(NamedTuple):
    """A short training from nothing, and what it reached."""

    name: str
    parameters: int
    videos: int  # files of real video that it saw
    steps: int
    clips: int  # a step
    next: float  # mean PSNR above optical flow on videos never trained on, in dB
    between: float


def clips_seen(steps: Sequence[int], path: str | Path | None = None) -> list[int]:
    """How many clips a prior had been trained to predict at some steps of all its trainings.

    Args:
        steps: counted from the first training on.
        path: of its weights; None: the shipped ones.

    Raises:
        ValueError: if the file is missing or damaged.

    Examples:
        >>> clips_seen([0, 10])
        [0, 160]
    """
    every = read_weights("prior", "prior", path).about.get("trained", [])
    trained = [one for one in every if one.get("learn", "all") != "content"]
    ends = np.cumsum([0, *(one["steps"] for one in trained)])
    seen = np.cumsum([0, *(one["steps"] * one.get("batch", BATCH) for one in trained)])
    return [int(count) for count in np.interp(steps, ends, seen)]


def write_scaling(trainings: Sequence[Measured], path: Path) -> None:
    """Write a row for each training, as CSV, or nothing."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Measured._fields)
        rows.writerows(trainings)


def read_scaling(path: str | Path | None = None) -> list[Measured]:
    """What `experiments/scale_prior.py` measured.

    Args:
        path: of the file that it wrote; None: that of the shipped prior.

    Raises:
        ValueError: for a file without the columns of `Measured`.

    Examples:
        >>> read_scaling()[0].name
        'untrained'
    """
    file = Path(path).expanduser() if path else WEIGHTS / FILE
    measured = []
    with file.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            try:
                numbers = [int(row[name]) for name in ("parameters", "videos", "steps", "clips")]
                gains = [float(row[name]) for name in ("next", "between")]
                measured.append(Measured(row["name"], *numbers, *gains))
            except (KeyError, TypeError, ValueError) as error:
                wanted = ", ".join(Measured._fields)
                raise ValueError(f"{file.name} must have the columns {wanted}: {error}") from error
    return measured


def by_size(measured: Sequence[Measured]) -> list[Measured]:
    """Those that saw all videos, by their parameters."""
    trained = [one for one in measured if one.steps]
    most = max(one.videos for one in trained)
    return sorted((one for one in trained if one.videos == most), key=lambda one: one.parameters)


def by_videos(measured: Sequence[Measured]) -> list[Measured]:
    """Those of the shipped size, by the files of real video that they saw."""
    shipped = next(one.parameters for one in measured if not one.steps)
    trained = [one for one in measured if one.steps and one.parameters == shipped]
    return sorted(trained, key=lambda one: one.videos)
