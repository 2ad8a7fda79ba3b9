"""How good the shipped prior is, beside its rivals, on clips never trained on.

    python experiments/judge_prior.py [--videos my_clips/] [--flow]

Prints PSNR in dB and SSIM of two frames of clips of six: the next one from five, and the one
between two frames on each side. A row a source; with --videos, a row a file of your own at 64 and
at 128 pixels, and the mean of the files. The last columns say how far above copying the worst clip
is, and how many clips are below copying by more than 0.3 dB.

With --flow it judges `prior.flow` instead, by pictures, as nobody knows the exact motion of camera
video: each pixel of the last frame of five is looked up where the flow says that it is. The numbers
are mean absolute differences in gray levels of 255. *Seen* looks it up in the frame before, against
the flow; *to come* in the next frame, along the flow.
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
from eon_utils.models.optical_flow import warp

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
        before = clips[:, common.MIDDLE - 2 : common.MIDDLE]
        after = clips[:, common.MIDDLE + 1 : common.MIDDLE + 3]
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
            "between",
            common.MIDDLE,
            {name: frame_between(method) for name, method in between.items()},
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


def flows() -> dict[str, Method]:
    """Who says where each pixel of the last frame goes, (N, T, 3, H, W) -> (N, 2, H, W)."""
    return {
        "no motion": lambda clips: torch.zeros_like(clips[:, -1, :2]),
        "optical flow (DIS)": eon.forward_flow,
        "TV-L1": lambda clips: eon.forward_flow(clips, "tvl1"),
        "prior": eon.load_prior().flow,
    }


@torch.no_grad()
def flow_errors(clips: Tensor) -> list[list[float]]:
    """Of each of `flows` the differences of what is seen, and to come, in gray levels."""
    given, following = clips[:, :-1], clips[:, -1]
    last, before = given[:, -1], given[:, -2]
    found = []
    for method in flows().values():
        flow = torch.cat([method(part) for part in given.split(BATCH)])
        looked_up = [warp(before, -flow), warp(following, flow)]
        found.append([255 * (frame - last).abs().mean().item() for frame in looked_up])
    return found


def judge_flow(clips: dict[str, Tensor], videos: dict[int, dict[str, Tensor]]) -> None:
    """A row a source, and at each size one of the mean of the videos."""
    times = ("seen", "to come")
    common.print_head("", "clips", *(f"{name}, {time}" for name in flows() for time in times))
    groups = {name: [some] for name, some in clips.items()}
    groups |= {f"mean of files, {size}": list(files.values()) for size, files in videos.items()}
    for name, group in groups.items():
        errors = torch.tensor([flow_errors(some) for some in group]).mean(0)  # (methods, times)
        cells = [f"{error:.2f}" for error in errors.flatten().tolist()]
        common.print_row(name, sum(map(len, group)), *cells)


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
    help_text = "judge the motion that it finds, not its frames"
    options.add_argument("--flow", action="store_true", help=help_text)
    args = options.parse_args()
    sizes = (64, 128) if args.videos else ()
    videos = {size: common.own_clips(args.videos, size, args.per_file) for size in sizes}
    sources = common.source_clips(args.clips, MADE)
    if args.flow:
        judge_flow(sources, videos)
        return
    asked = questions()
    columns = ["", "frame", "clips", *asked[0].methods, "worst, above copying", "below copying"]
    common.print_head(*columns)
    for question in asked:
        for name, clips in sources.items():
            print_answers(name, question, answers(question, clips))
    for size, clips_of in videos.items():
        for question in asked:
            files: list[list[Answer]] = []
            for file, clips in clips_of.items():
                files.append(answers(question, clips))
                print_answers(f"{file}, {size}", question, files[-1])
            print_mean(f"mean of files, {size}", question, files)


if __name__ == "__main__":
    main()
