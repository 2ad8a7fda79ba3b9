"""What each learnt part of the shipped prior does: silence one at a time, the others stay.

    python experiments/silence_prior.py [--videos my_clips/]

Prints PSNR in dB of the next frame from five, and of the one between two frames on each side, on
held-out clips of each source, in the mean; with --videos, on videos of your own at 64 pixels, too,
mean of the files. In brackets: what the prior loses without the part. The weights are those that
ship, so a row says what the network leans on. It does not say how well it would do had it been
trained without that part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import common
import torch
from judge_prior import BATCH, frame_between, next_frame
from torch import Tensor, nn

import eon_utils as eon
from eon_utils.evaluation.metrics import EXACT
from eon_utils.models.trajectory_net import ABSENT, SLOTS, STILL

SECOND = slice(SLOTS, 2 * SLOTS)  # of the hypotheses: along the second trajectory
FIT = STILL + 1  # of the hypotheses: the fit to the past
HYPOTHESES = FIT + 1
# What a level's head gives: changes of way and bend, two gates, logits of the frames.
CHANGES, GATES, LOGITS = slice(0, 4), slice(4, 6), slice(6, 6 + SLOTS)
COLOURS = slice(HYPOTHESES + 1, None)  # what the last layer adds to the frame

Judged = dict[str, list[Tensor]]  # as `common.judged_clips` gives it
Part = tuple[str, slice | int, float]  # the layers' name, their channels, what they give instead


class Silence(NamedTuple):
    """Replaces some channels of what a layer gives."""

    channels: slice | int
    value: float

    def __call__(self, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        output = output.clone()
        output[:, self.channels] = self.value
        return output


PARTS: dict[str, list[Part]] = {
    "as it ships": [],
    "changes of the motion": [("heads", CHANGES, 0.0)],
    "gates: which motion, which bend": [("heads", GATES, 0.0)],
    "which frame, by level": [("heads", LOGITS, 0.0)],
    "the second trajectory": [("fusion", SECOND, ABSENT)],
    "the frame not moved": [("fusion", STILL, ABSENT)],
    "the fit to the past, where in doubt": [("fusion", FIT, ABSENT)],
    "what is learnt of the masks": [("fusion", slice(0, HYPOTHESES), 0.0)],
    "the residual": [("fusion", COLOURS, 0.0)],
}
PARTS["all that is learnt"] = [
    ("heads", slice(None), 0.0),
    ("fusion", slice(0, HYPOTHESES), 0.0),
    ("fusion", COLOURS, 0.0),
]


def silence(prior: eon.Prior, parts: Sequence[Part]) -> eon.Prior:
    """The same prior, some parts of which say nothing from now on."""
    layers: dict[str, list[nn.Module]] = {
        "heads": list(prior.net.heads),
        "fusion": [prior.net.fusion[-1]],
    }
    for name, channels, value in parts:
        for layer in layers[name]:
            layer.register_forward_hook(Silence(channels, value))
    return prior


@torch.no_grad()
def judge(prior: eon.Prior, question: str, groups: list[Tensor]) -> float:
    """PSNR in dB of the answers about groups of clips (N, 6, 3, H, W), mean of the groups."""
    if question == "next":
        answer = next_frame(prior.predict)
        asked = common.FRAMES - 1
    else:
        answer = frame_between(prior.between)
        asked = common.MIDDLE
    levels = []
    for clips in groups:
        frames = torch.cat([answer(part) for part in clips.split(BATCH)])
        levels.append(eon.psnr(frames, clips[:, asked]).clamp(max=EXACT).mean())
    return torch.stack(levels).mean().item()


def main() -> None:
    """Silence one part after the other."""
    options = common.parser(__doc__)
    common.add_clips_option(options)
    common.add_videos_option(options)
    options.add_argument("--per-file", type=int, default=4, help="clips of a video, at most (4)")
    args = options.parse_args()
    judged = common.judged_clips(args.clips, args.videos, args.per_file)
    cases = [(question, name) for name in judged for question in ("next", "between")]
    common.print_head("without", *(f"{question}, {name}" for question, name in cases))
    whole: list[float] = []
    for part, layers in PARTS.items():
        prior = silence(eon.load_prior(), layers)
        levels = [judge(prior, question, judged[name]) for question, name in cases]
        whole = whole or levels
        cells = []
        for value, full in zip(levels, whole, strict=True):
            cells.append(f"{value:.2f} ({value - full:+.2f})" if layers else f"{value:.2f}")
        common.print_row(part, *cells)


if __name__ == "__main__":
    main()
