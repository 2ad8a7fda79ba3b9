"""Pictures beside the notebooks: screenshots, small ones for a table, and one that moves."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from nbformat import NotebookNode
from PIL import Image, ImageDraw

from eon_utils.course.outputs import STATE, VIEW, images, outputs, read_notebook
from eon_utils.data.files import whole_file
from eon_utils.notebook.posters import font

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
PACE = 140  # milliseconds a moment
REST = 2500  # the same at the end
CELL = (152, 106)  # of one picture
GAP = 8
HEAD = 40  # height of the names
FOOT = 84  # height of accuracies and slider
GRAY = (125, 131, 140, 255)  # legible on a light page and on a dark one
BLUE = (56, 139, 253, 255)
QUALITY = 70


def save_screenshots(root: Path, notebooks: Iterable[Path]) -> None:
    """Write named outputs as screenshots/NAME.png, and the small ones; remove all other PNGs.

    Args:
        root: of the course.
        notebooks: that are committed.
    """
    folder = root / "screenshots"
    small = root / SMALL
    small.mkdir(parents=True, exist_ok=True)
    stale = {*folder.glob("*.png"), *small.glob("*.png")}
    for path in notebooks:
        for output in images(read_notebook(path)):
            if name := output.metadata.get("screenshot"):
                picture = folder / f"{name}.png"
                picture.write_bytes(b64decode(output.data["image/png"]))
                stale.discard(picture)
    for picture in stale:
        picture.unlink()
    for lesson, (name, box) in PARTS.items():
        picture = folder / f"{name}.png"
        if picture.exists():
            small_picture(picture, box).save(small / f"{lesson}.png", optimize=True)


def small_picture(picture: Path, box: tuple[float, float, float, float]) -> Image.Image:
    """A part of a picture, for a table; `box` is in shares of its width and height."""
    image = Image.open(picture).convert("RGB")
    left, top, right, bottom = box
    pixels = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    part = image.crop(tuple(round(edge) for edge in pixels))  # pyright: ignore
    width = 2 * SMALL_WIDTH
    part = part.resize((width, round(width * part.height / part.width)), Image.Resampling.LANCZOS)
    return part.quantize(128)


# --- the one that moves ---


class Saved(NamedTuple):
    """What a notebook that ran keeps of a scrubber."""

    spec: dict[str, Any]  # as `scrubber.encode` gives it
    atlas: Image.Image
    targets: Image.Image

    def picture(self, run: int, moment: int, index: int) -> Image.Image:
        """One picture, as one network returned it."""
        tile = self.spec["tiles"][run][moment]
        row, column = divmod(tile, self.spec["columns"])
        wide, tall = self.spec["cell"]
        left = (column * self.spec["pictures"] + index) * wide
        return self.atlas.crop((left, row * tall, left + wide, (row + 1) * tall))

    def target(self, index: int) -> Image.Image:
        """One picture, as it should become."""
        wide, tall = self.spec["cell"]
        return self.targets.crop((index * wide, 0, (index + 1) * wide, tall))


def read_scrubber(nb: NotebookNode, name: str) -> Saved | None:
    """The scrubber of this name that a notebook saved when it ran; None if it has none."""
    saved = nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    for output in outputs(nb):
        if output.get("metadata", {}).get("screenshot") == name and VIEW in output.data:
            model = saved[output.data[VIEW]["model_id"]]
            parts = {part["path"][0]: b64decode(part["data"]) for part in model["buffers"]}
            opened = [
                Image.open(BytesIO(parts[key])).convert("RGB") for key in ("atlas", "targets")
            ]
            return Saved(model["state"]["spec"], *opened)
    return None


def save_moving_picture(root: Path, executed: Path) -> None:
    """Write the README's moving picture, if this executed notebook holds its scrubber."""
    scrubber = read_scrubber(read_notebook(executed), MOVING)
    if scrubber is None:
        return
    count = len(scrubber.spec["steps"])
    moments = sorted({round(i * (count - 1) / (MOMENTS - 1)) for i in range(MOMENTS)})
    frames = [draw_moment(scrubber, moment) for moment in moments]
    durations = [PACE] * (len(frames) - 1) + [REST]
    with whole_file(root / "screenshots" / f"{MOVING}.webp") as partial:
        frames[0].save(
            partial,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=durations,
            loop=0,
            quality=QUALITY,
            method=6,
            minimize_size=True,
        )


def draw_moment(scrubber: Saved, moment: int) -> Image.Image:
    """A page with nothing behind it: a column a network, the targets, and where the slider is."""
    spec = scrubber.spec
    wide, tall = CELL
    columns = len(spec["names"]) + 1
    rows = spec["pictures"]
    width = columns * (wide + GAP) - GAP
    page = Image.new("RGBA", (width, HEAD + rows * (tall + GAP) + FOOT))
    pen = ImageDraw.Draw(page)
    below = HEAD + rows * (tall + GAP)
    for column in range(columns):
        left = column * (wide + GAP)
        is_target = column == columns - 1
        for row in range(rows):
            picture = scrubber.target(row) if is_target else scrubber.picture(column, moment, row)
            page.paste(picture.resize(CELL), (left, HEAD + row * (tall + GAP)))
        name = "target" if is_target else spec["names"][column]
        pen.text((left + wide / 2, HEAD / 2 - 2), name, GRAY, font(30, True), anchor="mm")
        if not is_target:
            percent = f"{spec['accuracy'][column][moment]:.1f} %"
            pen.text((left + wide / 2, below + 14), percent, GRAY, font(25), anchor="mm")
    draw_slider(pen, spec["steps"], moment, (width, below + 60))
    return page


def draw_slider(
    pen: ImageDraw.ImageDraw, steps: list[int], moment: int, at: tuple[int, int]
) -> None:
    """A slider with its knob and the step; `at` is how far it may reach, and its middle."""
    right, middle = at
    text = f"training step {steps[moment]:,}"
    room = font(28, True).getlength(f"training step {steps[-1]:,}")
    start, end = room + 28, right - 14
    knob = start + (end - start) * moment / (len(steps) - 1)
    pen.text((0, middle), text, GRAY, font(28, True), anchor="lm")
    pen.rounded_rectangle((start, middle - 3, end, middle + 3), 3, GRAY)
    pen.rounded_rectangle((start, middle - 3, knob, middle + 3), 3, BLUE)
    pen.ellipse((knob - 12, middle - 12, knob + 12, middle + 12), BLUE)
