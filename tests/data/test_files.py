"""Files that are written whole or not at all, where there is room for them."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eon_utils import Prior, save_prior
from eon_utils.data import files
from eon_utils.data.files import (
    FolderInUseError,
    NoRoomError,
    NotWritableError,
    alone_in,
    check_room,
    check_writable,
    give_back,
    in_turn,
    in_use,
    reserved_array,
    scratch_folder,
    whole_file,
    whole_tensors,
)


def test_a_file_is_there_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with whole_file(path) as partial:
        partial.write_text("all of it")
        assert not path.exists() and partial.parent == path.parent
    assert path.read_text() == "all of it" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a" * 255, "影" * 85, "ü" * 127])
def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path, name):
    with whole_file(tmp_path / name) as partial:
        partial.write_text("all of it")
    assert (tmp_path / name).read_text() == "all of it" and len(list(tmp_path.iterdir())) == 1


def test_what_was_there_stays_when_writing_fails(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("before")
    with pytest.raises(OSError, match="No space left"), whole_file(path) as partial:
        partial.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_goes_after_a_day(tmp_path):
    path = tmp_path / "file.txt"
    old, new = (tmp_path / f"file.txt.{name}.partial" for name in ("old", "new"))
    for left in (old, new):
        left.write_text("half")
    a_day_ago = time.time() - files.STALE - 1
    os.utime(old, (a_day_ago, a_day_ago))
    with whole_file(path) as partial:
        partial.write_text("all of it")
    assert sorted(tmp_path.iterdir()) == [path, new]


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_others_may_read_weights_as_any_other_file(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    torch.manual_seed(0)
    save_prior(Prior(encoder=(4, 4), decoder=(4, 4, 4), fusion=4), tmp_path / "mine.safetensors")
    assert (tmp_path / "mine.safetensors").stat().st_mode == plain.stat().st_mode


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage(9e9, 8e9, 1e9))
    check_room(tmp_path / "not" / "there" / "yet", 0.9e9, "a cache")
    with pytest.raises(OSError, match=r"a cache needs 2.0 GB in .*, where 0.9 GB are free"):
        check_room(tmp_path, 2e9, "a cache")


HOLD = """
import sys, time
from pathlib import Path
from eon_utils.data.files import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


def test_two_processes_do_not_work_in_one_folder_and_a_killed_one_leaves_it(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        wanted = r"another process works in .*; wait for it, or stop it"
        with pytest.raises(FolderInUseError, match=wanted), alone_in(tmp_path):
            pass
        assert in_use(tmp_path)
        with alone_in(tmp_path, "other work"):
            other.send_signal(signal.SIGKILL)
    assert not in_use(tmp_path) and not in_use(tmp_path / "none")
    with alone_in(tmp_path):
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


MAKE = """
import sys, time
from pathlib import Path
from eon_utils.data.files import in_turn
file = Path(sys.argv[1])
with in_turn(file):
    if not file.exists():
        time.sleep(0.5)
        file.write_text("made")
        print("made")
"""


def test_of_several_processes_one_makes_a_file_and_the_others_find_it(tmp_path):
    file = tmp_path / "new" / "file.txt"
    command = [sys.executable, "-c", MAKE, str(file)]
    makers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [maker.communicate(timeout=60)[0] for maker in makers]
    assert sorted(said) == ["", "", "made\n"] and not any(maker.returncode for maker in makers)
    assert list(file.parent.iterdir()) == [file]


def test_without_locks_each_makes_its_file(tmp_path, monkeypatch):
    def refuse(*unused, **options):
        raise NotImplementedError("no locks here")

    monkeypatch.setattr(files.FileLock, "acquire", refuse)
    with in_turn(tmp_path / "file.txt"), alone_in(tmp_path):
        assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    check_writable(tmp_path / "new" / "below", "--out")
    (tmp_path / "file").touch()
    with pytest.raises(PermissionError, match=r"--out .*file/new can't be written to; choose"):
        check_writable(tmp_path / "file" / "new", "--out")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as a read-only file system says
    with pytest.raises(PermissionError, match=r"--out .* can't be written to; choose another"):
        check_writable(tmp_path, "--out")
    with pytest.raises(NotWritableError, match=r"the cache .* can't be written to; go home"):
        check_writable(tmp_path, "the cache", "go home")


KILLED = """
import os, sys
from pathlib import Path
from eon_utils.data.files import {writer} as writer
with writer(Path(sys.argv[1])) as place:
    (place / "made" if place.is_dir() else place).write_text("half")
    (place.parent / ".tmpAbCdEf").write_text("of safetensors")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    ("writer", "left"), [("whole_tensors", 2), ("scratch_folder", 1), ("whole_file", 1)]
)
def test_what_a_killed_process_left_goes_after_a_day(tmp_path, writer, left):
    path = tmp_path / "file.safetensors"
    code = KILLED.format(writer=writer)
    if writer != "whole_tensors":
        code = code.replace("(place.parent", "0 and (place.parent")
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert len(list(tmp_path.iterdir())) == left
    a_day_ago = time.time() - files.STALE - 1
    for item in tmp_path.iterdir():
        os.utime(item, (a_day_ago, a_day_ago))
    with whole_tensors(path) as partial:
        save_file({"a": torch.zeros(2)}, partial)
    assert list(tmp_path.iterdir()) == [path]


def test_a_scratch_folder_is_gone_when_it_is_over(tmp_path):
    with scratch_folder(tmp_path / "new" / "site") as folder:
        (folder / "html").mkdir()
        (folder / "html").rename(tmp_path / "new" / "site")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["site"]


def test_an_array_has_its_room_before_it_is_written_to(tmp_path):
    path = tmp_path / "a.npy"
    array = reserved_array(path, (64, 1024), "an array")
    if hasattr(os, "posix_fallocate"):
        assert path.stat().st_blocks * 512 >= array.nbytes
    array[:4] = 7
    array.flush()
    give_back(path, array[4:].nbytes)
    if hasattr(os, "posix_fallocate"):
        assert path.stat().st_blocks * 512 < array.nbytes / 2
    again = np.load(path, mmap_mode="r")
    assert again.shape == (64, 1024) and (again[:4] == 7).all() and not again[4:].any()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="nothing is reserved here")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EOPNOTSUPP])
def test_without_room_an_array_is_refused_before_it_is_written_to(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    if number == errno.EOPNOTSUPP:  # a file system that reserves nothing
        assert reserved_array(tmp_path / "a.npy", (2, 2), "an array").shape == (2, 2)
        return
    with pytest.raises(NoRoomError, match=r"an array needs 1.0 GB in .*make room, or ask for less"):
        reserved_array(tmp_path / "a.npy", (1000, 1000, 1000), "an array")
