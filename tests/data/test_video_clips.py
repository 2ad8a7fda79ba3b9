"""Training clips out of video files: which frames are drawn, and what the cache keeps of them."""

import json
import os
import pickle
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from video_files import ramp, texture, write

import eon_utils as eon
from eon_utils.data import video_clips as making
from eon_utils.data.video_clips import VideoClips, score_clips


def film(path, pictures=None, rate=25, **settings):
    """A video without loss, at first of a ramp of brightness, in which every step is seen."""
    return write(path, pictures or ramp(40), "ffv1", "bgra", rate=rate, **settings)


def videos(tmp_path, count=20, frames=5, size=16, **settings):
    return VideoClips(
        count,
        frames,
        size,
        folders=(str(tmp_path / "in"),),
        cache=str(tmp_path / "out"),
        **settings,
    )


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def shown(clips):
    """The numbers (N, T) of the pictures of a ramp."""
    return ((clips.mean((2, 3, 4)) * 255 - 20) / 5).round().int()


def cached(tmp_path, ending):
    return sorted((tmp_path / "out").glob(f"*.{ending}"))


# --- clips ---


def test_a_clip_depends_on_the_seed_and_its_number_alone(folder, tmp_path):
    rng = np.random.default_rng(0)
    film(folder / "a.mkv", [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(20)])
    film(folder / "b.mkv")
    clips = videos(tmp_path, 12, seed=5, start=7)
    made = clips.stack()
    assert made.shape == (12, 5, 3, 16, 16) and made.dtype == torch.float32
    assert made.is_contiguous() and made.min() >= 0 and made.max() <= 1
    assert torch.equal(made[1:3], videos(tmp_path, 2, seed=5, start=8).stack())
    assert torch.equal(torch.cat(list(DataLoader(clips, 5, num_workers=2))), made)
    assert torch.equal(pickle.loads(pickle.dumps(clips)).stack(), made)
    for other in ({"seed": 6}, {"seed": 5, "train": False}):
        assert not torch.equal(videos(tmp_path, 12, start=7, **other).stack(), made)


def test_it_is_a_source_that_can_be_mixed_and_kept(folder, tmp_path, repo):
    film(folder / "a.mkv")
    clips = videos(tmp_path, 3, frames=6)
    assert eon.VideoClips is VideoClips and (repo / "data" / clips.card).is_file()
    assert clips == videos(tmp_path, 3, frames=6) and len({clips, videos(tmp_path, 3, 6)}) == 1
    assert "Film" not in repr(clips)
    mixture = eon.Mixture([eon.CachedClips(clips), eon.MovingDigits(3, 6, 16)], 8)
    assert torch.stack([mixture[draw] for draw in range(8)]).shape == (8, 5, 3, 16, 16)


def steps(folder, tmp_path, rate):
    film(folder / "a.mkv", rate=rate)
    return Counter(shown(videos(tmp_path, 200, frames=3).stack()).diff(dim=1).flatten().tolist())


@pytest.mark.parametrize(
    ("rate", "expected"), [(60, range(2, 8)), (30, [1, 2, 3]), (25, [1, 2, 3]), (12, [1]), (5, [1])]
)
def test_frames_are_a_30th_to_an_8th_of_a_second_apart(rate, expected, folder, tmp_path):
    found = steps(folder, tmp_path, rate)
    assert sorted(found) == list(expected)
    assert min(found.values()) > 0.5 * max(found.values())


def test_a_run_that_is_too_short_for_quick_clips_is_shown_slowly(folder, tmp_path):
    film(folder / "a.mkv", ramp(12))
    found = Counter(tuple(clip.diff().tolist()) for clip in shown(videos(tmp_path, 60).stack()))
    assert set(found) == {(1, 1, 1, 1), (2, 2, 2, 2)}


def test_a_clip_is_a_square_part_of_any_size(folder, tmp_path):
    ground = np.zeros((48, 96, 3), np.uint8)
    ground[..., 0] = 2 * np.arange(96)  # red: where from
    ground[..., 1] = 2 * np.arange(48)[:, None]
    pictures = [ground + np.array([0, 0, 5 * k], np.uint8) for k in range(20)]
    film(folder / "a.mkv", pictures)
    made = videos(tmp_path, 300, frames=2).stack()[:, 0] * 127.5
    left, right = made[:, 0, :, 0].mean(1), made[:, 0, :, -1].mean(1)
    top, bottom = made[:, 1, 0].mean(1), made[:, 1, -1].mean(1)
    wide, high = right - left, bottom - top
    assert (wide - high).abs().max() < 2  # square
    side = wide * 16 / 15
    assert side.min() < 18 and side.max() > 46  # from 16 pixels, the clip's own, to all 48
    assert left.min() < 2 and right.max() > 93 and top.min() < 2 and bottom.max() > 45
    assert 25 < side.mean() < 39


def test_small_frames_are_enlarged_and_large_ones_are_kept_small(folder, tmp_path):
    film(folder / "small.mkv", ramp(10, 9, 12))
    film(folder / "upright.mkv", ramp(10, 512, 256))
    write(folder / "wide.mp4", ramp(10), pixels=(2, 1))
    assert videos(tmp_path, 30, size=32).stack().shape == (30, 5, 3, 32, 32)
    shapes = [np.load(file).shape for file in cached(tmp_path, "npy")]
    assert shapes == [(10, 9, 12, 3), (10, 256, 128, 3), (10, 48, 128, 3)]


# --- what is left out ---


def test_frames_that_repeat_are_left_out(folder, tmp_path):
    doubled = [picture for picture in ramp(20) for _ in range(2)]  # 30 a second, kept as 60
    film(folder / "a.mkv", doubled, rate=60)
    found = Counter(shown(videos(tmp_path, 200).stack()).diff(dim=1).flatten().tolist())
    assert sorted(found) == [1, 2, 3]  # 30 a second
    (film_,) = videos(tmp_path).groups[0].films
    (run,) = film_.runs
    assert run.frames.tolist() == list(range(0, 40, 2)) and abs(run.interval - 1 / 30) < 0.001


def test_every_fifth_frame_repeats(folder, tmp_path):
    pictures = []
    for index, picture in enumerate(ramp(32)):
        pictures += [picture] * (2 if index % 4 == 3 else 1)
    film(folder / "a.mkv", pictures, rate=30)
    differences = shown(videos(tmp_path, 100, frames=4).stack()).diff(dim=1)
    assert differences.min() == 1 and (differences == differences[:, :1]).all()


def test_what_stands_still_is_drawn_seldom_but_is_no_error(folder, tmp_path):
    moving = [np.roll(texture(), 3 * k, 1).repeat(3, 2) for k in range(30)]
    film(folder / "a.mkv", moving + [moving[-1]] * 30)
    made = videos(tmp_path, 100).stack()
    still = (made.diff(dim=1).abs().amax((1, 2, 3, 4)) == 0).float().mean()
    assert still <= 0.01
    (folder / "a.mkv").unlink()
    film(folder / "b.mkv", ramp(1) * 20)
    assert torch.equal(videos(tmp_path).stack().diff(dim=1), torch.zeros(20, 4, 3, 16, 16))


def test_no_clip_spans_a_cut_or_a_pause(folder, tmp_path):
    dark = [texture().repeat(3, 2) + np.uint8(2 * k) for k in range(15)]
    bright = [np.uint8(180) + picture for picture in dark]
    film(folder / "cut.mkv", dark + bright)
    made = videos(tmp_path, 150, frames=4).stack().mean((2, 3, 4))
    assert ((made < 0.4).all(1) | (made > 0.6).all(1)).all()
    assert (made[:, 0] < 0.4).float().mean() > 0.3 and (made[:, 0] > 0.6).float().mean() > 0.3
    (folder / "cut.mkv").unlink()
    stamps = [40 * k + 3000 * (k >= 20) for k in range(40)]
    film(folder / "pause.mkv", stamps=stamps)
    numbers = shown(videos(tmp_path, 150, frames=4).stack())
    assert ((numbers < 20).all(1) | (numbers >= 20).all(1)).all()


def test_no_clip_spans_a_damaged_place(folder, tmp_path):
    pictures = [picture + texture(seed=index) for index, picture in enumerate(ramp(40))]
    file = write(folder / "a.mp4", pictures, g=8, bf=0, crf=30)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    file.write_bytes(data)
    (group,) = videos(tmp_path, frames=4).groups
    runs = group.films[0].runs
    (index,) = (json.loads(file.read_text()) for file in cached(tmp_path, "json"))
    assert len(runs) == 2 and 8 < len(index["times"]) < 40
    for run in runs:
        assert np.ptp(np.diff(np.array(index["times"])[run.frames])) < 0.001


# --- which file ---


def test_groups_take_turns_and_their_files_by_length(folder, tmp_path):
    for name, count in (("walk_01", 10), ("walk_02", 30), ("walk_3b", 40)):
        film(folder / f"{name}.mkv", ramp(count))
    (folder / "deep" / "deeper").mkdir(parents=True)
    film(folder / "deep" / "deeper" / "walk_03.mkv", ramp(10))
    clips = videos(tmp_path)
    members = [[film.pictures.name[:7] for film in group.films] for group in clips.groups]
    assert members == [["walk_01", "walk_02"], ["walk_3b"], ["walk_03"]]
    assert np.allclose(clips.groups[0].seconds, [0.4, 1.2], rtol=0.01)
    assert np.allclose(clips.shares, [0.4, 0.4, 0.2], rtol=0.01)  # as roots of 4, 4 and 1
    drawn = Counter()
    for index in range(300):
        drawn[int(shown(clips.clip(index)[None]).max() >= 30)] += 1
    assert drawn[1] > 30


def test_a_group_of_more_than_a_minute_is_drawn_no_more_often(folder, tmp_path):
    film(folder / "long.mkv", ramp(40) * 3, rate=1)
    film(folder / "short.mkv", ramp(15), rate=1)
    assert np.allclose(videos(tmp_path).shares, [2 / 3, 1 / 3], rtol=0.01)  # as 60 to 15 seconds


def test_what_cannot_be_used_is_named_once(folder, tmp_path):
    film(folder / "good.mkv")
    film(folder / "short.mkv", ramp(3))
    film(folder / ".hidden.mkv")
    (folder / "notes.dat").write_text("a shopping list\n" * 500)
    for name in ("SOURCES.csv", "README.md", "about.JSON", "notes.txt"):  # plainly no videos
        (folder / name).write_text("what the videos show\n")
    (folder / "deep").mkdir()
    (folder / "deep" / "empty.mp4").write_bytes(b"")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clips = videos(tmp_path)
    assert [file.pictures.name[:5] for group in clips.groups for file in group.films] == ["good_"]
    reasons = (
        "notes.dat (not a video), short.mkv (3 frames, a clip needs 5), empty.mp4 (empty file)"
    )
    (warning,) = caught
    assert str(warning.message) == f"{folder}: 3 skipped, not usable as videos: {reasons}"
    assert warning.filename.endswith("test_video_clips.py")


def test_nothing_usable_is_an_error_that_names_the_folders(folder, tmp_path):
    with pytest.raises(ValueError, match=r"folders=\('.*in'\) hold no usable video, no file at"):
        videos(tmp_path)
    with pytest.raises(ValueError, match=r"folders=\(\) hold no usable video"):
        VideoClips(1)
    (folder / "a.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"hold no usable video: a\.mp4 \(empty file\)"):
        videos(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"folders='.*nowhere' does not exist"):
        VideoClips(1, folders=(str(tmp_path / "nowhere"),))
    with pytest.raises(ValueError, match="folders='in' must be a tuple"):
        VideoClips(1, folders="in")  # pyright: ignore[reportArgumentType]  # that is the test
    film(folder / "pauses.mkv", ramp(12), stamps=[40 * k + 3000 * (k // 6) for k in range(12)])
    with pytest.raises(ValueError, match=r"pauses\.mkv \(nowhere 9 frames in a row without a cut"):
        videos(tmp_path, frames=9)


def test_a_file_by_itself_and_twice(folder, tmp_path):
    file = film(folder / "a.mkv")
    clips = VideoClips(2, 5, 16, folders=(str(file), str(folder)), cache=str(tmp_path / "out"))
    assert sum(len(group.films) for group in clips.groups) == 1


# --- the cache ---


def test_the_cache_is_found_again_and_made_anew_for_another_file(folder, tmp_path, monkeypatch):
    film(folder / "a.mkv")
    made = videos(tmp_path).stack()
    with monkeypatch.context() as patch:
        patch.setattr(making, "_keep", lambda *settings: pytest.fail("decoded again"))
        assert torch.equal(videos(tmp_path).stack(), made)
        assert videos(tmp_path, frames=7)[0].shape == (7, 3, 16, 16)
    film(folder / "a.mkv", ramp(30))
    assert shown(videos(tmp_path, 100).stack()).max() == 29
    assert len(cached(tmp_path, "npy")) == len(cached(tmp_path, "json")) == 2


def test_the_default_cache_is_in_runs(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(making, "RUNS", tmp_path / "runs")
    film(folder / "a.mkv")
    VideoClips(1, folders=(str(folder),))
    assert len(list((tmp_path / "runs" / "videos").iterdir())) == 2


def test_a_full_disk_is_no_reason_to_leave_a_file_out(folder, tmp_path, monkeypatch):
    def full(folder, wanted, what):
        raise making.NoRoomError("no room")

    film(folder / "a.mkv")
    monkeypatch.setattr(making, "check_room", full)
    with pytest.raises(OSError, match="no room"):
        videos(tmp_path)


@pytest.mark.parametrize("at", ["frames", "index"])
def test_an_interrupted_file_is_not_taken_for_a_finished_one(at, folder, tmp_path, monkeypatch):
    film(folder / "a.mkv")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(making, "_changes" if at == "frames" else "json", Interrupted())
        videos(tmp_path)
    assert not list((tmp_path / "out").glob("*.partial")) and not cached(tmp_path, "json")
    assert shown(videos(tmp_path, 100).stack()).max() == 39


@pytest.mark.parametrize("ending", ["npy", "json"])
@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_a_cache_that_lacks_a_part_is_made_anew(ending, damage, folder, tmp_path):
    film(folder / "a.mkv")
    whole = shown(videos(tmp_path, 100).stack())
    (part,) = cached(tmp_path, ending)
    if damage == "gone":
        part.unlink()
    elif damage == "cut":
        part.write_bytes(part.read_bytes()[:-9])
    else:
        part.write_text('{"times": [0], "changes": [0, 1], "begins": [7]}')
    assert torch.equal(shown(videos(tmp_path, 100).stack()), whole)


def test_names_in_any_script_leave_room_for_what_is_added(folder, tmp_path):
    for name in ("影" * 80, "ü" * 120, "a" * 250):
        film(folder / f"{name}.mkv")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(videos(tmp_path).groups) == 3
    assert max(len(file.name.encode()) for file in (tmp_path / "out").iterdir()) < 130


def test_a_dark_or_damaged_film_is_named_each_time(folder, tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(folder / "a.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "gray16le"
        for shift in range(12):
            values = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (64, 1))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(values, shift), "gray16le")))
        out.mux(stream.encode(None))
    for _ in range(2):  # decoded, and from the cache
        with pytest.warns(UserWarning, match="a.mkv is dark: its values of 16 bits go to 4095"):
            videos(tmp_path)
    with pytest.warns(UserWarning, match="a.mkv is dark"):
        score_clips(folder, 5, 16)


class Interrupted:
    def __call__(self, *settings):
        raise KeyboardInterrupt

    dumps = __call__


@pytest.mark.parametrize("spoil", ["no pictures", "cut pictures", "no index", "bad index"])
def test_of_a_pair_in_the_cache_that_is_not_whole_both_are_made_anew(folder, tmp_path, spoil):
    film(folder / "a.mkv")
    made = videos(tmp_path).stack()
    (pictures,), (index,) = cached(tmp_path, "npy"), cached(tmp_path, "json")
    if spoil == "no pictures":
        pictures.unlink()
    elif spoil == "cut pictures":
        os.truncate(pictures, pictures.stat().st_size // 2)
    elif spoil == "no index":
        index.unlink()
    else:
        index.write_text("{}")
    assert torch.equal(videos(tmp_path).stack(), made)


def test_a_cache_that_cannot_be_written_to_is_no_fault_of_a_film(folder, tmp_path, monkeypatch):
    film(folder / "a.mkv")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as a read-only file system says
    with pytest.raises(PermissionError, match=r"the cache of videos .*out can't be written to; co"):
        videos(tmp_path)
    monkeypatch.undo()
    videos(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert len(videos(tmp_path)) == 20, "all is there"


def test_a_cache_may_be_at_home(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    film(folder / "a.mkv")
    VideoClips(1, folders=(str(folder),), cache="~/out")
    assert len(cached(tmp_path, "npy")) == 1


def test_films_are_told_apart_by_what_they_are(folder, tmp_path):
    film(folder / "a.mkv")
    first = making.fingerprint(making.video_files([str(folder)]))
    (tmp_path / "elsewhere").mkdir()
    (folder / "a.mkv").rename(tmp_path / "elsewhere" / "a.mkv")
    moved = (str(tmp_path / "elsewhere"),)
    assert making.fingerprint(making.video_files(moved)) == first
    changed = (tmp_path / "elsewhere" / "a.mkv").read_bytes()
    middle = len(changed) // 2
    changed = changed[:middle] + bytes([changed[middle] ^ 1]) + changed[middle + 1 :]
    (tmp_path / "elsewhere" / "a.mkv").write_bytes(changed)
    assert making.fingerprint(making.video_files(moved)) != first, "of the same size"


def test_of_a_long_file_stretches_are_kept(folder, tmp_path, monkeypatch):
    film(folder / "a.mkv", ramp(45) * 8)
    whole = videos(tmp_path).groups[0].films[0]
    assert len(np.load(whole.pictures)) == 360
    monkeypatch.setattr(making, "FRAMES_PER_FILE", 128)
    assert videos(tmp_path).groups[0].films[0].pictures == whole.pictures
    (folder / "a.mkv").touch()
    part = videos(tmp_path).groups[0].films[0]
    assert np.load(part.pictures).shape == (128, 48, 64, 3)
    index = json.loads(part.pictures.with_suffix(".json").read_text())
    times = np.array(index["times"])
    stretches = [times[:64], times[64:]]
    for middle, stretch in zip((90, 270), stretches, strict=True):
        assert np.allclose(np.diff(stretch), 0.04) and abs(stretch.mean() * 25 - middle) < 2
    assert {0, 64} <= set(index["begins"])
    assert all(run.frames[-1] < 64 or run.frames[0] >= 64 for run in part.runs)


def test_the_whole_cache_has_a_limit(monkeypatch):
    assert making._frames_per_file(1) == making.FRAMES_PER_FILE == 4096
    assert making._frames_per_file(98) == 2048
    assert making._frames_per_file(10**6) == making.STRETCH
    for files in (1, 7, 500, 2000):
        most = making._frames_per_file(files)
        assert most * files * making.FRAME_BYTES < making.CACHE_BYTES


@pytest.mark.parametrize(("length", "most"), [(0, 64), (64, 64), (65, 64), (129, 128), (900, 512)])
def test_kept_frames_are_spread(length, most):
    kept = making._kept(length, most)
    assert len(kept) == length and kept.sum() == min(length, most)


# --- scoring ---


def test_clips_to_score_by_are_those_of_each_file(tmp_path):
    film(tmp_path / "a.mkv", ramp(45))
    film(tmp_path / "b.mkv", ramp(12))
    write(tmp_path / "b.mp4", ramp(12))
    (tmp_path / "notes.md").write_text("notes")
    (tmp_path / "deep").mkdir()
    film(tmp_path / "deep" / "c.mkv")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clips = score_clips(tmp_path, frames=5, size=16, per_file=3)
    assert list(clips) == ["a", "b", "b.mp4"]
    assert clips["a"].shape == (3, 5, 3, 16, 16) and clips["b"].shape == (1, 5, 3, 16, 16)
    assert torch.equal(clips["a"], eon.video_folder(tmp_path / "a.mkv", 5, 16, limit=3)[0])
    with pytest.raises(ValueError, match=r"folder='.*' holds no video with 500 frames in a row"):
        score_clips(tmp_path, 500, 16)
    with pytest.raises(ValueError, match="frames=0 must be"):
        score_clips(tmp_path, 0, 16)
