"""The grid of a sweep: every combination of the values that its parameters take.

Its folder notes the grid, and whatever killed the sweep, it can be read from there.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eon_utils.config import ROOT
from eon_utils.course.parameters import parameters, refuse_unknown, rules, settle, typed
from eon_utils.data.files import whole_file

ASKED = "sweep.json"  # in a sweep's folder: what it was asked for

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")  # 0..4
# A value up to the next comma; those within quotes or brackets are part of it.
VALUE = re.compile(r"""\s*("[^"]*"|'[^']*'|\[[^\]]*\]|\([^)]*\)|[^,]*?)\s*(,|$)""")
MOST = 10_000  # runs of one sweep
LONGEST_NAME = 80  # characters of a run's folder

Axes = dict[str, list[Any]]  # parameter -> its values


class Sweep(NamedTuple):
    """What a sweep was asked for."""

    notebook: Path
    axes: Axes


class Job(NamedTuple):
    """One run of a sweep."""

    folder: str  # its name
    settings: dict[str, Any]  # the parameters of the sweep, with their values in this run
    values: dict[str, Any]  # those of them that differ from the notebook's own defaults


def split_values(text: str) -> list[str]:
    """The values in a text that has commas between them.

    Examples:
        >>> split_values("0, 0.1,[64, 48]")
        ['0', '0.1', '[64, 48]']
    """
    values = []
    place = 0
    while True:
        match = VALUE.match(text, place)
        assert match is not None  # it fits on every text, if need be on an empty value
        values.append(match[1])
        place = match.end()
        if not match[2]:
            return values


def read_axes(notebook: Path, settings: Mapping[str, str], preset: str) -> Axes:
    """The values of each parameter of a sweep, the preset first.

    Args:
        notebook: its path.
        settings: parameter -> values as typed, such as "0,0.1,0.25" or "0..4", the last included.
        preset: in force where `settings` has none.

    Raises:
        ValueError: for a parameter that the notebook has not, a value of the wrong type, an empty
            range, a value that stands there twice, or more than `MOST` runs.
    """
    known = parameters(notebook)
    refuse_unknown(settings, known)
    texts = {"preset": preset} if "preset" in known else {}
    texts |= settings
    lengths = {name: _length(text) for name, text in texts.items()}
    runs = math.prod(lengths.values())
    if runs > MOST:
        longest = max(lengths, key=lambda name: lengths[name])
        raise ValueError(
            f"these are {runs:,} runs, and a sweep makes {MOST:,} at most; give {longest} fewer"
            " values"
        )
    return {name: _values(name, text, known[name].kinds) for name, text in texts.items()}


def _length(text: str) -> int:
    """How many values there are at least in a text; a range is not written out for it."""
    count = 0
    for part in split_values(text):
        whole_numbers = _range(part) or range(1)
        count += max(whole_numbers.stop - whole_numbers.start, 1)  # len() has a limit
    return count


def _range(text: str) -> range | None:
    match = RANGE.fullmatch(text)
    return range(int(match[1]), int(match[2]) + 1) if match else None


def _values(name: str, text: str, kinds: Sequence[str]) -> list[Any]:
    parts = []
    for part in split_values(text):
        whole_numbers = _range(part)
        if whole_numbers is None:
            parts.append(part)
        elif whole_numbers:
            parts += map(str, whole_numbers)
        else:
            raise ValueError(f"{name}={part} is an empty range; write the smaller number first")
    if len(parts) > 1 and "" in parts:
        raise ValueError(f"{name}={text} has an empty value; write name=value,value")
    values = []
    for part in parts:
        value = typed(name, part, kinds)
        if value in values:
            raise ValueError(f"{name}={text} names {value} twice; leave one out")
        values.append(value)
    return values


def combine(notebook: Path, axes: Axes) -> list[Job]:
    """A job for each combination of values, in order; the last parameter changes first.

    Raises:
        ValueError: for a value out of range, by the same rules as in the notebook.
    """
    known = parameters(notebook)
    of_notebook = rules(notebook)
    swept = [name for name, values in axes.items() if len(values) > 1]
    jobs = []
    for combination in itertools.product(*axes.values()):
        settings = dict(zip(axes, combination, strict=True))
        values = settle(known, of_notebook, settings, settings.get("preset", "laptop"))
        jobs.append(Job(_folder({name: settings[name] for name in swept}), settings, values))
    return jobs


def _folder(settings: Mapping[str, Any]) -> str:
    """A name for a run's folder that every file system takes: noise=0.1_seed=3.

    Where something had to be changed for that, the end of the name tells it from others.
    """
    text = "_".join(f"{name}={value}" for name, value in settings.items()) or "run"
    name = re.sub(r"[^\w.=+-]", "-", text, flags=re.A)
    if name == text and len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    return f"{name[:LONGEST_NAME]}-{digest[:8]}"


# --- what is noted ---


def write_asked(sweep: Sweep, out: Path) -> None:
    """Note in a sweep's folder what it was asked for."""
    text = json.dumps({"notebook": sweep.notebook.name, "axes": sweep.axes}, indent=1)
    with whole_file(out / ASKED) as partial:
        partial.write_text(f"{text}\n", encoding="utf-8")


def read_asked(out: Path, root: Path = ROOT) -> Sweep:
    """What `write_asked` noted.

    Raises:
        ValueError: where there is no such note, or the course lacks the notebook that it names.
    """
    try:
        noted = json.loads((out / ASKED).read_text(encoding="utf-8"))
        sweep = Sweep(root / "notebooks" / noted["notebook"], dict(noted["axes"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "name the folder of one, such as runs/sweep_<time>"
        raise ValueError(f"{out} is no folder of a sweep; {remedy}") from error
    if not sweep.notebook.is_file():
        folder = sweep.notebook.parent
        raise ValueError(f"{out.name} ran {sweep.notebook.name}, no notebook of {folder}")
    return sweep


def in_words(axes: Axes) -> list[str]:
    """Each parameter with its values, as "seed = 0, 1"."""
    return [f"{name} = {', '.join(map(str, values))}" for name, values in axes.items()]
