"""Films that are pictures: several in one file, or a folder of numbered files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from eon_utils.data.photos import (
    deep_values,
    gray_levels,
    gray_values,
    is_deep,
    to_rgb,
    upright,
)

STACKS = (".tif", ".tiff", ".webp", ".png", ".apng")  # FFmpeg reads the first picture alone
NUMBERED = (*STACKS, ".jpg", ".jpeg", ".bmp")
SPEED = 12.5  # frames a second, where nothing tells: that of `video_folder`, so that all are used
NUMBER = re.compile(r"\d+$")


class TimedPicture(NamedTuple):
    """A frame of a film of pictures."""

    time: float | None  # in seconds from the start; None: nothing tells
    pixels: np.ndarray | None  # (H, W, 3) uint8; None: it is damaged


def join_numbered(files: list[Path]) -> list[Path]:
    """Numbered pictures of one name become one film; what is no numbered picture stays.

    A film goes by the name that its files share, with a star in place of the number. A file of
    several pictures is a film of its own, whatever its name.

    Examples:
        >>> films = join_numbered([Path("a/b_2.png"), Path("a/b_10.png"), Path("a/c.mp4")])
        >>> [film.as_posix() for film in films]
        ['a/b_*.png', 'a/c.mp4']
    """
    films = []
    for file in files:
        number = NUMBER.search(file.stem)
        if number and file.suffix.lower() in NUMBERED and not _holds_several(file):
            file = file.with_name(f"{file.stem[: number.start()]}*{file.suffix}")
        films.append(file)
    return list(dict.fromkeys(films))


def is_numbered(film: Path) -> bool:
    """Whether a path names numbered pictures, as `join_numbered` gives it."""
    return film.stem.endswith("*") and film.suffix.lower() in NUMBERED and not film.exists()


def members(film: Path) -> list[Path]:
    """The files of numbered pictures, by number: 2 before 10."""
    prefix = film.stem[:-1]
    found = []
    for file in film.parent.iterdir():
        number = file.stem.removeprefix(prefix)
        alike = file.suffix == film.suffix and file.stem.startswith(prefix)
        if alike and number.isdigit() and not _holds_several(file):
            found.append((int(number), file))
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
        with Image.open(file) as picture:
            return getattr(picture, "n_frames", 1) > 1
    except Exception:  # no picture: FFmpeg may know what it is
        return False


def count_pictures(files: list[Path]) -> int:
    """The number of frames in the files of a film."""
    if len(files) > 1:
        return len(files)
    with Image.open(files[0]) as picture:
        return getattr(picture, "n_frames", 1)


def picture_interval(files: list[Path]) -> float:
    """Seconds from frame to frame, in the mean of what the file says, if it says anything."""
    durations = [picture.info.get("duration", 0) for picture in _pictures(files[:1]) if picture]
    mean = sum(durations) / max(len(durations), 1) / 1000
    return mean if mean > 0 else 1 / SPEED


def read_pictures(files: list[Path]) -> Iterator[TimedPicture]:
    """The frames of a film. Gray values beyond 8 bits are scaled alike in all of them.

    Args:
        files: as `picture_files`.
    """
    first = next(filter(None, _pictures(files)), None)
    levels = None
    if first and is_deep(first):
        levels = gray_levels(filter(None, _pictures(files)))
        warnings.warn(f"{files[0].name}: {levels}", stacklevel=2)
    time = 0.0
    for picture in _pictures(files):
        if picture is None:
            yield TimedPicture(None, None)
            continue
        duration = picture.info.get("duration", 0) / 1000
        if levels is not None and is_deep(picture):
            picture = Image.fromarray(gray_values(deep_values(picture), levels))
        yield TimedPicture(time if duration else None, np.asarray(to_rgb(picture)))
        time += duration


def _pictures(files: list[Path]) -> Iterator[Image.Image | None]:
    """Each picture upright; None for one that is damaged."""
    for file in files:
        try:
            with Image.open(file) as picture:
                count = getattr(picture, "n_frames", 1) if len(files) == 1 else 1
                for index in range(count):
                    picture.seek(index)
                    picture.load()
                    yield upright(picture)
        except Exception:  # PIL's errors share no base class
            yield None
