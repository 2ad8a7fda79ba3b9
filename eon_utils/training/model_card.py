"""The model cards of the weights that ship: what each is, its training, how well it does."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eon_utils.config import device
from eon_utils.data.photos import HELD_OUT_PHOTOS, TRAINING_PHOTOS, photos
from eon_utils.data.sources import SOURCES
from eon_utils.data.video_clips import video_files
from eon_utils.evaluation.baselines import FRAME_BASELINES
from eon_utils.evaluation.metrics import accuracy, next_frame_psnr, psnr, ssim
from eon_utils.models.pca_autoencoder import load_autoencoder
from eon_utils.models.prior import load_prior
from eon_utils.training.history import History
from eon_utils.training.launchers import machine, precision_of
from eon_utils.training.prior_score import PER_FILE, file_rows
from eon_utils.training.run import TrainingRun

PIXELS = 64  # side of the pictures that a card judges by
CLIPS = 48  # of each source that the prior's card judges by
CONTEXT = 5  # frames from which it predicts
CURVE = 12  # about so many rows show how it learnt
CREDIT = ("source", "licence", "licence_stated_in")  # columns of SOURCES.csv


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
    recorded: History,
    trained: Sequence[Mapping[str, Any]],
    videos: Sequence[str] = (),
    score: str | Path | None = None,
) -> str:
    """The card of a prior.

    Args:
        path: of its weights.
        sha256: of that file.
        recorded: what was measured while it trained.
        trained: all trainings that it has had, that run's last, as `Recipe.summary`.
        videos: folders or files that it was trained on.
        score: folder of videos that it is judged by, one by one.

    Returns:
        Markdown. No path of a folder is in it.
    """
    size = trained[-1]["size"]
    larger = " and larger" if any(one.get("large_every") for one in trained) else ""
    mixture = trained[-1]["mixture"]
    total = sum(mixture.values())
    shares = [f"{name} {weight / total:.0%}" for name, weight in mixture.items() if weight]
    head = ["", *SOURCES, *(f"{name}, SSIM" for name in SOURCES)]
    parameters = sum(parameter.numel() for parameter in load_prior(path).parameters())
    megabytes = path.stat().st_size / 1e6
    generated = "of held-out clips of each source that makes them"
    judged_by = f"of videos in `{Path(score).resolve().name}`" if score else generated
    parts = [
        f"""# prior

`eon_utils.load_prior()`: {parameters:,} parameters, {megabytes:.1f} MB, half precision,
safetensors.

SHA-256 `{sha256}`

**What it is.** A network that reads a frame it was not given along the motion of others, from
classical flow on; beside it a content encoder, which `features` uses, trained by telling clips
apart: `eon_utils/models/prior.py`. What it is good and bad at: `data/prior.md`.

**Trained on** clips of {size}x{size}{larger}, without labels; share of the draws:
{", ".join(shares)}. Flips, transposition, time reversed, other frame rates, enlargement, light and
noise change them.

**Trainings** one after the other, each on from the one before:

{_trainings(trained)}

{_curve(recorded, judged_by)}**Next frame from five**, {CLIPS} held-out clips of {PIXELS}x{PIXELS}
of each source (other digits, textures, photographs, games), PSNR in dB, then SSIM:

{markdown_table(head, _held_out_rows(path))}
"""
    ]
    if score:
        parts.append(_videos_judged_by(path, score, size))
    if videos:
        parts.append(_videos_trained_on(videos))
    public = [name for name in ("MovingMNIST", "UCF101") if mixture.get(name)]
    if public:
        names = " and ".join(public)
        parts.append(
            f"**Public sets** that it was trained on: {names} (`data/public_videos.md`).\n"
        )
    parts.append("**Licence.** MIT, as the project.\n")
    return "\n".join(parts)


def _trainings(trained: Sequence[Mapping[str, Any]]) -> str:
    """A table of trainings."""
    rows = []
    for number, one in enumerate(trained, 1):
        mixture = ", ".join(f"{name} {weight:g}" for name, weight in one.get("mixture", {}).items())
        videos = ", ".join(one.get("videos", []))
        numbers = [f"{one['steps']:,}", one.get("batch", "?"), _pixels(one), one.get("hours", "?")]
        precision = one.get("precision", "32-true")
        machine = one.get("machine", "CPU")
        learnt = one.get("learn", "all")
        rows.append([number, learnt, *numbers, mixture, videos or "none", precision, machine])
    return markdown_table(
        [
            *(
                "",
                "learnt",
                "steps",
                "clips a step",
                "pixels",
                "hours",
                "weights of the sources",
                "videos",
            ),
            *("precision", "on"),
        ],
        rows,
    )


def _pixels(training: Mapping[str, Any]) -> str:
    """Side of the frames of a training."""
    size = training.get("size", "?")
    every = training.get("large_every", 0)
    return f"{size}; one step in {every}: {2 * size}" if every else f"{size}"


def _curve(recorded: History, judged_by: str) -> str:
    """A table of what was measured while it trained: of many steps a few, the last among them."""
    every = zip(recorded.snapshot_steps, recorded.measures, strict=True)
    measured = [(step, measures) for step, measures in every if measures]
    if not measured:
        return ""
    shown = measured[:: -max(len(measured) // CURVE, 1)][::-1]
    tasks = list(shown[-1][1])
    rows = []
    for step, measures in shown:
        rows.append([f"{step:,}", *(f"{measures[task]:+.2f}" for task in tasks)])
    title = f"**While it trained,** mean PSNR over that of optical flow, in dB, {judged_by}:"
    return f"{title}\n\n{markdown_table(['steps', *tasks], rows)}\n\n"


def _videos_judged_by(path: Path, folder: str | Path, size: int) -> str:
    """A table of what is reached on each video of a folder."""
    head = ["video"]
    for task in ("next", "between"):
        head += [f"{task}: {method}" for method in ("prior", "flow", "copied")]
    return f"""**Each video** of the folder that it was judged by: next frame from four, and the
frame between two on each side, at most {PER_FILE} clips of {size}x{size} a file, PSNR in dB:

{markdown_table(head, file_rows(path, folder, size))}
"""


def _videos_trained_on(videos: Sequence[str]) -> str:
    """Where real videos come from and under which licence, by the SOURCES.csv beside them."""
    credits: dict[tuple[str, ...], int] = {}
    unknown = 0
    for row in _records(videos):
        if row is None:
            unknown += 1
            continue
        key = tuple((row.get(column) or "?").replace("|", "/") for column in CREDIT)
        credits[key] = credits.get(key, 0) + 1
    text = ""
    if credits:
        rows = [[key[0], count, *key[1:]] for key, count in sorted(credits.items())]
        table = markdown_table(["source", "files", "licence", "stated in"], rows)
        text = f"**Real videos** that it was trained on, by their `SOURCES.csv`:\n\n{table}\n"
    if unknown:
        text += "\n" * bool(text)
        text += f"**Of {unknown} videos** that it was trained on no source is recorded.\n"
    return text


def _records(videos: Sequence[str]) -> Iterator[dict[str, str] | None]:
    """What the SOURCES.csv beside each video says of it; None where it says nothing."""
    tables: dict[Path, dict[str, dict[str, str]]] = {}
    for file in video_files(videos):
        folder = file.parent
        if folder not in tables:
            tables[folder] = {}
            listed = folder / "SOURCES.csv"
            if listed.is_file():
                with listed.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
                    tables[folder] = {row.get("file") or "": row for row in csv.DictReader(lines)}
        yield tables[folder].get(file.name)


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
    model = load_autoencoder(channels=code_sizes[0], path=path)
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
    precision = precision_of(run.fabric)
    half = "" if precision == "32-true" else f" in {precision}"
    return f"""# autoencoder_{name}

`eon_utils.load_autoencoder("{name}")`: {megabytes:.1f} MB, half precision, safetensors.

SHA-256 `{sha256}`

**What it is.** A mixture of {len(bases)} local PCAs in eight orientations ({bases.numel():,}
numbers), fitted in closed form, then {learnt:,} parameters of residual blocks that refine what it
reconstructs.{skips} Code: k numbers for each cell of 8x8 pixels, of which one, a whole number below
{8 * len(bases)}, names the basis.

**Trained on** dead leaves (`eon_utils.dead_leaves_images`) and crops of the photographs
{", ".join(TRAINING_PHOTOS)}, all 64x64:
{run.done:,} steps of {batch} pictures, {minutes:.0f} minutes on {machine(run.fabric)}{half}{after}.
`make prior ONLY=v2,v3,v4` does it again, from nothing.

**Photographs never trained on**, 64x64, centre crops; PSNR in dB:

{table}

**Limits.** Trained for pictures of about 64 pixels with much detail in each. Larger ones work (any
multiple of 8) and come out better, since they are smoother. Noise and checkerboards do not look
like photographs, and suffer. The choice of a basis is no smooth function of the picture, so the
mean of two codes means little.

**Licence.** MIT, as the project.
"""
