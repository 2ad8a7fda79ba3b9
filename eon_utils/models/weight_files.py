"""Shipped weights: safetensors files that say what they hold, each with a model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from eon_utils.data.files import whole_file, whole_tensors

WEIGHTS = Path(__file__).parent / "weights"


class Weights(NamedTuple):
    """What a file of weights holds."""

    file: str  # its name
    about: dict[str, Any]  # what it says of itself
    tensors: dict[str, Tensor]  # float32

    def part(self, name: str) -> Weights:
        """Those of one module of the model."""
        start = f"{name}."
        tensors = {
            key.removeprefix(start): tensor
            for key, tensor in self.tensors.items()
            if key.startswith(start)
        }
        return self._replace(tensors=tensors)


def read_weights(kind: str, name: str, path: str | Path | None = None) -> Weights:
    """Read a file of weights.

    Args:
        kind: what it must hold: "autoencoder" or "prior".
        name: of a shipped file.
        path: of a file of your own instead.

    Raises:
        ValueError: if there is no such file, if it is damaged or holds something else, or if a
            shipped one is not the one that its model card names (SHA-256).
    """
    file = Path(path).expanduser() if path else WEIGHTS / f"{name}.safetensors"
    if not file.exists():
        shipped = sorted(WEIGHTS.glob(f"{kind}*.safetensors"))
        names = [other.stem.removeprefix(f"{kind}_") for other in shipped]
        known = ", ".join(names) or "none"
        raise ValueError(
            f"there are no weights {file.name}; shipped are: {known}. `make prior` trains them"
        )
    if file.is_dir():
        raise ValueError(f"{file} is a folder; give the file of weights in it")
    if path is None:
        card = file.with_suffix(".md").read_text(encoding="utf-8")
        if _sha256(file) not in card:
            remedy = "fetch it again, or `make prior`"
            raise ValueError(f"{file.name} is not the file that its model card names; {remedy}")
    try:
        with safe_open(file, framework="pt") as saved:
            about = json.loads(saved.metadata()[kind])
            keys = list(saved.keys())
            tensors = {key: saved.get_tensor(key).float() for key in keys}
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file.name} cannot be read as {kind}: {error}") from error
    damaged = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
    if damaged:
        raise ValueError(f"{file.name} is damaged: {damaged[0]} holds what is no number")
    return Weights(file.name, about, tensors)


def load_tensors(model: nn.Module, weights: Weights) -> None:
    """Copy weights into a model.

    Raises:
        ValueError: naming the file, if they are not the model's own.
    """
    try:
        model.load_state_dict(weights.tensors)
    except RuntimeError as error:
        raise ValueError(
            f"{weights.file} does not hold the weights that it describes: {error}"
        ) from error


def write_weights(
    model: nn.Module,
    path: str | Path,
    kind: str,
    about: dict[str, Any],
    dtype: torch.dtype = torch.half,
) -> str:
    """Write a model's tensors into one file, which is there afterwards completely or not at all.

    Args:
        model: to save.
        path: of the file; its folder is made.
        kind: as `read_weights`.
        about: what the file says of itself, as JSON.
        dtype: of the tensors; half precision errs by 0.05 %.

    Returns:
        The file's SHA-256.

    Raises:
        OSError: where the disk does not take it; what was there before stays.
    """
    path = Path(path).expanduser()
    tensors = {}
    for key, tensor in model.state_dict().items():
        tensors[key] = tensor.detach().to("cpu", dtype).contiguous()
    with whole_tensors(path) as partial:
        save_file(tensors, partial, {kind: json.dumps(about)})
    return _sha256(path)


def write_with_card(
    path: Path, write: Callable[[Path], str], card_of: Callable[[Path, str], str]
) -> None:
    """Write weights and their model card, which at every moment names the file that is there.

    Args:
        path: of the weights; the card stands beside them and ends in .md.
        write: writes the weights to a path, returns their SHA-256.
        card_of: the card's text, by the path where the weights are then, and their SHA-256.

    Raises:
        OSError: where the disk does not take them; what was there before stays.
    """
    file = path.with_suffix(".md")
    # Both files can't change in one moment: until the weights do, the card names the old ones, too.
    before = f"\n<!-- replaces {_sha256(path)} -->\n" if path.exists() else ""
    with whole_file(path) as new:
        card = card_of(new, write(new))
        _write_text(file, card + before)
    _write_text(file, card)


def _write_text(file: Path, text: str) -> None:
    with whole_file(file) as partial:
        partial.write_text(text, encoding="utf-8")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
