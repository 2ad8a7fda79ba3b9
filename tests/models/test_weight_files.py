"""Weights of one's own, and those that ship with their card: whole at every moment."""

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from eon_utils import load_autoencoder, load_prior, save_prior
from eon_utils.models import weight_files
from eon_utils.models.pca_autoencoder import Autoencoder, save_autoencoder
from eon_utils.models.prior import Prior
from eon_utils.models.weight_files import read_weights, write_weights, write_with_card
from eon_utils.training.prior_scaling import read_scaling
from eon_utils.training.recording import read_recording


class Killed(BaseException):
    """Nobody catches it, as nobody catches `kill -9`."""


def write(value):
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, value)
    return lambda path: write_weights(model, path, "prior", {"value": value})


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """The path of weights that ship, with a card."""
    monkeypatch.setattr(weight_files, "WEIGHTS", tmp_path)
    path = tmp_path / "prior.safetensors"
    write_with_card(path, write(1), lambda new, sha256: f"SHA-256 {sha256}\n")
    return path


def test_weights_and_their_card_are_replaced(shipped):
    first = shipped.with_suffix(".md").read_text()
    write_with_card(shipped, write(2), lambda new, sha256: f"SHA-256 {sha256}\n")
    assert read_weights("prior", "prior").about["value"] == 2
    assert shipped.with_suffix(".md").read_text().count("\n") == 1 != first
    assert sorted(path.name for path in shipped.parent.iterdir()) == [
        "prior.md",
        "prior.safetensors",
    ]


@pytest.mark.parametrize("at", range(7))
def test_killed_at_any_moment_what_is_there_loads(shipped, monkeypatch, at):
    whole_file = weight_files.whole_file
    left = [at]

    def killed(path):
        if not left[0]:
            raise Killed
        left[0] -= 1

    def card_of(new, sha256):
        killed(new)
        return f"SHA-256 {sha256}\n"

    class Kills:
        """Before a file is opened, and before it takes its name."""

        def __init__(self, path):
            self.path, self.file = path, whole_file(path)

        def __enter__(self):
            killed(self.path)
            return self.file.__enter__()

        def __exit__(self, *error):
            try:
                killed(self.path)
            except Killed as problem:
                self.file.__exit__(Killed, problem, None)
                raise
            return self.file.__exit__(*error)

    monkeypatch.setattr(weight_files, "whole_file", Kills)
    with pytest.raises(Killed):
        write_with_card(shipped, write(2), card_of)
    assert read_weights("prior", "prior").about["value"] in (1, 2)


def test_a_full_disk_is_an_error_of_the_system_that_names_the_file(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(weight_files, "save_file", full)
    with pytest.raises(OSError, match=r"mine\.safetensors can't be written: .*No space left"):
        write(1)(tmp_path / "mine.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_path_with_a_tilde_leads_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_prior(Prior(encoder=(4, 4), decoder=(4, 4, 4), fusion=4), "~/prior.safetensors")
    save_autoencoder(Autoencoder(count=2), "~/autoencoder.safetensors", [32])
    assert load_prior("~/prior.safetensors").config.fusion == 4
    assert load_autoencoder(path="~/autoencoder.safetensors").channels == 32
    assert not (tmp_path / "~").exists()
    (tmp_path / "recording").write_text("no training")
    with pytest.raises(ValueError, match=r"recording cannot be read as a training: .*header"):
        read_recording("~/recording")
    (tmp_path / "scaling.csv").write_text("name\n")
    assert not read_scaling("~/scaling.csv")
