"""What the shipped models take: floats in [0, 1], or bytes as decoders give them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

OVERSHOOT = 0.1  # by which a value may leave [0, 1], as resized ones do


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


def in_unit_range(values: Tensor, who: str) -> Tensor:
    """Bytes divided by 255; floats as they are, half precision too.

    Args:
        values: of any shape.
        who: as `check_tensor`.

    Raises:
        ValueError: for other types, and for values outside [-0.1, 1.1], NaN among them.
    """
    if values.dtype == torch.uint8:
        return values / 255
    wanted = "of float in [0, 1] or uint8"
    if not values.is_floating_point():
        raise ValueError(f"{who} {wanted}, not {values.dtype}")
    known = not values.is_meta and not torch.compiler.is_compiling()
    if values.numel() and known:
        low = values.min().item()
        high = values.max().item()
        if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):  # not: nor for NaN
            raise ValueError(f"{who} {wanted}, not from {low:g} to {high:g}")
    return values
