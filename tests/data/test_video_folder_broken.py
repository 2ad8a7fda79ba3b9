"""Video files that are broken, foreign, large or missing: with which words they are skipped."""

import struct
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import broken
from PIL import Image
from video_files import av, marked, numbers, ramp, texture, write

from eon_utils.data.video_folder import video_folder


def sound(path, picture=None):
    """A second of silence, if wanted with a picture on its sleeve."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        if picture is not None:
            sleeve = container.add_stream("mjpeg", rate=1)
            sleeve.height, sleeve.width, _ = picture.shape
            sleeve.pix_fmt = "yuvj420p"
            sleeve.disposition = av.stream.Disposition.attached_pic
            container.mux(sleeve.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(sleeve.encode(None))
        for start in range(0, 44100, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.rate, frame.pts = 44100, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_folder_of_everything(tmp_path):
    for kind in ("good.mp4", "good.mkv", "short.mp4", "still.mp4"):
        write(tmp_path / kind, ramp({"short.mp4": 8, "still.mp4": 1}.get(kind, 20)))
    (tmp_path / "clip.mp4").write_bytes(b"")
    (tmp_path / "notes.mp4").write_text("a shopping list\n" * 50)
    (tmp_path / "notes.txt").write_text("a shopping list\n" * 500)  # FFmpeg would film it
    (tmp_path / "noise.avi").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "list.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:5,\ngood.mp4\n"
    )
    (tmp_path / ".hidden.mp4").write_bytes(b"")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "cut_short.mp4").write_bytes((tmp_path / "good.mp4").read_bytes()[:500])
    sound(tmp_path / "sound.mp4")
    sound(tmp_path / "song.mp4", marked())
    Image.fromarray(marked()).save(tmp_path / "photo.png")
    with pytest.warns(UserWarning) as caught:
        clips, names = video_folder(tmp_path, size=16)
    assert len(caught) == 1 and caught[0].filename == __file__
    head, _, skipped = str(caught[0].message).partition("readable as videos: ")
    skipped, _, folders = skipped.partition("; ")
    assert folders == "folders in it are not read: sub"
    assert head == f"{tmp_path}: 12 skipped, not "
    assert skipped.split("), ") == [
        "clip.mp4 (empty file",
        "cut_short.mp4 (no index: cut short?",
        "link.mp4 (a link that leads nowhere",
        "list.m3u8 (a play list",
        "noise.avi (not a video",
        "notes.mp4 (not a video",
        "notes.txt (not a video",
        "photo.png (1 frame, a clip needs 5",
        "short.mp4 (nowhere 5 frames in a row without a cut, at 12.5 a second",
        "song.mp4 (no picture track",
        "sound.mp4 (no picture track",
        "still.mp4 (1 frame, a clip needs 5)",
    ]
    assert names == [
        f"good.{kind} @ {start} s" for kind in ("mkv", "mp4") for start in ("0", "0.4")
    ]
    assert numbers(clips) == [[0, 2, 4, 6, 8], [10, 12, 14, 16, 18]] * 2


def test_nothing_usable_is_an_error_that_says_what_was_found(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"videos='.*nowhere' does not exist \(looked in .*; give a folder"
    ):
        video_folder(tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match=r"videos='.*' holds no usable video, no file at all; MP4, MKV, AVI"
    ):
        video_folder(tmp_path)
    for index in range(30):
        (tmp_path / f"{index:02}.mp4").write_bytes(b"")
    with pytest.raises(
        ValueError,
        match=r"holds no usable video: 00.mp4 \(empty file\), 01.* 19.mp4.* and 10 more;",
    ):
        video_folder(tmp_path)
    with pytest.raises(ValueError, match=r"holds no usable video: 07.mp4 \(empty file\); MP4"):
        video_folder(tmp_path / "07.mp4")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    write(tmp_path / "a.mp4", ramp(1))
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ValueError, match=r"a\.mp4 \(Permission denied\)"):
        video_folder(tmp_path)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"frames": 0}, "frames=0 "),
        ({"frames": 2.0}, "frames=2.0 "),
        ({"limit": 0}, "limit=0 "),
        ({"size": 0}, "size=0 "),
        ({"size": (64, 0)}, "size=0 "),
        ({"size": (64, 64, 3)}, "size=.* pair"),
        ({"fps": 0}, "fps=0 "),
        ({"fps": float("nan")}, "fps=nan "),
        ({"every": -1.0}, "every=-1.0 "),
    ],
)
def test_bad_parameters_are_named(bad, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        video_folder(tmp_path, **bad)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mkv", {}), ("a.mp4", {"container": {"movflags": "+faststart"}}), ("a.avi", {})],
)
def test_of_a_truncated_file_what_is_there_is_read(name, options, tmp_path):
    pictures = [picture + texture() for picture in ramp(40)]
    data = write(tmp_path / name, pictures, g=10, **options).read_bytes()
    (tmp_path / name).write_bytes(data[: int(0.7 * len(data))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the last packet may be torn
        clips, _ = video_folder(tmp_path / name)
    assert 1 <= len(clips) <= 3
    starts = [
        (first - 4) for first, *_ in numbers(clips)
    ]  # the texture adds about 20, four steps of brightness
    assert starts == [10 * index for index in range(len(clips))]


def test_no_clip_spans_a_damaged_place(tmp_path):
    pictures = [picture + texture(seed=index) for index, picture in enumerate(ramp(40))]
    file = write(tmp_path / "a.mp4", pictures, g=8, bf=0, crf=30)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    file.write_bytes(data)
    with pytest.warns(UserWarning, match=r"a\.mp4 is damaged, its whole parts are used"):
        clips, _ = video_folder(file, frames=4)
    shown = numbers(clips)
    assert len(shown) >= 2 and all(np.diff(clip).tolist() == [2, 2, 2] for clip in shown)
    with pytest.warns(UserWarning, match="damaged"):
        again = video_folder(file, frames=4)[0]
    assert torch.equal(clips, again)  # concealed errors differ from run to run


def test_too_large_and_too_thin(tmp_path):
    file = write(tmp_path / "a.gif", ramp(10), "gif", "rgb8")
    data = bytearray(file.read_bytes())
    struct.pack_into("<HH", data, 6, 65535, 65535)
    file.write_bytes(data)
    with pytest.raises(
        ValueError, match=r"a\.gif \((0 readable frames|65535x65535 pixels, at most)"
    ):
        video_folder(file)
    write(tmp_path / "b.mkv", ramp(10, 2, 8000), "ffv1", "bgra")
    with pytest.raises(ValueError, match=r"8000x2 pixels, too long and thin"):
        video_folder(tmp_path / "b.mkv")


@pytest.mark.parametrize(
    ("name", "codec", "fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
        ("a.ts", "libx264", "yuv420p"),
    ],
)
def test_broken_files_end_in_clips_or_in_words(name, codec, fmt, tmp_path):
    data = write(
        tmp_path / name, [picture + texture() for picture in ramp(30)], codec, fmt
    ).read_bytes()
    read = 0
    for seed in range(60):
        (tmp_path / name).write_bytes(broken(data, seed))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                clips, _ = video_folder(tmp_path / name, size=16)
                read += 1
                assert clips.isfinite().all() and clips.min() >= 0 and clips.max() <= 1
            except ValueError as error:
                assert f"holds no usable video: {name} (" in str(error)
        assert all(one.category is UserWarning for one in caught)
    assert 10 <= read < 60  # some are readable, some are not


LARGE = """
import resource, sys
from eon_utils.data.video_folder import video_folder
assert "av" not in sys.modules and "torchvision" not in sys.modules  # imported when needed
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
clips, _ = video_folder(sys.argv[1], limit=4)
print(len(clips), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is in other units there")
def test_a_4k_video_needs_little_memory(tmp_path, repo):
    height, width = 2160, 3840
    ground = np.tile(texture(216, 384), (10, 10, 3))
    second = []
    for index in range(15):
        second.append(ground.copy())
        second[-1][200:400, 100 * index : 100 * index + 200] = 255
    write(tmp_path / "one.mp4", second, rate=30, preset="ultrafast", refs=4, crf=30)
    with (
        av.open(str(tmp_path / "one.mp4")) as one,
        av.open(str(tmp_path / "long.mp4"), "w") as container,
    ):
        stream = container.add_stream_from_template(one.streams.video[0])
        packets = [packet for packet in one.demux(video=0) if packet.size]
        length = Fraction(1, 2) / packets[0].time_base
        for turn in range(16):  # 8 seconds; the card has the measurement of ten minutes
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.time_base, again.stream, again.is_keyframe = (
                    packet.time_base,
                    stream,
                    packet.is_keyframe,
                )
                again.pts, again.dts = (
                    int(stamp + turn * length) for stamp in (packet.pts, packet.dts)
                )
                container.mux(again)
    command = [sys.executable, "-c", LARGE, str(tmp_path / "long.mp4")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=repo, check=True)
    clips, megabytes = map(int, run.stdout.split())
    assert clips == 4 and megabytes < 250, f"{megabytes} MB"
    assert height * width * 3 * 240 > 5e9  # what all frames would take
