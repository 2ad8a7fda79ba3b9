"""The sources of clips: those that make them, public sets, own videos; `data/` has their cards."""

from eon_utils.data.atari import AtariGames
from eon_utils.data.camera_pans import CameraPans
from eon_utils.data.clips import ClipSource
from eon_utils.data.dead_leaves import DeadLeaves
from eon_utils.data.moving_digits import MovingDigits
from eon_utils.data.public_clips import MovingMNISTClips, UCF101Clips
from eon_utils.data.video_clips import VideoClips

# What the course itself makes, trains on and judges by.
SOURCES: dict[str, type[ClipSource]] = {
    "digits": MovingDigits,
    "leaves": DeadLeaves,
    "pans": CameraPans,
    "games": AtariGames,
}

# What a mixture can draw from, by name; the files of the last three must be there.
KINDS: dict[str, type[ClipSource]] = SOURCES | {
    "real": VideoClips,
    "MovingMNIST": MovingMNISTClips,
    "UCF101": UCF101Clips,
}
