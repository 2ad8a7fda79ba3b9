"""Your own files: those of a folder, and how they are named in messages."""

from __future__ import annotations

from pathlib import Path

NAMED = 20  # files that a message names, at most


def list_files(path: str | Path, parameter: str, wanted: str) -> list[Path]:
    """The files of a folder in order of name, or the one file. Hidden ones are left out.

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
        return sorted(file for file in path.iterdir() if file.is_file() and file.name[0] != ".")
    return [path] if path.is_file() else []


def name_some(items: list[str]) -> str:
    """The items one after the other; of many, the first and how many more there are."""
    text = ", ".join(items[:NAMED])
    more = len(items) - NAMED
    return f"{text} and {more} more" if more > 0 else text
