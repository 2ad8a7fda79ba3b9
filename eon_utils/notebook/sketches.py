"""Sketches of a mechanism: strips of lettered boxes, with arrows from box to box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.patches import FancyArrowPatch, Rectangle

# In inches.
BOX = 0.34
COLUMN = 0.46
ROW = 0.66
LETTER = 0.075  # of a name or a note
EDGE = 0.12
HEAD = 0.3  # height of the titles

INK = "#333"
BORDER = "#8a939c"
PLAIN = "#eef1f4"
MOVING = "#a6dcc6"
NEW = "#fbc58f"

Place = tuple[int, int]  # strip and box, counted from 0
Point = tuple[float, float]


def strips(
    rows: Sequence[tuple[str, str, str]],
    arrows: Sequence[tuple[Place, Place]] = (),
    titles: Sequence[str] = (),
    moving: str = "",
    new: str = "",
) -> Figure:
    """Draw strips of boxes under one another.

    Args:
        rows: name at the left, a letter a box (a space leaves a gap), note at the right.
        arrows: from box to box; inside a strip they are bent over it.
        titles: one a column.
        moving: the letters of what moves, whose boxes are green.
        new: those of what is new or asked for, whose boxes are orange.

    Examples:
        >>> fig = strips([("before", "ab ", ""), ("after", "aab", "moved")], [((0, 1), (1, 2))])
        >>> [text.get_text() for text in fig.axes[0].texts]
        ['before', '', 'a', 'b', 'after', 'moved', 'a', 'a', 'b']
        >>> plt.close(fig)
    """
    names, boxes, notes = zip(*rows, strict=True)
    columns = max(map(len, boxes))
    left = 2 * EDGE + LETTER * max(map(len, names))
    right = left + COLUMN * columns
    top = HEAD if titles else 0.0
    size = (right + 2 * EDGE + LETTER * max(map(len, notes)), top + ROW * len(rows))
    # An engine that does nothing, because Matplotlib replaces a missing one when it saves.
    fig = plt.figure(figsize=size, layout=PlaceHolderLayoutEngine(True, True))
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, size[0]), ylim=(size[1], 0))
    ax.axis("off")

    across = [left + COLUMN * (column + 0.5) for column in range(columns)]
    down = [top + ROW * (row + 0.5) for row in range(len(rows))]
    for x, title in zip(across, titles, strict=False):
        _write(ax, (x, HEAD / 2), title, "center")
    for y, (name, letters, note) in zip(down, rows, strict=True):
        _write(ax, (left - EDGE, y), name, "right")
        _write(ax, (right + EDGE, y), note, "left")
        for x, letter in zip(across, letters, strict=False):
            if letter != " ":
                fill = MOVING if letter in moving else NEW if letter in new else PLAIN
                _draw_box(ax, (x, y), letter, fill)
    for (row, column), (to_row, to_column) in arrows:
        _draw_arrow(ax, (across[column], down[row]), (across[to_column], down[to_row]))
    return fig


def _write(ax: Axes, place: Point, text: str, side: str) -> None:
    ax.text(*place, text, ha=side, va="center", fontsize=10, color=INK)


def _draw_box(ax: Axes, middle: Point, letter: str, fill: str) -> None:
    corner = (middle[0] - BOX / 2, middle[1] - BOX / 2)
    ax.add_patch(Rectangle(corner, BOX, BOX, facecolor=fill, edgecolor=BORDER, lw=0.8))
    _write(ax, middle, letter, "center")


def _draw_arrow(ax: Axes, start: Point, end: Point) -> None:
    """From the edge of a box to the top of another, for the middles of both."""
    inside = start[1] == end[1]
    edge = -BOX / 2 if inside else BOX / 2
    tail = (start[0], start[1] + edge)
    head = (end[0], end[1] - BOX / 2)
    bend = "arc3,rad=-0.45" if inside else "arc3"
    style: dict[str, Any] = {"connectionstyle": bend, "arrowstyle": "-|>", "mutation_scale": 9}
    ax.add_patch(FancyArrowPatch(tail, head, color=INK, lw=1.1, shrinkA=0, shrinkB=0, **style))
