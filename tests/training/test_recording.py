"""What a training leaves to look at: pictures of clips never seen, from untrained to the end."""

import numpy as np
import pytest
import torch

from eon_utils import History, Prior, save_prior, scrub
from eon_utils.training import recording
from eon_utils.training.train_prior import widened


def history(steps):
    return History(loss=[1.0] * steps, seconds=[0.5 * (step + 1) for step in range(steps)])


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """A folder of two states, the second one changed."""
    folder = tmp_path_factory.mktemp("states")
    torch.manual_seed(0)
    prior = widened(4)
    save_prior(prior, folder / "0000000.safetensors", steps=0, next=0.1, between=-0.2)
    torch.nn.init.constant_(prior.net.fusion[-1].bias, 0.5)
    save_prior(prior, folder / "0000040.safetensors", steps=40, next=0.2, between=0.3)
    return folder


def test_it_shows_what_each_state_makes_of_the_same_clips(states, tmp_path):
    recorded = recording.record(states, history(40), 32)
    assert recorded.snapshot_steps == [0, 40] and len(recorded.snapshots) == 2
    assert (
        recorded.target.shape == recorded.snapshots[0].shape == (len(recording.TITLES), 32, 32, 3)
    )
    assert (recorded.snapshots[1] != recorded.snapshots[0]).mean() > 0.5
    clips = recording.clips_to_show(32)
    untrained = recording.pictures_of(Prior(**vars(widened(4).config)), clips)
    assert np.abs(untrained.astype(int) - recorded.snapshots[0]).mean() < 1, "half precision alone"

    path = tmp_path / recording.FILE
    recording.write_recording(recorded, path)
    read = recording.read_recording(path)
    assert read.snapshot_steps == recorded.snapshot_steps and read.loss == pytest.approx(
        recorded.loss
    )
    assert read.seconds == pytest.approx(recorded.seconds)
    assert read.measures[1] == pytest.approx({"next": 0.2, "between": 0.3})
    for was, now in zip(
        [*recorded.snapshots, recorded.target], [*read.snapshots, read.target], strict=True
    ):
        assert np.abs(was.astype(int) - now).mean() < 8, "lossy, but the same"
    assert scrub(read, recording.TITLES).spec["steps"] == [0, 40]


def test_of_a_training_that_went_on_it_shows_both_parts(states):
    first = recording.record(states, history(40), 32)
    both = recording.record(states, history(40), 32, before=first)
    assert both.snapshot_steps == [0, 40, 80] and len(both.loss) == 80
    assert both.seconds[39:41] == [20.0, 20.5] and both.spent == 40
    assert first.snapshot_steps == [0, 40], "the first one is as it was"


def test_of_many_states_some_are_kept_and_both_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "STATES", 3)
    monkeypatch.setattr(recording, "CLIPS", recording.LIVELY + 1)
    prior = widened(4)
    for step in range(6):
        save_prior(prior, tmp_path / f"{step:07d}.safetensors", steps=step, next=0.0, between=0.0)
    recorded = recording.record(tmp_path, history(5), 32)
    assert recorded.snapshot_steps == [0, 2, 5]
    assert len(recorded.snapshots) == len(recorded.measures) == 3


def test_the_shipped_one_is_of_the_shipped_training():
    recorded = recording.read_recording()
    assert recorded.snapshots[0].shape == (len(recording.TITLES), 64, 64, 3)
    assert recorded.snapshot_steps[0] == 0 and recorded.snapshot_steps[-1] == len(recorded.loss)
    assert len(recorded.snapshots) == len(recorded.measures) <= recording.STATES
    assert (recording.WEIGHTS / recording.FILE).stat().st_size < 640_000


def test_a_damaged_file_is_named(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no")
    for file in (broken, tmp_path / "none.safetensors"):
        with pytest.raises(ValueError, match=rf"{file.name} cannot be read as a training"):
            recording.read_recording(file)
