"""Checkpoints: all of a training in one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eon_utils.data.files import whole_tensors
from eon_utils.training.history import History

SERIES = ("loss", "accuracy", "seconds")
COUNT = "tensors"  # what a checkpoint says of how many it holds


def about(path: Path) -> dict[str, str]:
    """What a checkpoint says of itself; nothing when it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}


def read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """What a checkpoint says of itself, and its tensors.

    Raises:
        SafetensorError: when it is damaged.
        ValueError: when it lacks parts, or an earlier version of the course wrote it.
    """
    with safe_open(path, framework="pt") as file:
        facts = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if COUNT not in facts:
        raise ValueError("it is no checkpoint, or an earlier version of the course wrote it")
    if int(facts[COUNT]) != len(tensors):
        raise ValueError(f"it has {len(tensors)} of {facts[COUNT]} tensors")
    return facts, tensors


def fact(facts: dict[str, str], name: str) -> str:
    """What a checkpoint says; a ValueError where it does not."""
    if name not in facts:
        raise ValueError(f"it does not say its {name}")
    return facts[name]


def check_same_tensors(state: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Raise a ValueError that names what a saved state lacks, or has in another shape."""
    for key, tensor in state.items():
        if key not in saved:
            raise ValueError(f"it has no {key}")
        if saved[key].shape != tensor.shape:
            shapes = f"{tuple(saved[key].shape)}, not {tuple(tensor.shape)}"
            raise ValueError(f"its {key} has the shape {shapes}")


def write(path: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    """Write a checkpoint, and keep the one before it while that holds longer work, or other work.

    Such a one moves to `NAME.previous.safetensors`, and is removed when this training has come
    further. Raises OSError when the disk does not take it; what was there before then stays.

    Args:
        path: where to.
        tensors: what to keep.
        facts: what it says of itself, `step`, `watched` (a fingerprint of the pictures) and
            `identity` among it.
    """
    previous = path.with_suffix(".previous.safetensors")
    whole = {key: value.detach().contiguous().cpu() for key, value in tensors.items()}
    with whole_tensors(path) as partial:
        save_file(whole, partial, facts | {COUNT: str(len(whole))})
        there = about(path)
        if there and not _outgrown(there, facts):
            path.replace(previous)
    if _outgrown(about(previous), facts):
        previous.unlink()


def _outgrown(there: dict[str, str], facts: dict[str, str]) -> bool:
    """Whether a checkpoint is an earlier state of the same work."""
    if not there:
        return False
    same = all(there.get(name) == facts[name] for name in ("watched", "identity"))
    return same and int(there["step"]) <= int(facts["step"])


def random_state() -> dict[str, Tensor]:
    """The state of PyTorch's generators."""
    state = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["random.cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(saved: dict[str, Tensor]) -> None:
    """Put PyTorch's generators where they were."""
    torch.set_rng_state(saved["random.cpu"])
    if "random.cuda" in saved and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["random.cuda"])


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter, as tensors with a name."""
    tensors = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for entry, value in entries.items():
            tensors[f"optimizer.{index}.{entry}"] = torch.as_tensor(value)
    return tensors


def set_optimizer_state(optimizer: torch.optim.Optimizer, saved: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_state`; learning rates stay those of the optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.items():
        if key.startswith("optimizer."):
            _, index, entry = key.split(".")
            state.setdefault(int(index), {})[entry] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def history_state(history: History) -> dict[str, Tensor]:
    """A history as tensors with a name; its measures are text, and not among them."""
    tensors = {}
    for key in (*SERIES, "snapshot_steps"):
        tensors[f"history.{key}"] = torch.tensor(getattr(history, key), dtype=torch.float64)
    if history.snapshots:
        stacked = [torch.from_numpy(snapshot) for snapshot in history.snapshots]
        tensors["history.snapshots"] = torch.stack(stacked)
    return tensors


def set_history_state(history: History, saved: dict[str, Tensor], facts: dict[str, str]) -> None:
    """The inverse of `history_state`, with the measures."""
    for key in SERIES:
        setattr(history, key, saved[f"history.{key}"].tolist())
    history.snapshot_steps = [int(step) for step in saved["history.snapshot_steps"].tolist()]
    snapshots = saved.get("history.snapshots")
    history.snapshots = [] if snapshots is None else list(snapshots.numpy())
    history.measures = json.loads(facts["measures"])


def part(saved: dict[str, Any], name: str) -> dict[str, Any]:
    """The entries whose keys begin with `name` and a dot, without that."""
    start = f"{name}."
    return {key.removeprefix(start): value for key, value in saved.items() if key.startswith(start)}
