"""Video sources, a name each: all give clips (N, T, 3, H, W), float32 RGB in [0, 1]. data/ has a card of each."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from eon_utils.digits import digits
from eon_utils.footage import dataset, folder
from eon_utils.games import HELD_OUT_GAMES, TRAINING_GAMES, games
from eon_utils.motion import MOVES, leaves, moves, pans

__all__ = ["HELD_OUT_GAMES", "MOVES", "SOURCES", "TRAINING_GAMES", "Prefetched"]
__all__ += ["dataset", "digits", "folder", "games", "leaves", "mixed", "moves", "pans"]

SOURCES: dict[str, Callable[..., Tensor]] = {"digits": digits, "leaves": leaves, "pans": pans, "games": games}
PERIOD = 60  # clips after which a mixture repeats its order of sources


def mixed(
    count: int,
    frames: int = 5,
    size: int = 64,
    seed: int = 0,
    start: int = 0,
    train: bool = True,
    weights: dict[str, float] | None = None,
) -> Tensor:
    """Clips `start` to `start + count - 1` of a stream in which the sources take turns by `weights` (else evenly).

    Clip i depends on (seed, i) and the weights alone. Returns (count, frames, 3, size, size), float32 in [0, 1].
    Raises ValueError for an unknown source and for weights that are negative or all 0.
    """
    order = _order(weights or dict.fromkeys(SOURCES, 1.0))
    clips = []
    for index in range(start, start + count):
        turn, place = divmod(index, len(order))
        name = order[place]
        nth = turn * order.count(name) + order[:place].count(name)  # no clip of a source is left out
        clips.append(SOURCES[name](1, frames, size, seed, nth, train))
    return torch.cat(clips)


def _order(weights: dict[str, float]) -> list[str]:
    """Names of sources, about `PERIOD` of them, each as often as its weight says and evenly spread."""
    if not set(weights) <= set(SOURCES) or min(weights.values()) < 0 or not sum(weights.values()):
        raise ValueError(
            f"weights={weights!r} must name sources among {', '.join(SOURCES)}, with a weight above 0"
        )
    times = {name: round(PERIOD * weight / sum(weights.values())) for name, weight in weights.items()}
    return [name for _, name in sorted(((k + 0.5) / n, name) for name, n in times.items() for k in range(n))]


class Prefetched:
    """Batches made in the background, for `TrainingRun.batches`: a call with a step gives that step's batch.

    make: step -> a batch (N, T, 3, H, W); a function that a process can be handed, such as a `partial` of `mixed`.
    steps: as many batches as there are. workers: processes that make them. waited: seconds so far in which the
    batch asked for was not ready. Steps in order cost nothing; any other order starts the workers anew.
    """

    def __init__(self, make: Callable[[int], Tensor], steps: int, workers: int = 1) -> None:
        self.make, self.steps, self.workers = make, steps, workers
        self.waited, self._next = 0.0, -1

    def __call__(self, step: int) -> Tensor:
        if step != self._next:
            ahead = {"num_workers": self.workers, "prefetch_factor": 8}
            self._ready = iter(DataLoader(_Made(self.make), None, sampler=range(step, self.steps), **ahead))
        start = time.perf_counter()
        batch = next(self._ready)
        self.waited, self._next = self.waited + time.perf_counter() - start, step + 1
        return batch


class _Made(Dataset):
    def __init__(self, make: Callable[[int], Tensor]) -> None:
        self.make = make

    def __getitem__(self, step: int) -> Tensor:
        return self.make(step)
