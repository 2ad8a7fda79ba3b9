"""Clips in shards: written once, then streamed from a disk, however many they are.

The format, the streaming and the sharing out among processes are litdata's.
"""

from __future__ import annotations

import json
import multiprocessing
import os
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
from eon_utils.data.files import check_room, whole_file

INDEX = "index.json"  # what a folder of shards holds
NOTED = "shards.json"  # beside such folders: with which settings they were written
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


def begin_shards(folder: Path, asked: dict[str, Any], sources: Sequence[str]) -> list[str]:
    """Make a folder of shards ready, or go on with one that was begun with the same words.

    Args:
        folder: with a folder for each source. One without an index is not written to its end.
        asked: what shapes the clips; it is noted in the folder.
        sources: that are to be written.

    Returns:
        Those that are not written yet.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    noted = folder / NOTED
    text = json.dumps(asked, indent=1)
    if noted.is_file():
        if noted.read_text(encoding="utf-8") != text:
            remedy = "choose another --out, or remove it"
            raise FileExistsError(f"{folder} holds shards of other settings; {remedy}")
    else:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(f"{folder} is not empty; choose another --out, or remove it")
        for name in sources:
            (folder / name).mkdir(parents=True)
        with whole_file(noted) as partial:
            partial.write_text(text, encoding="utf-8")
    return [name for name in sources if not (folder / name / INDEX).is_file()]


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
    (Path(folder) / INDEX).unlink(missing_ok=True)  # until they are whole, they have none
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
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)  # who was killed leaves nobody behind who writes
    clip = source[index]
    assert isinstance(clip, Tensor)
    return {"clip": (255 * clip).round().byte().numpy()}


def find_shards(folder: str) -> dict[str, str]:
    """Source -> the folder of its shards.

    Args:
        folder: that `write_shards` wrote into, a folder for each source.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where those of a source are not written to their end, or are damaged.
    """
    root = Path(folder).expanduser()
    for name in _noted_sources(root):
        if not (root / name / INDEX).is_file():
            remedy = "call the command `shards` again as before, which goes on with them"
            raise ValueError(f"{root / name} is not written to its end; {remedy}")
    found = sorted(root.glob(f"*/{INDEX}"))
    if not found:
        how = "`python -m eon_utils shards --out FOLDER` writes them"
        raise FileNotFoundError(f"shards={folder!r} holds no folder with an {INDEX}; {how}")
    for index in found:
        _chunks(index)
    return {path.parent.name: str(path.parent) for path in found}


def _noted_sources(root: Path) -> list[str]:
    """The sources that a folder of shards is to hold, where that is noted."""
    try:
        return list(json.loads((root / NOTED).read_text(encoding="utf-8"))["mixture"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _chunks(index: Path) -> list[dict[str, Any]]:
    """What an index says of its files, which are all there and whole."""
    remedy = f"remove {index.parent} and write it again with the command `shards`"
    try:
        chunks = json.loads(index.read_text(encoding="utf-8"))["chunks"]
        for chunk in chunks:
            if (index.parent / chunk["filename"]).stat().st_size != chunk["chunk_bytes"]:
                raise ValueError(f"{chunk['filename']} has another size")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{index.parent} is damaged ({reason}); {remedy}") from error
    return chunks


def check_shards(folders: Mapping[str, str], size: int, frames: int, batch: int) -> None:
    """Refuse shards of which a training can draw no batch.

    Args:
        folders: source -> the folder of its shards, from `find_shards`.
        size: side of the frames in pixels that is asked for.
        frames: of a draw.
        batch: clips of one, of all processes.

    Raises:
        ImportError: without litdata.
        ValueError: for clips of another size, or too short or too few ones.
    """
    for name, folder in folders.items():
        clip = litdata().StreamingDataset(folder)[0]["clip"]  # (T, 3, S, S)
        length, side = clip.shape[0], clip.shape[-1]
        if side != size:
            raise ValueError(f"size={size}, but the shards of {name} are of {side}: --size {side}")
        if length < frames:
            raise ValueError(f"the shards of {name} have {length} frames a clip, not {frames}")
        count = sum(chunk["chunk_size"] for chunk in _chunks(Path(folder) / INDEX))
        if count < batch:
            raise ValueError(f"batch={batch}, but there are {count} clips of {name} in shards")


def check_drawn(drawn: Sequence[str], folders: Mapping[str, str]) -> None:
    """Raise a ValueError that names the sources to draw from of which there are no shards."""
    missing = [name for name in drawn if name not in folders]
    if missing or not drawn:
        have = ", ".join(folders)
        raise ValueError(f"there are shards of {have}, not of {', '.join(missing) or 'nothing'}")


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
        seed: of the order. The changes are drawn by PyTorch's generator; `TrainingRun` gives each
            process of a training a stream of its own.
        workers: processes that load clips beside the training.
        irreversible: sources whose time runs one way.

    Raises:
        ImportError: without litdata.
        ValueError: for a source that has no shards, or no weight above 0.
    """
    drawn = [name for name, weight in weights.items() if weight > 0]
    check_drawn(drawn, folders)
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
    rng = np.random.default_rng(int(torch.randint(2**62, ())))  # of the process that loads it
    return augment(clip, rng, frames, reversible)
