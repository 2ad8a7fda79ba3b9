"""What the experiments share: clips that nothing was trained on, and rows of a Markdown table."""

import argparse
from pathlib import Path

from torch import Tensor

import eon_utils as eon
from eon_utils.config import RUNS, device

FRAMES = 6  # of a clip: five to predict from, and the one to predict
SIZE = 64  # pixels a side
MIDDLE = 3  # the frame that is asked for between two on each side


def source_clips(count: int, frames: int = FRAMES) -> dict[str, Tensor]:
    """Held-out clips of each source.

    Args:
        count: clips a source.
        frames: frames that are made, of which the first six are kept.

    Returns:
        Name of a source -> (count, 6, 3, 64, 64) in [0, 1].
    """
    clips = {}
    for name, source in eon.SOURCES.items():
        films = source(count, frames, SIZE, seed=5, train=False).stack()
        clips[name] = films[:, :FRAMES].to(device())
    return clips


def own_clips(folder: Path, size: int, per_file: int = 24) -> dict[str, Tensor]:
    """Clips of your own videos.

    Args:
        folder: of videos.
        size: side of the frames in pixels.
        per_file: clips of a file, at most.

    Returns:
        Name of a file -> clips (N, 6, 3, size, size) in [0, 1].
    """
    videos = eon.score_clips(folder, FRAMES, size, per_file)
    return {file: clips.to(device()) for file, clips in videos.items()}


def judged_clips(count: int, videos: Path | None, per_file: int = 4) -> dict[str, list[Tensor]]:
    """What answers are judged by: groups of clips, each of which counts alike.

    Args:
        count: clips of each source.
        videos: a folder of videos; None: those that are made alone.
        per_file: clips of a video, at most.

    Returns:
        "generated", a group a source, and "videos", a group a file; each (N, 6, 3, 64, 64).
    """
    judged = {"generated": list(source_clips(count).values())}
    if videos:
        judged["videos"] = list(own_clips(videos, SIZE, per_file).values())
    return judged


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help begins with the description, its lines as they are."""
    as_it_is = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=as_it_is)


def add_training_options(options: argparse.ArgumentParser) -> None:
    """Options of the experiments that train."""
    folder = RUNS / "prior"
    options.add_argument("--seed", type=int, default=0, help="of clips, draws and networks (0)")
    options.add_argument("--scale", type=float, default=1.0, help="share of the training clips (1)")
    options.add_argument(
        "--folder", type=Path, default=folder, help=f"where training clips are kept ({folder})"
    )
    add_clips_option(options)


def add_seconds_option(options: argparse.ArgumentParser, default: float) -> None:
    """How long a training takes."""
    help_text = f"of each training ({default:g})"
    options.add_argument("--seconds", type=float, default=default, help=help_text)


def add_clips_option(options: argparse.ArgumentParser) -> None:
    """The number of held-out clips."""
    options.add_argument("--clips", type=int, default=48, help="held-out clips a source (48)")


def add_videos_option(options: argparse.ArgumentParser) -> None:
    """A folder of videos of one's own."""
    options.add_argument("--videos", type=Path, help="a folder of your own videos (none)")


def print_head(*cells: str) -> None:
    """Names of a table's columns."""
    print_row(*cells)
    print_row(*["---"] * len(cells))


def print_row(*cells: object) -> None:
    """A row of a table."""
    texts = [str(cell) for cell in cells]
    print(f"| {' | '.join(texts)} |", flush=True)
