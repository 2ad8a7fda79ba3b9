"""The processes of one training: what each has of the joint batch, and how long they wait.

Of W processes number r has every W-th clip of the joint batch, from clip r on: that is how
`TrainingRun` deals a batch out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

LOST_AFTER = 40.0  # seconds that processes wait for each other at a step
PATIENCE = 1800.0  # likewise at the first step, and while one of them measures or saves
OF_CONTACT = ("gloo", "nccl", "connection", "socket", "timed out", "timeout", "peer")


def rank_and_count() -> tuple[int, int]:
    """The number of this process, and how many there are: (0, 1) where it is alone."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def own_rows(joint: Tensor) -> Tensor:
    """Of rows for the joint batch, (W N, ...), those of this process, (N, ...)."""
    rank, count = rank_and_count()
    return joint[rank::count]


def own_draws(draw: Callable[..., Tensor], rng: torch.Generator, count: int, *shape: int) -> Tensor:
    """Random numbers for the clips of this process, the same as one process alone draws for them.

    Each process draws for the joint batch, and takes its own rows.

    Args:
        draw: `torch.rand` or `torch.randn`.
        rng: in the same state in all processes; the numbers are on its device.
        count: N, clips of this process.
        shape: of a clip's numbers.

    Returns:
        (N, *shape).
    """
    _, processes = rank_and_count()
    return own_rows(draw(count * processes, *shape, generator=rng, device=rng.device))


def joint_rows(own: Tensor) -> Tensor:
    """The rows of all processes as the joint batch has them, without gradients.

    All processes call it.

    Args:
        own: (N, ...), the same shape in all processes.

    Returns:
        (W N, ...).
    """
    _, count = rank_and_count()
    if count == 1:
        return own.detach()
    parts = [torch.empty_like(own) for _ in range(count)]
    dist.all_gather(parts, own.detach().contiguous())
    return torch.stack(parts, 1).flatten(0, 1)


def wait_at_most(seconds: float) -> None:
    """From now on an operation of all processes fails when one of them is so late."""
    if rank_and_count()[1] == 1:
        return
    if not hasattr(dist, "set_timeout"):  # before PyTorch 2.14
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=seconds))
        return
    dist.set_timeout(timedelta(seconds=seconds))


def is_of_contact(error: RuntimeError) -> bool:
    """Whether an error says that another process is out of reach, not that a computation failed."""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in text for word in OF_CONTACT)
