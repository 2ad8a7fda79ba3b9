"""Photographs, crops, scenes and public data sets: what they promise, and the statistics they share."""

import pickle
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eon_utils.data.photos import DATASETS, FOREIGN_PHOTOS, HELD_OUT_PHOTOS, PHOTOS, TRAINING_PHOTOS, crops, dataset, fit, photos
from eon_utils.evaluation.metrics import derivative_kurtosis, spectral_slope
from eon_utils.data.scenes import scene, scenes


@pytest.fixture(scope="module")
def leaves():
    return scenes(200)


@pytest.fixture(scope="module")
def photographs():
    return crops(200, names=TRAINING_PHOTOS + HELD_OUT_PHOTOS)


@pytest.fixture(scope="module")
def noise():
    """Gaussian pictures with power 1/f^2, (200, 1, 64, 64): alike at every scale as photographs are, no edges."""
    frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(64)[None])
    frequency[0, 0] = torch.inf  # no mean
    white = torch.randn(200, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    return torch.fft.ifft2(torch.fft.fft2(white) / frequency).real


def test_a_scene_depends_on_seed_index_and_size_alone():
    several = scenes(3, size=32, seed=5, start=7)
    assert several.shape == (3, 3, 32, 32) and several.dtype == torch.float32
    assert torch.equal(several[1], scene(8, 32, seed=5)) and torch.equal(several[1:], scenes(2, 32, 5, start=8))
    assert not torch.equal(several[0], several[1])
    assert not torch.equal(several[0], scene(7, 32, seed=6))


def test_scenes_are_rgb_in_unit_range(leaves):
    assert leaves.shape == (200, 3, 64, 64) and leaves.min() >= 0 and leaves.max() <= 1
    assert leaves.flatten(1).std(1).min() > 0.01  # none is empty
    assert (leaves[:, 0] - leaves[:, 2]).abs().flatten(1).mean(1).median() > 0.02  # they have colour


def test_the_spectrum_of_scenes_is_that_of_photographs(leaves, photographs, noise):
    # Measured: scenes -2.8, crops of all photographs -2.55, of the colour ones -2.8. Both are steeper than the -2
    # of large ensembles of photographs: a few pictures, most of them smooth at the scale of a pixel. So scenes are
    # compared with the pictures in use, not with the number in the books, which the noise stands for.
    assert abs(spectral_slope(leaves) - spectral_slope(photographs)) < 0.3
    assert abs(spectral_slope(leaves) - spectral_slope(crops(200, names=PHOTOS))) < 0.3
    assert abs(spectral_slope(noise) - spectral_slope(photographs)) > 0.3 and abs(spectral_slope(noise) + 2) < 0.1


def test_scenes_and_photographs_have_edges(leaves, photographs, noise):
    assert derivative_kurtosis(leaves) > 6 and derivative_kurtosis(photographs) > 6  # measured: 13 and 13
    assert abs(derivative_kurtosis(noise) - 3) < 0.3  # the same test sees that these have none


def test_the_three_lists_of_photographs_are_disjoint_and_load():
    names = TRAINING_PHOTOS + HELD_OUT_PHOTOS + FOREIGN_PHOTOS
    assert len(set(names)) == len(names) and set(PHOTOS) < set(TRAINING_PHOTOS)
    pictures = photos((64, 64), names)
    assert pictures.shape == (len(names), 3, 64, 64) and pictures.dtype == torch.float32
    assert pictures.min() >= 0 and pictures.max() <= 1
    gray = {name for name, picture in zip(names, pictures, strict=True) if torch.equal(picture[0], picture[2])}
    assert gray == {"brick", "grass", "gravel", "coins", "clock_motion", "camera", "page", "text", "moon"}
    with pytest.raises(ValueError, match=r"no photograph 'nobody'; try .*rocket.*china"):
        photos((64, 64), ("nobody",))


def test_centre_crops_evenly_and_portraits_keep_their_heads():
    rows = np.repeat(np.arange(64, dtype=np.uint8)[:, None], 16, axis=1)  # gray value = row
    picture = Image.fromarray(rows)
    assert 255 * fit(picture, (16, 16), centre=True).mean() == pytest.approx(31.5)
    assert 255 * fit(picture, (16, 16)).mean() == pytest.approx(0.2 * 48 + 7.5, abs=0.5)
    assert not torch.equal(photos((64, 32), ("camera",)), photos((64, 32), ("camera",), centre=True))


def test_a_crop_depends_on_seed_index_size_and_names_alone():
    several = crops(4, seed=3, start=10)
    assert several.shape == (4, 3, 64, 64) and several.dtype == torch.float32
    assert several.min() >= 0 and several.max() <= 1
    assert torch.equal(several[2:], crops(2, seed=3, start=12))
    assert not torch.equal(several[0], several[1]) and not torch.equal(several, crops(4, seed=4, start=10))
    assert crops(2, size=400).shape == (2, 3, 400, 400)  # larger than the shorter side of some photographs
    with pytest.raises(ValueError, match="no photograph 'nobody'"):
        crops(1, names=("nobody",))
    with pytest.raises(ValueError, match="count=0"):
        crops(0)


def test_crops_come_from_the_training_photographs(monkeypatch):
    opened = []
    original = crops.__globals__["photograph"]
    monkeypatch.setitem(crops.__globals__, "photograph", lambda name: opened.append(name) or original(name))
    pictures = crops(400, size=16)
    assert set(opened) == set(TRAINING_PHOTOS)  # the lists are disjoint, see above: none is held out
    gray = (pictures[:, 0] == pictures[:, 2]).flatten(1).all(1).float().mean().item()
    assert abs(gray - 5 / 14) < 0.08  # five gray ones, three in colour that are drawn three times as often


def write_cifar10(root):
    """Four random pictures a file, in the format of CIFAR10; returns those of the first and of the test file."""
    folder = Path(root) / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng, data = np.random.default_rng(0), {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        data[name] = rng.integers(0, 256, (4, 3 * 32 * 32), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": data[name], "labels": [0] * 4}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane"]}))
    return [torch.from_numpy(data[name]).reshape(4, 3, 32, 32) / 255 for name in ("data_batch_1", "test_batch")]


def test_dataset_reads_each_split(tmp_path, monkeypatch):
    train, test = write_cifar10(tmp_path)
    # The files stand for the real ones, whose checksums torchvision knows.
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: Path(path).is_file())
    assert torch.equal(dataset("CIFAR10", True, 32, limit=4, root=tmp_path), train)
    assert torch.equal(dataset("CIFAR10", False, 32, root=tmp_path), test)
    assert dataset("CIFAR10", True, 64, root=tmp_path).shape == (20, 3, 64, 64)
    assert torch.equal(dataset("CIFAR10", True, 32, limit=3, root=tmp_path, download=True), train[:3])
    (tmp_path / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(FileNotFoundError, match="not complete"):
        dataset("CIFAR10", True, 32, root=tmp_path)


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_says_how_to_get_the_files(name, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as error:
        dataset(name, True, 64, root=tmp_path)
    wanted = (name, str(tmp_path), f"download=True fetches {DATASETS[name]} MB")
    assert all(part in str(error.value) for part in wanted)

    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    with pytest.raises(ConnectionError, match=rf"{name} could not be downloaded.*no network.*scenes"):
        dataset(name, False, 64, root=tmp_path, download=True)


def test_dataset_names_bad_parameters(repo):
    with pytest.raises(ValueError, match=r"name='MNIST'.*CIFAR10, STL10, Flowers102"):
        dataset("MNIST", True, 64)
    with pytest.raises(ValueError, match="limit=0"):
        dataset("CIFAR10", True, 64, limit=0)
    assert "data/torchvision/" in (repo / ".gitignore").read_text(encoding="utf-8").splitlines()
