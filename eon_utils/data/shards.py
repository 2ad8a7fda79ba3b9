"""Clips in shards: written once, then streamed from a disk, however many they are.

The format, the streaming and the sharing out among processes are litdata's.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from eon_utils.data.augment import augment
from eon_utils.data.clips import ClipSource, check_whole
from eon_utils.data.files import check_room

INDEX = "index.json"  # what a folder of shards holds
SHARD = "64MB"


def litdata() -> Any:  # noqa: ANN401
    """The package, which is no requirement of the course.

    Raises:
        ImportError: with the command that installs it.
    """
    try:
        import litdata as package
    except ImportError as error:
        remedy = "pip install 'eye-of-newt[shards]'"
        raise ImportError(f"shards need the package litdata: {remedy}") from error
    return package


def write_shards(source: ClipSource, folder: str | Path, workers: int = 1) -> None:
    """Write all clips of a source, as bytes.

    Args:
        source: of clips (T, 3, S, S).
        folder: where its shards go; what is there is replaced.
        workers: processes that make clips.

    Raises:
        ImportError: without litdata.
        NoRoomError: where the disk is too full.
        ValueError: for no worker.
    """
    check_whole("workers", workers, 1)
    size = len(source) * source.frames * 3 * source.size**2
    check_room(Path(folder), size, f"{len(source):,} {source.name} clips")
    before = multiprocessing.get_start_method(allow_none=True)
    try:
        litdata().optimize(
            fn=partial(_packed, source),
            inputs=list(range(len(source))),
            output_dir=str(folder),
            chunk_bytes=SHARD,
            num_workers=workers,
            mode="overwrite",
            verbose=False,
            start_method="spawn",  # a fork hangs where torch has computed
        )
    finally:
        multiprocessing.set_start_method(before, force=True)  # litdata sets it for all


def _packed(source: ClipSource, index: int) -> dict[str, np.ndarray]:
    clip = source[index]
    assert isinstance(clip, Tensor)
    return {"clip": (255 * clip).round().byte().numpy()}


def find_shards(folder: str) -> dict[str, str]:
    """Source -> the folder of its shards.

    Args:
        folder: that `write_shards` wrote into, a folder for each source.

    Raises:
        FileNotFoundError: where there is none.
    """
    found = sorted(Path(folder).expanduser().glob(f"*/{INDEX}"))
    if not found:
        how = "`python -m eon_utils shards --out FOLDER` writes them"
        raise FileNotFoundError(f"shards={folder!r} holds no folder with an {INDEX}; {how}")
    return {path.parent.name: str(path.parent) for path in found}


def shard_loader(
    folders: Mapping[str, str],
    weights: Mapping[str, float],
    batch: int,
    frames: int,
    seed: int = 0,
    workers: int = 0,
    irreversible: Sequence[str] = (),
) -> DataLoader:
    """Batches (batch, frames, 3, S, S) in [0, 1] from shards, each clip changed by `augment`.

    The processes of a training share the clips; make the loader after they were launched. It ends
    when a source is through.

    Args:
        folders: source -> the folder of its shards.
        weights: source -> how often a clip of it is drawn.
        batch: clips in one, of this process.
        frames: of a clip.
        seed: of the order, and of the changes.
        workers: processes that load clips beside the training.
        irreversible: sources whose time runs one way.

    Raises:
        ImportError: without litdata.
        ValueError: for a source that has no shards, or no weight above 0.
    """
    drawn = [name for name, weight in weights.items() if weight > 0]
    missing = [name for name in drawn if name not in folders]
    if missing or not drawn:
        have = ", ".join(folders)
        raise ValueError(f"there are shards of {have}, not of {', '.join(missing) or 'nothing'}")
    package = litdata()
    streams = []
    for name in drawn:
        stream = package.StreamingDataset(
            folders[name],
            shuffle=True,
            drop_last=True,
            seed=seed,
            transform=partial(_draw, frames=frames, reversible=name not in irreversible),
        )
        streams.append(stream)
    total = sum(weights[name] for name in drawn)
    mixed = package.CombinedStreamingDataset(
        streams,
        seed=seed,
        weights=[weights[name] / total for name in drawn],
        iterate_over_all=False,
    )
    return package.StreamingDataLoader(mixed, batch_size=batch, num_workers=workers, drop_last=True)


def _draw(packed: dict[str, np.ndarray], frames: int, reversible: bool) -> Tensor:
    """A clip of `Mixture`'s kind."""
    clip = torch.from_numpy(packed["clip"]).float() / 255
    rng = np.random.default_rng(int(torch.randint(2**62, ())))  # each process has its own
    return augment(clip, rng, frames, reversible)
