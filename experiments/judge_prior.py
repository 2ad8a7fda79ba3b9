"""How good the shipped prior is, beside its rivals, on clips never trained on.

    python experiments/judge_prior.py [--videos my_clips/]

Prints PSNR in dB and SSIM of two frames of clips of six: the next one from five, and the one
between two frames on each side. A row a source; with --videos, a row a file of your own at 64 and
at 128 pixels, and the mean of the files. The last columns say how far above copying the worst clip
is, and how many clips are below copying by more than 0.3 dB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import common
import torch
from torch import Tensor

import eon_utils as eon
from eon_utils.config import device
from eon_utils.evaluation.metrics import EXACT

MIDDLE = 3  # the frame that is asked for between two on each side
MADE = 15  # frames of a generated clip
BATCH = 8
LINE = -0.3  # dB: what is further below copying counts as below it

Method = Callable[[Tensor], Tensor]  # clips (N, 6, 3, H, W) -> a frame of each, (N, 3, H, W)


class Question(NamedTuple):
    """A frame of a clip that is asked for, and who answers."""

    name: str
    asked: int
    methods: dict[str, Method]


class Answer(NamedTuple):
    """How near a method comes to a clip's frame, for each clip, (N,)."""

    psnr: Tensor
    ssim: Tensor


def next_frame(predict: Method) -> Method:
    """The last frame, from those before it."""
    return lambda clips: predict(clips[:, :-1])


def frame_between(between: Callable[[Tensor, Tensor], Tensor]) -> Method:
    """The frame in the middle, from two on each side."""

    def answer(clips: Tensor) -> Tensor:
        before = clips[:, MIDDLE - 2 : MIDDLE]
        after = clips[:, MIDDLE + 1 : MIDDLE + 3]
        return between(before, after)

    return answer


def questions() -> list[Question]:
    """What the prior is asked, and its rivals; copying comes first, the prior last."""
    prior = eon.load_prior()
    torch.manual_seed(0)
    untrained = eon.Prior().eval().to(device())
    following = {
        "copy": eon.copy_last,
        "optical flow": eon.flow_extrapolation,
        "untrained": untrained.predict,
        "prior": prior.predict,
    }
    between = {
        "copy": lambda before, after: before[:, -1],
        "optical flow": eon.transfer.interpolate_by_flow,
        "untrained": untrained.between,
        "prior": prior.between,
    }
    last = common.FRAMES - 1
    return [
        Question("next", last, {name: next_frame(method) for name, method in following.items()}),
        Question(
            "between", MIDDLE, {name: frame_between(method) for name, method in between.items()}
        ),
    ]


@torch.no_grad()
def answers(question: Question, clips: Tensor) -> list[Answer]:
    """What each method reaches on clips (N, 6, 3, H, W)."""
    target = clips[:, question.asked]
    found = []
    for method in question.methods.values():
        frames = torch.cat([method(part).clamp(0, 1) for part in clips.split(BATCH)])
        level = eon.psnr(frames, target).clamp(max=EXACT)
        found.append(Answer(level, eon.ssim(frames, target)))
    return found


def print_answers(name: str, question: Question, found: list[Answer]) -> None:
    """A row: of each method the means, and two cells that set the last one beside copying."""
    cells = [f"{answer.psnr.mean():.2f}, {answer.ssim.mean():.3f}" for answer in found]
    above = found[-1].psnr - found[0].psnr
    below = (above < LINE).sum()
    count = len(above)
    common.print_row(name, question.name, count, *cells, f"{above.min():+.2f}", below.item())


def print_mean(name: str, question: Question, files: list[list[Answer]]) -> None:
    """A row: of each method the mean of the files; of the last one all clips beside copying."""
    cells = []
    for method in zip(*files, strict=True):
        level = torch.stack([answer.psnr.mean() for answer in method]).mean()
        similarity = torch.stack([answer.ssim.mean() for answer in method]).mean()
        cells.append(f"{level:.2f}, {similarity:.3f}")
    above = torch.cat([answers[-1].psnr - answers[0].psnr for answers in files])
    below = (above < LINE).sum().item()
    common.print_row(name, question.name, len(above), *cells, f"{above.min():+.2f}", below)


def main() -> None:
    """Judge the shipped prior."""
    options = common.parser(__doc__)
    common.add_clips_option(options)
    common.add_videos_option(options)
    options.add_argument("--per-file", type=int, default=24, help="clips of a video, at most (24)")
    args = options.parse_args()
    asked = questions()
    columns = ["", "frame", "clips", *asked[0].methods, "worst, above copying", "below copying"]
    common.print_head(*columns)
    sources = common.source_clips(args.clips, MADE)
    for question in asked:
        for name, clips in sources.items():
            print_answers(name, question, answers(question, clips))
    for size in (64, 128) if args.videos else ():
        videos = common.own_clips(args.videos, size, args.per_file)
        for question in asked:
            files: list[list[Answer]] = []
            for file, clips in videos.items():
                files.append(answers(question, clips))
                print_answers(f"{file}, {size}", question, files[-1])
            print_mean(f"mean of files, {size}", question, files)


if __name__ == "__main__":
    main()
