"""Sources of clips as data sets: one protocol, a cache of a slow source, a mixture of several."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    default_collate as collate,
)

from eon_utils.data.augment import augment
from eon_utils.data.files import check_room, in_turn, reserved_array, whole_file
from eon_utils.threads import usable_cores

CACHE_BATCH = 50  # clips that a worker makes at a time

Item = Any  # a clip, (T, 3, H, W); of some sources a tuple: the clip, then what is known of it


@dataclass(frozen=True)
class ClipSource(Dataset[Item]):
    """A source of clips. Item i is one clip (T, 3, H, W), float32 RGB in [0, 1].

    Clip i depends on the seed, on i and on the source's own settings alone. It does not depend on
    the number of clips, nor on the process that makes it.

    A subclass is a frozen dataclass, too: its fields are its own settings. It writes `clip`, and
    says of itself:

    - `name`: as in tables and on the command line.
    - `weight`: how often its clips are drawn in training, beside the other sources' weights.
    - `card`: its data card, a file in `data/`.
    - `reversible`: whether its clips are as likely with time running backwards.
    - `quick`: whether clips are made faster than they are trained on, so that none need be kept.
    - `training_settings`: further settings for clips to train on.
    - `least`: the least value of each setting that is a whole number.

    Args:
        count: number of clips.
        frames: T, frames a clip.
        size: side of the square frames in pixels.
        seed: of the stream of clips.
        start: number of the first clip in that stream.
        train: clips to train on, else held-out ones, which show other things.

    Raises:
        ValueError: for a number that is not whole or below its least value.

    Examples:
        >>> class Gray(ClipSource):
        ...     name = "gray"
        ...     def clip(self, index):
        ...         return torch.full((self.frames, 3, self.size, self.size), 0.1 * index)
        >>> clips = Gray(count=2, frames=5, size=8, start=3)
        >>> clips[0].shape, clips.stack().shape
        (torch.Size([5, 3, 8, 8]), torch.Size([2, 5, 3, 8, 8]))
        >>> Gray(count=0)
        Traceback (most recent call last):
        ValueError: count=0 must be a whole number, at least 1
    """

    count: int
    frames: int = 5
    size: int = 64
    seed: int = 0
    start: int = 0
    train: bool = True

    name: ClassVar[str]
    weight: ClassVar[float]
    card: ClassVar[str]
    reversible: ClassVar[bool] = True
    quick: ClassVar[bool] = False
    training_settings: ClassVar[Mapping[str, Any]] = {}
    least: ClassVar[dict[str, int]] = {"count": 1, "frames": 1, "size": 1, "seed": 0, "start": 0}

    def __post_init__(self) -> None:
        for setting, least in self.least.items():
            check_whole(setting, getattr(self, setting), least)

    def clip(self, index: int) -> Item:
        """Clip number `index` of the stream."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name} has {self.count} clips, there is no clip {index}")
        return self.clip(self.start + index)

    def stack(self) -> Item:
        """All clips as one tensor (N, T, 3, H, W); of items that are tuples, a list of tensors."""
        return collate([self[index] for index in range(len(self))])


class CachedClips(Dataset[Tensor]):
    """The clips of a source, made once and kept as uint8, in memory or in a file.

    Items are clips (T, 3, H, W), float32 in [0, 1], rounded to whole 255ths. The file is read as
    needed. It is found again by a source of the same name and settings.

    Args:
        source: gives plain clips, no tuples.
        folder: where the file is kept; None: in memory.
        workers: processes that make the clips; None: as many as there are cores.

    Examples:
        >>> from eon_utils.data.moving_digits import MovingDigits
        >>> clips = CachedClips(MovingDigits(3, frames=5, size=32))
        >>> len(clips), clips[0].shape, clips.clips.dtype
        (3, torch.Size([5, 3, 32, 32]), dtype('uint8'))
    """

    def __init__(
        self, source: ClipSource, folder: Path | None = None, workers: int | None = 0
    ) -> None:
        self.source = source
        self.name = source.name
        self.weight = source.weight
        self.reversible = source.reversible
        self.frames = source.frames
        shape = (len(source), source.frames, 3, source.size, source.size)
        if folder is None:
            self.clips = np.empty(shape, np.uint8)
            self._make(self.clips, workers)
            return
        settings = hashlib.sha256(repr(source).encode()).hexdigest()[:12]
        file = folder / f"{source.name}_{len(source)}_{source.size}_{settings}.npy"
        if not file.exists():
            with in_turn(file):
                self._write(file, shape, workers)
        self.clips = np.load(file, mmap_mode="r")

    def __repr__(self) -> str:
        return f"CachedClips({self.source!r})"

    def _write(self, file: Path, shape: tuple[int, ...], workers: int | None) -> None:
        if file.exists():  # another process has made it meanwhile
            return
        what = f"the cache of {len(self.source):,} {self.name} clips"
        check_room(file.parent, math.prod(shape), what)
        with whole_file(file) as partial:
            clips = reserved_array(partial, shape, what)
            self._make(clips, workers)
            clips.flush()

    def _make(self, clips: np.ndarray, workers: int | None) -> None:
        if workers is None:
            workers = usable_cores()
        done = 0
        with torch.random.fork_rng():  # a loader draws a seed: none of the caller's numbers
            for batch in DataLoader(self.source, CACHE_BATCH, num_workers=workers):
                clips[done : done + len(batch)] = (255 * batch).round().byte().numpy()
                done += len(batch)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.array(self.clips[index])).float() / 255


class Mixture(Dataset[Tensor]):
    """Clips drawn at random from several sources, each changed at random: what a training sees.

    Draw k depends on the seed and on k alone, so that any number of processes may share the work.
    The changes are those of `augment`.

    Args:
        sources: where clips are drawn from; of each, clips are drawn evenly.
        draws: how many, the length of this data set, at least 1.
        seed: of the draws and changes.
        frames: T of a drawn clip, at most that of the sources' clips.
        weights: how often a source is drawn, by its name; None: the sources' own.

    Raises:
        ValueError: for no sources, a number out of range, and for weights that miss a source, are
            negative or all 0.

    Examples:
        >>> from eon_utils.data.moving_digits import MovingDigits
        >>> clips = Mixture([MovingDigits(3, frames=8, size=32)], draws=100)
        >>> len(clips), clips[99].shape
        (100, torch.Size([5, 3, 32, 32]))
    """

    def __init__(
        self,
        sources: Sequence[ClipSource | CachedClips],
        draws: int,
        seed: int = 0,
        frames: int = 5,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        if not sources:
            raise ValueError("sources=[] must hold at least one source of clips")
        check_whole("draws", draws, 1)
        check_whole("frames", frames, 1)
        longest = min(source.frames for source in sources)
        if frames > longest:
            raise ValueError(f"frames={frames!r} must be at most {longest}, the sources' own")
        self.sources = list(sources)
        self.clips: ConcatDataset[Tensor] = ConcatDataset(self.sources)
        self.seed = seed
        self.frames = frames
        parts = []  # the weight of each clip, by source
        for source, weight in zip(sources, _source_weights(sources, weights), strict=True):
            parts.append(torch.full((len(source),), weight / len(source), dtype=torch.double))
        generator = torch.Generator().manual_seed(seed)
        # Not a sampler: millions of draws as Python's numbers take gigabytes.
        indices = torch.multinomial(torch.cat(parts), draws, replacement=True, generator=generator)
        self.indices = indices.numpy()
        self.weights = weights

    def __repr__(self) -> str:
        """What shapes the draws: all but how many there are."""
        settings = f"seed={self.seed}, frames={self.frames}, weights={self.weights}"
        return f"Mixture({self.sources}, {settings})"

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, draw: int) -> Tensor:
        index = int(self.indices[draw])
        source = self.sources[bisect_right(self.clips.cumulative_sizes, index)]
        rng = np.random.default_rng((self.seed, draw))
        return augment(self.clips[index], rng, self.frames, source.reversible)


class Interleaved(Dataset[Tensor]):
    """Draws of a mixture, and now and then a whole batch of another one, of other sizes, say.

    Args:
        usual: what most batches are of.
        other: what every `every`-th batch is of; as many draws.
        batch: draws in a batch, in a row, however many processes share it.
        every: at least 1.
    """

    def __init__(self, usual: Mixture, other: Mixture, batch: int, every: int) -> None:
        self.usual = usual
        self.other = other
        self.batch = batch
        self.every = every

    def __repr__(self) -> str:
        return f"Interleaved({self.usual!r}, {self.other!r}, every={self.every})"

    def __len__(self) -> int:
        return len(self.usual)

    def __getitem__(self, draw: int) -> Tensor:
        number = draw // self.batch + 1
        return (self.usual if number % self.every else self.other)[draw]


def check_whole(parameter: str, value: object, least: int) -> None:
    """Raise a ValueError that names the parameter where its value is not whole or below `least`."""
    if not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{parameter}={value!r} must be a whole number, at least {least}")


def check_positive(parameter: str, value: float | None) -> None:
    """Raise a ValueError that names the parameter where its value is not above 0; None passes."""
    if value is not None and not 0 < value < float("inf"):
        raise ValueError(f"{parameter}={value} must be greater than 0")


def _source_weights(
    sources: Sequence[ClipSource | CachedClips], weights: Mapping[str, float] | None
) -> list[float]:
    """The weight of each source: its own, or that of `weights`, checked."""
    if weights is None:
        return [source.weight for source in sources]
    names = [source.name for source in sources]
    values = [weights.get(name, -1.0) for name in names]
    if min(values) < 0 or not 0 < sum(values) < float("inf"):
        wanted = f"a number from 0 on for each of {', '.join(names)}, one above 0"
        raise ValueError(f"weights={dict(weights)!r} must give {wanted}")
    return values
