"""Sources of clips as data sets: one protocol, a cache in front of a slow source, and a mixture of several."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    Subset,
    WeightedRandomSampler,
    default_collate,
)

from eon_utils.data.augment import augment

CACHE_BATCH = 50  # clips that a worker makes at a time


class ClipSource(Dataset):
    """A source of clips. Item i is one clip (T, 3, H, W), float32 RGB in [0, 1].

    Clip i depends on the seed, on i and on the source's own settings alone: not on the number of clips, nor on the
    process that makes it. A subclass writes `clip`, and says of itself:

    name: as in tables and on the command line.
    weight: how often a clip of it is drawn in training, beside the other sources' weights.
    reversible: whether its clips are as likely with time running backwards.
    card: its data card, a file in `data/`.
    training_settings: further settings for clips to train on.

    Args:
        count: number of clips, at least 1.
        frames: T, at least 1.
        size: side of the square frames in pixels, at least `smallest`.
        seed: of the stream of clips.
        start: number of the first clip in that stream, at least 0.
        train: clips to train on, else held-out ones, which show other things.

    Raises:
        ValueError: for a number below its least value.
    """

    name: ClassVar[str]
    weight: ClassVar[float]
    card: ClassVar[str]
    reversible: ClassVar[bool] = True
    training_settings: ClassVar[Mapping[str, Any]] = {}
    smallest: ClassVar[int] = 1

    def __init__(
        self,
        count: int,
        frames: int = 5,
        size: int = 64,
        seed: int = 0,
        start: int = 0,
        train: bool = True,
    ) -> None:
        least = {"count": 1, "frames": 1, "size": self.smallest, "start": 0}
        values = {"count": count, "frames": frames, "size": size, "start": start}
        for parameter, value in values.items():
            if value < least[parameter]:
                raise ValueError(f"{parameter}={value!r} must be at least {least[parameter]}")
        self.count = count
        self.frames = frames
        self.size = size
        self.seed = seed
        self.start = start
        self.train = train

    def clip(self, index: int) -> Any:  # noqa: ANN401
        """Clip number `index` of the stream, (T, 3, H, W); or a tuple: the clip, then what is known of it."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name} has {self.count} clips, there is no clip {index}")
        return self.clip(self.start + index)

    def stack(self) -> Any:  # noqa: ANN401
        """All clips as one tensor (N, T, 3, H, W); of a source that gives tuples, a list of such tensors."""
        return default_collate([self[index] for index in range(len(self))])


class CachedClips(Dataset):
    """The clips of a source, made once and kept as uint8: in memory, or in a file that is read as needed.

    Items are clips (T, 3, H, W), float32 in [0, 1], rounded to whole 255ths.

    Args:
        source: gives plain clips, no tuples.
        folder: where the file is kept and found again; None: in memory.
        workers: processes that make the clips; None: as many as there are cores.
    """

    def __init__(self, source: ClipSource, folder: Path | None = None, workers: int | None = 0) -> None:
        self.source = source
        self.name = source.name
        self.weight = source.weight
        self.reversible = source.reversible
        shape = (len(source), source.frames, 3, source.size, source.size)
        if folder is None:
            self.clips = np.empty(shape, np.uint8)
            self._make(workers)
            return
        file = folder / f"{source.name}_{len(source)}_{source.size}_{source.seed}.npy"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            self.clips = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
            self._make(workers)
            self.clips.flush()
            partial.replace(file)
        self.clips = np.load(file, mmap_mode="r")

    def _make(self, workers: int | None) -> None:
        workers = os.cpu_count() or 1 if workers is None else workers
        made = 0
        for batch in DataLoader(self.source, CACHE_BATCH, num_workers=workers):
            self.clips[made : made + len(batch)] = (255 * batch).round().byte().numpy()
            made += len(batch)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.array(self.clips[index])).float() / 255


Source = ClipSource | CachedClips


class Mixture(Dataset):
    """Clips drawn at random from several sources, each changed at random (`augment`): what a training sees.

    Draw k depends on the seed and on k alone, so that any number of processes may share the work.

    Args:
        sources: where clips are drawn from; of each, clips are drawn evenly.
        draws: how many, the length of this data set.
        seed: of the draws and changes.
        frames: T of a drawn clip, at most that of the sources' clips.
        weights: how often a clip of a source is drawn, by the source's name; None: the sources' own weights.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        draws: int,
        seed: int = 0,
        frames: int = 5,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.clips = ConcatDataset(sources)
        self.seed = seed
        self.frames = frames
        each = []
        for source in sources:
            weight = source.weight if weights is None else weights[source.name]
            each += [weight / len(source)] * len(source)
        generator = torch.Generator().manual_seed(seed)
        self.drawn = Subset(self.clips, list(WeightedRandomSampler(each, draws, generator=generator)))

    def __len__(self) -> int:
        return len(self.drawn)

    def __getitem__(self, draw: int) -> Tensor:
        place = bisect_right(self.clips.cumulative_sizes, self.drawn.indices[draw])
        rng = np.random.default_rng((self.seed, draw))
        return augment(self.drawn[draw], rng, self.frames, self.clips.datasets[place].reversible)
