"""Intact video files: which frames are read, at which moments, in which shape and colours."""

import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from video_files import av, marked, numbers, ramp, texture, write

from eon_utils.data import video_folder as reading
from eon_utils.data.video_decoding import ReadLog, frame_interval
from eon_utils.data.video_folder import video_folder

REAL = Path(__file__).resolve().parents[3] / "shared" / "videos"
real = pytest.mark.skipif(
    not REAL.is_dir(), reason="needs the camera clips in ../shared/videos, no part of this"
)


# Every container that the card names, with 8 to 12 bits, all chroma formats, palettes, alpha, B
# frames.
KINDS = [
    ("h264.mp4", "libx264", "yuv420p"),
    ("hevc444.mp4", "libx265", "yuv444p10le"),
    ("h264444.mp4", "libx264", "yuv444p10le"),
    ("av1.mp4", "libsvtav1", "yuv420p"),
    ("h264.mkv", "libx264", "yuv422p"),
    ("gray.mkv", "ffv1", "gray"),
    ("rgb.mkv", "ffv1", "bgra"),
    ("gray12.mkv", "ffv1", "gray12le"),
    ("mpeg4.avi", "mpeg4", "yuv420p"),
    ("h264.avi", "libx264", "yuv420p"),
    ("mjpeg.avi", "mjpeg", "yuvj420p"),
    ("prores.mov", "prores_ks", "yuv422p10le"),
    ("animation.mov", "qtrle", "argb"),
    ("palette.mov", "qtrle", "gray"),
    ("vp9.webm", "libvpx-vp9", "yuv420p"),
    ("vp8.webm", "libvpx", "yuv420p"),
    ("alpha.webm", "libvpx-vp9", "yuva420p"),
    ("rgb8.gif", "gif", "rgb8"),
    ("rgba.apng", "apng", "rgba"),
    ("h264.ts", "libx264", "yuv420p"),
    ("mpeg2.mpg", "mpeg2video", "yuv420p"),
    ("wmv2.wmv", "wmv2", "yuv420p"),
    ("no_stamps.h264", "libx264", "yuv420p"),
]


@pytest.mark.parametrize(("name", "codec", "fmt"), KINDS, ids=[kind[0] for kind in KINDS])
def test_every_container_gives_the_right_frames(name, codec, fmt, tmp_path, recwarn):
    options = {
        "libx264": {"bf": 3, "b_strategy": 0},
        "mpeg4": {"bf": 2, "qmax": 2},
        "mpeg2video": {"bf": 2, "qmax": 2},
    }
    file = write(tmp_path / name, ramp(40), codec, fmt, **options.get(codec, {}))
    clips, names = video_folder(file, size=16)
    assert clips.shape == (4, 5, 3, 16, 16) and clips.dtype == torch.float32
    assert clips.is_contiguous()
    assert numbers(clips) == [list(range(start, start + 10, 2)) for start in (0, 10, 20, 30)]
    assert names == [f"{name} @ {start} s" for start in ("0", "0.4", "0.8", "1.2")]
    assert clips.min() >= 0 and clips.max() <= 1 and clips.std((2, 3, 4)).max() < 0.02
    assert not recwarn.list


def test_frames_are_chosen_by_their_time(tmp_path):
    # A telephone's stamps: the shutter trembles and slows down in the dark, the 40th frame is
    # missing.
    rng = np.random.default_rng(0)
    gaps = np.concatenate([rng.integers(28, 39, 20), rng.integers(40, 67, 20)])
    gaps[39] += 50
    stamps = [0, *np.cumsum(gaps).tolist()]
    file = write(tmp_path / "phone.mp4", ramp(41), stamps=stamps, crf=10)
    for fps in (10, 12):
        (shown,) = numbers(video_folder(file, frames=16, fps=fps)[0])
        for k, number in enumerate(shown):
            assert number == np.argmin(np.abs(np.array(stamps) - 1000 * k / fps))


def test_30_frames_a_second_become_12(tmp_path):
    clips, names = video_folder(write(tmp_path / "a.mp4", ramp(40), rate=30), frames=4, fps=12)
    assert numbers(clips)[:2] == [[0, 2, 5, 7], [10, 12, 15, 17]] and names[1] == "a.mp4 @ 0.33 s"


def test_a_file_slower_than_fps_is_read_as_it_is(tmp_path):
    file = write(tmp_path / "slow.mp4", ramp(20), rate=8)
    with pytest.warns(
        UserWarning, match=r"slow\.mp4 has 8 frames a second, all are used in place of 12\.5"
    ):
        clips, _ = video_folder(file)
    assert np.ravel(numbers(clips)).tolist() == list(range(20))


def test_no_clip_spans_a_pause_or_stamps_that_jump_back(tmp_path):
    stamps = [40 * index + 3000 * (index >= 13) for index in range(30)]
    clips, names = video_folder(write(tmp_path / "pause.mkv", ramp(30), stamps=stamps))
    assert numbers(clips) == [[0, 2, 4, 6, 8], [13, 15, 17, 19, 21]]
    assert names[1] == "pause.mkv @ 3.52 s"
    first = write(tmp_path / "a.ts", ramp(13)).read_bytes()
    second = write(tmp_path / "b.ts", ramp(26)[13:]).read_bytes()
    (tmp_path / "two.ts").write_bytes(first + second)
    assert numbers(video_folder(tmp_path / "two.ts")[0]) == [[0, 2, 4, 6, 8], [13, 15, 17, 19, 21]]


def test_clips_do_not_overlap_and_every_sets_them_apart(tmp_path):
    file = write(tmp_path / "a.mp4", ramp(45))
    assert np.ravel(numbers(video_folder(file, frames=3, fps=25)[0])).tolist() == list(range(45))
    apart = numbers(video_folder(file, frames=3, fps=25, every=0.4)[0])
    assert [clip[0] for clip in apart] == [0, 10, 20, 30, 40]
    assert len(video_folder(file, frames=1, fps=25)[0]) == 45


def test_limit_is_spread_over_files_and_over_their_length(tmp_path):
    for name, count in (("long.mkv", 45), ("middle.mkv", 20), ("short.mkv", 10)):
        write(tmp_path / name, ramp(count), "ffv1", "bgra")
    _, names = video_folder(tmp_path, limit=5)
    starts = [("long", "0.4"), ("long", "1.2"), ("middle", "0"), ("middle", "0.4"), ("short", "0")]
    assert names == [f"{name}.mkv @ {start} s" for name, start in starts]


def test_a_long_file_is_thinned_while_it_is_read(tmp_path):
    # The jump from bright to dark is a cut.
    file = write(tmp_path / "long.mkv", ramp(45) * 20, "ffv1", "bgra")
    everything = video_folder(file, limit=1000)[1]
    names = video_folder(file, limit=4)[1]
    starts = [float(name.split()[2]) for name in names]
    assert len(everything) == 80 and set(names) < set(everything)
    assert np.abs(np.diff(starts) - 9).max() < 3.7 and 2 < starts[0] < 8


def test_with_more_files_than_clips_the_files_are_spread(tmp_path):
    for index in range(12):
        write(tmp_path / f"{index:02}.mkv", ramp(10), "ffv1", "bgra")
    with pytest.warns(UserWarning, match="8 of 12 files are not read: limit=4"):
        names = video_folder(tmp_path, limit=4)[1]
    assert len(names) == 4 and {int(name[:2]) // 3 for name in names} == {0, 1, 2, 3}


def shots(file, size=64):
    """The frames at which a shot begins, by what `video_folder` uses."""
    request = reading.clip_request(5, size, 1)
    frames = reading.read_frames(file, request, frame_interval(file), ReadLog())
    cuts = reading.find_cuts(frames)
    return [index for index, frame in enumerate(cuts) if frame.discontinuity and index]


@real
@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_cuts_of_real_videos_are_found(size):
    # By eye: bikes.mp4 begins a shot at these frames; the others are one shot each.
    assert shots(REAL / "bikes.mp4", size) == [30, 76, 137, 187, 242]
    for name in ("bigbuckbunny", "bottle-detection", "carphone_pristine"):
        assert shots(REAL / f"{name}.mp4", size) == []


@real
@pytest.mark.parametrize(("frames", "fps"), [(5, 12.5), (5, 25), (3, 12.5), (10, 10), (4, 5)])
def test_no_clip_of_a_real_video_spans_a_cut(frames, fps):
    clips, names = video_folder(REAL / "bikes.mp4", frames=frames, fps=fps, limit=1000)
    starts = [float(name.split()[2]) for name in names]
    ends = [start + (frames - 1) / fps for start in starts]
    assert len(clips) == len(starts) and len(starts) > 5
    for cut in (1.2, 3.04, 5.48, 7.48, 9.68):
        assert not any(
            start < cut - 0.001 and end > cut - 0.001
            for start, end in zip(starts, ends, strict=True)
        )


@real
def test_a_folder_of_real_videos():
    with pytest.warns(
        UserWarning, match=r"1 skipped, not readable as videos: README.md \(not a video\)"
    ):
        clips, names = video_folder(REAL, size=(96, 64))
    assert clips.shape == (64, 5, 3, 64, 96) and clips.min() >= 0 and clips.max() <= 1
    assert Counter(name.split()[0] for name in names) == {
        "bigbuckbunny.mp4": 13,
        "bikes.mp4": 21,
        "bottle-detection.mp4": 20,
        "carphone_pristine.mp4": 10,
    }


def test_cuts_between_plain_pictures_and_slow_changes_of_light(tmp_path):
    dark = [np.repeat(texture() + np.uint8(60 + index), 3, 2) for index in range(20)]
    bright = [np.uint8(255) - picture for picture in dark]
    assert shots(write(tmp_path / "cut.mkv", [*dark[:10], *bright], "ffv1", "bgra")) == [10]
    assert shots(write(tmp_path / "light.mkv", ramp(47), "ffv1", "bgra")) == []


def corners(clips):
    """Of the first picture, which quarters are white: the upper two, then the lower two."""
    first = clips[0, 0].mean(0)
    half = [size // 2 for size in first.shape]
    parts = [first[: half[0], : half[1]], first[: half[0], half[1] :], first[half[0] :, : half[1]]]
    return [bool(part.mean() > 0.5) for part in [*parts, first[half[0] :, half[1] :]]]


@pytest.mark.parametrize(
    ("matrix", "white"),
    [
        ((1, 0, 0, 1), [True, False, False, False]),
        # A telephone held upright: x' = -y, y' = x, y pointing down.
        ((0, 1, -1, 0), [False, True, False, False]),
        ((-1, 0, 0, -1), [False, False, False, True]),
        ((0, -1, 1, 0), [False, False, True, False]),
    ],
)
def test_rotation_is_applied(matrix, white, tmp_path):
    file = write(tmp_path / "a.mp4", [marked()] * 6)
    data = bytearray(file.read_bytes())
    # The matrix a, b, u, c, d, v, x, y, w as 16.16 fixed point, QuickTime's format.
    at = data.index(b"tkhd") + 44
    assert struct.unpack_from(">9i", data, at) == (65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
    a, b, c, d = (65536 * value for value in matrix)
    struct.pack_into(">5i", data, at, a, b, 0, c, d)
    file.write_bytes(data)
    clips, _ = video_folder(file, size=(36, 48) if a == 0 else (64, 48), fps=25)
    assert corners(clips) == white


def test_pixels_that_are_not_square(tmp_path):
    # Stored 64 x 48, shown 128 x 48: the 48 x 48 in the middle are 24 of the 64 columns.
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, 20:44] = 255
    for name in ("a.mp4", "a.mkv"):
        clips, _ = video_folder(
            write(tmp_path / name, [picture] * 6, pixels=(2, 1), crf=1), size=48, fps=25
        )
        assert clips[..., 3:-3].min() > 0.95 and clips.shape[-2:] == (48, 48)


def test_crop_and_scale(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (96, 160, 3), dtype=np.uint8)] * 6
    file = write(tmp_path / "a.mkv", pictures, "ffv1", "bgra")
    for size, box in (
        (24, (32, 0, 128, 96)),
        ((40, 24), (0, 0, 160, 96)),
        ((40, 12), (0, 24, 160, 72)),
    ):
        wide, high = (size, size) if isinstance(size, int) else size
        mean = Image.fromarray(pictures[0]).resize((wide, high), Image.Resampling.BOX, box)
        clips, _ = video_folder(file, size=size, fps=25)
        assert clips.shape == (1, 5, 3, high, wide)
        shown = clips[0, 0].permute(1, 2, 0) * 255
        assert (shown - torch.tensor(np.asarray(mean))).abs().max() <= 2
    upper = video_folder(file, size=(40, 12), fps=25, centre=False)[0]
    uncut = video_folder(file, size=(40, 24), fps=25)[0]
    # More is cut off below than above: 0.2 of what is too much.
    assert torch.equal(upper, uncut[..., 2:14, :])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (35, 51), (17, 200), (301, 33)])
def test_odd_and_small_sizes(height, width, tmp_path):
    clips, _ = video_folder(
        write(tmp_path / "a.mkv", ramp(10, height, width), "ffv1", "bgra"), size=(33, 17)
    )
    assert clips.shape == (1, 5, 3, 17, 33) and numbers(clips) == [[0, 2, 4, 6, 8]]


@pytest.mark.parametrize(
    ("name", "codec", "fmt"),
    [
        ("a.mov", "qtrle", "argb"),
        ("a.apng", "apng", "rgba"),
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.mkv", "ffv1", "bgra"),
    ],
)
def test_what_is_transparent_is_white(name, codec, fmt, tmp_path):
    picture = np.zeros((48, 64, 4), np.uint8)
    picture[:, :32] = (200, 40, 40, 255)
    picture[:24, 32:] = (0, 0, 0, 128)
    clips, _ = video_folder(
        write(tmp_path / name, [picture] * 6, codec, fmt, crf=4), size=(64, 48), fps=25
    )
    shown = clips[0, 0]
    red = shown[:, 8:16, 8:16]
    gray = shown[:, 8:16, 48:56]
    white = shown[:, 32:40, 48:56]
    assert white.min() > 0.97 and (gray - 127 / 255).abs().max() < 0.03
    assert (red.mean((1, 2)) - torch.tensor([200, 40, 40]) / 255).abs().max() < 0.04


@pytest.mark.parametrize(
    ("height", "tag", "matrix"), [(48, None, "ITU601"), (720, None, "ITU709"), (48, 1, "ITU709")]
)
def test_colours_follow_the_matrix_of_the_file(height, tag, matrix, tmp_path):
    picture = np.full((height, 64, 3), (200, 60, 30), np.uint8)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, 64, "yuv444p"
        for index in range(6):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame = frame.reformat(format="yuv444p", dst_colorspace=matrix)
            frame.colorspace = stream.codec_context.colorspace = tag or 2
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    clips, _ = video_folder(tmp_path / "a.mkv", size=16, fps=25)
    assert (clips.mean((0, 1, 3, 4)) * 255 - torch.tensor([200.0, 60, 30])).abs().max() < 2
