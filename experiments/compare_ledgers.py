"""What two runs of the course measured, side by side.

    python experiments/compare_ledgers.py data/ledger.json runs/gpu/course/ledger.json

Prints a Markdown table: a line for each value that both runs have, with the preset and the device
of each run in the head. The last column is the second value less the first; its head says what sets
the two runs apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import common

from eon_utils.course.ledger import Row, number, read_ledger

Key = tuple[str, str, str, str]


def by_key(rows: list[Row]) -> dict[Key, Row]:
    """Rows that hold a value, by phase, model, metric and unit."""
    known = [row for row in rows if row["value"] is not None]
    return {(row["phase"], row["model"], row["metric"], row["unit"]): row for row in known}


def facts(path: Path, rows: list[Row]) -> dict[str, str]:
    """Preset and device of a run.

    Raises:
        ValueError: for a ledger without rows.
    """
    if not rows:
        raise ValueError(f"{path} holds no measured value; give the ledger.json of a run")
    return {what: ", ".join(sorted({row[what] for row in rows})) for what in ("preset", "device")}


def head(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """Titles of the columns of two runs and of their difference, by the runs' facts."""
    titles = [f"preset {facts['preset']}, device {facts['device']}" for facts in (first, second)]
    apart = [what for what in first if first[what] != second[what]]
    return [*titles, f"difference of {' and '.join(apart) or 'two runs alike'}"]


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = common.parser(__doc__)
    options.add_argument("first", type=Path, help="ledger of a run, such as data/ledger.json")
    options.add_argument("second", type=Path, help="ledger of another run")
    return options


def main() -> None:
    """Print the table."""
    args = parser().parse_args()
    paths = (args.first, args.second)
    ledgers = [read_ledger(path) for path in paths]
    known = [facts(path, rows) for path, rows in zip(paths, ledgers, strict=True)]
    first, second = map(by_key, ledgers)
    common.print_head("phase", "model", "metric", *head(*known))
    for key in first:
        if key in second:
            phase, model, metric, unit = key
            values = [float(rows[key]["value"]) for rows in (first, second)]
            cells = [f"{number(value, unit)} {unit}" for value in values]
            common.print_row(phase, model, metric, *cells, f"{values[1] - values[0]:+.3g}")


if __name__ == "__main__":
    main()
