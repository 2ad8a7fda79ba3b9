"""The model cards of the weights that ship: what each is, its training, how well it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eon_utils.config import device
from eon_utils.data.photos import HELD_OUT_PHOTOS, TRAINING_PHOTOS, photos
from eon_utils.data.sources import SOURCES
from eon_utils.evaluation.baselines import FRAME_BASELINES
from eon_utils.evaluation.metrics import accuracy, next_frame_psnr, psnr, ssim
from eon_utils.models.pca_autoencoder import Autoencoder, load_autoencoder
from eon_utils.models.prior import load_prior
from eon_utils.training.run import TrainingRun

PIXELS = 64  # side of the pictures that a card judges by
CLIPS = 48  # of each source that the prior's card judges by
CONTEXT = 5  # frames from which it predicts


def markdown_row(cells: Sequence[object]) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def markdown_table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [markdown_row(head), markdown_row(["---"] * len(head))]
    lines += [markdown_row(row) for row in rows]
    return "\n".join(lines)


def _held_out_rows(path: Path) -> list[list[str]]:
    """What prior and baselines reach on held-out clips: a row each, PSNR by source, then SSIM."""
    predictors: dict[str, Any] = FRAME_BASELINES | {"prior": load_prior(path)}
    psnrs: dict[str, list[str]] = {name: [] for name in predictors}
    ssims: dict[str, list[str]] = {name: [] for name in predictors}
    for source in SOURCES.values():
        clips: Tensor = source(CLIPS, CONTEXT + 1, PIXELS, seed=5, train=False).stack().to(device())
        target = clips[:, CONTEXT]
        for name, predict in predictors.items():
            with torch.no_grad():
                output = predict(clips[:, :CONTEXT]).clamp(0, 1)
            psnrs[name].append(f"{next_frame_psnr(predict, clips):.2f}")
            ssims[name].append(f"{ssim(output, target).mean():.3f}")
    return [[name, *psnrs[name], *ssims[name]] for name in predictors]


def prior_card(
    path: Path,
    sha256: str,
    run: TrainingRun,
    counts: Mapping[str, int],
    mixture: Mapping[str, float],
    batch: int,
) -> str:
    """The card of a prior.

    Args:
        path: of its weights.
        sha256: of that file.
        run: that trained it.
        counts: source -> clips that there were of it.
        mixture: source -> how often a clip of it was drawn.
        batch: clips a step.

    Returns:
        Markdown.
    """
    total = sum(mixture[name] for name in counts)
    shares = [f"{name} {mixture[name] / total:.0%} ({count:,})" for name, count in counts.items()]
    head = ["", *SOURCES, *(f"{name}, SSIM" for name in SOURCES)]
    table = markdown_table(head, _held_out_rows(path))
    parameters = sum(parameter.numel() for parameter in load_prior(path).parameters())
    kilobytes = path.stat().st_size / 1e3
    minutes = run.history.spent / 60
    return f"""# prior

`eon_utils.load_prior()`: {parameters:,} parameters, {kilobytes:.0f} kB, safetensors.

SHA-256 `{sha256}`

**What it is.** A network that explains the next frame by motion, and a fit of that explanation to
the clip's own past: `eon_utils/models/prior.py`. What it is good and bad at, on camera video too:
`data/prior.md`.

**Trained on** generated clips of 64x64, without labels; share of the draws, and how many clips
there are of each: {", ".join(shares)}. Flips, transposition, time reversed, other frame rates,
enlargement, light and noise change them. {run.done:,} steps of {batch} clips,
{minutes:.0f} minutes; again by `make prior ONLY=prior`.

**Next frame from five**, 48 held-out clips of 64x64 of each source (other digits, textures,
photographs, games), PSNR in dB, then SSIM:

{table}

**Licence.** MIT, as the project.
"""


def autoencoder_card(
    name: str,
    path: Path,
    sha256: str,
    run: TrainingRun,
    code_sizes: Sequence[int],
    design: Mapping[str, Any],
    batch: int,
) -> str:
    """The card of an autoencoder.

    Args:
        name: "v2", "v3" or "v4".
        path: of its weights.
        sha256: of that file.
        run: that trained it.
        code_sizes: that it was trained for, numbers a cell.
        design: its skips and their noise, where it has any.
        batch: pictures a step.

    Returns:
        Markdown.
    """
    pictures = photos((PIXELS, PIXELS), HELD_OUT_PHOTOS, centre=True).to(device())
    rows = []
    for code_size in code_sizes:
        output = load_autoencoder(channels=code_size, path=path)(pictures)
        decibels = psnr(output, pictures)
        row = [f"{PIXELS * code_size:,}", f"{decibels.mean():.2f}"]
        row += [f"{100 * accuracy(output, pictures):.2f} %"]
        row += [f"{value:.2f}" for value in decibels.tolist()]
        rows.append(row)
    table = markdown_table(["numbers", "mean", "accuracy", *HELD_OUT_PHOTOS], rows)
    model = run.module
    assert isinstance(model, Autoencoder)
    bases = model.local_pca.bases
    learnt = sum(parameter.numel() for parameter in model.parameters())
    skips = ""
    after = ""
    if design:
        noise = design.get("noise", 0)
        skips = f" Skips: {design['skips']} channels at a quarter of the size, noise {noise}."
        after = ", on top of v2"
    megabytes = path.stat().st_size / 1e6
    minutes = run.history.spent / 60
    return f"""# autoencoder_{name}

`eon_utils.load_autoencoder("{name}")`: {megabytes:.1f} MB, half precision, safetensors.

SHA-256 `{sha256}`

**What it is.** A mixture of {len(bases)} local PCAs in eight orientations ({bases.numel():,}
numbers), fitted in closed form, then {learnt:,} parameters of residual blocks that refine what it
reconstructs.{skips} Code: k numbers for each cell of 8x8 pixels, of which one, a whole number below
{8 * len(bases)}, names the basis.

**Trained on** dead leaves (`eon_utils.dead_leaves_images`) and crops of the photographs
{", ".join(TRAINING_PHOTOS)}, all 64x64:
{run.done:,} steps of {batch} pictures, {minutes:.0f} minutes{after}. `make prior` does it again,
from nothing.

**Photographs never trained on**, 64x64, centre crops; PSNR in dB:

{table}

**Limits.** Trained for pictures of about 64 pixels with much detail in each. Larger ones work (any
multiple of 8) and come out better, since they are smoother. Noise and checkerboards do not look
like photographs, and suffer. The choice of a basis is no smooth function of the picture, so the
mean of two codes means little.

**Licence.** MIT, as the project.
"""
