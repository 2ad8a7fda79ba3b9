"""Clips that play on the page, models under one another and in step, and the film strip that stands for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import anywidget
import numpy as np
import traitlets as t
from IPython.display import display
from PIL import Image
from torch import Tensor

from eon_utils.notebook.sprites import (
    BUDGET,
    CONTROLS,
    CSS,
    MAX_PIXELS,
    PAD,
    STATIC,
    captions,
    cell_of,
    evenly,
    film_page,
    pixels,
    sheet,
    side_by_side,
    still,
    weigh,
    with_poster,
)
from eon_utils.training.run import to_uint8

CLIPS = 8  # in a row, at most


class Player(anywidget.AnyWidget):
    """Clips that play; made by `show_clip`, which see. `frame` is the one shown, counted from 0."""

    _esm = CONTROLS + (STATIC / "player.js").read_text(encoding="utf-8")
    _css = CSS
    atlas = t.Bytes().tag(sync=True)
    spec = t.Dict().tag(sync=True)
    frame = t.Int(0).tag(sync=True)
    poster = t.Bytes()
    name = t.Unicode(None, allow_none=True)

    def _repr_mimebundle_(self, **_: object) -> tuple[dict, dict]:
        text = f"Player: {self.spec['alt']}"
        return with_poster(super()._repr_mimebundle_(), text, self.poster, self.spec["alt"], self.name)


def show_clip(
    clips: Tensor | dict[str, Tensor],
    titles: Sequence[str] = (),
    fps: float = 8,
    alt: str | None = None,
    name: str | None = None,
    height: int | None = None,
    given: int = 0,
    player: bool = True,
) -> None:
    """Display clips that play in a loop, with a button, a slider and the arrow keys; without a kernel too.

    clips: (N, T, 3, H, W) or (T, 3, H, W) in [0, 1], or name -> such clips, all of one shape: a row each, in
    step. The first eight clips are shown. titles: one a clip. fps: frames a second. alt: description. name: of
    the film strip, which is the still picture of the clips, under screenshots/. height: of one picture on the
    page, in CSS pixels (default: as large as suits a page). given: so many frames, at the start, are marked as
    given, the others as predicted. player: False displays the film strip alone, as for paper.

    The pictures are lossy WebP, 640 kB at most, of at most 256 pixels in width: do not measure pixels in them.
    Raises ValueError for clips of another or of different shapes, a wrong number of titles, a `given` that
    leaves no frame to predict, and when the clips do not fit.
    """
    rows = _rows(clips)
    count, frames, high, wide, _ = next(iter(rows.values())).shape
    if titles and len(titles) != count:
        raise ValueError(f"show_clip: {len(titles)} titles for {count} clips; give one each or none")
    if not 0 <= given < frames:
        raise ValueError(
            f"show_clip: given={given!r} must be from 0 to {frames - 1}: the clips have {frames} frames"
        )
    if not fps > 0:
        raise ValueError(f"show_clip: fps={fps!r} must be above 0")
    titles, shown = [str(title) for title in titles][:CLIPS], min(count, CLIPS)
    rows = {label: clip[:shown] for label, clip in rows.items()}
    described = f"{', '.join(label for label in rows if label) or 'film'}: {frames} frames"
    alt = alt or described + (f", the first {given} given" if given else "")
    poster = still(lambda column: _strip(rows, titles, given, column), film=True)
    if not player:
        data, metadata = with_poster(({}, {}), f"Figure: {alt}", poster, alt, name)
        return display(data, metadata=metadata, raw=True)

    if shown == 1 < len(rows) <= CLIPS and not titles:  # one clip a model: side by side they need less room
        titles, rows = list(rows), {"": np.concatenate(list(rows.values()))}
        shown = len(titles)
    tall = height or min(620 / len(rows), 280 * high / wide, (900 / shown - 6) * high / wide)
    width = round(tall * wide / high)
    tiles = [picture for clip in rows.values() for picture in clip.swapaxes(0, 1)]
    for scale, quality in _rungs():
        cell = cell_of(wide, high, scale * width)
        if pixels(tiles, cell, PAD) > MAX_PIXELS or weigh(tiles, cell, quality, PAD, frames) * len(tiles) > BUDGET:
            continue
        atlas, columns = sheet([side_by_side(tile, cell, PAD) for tile in tiles], quality)
        if len(atlas) <= BUDGET:
            break
    else:
        raise ValueError(f"show_clip: {len(tiles)} x {shown} pictures do not fit; show fewer clips or frames")
    spec = {"names": list(rows), "titles": titles, "pictures": shown, "frames": captions(given, frames - given)}
    spec |= {"given": given, "fps": fps, "alt": alt, "columns": columns, "cell": cell, "pad": PAD}
    spec |= {"width": width, "pixelated": wide < width}
    display(Player(atlas=atlas, spec=spec, frame=given, poster=poster, name=name))


def _rows(clips: Tensor | dict[str, Tensor]) -> dict[str, np.ndarray]:
    """name -> uint8 (N, T, H, W, 3), all of one shape; the name of clips that have none is empty."""
    named = clips if isinstance(clips, dict) else {"": clips}
    if not named:
        raise ValueError("show_clip: no clips given; pass a tensor, or {'name': tensor, ...}")
    rows = {}
    for label, clip in named.items():
        shape = tuple(clip.shape)
        if len(shape) not in (4, 5) or shape[-3] != 3 or 0 in shape or not clip.is_floating_point():
            of = f"clips[{label!r}]" if label else "clips"
            wanted = "(N, T, 3, H, W) or (T, 3, H, W) of numbers in [0, 1]"
            raise ValueError(f"show_clip: {of} has shape {shape}, {clip.dtype}; give {wanted}")
        rows[label] = to_uint8(clip if len(shape) == 5 else clip[None])
        first = next(iter(rows))
        if rows[label].shape != rows[first].shape:
            raise ValueError(
                f"show_clip: clips[{label!r}] has shape {shape}, clips[{first!r}] {tuple(named[first].shape)};"
                " give as many clips and frames in each, of one size"
            )
    return rows


def _rungs() -> Iterator[tuple[float, int]]:
    """(source pixels a CSS pixel, WebP quality), best first."""
    yield from [(1.3, 85), (1.1, 82), (1.1, 75), (1, 70), (1, 64), (0.85, 60), (0.7, 52), (0.6, 45)]
    yield from [(0.6 * 0.8**i, 35) for i in range(1, 12)]


def _strip(rows: dict[str, np.ndarray], titles: Sequence[str], given: int, column: int) -> Image.Image:
    """A few clips as film strips, ten frames each: a group of rows a clip where there are several models."""
    count, frames = next(iter(rows.values())).shape[:2]
    chosen, lines = evenly(frames, 10), []
    for clip in range(min(count, max(1, 8 // len(rows)))):
        for n, (label, films) in enumerate(rows.items()):
            head = "" if n else titles[clip] if titles else label
            text = "" if head == label else label
            lines.append((head, text, [films[clip, i] for i in chosen]))
    return film_page(lines, chosen, given, column)
