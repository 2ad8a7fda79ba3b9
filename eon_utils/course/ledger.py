"""Measured values: read, written, and as a table for readers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eon_utils.data.files import whole_file

Row = dict[str, Any]  # phase, model, metric, value, unit, preset, seed, device, seconds
NEEDED = {"phase", "model", "metric", "value", "unit", "preset", "seed", "device"}
DECIMALS = {"%": 1, "dB": 1, "points": 1}  # of values in these units
SHORT = 10  # seconds; below, a tenth of a second matters
LINES = 18  # of a table; a longer one goes on to the right


def read_ledger(path: Path) -> list[Row]:
    """The rows of a ledger; none while there is no such file.

    Raises:
        ValueError: that names the file, where it is damaged.
    """
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        for row in rows:
            if missing := NEEDED - set(row):
                raise ValueError(f"a row has no {min(missing)}")
    except (ValueError, TypeError) as error:
        remedy = "fetch it again, or remove it: a run writes it anew"
        raise ValueError(f"{path} is no ledger that can be read ({error}); {remedy}") from error
    return rows


def write_ledger(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as JSON, one a line, so that a change reads as a change."""
    lines = ",\n".join(json.dumps(row) for row in rows)
    with whole_file(path) as partial:
        partial.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def pivot(rows: Sequence[Row]) -> list[list[str]]:
    """A table with one line for each phase and model, and one column for each metric.

    Args:
        rows: of a ledger; how long whole notebooks took is left out.

    Returns:
        The titles of the columns, then the lines, all as text. What was not measured is empty.

    Examples:
        >>> row = {"phase": "02", "model": "V1", "metric": "psnr", "unit": "dB", "value": 34.81}
        >>> pivot([row])
        [['phase', 'model', 'PSNR (dB)'], ['02', 'V1', '34.8']]
    """
    columns: dict[tuple[str, str], str] = {}
    lines: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for row in rows:
        if row["metric"] == "notebook":
            continue
        column = (row["metric"], row["unit"])
        columns[column] = column_title(*column)
        line = lines.setdefault((row["phase"], row["model"]), {})
        line[column] = number(row["value"], row["unit"])
    table = [["phase", "model", *columns.values()]]
    for (phase, model), line in lines.items():
        cells = [line.get(column, "") for column in columns]
        table.append([phase, model, *cells])
    return table


def dense_tables(rows: Sequence[Row]) -> list[list[list[str]]]:
    """Tables without empty cells: one for all metrics that were measured of the same models.

    Args:
        rows: of one phase; how long its notebook took is left out.

    Returns:
        Tables as `pivot` gives them, without the column of the phase. Long ones go on to the right.

    Examples:
        >>> row = {"phase": "02", "model": "V1", "metric": "psnr", "unit": "dB", "value": 34.81}
        >>> dense_tables([row, row | {"metric": "rate", "model": "V2"}])
        [[['model', 'PSNR (dB)'], ['V1', '34.8']], [['model', 'rate (dB)'], ['V2', '34.8']]]
    """
    models: dict[str, dict[str, None]] = {}
    for row in rows:
        if row["metric"] != "notebook":
            models.setdefault(row["metric"], {})[row["model"]] = None
    metrics: dict[frozenset[str], set[str]] = {}
    for metric, measured in models.items():
        metrics.setdefault(frozenset(measured), set()).add(metric)
    tables = []
    for together in metrics.values():
        table = pivot([row for row in rows if row["metric"] in together])
        tables.append(side_by_side([cells[1:] for cells in table]))
    return tables


def side_by_side(table: list[list[str]]) -> list[list[str]]:
    """A table of more than eighteen lines as several beside each other, of equal height."""
    titles, *lines = table
    blocks = math.ceil(len(lines) / LINES)
    height = math.ceil(len(lines) / blocks)
    lines += [[""] * len(titles)] * (blocks * height - len(lines))
    rows = [titles * blocks]
    for first in range(height):
        rows.append([cell for line in lines[first::height] for cell in line])
    return rows


def column_title(metric: str, unit: str) -> str:
    """A metric with its unit, unless its own first word says it."""
    title = metric.upper() if metric in ("psnr", "ssim") else metric
    first_word = title.split()[0]
    if not unit or first_word in (unit, "seconds"):
        return title
    return f"{title} ({unit})"


def number(value: float | None, unit: str) -> str:
    """A measured value, rounded to what a reader can use; None is what a run did not reach."""
    if value is None:
        return "not reached"
    if unit in DECIMALS:
        decimals = DECIMALS[unit]
    elif unit == "s":
        decimals = 0 if value >= SHORT else 1
    else:
        decimals = 0 if value == round(value) else 3
    return f"{value:,.{decimals}f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 8 s, 2 min 5 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def text_table(table: Sequence[Sequence[str]]) -> str:
    """A table as aligned text; the first line holds the titles."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rule = ["-" * width for width in widths]
    lines = []
    for cells in [table[0], rule, *table[1:]]:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def markdown_table(table: Sequence[Sequence[str]]) -> str:
    """A table as Markdown, numbers to the right; the first line holds the titles."""
    titles = table[0]
    rule = ["---" if title in ("phase", "model") else "---:" for title in titles]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [titles, rule, *table[1:]])
