"""Presets, claims and the ledger."""

import numpy as np
import pytest
import torch
from PIL import Image

import eon_utils as eon
from eon_utils.config import device
from eon_utils.data import video_folder
from eon_utils.notebook import claims
from eon_utils.notebook.parameters import resolve

TABLE = {
    "size": ((64, 48), (160, 112), (512, 352)),
    "steps": (2, 20, 200),
    "noise": (0.25, 0.25, 0.25),
}


def test_resolve_takes_the_preset_and_the_overrides():
    cfg = resolve("laptop", 0, TABLE, steps=7, size=[32, 32], images="", resume=False)
    assert (cfg.steps, cfg.size, cfg.noise, cfg.images) == (7, (32, 32), 0.25, "")
    assert cfg.overridden == ["steps", "size"] and not cfg.reference
    assert (
        resolve("laptop", 3, TABLE, images="").reference
        and not resolve("smoke", 0, TABLE).reference
    )
    assert resolve("laptop", 0, TABLE, steps=20).reference  # the preset's own value is no override
    assert "overridden: steps" in str(resolve("laptop", 0, TABLE, steps=7))


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"preset": "huge"}, ValueError, "choose one of smoke, laptop, full"),
        ({"seed": -1}, ValueError, "whole number"),
        ({"seed": "1"}, ValueError, "whole number"),
        ({"steps": "many"}, TypeError, "steps='many' must be of type int"),
        ({"steps": 1.5}, TypeError, "type int"),
        ({"steps": True}, TypeError, "type int"),
        ({"steps": 0}, ValueError, "greater than 0"),
        ({"size": 64}, TypeError, "2 numbers"),
        ({"noise": -0.1}, ValueError, "number from 0 on"),
        ({"noise": float("nan")}, ValueError, "number from 0 on"),
        ({"seed": 2**32}, ValueError, "from 0 to 4294967295"),
        ({"resume": "maybe"}, TypeError, "resume='maybe' must be of type bool"),
        ({"resume": 1}, TypeError, "resume=1 must be of type bool"),
        ({"images": 3}, TypeError, "images=3 must be text"),
        ({"size": [64, "x"]}, TypeError, "type int"),
        ({"size": [100, 60]}, ValueError, r"size=\[100, 60\] must be multiples of 16, such as"),
        ({"size": [10, 10]}, ValueError, r"multiples of 16, such as \[16, 16\]"),
        ({"dataset": "CIFAR100"}, ValueError, "dataset='CIFAR100' is unknown; choose one of CIF"),
        ({"images": "nowhere"}, ValueError, "images='nowhere' does not exist"),
        ({"videos": "nowhere"}, ValueError, "videos='nowhere' does not exist"),
        ({"weights": "nowhere"}, ValueError, "weights='nowhere': there are no weights nowhere"),
    ],
)
def test_resolve_refuses(given, error, says):
    with pytest.raises(error, match=says):
        resolve(**({"preset": "laptop", "seed": 0, "table": TABLE} | given))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("images", r"images='.*' holds no readable picture: notes.txt \(no picture of a known"),
        ("videos", r"videos='.*' holds no usable video: notes.txt \(not a video\); MP4, MKV"),
        ("weights", r"weights='.*notes.txt': notes.txt cannot be read as prior"),
    ],
)
def test_files_that_cannot_be_used_are_refused_before_any_work(tmp_path, name, said):
    (tmp_path / "notes.txt").write_text("a shopping list\n" * 50)
    path = tmp_path / "notes.txt" if name == "weights" else tmp_path
    with pytest.raises(ValueError, match=said):
        resolve("laptop", 0, TABLE, **{name: str(path)})
    with pytest.raises(ValueError, match=f"{name}="):
        (tmp_path / "notes.txt").unlink()
        resolve("laptop", 0, TABLE, **{name: str(path)})


def test_files_that_can_be_used_are_looked_at_no_longer_than_it_takes(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (32, 48, 3), np.uint8)
    frames = [Image.fromarray(ground[:, n : n + 32]) for n in range(16)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=80)
    (tmp_path / "b.gif").write_bytes((tmp_path / "a.gif").read_bytes())
    given = {"images": str(tmp_path), "videos": str(tmp_path)}
    assert resolve("laptop", 0, TABLE, **given).overridden == ["images", "videos"]
    decoded = []
    read = video_folder.decode
    monkeypatch.setattr(
        video_folder, "decode", lambda file, log: decoded.append(file.name) or read(file, log)
    )
    video_folder.check_videos(tmp_path, 2, 6, 64)
    assert decoded == ["a.gif"]
    with pytest.raises(ValueError, match=r"gives 2 clips of 16 frames in a row, 3 are needed: add"):
        resolve("laptop", 0, TABLE, own_clips=(3, 16), videos=str(tmp_path))
    with pytest.raises(ValueError, match=r"video: a.gif \(16 frames, a clip needs 17\), b.gif"):
        resolve("laptop", 0, TABLE, own_clips=(1, 17), videos=str(tmp_path))


def test_a_prior_of_ones_own_is_taken(tmp_path):
    torch.manual_seed(0)
    small = eon.Prior(encoder=(4, 4), decoder=(4, 4, 4), fusion=4, content=(8,) * 4)
    eon.save_prior(small, tmp_path / "mine.safetensors")
    cfg = resolve("laptop", 0, TABLE, weights=tmp_path / "mine.safetensors")
    assert cfg.weights.endswith("mine.safetensors")


def test_text_is_read_as_papermill_hands_it_over():
    given = {"resume": "false", "steps": "7", "size": "[64, 32]", "noise": 0, "images": None}
    cfg = resolve("laptop", 0, TABLE, **given)
    assert cfg.resume is False and cfg.steps == 7 and cfg.size == (64, 32)
    assert cfg.noise == 0 and cfg.images == ""
    assert cfg.overridden == ["steps", "size", "noise"]
    assert resolve("laptop", 0, TABLE, resume="True").resume is True


def test_claims_are_checked_by_one_rule(capsys):
    for preset, overrides, status in (
        ("laptop", {}, claims.HOLDS),
        ("smoke", {}, claims.NOT_HERE),
        ("laptop", {"steps": 3}, claims.OPEN),
    ):
        claims_here = eon.Claims("02", resolve(preset, 0, TABLE, **overrides))
        claims_here.check("two and two are four", True)
        claims_here.check("shapes agree", True, trained=False)
        claims_here.table()
        out = capsys.readouterr().out
        assert out.startswith(status) and "holds" in out and not any(c.isdigit() for c in out)


def test_a_sweep_keeps_what_is_true_at_any_parameters(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(claims, "display", lambda data, raw: shown.append(data))
    monkeypatch.setenv("EON_CLAIMS", "1")
    here = eon.Claims("02", resolve("smoke", 0, TABLE))
    here.check("it learns", False)
    here.table()
    assert "not at this preset  it learns" in capsys.readouterr().out
    here = eon.Claims("02", resolve("laptop", 0, TABLE))
    here.check("it learns", False, 3)
    here.check("shapes agree", True)
    with pytest.raises(claims.ClaimError, match="'it learns' does not hold; measured: 3"):
        here.table()
    assert "does not hold  it learns\nholds          shapes agree" in capsys.readouterr().out
    assert [data[claims.CLAIMS_MIME] for data in shown] == [
        {"it learns": False},
        {"it learns": False},
        {"shapes agree": True},
    ]


def test_claims_may_speak_of_some_presets_only(capsys):
    for preset, words in (("laptop", "holds"), ("full", "not at this preset")):
        claims_here = eon.Claims("04", resolve(preset, 0, TABLE), presets=("laptop",))
        claims_here.check("leaves reach their level", preset == "laptop")
        claims_here.table()
        assert capsys.readouterr().out == f"{words}  leaves reach their level\n"


def test_what_speaks_of_camera_video_is_listed_alone_where_there_is_none(capsys):
    for preset, here, words in (
        ("laptop", True, claims.HOLDS),
        ("laptop", False, claims.LACKING),
        ("smoke", False, claims.NOT_HERE),  # the same in a clone that has no camera video
    ):
        claims_here = eon.Claims("06", resolve(preset, 0, TABLE))
        claims_here.check("a camera moves", here, here=here)
        claims_here.table()
        assert capsys.readouterr().out == f"{words}  a camera moves\n"


def test_a_false_claim_fails_with_the_measured_value():
    claims_here = eon.Claims("02", resolve("laptop", 0, TABLE))
    with pytest.raises(claims.ClaimError, match=r"'pigs fly' does not hold; measured: 0.1"):
        claims_here.check("pigs fly", False, 0.1)
    eon.Claims("02", resolve("smoke", 0, TABLE)).check("pigs fly", False)
    with pytest.raises(claims.ClaimError):
        eon.Claims("02", resolve("smoke", 0, TABLE)).check("pigs fly", False, trained=False)


def test_ledger_rows_and_table(shown):
    ledger = eon.Ledger("02", resolve("laptop", 5, TABLE))
    ledger.add("V3", {"accuracy": (98.9123456, "%"), "steps to 97 %": (None, "")})
    ledger.show()
    data = shown[0][0]
    row = data[claims.LEDGER_MIME][0]
    assert row == {
        "phase": "02",
        "model": "V3",
        "metric": "accuracy",
        "value": 98.9123,
        "unit": "%",
        "preset": "laptop",
        "seed": 5,
        "device": device().type,
    }
    assert "not reached" in data["text/plain"] and "<td>98.9</td>" in data["text/html"]


def test_the_map_of_the_course_links_its_notebooks(shown, repo):
    eon.course_map()
    html = shown[0][0]["text/html"]
    paths = sorted((repo / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    assert paths and html.count("<a href=") == len(paths)
    assert all(f'<a href="{path.name}">{path.name[:2]} ·' in html for path in paths)
