"""Arcade games as clips: Atari 2600 programs, out of ale-py, that a random agent plays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from eon_utils.data.clips import ClipSource

# Rows of the screen that are the play field: no score, clock, fuel gauge or scanner. They were set
# by eye.
# fmt: off
FIELDS = {
    "alien": (5, 171), "assault": (14, 189), "asterix": (8, 168), "asteroids": (18, 194),
    "atlantis": (4, 186), "boxing": (28, 186), "breakout": (17, 196), "carnival": (44, 200),
    "chopper_command": (36, 168), "defender": (38, 172), "demon_attack": (18, 188),
    "donkey_kong": (18, 197), "enduro": (20, 155), "fishing_derby": (18, 190), "freeway": (14, 195),
    "frogger": (12, 181), "galaxian": (13, 187), "gopher": (22, 200), "haunted_house": (4, 160),
    "ice_hockey": (26, 189), "jamesbond": (26, 178), "journey_escape": (30, 195),
    "keystone_kapers": (52, 186), "koolaid": (26, 196), "krull": (12, 173),
    "lost_luggage": (2, 171), "mario_bros": (24, 178), "ms_pacman": (0, 171),
    "name_this_game": (6, 174), "phoenix": (22, 186), "pong": (34, 194), "pooyan": (20, 200),
    "private_eye": (30, 182), "riverraid": (2, 162), "road_runner": (26, 188),
    "seaquest": (36, 160), "skiing": (29, 184), "space_invaders": (26, 198),
    "time_pilot": (34, 176),
}
HELD_OUT_GAMES = (
    "donkey_kong", "fishing_derby", "freeway", "ms_pacman", "phoenix", "pong", "seaquest", "skiing",
    "space_invaders", "time_pilot",
)
# fmt: on
TRAINING_GAMES = tuple(name for name in FIELDS if name not in HELD_OUT_GAMES)
EPISODE = 32  # clips cut out of an episode
PATIENCE = (
    30  # clips refused in a row, after which one is taken as it is: a long one may have a cut
)
FIRST_GAP = (60, 400)  # ticks played before the first clip of an episode, at least and below
GAP = (4, 24)  # ticks played between two clips
HOLD = (4, 16)  # ticks for which a button is held
VISIBLE = 16  # of 255: a pixel that changes by more moves
MOVING_SHARE = 0.0007  # of a clip's values that change: a ball does
CUT = 0.1 * 255  # mean change of a frame from which on it is a cut or a flash
_lock = Lock()  # all episodes of a game share one emulator


@dataclass(frozen=True)
class AtariGames(ClipSource):
    """Clips of arcade games (Arcade Learning Environment: Bellemare et al. 2013).

    The games take turns, in a new order each time. With the same `names`, training and held-out
    clips come from different episodes.

    An agent holds random buttons for 4 to 15 of the emulator's 60 ticks a second. A clip has every
    `skip`-th tick. Sprites blink on alternate ticks, so a frame is the maximum of two in a row
    (Mnih et al. 2015, methods, preprocessing). The play field alone is kept, averaged down to a
    square. Cuts, and moments in which nothing moves, are left out.

    Args:
        count, frames, size, seed, start, train: as of `ClipSource`.
        names: games to take, else `TRAINING_GAMES` or, held out, `HELD_OUT_GAMES`.
        skip: ticks a frame of the clip, at least 1.

    Raises:
        ValueError: as `ClipSource`, and for an unknown game.
        ImportError: without ale-py, when the first clip is made.

    Examples:
        >>> AtariGames(2, frames=3, size=32, names=("pong",)).stack().shape
        torch.Size([2, 3, 3, 32, 32])
    """

    names: tuple[str, ...] | None = None
    skip: int = 4

    name = "games"
    weight = 1.0
    card = "games.md"
    reversible = False  # what falls, falls down
    least: ClassVar = ClipSource.least | {"skip": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.names or ()) <= set(FIELDS):
            raise ValueError(f"names={self.names!r} must be games among {', '.join(FIELDS)}")

    def game(self, index: int) -> str:
        """The game of clip number `index`, as in `FIELDS`."""
        names = self._names()
        turn, place = divmod(index, len(names))
        order = np.random.default_rng((self.seed, turn)).permutation(len(names))
        return names[order[place]]

    def _names(self) -> tuple[str, ...]:
        return self.names or (TRAINING_GAMES if self.train else HELD_OUT_GAMES)

    def clip(self, index: int) -> Tensor:
        """Clip number `index`, (T, 3, H, W)."""
        episode, number = divmod(index // len(self._names()), EPISODE)
        seed = (self.seed, int(self.train), episode)
        with _lock:
            try:
                playing = _episode(self.game(index), self.frames, self.size, self.skip, seed)
                clip = playing[number]  # (T, H, W, 3)
            except BaseException:  # interrupted in the middle of play: all episodes start anew
                _episode.cache_clear()
                raise
        return torch.from_numpy(clip).permute(0, 3, 1, 2).contiguous() / 255


class _Episode:
    """An endless episode, cut into clips (T, size, size, 3) uint8.

    A game that is over starts again.

    Args:
        name: of the game.
        frames: T.
        size: side of the frames in pixels.
        skip: ticks a frame.
        seed: of the agent's choices, beside the name.
    """

    def __init__(self, name: str, frames: int, size: int, skip: int, seed: tuple[int, ...]) -> None:
        self.clips: list[np.ndarray] = []  # played so far
        self.field = slice(*FIELDS[name])
        self.frames = frames
        self.size = size
        self.skip = skip
        self.console, self.first_state = _console(name)
        self.actions = self.console.getMinimalActionSet()
        self.rng = np.random.default_rng((*seed, *name.encode()))
        self.state = self.first_state
        self.action = self.actions[0]
        self.hold = 0  # ticks for which the action goes on
        self.gap = self.rng.integers(*FIRST_GAP)

    def __getitem__(self, number: int) -> np.ndarray:
        """Clip number `number`; the episode is played no further than that."""
        while len(self.clips) <= number:
            self.clips.append(self._next_good_clip())
        return self.clips[number]

    def _next_good_clip(self) -> np.ndarray:
        for _ in range(PATIENCE):
            clip, was_over = self._next_clip()
            if _moves(clip) and not was_over:
                return clip
        return self._next_clip()[0]

    def _next_clip(self) -> tuple[np.ndarray, bool]:
        """The next clip, good or not, and whether a game was over in it."""
        self.console.restoreState(self.state)
        for _ in range(self.gap):  # a state is without its screen, too
            self._tick()
        pictures = []
        was_over = False
        for _ in range(self.frames):
            picture, over = self._next_frame()
            pictures.append(picture)
            was_over |= over
        self.state = self.console.cloneState()
        self.gap = self.rng.integers(*GAP)
        return np.stack(pictures), was_over

    def _next_frame(self) -> tuple[np.ndarray, bool]:
        """The maximum of two screens in a row, (size, size, 3), and whether a game was over."""
        import cv2

        was_over = False
        for _ in range(self.skip - 1):
            was_over |= self._tick()
        before = self.console.getScreenRGB()[self.field]
        was_over |= self._tick()
        merged = np.maximum(before, self.console.getScreenRGB()[self.field])
        picture = cv2.resize(merged, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return picture, was_over

    def _tick(self) -> bool:
        """Emulate a sixtieth of a second. Whether the game was over, and has started again."""
        if self.hold == 0:
            self.action = self.actions[self.rng.integers(len(self.actions))]
            self.hold = self.rng.integers(*HOLD)
        self.console.act(self.action)
        self.hold -= 1
        over = self.console.game_over()
        if over:
            self.console.restoreState(self.first_state)
        return over


_episode = lru_cache(maxsize=len(FIELDS))(_Episode)


def _moves(clip: np.ndarray) -> bool:
    """Whether something moves in a clip, if only a ball, and there is no cut and no flash."""
    if len(clip) == 1:
        return True
    change = np.maximum(clip[1:], clip[:-1]) - np.minimum(clip[1:], clip[:-1])  # (T - 1, H, W, 3)
    mean_change = change.reshape(len(change), -1).mean(1)  # (T - 1,)
    return bool((change > VISIBLE).mean() > MOVING_SHARE and mean_change.max() < CUT)


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
    console.loadROM(str(get_rom_path(name)))
    return console, console.cloneState()
