"""What curves look like: a name has one colour and one kind of dashes in all lessons."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

# Okabe & Ito 2008: told apart by colour-blind eyes, too. Gray is here for their black, which a dark
# page would hide.
BLUE, VERMILION, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, GRAY = "#E69F00", "#56B4E9", "#777777"
# Of what is no model: sets of pictures, kinds of question. From the muted scheme of Tol 2021.
INDIGO, OLIVE, WINE = "#332288", "#999933", "#882255"
COLOURS = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, GRAY, INDIGO, OLIVE, WINE)

# Lengths of strokes and gaps, in widths of the line.
SOLID: tuple[float, ...] = ()
DASHED, DOTTED, LONG = (4, 2), (1, 1.6), (9, 2.5)
DASH_DOT, DASH_DOT_DOT = (5, 1.5, 1, 1.5), (5, 1.5, 1, 1.5, 1, 1.5)
DASH_DASH_DOT = (3.5, 1.5, 3.5, 1.5, 1, 1.5)
DASHES = (SOLID, DASHED, DASH_DOT, DOTTED, LONG, DASH_DOT_DOT, DASH_DASH_DOT)


class Look(NamedTuple):
    """Of a curve."""

    colour: str
    dashes: tuple[float, ...] = SOLID

    @property
    def linestyle(self) -> str | tuple[float, tuple[float, ...]]:
        """The dashes as matplotlib takes them."""
        return (0, self.dashes) if self.dashes else "-"


# Names that stand in one chart share neither colour nor dashes.
LOOKS = {
    "as is": Look(VERMILION, DASHED),  # lesson 01
    "centred": Look(ORANGE, DOTTED),
    "own rates": Look(SKY, DASH_DOT),
    "both": Look(BLUE),
    "V1": Look(BLUE),  # 02 and later
    "V2": Look(VERMILION, DASHED),
    "V3": Look(GREEN, DASH_DOT),
    "V4": Look(PINK, DASH_DASH_DOT),
    "photographs": Look(GRAY, LONG),
    "training": Look(INDIGO),  # 03
    "fresh": Look(OLIVE, DASHED),
    "unseen": Look(WINE, DOTTED),
    "shipped": Look(BLUE),
    "PCA": Look(ORANGE, LONG),
    "JPEG": Look(GRAY, DOTTED),
    "copy last": Look(GRAY, DOTTED),  # 04 and later
    "linear": Look(SKY, DASH_DOT),
    "optical flow": Look(ORANGE, DASHED),
    "first step learnt": Look(VERMILION, LONG),
    "every step learnt": Look(GREEN, DASH_DOT_DOT),
    "frame": Look(OLIVE, DASHED),
    "residual": Look(INDIGO),
    "prior": Look(BLUE),  # 05 and 06
    "shipped prior": Look(BLUE),
    "fit to the past": Look(PINK, DASH_DASH_DOT),
    "mean of both": Look(GRAY, DOTTED),
    "next": Look(INDIGO),
    "in between": Look(WINE, DASHED),
    "prior, part alone": Look(SKY, DASH_DOT),
    "untrained": Look(VERMILION, LONG),
    "untrained, part alone": Look(PINK, DOTTED),
    "pixels (PCA)": Look(ORANGE, DASHED),
    "frame differences (PCA)": Look(GRAY, DASH_DASH_DOT),
    "from scratch": Look(GREEN, DASH_DOT_DOT),
    "prior, 10 clips": Look(SKY, DASH_DOT),
    "prior, 100 clips": Look(BLUE),
    "as built, 100 clips": Look(VERMILION, LONG),
    "V4, 100 clips": Look(PINK, DASH_DASH_DOT),
}

_PAIRS = len(COLOURS) * len(DASHES)  # before both come together again: neither divides the other
FREE = [Look(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]) for i in range(_PAIRS)]
_chosen: dict[str, Look] = {}  # of names that are not in the table


def looks_of(names: Iterable[str]) -> list[Look]:
    """The looks of curves that stand in one chart.

    A name that is not in `LOOKS` gets the next one that no other of these has. It keeps it in later
    charts, where none of the others has that colour.

    Args:
        names: all different.

    Examples:
        >>> looks_of(["prior", "my own"])
        [Look(colour='#0072B2', dashes=()), Look(colour='#D55E00', dashes=(4, 2))]
    """
    names = list(names)
    found = {name: LOOKS[name] for name in names if name in LOOKS}
    for name in names:
        if name not in found:
            found[name] = _choose(name, found.values())
    return [found[name] for name in names]


def _choose(name: str, taken: Collection[Look]) -> Look:
    """What a name had, or the first of the free ones that has least in common with these."""
    before = _chosen.get(name)
    if before and before.colour not in [look.colour for look in taken]:
        return before

    def in_common(look: Look) -> tuple[int, int]:
        same = [(look.colour == other.colour, look.dashes == other.dashes) for other in taken]
        return same.count((True, True)), sum(2 * colour + dashes for colour, dashes in same)

    _chosen[name] = min(FREE, key=in_common)
    return _chosen[name]
