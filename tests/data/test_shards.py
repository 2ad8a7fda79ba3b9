"""Clips in shards: written once, streamed into trainings."""

import multiprocessing
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import eon_utils as eon
from eon_utils.__main__ import main
from eon_utils.data import shards
from eon_utils.training import model_card, prior_score, train_prior
from eon_utils.training.train_prior import Recipe

pytest.importorskip("litdata", reason="the extra `shards` is not installed")
SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards of 40 clips of digits and pans."""
    import ipykernel  # noqa: F401  where it is imported, litdata's way is to fork, which hangs

    torch.ones(512, 512) @ torch.ones(512, 512)
    before = multiprocessing.get_start_method(allow_none=True)
    folder = tmp_path_factory.mktemp("shards")
    words = f"shards --mixture digits=3 pans=1 --clips 40 --size {SIZE} --out {folder}"
    assert main(words.split()) == 0
    assert multiprocessing.get_start_method(allow_none=True) == before
    return folder


def test_a_source_s_clips_are_written_as_they_are(folder):
    import litdata

    written = litdata.StreamingDataset(str(folder / "digits"))
    assert len(written) == 30
    settings = eon.SOURCES["digits"].training_settings
    source = eon.SOURCES["digits"](30, train_prior.FRAMES, SIZE, 0, **settings)
    for index in (0, 29):
        clip = torch.from_numpy(written[index]["clip"]).float() / 255
        assert (clip - source[index]).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_clips_of_a_mixture(folder, workers):
    loader = shards.shard_loader(
        shards.find_shards(str(folder)), {"digits": 1, "pans": 0}, 8, 7, workers=workers
    )
    batches = [batch for batch in loader if len(batch) == 8]
    assert len(batches) >= 3
    assert all(batch.shape == (8, 7, 3, SIZE, SIZE) for batch in batches)
    assert 0 <= min(map(torch.min, batches)) <= max(map(torch.max, batches)) <= 1
    assert len({float(clip.mean()) for batch in batches for clip in batch}) > 20


def test_a_prior_is_trained_from_them(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(model_card, "CLIPS", 1)
    monkeypatch.setattr(prior_score, "CLIPS", 1)
    recipe = Recipe(shards=str(folder), width=4, steps=12, batch=4, size=SIZE)
    assert recipe.weights() == {"digits": 1.5, "pans": 1.5}
    run = train_prior.ship(recipe, tmp_path / "out", tmp_path)
    assert run.status == "finished" and run.done == 12, "though there are ten batches"
    assert eon.load_prior(tmp_path / "out" / "prior.safetensors").config.fusion == 4
    with pytest.raises(ValueError, match="there are shards of digits, pans, not of leaves"):
        train_prior.ship(replace(recipe, mixture=(("leaves", 1.0),)), tmp_path / "out", tmp_path)


def copied(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "shards"))


def cut_off(folder):
    next((folder / "digits").glob("*.bin")).write_bytes(b"half")


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (lambda to: (to / "pans" / "index.json").unlink(), {}, "pans is not written to its end; c"),
        (lambda to: shutil.rmtree(to / "pans"), {}, "pans is not written to its end; call the co"),
        (cut_off, {}, r"digits is damaged \(chunk-0-0.bin has another size\); remove"),
        (lambda to: (to / "digits" / "index.json").write_text("{"), {}, "digits is damaged"),
        (lambda to: None, {"size": 64}, "size=64, but the shards of digits are of 32: --size 32"),
        (lambda to: None, {"batch": 16}, "batch=16, but there are 10 clips of pans in shards"),
        (lambda to: None, {"mixture": (("leaves", 1.0),)}, "shards of digits, pans, not of leaves"),
    ],
)
def test_shards_that_do_not_fit_are_named_before_anything_begins(
    folder, tmp_path, spoil, options, message
):
    to = copied(folder, tmp_path)
    spoil(to)
    with pytest.raises(ValueError, match=message):
        replace(Recipe(shards=str(to), width=4, batch=4, size=SIZE), **options).check()


def test_what_is_written_is_kept_and_what_is_not_is_made(folder, tmp_path, capsys, monkeypatch):
    to = copied(folder, tmp_path)
    first = Recipe(shards=str(to)).digest()
    (to / "pans" / "index.json").unlink()
    made = []
    write = shards.write_shards
    monkeypatch.setattr(shards, "write_shards", lambda *a: [made.append(a[0].name), write(*a)])
    words = f"shards --mixture digits=3 pans=1 --clips 40 --size {SIZE} --out {to}"
    assert main(words.split()) == 0
    assert made == ["pans"] and "digits: 30 clips, which are there" in capsys.readouterr().out
    assert Recipe(shards=str(to)).digest() != first, "other clips are another training"
    before = sorted(path.stat().st_mtime_ns for path in to.rglob("*"))
    assert main([*words.split(), "--seed", "1"]) == 2
    said = "holds shards of other settings; choose another --out, or remove it"
    assert said in capsys.readouterr().err
    assert sorted(path.stat().st_mtime_ns for path in to.rglob("*")) == before


def test_who_writes_ends_when_its_parent_is_killed(monkeypatch):
    class Killed:
        def is_alive(self):
            return False

    def end(status):
        raise SystemExit(status)

    source = eon.MovingDigits(1, 10, SIZE)
    assert shards._packed(source, 0)["clip"].shape == (10, 3, SIZE, SIZE)
    monkeypatch.setattr(multiprocessing, "parent_process", Killed)
    monkeypatch.setattr("os._exit", end)
    with pytest.raises(SystemExit):
        shards._packed(source, 0)


def test_what_else_is_in_a_folder_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    words = f"shards --mixture digits=1 --clips 2 --size {SIZE} --out {tmp_path}"
    assert main(words.split()) == 2
    assert "is not empty; choose another --out, or remove it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("prior --shards nowhere", "shards='nowhere' holds no folder with an index.json; `python"),
        ("prior --shards . --videos .", "shards hold the clips already: leave the videos out"),
        ("shards --out x --clips 2", "clips of digits=0 must be a whole number, at least 1"),
        ("shards --out x --workers 0", "workers=0 must be a whole number, at least 1"),
        ("shards --out x --mixture real=1", "the mixture draws 'real' clips: name videos"),
    ],
)
def test_what_is_wrong_is_said_before_anything_begins(
    words, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}") and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_the_package_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "litdata", None)
    with pytest.raises(ImportError, match=r"pip install 'eye-of-newt\[shards\]'"):
        shards.litdata()
