"""Public data sets of video as sources of clips to train on, where their files are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from eon_utils.data.clips import ClipSource
from eon_utils.data.public import (
    MNIST_FRAMES,
    gray_clip,
    placed_folder,
    training_part,
    ucf101_files,
)
from eon_utils.data.video_clips import VideoClips

CARD = "data/public_videos.md says how to get it"
AXES = 4  # of the sequences of MovingMNIST


def moving_mnist_sequences(root: str | Path | None = None) -> np.ndarray:
    """The sequences of MovingMNIST, (20, N, 64, 64) uint8, left on the disk.

    Args:
        root: folder of the files; None: `data/torchvision`.

    Raises:
        FileNotFoundError: where the file is missing.
        ValueError: where it is of another kind.
    """
    file = placed_folder(root) / "MovingMNIST" / "mnist_test_seq.npy"
    if not file.is_file():
        raise FileNotFoundError(f"MovingMNIST is not there, {file} is missing; {CARD}")
    try:
        sequences = np.load(file, mmap_mode="r")
    except (ValueError, EOFError):
        sequences = np.empty(0)
    if sequences.dtype != np.uint8 or sequences.ndim != AXES or len(sequences) != MNIST_FRAMES:
        raise ValueError(f"{file} does not hold the sequences of MovingMNIST; {CARD}")
    return sequences


def placed_ucf101_files(train: bool = True, root: str | Path | None = None) -> list[Path]:
    """The files of UCF101 that its first training or test list names, as far as they are there.

    Args:
        train: those for training, else those of its test.
        root: folder of the files; None: `data/torchvision`.

    Raises:
        FileNotFoundError: where the list, or all of them, are missing.
    """
    folder = placed_folder(root)
    placed = [file for file in ucf101_files(train, folder) if file.is_file()]
    if not placed:
        raise FileNotFoundError(f"UCF101 has none of its listed videos in {folder}; {CARD}")
    return placed


@dataclass(frozen=True)
class MovingMNISTClips(ClipSource):
    """Clips out of the file of MovingMNIST (Srivastava et al. 2015), read as they are drawn.

    A clip begins anywhere in a sequence. The parts are those of `public_videos`: the first nine
    tenths of the sequences are for training, the others are held out.

    Args:
        count, frames, size, seed, start, train: as of `ClipSource`; at most 20 frames.
        root: folder of the files; None: `data/torchvision`.

    Raises:
        FileNotFoundError: where the file is missing.
        ValueError: for more than 20 frames, and for a file of another kind.
    """

    root: str | None = None

    name = "MovingMNIST"
    weight = 1.0
    quick = True
    card = "public_videos.md"
    least: ClassVar = ClipSource.least

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames > MNIST_FRAMES:
            raise ValueError(
                f"frames={self.frames!r}: the sequences of {self.name} have {MNIST_FRAMES} frames"
            )
        moving_mnist_sequences(self.root)

    def clip(self, index: int) -> Tensor:
        rng = np.random.default_rng((self.seed, int(self.train), index))
        sequences = moving_mnist_sequences(self.root)
        border = training_part(sequences.shape[1])
        part = range(border) if self.train else range(border, sequences.shape[1])
        sequence = rng.choice(part)
        first = rng.integers(MNIST_FRAMES - self.frames, endpoint=True)
        frames = np.array(sequences[first : first + self.frames, sequence])  # (T, H, W)
        return gray_clip(torch.from_numpy(frames)[:, None], (self.size, self.size))


@dataclass(frozen=True)
class UCF101Clips(VideoClips):
    """Clips out of the files of UCF101 (Soomro et al. 2012), as `VideoClips` draws them.

    They are of the files that the first of its three pairs of lists names: those for training, or
    those of its test.

    Args:
        count, frames, size, seed, start, cache: as of `VideoClips`.
        train: the training list, else the test list.
        root: folder of the files; None: `data/torchvision`.

    Raises:
        FileNotFoundError: where lists or videos are missing.
    """

    folders: tuple[str, ...] = field(default=(), init=False, repr=False)
    root: str | None = None

    name = "UCF101"
    weight = 3.0
    card = "public_videos.md"

    def __post_init__(self) -> None:
        placed = placed_ucf101_files(self.train, self.root)
        object.__setattr__(self, "folders", tuple(map(str, placed)))
        super().__post_init__()
