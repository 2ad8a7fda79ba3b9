"""The tables of data/prior.md: the shipped prior beside its rivals, on held-out clips and on videos of your own.

    python tests/judge_prior.py [--videos my_clips/]

Prints PSNR in dB and SSIM of the sixth frame from five, a row a source, and a row a file at 64 and at 128 pixels;
then how far below copying the worst clip is, and how many are by more than 0.1 dB.
"""

import argparse
import warnings
from pathlib import Path

import torch
from torch import Tensor

import eon_utils as eon


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=Path)
    args = parser.parse_args()
    prior = eon.load_prior()
    ways = eon.FRAME_BASELINES | {"network alone": lambda clips: prior.explain(clips).frame, "prior": prior}
    sets = {name: make(48, 15, 64, 5, 0, False)[:, :6] for name, make in eon.videos.SOURCES.items()}
    files = sorted(file for file in args.videos.iterdir() if file.suffix != ".md") if args.videos else []
    for size in (64, 128):
        for file in files:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                sets[f"{file.stem}, {size}"] = eon.videos.folder(file, 6, size, limit=24)[0]
    print(
        f"| | clips | {' | '.join(ways)} | worst, above copying | below copying |\n|---|{'---|' * (len(ways) + 3)}"
    )
    for name, clips in sets.items():
        made = {way: frames(predict, clips) for way, predict in ways.items()}
        levels = {way: eon.psnr(part, clips[:, 5]).clamp(max=60) for way, part in made.items()}
        cells = [f"{levels[w].mean():.2f}, {eon.ssim(made[w], clips[:, 5]).mean():.3f}" for w in ways]
        above = levels["prior"] - levels["copy last"]
        cells += [f"{above.min():+.2f}", f"{(above < -0.1).sum()}"]
        print(f"| {name} | {len(clips)} | {' | '.join(cells)} |", flush=True)


@torch.no_grad()
def frames(predict: torch.nn.Module, clips: Tensor) -> Tensor:
    return torch.cat([predict(part[:, :5]).clamp(0, 1) for part in clips.split(8)])


if __name__ == "__main__":
    main()
