"""Public data sets, where their files are present or can be downloaded: pictures and clips."""

from __future__ import annotations

import warnings
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from eon_utils.config import DATA
from eon_utils.data.clips import check_whole
from eon_utils.data.files import check_room, name_some
from eon_utils.data.photos import crop_to
from eon_utils.data.video_folder import ClipRequest, clip_request, read_clips, to_tensor

IMAGE_SETS = {"CIFAR10": 170, "STL10": 2640, "Flowers102": 345}  # MB to download
VIDEO_SETS = ("MovingMNIST", "UCF101")
MNIST_FRAMES = 20  # of each sequence of MovingMNIST
MNIST_MB = 820
UNPACKED = 2.2  # times its download, what a set takes
REFUSALS = (OSError, RuntimeError, ValueError, HTTPException)  # of torchvision


def public_images(
    name: str,
    train: bool,
    size: int,
    limit: int = 1000,
    root: str | Path | None = None,
    download: bool = False,
) -> Tensor:
    """The first pictures of CIFAR10, STL10 or Flowers102, cropped evenly around the middle.

    Args:
        name: one of `IMAGE_SETS`.
        train: the set's own training part, else its test part.
        size: side of the square pictures in pixels.
        limit: as many pictures at most, at least 1.
        root: folder of the files; None: `data/torchvision`.
        download: put missing files there.

    Returns:
        (N, 3, size, size), float32 RGB in [0, 1].

    Raises:
        ValueError: for an unknown name or a limit below 1.
        FileNotFoundError: when files are missing.
        NoRoomError: when the disk is too full for the download.
        ConnectionError: when downloading fails.
    """
    _check_name(name, IMAGE_SETS)
    check_whole("limit", limit, 1)
    root = placed_folder(root)
    split: dict[str, Any] = {"split": "train" if train else "test"}
    if name == "CIFAR10":
        split = {"train": train}
    data_set = _placed(name, root, download, IMAGE_SETS[name], "data/torchvision.md", **split)
    pictures = []
    for index in range(min(limit, len(data_set))):
        picture = data_set[index][0]
        pictures.append(crop_to(picture, (size, size), centre=True))
    return torch.stack(pictures)


def public_videos(
    name: str,
    train: bool,
    frames: int = 5,
    size: int | tuple[int, int] = 64,
    limit: int = 256,
    root: str | Path | None = None,
    download: bool = False,
) -> Tensor:
    """Clips of MovingMNIST or UCF101.

    Of MovingMNIST the first frames of a sequence are a clip. The first 9,000 sequences are for
    training, the other 1,000 are its test part. It has three equal channels.

    UCF101 is read as `video_folder` reads, at 12.5 frames a second, from files spread evenly over
    the first of its three pairs of lists. It can't be downloaded from here.

    Args:
        name: one of `VIDEO_SETS`.
        train: the training part, else the test part.
        frames: T, frames a clip, at least 1; of MovingMNIST at most 20.
        size: side of square frames in pixels, or (width, height).
        limit: as many clips at most, at least 1.
        root: folder of the files; None: `data/torchvision`.
        download: put missing files of MovingMNIST there.

    Returns:
        (N, T, 3, H, W), float32 RGB in [0, 1].

    Raises:
        ValueError: for an unknown name or a number out of range.
        FileNotFoundError: when files are missing.
        NoRoomError: when the disk is too full for the download.
        ConnectionError: when downloading fails.
    """
    _check_name(name, VIDEO_SETS)
    request = clip_request(frames, size, limit)
    root = placed_folder(root)
    if name == "UCF101":
        return _ucf101(train, request, root)
    return _moving_mnist(train, request, root, download)


def _check_name(name: str, known: dict[str, int] | tuple[str, ...]) -> None:
    if name not in known:
        choice = f"choose one of {', '.join(known)}"
        raise ValueError(f"name={name!r} is no data set known here; {choice}")


def placed_folder(root: str | Path | None) -> Path:
    """The folder of the files; of None, where torchvision's sets are kept here."""
    return DATA / "torchvision" if root is None else Path(root).expanduser()


def _placed(
    name: str,
    root: Path,
    download: bool,
    megabytes: int,
    card: str,
    **split: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """A data set of torchvision; what that raises, in the words of this course.

    Raises:
        FileNotFoundError: where files are missing, and shall not be downloaded.
        NoRoomError: where the disk is too full for them.
        ConnectionError: where downloading fails.
    """
    from torchvision import datasets

    by_hand = f"{card} says how to place the files by hand"
    try:
        return getattr(datasets, name)(root, download=False, **split)
    except REFUSALS as error:
        if not download:
            fetched = f"download=True fetches {megabytes} MB when there is a network"
            message = f"{name} is not complete in {root}; {fetched}, and {by_hand}"
            raise FileNotFoundError(message) from error
    check_room(root, UNPACKED * megabytes * 1e6, f"{name}, packed and unpacked,")
    try:
        return getattr(datasets, name)(root, download=True, **split)
    except REFUSALS as error:
        failed = f"could not be downloaded to {root} ({type(error).__name__}: {error})"
        instead = "without a network use the sources that are built in"
        raise ConnectionError(f"{name} {failed}; {instead}, or {by_hand}") from error


def _moving_mnist(train: bool, request: ClipRequest, root: Path, download: bool) -> Tensor:
    if request.frames > MNIST_FRAMES:
        raise ValueError(
            f"frames={request.frames!r}: the sequences of MovingMNIST have {MNIST_FRAMES} frames"
        )
    card = "data/public_videos.md"
    data = _placed("MovingMNIST", root, download, MNIST_MB, card).data  # (N, 20, 1, 64, 64), uint8
    # torchvision's own split trains on the first frames of each sequence and tests on its last.
    border = training_part(len(data))
    part = data[:border] if train else data[border:]
    clips = part[: request.limit, : request.frames]  # (N, T, 1, 64, 64)
    frames = gray_clip(clips.flatten(0, 1), request.size)
    return frames.unflatten(0, (-1, request.frames))


def training_part(sequences: int) -> int:
    """How many of the sequences of MovingMNIST are for training: the first ones."""
    return sequences * 9 // 10


def gray_clip(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Gray frames at another size, in three equal channels.

    Args:
        frames: (T, 1, h, w), uint8.
        size: (width, height) in pixels.

    Returns:
        (T, 3, H, W), float32 in [0, 1].
    """
    width, height = size
    gray = interpolate(frames.float() / 255, (height, width), mode="bilinear", antialias=True)
    return gray.clamp(0, 1).expand(-1, 3, -1, -1).contiguous()


def ucf101_files(train: bool, root: Path) -> list[Path]:
    """The videos that the first pair of lists of UCF101 names, whether they are there or not.

    Args:
        train: those for training, else those of its test.
        root: folder of the files.

    Raises:
        FileNotFoundError: where the list or the folder of videos is missing.
    """
    part = "train" if train else "test"
    names = root / "ucfTrainTestlist" / f"{part}list01.txt"
    videos = root / "UCF-101"
    for place in (names, videos):
        if not place.exists():
            by_hand = "data/public_videos.md says where to get what belongs there"
            raise FileNotFoundError(
                f"UCF101 is not complete, {place} is missing; "
                f"torchvision cannot download it, and {by_hand}"
            )
    files = []
    for line in names.read_text(encoding="utf-8-sig").splitlines():
        if line.strip():
            files.append(videos / line.split()[0])
    return files


def _ucf101(train: bool, request: ClipRequest, root: Path) -> Tensor:
    files = ucf101_files(train, root)
    clips, skipped, _ = read_clips(files, request)
    if not clips:
        videos = root / "UCF-101"
        raise FileNotFoundError(f"UCF101 has no readable video in {videos}: {name_some(skipped)}")
    if skipped:
        count = f"{len(skipped)} of its {'train' if train else 'test'} list skipped"
        warnings.warn(f"UCF101: {count}: {name_some(skipped)}", stacklevel=3)
    return to_tensor(clips)
