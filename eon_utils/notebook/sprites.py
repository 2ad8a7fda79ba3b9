"""What the widgets share: many pictures in one WebP that they move over, and the PNG that stands still."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

STATIC = Path(__file__).parent / "static"
CONTROLS, CSS = ((STATIC / name).read_text(encoding="utf-8") for name in ("controls.js", "widgets.css"))
BUDGET = 640_000  # bytes of an atlas; in base64, a third more, a saved widget stays below 1 MB
POSTER_BYTES = 150_000
MAX_PIXELS = 10_500_000  # of the decoded atlas: 42 MB in the browser, so that a dozen fit on one page
PAD = 2  # pixels around each picture of a film: WebP smooths across the border between two
GIVEN, PREDICTED = "#888888", "#7a4fd0"  # as in widgets.css; no model has these colours in a chart


def cell_of(wide: int, high: int, most: float) -> list[int]:
    """[width, height] at which pictures of `wide` x `high` pixels are stored, where `most` in width will do."""
    factor = min(1.0, most / wide)
    return [max(2, 2 * round(side * factor / 2)) for side in (wide, high)]  # even: WebP halves chroma


def pixels(tiles: Sequence[np.ndarray], cell: Sequence[int], pad: int = 0) -> int:
    """Pixels of an atlas of tiles, each uint8 (N, H, W, 3), with `pad` more around each picture."""
    return len(tiles) * len(tiles[0]) * (cell[0] + 2 * pad) * (cell[1] + 2 * pad)


def weigh(tiles: Sequence[np.ndarray], cell: Sequence[int], quality: int, pad: int = 0, period: int = 1) -> float:
    """Bytes a tile, from a sample of eight or so; period: after so many tiles the next step begins, or row."""
    stride = max(1, len(tiles) // 8)
    while math.gcd(stride, period) > 1:  # every frame has its chance
        stride += 1
    some = [side_by_side(tile, cell, pad) for tile in tiles[::stride]]
    return len(sheet(some, quality)[0]) / len(some)


def sheet(tiles: list[np.ndarray], quality: int) -> tuple[bytes, int]:
    """Tiles in rows, as near to a square as they come: browsers decode no side beyond 16,383 pixels."""
    high, wide = tiles[0].shape[:2]
    columns = max(1, min(len(tiles), round(math.sqrt(len(tiles) * high / wide))))
    sheet = np.zeros((-(-len(tiles) // columns) * high, columns * wide, 3), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * high, i % columns * wide
        sheet[y : y + high, x : x + wide] = tile
    return encoded(Image.fromarray(sheet), "WEBP", quality=quality, method=3), columns


def side_by_side(pictures: np.ndarray, size: Sequence[int], pad: int = 0) -> np.ndarray:
    """(N, H, W, 3) uint8 -> (height, N * width, 3) for `size` = (width, height), plus `pad` all around."""
    if pictures.shape[2:0:-1] != tuple(size):
        pictures = [Image.fromarray(p).resize(size, Image.Resampling.HAMMING) for p in pictures]
    around = ((pad, pad), (pad, pad), (0, 0))
    return np.concatenate([np.pad(np.asarray(picture), around, mode="edge") for picture in pictures], axis=1)


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 to `count` - 1, evenly spaced, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def film_page(
    rows: Sequence[tuple[str, str, Sequence[np.ndarray]]], chosen: Sequence[int], given: int, column: int
) -> Image.Image:
    """Film strips under one another, at most 920 pixels wide, and 900 high if that leaves them legible.

    rows: a name (it begins a group of rows), further lines of text, and pictures (H, W, 3), which end at the
    right. chosen: the frames in the columns, counted from 0; those below `given` are marked as given, the others
    as predicted; with `given` 0 there are no marks.
    """
    fonts, count = {True: font(13, True), False: font(12)}, len(chosen)
    texts = [[(name, True)] * bool(name) + [(line, False) for line in more.splitlines()] for name, more, _ in rows]
    empty = [count - len(pictures) for _, _, pictures in rows]  # columns, where the row's text has room
    widths = [fonts[b].getlength(line) - 60 * n for text, n in zip(texts, empty, strict=True) for line, b in text]
    left = 16 + math.ceil(max([fonts[False].getlength("frame"), *widths]))
    head = 50 if given else 26
    gaps = [10 if i and name else 0 for i, (name, _, _) in enumerate(rows)]
    high, wide = rows[0][2][0].shape[:2]
    legible = max(60, ((900 - head - sum(gaps)) // len(rows) - 4) * wide // high)
    column = max(32, min(column, (920 - left) // count - 4, legible))
    row = max(1, round(column * high / wide))
    talls = [max(row, 16 * len(text)) + 4 for text in texts]
    page = Image.new("RGB", (left + count * (column + 4), head + sum(talls) + sum(gaps)), "white")
    pen = ImageDraw.Draw(page)
    places = [left + i * (column + 4) for i in range(count)]
    pen.text((left - 10, head - 14), "frame", "#444", fonts[False], anchor="rm")
    for x, frame in zip(places, chosen, strict=True):
        number = f"+{frame - given + 1}" if 0 < given <= frame else f"{frame + 1}"
        pen.text((x + column // 2, head - 14), number, "#222", fonts[False], anchor="mm")
    before = sum(frame < given for frame in chosen)
    for what, colour, part in (("given", GIVEN, places[:before]), ("predicted", PREDICTED, places[before:])):
        if given and part:
            pen.text((part[0], 12), what, "#222", fonts[True], anchor="lm")
            pen.rectangle((part[0], head - 5, part[-1] + column - 1, head - 2), colour)
    y = head
    for (_, _, pictures), text, n, tall, gap in zip(rows, texts, empty, talls, gaps, strict=True):
        y += gap
        for i, (line, bold) in enumerate(text):
            middle = y + (tall - 4) / 2 + 16 * (i - (len(text) - 1) / 2)
            pen.text((places[n] - 10, middle), line, "#222" if bold else "#444", fonts[bold], anchor="rm")
        for x, picture in zip(places[n:], pictures, strict=True):
            page.paste(Image.fromarray(side_by_side(picture[None], (column, row))), (x, y))
        y += tall
    return page


def captions(given: int, count: int) -> list[str]:
    """What each of `given` + `count` frames is called."""
    if not given:
        return [f"frame {i} of {count}" for i in range(1, count + 1)]
    before = [f"frame {i} of {given}, given" for i in range(1, given + 1)]
    return before + [f"frame +{i}, predicted" for i in range(1, count + 1)]


def still(draw: Callable[[int], Image.Image], film: bool = False) -> bytes:
    """A palette PNG of <= 150 kB of what `draw` makes of the width of one picture: first colours give way.

    film: its many pictures share a palette, which is then made with more care, from every ninth pixel.
    """
    sizes = [(160, 128), (140, 128), (120, 96), (104, 64), (88, 32), (64, 16), (64, 8), (48, 8), (32, 8)]
    for column, colours in [(160, 256)] * film + sizes:
        page = draw(column)
        if film:
            some = page.resize((page.width // 3, page.height // 3), Image.Resampling.NEAREST)
            page = page.quantize(palette=some.quantize(colours, kmeans=1), dither=Image.Dither.NONE)
        data = encoded(page if film else page.quantize(colours), "PNG", optimize=True)
        if len(data) <= POSTER_BYTES:
            break
    return data


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{'-Bold' if bold else ''}.ttf"
    return ImageFont.truetype(str(file), size)


def with_poster(
    bundle: tuple[dict, dict], text: str, poster: bytes, alt: str, name: str | None
) -> tuple[dict, dict]:
    """A widget's MIME bundle with a still picture, a stable text, and the picture's name as a screenshot."""
    data, metadata = bundle
    data |= {"text/plain": text, "image/png": base64.b64encode(poster).decode()}
    metadata |= {"image/png": {"alt": alt}} | ({"screenshot": name} if name else {})
    return data, metadata
