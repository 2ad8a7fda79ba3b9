"""Pictures beside the notebooks: screenshots, small ones for a table, and one that moves."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path

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
# Of which screenshot a lesson's small picture is a part, and which: left, top, right, bottom.
PARTS = {
    "00": ("00_scrubber", (0.174, 0.374, 0.494, 0.637)),
    "01": ("01_scrubber", (0.212, 0.558, 0.522, 0.868)),
    "02": ("02_scrubber", (0.210, 0.301, 0.518, 0.470)),
    "03": ("03_data", (0.306, 0.691, 0.822, 0.981)),
    "04": ("04_films", (0.438, 0.037, 0.714, 0.151)),
    "05": ("05_motion", (0.115, 0.085, 0.639, 0.452)),
    "06": ("06_events", (0.115, 0.70, 0.50, 0.98)),
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
    for lesson, (name, box) in PARTS.items():
        if name in saved:
            part = small_picture(saved[name], box)
            (small / f"{lesson}{SUFFIXES[mime_of(part)]}").write_bytes(part)


def stills(folder: Path) -> dict[str, Path]:
    """The still pictures in a folder, by their names without suffix."""
    return {path.stem: path for path in folder.glob("*.*") if path.suffix in SUFFIXES.values()}


def small_picture(picture: Path, box: tuple[float, float, float, float]) -> bytes:
    """A part of a picture as a file, for a table; `box` is in shares of its width and height."""
    image = Image.open(picture).convert("RGB")
    left, top, right, bottom = box
    pixels = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    part = image.crop(tuple(round(edge) for edge in pixels))  # pyright: ignore
    width = 2 * SMALL_WIDTH
    part = part.resize((width, round(width * part.height / part.width)), Image.Resampling.LANCZOS)
    return true_colour(part)


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
