"""Shipped weights: safetensors files that say what they hold, each with a model card that names its SHA-256."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).parent / "weights"


def read_weights(kind: str, name: str, path: str | Path | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a file of weights says about itself, and its tensors, float32.

    kind: what it must hold ("autoencoder"). name: of a shipped file; path: a file of your own instead. Raises
    ValueError if there is no such file, if it is damaged, holds something else, or, where it is a shipped one, is
    not the one that its model card names (SHA-256).
    """
    file = Path(path) if path else WEIGHTS / f"{name}.safetensors"
    if not file.exists():
        shipped = sorted(f.stem.removeprefix(f"{kind}_") for f in WEIGHTS.glob(f"{kind}*.safetensors"))
        there = ", ".join(shipped) or "none"
        raise ValueError(f"there are no weights {file.name}; shipped are: {there}. `make prior` trains them")
    if path is None:
        card = file.with_suffix(".md").read_text(encoding="utf-8")
        if hashlib.sha256(file.read_bytes()).hexdigest() not in card:
            raise ValueError(
                f"{file.name} is not the file that its model card names; fetch it again, or `make prior`"
            )
    try:
        with safe_open(file, framework="pt") as saved:
            about = json.loads(saved.metadata()[kind])
            return about, {key: saved.get_tensor(key).float() for key in saved.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file.name} cannot be read as {kind}: {error}") from error


def fill(model: nn.Module, state: dict[str, Tensor], file: str) -> None:
    """Load tensors into a model; ValueError, naming the file, if they are not its own."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{file} does not hold the weights that it describes: {error}") from error


def write_weights(
    model: nn.Module, path: Path, kind: str, about: dict[str, Any], dtype: torch.dtype = torch.half
) -> str:
    """Write a model's tensors, whole or not at all; returns the file's SHA-256. Half precision errs by 0.05 %."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    save_file(tensors, partial, {kind: json.dumps(about)})
    partial.replace(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()
