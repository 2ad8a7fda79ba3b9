"""Presets, seeds, device and paths: what every notebook settles before its first line of work."""

from __future__ import annotations

import ast
import math
import os
import platform
import random
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from eon_utils.threads import settle_threads

if TYPE_CHECKING:  # imported where it is used, so that the command line answers at once
    import torch

PRESETS = ("smoke", "laptop", "full")
LARGEST_SEED = 2**32 - 1  # NumPy's generator takes no larger one
SIDE_MULTIPLE = 16  # of square frames, in pixels
DEFAULTS = {  # of parameters that are the same at every preset
    "images": "",
    "videos": "",
    "dataset": "",
    "weights": "",
    "download": False,
    "resume": False,
}


def find_root() -> Path:
    """The checkout that holds notebooks/; of an installed package, the current folder."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


ROOT = find_root()
DATA = ROOT / "data"
RUNS = ROOT / "runs"
CAMERA = ROOT.parent / "shared" / "videos" / "val"  # camera clips, no part of the project
# The address of the repository, such as https://github.com/NAME/eye-of-newt: with it, the pages of
# the site have buttons that lead there, to Binder and to Colab.
REPOSITORY = os.environ.get("EON_REPOSITORY", "")


class Config(SimpleNamespace):
    """Resolved parameters of one notebook, as attributes; `print(cfg)` shows a line for each."""

    def __str__(self) -> str:
        title = f"preset {self.preset}"
        if self.overridden:
            title += f", overridden: {', '.join(self.overridden)}"
        lines = [title]
        for name, value in vars(self).items():
            if name not in ("preset", "overridden"):
                lines.append(f"  {name:<12} {value!r}")
        return "\n".join(lines)

    @property
    def reference(self) -> bool:
        """True for what the text's claims speak about: laptop or full, with nothing overridden."""
        return self.preset != "smoke" and not self.overridden


def resolve(
    preset: str, seed: int, table: dict[str, tuple[Any, Any, Any]], **overrides: object
) -> Config:
    """Settle a notebook's parameters.

    Args:
        preset: "smoke", "laptop" or "full".
        seed: a whole number from 0 to 2**32 - 1.
        table: name -> its values at (smoke, laptop, full).
        **overrides: values that win over the table's, unless they are None. They must have the type
            of the table's value, or that of `DEFAULTS`; text is read as Python would read it, as
            papermill hands over `-p resume false`. Whole numbers are above 0, others from 0 on; a
            whole `size`, the side of square frames, is a multiple of 16. A name that is in neither
            is kept as it is. It counts as overridden unless it is empty.

    Returns:
        The parameters as attributes, beside `preset`, `seed` and `overridden`, a list of names.

    Raises:
        ValueError: for an unknown preset, or a number that is out of range.
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
    whole = isinstance(seed, int) and not isinstance(seed, bool)
    if not whole or not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed={seed!r} must be a whole number from 0 to {LARGEST_SEED}")
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


def _check_side(name: str, value: object) -> None:
    """The networks that take square frames halve them four times."""
    if name == "size" and isinstance(value, int) and value % SIDE_MULTIPLE:
        raise ValueError(f"size={value} must be a multiple of {SIDE_MULTIPLE}")


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


def seed_everything(seed: int) -> None:
    """Same seed, same machine, same numbers: Python's, NumPy's and PyTorch's generators."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        warnings.filterwarnings("ignore", message=".*deterministic.*")


def device() -> torch.device:
    """The first GPU if there is one, else the CPU; the variable `EON_DEVICE=cpu` overrules."""
    import torch

    chosen = os.environ.get("EON_DEVICE")
    if not chosen:
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(chosen)


def setup(cfg: Config, minutes: dict[str, str] | None = None) -> torch.device:
    """Seed everything, say what this machine is and how long this preset takes.

    Args:
        cfg: from `resolve`.
        minutes: preset -> the time that the notebook takes, such as "3 minutes".

    Returns:
        The device to compute on.
    """
    import torch

    seed_everything(cfg.seed)
    where = device()
    on_gpu = where.type == "cuda"
    others = "" if on_gpu else settle_threads()
    name = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} threads"
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    print(f"{versions}, {where.type} ({name}), seed {cfg.seed}")
    if others:
        print(others)
    if minutes:
        time = minutes[cfg.preset]
        print(f"This notebook takes {time} at preset {cfg.preset!r} on two CPU cores.")
    return where
