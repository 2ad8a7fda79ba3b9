"""What the text claims, the notebook checks; what it measures goes into a ledger."""

from __future__ import annotations

import json

from eon_utils.config import DATA, ROOT, Config, device
from eon_utils.notebook.display import table

LEDGER = DATA / "ledger.json"
LEDGER_MIME = "application/vnd.eon.ledger+json"
HOLDS, NOT_HERE, OPEN = "holds", "not at this preset", "not with these parameters"


class ClaimError(AssertionError):
    """A claim of the text did not hold in this run."""


class Claims:
    """The claims of one notebook, each checked by the run that prints it.

    The one rule: a claim marked `trained=True` speaks of the reference configuration. It is checked under
    `presets`; at others, as at smoke, which trains too little, it is listed as such; with overridden parameters
    (your own pictures, another noise level) it is listed as open and never fails.
    """

    def __init__(self, phase: str, cfg: Config, presets: tuple[str, ...] = ("laptop", "full")) -> None:
        self.phase, self.cfg, self.presets, self.rows = phase, cfg, presets, []

    def check(self, text: str, holds: bool, measured: object = "", trained: bool = True) -> None:
        """Record one claim. Raises ClaimError with the measured value when it should hold here and does not."""
        if trained and (self.cfg.overridden or self.cfg.preset not in self.presets):
            self.rows.append((OPEN if self.cfg.overridden else NOT_HERE, text))
            return
        if not holds:
            raise ClaimError(f"notebook {self.phase}: the claim '{text}' does not hold; measured: {measured}")
        self.rows.append((HOLDS, text))

    def table(self) -> None:
        """One line a claim, in words only: the same on every machine."""
        width = max(len(status) for status, _ in self.rows)
        for status, text in self.rows:
            print(f"{status:<{width}}  {text}")


class Ledger:
    """Measured values of one notebook, shown as a table and kept in the output for the course runner."""

    def __init__(self, phase: str, cfg: Config) -> None:
        self.phase, self.cfg, self.rows = phase, cfg, []

    def add(self, model: str, metrics: dict[str, tuple[float | None, str]]) -> None:
        """Values of one model with their units: `ledger.add("V3", {"psnr": (36.0, "dB")})`; None: not reached."""
        for metric, (value, unit) in metrics.items():
            self.rows.append(
                {
                    "phase": self.phase,
                    "model": model,
                    "metric": metric,
                    "value": None if value is None else float(f"{value:.6g}"),
                    "unit": unit,
                    "preset": self.cfg.preset + (" (own parameters)" if self.cfg.overridden else ""),
                    "seed": self.cfg.seed,
                    "device": device().type,
                }
            )

    def show(self) -> None:
        """Display one row a model, one column a metric."""
        models = list(dict.fromkeys(row["model"] for row in self.rows))
        columns = list(dict.fromkeys((row["metric"], row["unit"]) for row in self.rows))
        values = {(row["model"], row["metric"]): row["value"] for row in self.rows}
        head = ["", *(f"{metric} [{unit}]" if unit else metric for metric, unit in columns)]
        body = [[model, *(_number(values, model, metric) for metric, _ in columns)] for model in models]
        table(head, body, {LEDGER_MIME: self.rows})


def _number(values: dict, model: str, metric: str) -> str:
    if (model, metric) not in values:
        return ""
    value = values[model, metric]
    return "not reached" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def check(holds: bool, hint: str) -> None:
    """Answer an exercise at once: right, or the hint. Never fails the notebook."""
    print("Right." if holds else f"Not yet. {hint}")


def course_map() -> None:
    """Display the notebooks of the course with their questions and the minutes they took when last measured."""
    ledger = json.loads(LEDGER.read_text(encoding="utf-8")) if LEDGER.exists() else []
    seconds = {row["phase"]: row["value"] for row in ledger if row["metric"] == "notebook"}
    rows = []
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        text = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        title = text.split("\n")[0].lstrip("# ")
        question = text.partition("**The question:**")[2].split("\n")[0].strip()
        took = seconds.get(path.name[:2])
        rows.append((path.name, title, question, "" if took is None else f"{took / 60:.1f} min"))
    table(("notebook", "question", "laptop"), [row[1:] for row in rows], links=[row[0] for row in rows])
