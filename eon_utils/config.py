"""Presets, seeds, device and paths: what every notebook settles before its first line of work."""

from __future__ import annotations

import os
import platform
import random
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
RUNS = ROOT / "runs"
PRESETS = ("smoke", "laptop", "full")


class Config(SimpleNamespace):
    """Resolved parameters of one notebook; `print(cfg)` shows a line for each, `cfg.reference` as below."""

    def __str__(self) -> str:
        head = f"preset {self.preset}" + (f", overridden: {', '.join(self.overridden)}" if self.overridden else "")
        rows = [f"  {k:<12} {v!r}" for k, v in vars(self).items() if k not in ("preset", "overridden")]
        return "\n".join([head, *rows])

    @property
    def reference(self) -> bool:
        """True when this is the configuration that the text's claims speak about: laptop or full, unchanged."""
        return self.preset != "smoke" and not self.overridden


def resolve(preset: str, seed: int, table: dict[str, tuple], **overrides: object) -> Config:
    """Settle a notebook's parameters.

    `table` maps a name to its values at (smoke, laptop, full); an override that is not None (or, for a name
    outside the table, not its empty value) wins. Each override must have the type of the table's value.

    Raises ValueError for an unknown preset, TypeError for a wrong type; both say what is allowed.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown; choose one of {', '.join(PRESETS)}")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed={seed!r} must be a whole number >= 0")
    values: dict[str, Any] = {name: row[PRESETS.index(preset)] for name, row in table.items()}
    overridden = []
    for name, value in overrides.items():
        if name in table and value is not None and value != values[name]:
            values[name] = _checked(name, value, values[name])
            overridden.append(name)
        elif name not in table:
            values[name] = value
            if value:
                overridden.append(name)
    return Config(preset=preset, seed=seed, overridden=overridden, **values)


def _checked(name: str, value: Any, like: Any) -> Any:  # noqa: ANN401
    """`value` as the type of `like`: numbers must be positive, a pair stays a pair."""
    if isinstance(like, tuple):
        if not isinstance(value, list | tuple) or len(value) != len(like):
            raise TypeError(f"{name}={value!r} must be {len(like)} numbers, such as {list(like)}")
        return tuple(_checked(name, v, w) for v, w in zip(value, like, strict=True))
    wanted = (int, float) if isinstance(like, float) else type(like)
    if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(like, bool):
        raise TypeError(f"{name}={value!r} must be of type {type(like).__name__}, such as {like!r}")
    if isinstance(like, int | float) and not isinstance(like, bool) and not value > 0:
        raise ValueError(f"{name}={value!r} must be greater than 0, such as {like!r}")
    return value


def seed_everything(seed: int) -> None:
    """Same seed, same machine, same numbers: Python's, NumPy's and PyTorch's generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        warnings.filterwarnings("ignore", message=".*deterministic.*")


def device() -> torch.device:
    """The first GPU if there is one, else the CPU; `EON_DEVICE=cpu` overrules."""
    return torch.device(os.environ.get("EON_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu"))


def setup(cfg: Config, minutes: dict[str, str] | None = None) -> torch.device:
    """Seed everything, say what this machine is and how long this preset takes; returns the device."""
    seed_everything(cfg.seed)
    where = device()
    name = torch.cuda.get_device_name() if where.type == "cuda" else f"{torch.get_num_threads()} threads"
    python = platform.python_version()
    print(f"Python {python}, PyTorch {torch.__version__}, {where.type} ({name}), seed {cfg.seed}")
    if minutes:
        print(f"This notebook takes {minutes[cfg.preset]} at preset {cfg.preset!r} on two CPU cores.")
    return where
