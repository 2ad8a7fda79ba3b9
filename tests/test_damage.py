"""Damaged files and senseless parameters by the hundred: each is read, or named in words."""

import hashlib
import io
import json
import random
import warnings

import numpy as np
import pytest
import torch
from damage import broken
from PIL import Image

import eon_utils as eon
from eon_utils.config import PRESETS
from eon_utils.course import runner, sweep, widgets
from eon_utils.course.ledger import read_ledger, write_ledger
from eon_utils.data.shards import find_shards
from eon_utils.models.prior import load_prior, save_prior
from eon_utils.notebook.parameters import resolve
from eon_utils.training import recording

EACH = 80
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "JPEG2000")
TABLE = {"size": ((32, 32), (64, 64), (96, 96)), "steps": (5, 50, 500), "noise": (0.1, 0.2, 0.3)}
SENSELESS = (
    *(0, -1, 2**40, 1.5, -0.1, float("nan"), float("inf"), True, False, "", "x", "0", "-1", "none"),
    *("[64, 0]", [64], [64, -1], (64, 64, 64), ["a", "b"], {}, {"a": 1}, b"64", None, object),
)


def encoded(kind, frames=1):
    """A picture with an EXIF tag, or several in one file, as the format has it."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(frames):
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        pictures.append(Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))))
    tags = Image.Exif()
    tags[0x0112] = 6  # to be turned
    file = io.BytesIO()
    more = {"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}
    pictures[0].save(file, kind, exif=tags, **more)
    return file.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_of_damaged_pictures_each_is_read_or_named(tmp_path, kind):
    data = encoded(kind)
    read = 0
    for seed in range(EACH):
        (tmp_path / f"a.{kind.lower()}").write_bytes(broken(data, seed))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                pictures, names = eon.photo_folder(tmp_path, (32, 32))
                assert names == ["a"] and pictures.shape == (1, 3, 32, 32)
                assert pictures.isfinite().all() and 0 <= pictures.min() <= pictures.max() <= 1
                read += 1
            except ValueError as error:
                assert "holds no readable picture" in str(error)
        assert all(one.category is UserWarning for one in caught), [str(c.message) for c in caught]
    assert 0 < read < EACH


def test_of_numbered_pictures_a_damaged_one_costs_no_other(tmp_path):
    for number in range(6):
        (tmp_path / f"a{number}.png").write_bytes(encoded("PNG"))
    data = (tmp_path / "a3.png").read_bytes()
    for seed in range(EACH):
        (tmp_path / "a3.png").write_bytes(broken(data, seed))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            clips, _ = eon.video_folder(tmp_path, frames=1, size=16)
        said = [str(warning.message) for warning in caught]
        assert len(clips) == 6 or (len(clips) == 5 and any("damaged" in one for one in said)), said


def test_of_damaged_pages_none_costs_another(tmp_path):
    file = tmp_path / "a.tif"
    file.write_bytes(encoded("TIFF", frames=6))
    data = file.read_bytes()
    with Image.open(file) as stack:
        stack.seek(3)
        start, length = stack.tag_v2[273][0], stack.tag_v2[279][0]
    for seed in range(EACH):
        page = broken(data[start : start + length], 4 * seed + 1)  # bits turned: of the same length
        file.write_bytes(data[:start] + page + data[start + length :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            clips, _ = eon.video_folder(file, frames=1, size=16)
        assert len(clips) in (5, 6)


def test_of_damaged_caches_each_is_read_or_made_anew(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").write_bytes(encoded("TIFF", frames=12))

    def films():
        source = eon.VideoClips(1, 3, 16, folders=(f"{tmp_path}/in",), cache=f"{tmp_path}/out")
        return source.stack()

    films()
    for part in sorted((tmp_path / "out").iterdir()):
        data = part.read_bytes()
        for seed in range(EACH):
            part.write_bytes(broken(data, seed))
            assert films().isfinite().all()


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG"])
def test_of_damaged_stacks_each_is_read_or_named(tmp_path, kind):
    data = encoded(kind, frames=12)
    for seed in range(EACH):
        (tmp_path / f"a.{kind.lower()}").write_bytes(broken(data, seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                clips, _ = eon.video_folder(tmp_path, frames=3, size=16)
                assert clips.isfinite().all()
            except ValueError as error:
                assert f"a.{kind.lower()}" in str(error)


def test_of_damaged_weights_each_is_loaded_or_named(tmp_path):
    torch.manual_seed(0)
    small = eon.Prior(encoder=(4, 4, 4, 4), decoder=(4,) * 5, fusion=4, content=(8,) * 4)
    file = tmp_path / "own.safetensors"
    save_prior(small, file)
    data = file.read_bytes()
    for seed in range(EACH):
        file.write_bytes(broken(data, seed))
        try:
            loaded = load_prior(file)
            assert all(part.isfinite().all() for part in loaded.parameters())
        except ValueError as error:
            assert "own.safetensors" in str(error)


def test_of_damaged_recordings_each_is_read_or_named(tmp_path):
    data = (recording.WEIGHTS / recording.FILE).read_bytes()
    file = tmp_path / "own.safetensors"
    for seed in range(EACH):
        file.write_bytes(broken(data, seed))
        try:
            recording.read_recording(file)
        except ValueError as error:
            assert "own.safetensors cannot be read as a training" in str(error)


def written_notes(root):
    """The table of a sweep, a ledger, what a run and a sweep noted, an index of shards."""
    row = {"phase": "02", "model": "V1", "metric": "psnr", "value": 34.8, "unit": "dB"}
    write_ledger(root / "ledger.json", 9 * [row | {"preset": "smoke", "seed": 0, "device": ""}])
    titles = "run,seed,status,seconds,error,V4 / psnr [dB]\n"
    (root / "sweep.csv").write_text(titles + "".join(f"s={n},{n},ok,1,,3\n" for n in range(9)))
    notebook = root / "notebooks" / "02_mine.ipynb"
    notebook.parent.mkdir()
    notebook.write_text("{}")
    runner.write_asked(runner.Asked("smoke", True, [(notebook, {"seed": 3})]), root / "run.json")
    sweep.write_asked(sweep.Sweep(notebook, {"seed": [0, 1]}), root)
    (root / "s").mkdir()
    (root / "s" / "chunk-0.bin").write_bytes(bytes(12))
    chunk = {"chunk_bytes": 12, "chunk_size": 3, "filename": "chunk-0.bin"}
    (root / "s" / "index.json").write_text(json.dumps({"chunks": [chunk], "config": {}}))
    return {
        "ledger.json": read_ledger,
        "sweep.csv": eon.read_sweep,
        "run.json": lambda path: runner.read_asked(path, root),
        "sweep.json": lambda path: sweep.read_asked(root, root),
        "s/index.json": lambda path: find_shards(str(root)),
    }


def test_of_damaged_tables_and_notes_each_is_read_or_named(tmp_path):
    for name, read in written_notes(tmp_path).items():
        file = tmp_path / name
        data = file.read_bytes()
        read(file)
        named = 0
        for seed in range(EACH):
            file.write_bytes(broken(data, seed))
            try:
                read(file)
            except ValueError as error:
                named += 1
                assert file.parent.name in str(error), error
        assert named > EACH // 2, name
        file.write_bytes(data)


def test_line_endings_of_other_systems_are_read(tmp_path):
    for name, read in written_notes(tmp_path).items():
        file = tmp_path / name
        text = file.read_text(encoding="utf-8")
        as_it_was = read(file)
        file.write_bytes(text.replace("\n", "\r\n").encode())
        assert read(file) == as_it_was, name


def test_of_damaged_widgets_each_is_named():
    state = {"_anywidget_id": "eon_utils.notebook.player.Player"}
    data = widgets.pack({"state": state, "buffers": []})
    widgets.unpack(data, hashlib.sha256(data).hexdigest())
    for seed in range(EACH):
        damaged = broken(data, seed)
        for named in (data, damaged):  # of which the notebook has the sum
            try:
                widgets.unpack(damaged, hashlib.sha256(named).hexdigest())
            except ValueError as error:
                assert "damaged, or of another run" in str(error) or "holds no widget" in str(error)


def test_of_senseless_parameters_each_is_taken_or_named():
    names = [*TABLE, "seed", "preset", "images", "videos", "weights", "download", "resume"]
    rng = random.Random(0)
    named = 0
    for _ in range(20 * EACH):
        preset = rng.choice(PRESETS)
        wrong = {name: rng.choice(SENSELESS) for name in rng.sample(names, 2)}
        settings = {"preset": preset, "seed": 0} | wrong
        try:
            cfg = resolve(settings.pop("preset"), settings.pop("seed"), TABLE, **settings)
            assert cfg.steps > 0 and cfg.noise >= 0 and len(cfg.size) == 2
        except (TypeError, ValueError) as error:
            named += 1
            assert any(str(error).startswith(f"{name}=") for name in names), str(error)
    assert named > EACH
