"""Clips to train on out of video files: a folder of them, decoded once, drawn from at random."""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from eon_utils.config import RUNS
from eon_utils.data.clips import ClipSource
from eon_utils.data.files import (
    NoRoomError,
    NotWritableError,
    check_room,
    check_writable,
    give_back,
    in_turn,
    list_files,
    name_some,
    reserved_array,
    shortened,
    whole_file,
)
from eon_utils.data.picture_films import join_numbered, picture_files
from eon_utils.data.video_decoding import (
    LONGEST_SIDE,
    ReadLog,
    count_packets,
    decode,
    frame_interval,
    shown_size,
    unread_reason,
)
from eon_utils.data.video_folder import (
    AROUND,
    LONGEST_STEP,
    SmallFrame,
    clip_request,
    file_remarks,
    find_cuts,
    read_clips,
    read_frames,
    to_tensor,
)

SIDE = 128  # pixels, the shorter side of what is kept, at most
CACHE_BYTES = 20e9  # about the largest cache of one call
FRAME_BYTES = 3 * SIDE * 228  # of a frame 16:9
FRAMES_PER_FILE = 4096  # kept of a file, at most
STRETCH = 64  # frames in a row that are kept of a file that is longer
QUICKEST = 1 / 30  # seconds from frame to frame of a clip, at least
SLOWEST = 1 / 8  # at most, where the file has that many frames
TOLERANCE = 1.05  # of both: 29.97 and 30.4 frames a second are 30, too
REPEATED = 0.002  # change from frame to frame, below which one may repeat the one before
REPEATED_SHARE = 0.12  # of the quickest change shortly before and of that after: then it does
STILL = 0.002  # mean change from frame to frame, below which a clip is drawn again
REDRAWS = 8  # times, at most
LONG = 60  # seconds: a group is drawn no more often for what it has beyond
TEXTS = {".csv", ".json", ".md", ".txt"}  # beside videos, what is said of them
PART = 4096  # bytes in the middle of a file, by which it is told from another
AXES, COLOURS = 4, 3  # of what is kept, (F, H, W, 3)
NAME_BYTES = 80  # of a file's name in that of its cache
CACHE_REMEDY = "copy the course to where you may write, or give VideoClips another cache"
CACHE_FORMAT = (SIDE, STRETCH)  # what it depends on beside the file: add a number to make it anew


class Run(NamedTuple):
    """Frames of a file in a row: no cut, no gap and no repeated frame among them."""

    frames: np.ndarray  # (N,) their numbers in the cache, ascending
    interval: float  # seconds from one to the next


class Film(NamedTuple):
    """A file in the cache."""

    group: tuple[str, str]  # folder, and name without a number at its end
    pictures: Path  # .npy, (F, H, W, 3) uint8
    runs: tuple[Run, ...]  # that are long enough for a clip
    remarks: list[str]  # on the file


class Group(NamedTuple):
    """Films of one origin."""

    films: list[Film]
    seconds: np.ndarray  # (len(films),) in their runs


@dataclass(frozen=True)
class VideoClips(ClipSource):
    """Clips out of video files: a random square, at a random speed, of any place in any of them.

    The files are decoded when the source is made, in order, and kept small (shorter side 128
    pixels) as uint8 in a cache, where the next source finds them. Of a long file, stretches of 64
    frames are kept. What can't be read is skipped with a warning that names it; texts beside the
    videos (.csv, .json, .md, .txt) are not looked at.

    A clip spans no cut, no gap and no damaged place, and no frame in it repeats the one before, as
    where 30 frames a second are stored as 60. Its frames are 1/30 to 1/8 s apart, further where the
    file has fewer. Where next to nothing moves, another is drawn, up to eight times.

    Files are drawn by group: those of one folder whose names differ in a number at the end alone,
    as in `walk_01.mp4` and `walk_02.mp4`. A group of s seconds is drawn in proportion to
    sqrt(min(s, 60)), so that neither a long one nor one of many files prevails, and of its films
    each in proportion to its seconds.

    The folders say what is held out: `train` starts another stream of clips of the same files.

    Args:
        folders: of videos, with all that is below them, or files.
        cache: folder of the cache; None: `runs/videos`.

    Raises:
        FileNotFoundError: for a folder that does not exist.
        NoRoomError: where the disk is too full for the cache.
        NotWritableError: where the cache can't be written to, and lacks a file.
        ValueError: where no file holds a clip.
    """

    folders: tuple[str, ...] = ()
    cache: str | None = None
    groups: tuple[Group, ...] = field(init=False, repr=False, compare=False)

    name = "real"
    weight = 6.0
    quick = True
    card = "your_own_videos.md"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.folders, str):
            raise ValueError(f"folders={self.folders!r} must be a tuple of folders")
        # Now, because later each worker of a loader would decode for itself.
        folder = Path(self.cache).expanduser() if self.cache else RUNS / "videos"
        films = read_films(self.folders, folder, self.frames)
        object.__setattr__(self, "groups", _grouped(films))

    @cached_property
    def shares(self) -> np.ndarray:
        """How often each group is drawn, (len(groups),)."""
        seconds = np.array([group.seconds.sum() for group in self.groups])
        shares = np.sqrt(seconds.clip(max=LONG))
        return shares / shares.sum()

    def clip(self, index: int) -> Tensor:
        rng = np.random.default_rng((self.seed, int(self.train), index))
        clip = self._draw(rng)  # (T, S, S, 3) uint8
        for _ in range(REDRAWS):
            if _change(clip) >= STILL:
                break
            clip = self._draw(rng)
        return torch.from_numpy(clip).permute(0, 3, 1, 2).contiguous() / 255

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        """A clip (T, S, S, 3), uint8."""
        group = self.groups[rng.choice(len(self.groups), p=self.shares)]
        film = group.films[rng.choice(len(group.films), p=group.seconds / group.seconds.sum())]
        frames = _draw_frames(film, self.frames, rng)
        pictures = np.load(film.pictures, mmap_mode="r")
        height, width = pictures.shape[1:3]
        largest = min(height, width)
        side = rng.integers(min(self.size, largest), largest, endpoint=True)
        top = rng.integers(height - side, endpoint=True)
        left = rng.integers(width - side, endpoint=True)
        parts = [pictures[frame, top : top + side, left : left + side] for frame in frames]
        return _resized(parts, self.size)


def score_clips(folder: str | Path, frames: int, size: int, per_file: int = 4) -> dict[str, Tensor]:
    """Clips of each video of a folder, the same every time, to judge a model by.

    They are those of `video_folder`, at 12.5 frames a second. Files that give none are left out. A
    warning names those that are damaged, slow or dark.

    Args:
        folder: of videos.
        frames: T, frames a clip.
        size: S, side of the frames in pixels.
        per_file: clips a file, at most.

    Returns:
        Name of a file without its ending -> (n, T, 3, S, S) in [0, 1].

    Raises:
        FileNotFoundError: for a folder that does not exist.
        ValueError: where no file gives a clip, and for a number out of range.
    """
    request = clip_request(frames, size, per_file)
    clips = {}
    remarks = []
    for file in list_files(folder, "folder", "a folder of videos"):
        films, _, said = read_clips([file], request)
        if films:
            clips[file.name if file.stem in clips else file.stem] = to_tensor(films)
            remarks += said
    if not clips:
        raise ValueError(f"folder={str(folder)!r} holds no video with {frames} frames in a row")
    if remarks:
        warnings.warn(f"{folder}: {name_some(remarks)}", stacklevel=2)
    return clips


# --- drawing ---


def _draw_frames(film: Film, count: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of frames to show, (count,): a run, a step from frame to frame, and a start."""
    places = np.array([len(run.frames) - count + 1 for run in film.runs])
    run = film.runs[rng.choice(len(places), p=places / places.sum())]
    least = max(1, math.ceil(QUICKEST / TOLERANCE / run.interval))
    most = max(least, math.floor(SLOWEST * TOLERANCE / run.interval))
    room = len(run.frames) - 1
    if count > 1:
        most = min(most, room // (count - 1))
    step = int(rng.integers(min(least, most), most, endpoint=True))
    start = rng.integers(room - step * (count - 1), endpoint=True)
    return run.frames[start + step * np.arange(count)]


def _resized(pictures: list[np.ndarray], size: int) -> np.ndarray:
    """Square pictures (P, P, 3) at another size, (len(pictures), size, size, 3) uint8."""
    import cv2

    shrinks = len(pictures[0]) > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    clip = np.empty((len(pictures), size, size, 3), np.uint8)
    for frame, picture in zip(clip, pictures, strict=True):
        cv2.resize(picture, (size, size), dst=frame, interpolation=method)
    return clip


def _change(pictures: np.ndarray) -> float:
    """Mean absolute difference of pictures (T, H, W, 3), uint8, from those before, in [0, 1]."""
    if len(pictures) == 1:
        return 1.0
    now = pictures[1:].astype(np.int16)
    return float(np.abs(now - pictures[:-1]).mean()) / 255


# --- films ---


def read_films(folders: tuple[str, ...], cache: Path, frames: int) -> list[Film]:
    """The files that hold a clip, out of the cache, into which they are decoded where need be.

    Args:
        folders: or files.
        cache: folder.
        frames: of a clip.

    Raises:
        FileNotFoundError: for a folder that does not exist.
        NoRoomError: where the disk is too full for the cache.
        NotWritableError: where the cache can't be written to, and lacks a file.
        ValueError: where no file is left.
    """
    files = video_files(folders)
    most = _frames_per_file(len(files))
    films = []
    skipped = []
    for file in tqdm(files, "videos", disable=None, leave=False, delay=1):
        try:
            films.append(_film(file, cache, most, frames))
        except (NoRoomError, NotWritableError):
            raise
        except Exception as error:  # whatever a decoder raises: the others are read
            skipped.append(f"{file.name} ({unread_reason(error)})")
    if not films:
        reasons = f": {name_some(skipped)}" if skipped else ", no file at all"
        named = name_some([repr(folder) for folder in folders])
        raise ValueError(f"folders=({named}) hold no usable video{reasons}")
    remarks = [remark for film in films for remark in film.remarks]
    said = [name_some(remarks)] if remarks else []
    if skipped:
        said = [f"{len(skipped)} skipped, not usable as videos: {name_some(skipped)}", *said]
    if said:
        warnings.warn(f"{name_some(list(folders))}: {'; '.join(said)}", stacklevel=4)
    return films


def fingerprint(films: Sequence[Path]) -> str:
    """Tells sets of films apart, wherever their folders are: by names, sizes and a part of each.

    Args:
        films: files, or films of numbered pictures, as `video_files` gives them.
    """
    digest = hashlib.sha256()
    for film in films:
        for file in picture_files(film) or [film]:
            size = file.stat().st_size
            with file.open("rb") as content:
                content.seek(size // 2)
                digest.update(repr((file.name, size, content.read(PART))).encode())
    return digest.hexdigest()


def video_files(folders: Sequence[str]) -> list[Path]:
    """The files of folders and of what is below them, each once, but for hidden ones and texts.

    Args:
        folders: or files.

    Raises:
        FileNotFoundError: for a folder that does not exist.
    """
    files = [file for folder in folders for file in _files_below(Path(folder).expanduser())]
    return list({file.resolve(): file for file in files}.values())


def _files_below(path: Path) -> list[Path]:
    """A folder's files, then those of the folders in it."""
    files = list_files(path, "folders", "folders of videos, or files")
    if path.is_dir():
        files = join_numbered([file for file in files if file.suffix.lower() not in TEXTS])
        for below in sorted(path.iterdir()):
            # A link may lead back to where it is.
            if below.is_dir() and not below.is_symlink() and below.name[0] != ".":
                files += _files_below(below)
    return files


def _frames_per_file(files: int) -> int:
    """How many frames are kept of a file, at most: as many as of each other file."""
    most = FRAMES_PER_FILE
    while most > STRETCH and most * files * FRAME_BYTES > CACHE_BYTES:
        most //= 2
    return most


def _film(file: Path, cache: Path, most: int, frames: int) -> Film:
    """A file, decoded if the cache does not have it.

    Raises:
        ValueError: with the reason why it gives no clip.
    """
    parts = [part.stat() for part in picture_files(file) or [file]]
    size = sum(part.st_size for part in parts)
    changed = max(part.st_mtime_ns for part in parts)
    identity = repr((str(file.resolve()), size, changed, *CACHE_FORMAT))
    digest = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:12]
    name = f"{shortened(file.stem, NAME_BYTES)}_{digest}"
    whole = cache / f"{name}.npy"
    in_part = cache / f"{name}_{most}.npy"
    pictures, index = whole, _cached(whole)
    if index is None:
        pictures, index = in_part, _cached(in_part)
    if index is None:
        length = count_packets(file)
        if length < frames:
            raise ValueError(f"{length} frame{'s' * (length != 1)}, a clip needs {frames}")
        pictures = whole if length <= most else in_part
        with in_turn(pictures):
            # Another process may have kept it meanwhile.
            index = _cached(pictures) or _keep(file, pictures, _kept(length, most))
    runs = tuple(run for run in _runs(index) if len(run.frames) >= frames)
    if not runs:
        raise ValueError(f"nowhere {frames} frames in a row without a cut")
    group = (str(file.parent), re.sub(r"_\d+$", "", file.stem))
    return Film(group, pictures, runs, file_remarks(file, ReadLog(**index.get("log", {}))))


def _grouped(films: list[Film]) -> tuple[Group, ...]:
    """Films of the same group together."""
    together: dict[tuple[str, str], list[Film]] = {}
    for film in films:
        together.setdefault(film.group, []).append(film)
    groups = []
    for members in together.values():
        seconds = [sum(len(run.frames) * run.interval for run in film.runs) for film in members]
        groups.append(Group(members, np.array(seconds)))
    return tuple(groups)


def _runs(index: dict[str, Any]) -> Iterator[Run]:
    """The runs of a file by its index in the cache."""
    times = np.array(index["times"])
    changes = np.array(index["changes"])
    begins = np.zeros(len(times), bool)
    begins[index["begins"]] = True
    changes[begins] = np.inf
    shot = np.cumsum(begins)
    shown = np.flatnonzero(~_repeats(changes))
    times, shot = times[shown], shot[shown]
    gaps = np.diff(times)
    within = np.diff(shot) == 0
    usual = np.median(gaps[within]) if within.any() else index["interval"]
    apart = ~within | (gaps > LONGEST_STEP * usual)
    for run in np.split(np.arange(len(shown)), np.flatnonzero(apart) + 1):
        interval = np.ptp(times[run]) / max(1, len(run) - 1)
        yield Run(shown[run], float(interval) or index["interval"])


def _repeats(changes: np.ndarray) -> np.ndarray:
    """Which frames repeat the one before, while those before and after them move, (F,) bool.

    Args:
        changes: (F,) of each frame from the one before, infinite where a shot begins.
    """
    padded = np.pad(changes, AROUND, constant_values=np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)
    before = windows[:, :AROUND].max(1)
    after = windows[:, AROUND + 1 :].max(1)
    around = np.minimum(before, after)
    return changes < np.minimum(REPEATED, REPEATED_SHARE * around)


# --- the cache ---


def _index_of(pictures: Path) -> Path:
    return pictures.with_suffix(".json")


def _cached(pictures: Path) -> dict[str, Any] | None:
    """The index of a file in the cache; None where it, or the pictures, are not there or damaged.

    Then the file is decoded again.
    """
    try:
        kept = np.load(pictures, mmap_mode="r")
        index = json.loads(_index_of(pictures).read_text(encoding="utf-8"))
        whole = _fits(index, kept)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    return index if whole else None


def _fits(index: dict[str, Any], kept: np.ndarray) -> bool:
    """Whether an index can be that of pictures (F, H, W, 3)."""
    times = np.array(index["times"], np.float64)
    changes = np.array(index["changes"], np.float64)
    begins = np.array(index["begins"], np.int64)
    known = len(times) == len(changes) <= len(kept) and bool(np.isfinite([times, changes]).all())
    inside = bool(((begins >= 0) & (begins < len(times))).all())
    of_pictures = kept.dtype == np.uint8 and kept.ndim == AXES and kept.shape[3] == COLOURS
    return known and inside and of_pictures and bool((np.diff(times) >= 0).all())


def _kept(length: int, most: int) -> np.ndarray:
    """Which of a file's frames are kept, (length,) bool: all, or stretches spread evenly."""
    if length <= most:
        return np.ones(length, bool)
    kept = np.zeros(length, bool)
    stretches = max(1, most // STRETCH)
    for stretch in range(stretches):  # in the middle of each of equal parts
        start = ((2 * stretch + 1) * length // stretches - STRETCH) // 2
        kept[start : start + STRETCH] = True
    return kept


def _keep(file: Path, pictures: Path, kept: np.ndarray) -> dict[str, Any]:
    """Decode a file into the cache; returns its index.

    Raises:
        ValueError: with the reason why it can't be read.
    """
    interval = frame_interval(file)
    size = _small_size(file)
    index = {"interval": interval, "times": [], "changes": [], "begins": []}
    shape = (int(kept.sum()), size[1], size[0], 3)
    what = f"what is kept of {file.name}"
    check_writable(pictures.parent, "the cache of videos", CACHE_REMEDY)
    check_room(pictures.parent, math.prod(shape), what)
    with whole_file(pictures) as partial:
        array = reserved_array(partial, shape, what)
        last = -1
        log = ReadLog()
        for number, frame, change in _changes(file, size, interval, log):
            if number >= len(kept) or not kept[number]:
                continue
            at = len(index["times"])
            array[at] = frame.picture
            if frame.discontinuity or last != number - 1:
                index["begins"].append(at)
            index["times"].append(round(frame.time, 5))
            index["changes"].append(round(change, 6))
            last = number
        array.flush()
        give_back(partial, array[len(index["times"]) :].nbytes)  # of frames that are not there
    index["log"] = asdict(log)
    with whole_file(_index_of(pictures)) as partial:  # the last: what has an index, is whole
        partial.write_text(json.dumps(index), encoding="utf-8")
    return index


def _changes(
    file: Path, size: tuple[int, int], interval: float, log: ReadLog
) -> Iterator[tuple[int, SmallFrame, float]]:
    """Frames with their number and the mean absolute difference from the one before, in [0, 1]."""
    request = clip_request(1, size, 1)
    before = None
    for number, frame in enumerate(find_cuts(read_frames(file, request, interval, log))):
        change = 0.0 if before is None else _change(np.stack([before, frame.picture]))
        yield number, frame, change
        before = frame.picture


def _small_size(file: Path) -> tuple[int, int]:
    """Width and height in pixels at which a file is kept.

    Raises:
        ValueError: with the reason why it can't be read.
    """
    first = next(decode(file, ReadLog()), None)
    if first is None:
        raise ValueError("0 readable frames")
    width, height = shown_size(first)
    shorter = min(width, height)
    if max(width, height) > LONGEST_SIDE * shorter:
        raise ValueError(f"{width}x{height} pixels, too long and thin")
    scale = min(1.0, SIDE / shorter)
    return max(1, round(width * scale)), max(1, round(height * scale))
