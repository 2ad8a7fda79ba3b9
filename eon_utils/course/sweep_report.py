"""What a sweep leaves: a table of all runs, figures, and a page with both."""

from __future__ import annotations

import base64
import html
import json
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from matplotlib import pyplot as plt
from nbformat import NotebookNode
from nbformat.v4 import new_notebook

from eon_utils.course import runner
from eon_utils.course.grid import ASKED, Job, in_words
from eon_utils.course.outputs import checked_claims, ledger_rows
from eon_utils.data.files import whole_file
from eon_utils.notebook.sweeps import (
    BETWEEN,
    CLAIM,
    RUN,
    STATUS,
    Row,
    is_value,
    parameter_titles,
    read_sweep,
    shown,
    sweep_figure,
    value_titles,
)

if TYPE_CHECKING:  # an extra of its own
    from pandas import DataFrame

TABLE = "sweep.csv"
PAGE = "index.html"
FIGURES = "figures"
EVERYTHING = "all values"
NOT_RUN = "not run"
TEMPLATE = Path(__file__).with_name("static") / "sweep.html"


# --- after the runs ---


def report(out: Path, notebook: Path, jobs: Sequence[Job], errors: Mapping[str, str]) -> int:
    """Write table, figure and page of a sweep; print which runs failed, and why.

    Args:
        out: the sweep's folder.
        notebook: the path of what it ran.
        jobs: all its runs.
        errors: why a run failed, by its folder's name, where its notebook does not tell.

    Returns:
        How many runs did not run through.
    """
    rows = [row_of(job, out / job.folder / notebook.name, errors) for job in jobs]
    write_table(out, rows)
    table = read_sweep(out / TABLE)
    over = parameter_over(table)
    if over and any(row[title] is not None for row in table for title in value_titles(table)):
        draw(out, value_titles(table), over, EVERYTHING)
    build_page(out)
    failed = [row for row in rows if row[STATUS] != "ok"]
    print(f"\n{len(rows) - len(failed)} of {len(rows)} runs ok")
    for row in failed:
        print(f"  {row[STATUS]}: {out / row[RUN]}: {row['error']}".rstrip(": "))
    print(f"\nTable: {out / TABLE}, and as {Path(TABLE).with_suffix('.parquet')} beside it")
    print(f"Read it: {out / PAGE}")
    return len(failed)


def row_of(job: Job, path: Path, errors: Mapping[str, str]) -> Row:
    """A run as a row of the table.

    Args:
        job: the run.
        path: of its executed notebook.
        errors: why a run failed, by its folder's name.
    """
    nb = _executed(path)
    told = nb.metadata.eon
    error = errors.get(job.folder, "")
    if told.error:
        error = runner.first_line(told.error["message"]) + told.error["where"]
    status = "failed" if error and told.status != "failed" else told.status
    row = {RUN: job.folder, **job.settings, STATUS: status, "seconds": told.seconds, "error": error}
    for measured in ledger_rows(nb):
        unit = f" [{measured['unit']}]" if measured["unit"] else ""
        row[f"{measured['model']}{BETWEEN}{measured['metric']}{unit}"] = measured["value"]
    for text, holds in checked_claims(nb).items():
        row[f"{CLAIM}{text}"] = holds
    return row


def _executed(path: Path) -> NotebookNode:
    """A run's notebook; an empty one where it did not end."""
    try:
        nb = nbformat.read(path, as_version=4)
    except (OSError, ValueError):
        nb = new_notebook()
    not_run = NotebookNode(status=NOT_RUN, seconds=None, error=None)
    nb.metadata.setdefault("eon", not_run)
    if "status" not in nb.metadata.eon:  # it was stopped: this is the committed notebook's note
        nb.metadata.eon = not_run
    return nb


def _titles(rows: Sequence[Row]) -> list[str]:
    """The columns of a table: the run, values, claims, and last what went wrong."""
    every = list(dict.fromkeys(title for row in rows for title in row))
    values = [title for title in every if is_value(title)]
    claims = [title for title in every if title.startswith(CLAIM)]
    first = [title for title in every if title not in {*values, *claims, "error"}]
    return [*first, *values, *claims, "error"]


def write_table(out: Path, rows: Sequence[Row]) -> None:
    """Write the rows as `sweep.csv` and `sweep.parquet`."""
    from pandas import DataFrame

    plain: dict[str, list[Any]] = {}
    for title in _titles(rows):
        plain[title] = _plain([row.get(title) for row in rows])
    table = DataFrame(plain).convert_dtypes()
    with whole_file(out / TABLE) as partial:
        table.to_csv(partial, index=False)
    with whole_file(out / TABLE.replace(".csv", ".parquet")) as partial:
        table.to_parquet(partial, index=False)


def _plain(column: list[Any]) -> list[Any]:
    """A column of one type: what is mixed, and lists, become text."""
    kinds = {type(cell) for cell in column if cell is not None}
    if kinds <= {int, float} or kinds in ({bool}, {str}):
        return column
    return [None if cell is None else json.dumps(cell) for cell in column]


# --- figures ---


def parameter_over(table: Sequence[Row]) -> str:
    """The parameter to draw over: the first with several values, the seed last; "" without one."""
    several = []
    for name in parameter_titles(table):
        if len({str(row[name]) for row in table}) > 1:
            several.append(name)
    several.sort(key=lambda name: name == "seed")
    return several[0] if several else ""


def plot(out: Path, values: Sequence[str], over: str = "") -> Path:
    """Draw measured values of a finished sweep over a parameter, and put them on its page.

    Args:
        out: the sweep's folder.
        values: names of measured values, such as "V4 / silenced code"; without any, all.
        over: the parameter; default: as `parameter_over`.

    Returns:
        The path of the figure.

    Raises:
        ValueError: for a name that the sweep has not, or a folder without its table.
    """
    if not (out / TABLE).is_file() or not (out / ASKED).is_file():
        raise ValueError(f"{out} has no {TABLE}; name the folder of a sweep that has ended")
    table = read_sweep(out / TABLE)
    over = over or parameter_over(table) or "seed"
    path = draw(out, values or value_titles(table), over, ", ".join(values) or EVERYTHING)
    build_page(out)
    return path


def draw(out: Path, values: Sequence[str], over: str, title: str) -> Path:
    """Draw values over a parameter into a PNG that is named after the title."""
    fig = sweep_figure(read_sweep(out / TABLE), values, over)
    name = re.sub(r"[^\w ,.%-]+", "-", f"{title.replace(BETWEEN, ' ')} over {over}")
    path = out / FIGURES / f"{name}.png"
    with whole_file(path) as partial:
        fig.savefig(partial, format="png")
    plt.close(fig)
    return path


# --- the page ---


def build_page(out: Path) -> None:
    """Write `index.html`: figures and tables of a sweep in one file that needs no other."""
    from pandas import DataFrame

    rows = read_sweep(out / TABLE)
    noted = json.loads((out / ASKED).read_text(encoding="utf-8"))
    title = f"Sweep of {Path(noted['notebook']).stem}"
    axes = [f"<code>{html.escape(text)}</code>" for text in in_words(noted["axes"])]
    ok = sum(row[STATUS] == "ok" for row in rows)
    summary = f"{ok} of {len(rows)} runs are ok. {'; '.join(axes)}"
    parts = [_figure_html(path) for path in sorted((out / FIGURES).glob("*.png"))]
    claims = [name for name in rows[0] if name.startswith(CLAIM)]
    if claims:
        parts.append("<h2>In how many runs a claim is true</h2>")
        parts.append(_scrolling(_claims_table(rows, claims), "claims"))
    runs = DataFrame(rows).drop(columns=claims).dropna(axis="columns", how="all")
    parts += ["<h2>All runs</h2>", _scrolling(runs, "runs")]
    page = string.Template(TEMPLATE.read_text(encoding="utf-8"))
    text = page.substitute(title=html.escape(title), summary=summary, body="\n".join(parts))
    with whole_file(out / PAGE) as partial:
        partial.write_text(text, encoding="utf-8")


def _figure_html(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    name = html.escape(path.stem)
    picture = f'<img alt="{name}, mean and spread over seeds" src="data:image/png;base64,{data}">'
    return f"<figure><figcaption>{name}</figcaption>{picture}</figure>"


def _claims_table(rows: Sequence[Row], claims: Sequence[str]) -> DataFrame:
    """A line for each claim, a column for each value of the parameter that is drawn over."""
    from pandas import DataFrame

    over = parameter_over(rows)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(f"{over} = {shown(row[over])}" if over else "runs", []).append(row)
    lines = []
    for claim in claims:
        line = {"claim": claim.removeprefix(CLAIM)}
        for name, group in groups.items():
            checked = [row[claim] for row in group if row[claim] is not None]
            line[name] = f"{sum(checked)} of {len(checked)}" if checked else ""
        lines.append(line)
    return DataFrame(lines)


def _scrolling(table: DataFrame, name: str) -> str:
    """A table that scrolls inside the page, by keys too."""
    text = table.to_html(
        index=False, border=0, na_rep="", float_format=lambda value: f"{value:.4g}"
    )
    return f'<div class="wide {name}" role="region" aria-label="{name}" tabindex="0">{text}</div>'
