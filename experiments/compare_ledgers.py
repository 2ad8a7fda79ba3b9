"""What two runs of the course measured, side by side.

    python experiments/compare_ledgers.py data/ledger.json runs/gpu/course/ledger.json

Prints a Markdown table: a line for each value that both runs have, with the device and the preset
of each run in the head. The last column is the second value less the first.
"""

from __future__ import annotations

from pathlib import Path

import common

from eon_utils.course.ledger import Row, number, read_ledger

Key = tuple[str, str, str, str]


def by_key(rows: list[Row]) -> dict[Key, Row]:
    """Rows that hold a value, by phase, model, metric and unit."""
    known = [row for row in rows if row["value"] is not None]
    return {(row["phase"], row["model"], row["metric"], row["unit"]): row for row in known}


def title(rows: list[Row], path: Path) -> str:
    """A run in a few words: "laptop, cpu".

    Raises:
        ValueError: for a ledger without rows.
    """
    if not rows:
        raise ValueError(f"{path} holds no measured value; give the ledger.json of a run")
    return f"{rows[0]['preset']}, {rows[0]['device']}"


def main() -> None:
    """Print the table."""
    options = common.parser(__doc__)
    options.add_argument("first", type=Path, help="ledger of a run, such as data/ledger.json")
    options.add_argument("second", type=Path, help="ledger of another run")
    args = options.parse_args()
    ledgers = [read_ledger(path) for path in (args.first, args.second)]
    titles = [title(rows, path) for rows, path in zip(ledgers, vars(args).values(), strict=True)]
    first, second = map(by_key, ledgers)
    common.print_head("phase", "model", "metric", *titles, "difference")
    for key in first:
        if key in second:
            phase, model, metric, unit = key
            values = [float(rows[key]["value"]) for rows in (first, second)]
            cells = [f"{number(value, unit)} {unit}" for value in values]
            common.print_row(phase, model, metric, *cells, f"{values[1] - values[0]:+.3g}")


if __name__ == "__main__":
    main()
