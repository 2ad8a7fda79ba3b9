"""Clips out of video files: your own, whatever their size, length and speed."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eon_utils.data.clips import check_whole
from eon_utils.data.files import folders_left_out, list_files, name_some
from eon_utils.data.picture_films import join_numbered
from eon_utils.data.video_decoding import (
    ReadLog,
    decode,
    frame_interval,
    highest_of_16_bits,
    to_picture,
    unread_reason,
)

AROUND = 4  # frames before and after a difference, with which it is compared
PARTS = 16  # a side, in which pictures are compared
SMALLEST_CUT = 0.2  # difference of two pictures, see `_Comparison`
CUT_FACTOR = 2.5  # how far a cut is above the differences around it
LONGEST_STEP = 2.01  # steps, beyond which frames are a gap apart
ROUNDING = 1e-6  # seconds
SLOWER = 1.02  # times the step that is wanted: a file that slow is worth a remark
DARK = 2**14  # values of 16 bits that stay below use no more than 14
SPARE = 4  # times the clips that are wanted are kept while reading


class ClipRequest(NamedTuple):
    """Which clips to cut out of videos."""

    frames: int
    size: tuple[int, int]  # (width, height)
    fps: float
    limit: int
    every: float  # seconds from clip to clip, at least
    centre: bool


class NamedClip(NamedTuple):
    """A clip, and from where it is."""

    name: str
    pictures: np.ndarray  # (T, H, W, 3) uint8


class SmallFrame(NamedTuple):
    """A frame, small."""

    time: float  # seconds after the first frame
    picture: np.ndarray  # (H, W, 3) uint8
    difference: float  # how unlike the frame before, 0 to 2
    discontinuity: bool  # no clip goes on from the frame before


def video_folder(
    path: str | Path,
    frames: int = 5,
    size: int | tuple[int, int] = 64,
    fps: float = 12.5,
    limit: int = 64,
    every: float | None = None,
    centre: bool = True,
) -> tuple[Tensor, list[str]]:
    """Clips of your own videos: every file in a folder (or one file), in order of name.

    Several pictures in one file (TIFF, animated WebP or PNG) are a film, and so are numbered
    pictures of one name in a folder. Where nothing tells their speed, each of them is used.

    Clips do not overlap and span no cut, no gap and no damaged place. Where there are more than
    `limit`, each file gives the same number if it can, spread over its length. Frames are turned
    upright, put on white where transparent, scaled by area and cropped. Files are read once, in
    order, and never held in memory. What cannot be read is skipped with a warning that names it.

    Args:
        path: of a folder or a file.
        frames: T, frames a clip, at least 1.
        size: side of square frames in pixels, or (width, height).
        fps: frames a second by the file's time stamps; of a slower file all frames are taken.
        limit: as many clips at most, at least 1.
        every: seconds from the start of a clip to that of the next, at least.
        centre: crop evenly around the middle, else more below than above.

    Returns:
        Clips (N, T, 3, H, W), float32 RGB in [0, 1], and their names, such as "bikes.mp4 @ 3.2 s".

    Raises:
        FileNotFoundError: for a path that does not exist.
        ValueError: when no clip is left, and for a parameter out of range.
    """
    request = clip_request(frames, size, limit, fps, every)._replace(centre=centre)
    path = Path(path).expanduser()
    clips, skipped, remarks = read_clips(_video_files(path), request)
    left_out = folders_left_out(path)
    if not clips:
        raise ValueError(_no_usable_video(path, skipped))
    if skipped:
        unreadable = f"{len(skipped)} skipped, not readable as videos: {name_some(skipped)}"
        remarks = [unreadable, *remarks]
    remarks += left_out
    if remarks:
        warnings.warn(f"{path}: {'; '.join(remarks)}", stacklevel=2)
    return to_tensor(clips), [clip.name for clip in clips]


def check_videos(path: str | Path, count: int, frames: int, size: int) -> None:
    """Look whether videos give so many clips. No more of them is read than it takes to know.

    Args:
        path: as for `video_folder`.
        count: clips that are needed.
        frames: of each.
        size: their side in pixels.

    Raises:
        FileNotFoundError: for a path that does not exist.
        ValueError: where there are fewer.
    """
    request = clip_request(frames, size, count)
    path = Path(path).expanduser()
    found = 0
    skipped = []
    for file in _video_files(path):
        log = ReadLog()
        try:
            speed, clips = _clips_in(file, request, log)
            before = found
            for _ in clips:
                found += 1
                if found == count:
                    return
            if found == before:
                skipped.append(f"{file.name} ({_why_no_clip(log, frames, speed)})")
        except Exception as error:  # whatever a decoder raises: the others are read
            skipped.append(f"{file.name} ({unread_reason(error)})")
    if not found:
        raise ValueError(_no_usable_video(path, skipped))
    gives = f"gives {found} clip{'s' * (found != 1)} of {frames} frames in a row"
    raise ValueError(f"videos={str(path)!r} {gives}, {count} are needed: add a video")


def _video_files(path: Path) -> list[Path]:
    files = list_files(path, "videos", "a folder of videos, or one file")
    return join_numbered(files) if path.is_dir() else files


def _no_usable_video(path: Path, skipped: list[str]) -> str:
    """What an error says of a folder without any clip, with the reason for each file."""
    reasons = f": {name_some(skipped)}" if skipped else ", no file at all"
    reasons = "; ".join([reasons, *folders_left_out(path)])
    formats = "MP4, MKV, AVI, MOV, WebM, GIF, stacks and numbered pictures are read"
    return f"videos={str(path)!r} holds no usable video{reasons}; {formats}"


def clip_request(
    frames: int,
    size: int | tuple[int, int],
    limit: int,
    fps: float = 12.5,
    every: float | None = None,
) -> ClipRequest:
    """The parameters of `video_folder`, checked, for crops from the middle.

    Raises:
        ValueError: that names the one out of range.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2:
        raise ValueError(f"size={size!r} must be one whole number, or a pair: width and height")
    check_whole("frames", frames, 1)
    check_whole("limit", limit, 1)
    for side in sides:
        check_whole("size", side, 1)
    units = "(fps: frames a second, every: seconds)"
    for name, value in (("fps", fps), ("every", every)):
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{name}={value!r} must be greater than 0 {units}")
    return ClipRequest(frames, sides, fps, limit, every or 0.0, True)


def to_tensor(clips: list[NamedClip]) -> Tensor:
    """(N, T, 3, H, W), float32 RGB in [0, 1]."""
    pictures = np.stack([clip.pictures for clip in clips])  # (N, T, H, W, 3)
    return torch.from_numpy(pictures).permute(0, 1, 4, 2, 3).contiguous() / 255


def read_clips(
    files: list[Path], request: ClipRequest
) -> tuple[list[NamedClip], list[str], list[str]]:
    """Clips as evenly as can be from all files; the skipped files with the reasons; remarks.

    Of more files than clips those are read first that are spread evenly over the list. The others
    stand in for what is skipped.
    """
    limit = request.limit
    clips: dict[int, list[NamedClip]] = {}  # by the number of the file, as are the next ones
    skipped: dict[int, str] = {}
    remarks: list[str] = []
    order = sorted(range(len(files)), key=lambda index: index * limit % len(files) >= limit)
    for index in order:
        if len(clips) == limit:
            unread = len(files) - len(clips) - len(skipped)
            remarks.append(f"{unread} of {len(files)} files are not read: limit={limit}")
            break
        file = files[index]
        try:
            clips[index], file_remarks = _file_clips(file, request)
            remarks += file_remarks
        except Exception as error:  # whatever a decoder raises: the others are read
            skipped[index] = f"{file.name} ({unread_reason(error)})"
        _thin_fullest(clips, SPARE * limit)
    reasons = [skipped[index] for index in sorted(skipped)]
    return _even_shares(clips, limit), reasons, sorted(remarks)


def _thin_fullest(clips: dict[int, list[NamedClip]], most: int) -> None:
    """Drop every second clip of the files that have most, until there are at most so many."""
    while sum(map(len, clips.values())) > most:
        fullest = max(clips, key=lambda index: len(clips[index]))
        clips[fullest] = clips[fullest][::2]


def _even_shares(clips: dict[int, list[NamedClip]], limit: int) -> list[NamedClip]:
    """At most `limit` clips: files take turns, and each gives its share from all its length."""
    shares = dict.fromkeys(sorted(clips), 0)
    left = min(limit, sum(map(len, clips.values())))
    while left:
        for index in shares:
            if left and shares[index] < len(clips[index]):
                shares[index] += 1
                left -= 1
    result = []
    for index, share in shares.items():
        length = len(clips[index])
        for part in range(share):  # from the middle of each of equal parts
            result.append(clips[index][(2 * part + 1) * length // (2 * share)])
    return result


def _file_clips(file: Path, request: ClipRequest) -> tuple[list[NamedClip], list[str]]:
    """The clips of a file, of very many an even selection; remarks on the file.

    Raises:
        ValueError: with the reason where there is none.
    """
    log = ReadLog()
    speed, every_clip = _clips_in(file, request, log)
    clips = _select_evenly(every_clip, SPARE * request.limit)
    if not clips:
        raise ValueError(_why_no_clip(log, request.frames, speed))
    remarks = file_remarks(file, log)
    if speed < request.fps / SLOWER:
        used = f"all are used in place of {request.fps:g}"
        remarks.append(f"{file.name} has {speed:.3g} frames a second, {used}")
    return clips, remarks


def _clips_in(file: Path, request: ClipRequest, log: ReadLog) -> tuple[float, Iterator[NamedClip]]:
    """Frames a second of a file's clips, and the clips, read as they are asked for."""
    interval = frame_interval(file)
    step = max(1 / request.fps, interval)  # seconds from frame to frame of a clip
    frames = _resample(find_cuts(read_frames(file, request, interval, log)), step, interval)
    return 1 / step, _cut_into_clips(file, frames, request)


def file_remarks(file: Path, log: ReadLog) -> list[str]:
    """What somebody should know of a file that was read."""
    remarks = []
    if log.damaged:
        remarks.append(f"{file.name} is damaged, its whole parts are used")
    if 0 < log.highest < DARK:
        dark = f"its values of 16 bits go to {log.highest} of 65535"
        remarks.append(f"{file.name} is dark: {dark}; scale them")
    return remarks


def _why_no_clip(log: ReadLog, frames: int, speed: float) -> str:
    if log.frames >= frames:
        return f"nowhere {frames} frames in a row without a cut, at {speed:.3g} a second"
    readable = "readable " if log.damaged else ""
    plural = "" if log.frames == 1 else "s"
    return f"{log.frames} {readable}frame{plural}, a clip needs {frames}"


def read_frames(
    file: Path, request: ClipRequest, interval: float, log: ReadLog
) -> Iterator[SmallFrame]:
    """Every frame of a file, small, with its time and its difference from the one before."""
    time = -interval
    last_stamp = None
    before = None
    for decoded in decode(file, log):
        gap = interval
        if decoded.time is not None and last_stamp is not None:
            gap = decoded.time - last_stamp
        jumped_back = gap < 0  # two recordings in one file, or stamps that are wrong
        time += interval if jumped_back else gap
        last_stamp = decoded.time
        picture = to_picture(decoded, request.size, request.centre)
        now = _Comparison.of(picture)
        difference = now.difference(before or now)
        yield SmallFrame(time, picture, difference, decoded.discontinuity or jumped_back)
        before = now
        log.frames += 1
        log.highest = max(log.highest, highest_of_16_bits(decoded.frame))


class _Comparison(NamedTuple):
    """What of a picture is compared with the next one."""

    parts: np.ndarray  # (about 16, 16, 3) mean colours in [0, 1]
    colours: np.ndarray  # (64,) share of the pixels that have each colour

    @classmethod
    def of(cls, picture: np.ndarray) -> _Comparison:
        """Of a picture (H, W, 3), uint8."""
        height, width = picture.shape[:2]
        side = max(1, min(width, height) // PARTS)  # pixels a side of a part
        rows = height // side
        columns = width // side
        blocks = picture[: rows * side, : columns * side]
        blocks = blocks.reshape(rows, side, columns, side, 3)
        parts = blocks.mean((1, 3)) / 255  # (rows, columns, 3)
        colour = (picture >> 6) @ np.array([16, 4, 1], np.uint8)  # (H, W), from 0 to 63
        counts = np.bincount(colour.ravel(), minlength=64)
        return cls(parts, counts / counts.sum())

    def difference(self, before: _Comparison) -> float:
        """From 0, the same, to 2."""
        moved = float(np.abs(self.parts - before.parts).sum()) / self.parts.size
        recoloured = float(np.abs(self.colours - before.colours).sum()) / 2
        # A slow change of light moves a plain surface from one colour to the next: it counts as
        # little as it is.
        return moved + min(recoloured, 2 * moved)


def find_cuts(frames: Iterator[SmallFrame]) -> Iterator[SmallFrame]:
    """The same, with a discontinuity also at cuts: at differences far above those around them."""
    window: deque[SmallFrame | None] = deque(maxlen=2 * AROUND + 1)
    for latest in chain(frames, repeat(None, AROUND)):
        window.append(latest)
        frame = window[-1 - AROUND] if len(window) > AROUND else None
        if frame:
            others = [other.difference for other in window if other and other is not frame]
            usual = np.median(others or [0.0])
            is_cut = frame.difference > max(SMALLEST_CUT, CUT_FACTOR * usual)
            yield frame._replace(discontinuity=frame.discontinuity or bool(is_cut))


def _resample(frames: Iterator[SmallFrame], step: float, interval: float) -> Iterator[SmallFrame]:
    """The frames nearest to moments `step` seconds apart, counted anew from each discontinuity.

    One that stands for two moments comes twice. A gap of more than two steps is a discontinuity.

    Args:
        frames: in order of time.
        step: seconds from frame to frame that are wanted.
        interval: seconds from frame to frame that are usual.
    """
    last: SmallFrame | None = None
    moment = 0.0
    for frame in chain(frames, [None]):
        follows = _follows(last, frame, step)
        if last:
            end = last.time + interval / 2
            if follows and frame:
                end = (last.time + frame.time) / 2
            while moment <= end + ROUNDING:
                yield last
                last = last._replace(discontinuity=False)
                moment += step
        if frame and not follows:
            frame = frame._replace(discontinuity=True)
            moment = frame.time
        last = frame


def _follows(last: SmallFrame | None, frame: SmallFrame | None, step: float) -> bool:
    """Whether a frame comes after the last one without a discontinuity or a gap."""
    if not last or not frame or frame.discontinuity:
        return False
    return frame.time - last.time <= LONGEST_STEP * step


def _cut_into_clips(
    file: Path, frames: Iterator[SmallFrame], request: ClipRequest
) -> Iterator[NamedClip]:
    """Frames in a row, as many as a clip has; no clip overlaps another."""
    clip: list[SmallFrame] = []
    blocked_until = -1.0  # seconds
    for frame in frames:
        if frame.discontinuity:
            clip = []
        if clip or frame.time > blocked_until:
            clip.append(frame)
        if len(clip) == request.frames:
            start = clip[0].time
            pictures = np.stack([part.picture for part in clip])  # (T, H, W, 3)
            yield NamedClip(f"{file.name} @ {round(start, 2):g} s", pictures)
            blocked_until = max(start + request.every - ROUNDING, frame.time)
            clip = []


def _select_evenly(clips: Iterable[NamedClip], most: int) -> list[NamedClip]:
    """At most so many of the clips, one in 1, 2, 4, ... of them."""
    selected = []
    stride = 1
    for number, clip in enumerate(clips):
        if number % stride == 0:
            selected.append(clip)
        if len(selected) > most:
            selected = selected[::2]
            stride *= 2
    return selected
