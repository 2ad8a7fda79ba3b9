"""Presets, claims, ledger and figures."""

import base64
import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

import eon_utils as eon
from eon_utils.notebook import claims
from eon_utils.notebook import display
from eon_utils.notebook import figures as plotting
from eon_utils.config import resolve

TABLE = {"size": ((64, 48), (160, 112), (512, 352)), "steps": (2, 20, 200), "noise": (0.25, 0.25, 0.25)}


def test_resolve_takes_the_preset_and_the_overrides():
    cfg = resolve("laptop", 0, TABLE, steps=7, size=[32, 32], images="", resume=False)
    assert (cfg.steps, cfg.size, cfg.noise, cfg.images) == (7, (32, 32), 0.25, "")
    assert cfg.overridden == ["steps", "size"] and not cfg.reference
    assert resolve("laptop", 3, TABLE, images="").reference and not resolve("smoke", 0, TABLE).reference
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
        ({"size": [64, "x"]}, TypeError, "type int"),
    ],
)
def test_resolve_refuses(given, error, says):
    with pytest.raises(error, match=says):
        resolve(**({"preset": "laptop", "seed": 0, "table": TABLE} | given))


def test_claims_are_checked_by_one_rule(capsys):
    for preset, overrides, status in (
        ("laptop", {}, claims.HOLDS), ("smoke", {}, claims.NOT_HERE), ("laptop", {"steps": 3}, claims.OPEN),
    ):  # fmt: skip
        made = eon.Claims("02", resolve(preset, 0, TABLE, **overrides))
        made.check("two and two are four", True)
        made.check("shapes agree", True, trained=False)
        made.table()
        out = capsys.readouterr().out
        assert out.startswith(status) and "holds" in out and not any(c.isdigit() for c in out)


def test_claims_may_speak_of_some_presets_only(capsys):
    for preset, words in (("laptop", "holds"), ("full", "not at this preset")):
        made = eon.Claims("04", resolve(preset, 0, TABLE), presets=("laptop",))
        made.check("leaves reach their level", preset == "laptop")
        made.table()
        assert capsys.readouterr().out == f"{words}  leaves reach their level\n"


def test_a_false_claim_fails_with_the_measured_value():
    made = eon.Claims("02", resolve("laptop", 0, TABLE))
    with pytest.raises(claims.ClaimError, match=r"'pigs fly' does not hold; measured: 0.1"):
        made.check("pigs fly", False, 0.1)
    eon.Claims("02", resolve("smoke", 0, TABLE)).check("pigs fly", False)
    with pytest.raises(claims.ClaimError):
        eon.Claims("02", resolve("smoke", 0, TABLE)).check("pigs fly", False, trained=False)


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(
        display, "display", lambda data, metadata=None, raw=False: outputs.append((data, metadata))
    )
    return outputs


def test_ledger_rows_and_table(shown):
    ledger = eon.Ledger("02", resolve("laptop", 5, TABLE))
    ledger.add("V3", {"accuracy": (98.9123456, "%"), "steps to 97 %": (None, "")})
    ledger.show()
    data = shown[0][0]
    row = data[claims.LEDGER_MIME][0]
    assert row == {
        "phase": "02", "model": "V3", "metric": "accuracy", "value": 98.9123, "unit": "%", "preset": "laptop",
        "seed": 5, "device": eon.presets.device().type,
    }  # fmt: skip
    assert "not reached" in data["text/plain"] and "<td>98.9</td>" in data["text/html"]


def test_exercises_answer_and_never_fail(capsys):
    eon.check(True, "hint")
    eon.check(False, "Look again.")
    assert capsys.readouterr().out == "Right.\nNot yet. Look again.\n"


def test_figures_fit_their_budget_and_carry_their_words(shown):
    fig, ax = plt.subplots(figsize=(9, 6))
    ax.imshow(np.random.default_rng(0).random((600, 900, 3)))  # the worst case for a PNG
    eon.show(fig, "noise", name="00_noise")
    data, metadata = shown[0]
    png = base64.b64decode(data["image/png"])
    assert len(png) <= 150_000 and Image.open(io.BytesIO(png)).width > 200
    assert metadata == {"image/png": {"alt": "noise"}, "screenshot": "00_noise"}
    assert not plt.fignum_exists(fig.number)


def test_labels_at_curve_ends_do_not_overlap():
    series = {f"model {i}": ([1, 10], [1.0, 0.5 + 1e-3 * i]) for i in range(5)}
    ax = eon.curves(series, "step", "loss", log="xy")
    ax.figure.draw_without_rendering()
    boxes = sorted((t.get_window_extent() for t in ax.texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))
    plt.close(ax.figure)


def test_sheets_and_architecture_draw():
    pictures = torch.rand(8, 3, 32, 48)
    for fig in (
        eon.contact_sheet({"a": pictures, "b": pictures * 0.9}, ["x"] * 8, against=pictures),
        eon.heat_sheet({"a": pictures.mean(1)}, ["x"] * 8, "error"),
        eon.architecture({"V4": eon.ConvAutoencoder(skips=True, noise=0.25)}, pictures),
    ):
        fig.savefig(io.BytesIO())
        plt.close(fig)


def test_running_median_keeps_length_and_level():
    assert len(eon.smooth([1.0, 100.0, 1.0, 1.0, 1.0], 3)) == 5
    assert eon.smooth([1.0, 100.0, 1.0, 1.0, 1.0], 3).max() == 1


def test_tables_escape_and_link(shown):
    display.table(("a", "b"), [("<x>", "1")], links=["01.ipynb"])
    assert '<a href="01.ipynb">&lt;x&gt;</a>' in shown[0][0]["text/html"]


def test_colours_are_told_apart_by_line_style_too():
    assert len(set(map(str, plotting.DASHES[:6]))) == 6
