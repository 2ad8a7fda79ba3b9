"""How the shipped prior is trained: mixtures, batches, runs that go on, and the recipe."""

import json

import pytest
import torch
from safetensors import safe_open

from eon_utils import Prior, load_prior
from eon_utils.models.weight_files import WEIGHTS
from eon_utils.training import train_autoencoder as recipes, train_prior

LEAST = 1e-5  # share of the clips: eight of each source


def untrained(**settings):
    torch.manual_seed(0)
    return Prior(**settings).eval()


@pytest.mark.parametrize(
    "mixture",
    [{"cats": 1}, {"leaves": "x"}, {"leaves": 0}, {"leaves": -1, "pans": 2}, {"leaves": "nan"}],
)
def test_bad_mixtures_are_named(mixture):
    sources = "digits, leaves, pans, games"
    with pytest.raises(ValueError, match=rf"mixture=.*must be weights from 0 on.* of {sources}"):
        recipes.train_all("prior", mixture=mixture)


def test_batches_depend_on_the_step_alone():
    mixture = {"leaves": 1.0, "games": 1.0}
    clips = train_prior.training_clips(size=32, scale=LEAST, mixture=mixture)
    loader = train_prior.mixture_loader(clips, 12, weights=mixture)
    first = list(loader)
    assert len(first) == 12 and first[0].shape == (8, 5, 3, 32, 32)
    assert all(map(torch.equal, train_prior.mixture_loader(clips, 12, weights=mixture), first))
    for step in (11, 3, 7):
        again = torch.stack([loader.dataset[draw] for draw in range(8 * step, 8 * step + 8)])
        assert torch.equal(again, first[step])
    assert 0 <= min(map(torch.min, first)) <= max(map(torch.max, first)) <= 1


def test_training_helps_and_an_interrupted_one_goes_on(tmp_path):
    clips = train_prior.training_clips(size=32, scale=24 / 12_500, mixture={"leaves": 1.0})
    assert len(clips[0]) == 24

    def train(name, **settings):
        loader = train_prior.mixture_loader(clips, 24)
        return train_prior.train(untrained(), loader, 24, name=name, folder=tmp_path, **settings)

    def stop(run):
        run.stopping |= run.done == 11

    finished, average = train("finished")
    assert finished.status == "finished"
    assert all(parameter.isfinite().all() for parameter in average.parameters())
    assert not torch.equal(average.net.heads[1].weight, untrained().net.heads[1].weight)
    half, _ = train("half", watch=stop)
    assert half.status == "stopped" and half.done == 12
    again, resumed = train("half", resume=True)
    assert again.status == "finished" and len(again.history.loss) == 24
    for a, b in zip(average.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_recipe_makes_weights_and_card(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "RUNS", tmp_path)
    recipes.train_all("prior", scale=0.02 / 12, weights=tmp_path)
    card = (tmp_path / "prior.md").read_text(encoding="utf-8")
    assert "| prior |" in card and "leaves 45%" in card
    prior = load_prior(tmp_path / "prior.safetensors")
    assert prior.predict(torch.rand(1, 2, 3, 16, 16)).shape == (1, 3, 16, 16)


def test_what_ships_came_out_of_the_recipe():
    with safe_open(WEIGHTS / "prior.safetensors", framework="pt") as saved:
        about = json.loads(saved.metadata()["prior"])
    assert about["steps"] == train_prior.STEPS and about["seed"] == 0
