"""What an executed notebook holds: title, question, pictures, measured values, claims."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from nbformat import NotebookNode, ValidationError

from eon_utils.course.ledger import Row
from eon_utils.notebook.claims import CLAIMS_MIME, HOLDS, LACKING, LEDGER_MIME, NOT_HERE, OPEN
from eon_utils.notebook.display import SUFFIXES

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
GUESS = re.compile(r"\*\*(?:Your guess|Predict):\*\* [^\n]+")


def read_notebook(path: Path) -> NotebookNode:
    """A notebook of the course.

    Raises:
        ValueError: that names it, where it can't be read, as after a merge with conflicts.
    """
    try:
        nb = nbformat.read(path, as_version=4)
        nbformat.validate(nb)
    except (ValueError, KeyError, AttributeError, TypeError, ValidationError) as error:
        reason = str(error).strip().splitlines()[0][:80] if str(error).strip() else "damaged"
        remedy = "fetch it again; after a merge, settle its conflicts"
        raise ValueError(f"{path} is no notebook that can be read ({reason}); {remedy}") from error
    return nb


def outputs(nb: NotebookNode) -> Iterator[NotebookNode]:
    """All outputs of a notebook, in order."""
    for cell in nb.cells:
        yield from cell.get("outputs", [])


def images(nb: NotebookNode) -> Iterator[NotebookNode]:
    """Outputs of a notebook that carry a picture, in order."""
    for output in outputs(nb):
        if kind_of(output):
            yield output


def kind_of(output: NotebookNode) -> str:
    """The MIME type of an output's picture, the best one where it has several; "" without one."""
    data = output.get("data", {})
    return next((kind for kind in SUFFIXES if kind in data), "")


def alt_of(output: NotebookNode) -> str:
    """The alternative text of an output's picture."""
    return output.get("metadata", {}).get(kind_of(output), {}).get("alt", "")


def caption_of(output: NotebookNode) -> str:
    """What stands under an output's picture: its caption, or else its alternative text."""
    return output.get("metadata", {}).get("caption") or alt_of(output)


def picture_of(output: NotebookNode) -> bytes:
    """An output's picture as a file."""
    kind = kind_of(output)
    written = output.data[kind]
    return written.encode() if kind == "image/svg+xml" else b64decode(written)


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
    for status in (HOLDS, NOT_HERE, LACKING, OPEN):
        count = len(re.findall(rf"^{status}  ", text, re.M))
        if count:
            counted.append(f"{count} {'claims hold' if status == HOLDS else status}")
    return ", ".join(counted)


def checked_claims(nb: NotebookNode) -> dict[str, bool]:
    """Claim -> whether it is true in this run, of a notebook that ran with `EON_CLAIMS` set."""
    checked = {}
    for output in outputs(nb):
        checked.update(output.get("data", {}).get(CLAIMS_MIME, {}))
    return checked


def title_and_question(nb: NotebookNode, name: str) -> tuple[str, str]:
    """A notebook's title, and the first question that it asks after it."""
    texts = [c.source for c in nb.cells if c.cell_type == "markdown" and not inserted(c)]
    first = next((text for text in texts if "# " in text), "")
    paragraphs = []
    for token in MarkdownIt("commonmark").parse(first):
        parts = [part for part in token.children or [] if part.type != "image"]
        text = " ".join("".join(part.content or " " for part in parts).split())
        paragraphs += [text.removeprefix("The question: ")] if text else []
    title = paragraphs.pop(0) if paragraphs else name
    asked = [text[: text.index("?") + 1] for text in paragraphs if "?" in text]
    question = next(iter(asked or paragraphs), "")
    return title, question[:1].upper() + question[1:]


def guesses(text: str) -> list[str]:
    """What a Markdown text asks the reader to guess.

    Examples:
        >>> guesses("Adam is a rule. **Your guess:** by how much? By 10?\\n\\n## The data")
        ['**Your guess:** by how much? By 10?']
    """
    return GUESS.findall(text)


def inserted(cell: NotebookNode) -> bool:
    """True for a cell that papermill put into a failed notebook; the page has its own banner."""
    return "papermill-error-cell-tag" in cell.metadata.get("tags", [])
