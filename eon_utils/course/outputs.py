"""What the outputs of an executed notebook hold: pictures, measured values, claims."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nbformat import NotebookNode

from eon_utils.course.ledger import Row
from eon_utils.notebook.claims import HOLDS, LEDGER_MIME, NOT_HERE, OPEN

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"


def outputs(nb: NotebookNode) -> Iterator[NotebookNode]:
    """All outputs of a notebook, in order."""
    for cell in nb.cells:
        yield from cell.get("outputs", [])


def images(nb: NotebookNode) -> Iterator[NotebookNode]:
    """Outputs of a notebook that carry a PNG, in order."""
    for output in outputs(nb):
        if "image/png" in output.get("data", {}):
            yield output


def ledger_rows(nb: NotebookNode) -> list[Row]:
    """Values that a notebook measured (see `claims.Ledger`), the last of each kind."""
    latest = {}
    for output in outputs(nb):
        for row in output.get("data", {}).get(LEDGER_MIME, []):
            latest[row["model"], row["metric"]] = row
    return list(latest.values())


def count_claims(nb: NotebookNode) -> str:
    """The lines of the claims table, counted: "5 claims hold, 1 not at this preset"."""
    printed = [output.text for output in outputs(nb) if output.output_type == "stream"]
    text = "\n".join(printed)
    counted = []
    for status in (HOLDS, NOT_HERE, OPEN):
        count = len(re.findall(rf"^{status}  ", text, re.M))
        if count:
            counted.append(f"{count} {'claims hold' if status == HOLDS else status}")
    return ", ".join(counted)
