"""What a training is, as far as it can be known: one that is resumed must be the same.

Known are the model (the class of each module by name, its plain settings, which parameters are
trained and in which type), the optimizer with its settings, the schedule, the precision and what
the caller says; of the data what can be said without loading any. Another seed is no other training
but worth a warning, where one was set. Code is not known: neither that of a class or function,
which go by their names, nor the reader's loop with its loss.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sized
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)

Described = dict[str, Any]  # by name, as JSON has it

# Settings of an optimizer that say how it computes, not what; and one that a schedule adds.
HOW_ALONE = ("fused", "foreach", "capturable", "differentiable", "initial_lr")
UNKNOWN = object()  # what can't be written down and compared
ROWS = 64  # of a tensor, by which it is told from another
LONGEST = 200  # letters of a description, of which a longer one is told by its hash
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # of an object that has no description of its own


def of_model(model: nn.Module) -> Described:
    """The class of each module, and its plain settings: numbers, texts, functions by their names.

    Examples:
        >>> of_model(nn.Sequential(nn.Dropout(0.5)))
        {'the model': 'Sequential', '0': 'Dropout', '0.p': 0.5, '0.inplace': False}
    """
    described: Described = {}
    for place, module in model.named_modules():
        described[place or "the model"] = type(module).__qualname__
        for name, value in vars(module).items():
            if name != "training" and not name.startswith("_"):
                described[f"{place}.{name}".lstrip(".")] = plain(value)
    return _known(described)


def of_parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> Described:
    """The type of each parameter, and in which group it is trained, if it is."""
    groups = {}
    for number, group in enumerate(optimizer.param_groups):
        groups |= {id(parameter): number for parameter in group["params"]}
    described: Described = {}
    for name, parameter in model.named_parameters():
        kind = str(parameter.dtype).removeprefix("torch.")
        group = groups.get(id(parameter)) if parameter.requires_grad else None
        described[name] = f"{kind}, " + ("frozen" if group is None else f"in group {group}")
    return described


def of_optimizer(optimizer: torch.optim.Optimizer) -> Described:
    """Its class, and the settings of each group."""
    described: Described = {"optimizer": type(optimizer).__name__}
    for number, group in enumerate(optimizer.param_groups):
        place = f"group {number}." if number else ""
        described[f"{place}parameters"] = len(group["params"])
        settings = group | {"lr": group.get("initial_lr", group["lr"])}
        for name, value in settings.items():
            if name not in ("params", *HOW_ALONE):
                described[place + name] = plain(value)
    return _known(described)


def of_facts(facts: Mapping[str, Any]) -> Described:
    """What a caller says, by name.

    Raises:
        ValueError: for what is neither a number nor a text, nor several of them.
    """
    described = {name: plain(value) for name, value in facts.items()}
    for name, value in described.items():
        if value is UNKNOWN:
            raise ValueError(f"facts: {name} must be a number or a text, not {facts[name]!r}")
    return described


def of_seed() -> Described:
    """The seed of PyTorch's generator, where somebody has set it."""
    seed = torch.initial_seed()
    return {} if seed == torch.Generator().initial_seed() else {"seed": seed}


def of_stream(stream: Tensor | DataLoader, processes: int = 1) -> Described:
    """What batches are made of: the data, how many are in a batch, and in which order.

    Of data its length counts, or the first items of a tensor; of a data set that describes itself
    (`__repr__`) what it says. No item is loaded.

    Args:
        stream: one batch for all steps, or a loader.
        processes: that share a batch.
    """
    if isinstance(stream, Tensor):
        return {"data": _of_data(stream)}
    sampler: Any = stream.sampler
    order = type(sampler).__name__
    seed = getattr(sampler, "seed", stream.generator and stream.generator.initial_seed())
    described: Described = {"data": _of_data(stream.dataset)}
    described["order"] = order if seed is None else f"{order}, seed {seed}"
    if stream.batch_size is not None:
        described["batch"] = stream.batch_size * processes
    if isinstance(stream.batch_sampler, list | tuple):
        described["first batch"] = _short(repr(list(map(int, stream.batch_sampler[0]))))
    return described


def first_difference(saved: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """How a training differs from a saved one, in words; nothing where it does not.

    Args:
        saved: name -> description, of the saved training.
        ours: likewise.
    """
    for name in {**saved, **ours}:
        if name not in ours:
            return f"it was trained with {name}={saved[name]}, which is missing now"
        if name not in saved:
            return f"it was trained without {name}={ours[name]}"
        if _text(saved[name]) != _text(ours[name]):
            return f"it was trained with {name}={saved[name]}, not {_json(ours[name])}"
    return ""


def known_to_both(saved: Mapping[str, Any], ours: Mapping[str, Any]) -> tuple[Described, Described]:
    """Two descriptions without what only one of them has."""
    both = [name for name in saved if name in ours]
    return {name: saved[name] for name in both}, {name: ours[name] for name in both}


def plain(value: Any) -> Any:  # noqa: ANN401
    """A value as JSON has it; `UNKNOWN` where it can't be written down and compared."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.numel() == 1):
        return value.item()
    if isinstance(value, tuple | list):
        return _all_known(list(map(plain, value)))
    if isinstance(value, partial):
        parts = [plain(value.func), plain(value.args), plain(value.keywords)]
        return _all_known(["partial", *parts])
    if isinstance(value, dict):
        return _all_known({str(key): plain(item) for key, item in value.items()})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(
            {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        )
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    return getattr(value, "__name__", UNKNOWN)  # of a function or a class


def _all_known(values: Any) -> Any:  # noqa: ANN401
    parts = values.values() if isinstance(values, dict) else values
    return UNKNOWN if any(part is UNKNOWN for part in parts) else values


def _known(described: Described) -> Described:
    return {name: value for name, value in described.items() if value is not UNKNOWN}


def _json(value: Any) -> Any:  # noqa: ANN401
    """As it comes back from a checkpoint: tuples are lists."""
    return json.loads(_text(value))


def _text(value: Any) -> str:  # noqa: ANN401  (as text not a number equals itself)
    return json.dumps(value, sort_keys=True)


def _of_data(data: Any) -> str:  # noqa: ANN401
    """What data are, in one line."""
    if isinstance(data, Tensor):
        return _of_tensor(data)
    if isinstance(data, TensorDataset):
        return ", ".join(map(_of_tensor, data.tensors))
    if isinstance(data, Subset):
        return f"{_short(repr(list(data.indices)))} of {_of_data(data.dataset)}"
    if isinstance(data, ConcatDataset):
        return " + ".join(map(_of_data, data.datasets))
    if isinstance(data, Dataset) and type(data).__repr__ is not object.__repr__:
        return _short(ADDRESS.sub("", repr(data)))
    kind = type(data).__qualname__
    if isinstance(data, IterableDataset) or not isinstance(data, Sized):
        return kind
    return f"{kind} of {len(data)}"


def _of_tensor(tensor: Tensor) -> str:
    """Shape and type, and a hash of some rows."""
    rows = tensor.detach()
    if rows.ndim:
        rows = rows[:: max(len(rows) // ROWS, 1)]
    content = rows.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {tuple(tensor.shape)} {_hash(content)}"


def _short(text: str) -> str:
    """A text; of a long one the beginning, and a hash of all."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... {_hash(text.encode())}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
