"""What a cell puts on the page: figures with alternative text, tables, source code."""

from __future__ import annotations

import base64
import html
import inspect
import io
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Code, display
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image, ImageFile

from eon_utils.notebook.svg import svg_of

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

PSNR = 45.0  # dB: how near a stored picture is to what was drawn, at least
FIGURE_BYTES = 80_000  # of a figure with pictures, if it fits at one of these:
DENSITIES = (110, 100, 90, 80, 72)  # dots per inch; at the last one small text is still legible
POSTER_BYTES = 120_000  # of a widget's still picture, likewise
LIMITS = {"figure": FIGURE_BYTES, "poster": POSTER_BYTES}  # until `limit_pictures` sets another
CHART_DENSITY = 80
COARSENESS = range(4, 49)  # of a JPEG, in quarters
SUFFIXES = {"image/svg+xml": ".svg", "image/png": ".png", "image/jpeg": ".jpg"}

MimeBundle = tuple[dict[str, Any], dict[str, Any]]  # data by MIME type, and metadata


def limit_pictures(kilobytes: int) -> None:
    """Set how much each picture of this notebook may weigh, and so how large it is on the page.

    A notebook has 1.5 MB at most. One of few pictures has room for larger ones than the 80 kB of a
    figure and the 120 kB of a widget's still picture, which hold without this.

    Args:
        kilobytes: of a figure with pictures in it, or of a widget's still picture. Charts are as
            they are.
    """
    LIMITS.update(figure=1000 * kilobytes, poster=1000 * kilobytes)


def show(fig: Figure, alt: str, name: str = "", caption: str = "") -> None:
    """Display a figure and close it: a chart as SVG, one with pictures in it as PNG or JPEG.

    Args:
        fig: the figure.
        alt: what it shows, in words: for those who do not see it.
        name: of the screenshot that it becomes too; none without a name.
        caption: what to look at; the course's site writes it under the figure, in place of `alt`.
    """
    bundle: MimeBundle = ({}, {})
    if fig.findobj(AxesImage):
        still = still_picture(partial(_drawn, fig), DENSITIES, LIMITS["figure"])
    else:
        still = svg_of(fig, alt).encode()
        # JupyterLab shows no SVG in notebooks that it does not trust, such as a fresh clone's.
        chart = _drawn(fig, CHART_DENSITY).quantize(256, dither=Image.Dither.NONE)
        bundle = with_still(bundle, image_bytes(chart, "PNG", optimize=True), "", alt, "")
    plt.close(fig)
    data, metadata = with_still(bundle, still, f"Figure: {alt}", alt, name, caption)
    display(data, metadata=metadata, raw=True)


def _drawn(fig: Figure, density: int) -> Image.Image:
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=density)
    return Image.open(file).convert("RGB")


def still_picture(draw: Callable[[int], Image.Image], sizes: Sequence[int], most: int) -> bytes:
    """A picture as a file, as large as its bytes allow.

    Args:
        draw: makes the picture of a size.
        sizes: to try, the largest first; the last one is taken whatever its bytes.
        most: bytes.

    Returns:
        A PNG or a JPEG (see `true_colour`).
    """
    still = true_colour(draw(sizes[0]))
    tried = sizes[0]
    for size in sizes[1:]:
        if len(still) <= most:
            break
        # Bytes fall no faster than pixels: what would still be too large is not drawn.
        if len(still) * (size / tried) ** 2 <= most or size == sizes[-1]:
            still = true_colour(draw(size))
            tried = size
    return still


def true_colour(image: Image.Image) -> bytes:
    """A picture as a file: an exact PNG, or a JPEG within 45 dB where that is smaller."""
    image = image.convert("RGB")
    png = image_bytes(image, "PNG", optimize=True)
    # Of ever coarser ones the last that is near enough.
    found = bisect_right(COARSENESS, -PSNR, key=lambda step: -psnr_of(_jpeg(image, step), image))
    if found == 0:
        return png
    jpeg = _jpeg(image, COARSENESS[found - 1], optimize=True, progressive=True)
    return min(png, jpeg, key=len)


def _jpeg(image: Image.Image, coarseness: int, **options: bool) -> bytes:
    """A JPEG with colours at full resolution, its numbers in steps of `coarseness` / 4.

    One step for all frequencies loses least for its bytes, where the error counts and not the eye.
    """
    steps = [(coarseness + index % 4) // 4 for index in range(64)]
    # Pillow gives up where an optimised JPEG is larger than its buffer.
    ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 4 * image.width * image.height)
    return image_bytes(image, "JPEG", qtables=[steps, steps], subsampling=0, **options)


def psnr_of(stored: bytes, drawn: Image.Image) -> float:
    """How near a stored picture is to what was drawn: PSNR in dB, peak 255."""
    exact = np.asarray(drawn.convert("RGB"), dtype=np.float32)
    near = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"), dtype=np.float32)
    error = float(np.mean((exact - near) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


def image_bytes(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: ANN401
    """A picture as a file of this format; the options are those of `PIL.Image.Image.save`."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def with_still(
    bundle: MimeBundle,
    still: bytes,
    text: str,
    alt: str,
    name: str | None,
    caption: str = "",
) -> MimeBundle:
    """Add a still picture to what a notebook keeps of an output.

    Args:
        bundle: data by MIME type, and metadata.
        still: the picture, as SVG, PNG or JPEG.
        text: what stands for it where there are no pictures.
        alt: its alternative text.
        name: of the screenshot that it becomes too, if it has one.
        caption: what to look at.

    Returns:
        The same with the picture.
    """
    data, metadata = bundle
    kind = mime_of(still)
    written = still.decode() if kind == "image/svg+xml" else base64.b64encode(still).decode()
    data = data | {"text/plain": text, kind: written}
    metadata = metadata | {kind: {"alt": alt}}
    if name:
        metadata["screenshot"] = name
    if caption:
        metadata["caption"] = caption
    return data, metadata


def mime_of(still: bytes) -> str:
    """The MIME type of a picture: SVG, PNG or JPEG."""
    if still.startswith(b"<svg"):
        return "image/svg+xml"
    return "image/png" if still.startswith(b"\x89PNG") else "image/jpeg"


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
        data: further MIME types to put beside the two.
        head, rows, links, digits: as `table_data`.
    """
    display(table_data(head, rows, links, digits) | (data or {}), raw=True)


def table_data(
    head: Sequence[str], rows: Sequence[Sequence], links: Sequence[str] = (), digits: int = 1
) -> dict[str, Any]:
    """A table by MIME type: as HTML and as plain text.

    Args:
        head: titles of the columns.
        rows: text, whole numbers, other numbers, or None for an empty cell.
        links: an address for the first cell of each row.
        digits: decimals of numbers that are not whole.
    """
    cells = [_texts(row, digits) for row in rows]
    return {"text/plain": _as_text([head, *cells]), "text/html": _as_html(head, cells, links)}


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
