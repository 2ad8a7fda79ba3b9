"""Files that move: what they show, how long, what is refused, and that nothing is left half."""

from __future__ import annotations

import builtins
import errno
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from browser import fake_film, fake_history, moving_shapes, tensor
from PIL import Image

from eon_utils.notebook import export as module
from eon_utils.notebook.export import export
from eon_utils.notebook.player import play
from eon_utils.notebook.scrubber import scrub


@pytest.fixture(scope="module")
def scrubber():
    """Two runs of one photograph, which comes out of gray."""
    runs = {"V1": fake_history(pictures=1, snapshots=8), "V2": fake_history(50, pictures=1)}
    return scrub(runs, titles=["face"])


@pytest.fixture(scope="module")
def player():
    return play(tensor(moving_shapes(2, 6)), fps=5)


def frames(path: Path) -> list[np.ndarray]:
    """The pages of a GIF or WebP."""
    with Image.open(path) as moving:
        pages = []
        for index in range(moving.n_frames):
            moving.seek(index)
            pages.append(np.asarray(moving.convert("RGB")).astype(int))
    return pages


def durations(path: Path) -> list[int]:
    with Image.open(path) as moving:
        each = []
        for index in range(moving.n_frames):
            moving.seek(index)
            moving.load()
            each.append(moving.info["duration"])
    return each


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_a_scrubber_moves_through_its_training(scrubber, tmp_path, ending):
    path = export(scrubber, tmp_path / f"new/run.{ending}", fps=10, rest=1, most=5, width=64)
    pages = frames(path)
    assert path.exists() and len(pages) == 5 and list(path.parent.iterdir()) == [path]
    assert all(np.abs(one - other).mean() > 0.5 for one, other in pairwise(pages))
    assert durations(path) == [100] * 4 + [1000]


def test_its_pictures_are_those_of_each_step(scrubber, tmp_path):
    """The targets stand in every page; at the end the network has learnt them."""
    sheet = module._Sheet(scrubber)
    last = len(scrubber.spec["steps"]) - 1
    first, end = sheet.groups(0, 0), sheet.groups(last, 0)
    assert [group.name for group in end] == ["V1", "V2", "target"]
    assert end[0].text.endswith(" %") and end[2].text == ""
    assert sheet.caption(last, 0) == "training step 400"

    def apart(groups):
        ours, target = (np.asarray(groups[k].pictures[0]).astype(int) for k in (0, 2))
        return np.abs(ours - target).mean()

    assert apart(first) > 10 > 5 > apart(end)


def test_films_move_over_training_or_frames(tmp_path):
    run = fake_film(40)
    widget = scrub({"V4": run})
    steps = module._moments(widget, "steps", 60)
    time = module._moments(widget, "frames", 60)
    assert {frame for _, frame in steps} == {4} and len(steps) == len(widget.spec["steps"])
    assert [frame for _, frame in time] == list(range(14)) and len({s for s, _ in time}) == 1
    sheet = module._Sheet(widget)
    assert sheet.caption(0, 2) == "training step 0 · frame 3 of 4, given"
    for frame in (0, 9):
        shown = np.asarray(sheet.groups(0, frame)[1].pictures[1]).astype(int)
        truth = np.concatenate([run.context, run.target], axis=1)[1, frame]
        assert np.abs(shown - truth).mean() < 6


def test_a_player_keeps_its_own_speed(player, tmp_path):
    path = export(player, tmp_path / "clip.webp", rest=0)
    assert durations(path) == [200] * 6


def test_transparent_is_for_webp(player, tmp_path):
    path = export(player, tmp_path / "clip.webp", transparent=True, most=2, width=32)
    with Image.open(path) as moving:
        assert moving.convert("RGBA").getpixel((0, moving.height - 1))[3] == 0
    with pytest.raises(ValueError, match=r"transparent=True needs a \.webp, not 'clip.gif'"):
        export(player, tmp_path / "clip.gif", transparent=True)


def test_mp4(scrubber, tmp_path):
    av = pytest.importorskip("av")
    path = export(scrubber, tmp_path / "run.mp4", fps=10, rest=0.5, most=4, width=65)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 10)
        pages = [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(stream)]
    assert len(pages) == 4 + 5
    assert np.abs(pages[0] - pages[3]).mean() > 1 > np.abs(pages[3] - pages[8]).mean()


def test_what_is_refused(scrubber, player, tmp_path):
    with pytest.raises(TypeError, match=r"of type NoneType; give what eon\.scrub or eon\.play"):
        export(None, tmp_path / "a.gif")
    for name in ("a.avi", "a"):
        with pytest.raises(ValueError, match=r"must end in \.gif, \.webp, \.mp4"):
            export(scrubber, tmp_path / name)
    for fps in (0, -1, 51, float("nan")):
        with pytest.raises(ValueError, match=r"fps=.* must be above 0 and at most 50"):
            export(scrubber, tmp_path / "a.gif", fps=fps)
    with pytest.raises(ValueError, match="width=8 must be from 32 to 1024"):
        export(scrubber, tmp_path / "a.gif", width=8)
    with pytest.raises(ValueError, match="rest=-1 must be from 0 to 60"):
        export(scrubber, tmp_path / "a.gif", rest=-1)
    with pytest.raises(ValueError, match="over='frames' must be 'steps'"):
        export(scrubber, tmp_path / "a.gif", over="frames")
    with pytest.raises(ValueError, match="over='steps' must be 'frames'"):
        export(player, tmp_path / "a.gif", over="steps")
    assert not list(tmp_path.iterdir())


def test_without_pyav_it_says_what_helps(scrubber, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "av":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"'eye-of-newt\[data\]', or write a \.gif or a \.webp"):
        export(scrubber, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file(player, tmp_path, monkeypatch):
    path = export(player, tmp_path / "a.gif", most=2, width=32)
    old = path.read_bytes()

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"a\.gif was not written: No space left .*make room"):
        export(player, path, width=32)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]
