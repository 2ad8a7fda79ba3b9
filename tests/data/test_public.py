"""Public data sets: which part of them is read, and what is said where files are missing."""

import pickle
import urllib.error
import urllib.request
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from video_files import write

from eon_utils.data import files
from eon_utils.data.public import IMAGE_SETS, public_images, public_videos
from eon_utils.data.public_clips import MovingMNISTClips, UCF101Clips


def write_cifar10(root):
    """Four random pictures a file, in the format of CIFAR10.

    Returns those of the first file and of the test file.
    """
    folder = Path(root) / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng, data = np.random.default_rng(0), {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        data[name] = rng.integers(0, 256, (4, 3 * 32 * 32), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": data[name], "labels": [0] * 4}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane"]}))
    pictures = [torch.from_numpy(data[name]) / 255 for name in ("data_batch_1", "test_batch")]
    return [part.reshape(4, 3, 32, 32) for part in pictures]


def test_pictures_are_those_of_each_split(tmp_path, monkeypatch):
    train, test = write_cifar10(tmp_path)
    # The files stand for the real ones, whose checksums torchvision knows.
    check = "torchvision.datasets.cifar.check_integrity"
    monkeypatch.setattr(check, lambda path, md5: Path(path).is_file())
    assert torch.equal(public_images("CIFAR10", True, 32, limit=4, root=tmp_path), train)
    assert torch.equal(public_images("CIFAR10", False, 32, root=tmp_path), test)
    assert public_images("CIFAR10", True, 64, root=tmp_path).shape == (20, 3, 64, 64)
    present = public_images("CIFAR10", True, 32, limit=3, root=tmp_path, download=True)
    assert torch.equal(present, train[:3])
    (tmp_path / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(FileNotFoundError, match="not complete"):
        public_images("CIFAR10", True, 32, root=tmp_path)


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_missing_pictures_are_explained(name, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as error:
        public_images(name, True, 64, root=tmp_path)
    wanted = (name, str(tmp_path), f"download=True fetches {IMAGE_SETS[name]} MB")
    assert all(part in str(error.value) for part in wanted)

    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    words = rf"{name} could not be downloaded.*no network.*built in.*torchvision.md"
    with pytest.raises(ConnectionError, match=words):
        public_images(name, False, 64, root=tmp_path, download=True)


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_a_full_disk_is_told_before_pictures_are_downloaded(name, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage(9e9, 9e9, 1e8))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("downloads"))
    with pytest.raises(files.NoRoomError, match=f"{name}, packed and unpacked, needs .* GB in"):
        public_images(name, True, 64, root=tmp_path, download=True)
    with pytest.raises(files.NoRoomError, match="MovingMNIST, packed and unpacked, needs"):
        public_videos("MovingMNIST", True, root=tmp_path, download=True)


def test_bad_parameters_of_pictures_are_named(repo):
    with pytest.raises(ValueError, match=r"name='MNIST'.*CIFAR10, STL10, Flowers102"):
        public_images("MNIST", True, 64)
    with pytest.raises(ValueError, match="limit=0"):
        public_images("CIFAR10", True, 64, limit=0)
    assert "data/torchvision/" in (repo / ".gitignore").read_text(encoding="utf-8").splitlines()


def write_ucf101(root, missing=()):
    """Four training and three test videos in the layout of UCF101, each of one brightness."""
    (root / "ucfTrainTestlist").mkdir(parents=True)
    train = ["Archery/v_g08_c01", "Archery/v_g08_c02", "Bowling/v_g09_c01", "Bowling/v_g10_c01"]
    parts = {
        "train": train,
        "test": ["Archery/v_g01_c01", "Archery/v_g02_c01", "Bowling/v_g01_c01"],
    }
    for part, names in parts.items():
        lines = [f"{name}.avi{' 1' if part == 'train' else ''}\r\n" for name in names]
        (root / "ucfTrainTestlist" / f"{part}list01.txt").write_text("".join(lines))
        for index, name in enumerate(names):
            file = root / "UCF-101" / f"{name}.avi"
            file.parent.mkdir(parents=True, exist_ok=True)
            value = 100 * (part == "test") + 20 * index + 20
            if name not in missing:
                write(file, [np.full((48, 64, 3), value, np.uint8)] * 30, "mpeg4")


def test_ucf101_reads_its_own_lists(tmp_path):
    write_ucf101(tmp_path)
    train, test = (public_videos("UCF101", part, root=tmp_path) for part in (True, False))
    assert train.shape == (12, 5, 3, 64, 64) and test.shape == (9, 5, 3, 64, 64)
    values = [(part.mean((1, 2, 3, 4)) * 255 / 20).round() for part in (train, test)]
    assert set(values[0].tolist()) == {1, 2, 3, 4}
    assert set(values[1].tolist()) == {6, 7, 8}  # of no file in both
    few = public_videos("UCF101", True, frames=3, size=(32, 16), limit=2, root=tmp_path)
    assert few.shape == (2, 3, 3, 16, 32)
    assert (few[1].mean() - few[0].mean()).abs() > 0.1  # two files


def test_ucf101_says_what_is_missing(tmp_path):
    words = r"trainlist01.txt is missing; torchvision cannot download"
    with pytest.raises(FileNotFoundError, match=words):
        public_videos("UCF101", True, root=tmp_path, download=True)
    write_ucf101(tmp_path, missing=("Archery/v_g08_c02", "Bowling/v_g09_c01"))
    words = r"2 of its train list skipped: v_g08_c02.avi \(No such file"
    with pytest.warns(UserWarning, match=words):
        assert len(public_videos("UCF101", True, root=tmp_path)) == 6
    for file in (tmp_path / "UCF-101").rglob("*.avi"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"no readable video in .*UCF-101"):
        public_videos("UCF101", False, root=tmp_path)


def test_moving_mnist_is_split_by_sequence(tmp_path):
    shape = (20, 30, 64, 64)  # (time, sequence, H, W)
    data = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (tmp_path / "MovingMNIST").mkdir()
    np.save(tmp_path / "MovingMNIST" / "mnist_test_seq.npy", data)
    train = public_videos("MovingMNIST", True, frames=20, root=tmp_path)
    test = public_videos("MovingMNIST", False, frames=20, root=tmp_path)
    assert train.shape == (27, 20, 3, 64, 64) and test.shape == (3, 20, 3, 64, 64)
    assert train.is_contiguous()
    sequences = torch.from_numpy(data).transpose(0, 1) / 255
    assert torch.equal(torch.cat([train, test])[:, :, 0], sequences)
    assert torch.equal(train[:, :, 0], train[:, :, 2])
    small = public_videos("MovingMNIST", True, 6, (48, 32), limit=2, root=tmp_path)
    assert small.shape == (2, 6, 3, 32, 48)
    with pytest.raises(ValueError, match=r"frames=21: .* 20 frames"):
        public_videos("MovingMNIST", True, frames=21, root=tmp_path)
    (tmp_path / "MovingMNIST" / "mnist_test_seq.npy").write_bytes(b"torn")
    with pytest.raises(FileNotFoundError, match="not complete"):
        public_videos("MovingMNIST", True, root=tmp_path)


def test_clips_of_moving_mnist_are_of_one_part(tmp_path):
    """Each sequence is of one brightness, and gets brighter by one with each frame."""
    steps = np.arange(20, dtype=np.uint8)[:, None] + 10 * np.arange(20, dtype=np.uint8)
    data = np.broadcast_to(steps[:, :, None, None], (20, 20, 64, 64))
    (tmp_path / "MovingMNIST").mkdir()
    file = tmp_path / "MovingMNIST" / "mnist_test_seq.npy"
    np.save(file, data)
    for train, sequences in ((True, range(18)), (False, range(18, 20))):
        source = MovingMNISTClips(40, 5, 32, train=train, root=str(tmp_path))
        clips = source.stack()
        assert clips.shape == (40, 5, 3, 32, 32) and torch.equal(source[3], clips[3])
        assert clips.std((2, 3, 4)).max() == 0, "a frame is of one sequence and one time"
        values = (255 * clips[:, :, 0, 0, 0]).round()
        assert torch.equal(values.diff(dim=1), torch.ones(40, 4)), "in order"
        starts = values[:, 0].int().tolist()
        of_part = {10 * sequence + first for sequence in sequences for first in range(16)}
        assert set(starts) <= of_part and len(set(starts)) > 8
    with pytest.raises(ValueError, match=r"frames=21: .* MovingMNIST have 20 frames"):
        MovingMNISTClips(1, 21, root=str(tmp_path))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"does not hold the sequences .*public_videos.md"):
        MovingMNISTClips(1, root=str(tmp_path))
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"is missing; data/public_videos.md"):
        MovingMNISTClips(1, root=str(tmp_path))


def test_clips_of_ucf101_are_of_one_list(tmp_path):
    write_ucf101(tmp_path, missing=("Archery/v_g08_c02",))
    cache = str(tmp_path / "cache")
    for train, brightness in ((True, {1, 3, 4}), (False, {6, 7, 8})):
        source = UCF101Clips(20, 5, 16, train=train, root=str(tmp_path), cache=cache)
        clips = source.stack()
        assert clips.shape == (20, 5, 3, 16, 16) and len(repr(source)) < 300
        assert set((clips.mean((1, 2, 3, 4)) * 255 / 20).round().tolist()) == brightness
    for file in (tmp_path / "UCF-101").rglob("*.avi"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match="UCF101 has none of its listed videos in"):
        UCF101Clips(1, root=str(tmp_path), cache=cache)


def test_bad_parameters_and_missing_clips_are_named(tmp_path, monkeypatch):
    words = "name='Kinetics' is no data set known here; choose one of MovingMNIST, UCF101"
    with pytest.raises(ValueError, match=words):
        public_videos("Kinetics", True)
    with pytest.raises(ValueError, match="limit=0 "):
        public_videos("UCF101", True, limit=0)
    with pytest.raises(FileNotFoundError, match=r"download=True fetches 820 MB .*public_videos.md"):
        public_videos("MovingMNIST", True, root=tmp_path)

    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.moving_mnist.download_url", no_network)
    words = r"MovingMNIST could not be downloaded.*no network.*public_videos.md"
    with pytest.raises(ConnectionError, match=words):
        public_videos("MovingMNIST", True, root=tmp_path, download=True)
