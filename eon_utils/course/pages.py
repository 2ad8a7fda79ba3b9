"""What is made in README.md and RESULTS.md: the lessons, the headline numbers, all tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from eon_utils.course.ledger import Row, dense_tables, markdown_table, number
from eon_utils.course.outputs import read_notebook, title_and_question
from eon_utils.course.pictures import SMALL, SMALL_WIDTH, stills
from eon_utils.data.files import whole_file

PLACE = r"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)"


class Comparison(NamedTuple):
    """Two measured values of the README, side by side; values are named by model and metric."""

    phase: str
    what: str
    ours: tuple[str, str]
    says: str
    other: tuple[str, str]
    other_says: str


# Ten numbers; all others are in RESULTS.md.
HEADLINES = (
    Comparison(
        "02",
        "accuracy that is lost when the deep path falls silent",
        ("V4", "silenced code"),
        "with noise on the skips",
        ("V3", "silenced code"),
        "with plain skips",
    ),
    Comparison(
        "03",
        "photographs never seen, from 1,024 numbers each",
        ("shipped, 1,024 numbers", "psnr"),
        "shipped autoencoder",
        ("PCA, 1,024 numbers", "psnr"),
        "principal components",
    ),
    Comparison(
        "04",
        "the next frame, above copying the last one",
        ("V4 residual, wide", "gain"),
        "on films it was trained on",
        ("V4 residual, wide", "unseen"),
        "on films never seen",
    ),
    Comparison(
        "05",
        "the frame between two others, of clips never seen",
        ("shipped prior", "in between, mean"),
        "shipped prior",
        ("optical flow", "in between, mean"),
        "optical flow",
    ),
    Comparison(
        "06",
        "how a clip moves, of 13 ways, from ten labels a way",
        ("prior", "moves, 10-shot"),
        "shipped prior",
        ("from scratch", "moves, 10-shot"),
        "trained from scratch",
    ),
)


def renew_pages(root: Path, rows: Sequence[Row]) -> None:
    """Make anew what is between the marks of README.md and RESULTS.md, where there are such files.

    Args:
        root: of the course.
        rows: of its ledger.
    """
    readme = {"lessons": lesson_table(root, rows), "numbers": headline_table(root, rows)}
    for name, parts in (("README.md", readme), ("RESULTS.md", result_tables(rows))):
        page = root / name
        if page.exists():
            text = filled(page.read_text(encoding="utf-8"), parts)
            text = with_suffixes(text, root / "screenshots")
            with whole_file(page) as partial:
                partial.write_text(text, encoding="utf-8")


def filled(text: str, parts: Mapping[str, str]) -> str:
    """A text with each part between its marks; parts without a mark are left out.

    Examples:
        >>> filled("<!-- a:begin -->\\nold\\n<!-- a:end -->", {"a": "new"})
        '<!-- a:begin -->\\nnew\\n<!-- a:end -->'
    """
    for name, part in parts.items():
        place = PLACE.format(name=re.escape(name))
        text = re.sub(
            place, lambda found, part=part: f"{found[1]}{part}\n{found[2]}", text, flags=re.S
        )
    return text


def with_suffixes(text: str, folder: Path) -> str:
    """A text whose links to screenshots have the suffixes of the files that are there."""
    for name, path in stills(folder).items():
        link = rf"(?<=screenshots/){re.escape(name)}\.(png|jpg|svg)\b"
        text = re.sub(link, path.name, text)
    return text


def lesson_table(root: Path, rows: Sequence[Row]) -> str:
    """A line a notebook: number and link, a picture, the question it asks, how long it takes."""
    took = {row["phase"]: row["value"] for row in rows if row["metric"] == "notebook"}
    room = "&nbsp;" * 17  # without it a picture in a table gives way to text
    lines = [f"| lesson{room} | the question | min |", "|---|---|---:|"]
    small = stills(root / SMALL)
    for path in lessons(root):
        _, question = title_and_question(read_notebook(path), path.stem)
        phase = path.name[:2]
        shown = ""
        if phase in small:
            file = f"{SMALL}/{small[phase].name}"
            shown = f' <img src="{file}" width="{SMALL_WIDTH}" align="center" alt="">'
        minutes = f"{took[phase] / 60:.1f}" if phase in took else ""
        lines.append(f"| [{phase}](notebooks/{path.name}){shown} | {question} | {minutes} |")
    return "\n".join(lines)


def headline_table(root: Path, rows: Sequence[Row]) -> str:
    """The README's numbers, each pair with a link to where it is measured."""
    values = {(row["phase"], row["model"], row["metric"]): row for row in rows}
    links = {path.name[:2]: path.name for path in lessons(root)}
    lines = ["| what was measured | value | beside it | lesson |", "|---|---|---|---|"]
    for phase, what, ours, says, other, other_says in HEADLINES:
        pair = [values.get((phase, *ours)), values.get((phase, *other))]
        if None not in pair:
            one, two = (f"{number(row['value'], row['unit'])} {row['unit']}" for row in pair if row)
            link = f"[{phase}](notebooks/{links[phase]})"
            lines.append(f"| {what} | **{one}** {says} | {two} {other_says} | {link} |")
    return "\n".join(lines)


def result_tables(rows: Sequence[Row]) -> dict[str, str]:
    """The tables of each lesson, by the name of their place: "results 03"."""
    parts = {}
    for phase in dict.fromkeys(row["phase"] for row in rows):
        tables = dense_tables([row for row in rows if row["phase"] == phase])
        parts[f"results {phase}"] = "\n\n".join(markdown_table(table) for table in tables)
    return parts


def lessons(root: Path) -> list[Path]:
    """The notebooks of the course, in order."""
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
