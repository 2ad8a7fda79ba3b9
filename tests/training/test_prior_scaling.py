"""What more training, parameters and video buy: the file of it, and how it is read."""

import pytest

from eon_utils import Prior, save_prior
from eon_utils.training import prior_scaling
from eon_utils.training.prior_scaling import Measured


def test_clips_are_counted_over_all_trainings(tmp_path):
    trained = [{"steps": 10, "batch": 2}, {"steps": 5, "batch": 100}, {"steps": 1}]
    path = tmp_path / "prior.safetensors"
    save_prior(Prior(fusion=8), path, trained=trained)
    seen = prior_scaling.clips_seen([0, 5, 10, 11, 15, 16], path)
    assert seen == [0, 10, 20, 120, 520, 536]


def test_what_is_written_is_read(tmp_path):
    rows = [Measured("untrained", 100, 0, 0, 16, 0.1, -0.25), Measured("b", 7, 3, 5, 16, 0.2, 1.0)]
    prior_scaling.write_scaling(rows, tmp_path / "scaling.csv")
    assert prior_scaling.read_scaling(tmp_path / "scaling.csv") == rows


def test_another_file_is_refused_by_name(tmp_path):
    (tmp_path / "other.csv").write_text("name,steps\na,1\n")
    with pytest.raises(ValueError, match=r"other\.csv must have the columns name, parameters"):
        prior_scaling.read_scaling(tmp_path / "other.csv")


def test_the_shipped_ones_have_one_thing_changed_at_a_time():
    measured = prior_scaling.read_scaling()
    sizes, videos = prior_scaling.by_size(measured), prior_scaling.by_videos(measured)
    assert len({one.steps * one.clips for one in [*sizes, *videos]}) == 1, "equally many clips"
    assert len({one.videos for one in sizes}) == 1 and len({one.parameters for one in videos}) == 1
    assert [one.parameters for one in sizes] == sorted({one.parameters for one in sizes})
    assert videos[0].videos == 0 and videos[-1] in sizes
