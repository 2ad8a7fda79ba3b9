"""Files: those of your own folders, and those that are written whole or not at all."""

from __future__ import annotations

import glob
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

NAMED = 20  # files that a message names, at most
STALE = 24 * 3600  # seconds after which nobody writes to an unfinished file any more
NAME_BYTES = 200  # of a file's name, to which something is added
SPARE = 50e6  # bytes that are left free beside what is written


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
    for left in path.parent.glob(f"{glob.escape(start)}.*.partial"):
        with suppress(OSError):  # another process may have finished it just now
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()
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


class NoRoomError(OSError):
    """A disk that is too full for what is to be written."""


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
    lock = FileLock(folder / f".{name or 'work'}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout as error:
        remedy = "wait for it, or stop it"
        raise FolderInUseError(f"another process works in {folder}; {remedy}") from error
    except (OSError, NotImplementedError):  # a file system without locks must not end the work
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # an empty folder is empty again
            Path(lock.lock_file).unlink()
        lock.release()


def check_writable(folder: Path, parameter: str) -> None:
    """Raise a PermissionError that names the parameter where a folder can't be written to.

    Args:
        folder: to write to, or to be made.
        parameter: how the caller names it, for the error's message.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise PermissionError(f"{parameter} {folder} can't be written to; choose another folder")


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
