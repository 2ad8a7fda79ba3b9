"""The protocol of all sources, the cache and the mixture: the same clips, whoever makes them."""

import dataclasses
import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from eon_utils.data import augment as augment_module
from eon_utils.data.atari import AtariGames
from eon_utils.data.augment import augment
from eon_utils.data.camera_pans import CameraPans, LabelledMoves
from eon_utils.data.clips import CachedClips, ClipSource, Mixture
from eon_utils.data.dead_leaves import DeadLeaves
from eon_utils.data.moving_digits import MovingDigits
from eon_utils.data.sources import SOURCES

each = pytest.mark.parametrize("name", SOURCES)


@dataclasses.dataclass(frozen=True)
class Numbers(ClipSource):
    """Each frame says by its brightness which clip and which frame it is."""

    step: float = 0.001

    name = "numbers"
    weight = 1.0
    card = "README.md"

    def clip(self, index):
        brightness = 0.1 * (index % 8) + self.step * torch.arange(self.frames)
        return brightness.view(-1, 1, 1, 1).expand(-1, 3, self.size, self.size)


class Falling(Numbers):
    name = "falling"
    reversible = False


def items(clips: Any) -> list:
    """All of them, by iteration, which ends where `[i]` raises an IndexError."""
    return list(clips)


# --- every source ---


@each
def test_a_source_has_a_length_and_ends(name):
    clips = SOURCES[name](3, frames=4, size=32)
    assert len(clips) == 3 and len(items(clips)) == 3
    assert clips[0].shape == (4, 3, 32, 32) and clips[0].dtype == torch.float32
    assert clips.stack().shape == (3, 4, 3, 32, 32)
    assert torch.equal(clips.stack()[2], clips[2])
    assert clips.stack().min() >= 0 and clips.stack().max() <= 1
    for wrong in (3, -1):
        with pytest.raises(IndexError, match=f"{name} has 3 clips, there is no clip {wrong}"):
            clips[wrong]


@each
def test_a_clip_depends_on_the_seed_and_its_number_alone(name):
    source = SOURCES[name]
    clips = source(5, frames=3, size=32, seed=5, start=7).stack()
    assert torch.equal(clips[1:3], source(2, 3, 32, 5, 8).stack())
    assert torch.equal(clips[3], source(100, 3, 32, seed=5, start=7)[3])
    backwards = source(5, 3, 32, seed=5, start=7)
    assert torch.equal(clips.flip(0), torch.stack([backwards[k] for k in (4, 3, 2, 1, 0)]))
    assert len({clip.numpy().tobytes() for clip in clips}) == 5
    assert not torch.equal(clips[0], source(1, 3, 32, seed=6, start=7)[0])


@each
def test_training_and_held_out_clips_differ(name):
    train, held_out = (SOURCES[name](8, size=16, train=train).stack() for train in (True, False))
    train_bytes = {clip.numpy().tobytes() for clip in train}
    assert not train_bytes & {clip.numpy().tobytes() for clip in held_out}


@each
def test_two_processes_make_the_same_clips(name):
    clips = SOURCES[name](5, frames=3, size=32, seed=3, start=2)
    batches = list(DataLoader(clips, batch_size=2, num_workers=2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert torch.equal(torch.cat(batches), clips.stack())


@each
def test_a_source_says_what_it_is(name, repo):
    source = SOURCES[name]
    assert source.name == name and source.weight > 0
    assert (repo / "data" / source.card).is_file()
    assert isinstance(source.reversible, bool)
    source(1, **source.training_settings)


def test_games_do_not_run_backwards():
    assert not SOURCES["games"].reversible  # what falls, falls down
    assert all(SOURCES[name].reversible for name in ("digits", "leaves", "pans"))


def test_every_name_of_a_source_is_its_own():
    assert len(SOURCES) >= 4 and LabelledMoves.name not in SOURCES
    assert len({source.card for source in SOURCES.values()}) == len(SOURCES)


@pytest.mark.parametrize("source", [*SOURCES.values(), LabelledMoves])
def test_a_number_out_of_range_is_named(source):
    for parameter in ("count", "frames"):
        with pytest.raises(ValueError, match=f"{parameter}=0 must be a whole number, at least 1"):
            source(**{"count": 1, parameter: 0})
    with pytest.raises(ValueError, match=r"size=0 must be a whole number, at least [18]"):
        source(1, size=0)
    for parameter in ("start", "seed"):
        with pytest.raises(ValueError, match=f"{parameter}=-1 must be a whole number, at least 0"):
            source(1, **{parameter: -1})
    with pytest.raises(ValueError, match=r"count=2\.5 must be a whole number"):
        source(2.5)
    assert len(source(np.int64(2))) == 2


def test_own_settings_follow_the_common_ones():
    assert DeadLeaves(1, 5, 64, 0, 0, True, 2.0, True, 0.5).jitter == 0.5
    assert CameraPans(1, 5, 64, 0, 0, True, 2.0, True, ("grass",)).names == ("grass",)
    assert MovingDigits(1, 5, 64, 0, 0, True, 3, True).digits == 3
    assert AtariGames(1, 5, 64, 0, 0, True, ("pong",), 2).skip == 2
    assert DeadLeaves(1) == DeadLeaves(1, jitter=0.0) != DeadLeaves(1, jitter=1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        DeadLeaves(1).seed = 1  # pyright: ignore[reportAttributeAccessIssue]  # that is the test


def test_a_source_that_gives_more_stacks_each_part():
    clips, flow, hidden = DeadLeaves(2, frames=3, size=16, flow=True).stack()
    assert clips.shape == (2, 3, 3, 16, 16) and flow.shape == (2, 2, 2, 16, 16)
    assert hidden.shape == (2, 2, 1, 16, 16)
    clips, labels = LabelledMoves(2, frames=3, size=16).stack()
    assert len(clips) == 2 and labels.tolist() == [0, 1]


# --- the cache ---


def in_255ths(clips):
    return (255 * clips.stack()).round() / 255


@pytest.mark.parametrize("kept", ["memory", "file"])
@pytest.mark.parametrize("workers", [0, 2])
def test_cached_clips_are_those_of_the_source_in_255ths(kept, workers, tmp_path):
    source = MovingDigits(7, frames=4, size=32, seed=2)
    cache = CachedClips(source, tmp_path if kept == "file" else None, workers)
    assert len(cache) == 7 and len(items(cache)) == 7 and cache.clips.dtype == np.uint8
    assert (cache.name, cache.weight, cache.reversible) == ("digits", source.weight, True)
    clips = torch.stack(items(cache))
    assert torch.equal(clips, in_255ths(source))
    assert clips.dtype == torch.float32 and (clips - source.stack()).abs().max() <= 0.5 / 255 + 1e-6
    assert [file.suffix for file in tmp_path.iterdir()] == ([""] and [".npy"] * (kept == "file"))


def test_a_cache_keeps_more_clips_than_a_worker_makes_at_a_time():
    source = Numbers(101, frames=2, size=1)
    cache = CachedClips(source)
    assert len(cache) == 101 and torch.equal(torch.stack(items(cache)), in_255ths(source))


def test_a_file_is_found_again(tmp_path, monkeypatch):
    clips = torch.stack(items(CachedClips(Numbers(3, size=8), tmp_path / "new")))
    monkeypatch.setattr(Numbers, "clip", lambda self, index: pytest.fail("made again"))
    assert torch.equal(torch.stack(items(CachedClips(Numbers(3, size=8), tmp_path / "new"))), clips)
    with monkeypatch.context() as patch:
        patch.setattr(CachedClips, "_make", lambda self, *settings: None)
        for name, value in (
            ("seed", 1),
            ("frames", 4),
            ("start", 1),
            ("train", False),
            ("step", 1),
        ):
            other = dataclasses.replace(Numbers(3, size=8), **{name: value})
            CachedClips(other, tmp_path / "new")
    assert len(list((tmp_path / "new").iterdir())) == 6  # one file for each


def test_an_interrupted_file_is_not_taken_for_a_finished_one(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("eon_utils.data.clips.CACHE_BATCH", 1)
        patch.setattr(Numbers, "clip", interrupted_clip)
        CachedClips(Numbers(3, size=8), tmp_path)
    assert not list(tmp_path.iterdir())
    CachedClips(Numbers(3, size=8), tmp_path)
    (file,) = tmp_path.iterdir()
    file.rename(file.with_suffix(".killed.partial"))  # as a process leaves it that is killed
    cache = CachedClips(Numbers(3, size=8), tmp_path)
    assert torch.equal(torch.stack(items(cache)), in_255ths(Numbers(3, size=8)))
    assert file.suffix == ".npy" and file.is_file()


def interrupted_clip(self, index):
    if index == 2:
        raise KeyboardInterrupt
    return torch.ones(self.frames, 3, self.size, self.size)


# --- the mixture ---


def mixture(draws=40, seed=3, **settings):
    sources = [
        CachedClips(MovingDigits(6, 8, 32)),
        CachedClips(AtariGames(5, 8, 32, names=("pong",))),
    ]
    return Mixture(sources, draws, seed, **settings)


def test_a_draw_depends_on_the_seed_and_its_number_alone():
    draws = items(mixture())
    assert len(draws) == len(mixture()) == 40
    assert all(draw.shape == (5, 3, 32, 32) and draw.dtype == torch.float32 for draw in draws)
    assert min(map(torch.min, draws)) >= 0 and max(map(torch.max, draws)) <= 1
    again = mixture()
    assert all(torch.equal(again[k], draws[k]) for k in (31, 3, 17, 3))
    shorter = mixture(draws=11)
    assert all(torch.equal(shorter[k], draws[k]) for k in range(11))
    other = mixture(seed=4)
    assert sum(torch.equal(other[k], draws[k]) for k in range(40)) == 0


def test_a_clip_that_is_drawn_twice_is_changed_in_two_ways():
    clips = Mixture([CachedClips(MovingDigits(1, 8, 32))], draws=12)
    assert len({clip.numpy().tobytes() for clip in items(clips)}) == 12


def test_workers_share_the_draws():
    clips = mixture()
    batches = list(DataLoader(clips, batch_size=8, num_workers=2))
    assert torch.equal(torch.cat(batches), torch.stack(items(clips)))


HALF = """
import hashlib, sys
sys.path[:0] = sys.argv[2:]
from test_clips import mixture
clips = mixture()
for k in range(int(sys.argv[1]), 40, 2):
    print(k, hashlib.sha256(clips[k].numpy().tobytes()).hexdigest())
"""


def test_two_processes_with_half_of_the_draws_each_see_all_of_them():
    folder = str(Path(__file__).parent)
    seen = {}
    for first in (0, 1):
        command = [sys.executable, "-c", HALF, str(first), folder]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        lines = dict(line.split() for line in run.stdout.splitlines())
        assert len(lines) == 20 and not set(lines) & set(seen)
        seen |= lines
    expected = {}
    for k, clip in enumerate(items(mixture())):
        expected[str(k)] = hashlib.sha256(clip.numpy().tobytes()).hexdigest()
    assert seen == expected


def drawn_from(clips):
    """How often each source is drawn from."""
    first_of_second = clips.clips.cumulative_sizes[0]
    second = sum(index >= first_of_second for index in clips.indices)
    return len(clips) - second, second


def test_weights_say_how_often_a_source_is_drawn():
    few, many = Numbers(2, 8, 8), Falling(50, 8, 8)
    both = Mixture([few, many], 2000)
    assert abs(drawn_from(both)[0] - 1000) < 100  # of the same weight, whatever their length
    both = Mixture([few, many], 2000, weights={"numbers": 1, "falling": 3, "other": 9})
    assert abs(drawn_from(both)[0] - 500) < 100
    assert drawn_from(Mixture([few, many], 2000, weights={"numbers": 0, "falling": 1})) == (0, 2000)
    counts = np.bincount(Mixture([many], 5000).indices, minlength=50)
    assert counts.min() > 50 and counts.max() < 160  # evenly within a source


def test_what_has_a_direction_is_never_reversed():
    for source, both_ways in ((Numbers, True), (Falling, False)):
        clips = torch.stack(items(Mixture([source(1, 8, 4, start=3, step=0.05)], 200)))
        steps = clips.mean((2, 3, 4)).diff(dim=1).mean(1)  # brightness rises in the source
        rising = (steps > 0).float().mean().item()
        assert (0.35 < rising < 0.65) if both_ways else (rising > 0.98)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sources": []}, "sources="),
        ({"draws": 0}, "draws=0 must be a whole number, at least 1"),
        ({"frames": 9}, "frames=9 must be at most 8"),
        ({"frames": 0}, "frames=0 must be a whole number, at least 1"),
        ({"weights": {"other": 1.0}}, "weights=.* for each of numbers"),
        ({"weights": {"numbers": -1.0}}, "weights=.* from 0 on"),
        ({"weights": {"numbers": 0.0}}, "weights=.* one above 0"),
        ({"weights": {"numbers": float("nan")}}, "weights="),
    ],
)
def test_bad_settings_of_a_mixture_are_named(wrong, words):
    with pytest.raises(ValueError, match=words):
        Mixture(**({"sources": [Numbers(2, 8, 8)], "draws": 4} | wrong))


# --- random changes ---


def augmented(clip, seeds=200, frames=5, **settings):
    return [augment(clip, np.random.default_rng(seed), frames, **settings) for seed in range(seeds)]


def test_changes_keep_shape_range_and_are_decided_by_the_generator():
    clip = torch.rand(8, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    for frames in (1, 3, 8):
        for changed in augmented(clip, 20, frames):
            assert changed.shape == (frames, 3, 24, 24) and changed.dtype == torch.float32
            assert changed.is_contiguous() and changed.min() >= 0 and changed.max() <= 1
    pairs = zip(augmented(clip, 20), augmented(clip, 20), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert len({changed.numpy().tobytes() for changed in augmented(clip)}) == 200


def test_frames_stay_in_order_and_time_runs_backwards_in_half():
    clip = Numbers(1, 8, 4, start=3, step=0.05)[0]
    forward = augmented(clip, reversible=False)
    assert all((changed.mean((1, 2, 3)).diff() > 0).all() for changed in forward)
    both_ways = augmented(clip)
    falling = sum(bool((changed.mean((1, 2, 3)).diff() < 0).all()) for changed in both_ways)
    assert 70 < falling < 130


def test_some_clips_skip_frames():
    kinds = []
    for seed in range(1000):
        steps = np.diff(augment_module._pick_frames(np.random.default_rng(seed), 9, 5))
        assert steps.min() >= 1 and steps.sum() <= 8
        kinds.append("any" if len(set(steps)) > 1 else int(steps[0]))
    assert (
        700 < kinds.count(1) < 860 and 80 < kinds.count(2) < 160 and 60 < kinds.count("any") < 140
    )
    for seed in range(50):  # there are too few frames to skip any
        few = augment_module._pick_frames(np.random.default_rng(seed), 5, 5)
        assert few.tolist() == [0, 1, 2, 3, 4]


def test_clips_are_mirrored_transposed_and_enlarged():
    clip = torch.zeros(5, 3, 16, 16)
    clip[..., :4, :2] = 1  # upper left, higher than wide
    corners = Counter()
    for changed in augmented(clip, 300):
        lit = changed[0].mean(0) > 0.3
        if lit.sum() != 8:
            corners["enlarged"] += 1
            continue
        rows, columns = lit.nonzero().T
        corners["left"] += int(columns.min() == 0)
        corners["upper"] += int(rows.min() == 0)
        corners["wide"] += int(columns.max() - columns.min() == 3)
    plain = 300 - corners["enlarged"]
    assert 0.3 * 300 < corners["enlarged"] < 0.5 * 300
    for kind in ("left", "upper", "wide"):
        assert 0.4 * plain < corners[kind] < 0.6 * plain


def test_brightness_changes_and_some_clips_have_grain():
    clip = torch.full((5, 3, 8, 8), 0.5)
    changed = torch.stack(augmented(clip, 300))
    gain = changed.mean((1, 2, 3, 4)) / 0.5
    assert 0.58 < gain.min() < 0.65 and 1.05 < gain.max() < 1.12
    grain = changed.std((1, 2, 3, 4))
    assert 0.3 < (grain > 1e-5).float().mean() < 0.5 and grain.max() < 0.021
