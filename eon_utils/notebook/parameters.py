"""A notebook's parameters: settled, and refused before any work where that can be known."""

from __future__ import annotations

import ast
import math
import os
import warnings
from functools import lru_cache
from typing import Any

from eon_utils.config import PRESETS, Config, check_seed

SIDE_MULTIPLE = 16  # of each side of frames and pictures, in pixels
KNOWN = 64  # files that were looked at, and need no second look
DEFAULTS = {  # of parameters that are the same at every preset
    "images": "",
    "videos": "",
    "dataset": "",
    "weights": "",
    "download": False,
    "resume": False,
}


def resolve(
    preset: str,
    seed: int,
    table: dict[str, tuple[Any, Any, Any]],
    own_clips: tuple[int, int] = (1, 6),
    **overrides: object,
) -> Config:
    """Settle a notebook's parameters.

    What can't be used is refused here, before any work: also files that are no weights, and folders
    without any picture or film that can be read. Of a folder no more is read than it takes to know.

    Args:
        preset: "smoke", "laptop" or "full".
        seed: a whole number from 0 to 2**32 - 1.
        table: name -> its values at (smoke, laptop, full).
        own_clips: what the reader's own videos must give at least: so many clips of so many frames.
        **overrides: values that win over the table's, unless they are None. They must have the type
            of the table's value, or that of `DEFAULTS`; text is read as Python would read it, as
            papermill hands over `-p resume false`. Whole numbers are above 0, others from 0 on; the
            sides in a `size` are multiples of 16, as the networks halve them four times. A name
            that is in neither is kept as it is. It counts as overridden unless it is empty.

    Returns:
        The parameters as attributes, beside `preset`, `seed` and `overridden`, a list of names.

    Raises:
        ValueError: for an unknown preset, a number that is out of range, and for `images`,
            `videos`, `weights` or a `dataset` that can't be used.
        TypeError: for a value of the wrong type.

    Examples:
        >>> cfg = resolve("smoke", 0, {"steps": (5, 500, 5000)}, steps=7, images="")
        >>> print(cfg)
        preset smoke, overridden: steps
          seed         0
          steps        7
          images       ''
    """
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown; choose one of {', '.join(PRESETS)}")
    check_seed(seed)
    column = PRESETS.index(preset)
    values = {name: row[column] for name, row in table.items()}
    overridden = []
    for name, value in overrides.items():
        usual = values.get(name, DEFAULTS.get(name))
        if value is None or usual is None:
            values[name] = usual if value is None else value
        else:
            values[name] = _checked(name, value, usual)
            _check_side(name, values[name])
        if values[name] != usual and (name in table or values[name]):
            overridden.append(name)
    for name in overrides:
        if values[name] and name in DEFAULTS:
            _check_own(name, values[name], values.get("size"), own_clips)
    return Config(preset=preset, seed=seed, overridden=overridden, **values)


def literal(text: str) -> object:
    """What a text means in Python, in any case of true, false and none; else the text itself.

    Examples:
        >>> literal("false"), literal("(64, 48)"), literal("my_clips/")
        (False, [64, 48], 'my_clips/')
    """
    words = {"true": "True", "false": "False", "none": "None"}
    try:
        value = ast.literal_eval(words.get(text.lower(), text))
    except (ValueError, SyntaxError):
        return text
    return list(value) if isinstance(value, tuple) else value


def _check_side(name: str, value: Any) -> None:  # noqa: ANN401
    """The networks halve pictures four times, and measures such as SSIM want 11 pixels a side."""
    if name != "size":
        return
    if isinstance(value, int):
        if value % SIDE_MULTIPLE:
            raise ValueError(f"size={value} must be a multiple of {SIDE_MULTIPLE}")
    elif any(side % SIDE_MULTIPLE for side in value):
        near = [max(round(side / SIDE_MULTIPLE), 1) * SIDE_MULTIPLE for side in value]
        raise ValueError(f"size={list(value)} must be multiples of {SIDE_MULTIPLE}, such as {near}")


def _check_own(name: str, value: str, size: object, own_clips: tuple[int, int]) -> None:
    """Refuse files of the reader's that can't be used, with an error that names the parameter."""
    try:
        if name == "images":
            _check_images(value)
        elif name == "videos":
            _check_videos(value, size if isinstance(size, int) else 64, *own_clips)
        elif name == "weights":
            _check_weights(value)
        elif name == "dataset":
            _check_dataset(value)
    except FileNotFoundError as error:
        raise ValueError(str(error)) from error
    except OSError as error:
        raise ValueError(f"{name}={value!r} can't be read ({error.strerror or error})") from error


@lru_cache(maxsize=KNOWN)  # a sweep asks again and again
def _check_images(path: str) -> None:
    from eon_utils.data.photos import photo_folder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notebook gives them
        photo_folder(path, (SIDE_MULTIPLE, SIDE_MULTIPLE), limit=1)


@lru_cache(maxsize=KNOWN)
def _check_videos(path: str, size: int, count: int, frames: int) -> None:
    from eon_utils.data.video_folder import check_videos

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_videos(path, count, frames, size)


@lru_cache(maxsize=KNOWN)
def _check_weights(path: str) -> None:
    from eon_utils.models.prior import read_prior

    try:
        read_prior(path)
    except ValueError as error:
        raise ValueError(f"weights={path!r}: {error}") from error


def _check_dataset(name: str) -> None:
    from eon_utils.data.public import IMAGE_SETS

    if name not in IMAGE_SETS:
        raise ValueError(f"dataset={name!r} is unknown; choose one of {', '.join(IMAGE_SETS)}")


def _checked(name: str, value: Any, like: Any) -> Any:  # noqa: ANN401
    """`value`, which must be of the type of `like`, and in range; a pair stays a pair."""
    if isinstance(like, str):
        if not isinstance(value, str | os.PathLike):
            raise TypeError(f"{name}={value!r} must be text, such as 'my_folder/'")
        return os.fspath(value)
    if isinstance(value, str):
        value = literal(value)
    if isinstance(like, tuple):
        if not isinstance(value, list | tuple) or len(value) != len(like):
            raise TypeError(f"{name}={value!r} must be {len(like)} numbers, such as {list(like)}")
        return tuple(_checked(name, v, w) for v, w in zip(value, like, strict=True))
    allowed = (int, float) if isinstance(like, float) else type(like)
    if not isinstance(value, allowed) or isinstance(value, bool) != isinstance(like, bool):
        raise TypeError(f"{name}={value!r} must be of type {type(like).__name__}, such as {like!r}")
    if isinstance(like, float) and not 0 <= value < math.inf:  # not so for nan either
        raise ValueError(f"{name}={value!r} must be a number from 0 on, such as {like!r}")
    if isinstance(like, int) and not isinstance(like, bool) and value < 1:
        raise ValueError(f"{name}={value!r} must be greater than 0, such as {like!r}")
    return value
