"""The sources of clips that the course trains on and judges by; `data/` has a card of each."""

from eon_utils.data.atari import AtariGames
from eon_utils.data.camera_pans import CameraPans
from eon_utils.data.clips import ClipSource
from eon_utils.data.dead_leaves import DeadLeaves
from eon_utils.data.moving_digits import MovingDigits

SOURCES: dict[str, type[ClipSource]] = {
    "digits": MovingDigits,
    "leaves": DeadLeaves,
    "pans": CameraPans,
    "games": AtariGames,
}
