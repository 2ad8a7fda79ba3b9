"""How the shipped autoencoders are trained: the recipe, from nothing and again."""

import json

import pytest
import torch
from safetensors import safe_open

from eon_utils import load_autoencoder
from eon_utils.__main__ import main
from eon_utils.data.files import NoRoomError
from eon_utils.models.weight_files import WEIGHTS
from eon_utils.training import train_autoencoder as recipes


@pytest.mark.parametrize("name", ["v2", "v3", "v4"])
def test_what_ships_came_out_of_the_recipe(name):
    with safe_open(WEIGHTS / f"autoencoder_{name}.safetensors", framework="pt") as saved:
        about = json.loads(saved.metadata()["autoencoder"])
    assert about["steps"] == recipes.SHIPPED[name][2]


def test_the_recipe_runs_from_nothing_and_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recipes, "RUNS", tmp_path)
    recipes.train_all(["v2"], scale=0.002, weights=tmp_path)
    recipes.train_all(["v4"], scale=0.002, weights=tmp_path)
    card = (tmp_path / "autoencoder_v4.md").read_text(encoding="utf-8")
    assert "noise 0.25" in card and "rocket" in card
    first = load_autoencoder(path=tmp_path / "autoencoder_v2.safetensors")
    recipes.train_all(["v2"], scale=0.002, weights=tmp_path)  # it is finished
    again = load_autoencoder(path=tmp_path / "autoencoder_v2.safetensors")
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert capsys.readouterr().out.count("fitting the local PCA") == 1


def test_a_disk_without_room_is_told_before_pictures_are_made(tmp_path, monkeypatch):
    def full(folder, wanted, what):
        raise NoRoomError(f"{what} need {wanted:.0f} bytes")

    monkeypatch.setattr(recipes, "check_room", full)
    monkeypatch.setattr(recipes, "dead_leaves_images", lambda *_, **__: pytest.fail("made"))
    with pytest.raises(OSError, match="the training pictures need 2211840 bytes"):
        recipes.prepare(tmp_path, 0, scale=0.002)


def test_an_unknown_name_is_an_error(capsys):
    assert main(["prior", "--only", "v2,v7"]) == 2
    assert "--only v7 is unknown; choose of v2, v3, v4, prior" in capsys.readouterr().err
