"""What the shipped models take: floats in [0, 1], or bytes as decoders give them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

OVERSHOOT = 0.1  # by which a value may leave [0, 1], as resized ones do
WANTED = "of float in [0, 1] or uint8"


def check_tensor(values: object, who: str) -> None:
    """Raise a TypeError for what is no tensor, such as an array of NumPy's.

    Args:
        values: that somebody gave.
        who: takes what, such as "the prior takes clips", for the error's message.
    """
    if not isinstance(values, Tensor):
        kind = type(values).__name__
        remedy = "torch.from_numpy makes one of an array"
        raise TypeError(f"{who} as a torch.Tensor, not {kind}; {remedy}")


def unbatched(shape: Sequence[int], axes: int) -> str:
    """A hint for an error's message where one axis is missing, as for a single picture."""
    return "; add [None] for a batch of one" if len(shape) == axes - 1 else ""


def as_float(values: Tensor, who: str) -> Tensor:
    """Bytes divided by 255; floats as they are, half precision too, whatever their range.

    For what a network returns, which may leave [0, 1], or be no number where it diverged.

    Args:
        values: of any shape.
        who: as `check_tensor`.

    Raises:
        TypeError: for what is no tensor.
        ValueError: for other types.
    """
    check_tensor(values, who)
    if values.dtype == torch.uint8:
        return values / 255
    if not values.is_floating_point():
        raise ValueError(f"{who} {WANTED}, not {values.dtype}")
    return values


def in_unit_range(values: Tensor, who: str) -> Tensor:
    """As `as_float`, for pictures and clips that are given.

    Raises:
        TypeError: for what is no tensor.
        ValueError: for other types, and for values outside [-0.1, 1.1], NaN among them.
    """
    values = as_float(values, who)
    known = not values.is_meta and not torch.compiler.is_compiling()
    if values.numel() and known:
        low = values.min().item()
        high = values.max().item()
        if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):  # not: nor for NaN
            raise ValueError(f"{who} {WANTED}, not from {low:g} to {high:g}")
    return values


def exporting() -> bool:
    """Whether PyTorch records a graph just now: compiles, exports or traces."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def split_batch(model: nn.Module, batch: Tensor, at_once: int) -> Sequence[Tensor]:
    """A batch for a model, in parts that it takes one after the other: they bound the memory.

    The batch stays whole where gradients are wanted, which keep all of it in memory, and in a graph
    that is recorded, where the size of a batch is open.

    Args:
        model: that will take it.
        batch: (N, ...).
        at_once: as many of the N at a time, at most; at least 1.

    Examples:
        >>> frozen = nn.Linear(3, 2).requires_grad_(False)
        >>> [len(part) for part in split_batch(frozen, torch.rand(5, 3), 2)]
        [2, 2, 1]
    """
    wanted = torch.is_grad_enabled() and (
        batch.requires_grad or any(parameter.requires_grad for parameter in model.parameters())
    )
    return [batch] if wanted or exporting() else batch.split(at_once)
