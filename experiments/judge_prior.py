"""The tables of data/prior.md: the shipped prior beside its rivals, on clips never trained on.

    python experiments/judge_prior.py [--videos my_clips/]

Prints PSNR in dB and SSIM of the sixth frame from five, a row a source, and a row a file of your
own at 64 and at 128 pixels. The last columns say how far above copying the worst clip is, and how
many clips are below copying by more than 0.1 dB.
"""

from __future__ import annotations

import common
import torch
from torch import Tensor

import eon_utils as eon
from eon_utils.evaluation.metrics import EXACT
from eon_utils.evaluation.transfer import Predict

CONTEXT = 5  # frames to predict from
MADE = 15  # frames of a generated clip
BATCH = 8
LINE = -0.1  # dB: what is further below copying counts as below it


@torch.no_grad()
def next_frames(predict: Predict, clips: Tensor) -> Tensor:
    """Clips (N, 6, 3, H, W) -> their last frames as predicted, (N, 3, H, W) in [0, 1]."""
    context = clips[:, :CONTEXT]
    frames = [predict(part).clamp(0, 1) for part in context.split(BATCH)]
    return torch.cat(frames)


def judge(predictors: dict[str, Predict], clips: Tensor) -> list[str]:
    """A cell for each predictor, and two that set the last of them beside the first, copying."""
    target = clips[:, CONTEXT]
    cells = []
    levels = []
    for predict in predictors.values():
        frames = next_frames(predict, clips)
        level = eon.psnr(frames, target).clamp(max=EXACT)
        similarity = eon.ssim(frames, target).mean()
        cells.append(f"{level.mean():.2f}, {similarity:.3f}")
        levels.append(level)
    above = levels[-1] - levels[0]
    below = (above < LINE).sum()
    return [*cells, f"{above.min():+.2f}", str(below.item())]


def main() -> None:
    """Judge the shipped prior."""
    options = common.parser(__doc__)
    common.add_clips_option(options)
    common.add_videos_option(options)
    args = options.parse_args()
    prior = eon.load_prior()
    predictors: dict[str, Predict] = dict(eon.FRAME_BASELINES)
    predictors["network alone"] = lambda clips: prior.predict_motion(clips).frame
    predictors["prior"] = prior
    test_sets = common.source_clips(args.clips, MADE)
    for size in (64, 128) if args.videos else ():
        for file, clips in common.own_clips(args.videos, size).items():
            test_sets[f"{file}, {size}"] = clips
    common.print_head("", "clips", *predictors, "worst, above copying", "below copying")
    for name, clips in test_sets.items():
        common.print_row(name, len(clips), *judge(predictors, clips))


if __name__ == "__main__":
    main()
