"""The player: clips that play on the page, and the film strip that stands for them."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import numpy as np
import traitlets as t
from IPython.display import display
from PIL import Image
from torch import Tensor

from eon_utils.notebook.display import MimeBundle, with_still
from eon_utils.notebook.posters import FilmRow, film_strips, frame_captions, still_page
from eon_utils.notebook.sprites import (
    CSS,
    PAD,
    PLAYER,
    Atlas,
    AtlasPacker,
    PageRoom,
    cell_size,
    evenly,
)
from eon_utils.training.history import to_uint8

CLIPS = 8  # in a row, at most
STRIP_FRAMES = 8  # of a clip, in a film strip
STRIP_ROWS = 4  # about

ROOM = PageRoom(width=900, square=280)

# (source pixels a CSS pixel, WebP quality) of an atlas, best first.
LADDER = [
    (1.3, 85),
    (1.1, 82),
    (1.1, 75),
    (1.0, 70),
    (1.0, 64),
    (0.85, 60),
    (0.7, 52),
    (0.6, 45),
    *((0.6 * 0.8**i, 35) for i in range(1, 12)),
]


class Player(anywidget.AnyWidget):
    """Clips that play; made by `play`, which see.

    Attributes:
        frame: the one shown, counted from 0.
    """

    _esm = PLAYER
    _css = CSS
    atlas = t.Bytes().tag(sync=True)
    spec = t.Dict().tag(sync=True)
    frame = t.Int(0).tag(sync=True)
    poster = t.Bytes()
    name = t.Unicode(None, allow_none=True).tag(sync=True)

    def _repr_mimebundle_(self, **_: object) -> MimeBundle:
        alt = self.spec["alt"]
        bundle = super()._repr_mimebundle_() or ({}, {})
        return with_still(bundle, self.poster, f"Player: {alt}", alt, self.name)


def play(
    clips: Tensor | dict[str, Tensor],
    titles: Sequence[str] = (),
    fps: float = 8,
    alt: str | None = None,
    name: str | None = None,
    height: int | None = None,
    given: int = 0,
) -> Player:
    """Clips that play in a loop, with a button, a slider and the arrow keys.

    They need no kernel. The pictures are lossy WebP, 640 kB at most, of at most 256 pixels in
    width: do not measure pixels in them. F is full screen, and a button saves the frame as a PNG.
    `export` writes the clips as a film.

    Args:
        clips: (N, T, 3, H, W) or (T, 3, H, W) in [0, 1]; or name -> such clips, all of one shape: a
            row each, in step. The first eight clips are shown.
        titles: one a clip.
        fps: frames a second.
        alt: description.
        name: of the film strip, which is the still picture of the clips, under screenshots/; also
            of a frame that is saved, and in links to it.
        height: of one picture on the page, in CSS pixels, at most (default: as suits a page). They
            are smaller where else pictures and slider would not be in view together.
        given: so many frames, at the start, are marked as given, the others as predicted.

    Returns:
        The widget; a cell that ends with it shows it.

    Raises:
        ValueError: for clips of another or of different shapes, a wrong number of titles, a `given`
            that leaves no frame to predict, and when the clips do not fit.
    """
    rows, titles = _checked(clips, titles, fps, given)
    alt = alt or _description(rows, given)
    widget = _player(rows, titles, height, {"given": given, "fps": fps, "alt": alt})
    widget.poster = _poster(rows, titles, given)
    widget.name = name
    return widget


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
    """Display the player that `play` makes, anywhere in a cell.

    Args:
        clips: as of `play`, and so are those that follow.
        titles: one a clip.
        fps: frames a second.
        alt: description.
        name: of the still picture.
        height: of one picture on the page, in CSS pixels, at most.
        given: so many frames, at the start, are marked as given.
        player: False displays the film strip alone, as for paper.

    Raises:
        ValueError: as `play`.
    """
    if player:
        display(play(clips, titles, fps, alt, name, height, given))
        return
    rows, titles = _checked(clips, titles, fps, given)
    alt = alt or _description(rows, given)
    strip = _poster(rows, titles, given)
    data, metadata = with_still(({}, {}), strip, f"Figure: {alt}", alt, name)
    display(data, metadata=metadata, raw=True)


def _checked(
    clips: Tensor | dict[str, Tensor], titles: Sequence[str], fps: float, given: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The clips that are shown, and their titles. Raises ValueError for what does not suit."""
    rows = _rows(clips)
    _check_options(rows, titles, fps, given)
    shown = {label: films[:CLIPS] for label, films in rows.items()}
    return shown, [str(title) for title in titles][:CLIPS]


def _poster(rows: dict[str, np.ndarray], titles: Sequence[str], given: int) -> bytes:
    return still_page(lambda width: _film_strip(rows, titles, given, width))


def _rows(clips: Tensor | dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Name -> uint8 (N, T, H, W, 3), all of one shape; a tensor alone has an empty name."""
    named = clips if isinstance(clips, dict) else {"": clips}
    if not named:
        raise ValueError("play: no clips given; pass a tensor, or {'name': tensor, ...}")
    rows = {}
    first = next(iter(named))
    for label, clip in named.items():
        shape = tuple(clip.shape)
        if not _is_clip(clip):
            of = f"clips[{label!r}]" if label else "clips"
            wanted = "(N, T, 3, H, W) or (T, 3, H, W) of numbers in [0, 1]"
            raise ValueError(f"play: {of} has shape {shape}, {clip.dtype}; give {wanted}")
        rows[label] = to_uint8(clip if clip.ndim == 5 else clip[None])
        if rows[label].shape != rows[first].shape:
            other = tuple(named[first].shape)
            raise ValueError(
                f"play: clips[{label!r}] has shape {shape}, clips[{first!r}] {other};"
                " give as many clips and frames in each, of one size"
            )
    return rows


def _is_clip(clip: Tensor) -> bool:
    if clip.ndim not in (4, 5) or not clip.is_floating_point():
        return False
    return clip.shape[-3] == 3 and clip.numel() > 0


def _check_options(
    rows: dict[str, np.ndarray], titles: Sequence[str], fps: float, given: int
) -> None:
    """Raises ValueError for what does not suit the clips."""
    count, frames = next(iter(rows.values())).shape[:2]
    if titles and len(titles) != count:
        numbers = f"{len(titles)} titles for {count} clips"
        raise ValueError(f"play: {numbers}; give one each or none")
    if not 0 <= given < frames:
        allowed = f"from 0 to {frames - 1}: the clips have {frames} frames"
        raise ValueError(f"play: given={given!r} must be {allowed}")
    if not fps > 0:
        raise ValueError(f"play: fps={fps!r} must be above 0")


def _description(rows: dict[str, np.ndarray], given: int) -> str:
    first = next(iter(rows.values()))
    names = ", ".join(filter(None, rows))
    text = f"{names or 'film'}: {first.shape[1]} frames"
    return f"{text}, the first {given} given" if given else text


def _player(
    rows: dict[str, np.ndarray], titles: Sequence[str], height: int | None, spec: dict
) -> Player:
    """The widget, but for its poster."""
    count, frames, tall, wide = next(iter(rows.values())).shape[:4]
    if count == 1 < len(rows) <= CLIPS and not titles:  # one clip a model needs less room in a row
        titles = list(rows)
        rows = {"": np.concatenate(list(rows.values()))}
        count = len(titles)
    width = ROOM.picture_width((tall, wide), len(rows), count)
    if height:
        width = round(height * wide / tall)
    atlas, cell = _encode(rows, width)
    given = spec["given"]
    spec = spec | {
        "names": list(rows),
        "titles": titles,
        "pictures": count,
        "frames": frame_captions(given, frames - given),
        "columns": atlas.columns,
        "cell": list(cell),
        "pad": PAD,
        "width": width,
        "pixelated": wide < width,
    }
    return Player(atlas=atlas.data, spec=spec, frame=given)


def _encode(rows: dict[str, np.ndarray], width: int) -> tuple[Atlas, tuple[int, int]]:
    """All frames in one WebP, for pictures `width` CSS pixels wide; and the size of one in it."""
    count, frames, tall, wide = next(iter(rows.values())).shape[:4]
    tiles = []
    for films in rows.values():
        tiles += list(films.swapaxes(0, 1))  # (N, H, W, 3) each
    packer = AtlasPacker(pad=PAD, period=frames)
    for scale, quality in LADDER:
        cell = cell_size(wide, tall, scale * width)
        atlas = packer.pack(tiles, cell, quality)
        if atlas:
            return atlas, cell
    raise ValueError(
        f"play: {len(tiles)} x {count} pictures do not fit; show fewer clips or frames"
    )


def _film_strip(
    rows: dict[str, np.ndarray], titles: Sequence[str], given: int, width: int
) -> Image.Image:
    """A few clips as film strips: a group of rows a clip where there are several models."""
    count, frames = next(iter(rows.values())).shape[:2]
    shown = evenly(frames, STRIP_FRAMES)
    strips = []
    for clip in range(min(count, max(1, STRIP_ROWS // len(rows)))):
        for index, (label, films) in enumerate(rows.items()):
            name = titles[clip] if titles and index == 0 else ""
            lines = [label] if label and label != name else []
            pictures = list(films[clip, shown])
            apart = index == 0 and len(rows) > 1
            strips.append(FilmRow(name, pictures, lines, apart))
    return film_strips(strips, shown, given, width)
