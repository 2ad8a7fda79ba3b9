"""Films that are pictures: several in one file, or a folder of numbered files."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from eon_utils.data.photos import (
    MOST_COLOUR,
    ONES,
    GrayLevels,
    colours_of_16_bits,
    deep_values,
    from_16_bits,
    gray_levels,
    gray_values,
    highest_colour,
    highest_of_8_bits,
    is_deep,
    ones_in_white,
    open_picture,
    to_rgb,
    upright,
    white_above,
)

STACKS = (".tif", ".tiff", ".webp", ".png", ".apng")  # FFmpeg reads the first picture alone
NUMBERED = (*STACKS, ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tga", ".jp2")
SPEED = 12.5  # frames a second, where nothing tells: that of `video_folder`, so that all are used
NUMBER = re.compile(r"\d+")
LARGEST = 8192 * 8192  # pixels: a broken header may claim billions, and reading takes memory
SHORT = 5  # frames: a film that is shorter gives no clip

Read = TypeVar("Read")


class TimedPicture(NamedTuple):
    """A frame of a film of pictures."""

    time: float | None  # in seconds from the start; None: nothing tells
    pixels: np.ndarray | None  # (H, W, 3) uint8; None: it is damaged


class _Frame(NamedTuple):
    """A frame as it is read."""

    seconds: float  # that it is shown; 0: nothing tells
    pixels: np.ndarray  # (H, W, 3) uint8


class _Scale(NamedTuple):
    """How the values of all frames become 8 bits. What is None, is not asked for."""

    gray: GrayLevels | None = None  # of gray beyond 8 bits
    white: int | None = None  # of colours of 16 bits
    ones: bool = False  # nothing but 0 and 1, of 8 bits


# --- which files are a film ---


def join_numbered(files: list[Path]) -> list[Path]:
    """Numbered pictures of one name become one film; what is no numbered picture stays.

    The number may stand anywhere in the name. Where several numbers differ from file to file, it is
    the last one; or, where these films would be too short for a clip, the one that makes the
    fewest. A film goes by the name that its files share, with a star in place of the number. A file
    of several pictures is a film of its own, whatever its name.

    Examples:
        >>> films = join_numbered([Path("a/b_2.png"), Path("a/b_10.png"), Path("a/c.mp4")])
        >>> [film.as_posix() for film in films]
        ['a/b_*.png', 'a/c.mp4']
        >>> [film.name for film in join_numbered([Path("t1 (cam).jpg"), Path("t2 (cam).JPG")])]
        ['t* (cam).jpg']
    """
    alike: dict[tuple[Path, str], list[Path]] = {}
    for file in files:
        suffix = file.suffix.lower()
        numbered = suffix in NUMBERED and NUMBER.search(file.stem) and "*" not in file.stem
        if numbered and not _holds_several(file):
            name = NUMBER.sub("*", file.stem) + suffix
            alike.setdefault((file.parent, name), []).append(file)
    film_of: dict[Path, Path] = {}
    for group in alike.values():
        film_of |= _films_of(group)
    return list(dict.fromkeys(film_of.get(file, file) for file in files))


def _films_of(files: list[Path]) -> dict[Path, Path]:
    """File -> the film that it is a frame of, for files whose names differ in numbers alone."""
    numbers = [NUMBER.findall(file.stem) for file in files]
    varying = [place for place, column in enumerate(zip(*numbers, strict=True)) if _varies(column)]
    if not varying:  # a file alone, or of one name in capitals and small letters
        return {}
    by_place = [{file: _starred(file, place) for file in files} for place in varying]
    last = by_place[-1]
    if len(files) < SHORT * len(set(last.values())):
        last = min(reversed(by_place), key=lambda films: len(set(films.values())))
    frames = Counter(last.values())
    return {file: film for file, film in last.items() if frames[film] > 1}


def _varies(column: Sequence[str]) -> bool:
    return len(set(column)) > 1


def _starred(file: Path, place: int) -> Path:
    """The film that a file is a frame of, if the number at this place counts its frames."""
    number = list(NUMBER.finditer(file.stem))[place]
    name = f"{file.stem[: number.start()]}*{file.stem[number.end() :]}"
    return file.with_name(name + file.suffix.lower())


def is_numbered(film: Path) -> bool:
    """Whether a path names numbered pictures, as `join_numbered` gives it."""
    return film.stem.count("*") == 1 and film.suffix in NUMBERED and not film.exists()


def members(film: Path) -> list[Path]:
    """The files of numbered pictures, by number: 2 before 10."""
    before, after = map(re.escape, film.stem.split("*"))
    name = re.compile(rf"{before}(\d+){after}")
    found = []
    for file in film.parent.iterdir():
        match = name.fullmatch(file.stem)
        if match and file.suffix.lower() == film.suffix and not _holds_several(file):
            found.append((int(match[1]), file))
    return [file for _, file in sorted(found)]


def picture_files(film: Path) -> list[Path]:
    """The files of a film of pictures: its numbered ones, or the one of several; else none."""
    if is_numbered(film):
        return members(film)
    return [film] if _holds_several(film) else []


def _holds_several(file: Path) -> bool:
    """Whether a file holds several pictures."""
    if file.suffix.lower() not in STACKS:
        return False
    try:
        with open_picture(file) as picture:
            return _pages(picture).count > 1
    except Exception:  # no picture: FFmpeg may know what it is
        return False


class _Pages(NamedTuple):
    count: int
    whole: bool  # False of a file that is cut short: so many begin in it


def _pages(picture: Image.Image) -> _Pages:
    """How many pictures a file that is open holds."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            count = getattr(picture, "n_frames", 1)
        except Exception:  # PIL reads to the end for it, and of a file that ends early raises any
            return _Pages(_count_beginnings(picture), False)
    return _Pages(count, not caught)


def _count_beginnings(picture: Image.Image) -> int:
    count = 1
    while _read_at(picture, count, lambda _: True):
        count += 1
    return count


def check_pixels(width: int, height: int) -> None:
    """Raise a ValueError for frames that are too large to be read."""
    if width * height > LARGEST:
        raise ValueError(f"{width}x{height} pixels, at most 8192x8192 are read")


def count_pictures(files: list[Path]) -> int:
    """The number of frames in the files of a film."""
    if len(files) > 1:
        return len(files)
    with open_picture(files[0]) as picture:
        return _pages(picture).count


# --- what is in them ---


def picture_interval(files: list[Path]) -> float:
    """Seconds from frame to frame, in the mean of what the file says, if it says anything."""
    told = [seconds for seconds in _read_each(files[:1], _seconds) if seconds is not None]
    mean = sum(told) / max(len(told), 1)
    return mean if mean > 0 else 1 / SPEED


def read_pictures(files: list[Path]) -> Iterator[TimedPicture]:
    """The frames of a film. Values of more bits than 8, or of one, are scaled alike in all of them.

    Args:
        files: as `picture_files`.
    """
    scale, remark = _scale_of(files)
    if remark:
        warnings.warn(f"{files[0].name}: {remark}", stacklevel=2)
    time = 0.0
    for frame in _read_each(files, lambda picture: _frame(picture, scale)):
        if frame is None:
            yield TimedPicture(None, None)
            continue
        yield TimedPicture(time if frame.seconds else None, frame.pixels)
        time += frame.seconds


def _read_each(files: list[Path], read: Callable[[Image.Image], Read]) -> Iterator[Read | None]:
    """What `read` makes of each picture, opened and at its page; None for one that is damaged."""
    if len(files) == 1:
        yield from _read_pages(files[0], read)
        return
    for file in files:
        try:
            with open_picture(file) as picture:
                result = _read_at(picture, 0, read)
        except Exception:  # PIL's errors share no base class
            result = None
        yield result


def _read_pages(file: Path, read: Callable[[Image.Image], Read]) -> Iterator[Read | None]:
    """As `_read_each`, for a file of several."""
    with open_picture(file) as picture:
        check_pixels(*picture.size)
        count, whole = _pages(picture)
        apart = picture.format == "TIFF"  # elsewhere a picture is drawn over the one before
    index = 0
    while index < count:
        with open_picture(file) as picture:  # anew after a damaged page, which spoils the reader
            result = _read_at(picture, index, read)
            while result is not None:
                yield result
                index += 1
                result = _read_at(picture, index, read)  # None after the last
        if index < count or not whole:
            yield None
        index = index + 1 if apart else count


def _read_at(picture: Image.Image, index: int, read: Callable[[Image.Image], Read]) -> Read | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL's, of the damage that becomes a None
        try:
            picture.seek(index)
            return read(picture)
        except Exception:  # PIL's errors share no base class
            return None


def _seconds(picture: Image.Image) -> float:
    """How long a picture is shown; 0 where nothing tells."""
    picture.load()  # some formats tell it there
    return picture.info.get("duration", 0) / 1000


def _frame(picture: Image.Image, scale: _Scale) -> _Frame:
    """A picture upright, of 8 bits a channel, on white where it is transparent."""
    colours = None if scale.white is None else colours_of_16_bits(picture)
    seconds = _seconds(picture)
    if colours is not None and scale.white is not None:
        picture = from_16_bits(picture, colours, scale.white)
    picture = upright(picture)
    if scale.gray is not None and is_deep(picture):
        picture = Image.fromarray(gray_values(deep_values(picture), scale.gray))
    rgb = to_rgb(picture)
    return _Frame(seconds, np.asarray(ones_in_white(rgb) if scale.ones else rgb))


def _scale_of(files: list[Path]) -> tuple[_Scale, str]:
    """How all frames of a film are scaled, by the kind of the first, and a remark if they are."""
    first = next((kind for kind in _read_each(files, _kind) if kind), "")
    if first == "gray":
        pictures = (picture for picture in _read_each(files, _loaded) if picture is not None)
        levels = gray_levels(filter(is_deep, pictures))
        return _Scale(gray=levels), str(levels)
    if first == "colours":
        high = max(high for high in _read_each(files, _highest_colour) if high is not None)
        white = white_above(high)
        said = f"its values go to {high}; {white} is white"
        return _Scale(white=white), said if white < MOST_COLOUR else ""
    highest = 0
    for high in _read_each(files, _highest):
        highest = max(highest, high or 0)
        if highest > 1:
            return _Scale(), ""
    return _Scale(ones=highest == 1), ONES if highest == 1 else ""


def _kind(picture: Image.Image) -> str:
    """What a picture, just opened, holds: deep "gray", "colours" of 16 bits, or "8 bits"."""
    if is_deep(picture):
        return "gray"
    return "8 bits" if colours_of_16_bits(picture) is None else "colours"


def _loaded(picture: Image.Image) -> Image.Image:
    picture.load()
    return upright(picture)


def _highest_colour(picture: Image.Image) -> int:
    values = colours_of_16_bits(picture)
    return 0 if values is None else highest_colour(values)


def _highest(picture: Image.Image) -> int:
    return highest_of_8_bits(to_rgb(picture))
