"""Files: those of your own folders, and those that are written whole or not at all."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError

NAMED = 20  # files that a message names, at most
STALE = 24 * 3600  # seconds after which nobody writes to an unfinished file any more
NAME_BYTES = 200  # of a file's name, to which something is added
SPARE = 50e6  # bytes that are left free beside what is written
# What a full disk says, and a quota that is used up. Others: a file system that keeps no room.
NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


def list_files(path: str | Path, parameter: str, wanted: str) -> list[Path]:
    """The files of a folder in order of name, or the one file. Hidden ones are left out.

    A link that leads nowhere is among them: who reads it, names it.

    Args:
        path: of a folder or a file.
        parameter: how the caller names the path, for the error's message.
        wanted: what to give, for the error's message.

    Raises:
        FileNotFoundError: for a path that does not exist.
    """
    path = Path(path).expanduser()
    if not path.exists():
        missing = f"{parameter}={str(path)!r} does not exist (looked in {Path.cwd()})"
        raise FileNotFoundError(f"{missing}; give {wanted}")
    if path.is_dir():
        shown = [file for file in path.iterdir() if file.name[0] != "."]
        return sorted(file for file in shown if file.is_file() or not file.exists())
    return [path] if path.is_file() else []


def folders_left_out(path: Path) -> list[str]:
    """A remark on the folders in a folder, of which `list_files` gives none, if it has any."""
    if not path.is_dir():
        return []
    folders = [item.name for item in path.iterdir() if item.is_dir() and item.name[0] != "."]
    if not folders:
        return []
    return [f"folders in it are not read: {name_some(sorted(folders))}"]


def system_reason(error: OSError) -> str:
    """Why a file can't be read, in the system's words, but for what these do not tell."""
    if isinstance(error, FileNotFoundError) and os.path.islink(error.filename or ""):
        return "a link that leads nowhere"
    return error.strerror or str(error)


def name_some(items: list[str]) -> str:
    """The items one after the other; of many, the first and how many more there are."""
    text = ", ".join(items[:NAMED])
    more = len(items) - NAMED
    return f"{text} and {more} more" if more > 0 else text


def shortened(name: str, most: int = NAME_BYTES) -> str:
    """As much of a name as leaves room for an addition: file systems take 255 bytes.

    Examples:
        >>> shortened("a film.mp4"), shortened("ü" * 300, 80) == "ü" * 40
        ('a film.mp4', True)
    """
    return name.encode()[:most].decode(errors="ignore")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place to write to. It takes the name `path` when all is written, and is gone otherwise.

    The file is readable as any other of the user's. What writers left that were killed a day ago is
    removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    start = shortened(path.name)
    _remove_left(path)
    # Of its own name, because another process may be writing the same file.
    partial = path.with_name(f"{start}.{uuid4().hex}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)  # safetensors writes files that nobody else may read
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to work in, gone afterwards. What is good in it is moved out.

    What writers left that were killed a day ago is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path)
    with TemporaryDirectory(".partial", f"{shortened(path.name)}.", path.parent) as folder:
        yield Path(folder)


@contextmanager
def whole_tensors(path: Path) -> Iterator[Path]:
    """As `whole_file`, for what safetensors writes.

    Raises:
        OSError: that names the file, where the disk does not take it. safetensors has an error of
            its own for that, which is none.
    """
    # In a folder, because safetensors makes a file beside the one that it is told to write.
    with whole_file(path) as partial, scratch_folder(path) as folder:
        try:
            yield folder / path.name
        except SafetensorError as error:
            raise OSError(f"{path.name} can't be written: {error}") from error
        (folder / path.name).replace(partial)


def _remove_left(path: Path) -> None:
    """Remove what writers of a path left that were killed a day ago."""
    for left in path.parent.glob(f"{glob.escape(shortened(path.name))}.*.partial"):
        with suppress(OSError):  # another process may have finished it just now
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


class NoRoomError(OSError):
    """A disk that is too full for what is to be written."""


class NotWritableError(PermissionError):
    """A folder that can't be written to."""


class FolderInUseError(OSError):
    """A folder in which another process works."""


@contextmanager
def alone_in(folder: Path, name: str = "") -> Iterator[None]:
    """While this goes on, no other process works in a folder. One that is killed leaves it free.

    Args:
        folder: is made.
        name: of the work, where several kinds of it may go on at once.

    Raises:
        FolderInUseError: where another process does.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(_lock(folder / f".{name or 'work'}.lock", wait=False))
        except Timeout as error:
            remedy = "wait for it, or stop it"
            raise FolderInUseError(f"another process works in {folder}; {remedy}") from error
        yield


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """While this goes on, other processes that make the same file wait; then they find it there.

    Args:
        path: of the file. Look again for it in here: another process may have made it meanwhile.
    """
    with _lock(path.with_name(f".{path.name}.lock"), wait=True):
        yield


@contextmanager
def _lock(path: Path, wait: bool) -> Iterator[None]:
    """Hold a lock file; its folder is made. One that is killed leaves it free.

    Raises:
        Timeout: where another process holds it, unless this one waits.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=wait)
    except Timeout:
        raise
    except (OSError, NotImplementedError):  # a file system without locks must not end the work
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # an empty folder is empty again
            path.unlink()
        lock.release()


def in_use(folder: Path) -> bool:
    """Whether a process works in a folder, by `alone_in`."""
    if not folder.is_dir():
        return False
    try:
        with alone_in(folder):
            return False
    except FolderInUseError:
        return True


def check_writable(folder: Path, parameter: str, remedy: str = "choose another folder") -> None:
    """Raise a `NotWritableError` that names the parameter where a folder can't be written to.

    Args:
        folder: to write to, or to be made.
        parameter: how the caller names it, for the error's message.
        remedy: for the error's message.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise NotWritableError(f"{parameter} {folder} can't be written to; {remedy}")


def check_room(folder: Path, wanted: float, what: str) -> None:
    """Raise a `NoRoomError` where a disk has no room.

    Args:
        folder: to write to, or to be made.
        wanted: bytes.
        what: is written, for the error's message.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free - SPARE
    if wanted > free:
        need = f"{what} needs {wanted / 1e9:.1f} GB in {folder}, where {max(free, 0) / 1e9:.1f} GB"
        raise NoRoomError(f"{need} are free; make room, or ask for less")


def reserved_array(path: Path, shape: tuple[int, ...], what: str) -> np.memmap:
    """A new .npy file of bytes as an array, for which the disk keeps room.

    Without it a disk that fills meanwhile ends the process where the array is written to.

    Args:
        path: of the file.
        shape: of the array.
        what: it holds, for the error's message.

    Raises:
        NoRoomError: where the disk, or what a user may have of it, has no room.
    """
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno in NO_ROOM:
                    need = f"{what} needs {array.nbytes / 1e9:.1f} GB in {path.parent}"
                    reason = f"{need}, which has no room for it ({error.strerror})"
                    raise NoRoomError(f"{reason}; make room, or ask for less") from error
    return array


def give_back(path: Path, unused: int) -> None:
    """Let bytes at the end of a file of `reserved_array` take no room, though they stay in it."""
    if hasattr(os, "posix_fallocate"):
        size = path.stat().st_size
        os.truncate(path, size - unused)
        os.truncate(path, size)
