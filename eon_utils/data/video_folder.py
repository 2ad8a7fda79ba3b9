"""Clips out of video files: your own, whatever their size, length and frame rate."""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from av import CodecContext, Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

LARGEST = 8192 * 8192  # pixels: a broken header may claim billions, and FFmpeg would take memory for them
LONGEST = 10_000_000  # frames, four days: a broken index may claim billions
AROUND = 4  # frames before and after a change, with which it is compared


class ClipRequest(NamedTuple):
    frames: int
    size: tuple[int, int]  # (width, height)
    fps: float
    limit: int
    every: float  # seconds from clip to clip, at least
    centre: bool


class _Shown(NamedTuple):
    time: float  # seconds after the first frame
    picture: np.ndarray  # (H, W, 3) uint8
    change: float  # how unlike the frame before, 0 to 2
    fresh: bool  # no clip goes on from the frame before


@contextmanager
def _opened(file: Path) -> Iterator[tuple[InputContainer, VideoStream, CodecContext]]:
    """The file, its first picture track and a decoder for it; ValueError with the reason where there is none."""
    import av
    from av.stream import Disposition

    with file.open("rb") as handle:  # its bytes alone: FFmpeg takes some names for addresses
        start = handle.read(8)
        handle.seek(0)
        if not start or start.startswith(b"#EXTM3U"):  # FFmpeg would wait for a live play list to grow
            raise ValueError("a play list" if start else "empty file")
        try:  # no other list leads to another file, or to the net
            options = {"protocol_whitelist": "none", "max_pixels": str(LARGEST)}
            container = av.open(handle, options=options, metadata_errors="ignore")
        except (av.FFmpegError, OSError):
            raise ValueError("no index: cut short?" if start[4:] == b"ftyp" else "not a video") from None
        with container:
            tracks = [t for t in container.streams.video if not t.disposition & Disposition.attached_pic]
            if container.format.name in ("tty", "bin", "xbin", "adf", "idf"):  # text, which FFmpeg would draw
                raise ValueError("not a video")
            if not tracks:
                raise ValueError("no picture track")
            track, decoder = tracks[0], tracks[0].codec_context
            if decoder is None:
                raise ValueError("unknown codec")
            if decoder.width * decoder.height > LARGEST:
                raise ValueError(f"{decoder.width}x{decoder.height} pixels, at most 8192x8192 are read")
            if track.metadata.get("alpha_mode") == "1":  # FFmpeg's own decoders of WebM leave transparency out
                decoder = av.CodecContext.create({"vp8": "libvpx"}.get(decoder.name, "libvpx-vp9"), "r")
            decoder.options = {"max_pixels": str(LARGEST)}
            # The threads share a frame: with one each they take memory, and damage looks different every time.
            decoder.thread_type, decoder.thread_count = "SLICE", 2
            yield container, track, decoder


def _packets(container: InputContainer, track: VideoStream) -> Iterator[Packet | None]:
    """The packets of a track, as far as they can be read, then None, which drains the decoder."""
    import av

    with suppress(av.FFmpegError, OSError, IndexError):  # IndexError: of PyAV, when a track turns up late
        packets = islice(container.demux(track), LONGEST)
        yield from (packet for packet in packets if packet.size)
    yield None


def _interval(file: Path) -> float:
    """Seconds from frame to frame: the mean over the first 300 packets, pauses left out."""
    with _opened(file) as (container, track, _):
        packets = [packet for packet in islice(_packets(container, track), 300) if packet]
        stamps = [packet.dts if packet.pts is None else packet.pts for packet in packets]
        gaps = np.diff(np.unique(np.array([stamp for stamp in stamps if stamp is not None], dtype=float)))
        if len(gaps) and track.time_base:
            return float(gaps[gaps <= 2 * np.median(gaps)].mean() * track.time_base)
        return 1 / float(track.average_rate or track.guessed_rate or 25)


def _frames(file: Path, log: Counter) -> Iterator[tuple[float | None, VideoFrame, float, bool]]:
    """Time stamp in seconds, frame, shape of its pixels (width / height), True where some before it are damaged.

    In order from the start: after a seek some files decode to garbage. What follows damage does too, without
    an error, until the next key frame, and is left out.
    """
    import av

    with _opened(file) as (container, track, decoder):
        stamp = "dts" if container.format.name == "avi" else "pts"  # AVI has no time stamps: FFmpeg guesses
        whole, fresh = True, True
        for packet in _packets(container, track):
            try:
                decoded = decoder.decode(packet)
            except av.FFmpegError:
                decoded, whole = [], False
            for frame in decoded:
                whole = (whole or frame.key_frame) and not frame.is_corrupt
                if whole:
                    time = getattr(frame, stamp)
                    time = None if time is None else float(time * track.time_base)
                    aspect = float(track.sample_aspect_ratio or 1)
                    yield time, frame, aspect if 0.1 < aspect < 10 else 1.0, fresh
                fresh = not whole
            fresh |= not whole
            log["damaged"] += not whole


def _picture(frame: VideoFrame, aspect: float, size: tuple[int, int], centre: bool) -> np.ndarray:
    """A frame as a picture (H, W, 3), uint8: on white where transparent, upright, scaled and cropped."""
    from av import VideoFrame

    turns = round(frame.rotation / 90)
    if len(frame.format.components) in (2, 4) or frame.format.has_palette:
        colour, alpha = np.split(frame.to_ndarray(format="rgba").astype(np.uint16), [3], axis=2)
        white = 255 - (255 - colour) * alpha // 255
        frame = VideoFrame.from_ndarray(white.astype(np.uint8), "rgb24")
    width, height = size[::-1] if turns % 2 else size
    scale = max(width / (frame.width * aspect), height / frame.height)
    wide, high = max(width, round(frame.width * aspect * scale)), max(height, round(frame.height * scale))
    if max(wide, high) > 32 * max(size):
        raise ValueError(f"{frame.width}x{frame.height} pixels, too long and thin")
    # Where a file does not name its colours, players take those of HDTV for large pictures; so does this.
    matrix = "ITU709" if frame.colorspace == 2 and frame.height > 576 else None
    frame = frame.reformat(wide, high, "rgb24", src_colorspace=matrix, interpolation="AREA", threads=1)
    picture = np.rot90(frame.to_ndarray(), turns)
    top, left = int((picture.shape[0] - size[1]) * (0.5 if centre else 0.2)), (picture.shape[1] - size[0]) // 2
    return np.ascontiguousarray(picture[top : top + size[1], left : left + size[0]])


def _shown(file: Path, wanted: ClipRequest, interval: float, log: Counter) -> Iterator[_Shown]:
    """Every frame of a file, small, with its change: in 16 x 16 parts, and in how many pixels have a colour."""
    time, last, before = -interval, None, None
    for stamp, frame, aspect, fresh in _frames(file, log):
        gap = interval if stamp is None or last is None else stamp - last
        fresh |= gap < 0  # two recordings in one file, or stamps that are wrong
        time, last = time + (interval if gap < 0 else gap), stamp
        picture = _picture(frame, aspect, wanted.size, wanted.centre)
        side = max(1, min(wanted.size) // 16)
        wide, high = wanted.size[0] // side, wanted.size[1] // side
        parts = picture[: high * side, : wide * side].reshape(high, side, wide, side, 3).mean((1, 3)) / 255
        colours = np.bincount(((picture >> 6) @ np.array([16, 4, 1], np.uint8)).ravel(), minlength=64)
        now = parts, colours / colours.sum()
        moved, recoloured = (float(np.abs(a - b).sum()) for a, b in zip(now, before or now, strict=True))
        moved, recoloured = moved / parts.size, recoloured / 2
        # A slow change of light moves a plain surface from one bin to the next: it counts as little as it is.
        yield _Shown(time, picture, moved + min(recoloured, 2 * moved), fresh)
        before = now
        log["frames"] += 1


def _shots(shown: Iterator[_Shown]) -> Iterator[_Shown]:
    """The same, fresh also where a shot begins: at a change far above those around it."""
    window: deque[_Shown | None] = deque(maxlen=2 * AROUND + 1)
    for latest in chain(shown, repeat(None, AROUND)):
        window.append(latest)
        now = window[-1 - AROUND] if len(window) > AROUND else None
        if now:
            others = [other.change for other in window if other and other is not now]
            cut = now.change > max(0.2, 2.5 * np.median(others or [0.0]))
            yield now._replace(fresh=now.fresh or cut)


def _steady(shots: Iterator[_Shown], step: float, interval: float) -> Iterator[_Shown]:
    """The frames nearest to moments `step` seconds apart, counted anew from each fresh one.

    One that stands for two moments comes twice. Where there is none for longer than that, the next is fresh.
    """
    last, moment = None, 0.0
    for now in chain(shots, [None]):
        broken = not now or not last or now.fresh or now.time - last.time > 2.01 * step
        until = last and (last.time + interval / 2 if broken else (last.time + now.time) / 2)
        while last and moment <= until + 1e-6:
            yield last
            last, moment = last._replace(fresh=False), moment + step
        if now and broken:
            now, moment = now._replace(fresh=True), now.time
        last = now


def _clips(file: Path, wanted: ClipRequest) -> tuple[list[tuple[str, np.ndarray]], list[str]]:
    """The clips of a file, each (name, (T, H, W, 3) uint8), and remarks on the file.

    Of more than four times the limit every second stays. Raises ValueError with the reason where there is none.
    """
    log, interval = Counter(), _interval(file)
    step = max(1 / wanted.fps, interval)
    clips, clip, stride, free = [], [], 1, -1.0
    for now in _steady(_shots(_shown(file, wanted, interval, log)), step, interval):
        clip = [] if now.fresh else clip
        if clip or now.time > free:
            clip.append(now)
        if len(clip) == wanted.frames:
            if log["clips"] % stride == 0:
                clips.append((f"{file.name} @ {round(clip[0].time, 2):g} s", np.stack([c.picture for c in clip])))
            log["clips"] += 1
            if len(clips) > 4 * wanted.limit:
                clips, stride = clips[::2], 2 * stride
            free, clip = max(clip[0].time + wanted.every - 1e-6, now.time), []
    if not clips and log["frames"] < wanted.frames:
        frames = f"{log['frames']} {'readable ' * bool(log['damaged'])}frame{'s' * (log['frames'] != 1)}"
        raise ValueError(f"{frames}, a clip needs {wanted.frames}")
    if not clips:
        raise ValueError(f"nowhere {wanted.frames} frames in a row without a cut, at {1 / step:.3g} a second")
    remarks = [f"{file.name} is damaged, its whole parts are used"] if log["damaged"] else []
    if step > 1.02 / wanted.fps:
        remarks.append(f"{file.name} has {1 / step:.3g} frames a second, all are used in place of {wanted.fps:g}")
    return clips, remarks


def read_clips(files: list[Path], wanted: ClipRequest) -> tuple[list[tuple[str, np.ndarray]], list[str], list[str]]:
    """Clips, as evenly as can be from all files; the skipped files with reasons; remarks."""
    import av

    found, skipped, remarks = {}, {}, []
    # Of more files than clips those come first that are spread evenly; the others stand in for what is skipped.
    order = sorted(range(len(files)), key=lambda index: index * wanted.limit % len(files) >= wanted.limit)
    for index in order:
        if len(found) == wanted.limit:
            unread = len(files) - len(found) - len(skipped)
            remarks.append(f"{unread} of {len(files)} files are not read: limit={wanted.limit}")
            break
        try:
            found[index], said = _clips(files[index], wanted)
            remarks += said
        except av.FFmpegError:
            skipped[index] = f"{files[index].name} (cannot be decoded)"
        except (OSError, ValueError) as error:
            skipped[index] = f"{files[index].name} ({getattr(error, 'strerror', None) or error})"
        while sum(map(len, found.values())) > 4 * wanted.limit:
            fullest = max(found, key=lambda index: len(found[index]))
            found[fullest] = found[fullest][::2]
    turns = sorted((turn, index) for index, clips in found.items() for turn in range(len(clips)))
    shares = Counter(index for _, index in turns[: wanted.limit])
    clips = []
    for index, share in sorted(shares.items()):  # from the middle of each of `share` equal parts
        clips += [found[index][(2 * part + 1) * len(found[index]) // (2 * share)] for part in range(share)]
    return clips, [skipped[index] for index in sorted(skipped)], sorted(remarks)


def name_some(items: list[str]) -> str:
    return ", ".join(items[:20]) + (f" and {len(items) - 20} more" if len(items) > 20 else "")


def to_tensor(clips: list[tuple[str, np.ndarray]]) -> Tensor:
    return torch.from_numpy(np.stack([clip for _, clip in clips])).permute(0, 1, 4, 2, 3).contiguous() / 255


def clip_request(
    frames: int, size: int | tuple[int, int], limit: int, fps: float = 12.5, every: float | None = None
) -> ClipRequest:
    """The parameters, checked, for crops from the middle. Raises ValueError naming the one out of range."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2:
        raise ValueError(f"size={size!r} must be one whole number, or a pair: width and height")
    for name, value in (("frames", frames), ("limit", limit), ("size", sides[0]), ("size", sides[1])):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r} must be a whole number, at least 1")
    for name, value in (("fps", fps), ("every", every)):
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{name}={value!r} must be greater than 0 (fps: frames a second, every: seconds)")
    return ClipRequest(frames, sides, fps, limit, every or 0.0, True)


def video_folder(
    path: str | Path,
    frames: int = 5,
    size: int | tuple[int, int] = 64,
    fps: float = 12.5,
    limit: int = 64,
    every: float | None = None,
    centre: bool = True,
) -> tuple[Tensor, list[str]]:
    """Clips of your own videos: every file in a folder (or one file), in order of name, at most `limit` clips.

    Each clip has `frames` frames, `fps` a second by the file's time stamps, or all frames of a file that has
    fewer. Clips do not overlap and span no cut, no gap and no damaged place; with `every` one begins at least so
    many seconds after the one before. Where there are more than `limit`, each file gives the same number if it
    can, spread over its length. Frames are turned upright, put on white where transparent, scaled by area and
    cropped to `size` (a side, or (width, height)) evenly around the middle, or, without `centre`, more below than
    above. Files are read once, in order, and never held in memory. What cannot be read is skipped with a warning
    that names it.

    Returns clips (N, T, 3, H, W), float32 RGB in [0, 1], and their names, such as "bikes.mp4 @ 3.2 s". Raises
    FileNotFoundError when the path does not exist, and ValueError when no clip is left or a parameter is out of
    range.
    """
    wanted = clip_request(frames, size, limit, fps, every)._replace(centre=centre)
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"videos={str(path)!r} does not exist (looked in {Path.cwd()}); give a folder of videos, or one file"
        )
    files = [path] if path.is_file() else []
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and file.name[0] != ".")
    clips, skipped, remarks = read_clips(files, wanted)
    if not clips:
        found = f": {name_some(skipped)}" if files else ", no file at all"
        raise ValueError(
            f"videos={str(path)!r} holds no usable video{found}; MP4, MKV, AVI, MOV, WebM and GIF are read"
        )
    if skipped:
        remarks.insert(0, f"{len(skipped)} skipped, not readable as videos: {name_some(skipped)}")
    if remarks:
        warnings.warn(f"{path}: {'; '.join(remarks)}", stacklevel=2)
    return to_tensor(clips), [name for name, _ in clips]
