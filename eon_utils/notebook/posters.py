"""The still pictures of the widgets: what stands for them on paper, and where nothing moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eon_utils.notebook.display import LIMITS, still_picture
from eon_utils.notebook.histories import (
    context_frames,
    is_film,
    last_snapshot,
    targets,
    value_at,
    value_text,
)
from eon_utils.notebook.sprites import evenly, resized

if TYPE_CHECKING:
    from eon_utils.training.history import History

GIVEN = "#888888"  # these two as in widgets.css; no model has these colours in a chart
PREDICTED = "#7a4fd0"
DARK = "#222"
GRAY = "#444"

# Of a picture on a poster, in pixels; the largest that fits is taken.
WIDTHS = (160, 140, 120, 104, 88, 72, 64, 56, 48, 40, 32)

# Of posters of photographs, in pixels.
PHOTO_PAGE = 1020  # width
PHOTO_ROWS = 4  # of one model, at most
PHOTO_TOP = 34  # height of the titles
PHOTO_LINE = 14  # height of a line of the text under the pictures
PHOTO_FOOT = 12  # and of the room below it
PHOTO_GAP = 6
PHOTO_LEAST = 72  # width of a picture, at least
WIDE_COLUMN = 110  # from here on text may be larger

# Of film strips, in pixels.
FILM_PAGE = 920  # width
FILM_HEIGHT = 900  # if it leaves the pictures legible
FILM_GAP = 4
FILM_LEAST = 32  # width of a picture, at least
LEGIBLE = 60
LINE = 16
GROUP_GAP = 10  # before a row with a name


def poster(
    named: dict[str, History],
    metric: str = "loss",
    axis: str = "step",
    values: bool = True,
    titles: Sequence[str] = (),
) -> bytes:
    """The still picture of a scrubber.

    Args:
        named: the histories, name -> history.
        metric: what the loss is called.
        axis: what the slider moves over.
        values: False leaves the values out, where the reader is to guess them.
        titles: one a picture; they name the rows of photographs, where there is one model.

    Returns:
        A PNG or a JPEG: five steps, log-spaced, and the target; of films three steps under their
        target.
    """
    metric = metric if values else ""
    if is_film(next(iter(named.values()))):
        return still_page(lambda width: _films_page(named, metric, axis, width))
    return still_page(lambda width: _photos_page(named, metric, axis, titles, width))


def still_page(draw: Callable[[int], Image.Image]) -> bytes:
    """A page as PNG or JPEG, with pictures as large as its bytes allow.

    Args:
        draw: makes a page of the width of one picture on it.
    """
    return still_picture(draw, WIDTHS, LIMITS["poster"])


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(file), size)


def unit(axis: str) -> str:
    """What the slider's positions are numbers of, such as "step"."""
    return axis.removeprefix("training ")


# --- photographs: a column a step ---


@dataclass
class _Column:
    """What one run shows at one step, or its target."""

    title: str
    pictures: np.ndarray  # uint8 (N, H, W, 3)
    lines: Sequence[str]  # under the pictures


def _photos_page(
    named: dict[str, History], metric: str, axis: str, titles: Sequence[str], width: int
) -> Image.Image:
    """Without a metric it says no values."""
    runs = list(named.values())
    steps = _spread_steps(runs)
    grid = _PhotoGrid(named, unit(axis), titles, len(steps) + 1, width)
    for index, run in enumerate(runs):
        for place, step in enumerate(steps):
            column = _column_at(run, step)
            grid.draw(index, place, column if metric else replace(column, lines=()))
        lines = [metric, "accuracy"] if metric and run.accuracy else [metric]
        grid.draw(index, len(steps), _Column("target", targets(run), lines))
    return grid.page


def _spread_steps(runs: Sequence[History]) -> list[int]:
    """At most five steps of the longest run, from its first to its last, log-spaced."""
    longest = max(runs, key=lambda run: run.snapshot_steps[-1])
    first = longest.snapshot_steps[0]
    last = longest.snapshot_steps[-1]
    marks = [first, *(round(last**power) for power in (0.3, 0.55, 0.78, 1))]
    shown = {last_snapshot(longest, mark) for mark in marks}
    return [longest.snapshot_steps[index] for index in sorted(shown)]


def _column_at(run: History, step: int) -> _Column:
    lines = [value_text(value_at(run.loss, step))]
    if run.accuracy:
        accuracy = value_at(run.accuracy, step) or 0
        lines.append(f"{100 * accuracy:.1f} %")
    return _Column(f"{step:,}", run.snapshots[last_snapshot(run, step)], lines)


class _PhotoGrid:
    """A page for photographs: a block of rows a model, a column a step.

    At the left stand what the steps are numbers of, and the models' names; of one model the titles
    of its pictures.
    """

    def __init__(
        self,
        named: dict[str, History],
        unit: str,
        titles: Sequence[str],
        columns: int,
        width: int,
    ) -> None:
        runs = list(named.values())
        count, tall, wide = targets(runs[0]).shape[:3]
        several = len(runs) > 1
        self.rows = min(count, max(1, 3 // len(runs)) if several else PHOTO_ROWS)
        names = list(named) if several else titles[: self.rows]
        letters = font(15, True) if several else font(13)
        widths = [font(13).getlength(unit), *map(letters.getlength, names)]
        self.left = 20 + math.ceil(max(widths))
        room = (PHOTO_PAGE - self.left) // columns - PHOTO_GAP
        width = max(PHOTO_LEAST, min(width, room))
        self.cell = (width, max(1, round(width * tall / wide)))
        lines = 2 if any(run.accuracy for run in runs) else 1
        self.text = lines * PHOTO_LINE + PHOTO_FOOT
        self.block = self.rows * (self.cell[1] + PHOTO_GAP) + self.text
        right = self.left + columns * (width + PHOTO_GAP) + 2
        self.page = Image.new("RGB", (right, PHOTO_TOP + len(runs) * self.block), "white")
        self.pen = ImageDraw.Draw(self.page)
        self.pen.text((self.left - 12, 18), unit, GRAY, font(13), anchor="rm")
        high = self.block if several else self.cell[1] + PHOTO_GAP  # of what has a name
        pictures = high - (self.text if several else 0) - PHOTO_GAP
        for index, name in enumerate(names):
            middle = PHOTO_TOP + index * high + pictures // 2
            self.pen.text((self.left - 12, middle), name, DARK, letters, anchor="rm")

    def draw(self, model: int, place: int, column: _Column) -> None:
        width, height = self.cell
        top = PHOTO_TOP + model * self.block
        left = self.left + place * (width + PHOTO_GAP)
        for index, picture in enumerate(column.pictures[: self.rows]):
            image = Image.fromarray(resized(picture, self.cell))
            self.page.paste(image, (left, top + index * (height + PHOTO_GAP)))
        middle = left + width // 2
        roomy = width > WIDE_COLUMN
        if model == 0:
            title_font = font(15 if roomy else 12, True)
            self.pen.text((middle, 18), column.title, DARK, title_font, anchor="mm")
        text_font = font(12 if roomy else 10)
        below = top + self.block - self.text + PHOTO_LINE // 2 - 2
        for line, text in enumerate(column.lines):
            self.pen.text((middle, below + line * PHOTO_LINE), text, GRAY, text_font, anchor="mm")


# --- films: a column a frame ---


def frame_captions(given: int, count: int) -> list[str]:
    """What each of `given` + `count` frames is called.

    Examples:
        >>> frame_captions(1, 2)
        ['frame 1 of 1, given', 'frame +1, predicted', 'frame +2, predicted']
    """
    numbers = range(1, count + 1)
    if not given:
        return [f"frame {i} of {count}" for i in numbers]
    before = [f"frame {i + 1} of {given}, given" for i in range(given)]
    return before + [f"frame +{i}, predicted" for i in numbers]


@dataclass
class FilmRow:
    """A row of a film strip.

    Attributes:
        name: of a group of rows, which begins here.
        pictures: uint8 (H, W, 3) each; they end at the right.
        lines: further lines of text.
        apart: whether a group begins here that has no name.
    """

    name: str
    pictures: Sequence[np.ndarray]
    lines: Sequence[str] = ()
    apart: bool = False
    texts: list[tuple[str, bool]] = field(init=False)  # lines, and whether they are bold

    def __post_init__(self) -> None:
        self.texts = [(self.name, True)] if self.name else []
        self.texts += [(line, False) for line in self.lines]


def _films_page(named: dict[str, History], metric: str, axis: str, width: int) -> Image.Image:
    runs = list(named.values())
    target = targets(runs[0])  # (N, K, H, W, 3)
    context = context_frames(runs)
    given = len(context)
    before = range(max(0, given - 2), given)
    ahead = evenly(target.shape[1], 6)
    clips = 1 if len(runs) > 1 else min(len(target), 2)
    rows = []
    for clip in range(clips):
        known = [context[i][clip] for i in before]
        rows.append(FilmRow("target", [*known, *target[clip, ahead]]))
        for name, run in named.items():
            for place, index in enumerate(_film_snapshots(run, runs)):
                step = run.snapshot_steps[index]
                loss = value_text(value_at(run.loss, step))
                lines = [f"{unit(axis)} {step:,}"]
                if metric:
                    lines.append(f"{metric} {loss}")
                frames = list(run.snapshots[index][clip, ahead])
                rows.append(FilmRow("" if place else name, frames, lines))
    return film_strips(rows, [*before, *(given + i for i in ahead)], given, width)


def _film_snapshots(run: History, runs: Sequence[History]) -> list[int]:
    """Which snapshots a film strip shows: three, log-spaced, of more than three models the last."""
    last = max(run.snapshot_steps[-1] for run in runs)
    marks = [last]
    if len(runs) <= 3:
        marks = [round(last ** (1 / 3)), round(last ** (2 / 3)), last]
    return sorted({last_snapshot(run, mark) for mark in marks})


def film_strips(
    rows: Sequence[FilmRow], frames: Sequence[int], given: int, width: int
) -> Image.Image:
    """Film strips under one another.

    Args:
        rows: top down.
        frames: those in the columns, counted from 0.
        given: so many frames at the start are marked as given, the others as predicted. With 0
            there are no marks.
        width: of one picture, at most, in pixels.

    Returns:
        A page at most 920 pixels wide, and 900 high if that leaves the pictures legible.
    """
    page = _FilmPage(rows, frames, given, width)
    page.draw_head()
    for row in rows:
        page.draw_row(row)
    return page.page


class _FilmPage:
    """A page for film strips, drawn from its top to its bottom."""

    def __init__(
        self, rows: Sequence[FilmRow], frames: Sequence[int], given: int, width: int
    ) -> None:
        self.rows = rows
        self.frames = frames
        self.given = given
        self.head = 50 if given else 26
        self.left = self._text_width()
        self.cell = self._cell(width)
        column = self.cell[0] + FILM_GAP
        self.places = [self.left + i * column for i in range(len(frames))]
        self.y = self.head
        right = self.left + len(frames) * column
        bottom = self.head + sum(map(self._height, rows)) + sum(map(self._gap, rows))
        self.page = Image.new("RGB", (right, bottom), "white")
        self.pen = ImageDraw.Draw(self.page)

    def _text_width(self) -> int:
        """Of the text at the left, which may reach into columns that a row leaves empty."""
        widths = [font(12).getlength("frame")]
        for row in self.rows:
            room = LEGIBLE * self._empty(row)
            widths += [_film_font(bold).getlength(line) - room for line, bold in row.texts]
        return 16 + math.ceil(max(widths))

    def _empty(self, row: FilmRow) -> int:
        return len(self.frames) - len(row.pictures)

    def _gap(self, row: FilmRow) -> int:
        begins = bool(row.name) or row.apart
        return GROUP_GAP if begins and row is not self.rows[0] else 0

    def _cell(self, width: int) -> tuple[int, int]:
        """Width and height of a picture."""
        tall, wide = self.rows[0].pictures[0].shape[:2]
        room = (FILM_PAGE - self.left) // len(self.frames) - FILM_GAP
        high = FILM_HEIGHT - self.head - sum(map(self._gap, self.rows))
        row = high // len(self.rows) - FILM_GAP
        legible = max(LEGIBLE, row * wide // tall)
        width = max(FILM_LEAST, min(width, room, legible))
        return width, max(1, round(width * tall / wide))

    def _height(self, row: FilmRow) -> int:
        return max(self.cell[1], LINE * len(row.texts)) + FILM_GAP

    def draw_head(self) -> None:
        """Numbers of the frames, and over them bars that say which were given."""
        middle = self.head - 14
        self.pen.text((self.left - 10, middle), "frame", GRAY, font(12), anchor="rm")
        for x, frame in zip(self.places, self.frames, strict=True):
            number = f"{frame + 1}"
            if 0 < self.given <= frame:
                number = f"+{frame - self.given + 1}"
            centre = x + self.cell[0] // 2
            self.pen.text((centre, middle), number, DARK, font(12), anchor="mm")
        if self.given:
            split = sum(frame < self.given for frame in self.frames)
            self._draw_bar("given", GIVEN, self.places[:split])
            self._draw_bar("predicted", PREDICTED, self.places[split:])

    def _draw_bar(self, text: str, colour: str, places: Sequence[int]) -> None:
        if places:
            left = places[0]
            right = places[-1] + self.cell[0] - 1
            self.pen.text((left, 12), text, DARK, font(13, True), anchor="lm")
            self.pen.rectangle((left, self.head - 5, right, self.head - 2), colour)

    def draw_row(self, row: FilmRow) -> None:
        """Text at the left, pictures at the right, under what is drawn already."""
        self.y += self._gap(row)
        height = self._height(row)
        empty = self._empty(row)
        centre = self.y + (height - FILM_GAP) / 2
        for index, (line, bold) in enumerate(row.texts):
            middle = centre + LINE * (index - (len(row.texts) - 1) / 2)
            colour = DARK if bold else GRAY
            right = self.places[empty] - 10
            self.pen.text((right, middle), line, colour, _film_font(bold), anchor="rm")
        for x, picture in zip(self.places[empty:], row.pictures, strict=True):
            self.page.paste(Image.fromarray(resized(picture, self.cell)), (x, self.y))
        self.y += height


def _film_font(bold: bool) -> ImageFont.FreeTypeFont:
    return font(13, True) if bold else font(12)
