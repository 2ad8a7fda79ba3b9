"""Arcade games: what clips promise, that every game moves, and that scores and flicker stay out."""

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from eon_utils.data import atari
from eon_utils.data.atari import FIELDS, HELD_OUT_GAMES, TRAINING_GAMES, AtariGames

FEW = ("breakout", "pong", "galaxian")
# Rows in which a score or a clock is drawn; it changes soon in random play.
SCORES = {
    "boxing": (4, 26),
    "breakout": (5, 16),
    "enduro": (160, 190),
    "galaxian": (2, 12),
    "ms_pacman": (172, 200),
    "pong": (0, 22),
    "seaquest": (8, 18),
    "skiing": (4, 28),
    "space_invaders": (8, 20),
}


def games(*settings, **more):
    return AtariGames(*settings, **more).stack()


@pytest.fixture(scope="module")
def one_of_each():
    """One clip of each game, in the order of `FIELDS`."""
    return torch.cat([games(1, names=(name,)) for name in FIELDS])


def few(start=0, count=1, **arguments):
    return games(count, size=32, names=FEW, start=start, **arguments)


def forget():
    atari._episode.cache_clear()
    atari._console.cache_clear()


def screens(name, ticks, seed=0):
    """Every screen of a random play, (ticks, rows, 160, 3) uint8; seen apart from `games`."""
    console, start = atari._console(name)
    rng, actions, seen = np.random.default_rng(seed), console.getMinimalActionSet(), []
    console.restoreState(start)
    for tick in range(ticks):
        if tick % 8 == 0:
            action = actions[rng.integers(len(actions))]
        console.act(action)
        if console.game_over():
            console.restoreState(start)
        seen.append(console.getScreenRGB())
    return np.stack(seen)


def test_training_and_held_out_games_are_disjoint():
    assert len(TRAINING_GAMES) >= 24 and len(HELD_OUT_GAMES) == 10
    assert not set(TRAINING_GAMES) & set(HELD_OUT_GAMES)
    assert set(TRAINING_GAMES) | set(HELD_OUT_GAMES) == set(FIELDS)


@pytest.mark.parametrize(("train", "names"), [(True, TRAINING_GAMES), (False, HELD_OUT_GAMES)])
def test_the_games_of_a_split_take_turns(train, names, monkeypatch):
    played = []
    clips = [np.zeros((5, 8, 8, 3), np.uint8)] * 3
    with monkeypatch.context() as patch:
        patch.setattr(atari, "_episode", lambda name, *key: played.append(name) or clips)
        games(3 * len(names), size=8, train=train)
    turns = [tuple(played[k : k + len(names)]) for k in range(0, len(played), len(names))]
    assert all(sorted(turn) == sorted(names) for turn in turns) and len(set(turns)) == 3
    source = AtariGames(3 * len(names), size=8, train=train)
    assert [source.game(index) for index in range(3 * len(names))] == played


def test_every_game_moves(one_of_each):
    assert one_of_each.shape == (len(FIELDS), 5, 3, 64, 64) and one_of_each.dtype == torch.float32
    assert one_of_each.min() >= 0 and one_of_each.max() <= 1 and one_of_each.device.type == "cpu"
    steps = one_of_each.diff(dim=1).abs().amax(2)
    assert ((steps > 0.05).flatten(1).sum(1) >= 8).all()  # pixels that change
    assert (steps.mean((2, 3)) < 0.2).all()
    gray = (one_of_each[:, :, 0] == one_of_each[:, :, 2]).flatten(1).all(1)
    assert not gray.any()


def test_a_clip_depends_on_seed_and_index_alone():
    forget()
    several = few(count=7, start=2)
    forget()
    singly = {index: few(index) for index in (8, 3, 5, 2, 7, 4, 6)}  # any order, from a cold cache
    assert torch.equal(several, torch.cat([singly[index] for index in range(2, 9)]))
    assert torch.equal(several[1:4], few(count=3, start=3))
    assert not any(torch.equal(few(index, seed=1), few(index)) for index in range(3))
    assert not torch.equal(several[0], several[3])


def test_with_the_same_names_held_out_episodes_are_others():
    training, held_out = (
        games(12, size=32, names=("pong",), train=train) for train in (True, False)
    )
    assert not any(torch.equal(a, b) for a in training for b in held_out)


def test_a_new_episode_follows_when_one_is_used_up():
    several = games(4, size=16, names=("pong",), start=atari.EPISODE - 2)
    assert len({clip.numpy().tobytes() for clip in several}) == 4
    assert torch.equal(several[2:], games(2, size=16, names=("pong",), start=atari.EPISODE))


def test_another_process_makes_the_same_clips():
    code = "import hashlib, sys; from eon_utils.data.atari import AtariGames\n"
    code += f"clips = AtariGames(4, size=32, names={FEW}, start=1).stack()\n"
    code += "print(hashlib.sha256(clips.numpy().tobytes()).hexdigest())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    clips = few(count=4, start=1)
    assert run.stdout.split() == [hashlib.sha256(clips.numpy().tobytes()).hexdigest()]
    assert not run.stderr  # no banner


def test_two_threads_make_the_same_clips():
    expected = [few(index) for index in range(12)]
    forget()
    with ThreadPoolExecutor(2) as threads:
        clips = list(threads.map(few, range(12)))
    assert all(torch.equal(a, b) for a, b in zip(expected, clips, strict=True))


def test_an_interrupt_leaves_no_trace(monkeypatch):
    expected = few(count=6)
    forget()
    few()

    def interrupt(*settings, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cv2, "resize", interrupt)
        few(count=6)
    assert torch.equal(few(count=6), expected)


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_outside_the_field(name):
    top, bottom = SCORES[name]
    assert bottom <= FIELDS[name][0] or top >= FIELDS[name][1]
    rows = screens(name, 1500)[::10, top:bottom]
    assert (rows != rows[-1]).any()  # there is a score in these rows: it changes


def test_the_edge_below_the_score_does_not_change():
    clips = torch.cat([games(16, names=(name,)) for name in ("breakout", "boxing", "galaxian")])
    edge = clips[..., 0, :]
    assert torch.equal(edge, edge[:, :1].expand_as(edge))


def test_blinking_sprites_are_seen_in_every_frame():
    # In Asteroids every rock is drawn in each second screen only.
    field = slice(*FIELDS["asteroids"])
    lit = (screens("asteroids", 300)[100:, field].max(-1) > 60).mean((1, 2))
    assert np.abs(np.diff(lit)).mean() > lit.mean()  # measured: 1.98
    lit = (games(8, frames=10, names=("asteroids",), skip=3).amax(2) > 0.2).float().mean((2, 3))
    assert (lit.diff(dim=1).abs().mean() < 0.1 * lit.mean()).item()  # measured: 0.03


def test_skip_counts_emulated_frames():
    every_second = games(1, 10, names=("pong",), skip=2)[:, 1::2]
    assert torch.equal(every_second, games(1, 5, names=("pong",), skip=4))
    assert games(2, 3, size=200, names=("pong",), skip=1).shape == (2, 3, 3, 200, 200)
    assert games(1, 1, size=8).shape == (1, 1, 3, 8, 8)


def test_still_moments_and_cuts_are_refused():
    still = np.zeros((5, 64, 64, 3), np.uint8)
    ball, flash = still.copy(), still.copy()
    for frame in range(5):
        ball[frame, 10:12, 8 * frame : 8 * frame + 2] = 200
    flash[3] = 40
    assert atari._moves(ball) and not atari._moves(still) and not atari._moves(flash)
    assert atari._moves(still[:1])  # a picture, no clip


def test_when_every_moment_is_refused_there_are_clips_all_the_same(monkeypatch):
    monkeypatch.setattr(atari, "_moves", lambda clip: False)
    assert games(1, size=8, names=("pong",), seed=5).shape == (1, 5, 3, 8, 8)


def test_bad_parameters_are_named():
    with pytest.raises(ValueError, match=r"names=\('chess',\) must be games among alien, .*pong"):
        games(1, names=("chess",))
    with pytest.raises(ValueError, match="skip=0 must be a whole number, at least 1"):
        games(1, skip=0)


def test_without_ale_py_the_error_says_what_to_install(monkeypatch):
    forget()
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(ImportError, match="pip install ale-py"):
        few()
