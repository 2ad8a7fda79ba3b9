"""Scrubbers and players as files that move: GIF, WebP, MP4."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from eon_utils.data.files import whole_file
from eon_utils.notebook.display import image_bytes
from eon_utils.notebook.histories import value_text
from eon_utils.notebook.player import Player
from eon_utils.notebook.posters import font
from eon_utils.notebook.scrubber import Scrubber
from eon_utils.notebook.sprites import evenly

STEPS_A_SECOND = 7
FASTEST = 50  # pictures a second: GIF knows no more
WIDTHS = (32, 1024)  # of a picture, from and to
QUALITY = 70  # of a WebP
GRAY = (125, 131, 140, 255)  # legible on a light page and on a dark one
DARK = (60, 64, 70, 255)
BLUE = (56, 139, 253, 255)
WHITE = (255, 255, 255, 255)
CLEAR = (0, 0, 0, 0)
MARGIN = 12  # around a page that has a ground

# In pixels where a picture is UNIT wide; all grow with it.
UNIT = 152
GAP = 8
HEAD = 40  # height of the names
FOOT = 34  # height of the values
SLIDER = 50
NAME = 30  # sizes of letters, at most
TEXT = 25
LEAST = 10
CAPTION = 0.62  # of a page's width, at most


def export(
    widget: Scrubber | Player,
    path: str | Path,
    fps: float | None = None,
    over: str | None = None,
    width: int = UNIT,
    rest: float = 2.5,
    most: int = 60,
    transparent: bool = False,
) -> Path:
    """Write a scrubber or a player as a file that moves, whole or not at all.

    It shows the pictures with their names, the values of that moment, and a slider that moves. The
    other slider of a scrubber of films stays where it stands: set `widget.frame` or `widget.index`.

    Args:
        widget: from `scrub` or `play`.
        path: of the file, whose ending says what it becomes: .gif, .webp or .mp4.
        fps: pictures a second, above 0 and at most 50. Default: a player's own; of a scrubber 7.
        over: what moves: "steps" or "frames". Default: the steps of a scrubber, else the frames.
        width: of one picture, in pixels, from 32 to 1024.
        rest: seconds for which the last picture stays.
        most: moments that are shown, at most, evenly chosen.
        transparent: nothing behind the pictures, in a WebP.

    Returns:
        The path.

    Raises:
        TypeError: for what is no scrubber or player.
        ValueError: for an unknown ending, and for values out of range.
        ImportError: for an MP4 without PyAV.
        OSError: where the file cannot be written, such as on a full disk.
    """
    path = Path(path).expanduser()
    if not isinstance(widget, Scrubber | Player):
        given = type(widget).__name__
        remedy = "what eon.scrub or eon.play returns; show_clip returns nothing"
        raise TypeError(f"export: widget is of type {given}; give {remedy}")
    encode = _encoder(path)
    over = over or ("steps" if isinstance(widget, Scrubber) else "frames")
    if fps is None:
        fps = float(widget.spec.get("fps", STEPS_A_SECOND))
    _check_numbers(fps, width, rest, most)
    if transparent and path.suffix.lower() != ".webp":
        raise ValueError(f"export: transparent=True needs a .webp, not {path.name!r}")
    moments = _moments(widget, over, most)
    sheet = _Sheet(widget)
    ground = CLEAR if transparent else WHITE
    pages = [_draw(sheet, *moment, width, ground, over) for moment in moments]
    data = encode(pages, fps, rest)
    try:
        with whole_file(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        remedy = "make room, or give another folder"
        raise OSError(
            error.errno, f"export: {path} was not written: {error.strerror}; {remedy}"
        ) from error
    return path


def _check_numbers(fps: float, width: int, rest: float, most: int) -> None:
    """Raises ValueError for a number out of range."""
    ranges = {
        "fps": (fps, 0 < fps <= FASTEST, f"above 0 and at most {FASTEST}"),
        "width": (width, WIDTHS[0] <= width <= WIDTHS[1], f"from {WIDTHS[0]} to {WIDTHS[1]}"),
        "rest": (rest, 0 <= rest <= 60, "from 0 to 60 seconds"),
        "most": (most, most >= 2, "2 or more"),
    }
    for name, (value, is_good, allowed) in ranges.items():
        if not is_good:
            raise ValueError(f"export: {name}={value!r} must be {allowed}")


def _moments(widget: Scrubber | Player, over: str, most: int) -> list[tuple[int, int]]:
    """Index of the step and of the frame, for each moment."""
    steps = len(widget.spec.get("steps", ()))
    frames = len(widget.spec.get("frames", ()))
    lengths = {"steps": steps, "frames": frames}
    known = [name for name, length in lengths.items() if length]
    if over not in known:
        allowed = " or ".join(repr(name) for name in known)
        raise ValueError(f"export: over={over!r} must be {allowed}")
    index = widget.index if isinstance(widget, Scrubber) else 0
    step = min(max(index, 0), max(steps - 1, 0))
    frame = min(max(widget.frame, 0), max(frames - 1, 0))
    places = evenly(lengths[over], most)
    return [(place, frame) if over == "steps" else (step, place) for place in places]


# --- what is shown at a moment ---


@dataclass
class _Group:
    """Pictures of one model, or the targets."""

    name: str
    pictures: list[Image.Image]
    text: str = ""


class _Sheet:
    """The pictures of a widget, taken from its atlas."""

    def __init__(self, widget: Scrubber | Player) -> None:
        self.spec = widget.spec
        self.atlas = Image.open(io.BytesIO(widget.atlas)).convert("RGB")
        self.targets = None
        if isinstance(widget, Scrubber) and widget.targets:
            self.targets = Image.open(io.BytesIO(widget.targets)).convert("RGB")

    def tile(self, number: int) -> list[Image.Image]:
        """The pictures of a tile; see `AtlasPacker`."""
        row, column = divmod(number, self.spec["columns"])
        return self._row(self.atlas, row, column * self.spec["pictures"])

    def _row(self, sheet: Image.Image, row: int, first: int) -> list[Image.Image]:
        pad = self.spec.get("pad", 0) if sheet is self.atlas else 0
        wide, tall = self.spec["cell"]
        top = row * (tall + 2 * pad) + pad
        pictures = []
        for column in range(first, first + self.spec["pictures"]):
            left = column * (wide + 2 * pad) + pad
            pictures.append(sheet.crop((left, top, left + wide, top + tall)))
        return pictures

    def groups(self, index: int, frame: int) -> list[_Group]:
        """What is shown at a step and a frame: a group a model, the targets last."""
        spec = self.spec
        if "steps" not in spec:
            count = len(spec["frames"])
            return [
                _Group(name, self.tile(row * count + frame))
                for row, name in enumerate(spec["names"])
            ]
        groups = []
        ahead = frame - spec.get("given", 0)  # below 0: a frame that was given, the same for all
        for model, name in enumerate(spec["names"]):
            tile = spec["tiles"][model][index]
            if "film" in spec:
                tile = spec["film"] + frame if ahead < 0 else tile + ahead
            groups.append(_Group(name, self.tile(tile), self._value(model, index)))
        target = self._row(self.targets, 0, 0) if self.targets else self.tile(spec["film"] + frame)
        return [*groups, _Group("target", target)]

    def _value(self, model: int, index: int) -> str:
        percents = self.spec["accuracy"][model]
        if percents and percents[index] is not None:
            return f"{percents[index]:.1f} %"
        return f"{self.spec['metric']} {value_text(self.spec['values'][model][index])}"

    def caption(self, index: int, frame: int) -> str:
        """Where the sliders stand, in words."""
        words = []
        if "steps" in self.spec:
            words.append(f"{self.spec['axis']} {self.spec['steps'][index]:,}")
        if "frames" in self.spec:
            words.append(self.spec["frames"][frame])
        return " · ".join(words)


# --- a page ---


def _draw(
    sheet: _Sheet, index: int, frame: int, width: int, ground: tuple[int, ...], over: str
) -> Image.Image:
    """A page: models side by side or under each other, whichever is nearer to a screen's shape."""
    spec = sheet.spec
    wide, tall = spec["cell"]
    groups = sheet.groups(index, frame)
    cell = (width, max(1, round(width * tall / wide)))
    layouts = [kind(groups, spec["titles"], cell) for kind in (_SideBySide, _Stacked)]
    layout = min(layouts, key=lambda one: abs(math.log(one.size[0] / one.size[1] / 1.6)))
    height = layout.size[1] + round(SLIDER * width / UNIT)
    captions = [sheet.caption(index, frame), _widest_caption(sheet)]
    right = max(layout.size[0], math.ceil(font(LEAST, True).getlength(captions[1]) / CAPTION))
    page = Image.new("RGBA", (right, height), ground)
    pen = ImageDraw.Draw(page)
    colour = GRAY if ground == CLEAR else DARK
    layout.draw(page, pen, colour)
    last = len(spec[over]) - 1
    share = (index if over == "steps" else frame) / max(last, 1)
    _draw_slider(pen, captions, share, (right, height), width / UNIT, colour)
    return page if ground == CLEAR else ImageOps.expand(page, MARGIN, ground)


class _Layout:
    """Where groups of pictures stand on a page.

    Attributes:
        size: width and height that they take.
    """

    def __init__(
        self, groups: Sequence[_Group], titles: Sequence[str], cell: tuple[int, int]
    ) -> None:
        self.groups = groups
        self.titles = titles
        self.cell = cell
        self.unit = cell[0] / UNIT
        self.gap = round(GAP * self.unit)
        self.text = _fitting([group.text for group in groups], cell[0], TEXT * self.unit)
        self.title = _fitting(titles, cell[0], TEXT * self.unit)
        self.left = 0
        self.size = (0, 0)

    def taken(self, columns: int, rows: int) -> tuple[int, int]:
        """Width and height of a grid of pictures."""
        wide, tall = self.cell
        return columns * (wide + self.gap) - self.gap, rows * (tall + self.gap)

    def paste(self, page: Image.Image, picture: Image.Image, at: tuple[int, int]) -> None:
        """Put a picture on the page; small ones are enlarged with their pixels in sight."""
        small = picture.width < self.cell[0]
        how = Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC
        if small and self.cell[0] < 2 * picture.width:
            how = Image.Resampling.BICUBIC
        page.paste(picture.resize(self.cell, how), at)


class _SideBySide(_Layout):
    """A column a model: name above, value below; titles at the left."""

    def __init__(
        self, groups: Sequence[_Group], titles: Sequence[str], cell: tuple[int, int]
    ) -> None:
        super().__init__(groups, titles, cell)
        self.name = _fitting([group.name for group in groups], cell[0], NAME * self.unit, True)
        named = any(group.name for group in groups)
        self.head = round(HEAD * self.unit) if named else 0
        if titles:
            longest = max(self.title.getlength(title) for title in titles)
            self.left = math.ceil(longest) + 2 * self.gap
        wide, tall = self.taken(len(groups), len(groups[0].pictures))
        said = any(group.text for group in groups)
        foot = round(FOOT * self.unit) if said else 0
        self.size = (self.left + wide, self.head + tall + foot)

    def draw(
        self, page: Image.Image, pen: ImageDraw.ImageDraw, colour: tuple[int, int, int, int]
    ) -> None:
        wide, tall = self.cell
        for column, group in enumerate(self.groups):
            left = self.left + column * (wide + self.gap)
            middle = left + wide / 2
            pen.text((middle, self.head / 2 - 2), group.name, colour, self.name, anchor="mm")
            for row, picture in enumerate(group.pictures):
                self.paste(page, picture, (left, self.head + row * (tall + self.gap)))
            below = self.size[1] - FOOT * self.unit / 2
            pen.text((middle, below), group.text, colour, self.text, anchor="mm")
        for row, title in enumerate(self.titles):
            y = self.head + row * (tall + self.gap) + tall / 2
            pen.text((self.left - self.gap, y), title, colour, self.title, anchor="rm")


class _Stacked(_Layout):
    """A row a model: name and value at the left, titles above."""

    def __init__(
        self, groups: Sequence[_Group], titles: Sequence[str], cell: tuple[int, int]
    ) -> None:
        super().__init__(groups, titles, cell)
        names = [group.name for group in groups]
        self.name = _fitting(names, 1.5 * cell[0], TEXT * self.unit, True)
        texts = [group.text for group in groups]
        self.text = _fitting(texts, 1.5 * cell[0], TEXT * self.unit)
        lengths = [self.name.getlength(name) for name in names]
        lengths += [self.text.getlength(group.text) for group in groups]
        self.left = math.ceil(max(lengths)) + (2 * self.gap if max(lengths) else 0)
        self.head = round(FOOT * self.unit) if titles else 0
        wide, tall = self.taken(len(groups[0].pictures), len(groups))
        self.size = (self.left + wide, self.head + tall)

    def draw(
        self, page: Image.Image, pen: ImageDraw.ImageDraw, colour: tuple[int, int, int, int]
    ) -> None:
        wide, tall = self.cell
        right = self.left - 2 * self.gap
        for row, group in enumerate(self.groups):
            top = self.head + row * (tall + self.gap)
            apart = 0.55 * TEXT * self.unit if group.text else 0
            middle = top + tall / 2
            pen.text((right, middle - apart), group.name, colour, self.name, anchor="rm")
            pen.text((right, middle + apart), group.text, colour, self.text, anchor="rm")
            for column, picture in enumerate(group.pictures):
                self.paste(page, picture, (self.left + column * (wide + self.gap), top))
        for column, title in enumerate(self.titles):
            x = self.left + column * (wide + self.gap) + wide / 2
            pen.text((x, self.head / 2), title, colour, self.title, anchor="mm")


def _fitting(
    texts: Sequence[str], room: float, size: float, bold: bool = False
) -> ImageFont.FreeTypeFont:
    """The largest letters, up to a size, in which no text is wider than there is room."""
    chosen = round(size)
    while chosen > LEAST and any(font(chosen, bold).getlength(text) > room for text in texts):
        chosen -= 1
    return font(max(chosen, LEAST), bold)


def _widest_caption(sheet: _Sheet) -> str:
    """What needs most room of all that a caption says: the slider keeps its place."""
    steps = len(sheet.spec.get("steps", [0]))
    frames = len(sheet.spec.get("frames", [0]))
    captions = [sheet.caption(steps - 1, frame) for frame in range(frames)]
    return max(captions, key=font(20, True).getlength)


def _draw_slider(
    pen: ImageDraw.ImageDraw,
    captions: Sequence[str],
    share: float,
    corner: tuple[int, int],
    unit: float,
    colour: tuple[int, int, int, int],
) -> None:
    """A caption, and a slider with its knob, at the lower edge of a page."""
    text, widest = captions
    right, bottom = corner
    letters = _fitting([widest], CAPTION * right, 28 * unit, True)
    middle = bottom - SLIDER * unit / 2
    start = letters.getlength(widest) + 28 * unit
    end = right - 14 * unit
    knob = start + (end - start) * share
    pen.text((0, middle), text, colour, letters, anchor="lm")
    thick = 3 * unit
    pen.rounded_rectangle((start, middle - thick, end, middle + thick), thick, GRAY)
    pen.rounded_rectangle((start, middle - thick, knob, middle + thick), thick, BLUE)
    radius = 12 * unit
    pen.ellipse((knob - radius, middle - radius, knob + radius, middle + radius), BLUE)


# --- files ---

Encoder = Callable[[Sequence[Image.Image], float, float], bytes]


def _encoder(path: Path) -> Encoder:
    """What makes a file of this ending; raises where there is none."""
    encoders = {".gif": _gif, ".webp": _webp, ".mp4": _mp4}
    ending = path.suffix.lower()
    if ending not in encoders:
        raise ValueError(f"export: path={str(path)!r} must end in {', '.join(encoders)}")
    if ending == ".mp4":
        _pyav()
    return encoders[ending]


def _pyav():  # noqa: ANN202
    try:
        import av
    except ImportError as error:
        remedy = "pip install 'eye-of-newt[data]', or write a .gif or a .webp"
        raise ImportError(f"export: an .mp4 needs PyAV: {remedy}") from error
    return av


def _durations(count: int, fps: float, rest: float) -> list[int]:
    """Milliseconds of each page, a multiple of ten, as GIF wants them."""
    each = max(10, 10 * round(100 / fps))
    return [each] * (count - 1) + [max(each, round(1000 * rest))]


def _gif(pages: Sequence[Image.Image], fps: float, rest: float) -> bytes:
    frames = [page.convert("RGB").quantize(256) for page in pages]
    durations = _durations(len(pages), fps, rest)
    rest_of = {"save_all": True, "append_images": frames[1:], "duration": durations}
    return image_bytes(frames[0], "GIF", loop=0, optimize=True, **rest_of)


def _webp(pages: Sequence[Image.Image], fps: float, rest: float) -> bytes:
    durations = _durations(len(pages), fps, rest)
    moving = {"save_all": True, "append_images": pages[1:], "duration": durations, "loop": 0}
    return image_bytes(pages[0], "WEBP", quality=QUALITY, method=4, **moving)


def _mp4(pages: Sequence[Image.Image], fps: float, rest: float) -> bytes:
    """H.264, which every browser and presentation plays; it wants even sides."""
    av = _pyav()
    file = io.BytesIO()
    wide, tall = (2 * math.ceil(side / 2) for side in pages[0].size)
    with av.open(file, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.width, stream.height = wide, tall
        stream.pix_fmt = "yuv420p"
        shown = [*pages, *[pages[-1]] * round(rest * fps)]
        for page in shown:
            whole = Image.new("RGB", (wide, tall), "white")
            whole.paste(page.convert("RGB"))
            frame = av.VideoFrame.from_ndarray(np.asarray(whole), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()
