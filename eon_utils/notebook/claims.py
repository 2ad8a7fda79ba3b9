"""What the text claims, the notebook checks; what it measures goes into a ledger."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from IPython.display import display

from eon_utils.config import ROOT, Config, device
from eon_utils.notebook.display import table, table_data
from eon_utils.notebook.exercises import count_solved

LEDGER_MIME = "application/vnd.eon.ledger+json"
CLAIMS_MIME = "application/vnd.eon.claims+json"
HOLDS = "holds"
NOT_HERE = "not at this preset"
OPEN = "not with these parameters"
LACKING = "not without camera video"
FAILS = "does not hold"
LARGE = 1000  # from here on a measured value is shown without decimals


class ClaimError(AssertionError):
    """A claim of the text did not hold in this run."""


class Claims:
    """The claims of one notebook, each checked by the run that prints it.

    A claim marked `trained=True` speaks of the reference configuration. It is checked under
    `presets`. At others, as at smoke, which trains too little, it is only listed. With overridden
    parameters (your own pictures, another noise level) it is listed as open, and never fails.

    With the variable `EON_CLAIMS`, which a sweep sets, the notebook also keeps whether each claim
    is true in this run, whatever its parameters; and one that should hold and does not fails the
    notebook in `table`, at its end, so that the rest is measured too.

    Args:
        phase: the number of the notebook, such as "02".
        cfg: its parameters, from `resolve`.
        presets: those at which what is trained is checked.
    """

    def __init__(
        self, phase: str, cfg: Config, presets: tuple[str, ...] = ("laptop", "full")
    ) -> None:
        self.phase = phase
        self.cfg = cfg
        self.presets = presets
        self.rows: list[tuple[str, str]] = []  # (status, text)
        self.errors: list[ClaimError] = []  # that `table` raises

    def check(
        self,
        text: str,
        holds: bool,
        measured: object = "",
        trained: bool = True,
        here: bool = True,
    ) -> None:
        """Record one claim.

        Args:
            text: the claim, as the notebook words it.
            holds: whether it does.
            measured: what was measured, for the error's message.
            trained: whether it speaks of what the reference configuration trains.
            here: False where it speaks of camera video and there is none: it is listed alone.

        Raises:
            ClaimError: when the claim should hold here and does not.
        """
        keep_all = bool(os.environ.get("EON_CLAIMS"))
        if keep_all and here:
            display({CLAIMS_MIME: {text: bool(holds)}}, raw=True)
        if trained and self.cfg.overridden:
            self.rows.append((OPEN, text))
        elif trained and self.cfg.preset not in self.presets:
            self.rows.append((NOT_HERE, text))
        elif not here:
            self.rows.append((LACKING, text))
        elif holds:
            self.rows.append((HOLDS, text))
        else:
            claim = f"notebook {self.phase}: the claim '{text}'"
            error = ClaimError(f"{claim} does not hold; measured: {measured}")
            if not keep_all:
                raise error
            self.rows.append((FAILS, text))
            self.errors.append(error)

    def table(self) -> None:
        """Print one line a claim, in words only: the same on every machine.

        Raises:
            ClaimError: with `EON_CLAIMS`, for the first claim that should hold and does not.
        """
        width = max(len(status) for status, _ in self.rows)
        for status, text in self.rows:
            print(f"{status:<{width}}  {text}")
        if self.errors:
            raise self.errors[0]


class Ledger:
    """Measured values of one notebook: shown as a table, and kept for the course runner.

    Args:
        phase: the number of the notebook, such as "02".
        cfg: its parameters, from `resolve`.
    """

    def __init__(self, phase: str, cfg: Config) -> None:
        self.phase = phase
        self.cfg = cfg
        self.rows: list[dict[str, Any]] = []

    def add(self, model: str, metrics: dict[str, tuple[float | None, str]]) -> None:
        """Add values of one model: `ledger.add("V3", {"psnr": (36.0, "dB")})`.

        Args:
            model: its name.
            metrics: name -> (value, unit); the value None means that it was not reached.
        """
        preset = self.cfg.preset
        if self.cfg.overridden:
            preset += " (own parameters)"
        for metric, (value, unit) in metrics.items():
            row = {
                "phase": self.phase,
                "model": model,
                "metric": metric,
                "value": None if value is None else float(f"{value:.6g}"),
                "unit": unit,
                "preset": preset,
                "seed": self.cfg.seed,
                "device": device().type,
            }
            self.rows.append(row)

    def show(self) -> None:
        """Display one row a model, one column a metric."""
        titles: list[str] = []
        models: dict[str, dict[str, str]] = {}  # model -> title -> value
        for row in self.rows:
            metric = row["metric"]
            unit = row["unit"]
            title = f"{metric} [{unit}]" if unit else metric
            if title not in titles:
                titles.append(title)
            models.setdefault(row["model"], {})[title] = _value_text(row["value"])
        lines = []
        for model, values in models.items():
            lines.append([model, *(values.get(title, "") for title in titles)])
        table(["", *titles], lines, {LEDGER_MIME: self.rows})


def _value_text(value: float | None) -> str:
    if value is None:
        return "not reached"
    return f"{value:,.0f}" if abs(value) >= LARGE else f"{value:.3g}"


def course_map() -> None:
    """Display the notebooks of the course: title, question, exercises solved, time taken."""
    head, rows, links = _map(ROOT, None)
    table(head, rows, links=links)


def map_data(root: Path, solved: Collection[str]) -> dict[str, Any]:
    """The map of a course by MIME type; its minutes are those of the ledger, as the README's.

    Args:
        root: of the course.
        solved: names of the exercises that are.
    """
    return table_data(*_map(root, solved))


def _map(
    root: Path, solved: Collection[str] | None
) -> tuple[Sequence[str], list[tuple[str, ...]], list[str]]:
    """Titles of the columns, rows, and an address for each row."""
    seconds = _seconds_by_phase(root / "data" / "ledger.json")
    paths = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    rows = []
    for path in paths:
        phase = path.name[:2]
        count = count_solved(phase, solved)
        rows.append((*_title_and_question(path), count, _minutes(seconds.get(phase))))
    head = ("notebook", "question", "exercises", "laptop")
    return head, rows, [path.name for path in paths]


def _seconds_by_phase(ledger: Path) -> dict[str, float]:
    if not ledger.exists():
        return {}
    rows = json.loads(ledger.read_text(encoding="utf-8"))
    return {row["phase"]: row["value"] for row in rows if row["metric"] == "notebook"}


def _title_and_question(path: Path) -> tuple[str, str]:
    first_cell = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    text = "".join(first_cell["source"])
    title = text.split("\n")[0].lstrip("# ")
    question = text.partition("**The question:**")[2].split("\n")[0]
    return title, question.strip()


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.1f} min"
