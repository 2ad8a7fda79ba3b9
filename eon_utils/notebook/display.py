"""What a cell puts on the page: figures with alternative text, tables, source code."""

from __future__ import annotations

import base64
import html
import inspect
import io
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import Code, display
from matplotlib.figure import Figure
from PIL import Image

STYLE = {  # of all figures: set here, since the claims of a notebook load this before it draws
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 110,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
}
plt.style.use(STYLE)

PNG_BYTES = 150_000  # of a picture in a notebook, at most
# (share of the size, number of colours) that a figure is left with, in turn, until it fits.
# Colours give way before pixels.
SMALLER = [
    (1.0, 256),
    (1.0, 128),
    (1.0, 64),
    (0.85, 128),
    (0.85, 64),
    (0.7, 128),
    (0.7, 64),
    (0.5, 64),
    (0.35, 64),
]

MimeBundle = tuple[dict[str, Any], dict[str, Any]]  # data by MIME type, and metadata


def show(fig: Figure, alt: str, name: str = "") -> None:
    """Display a figure as a PNG of at most 150 kB, and close it.

    Args:
        fig: the figure.
        alt: what it shows, in words: for those who do not see it.
        name: of the screenshot that it becomes too; none without a name.
    """
    png = _png_of(fig)
    plt.close(fig)
    data, metadata = with_still(({}, {}), png, f"Figure: {alt}", alt, name)
    display(data, metadata=metadata, raw=True)


def _png_of(fig: Figure) -> bytes:
    file = io.BytesIO()
    fig.savefig(file, dpi=fig.get_dpi())
    png = file.getvalue()
    image = Image.open(file).convert("RGB")
    for scale, colours in SMALLER:
        if len(png) <= PNG_BYTES:
            break
        size = (round(image.width * scale), round(image.height * scale))
        smaller = image.resize(size, Image.Resampling.LANCZOS)
        smaller = smaller.quantize(colours, dither=Image.Dither.NONE)
        png = image_bytes(smaller, "PNG", optimize=True)
    return png


def image_bytes(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: ANN401
    """A picture as a file of this format; the options are those of `PIL.Image.Image.save`."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def with_still(bundle: MimeBundle, png: bytes, text: str, alt: str, name: str | None) -> MimeBundle:
    """Add a still picture to what a notebook keeps of an output.

    Args:
        bundle: data by MIME type, and metadata.
        png: the picture.
        text: what stands for it where there are no pictures.
        alt: its alternative text.
        name: of the screenshot that it becomes too, if it has one.

    Returns:
        The same with the picture.
    """
    data, metadata = bundle
    data = data | {"text/plain": text, "image/png": base64.b64encode(png).decode()}
    metadata = metadata | {"image/png": {"alt": alt}}
    if name:
        metadata["screenshot"] = name
    return data, metadata


def show_source(*things: Any) -> None:  # noqa: ANN401
    """Display the real source of classes or functions: text and code cannot drift apart."""
    sources = [inspect.getsource(thing).rstrip() for thing in things]
    display(Code("\n\n".join(sources), language="python"))


def table(
    head: Sequence[str],
    rows: Sequence[Sequence],
    data: dict | None = None,
    links: Sequence[str] = (),
    digits: int = 1,
) -> None:
    """Display a table as HTML and as plain text.

    Args:
        head: titles of the columns.
        rows: text, whole numbers, other numbers, or None for an empty cell.
        data: further MIME types to put beside the two.
        links: an address for the first cell of each row.
        digits: decimals of numbers that are not whole.
    """
    cells = [_texts(row, digits) for row in rows]
    bundle = {"text/plain": _as_text([head, *cells]), "text/html": _as_html(head, cells, links)}
    display(bundle | (data or {}), raw=True)


def _texts(row: Sequence[str | float | None], digits: int) -> list[str]:
    texts = []
    for value in row:
        if value is None or isinstance(value, str):
            texts.append(value or "")
        elif isinstance(value, int):
            texts.append(f"{value:,}")
        else:
            texts.append(f"{value:.{digits}f}")
    return texts


def _as_text(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for line in lines:
        cells = map(str.ljust, line, widths)
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def _as_html(head: Sequence[str], rows: Sequence[Sequence[str]], links: Sequence[str]) -> str:
    body = ""
    for index, row in enumerate(rows):
        cells = list(map(html.escape, row))
        if index < len(links):
            cells[0] = f'<a href="{html.escape(links[index])}">{cells[0]}</a>'
        body += _html_row("td", cells)
    titles = _html_row("th", map(html.escape, head))
    return f"<table><thead>{titles}</thead><tbody>{body}</tbody></table>"


def _html_row(tag: str, cells: Iterable[str]) -> str:
    inner = "".join(f"<{tag}>{cell}</{tag}>" for cell in cells)
    return f"<tr>{inner}</tr>"
