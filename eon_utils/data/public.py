"""Public data sets, where they are present or can be downloaded: pictures, and clips out of videos."""

from __future__ import annotations

import warnings
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from eon_utils.config import DATA
from eon_utils.data.photos import crop_to
from eon_utils.data.video_folder import ClipRequest, clip_request, name_some, read_clips, to_tensor

IMAGE_SETS = {"CIFAR10": 170, "STL10": 2640, "Flowers102": 345}  # MB to download
VIDEO_SETS = ("MovingMNIST", "UCF101")


def public_images(
    name: str, train: bool, size: int, limit: int = 1000, root: str | Path | None = None, download: bool = False
) -> Tensor:
    """The first `limit` pictures of CIFAR10, STL10 or Flowers102, of the set's own train or test split.

    Read from `root` (`data/torchvision` unless given), where `download` puts the files if they are missing.

    Returns (N, 3, size, size), float32 RGB in [0, 1], cropped evenly around the middle. Raises ValueError for an
    unknown name or a limit below 1, FileNotFoundError when the files are missing and ConnectionError when
    downloading fails.
    """
    if name not in IMAGE_SETS:
        raise ValueError(f"name={name!r} is no data set known here; choose one of {', '.join(IMAGE_SETS)}")
    if limit < 1:
        raise ValueError(f"limit={limit!r} must be a whole number of pictures, at least 1")
    from torchvision import datasets

    root = DATA / "torchvision" if root is None else Path(root).expanduser()
    split = {"train": train} if name == "CIFAR10" else {"split": "train" if train else "test"}
    try:
        pictures = getattr(datasets, name)(root, download=download, **split)
    except (OSError, RuntimeError, HTTPException) as error:
        if download:
            raise ConnectionError(
                f"{name} could not be downloaded to {root} ({type(error).__name__}: {error}); without a network "
                "use dead leaves and the bundled photographs, or place the files as data/torchvision.md says"
            ) from error
        raise FileNotFoundError(
            f"{name} is not complete in {root}; download=True fetches {IMAGE_SETS[name]} MB when there is a "
            "network, and data/torchvision.md says how to place the files by hand"
        ) from error
    return torch.stack([crop_to(pictures[i][0], (size, size), centre=True) for i in range(min(limit, len(pictures)))])


def public_videos(
    name: str,
    train: bool,
    frames: int = 5,
    size: int | tuple[int, int] = 64,
    limit: int = 256,
    root: str | Path | None = None,
    download: bool = False,
) -> Tensor:
    """At most `limit` clips of MovingMNIST or UCF101, of its train or test part.

    Read from `root` (`data/torchvision` unless given), where `download` puts MovingMNIST if it is missing. Of
    MovingMNIST the first `frames` frames of a sequence are a clip; the first 9,000 sequences are for training.
    UCF101 is read as `video_folder` reads, at 12.5 frames a second, files spread evenly over the first of its three
    pairs of lists; `download` cannot fetch it.

    Returns (N, T, 3, H, W), float32 RGB in [0, 1]; MovingMNIST has three equal channels. Raises ValueError for an
    unknown name or a number out of range, FileNotFoundError when the files are missing and ConnectionError when
    downloading fails.
    """
    if name not in VIDEO_SETS:
        raise ValueError(f"name={name!r} is no data set known here; choose one of {', '.join(VIDEO_SETS)}")
    wanted = clip_request(frames, size, limit)
    root = DATA / "torchvision" if root is None else Path(root).expanduser()
    return _ucf101(train, wanted, root) if name == "UCF101" else _moving_mnist(train, wanted, root, download)


def _moving_mnist(train: bool, wanted: ClipRequest, root: Path, download: bool) -> Tensor:
    from torchvision import datasets

    if wanted.frames > 20:
        raise ValueError(f"frames={wanted.frames!r}: the sequences of MovingMNIST have 20 frames")
    try:
        data = datasets.MovingMNIST(root, download=download).data  # (10000, 20, 1, 64, 64), uint8
    except (OSError, RuntimeError, ValueError, HTTPException) as error:
        if download:
            raise ConnectionError(
                f"MovingMNIST could not be downloaded to {root} ({type(error).__name__}: {error}); without a "
                "network use the built-in videos, or place the file as data/public_videos.md says"
            ) from error
        raise FileNotFoundError(
            f"MovingMNIST is not complete in {root}; download=True fetches 820 MB when there is a network, and "
            "data/public_videos.md says how to place the file by hand"
        ) from error
    # torchvision's own split trains on the first frames of every sequence and tests on its last ones.
    border = len(data) * 9 // 10
    data = (data[:border] if train else data[border:])[: wanted.limit, : wanted.frames].float() / 255
    data = interpolate(data.flatten(0, 1), wanted.size[::-1], mode="bilinear", antialias=True)
    return data.clamp(0, 1).unflatten(0, (-1, wanted.frames)).expand(-1, -1, 3, -1, -1).contiguous()


def _ucf101(train: bool, wanted: ClipRequest, root: Path) -> Tensor:
    part = "train" if train else "test"
    names, videos = root / "ucfTrainTestlist" / f"{part}list01.txt", root / "UCF-101"
    for place in (names, videos):
        if not place.exists():
            raise FileNotFoundError(
                f"UCF101 is not complete, {place} is missing; torchvision cannot download it, and "
                "data/public_videos.md says where to get what belongs there"
            )
    lines = names.read_text(encoding="utf-8").splitlines()
    clips, skipped, _ = read_clips([videos / line.split()[0] for line in lines if line.strip()], wanted)
    if not clips:
        raise FileNotFoundError(f"UCF101 has no readable video in {videos}: {name_some(skipped)}")
    if skipped:
        warnings.warn(f"UCF101: {len(skipped)} of its {part} list skipped: {name_some(skipped)}", stacklevel=3)
    return to_tensor(clips)
