"""The table of a sweep, read, and drawn: mean and spread over seeds."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eon_utils.config import DATA
from eon_utils.notebook.figures import curves, panels
from eon_utils.notebook.looks import looks_of
from eon_utils.notebook.parameters import literal
from eon_utils.training.history import History
from eon_utils.training.prior_scaling import Measured, by_size, by_videos, clips_seen

Row = dict[str, Any]  # of a sweep's table: title of a column -> value
Line = dict[Any, list[float]]  # value of a parameter -> what the runs with it measured

RUN = "run"  # the first column; the parameters follow
STATUS = "status"  # the first column after them
BETWEEN = " / "  # model and metric, in the title of a value's column
CLAIM = "claim: "  # before a claim, in the title of its column
MOST_TICKS = 8


def read_sweep(path: str | Path) -> list[Row]:
    """The table of a sweep: a row a run, with parameters, measured values and claims.

    Args:
        path: of a `sweep.csv`; what is not there is looked for in the course's data/.

    Returns:
        For each run title -> value; None where there is none.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: that names it, where it is no such table.
    """
    path = Path(path).expanduser()
    found = next((file for file in (path, DATA / path) if file.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{path} is not there; give the sweep.csv in the folder of a sweep")
    try:
        with open(found, encoding="utf-8-sig", newline="") as file:  # spreadsheets add a mark
            texts = list(csv.DictReader(file, strict=True))
        if not texts or not {RUN, STATUS} <= set(texts[0]):
            raise ValueError(f"its first line has no {RUN} and {STATUS} between commas")
        return [{title: _read(title, text) for title, text in row.items()} for row in texts]
    except (ValueError, TypeError, csv.Error) as error:
        remedy = "give the sweep.csv as a sweep wrote it"
        raise ValueError(f"{found} is no table of a sweep ({error}); {remedy}") from error


def _read(title: str, text: str) -> object:
    if not text:
        return None
    return float(text) if is_value(title) else literal(text)


def parameter_titles(table: Sequence[Row]) -> list[str]:
    """The titles of the columns that hold parameters."""
    titles = list(table[0])
    return titles[titles.index(RUN) + 1 : titles.index(STATUS)]


def value_titles(table: Sequence[Row]) -> list[str]:
    """The titles of the columns that hold measured values, as "V4 / psnr [dB]"."""
    return [title for title in table[0] if is_value(title)]


def is_value(title: str) -> bool:
    """Whether a column with this title holds measured values."""
    return BETWEEN in title and not title.startswith(CLAIM)


def find_value(table: Sequence[Row], name: str) -> str:
    """The title of a measured value; its unit may be left out.

    Raises:
        ValueError: for a name that no column has; it lists those that there are.
    """
    titles = value_titles(table)
    for title in titles:
        if name in (title, title.partition(" [")[0]):
            return title
    there_are = ", ".join(title.partition(" [")[0] for title in titles) or "none"
    raise ValueError(f"this sweep has no value {name!r}; there are: {there_are}")


def sweep_figure(table: Sequence[Row], values: str | Sequence[str], over: str) -> Figure:
    """Measured values over a parameter: mean, spread and single runs over the seeds.

    Values of the same metric share a panel. Runs that differ in a third parameter are other lines.

    Args:
        table: from `read_sweep`.
        values: names of measured values, such as "V4 / silenced code".
        over: the parameter along the horizontal axis, such as "noise".

    Raises:
        ValueError: for a value or a parameter that the table has not, or that no run reached.
    """
    names = [values] if isinstance(values, str) else values
    titles = [find_value(table, name) for name in names]
    if over not in parameter_titles(table):
        there_are = ", ".join(parameter_titles(table))
        raise ValueError(f"this sweep has no parameter {over!r}; there are: {there_are}")
    by_metric: dict[str, dict[str, Line]] = {}
    for title in titles:
        model, _, metric = title.partition(BETWEEN)
        for label, line in _lines(table, title, over).items():
            by_metric.setdefault(metric, {})[f"{model}{label}"] = line
    if not by_metric:
        raise ValueError(f"no run of this sweep reached {', '.join(names)}")
    size = (8.6, 4.2) if len(by_metric) == 1 else (5.4, 3.3)
    fig, axes = panels([""] * len(by_metric), size=size)
    for ax, (metric, lines) in zip(axes, by_metric.items(), strict=True):
        _draw(ax, lines, over, metric)
    fig.supxlabel(_note(by_metric), fontsize=9, color="#555")
    return fig


def _lines(table: Sequence[Row], title: str, over: str) -> dict[str, Line]:
    """What was measured, by the other parameters that differ between the runs."""
    others = []
    for name in parameter_titles(table):
        different = {str(row[name]) for row in table}
        if name not in (over, "seed") and len(different) > 1:
            others.append(name)
    lines: dict[str, Line] = {}
    for row in table:
        label = "".join(f", {name}={shown(row[name])}" for name in others)
        if row[title] is not None and math.isfinite(row[title]):
            lines.setdefault(label, {}).setdefault(_place(row[over]), []).append(row[title])
    return lines


def shown(value: object) -> str:
    """A value of a parameter as text; a number without needless zeros."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _place(value: object) -> object:
    """A value of a parameter as something that can be put on an axis."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else str(value)


def _draw(ax: Axes, lines: dict[str, Line], over: str, metric: str) -> None:
    """One panel. What is no number stands on the axis in the order of the runs."""
    places = list(dict.fromkeys(place for line in lines.values() for place in line))
    numbers = not any(isinstance(place, str) for place in places)
    if numbers:
        places.sort()
        positions = dict(zip(places, places, strict=True))
    else:
        positions = {place: index for index, place in enumerate(places)}
    means = {}
    for (name, line), look in zip(lines.items(), looks_of(lines), strict=True):
        there = sorted(line, key=lambda place: positions[place])
        x = np.array([positions[place] for place in there], dtype=float)
        mean = np.array([np.mean(line[place]) for place in there])
        spread = np.array([_spread(line[place]) for place in there])
        ax.fill_between(x, mean - spread, mean + spread, color=look.colour, alpha=0.15, lw=0)
        for position, place in zip(x, there, strict=True):
            runs = line[place]
            ax.plot([position] * len(runs), runs, "o", color=look.colour, ms=4, alpha=0.3, mew=0)
        means[name] = (x, mean)
    curves(means, over, metric, ax, marker="o")
    if not numbers or len(places) <= MOST_TICKS:
        ax.set_xticks(list(positions.values()), [shown(place) for place in places])


def _spread(values: Sequence[float]) -> float:
    """The standard deviation of a sample; of a single value 0."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _note(by_metric: dict[str, dict[str, Line]]) -> str:
    """What the line, the band and the dots are, and of how many runs."""
    counts = set()
    for lines in by_metric.values():
        for line in lines.values():
            counts |= {len(values) for values in line.values()}
    fewest, most = min(counts), max(counts)
    of = str(most) if fewest == most else f"{fewest} to {most}"
    if most == 1:
        return "single runs"
    return f"line: mean of {of} seeds; band: one standard deviation up and down; dots: single runs"


def learning_figure(recorded: History, scaling: Sequence[Measured]) -> Figure:
    """What priors learnt about camera video: over a training, by their size, by their videos.

    Args:
        recorded: the training, as `read_recording` gives it.
        scaling: shorter ones, as `read_scaling` gives them.

    Returns:
        Three panels of dB above optical flow. A logarithm has no zero, so that the untrained prior
        stands at 2,000 clips.
    """
    seen = [max(count, 2000) / 1000 for count in clips_seen(recorded.snapshot_steps)]
    sizes, videos = by_size(scaling), by_videos(scaling)
    parameters = [one.parameters / 1e6 for one in sizes]
    gains = {
        "next": [one["next"] for one in recorded.measures],
        "in between": [one["between"] for one in recorded.measures],
    }
    fig, axes = panels(["the shipped training", "five sizes", "more real video"], 3, (3.7, 3.4))
    over = {
        "thousand clips of training": (seen, gains),
        "million parameters": (parameters, _gains(sizes)),
        "files of real video": ([one.videos for one in videos], _gains(videos)),
    }
    for ax, (cause, (x, by_question)) in zip(axes, over.items(), strict=True):
        ax.set_ylim(-0.5, 1.1)
        series = {question: (x, levels) for question, levels in by_question.items()}
        curves(series, cause, "", ax, log="x" if max(x) > 500 else "", marker="o")
    axes[0].set_ylabel("PSNR above optical flow [dB]")
    return fig


def _gains(trainings: Sequence[Measured]) -> dict[str, list[float]]:
    return {
        "next": [one.next for one in trainings],
        "in between": [one.between for one in trainings],
    }
