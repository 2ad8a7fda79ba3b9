"""Arcade games as clips: real Atari 2600 programs, played by a random agent in the Arcade Learning Environment.

The emulator and the programs come inside the package ale-py (Bellemare et al. 2013).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eon_utils.data.clips import ClipSource

# Rows of the screen that are the play field: no score, clock, fuel gauge or scanner. They were set by eye.
# fmt: off
FIELDS = {
    "alien": (5, 171), "assault": (14, 189), "asterix": (8, 168), "asteroids": (18, 194), "atlantis": (4, 186),
    "boxing": (28, 186), "breakout": (17, 196), "carnival": (44, 200), "chopper_command": (36, 168),
    "defender": (38, 172), "demon_attack": (18, 188), "donkey_kong": (18, 197), "enduro": (20, 155),
    "fishing_derby": (18, 190), "freeway": (14, 195), "frogger": (12, 181), "galaxian": (13, 187),
    "gopher": (22, 200), "haunted_house": (4, 160), "ice_hockey": (26, 189), "jamesbond": (26, 178),
    "journey_escape": (30, 195), "keystone_kapers": (52, 186), "koolaid": (26, 196), "krull": (12, 173),
    "lost_luggage": (2, 171), "mario_bros": (24, 178), "ms_pacman": (0, 171), "name_this_game": (6, 174),
    "phoenix": (22, 186), "pong": (34, 194), "pooyan": (20, 200), "private_eye": (30, 182), "riverraid": (2, 162),
    "road_runner": (26, 188), "seaquest": (36, 160), "skiing": (29, 184), "space_invaders": (26, 198),
    "time_pilot": (34, 176),
}
HELD_OUT_GAMES = (
    "donkey_kong", "fishing_derby", "freeway", "ms_pacman", "phoenix",
    "pong", "seaquest", "skiing", "space_invaders", "time_pilot",
)
# fmt: on
TRAINING_GAMES = tuple(name for name in FIELDS if name not in HELD_OUT_GAMES)
EPISODE = 32  # clips cut out of an episode
PATIENCE = 30  # moments refused in a row, then the next is taken as it is: very long clips may have a cut each
_lock = Lock()  # all episodes of a game share one emulator


@lru_cache(maxsize=len(FIELDS))
def _console(name: str) -> tuple[Any, Any]:
    """The emulator with the game in it, and its state at the start of the game."""
    try:
        from ale_py import ALEInterface, LoggerMode
        from ale_py.roms import get_rom_path
    except ImportError as error:
        raise ImportError("the games are inside the package ale-py: pip install ale-py") from error
    ALEInterface.setLoggerMode(LoggerMode.Error)  # no banner
    console = ALEInterface()
    console.setInt("random_seed", 1)
    console.setFloat("repeat_action_probability", 0)
    console.loadROM(get_rom_path(name))
    return console, console.cloneState()


def _moves(clip: np.ndarray) -> bool:
    """Whether something moves in a clip, (T, H, W, 3) uint8, if only a ball, and there is no cut and no flash."""
    if len(clip) == 1:
        return True
    steps = np.maximum(clip[1:], clip[:-1]) - np.minimum(clip[1:], clip[:-1])
    return (steps > 16).mean() > 0.0007 and steps.reshape(len(steps), -1).mean(1).max() < 0.1 * 255


def _play(name: str, frames: int, size: int, skip: int, seed: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Clips, (frames, size, size, 3) uint8 each, of an endless episode: a game that is over starts again."""
    import cv2

    console, start = _console(name)
    actions, rng = console.getMinimalActionSet(), np.random.default_rng((*seed, *name.encode()))
    state, hold, gap, refused = start, 0, rng.integers(60, 400), 0
    while True:
        console.restoreState(state)
        pictures, over, screen = [], False, None
        for tick in range(-gap, frames * skip):
            if hold == 0:
                action, hold = actions[rng.integers(len(actions))], rng.integers(4, 16)
            console.act(action)
            hold -= 1
            if console.game_over():
                console.restoreState(start)
                over = tick >= 0
            if tick >= -1 and tick % skip >= skip - 2:
                before, screen = screen, console.getScreenRGB()[slice(*FIELDS[name])]
                if tick >= 0 and tick % skip == skip - 1:
                    merged = np.maximum(before, screen)
                    pictures.append(cv2.resize(merged, (size, size), interpolation=cv2.INTER_AREA))
        state, gap = console.cloneState(), rng.integers(4, 24)  # a state is without its screen: play some first
        clip = np.stack(pictures)
        refused = 0 if refused == PATIENCE or (_moves(clip) and not over) else refused + 1
        if not refused:
            yield clip


@lru_cache(maxsize=len(FIELDS))
def _episode(*key: object) -> tuple[Iterator[np.ndarray], list[np.ndarray]]:
    """The arguments of `_play` -> an episode, and those of its clips that were played already."""
    return _play(*key), []


def _clip(moment: int, *key: object) -> np.ndarray:
    """Clip number `moment` of an episode, which is played no further than that."""
    with _lock:
        play, played = _episode(*key)
        try:
            while len(played) <= moment:
                played.append(next(play))
        except BaseException:  # interrupted in the middle of play: the next call starts the episode anew
            _episode.cache_clear()
            raise
        return played[moment]


class AtariGames(ClipSource):
    """Clips of arcade games.

    The games take turns, in a new order each time. With the same `names`, training and held-out clips come from
    different episodes.

    An agent holds random buttons for 4 to 15 of the emulator's 60 frames a second; a clip has every `skip`-th.
    Sprites blink on alternate frames, so a picture is the maximum of two in a row (Mnih et al. 2015, methods,
    preprocessing). The play field alone is kept, averaged down to a square. Cuts, and moments in which nothing
    moves, are left out.

    Args:
        count, frames, size, seed, start, train: as `ClipSource`.
        names: games to take, else `TRAINING_GAMES` or, held out, `HELD_OUT_GAMES`.
        skip: emulator frames a frame of the clip, at least 1.

    Raises:
        ValueError: for an unknown game and for a number below its least value.
        ImportError: without ale-py.
    """

    name = "games"
    weight = 2.0
    card = "games.md"
    reversible = False  # what falls, falls down

    def __init__(
        self,
        count: int,
        frames: int = 5,
        size: int = 64,
        seed: int = 0,
        start: int = 0,
        train: bool = True,
        names: tuple[str, ...] | None = None,
        skip: int = 4,
    ) -> None:
        super().__init__(count, frames, size, seed, start, train)
        self.names = tuple(names or (TRAINING_GAMES if train else HELD_OUT_GAMES))
        self.skip = skip
        if not set(self.names) <= set(FIELDS):
            raise ValueError(f"names={self.names!r} must be games among {', '.join(FIELDS)}")
        if skip < 1:
            raise ValueError(f"skip={skip!r} must be at least 1")

    def clip(self, index: int) -> Tensor:
        """Clip number `index`, (T, 3, H, W)."""
        turn, place = divmod(index, len(self.names))
        order = np.random.default_rng((self.seed, turn)).permutation(len(self.names))
        name = self.names[order[place]]
        episode, moment = divmod(turn, EPISODE)
        key = (name, self.frames, self.size, self.skip, (self.seed, int(self.train), episode))
        return torch.from_numpy(_clip(moment, *key)).permute(0, 3, 1, 2).contiguous() / 255
