"""Pictures beside the notebooks: screenshots, small ones for a table, and one that moves."""

from __future__ import annotations

import warnings
from base64 import b64decode
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from nbformat import NotebookNode
from PIL import Image

from eon_utils.course.outputs import (
    STATE,
    VIEW,
    images,
    kind_of,
    outputs,
    picture_of,
    read_notebook,
)
from eon_utils.notebook.display import SUFFIXES, mime_of, true_colour
from eon_utils.notebook.export import export
from eon_utils.notebook.scrubber import Scrubber

SMALL = "screenshots/small"
SMALL_WIDTH = 96  # on the page; the file has twice as many pixels
GAP = 4  # pixels between two pictures in it
LIGHTEST = 240  # of 255: what is lighter is paper
LEAST = 24  # pixels of a picture's sides; letters and the marks of a scale are smaller

Span = tuple[int, int]  # from and to, in pixels
Place = tuple[int, int]  # row and column of a picture in a screenshot, counted from 0

# Of which screenshot a lesson's small picture shows parts, and which.
PARTS: dict[str, tuple[str, list[Place]]] = {
    "00": ("00_scrubber", [(1, 1), (1, 4)]),
    "01": ("01_scrubber", [(1, 1), (1, 3)]),
    "02": ("02_scrubber", [(1, 1), (1, 3)]),
    "03": ("03_data", [(2, 1), (2, 2), (2, 3)]),
    "04": ("04_films", [(0, 0), (1, 0), (3, 0)]),
    "05": ("05_motion", [(0, 0), (1, 0), (1, 1)]),
    "06": ("06_events", [(0, 5), (1, 5), (2, 5)]),
}

MOVING = "02_scrubber"  # the scrubber that moves at the top of the README
MOMENTS = 30  # of the training, at most


def save_screenshots(root: Path, notebooks: Iterable[Path]) -> None:
    """Write named outputs as screenshots/NAME, and the small ones; remove all other stills.

    The suffix of a name is that of the picture's kind: .svg, .png or .jpg.

    Args:
        root: of the course.
        notebooks: that are committed.
    """
    folder = root / "screenshots"
    small = root / SMALL
    small.mkdir(parents=True, exist_ok=True)
    stale = {*stills(folder).values(), *stills(small).values()}
    for path in notebooks:
        for output in images(read_notebook(path)):
            if name := output.metadata.get("screenshot"):
                picture = folder / f"{name}{SUFFIXES[kind_of(output)]}"
                picture.write_bytes(picture_of(output))
                stale.discard(picture)
    for picture in stale:
        picture.unlink()
    saved = stills(folder)
    for lesson, (name, places) in PARTS.items():
        if name in saved:
            try:
                part = small_picture(saved[name], places)
            except ValueError as error:  # the old one stays
                warnings.warn(str(error), stacklevel=2)
                continue
            for old in small.glob(f"{lesson}.*"):
                old.unlink()
            (small / f"{lesson}{SUFFIXES[mime_of(part)]}").write_bytes(part)


def stills(folder: Path) -> dict[str, Path]:
    """The still pictures in a folder, by their names without suffix."""
    return {path.stem: path for path in folder.glob("*.*") if path.suffix in SUFFIXES.values()}


def small_picture(screenshot: Path, places: Sequence[Place]) -> bytes:
    """Pictures of a screenshot side by side as a file, for a table.

    Args:
        screenshot: pictures in a grid, on white.
        places: of the pictures to take.

    Raises:
        ValueError: where there is no picture in one of the places.
    """
    image = Image.open(screenshot).convert("RGB")
    rows, columns = find_grid(image)
    if any(row >= len(rows) or column >= len(columns) for row, column in places):
        found = f"{len(rows)} rows of {len(columns)} pictures were found in {screenshot}"
        raise ValueError(f"{found}, not all of {list(places)}; correct PARTS in pictures.py")
    cells = []
    for row, column in places:
        (top, bottom), (left, right) = rows[row], columns[column]
        cells.append(image.crop((left, top, right, bottom)))
    wide = (2 * SMALL_WIDTH - GAP * (len(cells) - 1)) // len(cells)
    high = round(wide * cells[0].height / cells[0].width)
    page = Image.new("RGB", (2 * SMALL_WIDTH, high), "white")
    for index, cell in enumerate(cells):
        cell = cell.resize((wide, high), Image.Resampling.LANCZOS)
        page.paste(cell, (index * (wide + GAP), 0))
    return true_colour(page)


def find_grid(image: Image.Image) -> tuple[list[Span], list[Span]]:
    """Where the rows and the columns of pictures on white lie, in pixels, each from and to."""
    import cv2

    dark = np.asarray(image).min(2) < LIGHTEST
    _, _, boxes, _ = cv2.connectedComponentsWithStats(np.uint8(dark))  # pyright: ignore
    pictures = [box for box in boxes[1:].tolist() if min(box[2], box[3]) >= LEAST]
    rows = merged((top, top + high) for _, top, _, high, _ in pictures)
    return rows, merged((left, left + wide) for left, _, wide, _, _ in pictures)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans that overlap, as one each, in order.

    Examples:
        >>> merged([(5, 9), (0, 3), (2, 4)])
        [(0, 4), (5, 9)]
    """
    joined: list[Span] = []
    for low, high in sorted(spans):
        if joined and low < joined[-1][1]:
            joined[-1] = joined[-1][0], max(high, joined[-1][1])
        else:
            joined.append((low, high))
    return joined


# --- the one that moves ---


def read_scrubber(nb: NotebookNode, name: str) -> Scrubber | None:
    """The scrubber of this name that a notebook saved when it ran; None if it has none."""
    saved = nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    for output in outputs(nb):
        if output.get("metadata", {}).get("screenshot") == name and VIEW in output.data:
            model = saved[output.data[VIEW]["model_id"]]
            parts = {part["path"][0]: b64decode(part["data"]) for part in model["buffers"]}
            return Scrubber(spec=model["state"]["spec"], **parts)
    return None


def save_moving_picture(root: Path, executed: Path) -> None:
    """Write the README's moving picture, if this executed notebook holds its scrubber."""
    scrubber = read_scrubber(read_notebook(executed), MOVING)
    if scrubber is None:
        return
    scrubber.spec = scrubber.spec | {"titles": []}  # the page is narrow
    picture = root / "screenshots" / f"{MOVING}.webp"
    export(scrubber, picture, most=MOMENTS, transparent=True)
