"""What a cell puts on the page: figures with alternative text, tables, source code."""

from __future__ import annotations

import base64
import html
import inspect
import io
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import Code, display
from matplotlib.figure import Figure
from PIL import Image

BUDGET = 150_000  # bytes a figure
# What gives way, in turn, until a figure fits: colours before pixels. (share of the size, number of colours)
SMALLER = ((1, 256), (1, 128), (1, 64), (0.85, 128), (0.85, 64), (0.7, 128), (0.7, 64), (0.5, 64), (0.35, 64))


def show(fig: Figure, alt: str, name: str = "") -> None:
    """Display a figure as a PNG of at most 150 kB with its alternative text; `name` makes it a screenshot too."""
    file = io.BytesIO()
    fig.savefig(file, dpi=fig.get_dpi())
    plt.close(fig)
    png, picture = file.getvalue(), Image.open(file).convert("RGB")
    for scale, colours in SMALLER:
        if len(png) <= BUDGET:
            break
        size = (round(picture.width * scale), round(picture.height * scale))
        fewer = picture.resize(size, Image.Resampling.LANCZOS).quantize(colours, dither=Image.Dither.NONE)
        small = io.BytesIO()
        fewer.save(small, "PNG", optimize=True)
        png = small.getvalue()
    metadata: dict[str, Any] = {"image/png": {"alt": alt}} | ({"screenshot": name} if name else {})
    data = {"image/png": base64.b64encode(png).decode(), "text/plain": f"Figure: {alt}"}
    display(data, metadata=metadata, raw=True)


def show_source(*things: Any) -> None:  # noqa: ANN401
    """The real, highlighted source of classes or functions, so that text and code cannot drift apart."""
    display(Code("\n\n".join(inspect.getsource(thing).rstrip() for thing in things), language="python"))


def _cell(value: str | float | None, digits: int) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence],
    data: dict | None = None,
    links: Sequence[str] = (),
    digits: int = 1,
) -> None:
    """Display a table as HTML and as plain text.

    rows: text, whole numbers, other numbers (shown with `digits` decimals), None (empty). data: further MIME
    types. links: an address a row.
    """
    rows = [[_cell(value, digits) for value in row] for row in rows]
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    cells = [[html.escape(cell) for cell in row] for row in rows]
    for row, link in zip(cells, links, strict=False):
        row[0] = f'<a href="{html.escape(link)}">{row[0]}</a>'
    titles = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in cells)
    markup = f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
    display({"text/plain": text, "text/html": markup} | (data or {}), raw=True)
