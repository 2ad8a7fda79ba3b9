"""Frames of a video file, whatever its format, size and damage: in order, upright, as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from eon_utils.data.files import system_reason
from eon_utils.data.picture_films import (
    LARGEST,
    check_pixels,
    count_pictures,
    picture_files,
    picture_interval,
    read_pictures,
)

if TYPE_CHECKING:
    from av import Packet, VideoCodecContext, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

LONGEST = 10_000_000  # frames, four days: a broken index may claim billions
LONGEST_SIDE = 32  # times the size that is wanted: longer pictures are too thin
DRAWN_TEXT = ("tty", "bin", "xbin", "adf", "idf")  # formats of text, which FFmpeg would draw
TIMED_PACKETS = 300  # by which the time from frame to frame is measured
DEEPEST = 16  # bits a channel
DEFAULT_SPEED = 25  # frames a second of a file that says nothing
EXTREME_ASPECT = 10  # of pixels, width to height: beyond that the file is wrong
UNSPECIFIED = 2  # a file's colour space where it names none
HDTV_HEIGHT = 576  # rows, above which players take the colours of HDTV where a file names none
EVEN = 0.5  # share of what is cropped away that lies above
HEADS_KEPT = 0.2


@dataclass
class ReadLog:
    """What was found in a file while reading it."""

    frames: int = 0  # that could be read
    damaged: bool = False
    highest: int = 0  # value of those of 16 bits


class DecodedFrame(NamedTuple):
    """A frame as it comes out of the decoder."""

    time: float | None  # its stamp in seconds, where it has one
    frame: VideoFrame
    aspect: float  # of its pixels, width to height
    discontinuity: bool  # frames before it are damaged


class OpenVideo(NamedTuple):
    """A file that is open, its first picture track and a decoder for it."""

    container: InputContainer
    track: VideoStream
    decoder: VideoCodecContext


@contextmanager
def open_video(file: Path) -> Iterator[OpenVideo]:
    """Open a video file.

    Raises:
        ValueError: with the reason why it can't be read.
    """
    with file.open("rb") as handle, _open_container(handle) as container:
        tracks = _picture_tracks(container)
        track = tracks[_first_that_moves(file, len(tracks))] if len(tracks) > 1 else tracks[0]
        yield OpenVideo(container, track, _decoder(track))


def _open_container(handle: BinaryIO) -> InputContainer:
    """FFmpeg gets the file's bytes alone: some names it takes for addresses.

    No list inside the file leads to another file, or to the net.
    """
    import av
    from av.error import FFmpegError

    start = handle.read(8)
    handle.seek(0)
    if not start:
        raise ValueError("empty file")
    if start.startswith(b"#EXTM3U"):  # FFmpeg would wait for a live play list to grow
        raise ValueError("a play list")
    options = {"protocol_whitelist": "none", "max_pixels": str(LARGEST)}
    try:
        return av.open(handle, "r", options=options, metadata_errors="ignore")
    except (FFmpegError, OSError):
        reason = "no index: cut short?" if start[4:] == b"ftyp" else "not a video"
        raise ValueError(reason) from None


def _picture_tracks(container: InputContainer) -> list[VideoStream]:
    """The tracks of pictures, without those that belong to sound."""
    from av.stream import Disposition

    if container.format.name in DRAWN_TEXT:
        raise ValueError("not a video")
    tracks = []
    for track in container.streams.video:
        if not track.disposition & Disposition.attached_pic:
            tracks.append(track)
    if not tracks:
        raise ValueError("no picture track")
    return tracks


def _first_that_moves(file: Path, count: int) -> int:
    """Which of several tracks of pictures has more than one; the first if none has.

    The file is opened again for it: after a seek some files decode to garbage.
    """
    with file.open("rb") as handle, _open_container(handle) as container:
        tracks = _picture_tracks(container)
        places = [track.index for track in tracks]
        packets = [0] * count
        for packet in islice(container.demux(tracks), TIMED_PACKETS):
            packets[places.index(packet.stream.index)] += bool(packet.size)
    return next((index for index, seen in enumerate(packets) if seen > 1), 0)


def _decoder(track: VideoStream) -> VideoCodecContext:
    import av

    decoder = track.codec_context
    if decoder is None:
        raise ValueError("unknown codec")
    check_pixels(decoder.width, decoder.height)
    if track.metadata.get("alpha_mode") == "1":
        # FFmpeg's own decoders of WebM leave transparency out.
        library = "libvpx" if decoder.name == "vp8" else "libvpx-vp9"
        decoder = av.VideoCodecContext.create(library, "r")
    decoder.options = {"max_pixels": str(LARGEST)}
    # The threads share a frame: with one each they take memory, and damage looks different every
    # time.
    decoder.thread_type = "SLICE"
    decoder.thread_count = 2
    return decoder


def _packets(video: OpenVideo) -> Iterator[Packet]:
    """The packets of the track, as far as they can be read."""
    from av.error import FFmpegError

    with suppress(FFmpegError, OSError, IndexError):  # IndexError: PyAV, of a track that is late
        for packet in islice(video.container.demux(video.track), LONGEST):
            if packet.size:
                yield packet


def frame_interval(file: Path) -> float:
    """Seconds from frame to frame: the mean over the first packets, pauses left out."""
    if pictures := picture_files(file):
        return picture_interval(pictures)
    stamps = []
    with open_video(file) as video:
        for packet in islice(_packets(video), TIMED_PACKETS):
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is not None:
                stamps.append(stamp)
        track = video.track
        gaps = np.diff(np.unique(np.array(stamps, np.float64)))
        if len(gaps) and track.time_base:
            usual = gaps[gaps <= 2 * np.median(gaps)]
            return float(usual.mean() * track.time_base)
        return 1 / float(track.average_rate or track.guessed_rate or DEFAULT_SPEED)


def count_packets(file: Path) -> int:
    """About the number of frames of a file, without decoding any.

    Raises:
        ValueError: with the reason why it can't be read.
    """
    if pictures := picture_files(file):
        return count_pictures(pictures)
    with open_video(file) as video:
        return sum(1 for _ in _packets(video))


def decode(file: Path, log: ReadLog) -> Iterator[DecodedFrame]:
    """The frames of a file, in order from its start: after a seek some files decode to garbage.

    What follows damage is garbage too, without an error, until the next key frame. It is left out.

    Args:
        file: of a video, or a film of pictures.
        log: is kept up to date.
    """
    from av.error import FFmpegError

    if pictures := picture_files(file):
        yield from _decode_pictures(pictures, log)
        return
    with open_video(file) as video:
        intact = True
        discontinuity = True
        for packet in chain(_packets(video), [None]):  # None drains the decoder
            try:
                frames = video.decoder.decode(packet)
            except FFmpegError:
                frames = []
                intact = False
            for frame in frames:
                intact = (intact or bool(frame.key_frame)) and not frame.is_corrupt
                if intact:
                    yield DecodedFrame(_time(video, frame), frame, _aspect(video), discontinuity)
                discontinuity = not intact
            discontinuity |= not intact
            log.damaged |= not intact


def _decode_pictures(files: list[Path], log: ReadLog) -> Iterator[DecodedFrame]:
    """The frames of a film of pictures."""
    from av import VideoFrame

    discontinuity = True
    for time, pixels in read_pictures(files):
        if pixels is not None:
            yield DecodedFrame(time, VideoFrame.from_ndarray(pixels, "rgb24"), 1.0, discontinuity)
        discontinuity = pixels is None
        log.damaged |= discontinuity


def unread_reason(error: Exception) -> str:
    """Why a file can't be read, in a user's words: the course's own, or the system's."""
    from av.error import FFmpegError

    ours = isinstance(error, ValueError | OSError) and not isinstance(error, FFmpegError)
    if not ours:
        return "cannot be decoded"
    return system_reason(error) if isinstance(error, OSError) else str(error)


def _time(video: OpenVideo, frame: VideoFrame) -> float | None:
    """A frame's time stamp in seconds. AVI has none for display: FFmpeg guesses them."""
    stamp = frame.dts if video.container.format.name == "avi" else frame.pts
    unit = video.track.time_base
    return None if stamp is None or unit is None else float(stamp * unit)


def _aspect(video: OpenVideo) -> float:
    """Width to height of a pixel; 1 where the file's value is no sense."""
    aspect = float(video.track.sample_aspect_ratio or 1)
    return aspect if 1 / EXTREME_ASPECT < aspect < EXTREME_ASPECT else 1.0


def shown_size(decoded: DecodedFrame) -> tuple[int, int]:
    """Width and height of a frame in pixels, upright and with square pixels."""
    frame = decoded.frame
    width = max(1, round(frame.width * decoded.aspect))
    quarter_turns = round(frame.rotation / 90)
    return (frame.height, width) if quarter_turns % 2 else (width, frame.height)


def highest_of_16_bits(frame: VideoFrame) -> int:
    """The largest value of a frame of 16 bits a channel; 0 of any other."""
    if not frame.format.components or frame.format.components[0].bits != DEEPEST:
        return 0
    try:
        return int(frame.to_ndarray().max())
    except ValueError:  # a format that PyAV can't hand over
        return 0


def to_picture(decoded: DecodedFrame, size: tuple[int, int], centre: bool) -> np.ndarray:
    """A frame as a picture: on white where transparent, upright, scaled and cropped.

    Args:
        decoded: the frame.
        size: (width, height) in pixels.
        centre: crop evenly around the middle, else more below than above.

    Returns:
        (H, W, 3), uint8.

    Raises:
        ValueError: for a picture that is too long and thin.
    """
    frame = decoded.frame
    quarter_turns = round(frame.rotation / 90)
    frame = _on_white(frame)
    width, height = size[::-1] if quarter_turns % 2 else size  # before it is turned
    shown_width = frame.width * decoded.aspect
    scale = max(width / shown_width, height / frame.height)
    scaled_width = max(width, round(shown_width * scale))
    scaled_height = max(height, round(frame.height * scale))
    if max(scaled_width, scaled_height) > LONGEST_SIDE * max(size):
        raise ValueError(f"{frame.width}x{frame.height} pixels, too long and thin")
    no_colours = frame.colorspace == UNSPECIFIED
    matrix = "ITU709" if no_colours and frame.height > HDTV_HEIGHT else None
    frame = frame.reformat(
        scaled_width,
        scaled_height,
        "rgb24",
        src_colorspace=matrix,
        interpolation="AREA",
        threads=1,
    )
    picture = np.rot90(frame.to_ndarray(), quarter_turns)
    share = EVEN if centre else HEADS_KEPT
    top = int((picture.shape[0] - size[1]) * share)
    left = (picture.shape[1] - size[0]) // 2
    return np.ascontiguousarray(picture[top : top + size[1], left : left + size[0]])


def _on_white(frame: VideoFrame) -> VideoFrame:
    """The frame without transparency."""
    from av import VideoFrame

    if len(frame.format.components) not in (2, 4) and not frame.format.has_palette:
        return frame
    rgba = frame.to_ndarray(format="rgba").astype(np.uint16)
    colour, alpha = np.split(rgba, [3], axis=2)
    white = 255 - (255 - colour) * alpha // 255
    return VideoFrame.from_ndarray(white.astype(np.uint8), "rgb24")
