"""Presets, seeds, device and paths: what every notebook settles before its first line of work."""

from __future__ import annotations

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


def check_seed(seed: Any) -> None:  # noqa: ANN401
    """Raise a ValueError for what is no seed: NumPy's and PyTorch's generators take it."""
    whole = isinstance(seed, int) and not isinstance(seed, bool)
    if not whole or not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed={seed!r} must be a whole number from 0 to {LARGEST_SEED}")


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
        cfg: from `eon.resolve`.
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
