"""`make prior`: how the shipped weights are made, from nothing, on whatever this machine has."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from eon_utils.config import RUNS, device, seed_everything
from eon_utils.data.dead_leaves_images import dead_leaves_images
from eon_utils.data.photos import HELD_OUT_PHOTOS, TRAINING_PHOTOS, photos, random_crops
from eon_utils.evaluation.metrics import accuracy, psnr
from eon_utils.models.pca_autoencoder import CODE_SIZES, Autoencoder, load_autoencoder, patchify, save_autoencoder
from eon_utils.models.weight_files import WEIGHTS
from eon_utils.training.run import TrainingRun
from eon_utils.training.train_prior import MIXTURE, parse_mixture, ship

BATCH = 32
SHIPPED = {  # what each is, the rates it is trained for, steps
    "v2": ({}, list(CODE_SIZES), 5_000),
    "v3": ({"skips": 16}, [32], 1_200),
    "v4": ({"skips": 16, "noise": 0.25}, [32], 1_200),
}


def prepare(folder: Path, seed: int, scale: float = 1.0) -> dict[str, Tensor]:
    """The fitted bank and the training set, kept in `folder` (1.1 GB): an interrupted run need not repeat them.

    Returns uint8 tensors `images` (N, 3, 64, 64), 12,000 * scale scenes and 6,000 * scale crops of the training
    photographs, and `rough` (4, N, 3, 64, 64), what the bank rebuilds of them at each of RATES, beside `bases`.
    """
    file = folder / f"training_set_{seed}_{scale:g}.safetensors"
    if file.exists():
        return load_file(file)
    made = [dead_leaves_images(round(12_000 * scale), seed=seed), random_crops(round(6_000 * scale), seed=seed)]
    images = torch.cat([(255 * part).round().byte() for part in made])
    print(f"{len(images):,} training pictures made; fitting the bank", flush=True)
    model = Autoencoder().to(device())
    places = ((0, 0), (3, 4), (6, 1), (1, 6))  # cells from off the grid too: a picture may be cut anywhere
    parts = [patchify(images[i::4, :, y : y + 56, x : x + 56] / 255 - 0.5) for i, (y, x) in enumerate(places)]
    patches = torch.cat(parts)
    model.bank.fit(patches[torch.randperm(len(patches))[:200_000]].to(device()))
    print("bank fitted; encoding the training pictures at four rates", flush=True)
    rough = torch.empty((len(CODE_SIZES), *images.shape), dtype=torch.uint8)
    for rate, channels in enumerate(CODE_SIZES):
        model.channels = channels
        for at in range(0, len(images), 100):
            part = model.rebuild(model.encode(images[at : at + 100].to(device()) / 255))
            rough[rate, at : at + 100] = (255 * part).round().byte().cpu()
    result = {"images": images, "rough": rough, "bases": model.bank.bases.cpu()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(result, file.with_suffix(".partial"))
    file.with_suffix(".partial").replace(file)
    return result


def batches(
    data: dict[str, Tensor], rates: list[int], seed: int
) -> Callable[[int], tuple[Tensor, Tensor, Tensor]]:
    """step -> rough pictures, their rates (indices into RATES) and the pictures; the same whenever asked."""

    def batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        index = torch.randint(len(data["images"]), (BATCH,), generator=generator)
        rate = torch.tensor([CODE_SIZES.index(rates[i % len(rates)]) for i in range(BATCH)])
        pair = torch.stack([data["rough"][rate, index], data["images"][index]]) / 255
        for dims in ((-1,), (-2,)):
            if torch.rand((), generator=generator) < 0.5:
                pair = pair.flip(dims)
        if torch.rand((), generator=generator) < 0.5:
            pair = pair.transpose(-1, -2)
        return pair[0], rate, pair[1]

    return batch


def train(name: str, data: dict[str, Tensor], folder: Path, seed: int, scale: float, weights: Path) -> TrainingRun:
    """Train one of SHIPPED and save it, with its model card, to `weights`; goes on from its checkpoint."""
    shape, rates, steps = SHIPPED[name]
    torch.manual_seed(seed)
    model = Autoencoder(**shape).to(device())
    model.bank.bases.copy_(data["bases"])
    if name != "v2":  # the skips come on top of what V2 has learnt, and begin without a voice
        v2 = load_autoencoder(path=weights / "autoencoder_v2.safetensors")
        model.load_state_dict(v2.state_dict(), strict=False)
        torch.nn.init.zeros_(model.hear.weight)
        torch.nn.init.zeros_(model.hear.bias)
    model.to(memory_format=torch.channels_last)  # a third faster on CPU
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True)
    run = TrainingRun(
        model,
        max(round(steps * scale), 1),
        name=f"autoencoder_{name}",
        optimizer=optimizer,
        cooldown=0.6,
        folder=folder,
        resume=True,
    )
    for step, (rough, rate, images) in run.batches(batches(data, rates, seed)):
        for group in optimizer.param_groups:
            group["lr"] *= min(1.0, (step + 1) / 100)  # warm-up: at full rate the first steps undo the bank's work
        skips = None if model.see is None else model.skips(images)
        error = (model.repair(rough, rate, skips) - images).square().flatten(1).mean(1)
        loss = (error + 1e-4).log().mean()  # what a mean PSNR measures, except that 40 dB are good enough
        run.optimizer.zero_grad()
        run.fabric.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)  # without: diverged after 570 steps
        run.optimizer.step()
        run.log(loss)
    if run.status != "finished":
        raise RuntimeError(f"{name}: {run.status}, so nothing was saved; `make prior` goes on from the checkpoint")
    path = weights / f"autoencoder_{name}.safetensors"
    sha = save_autoencoder(model.eval(), path, rates, seed=seed, steps=run.done)
    path.with_suffix(".md").write_text(card(name, sha, run, path), encoding="utf-8")
    return run


def card(name: str, sha: str, run: TrainingRun, path: Path) -> str:
    """The model card: what it is, what it was trained on, how well it does on photographs never trained on."""
    shape, rates, _ = SHIPPED[name]
    pictures = photos((64, 64), HELD_OUT_PHOTOS, centre=True).to(device())
    rows = []
    for channels in rates:
        made = load_autoencoder(channels=channels, path=path)(pictures)
        decibels = psnr(made, pictures)
        values = [f"{64 * channels:,}", f"{decibels.mean():.2f}", f"{100 * accuracy(made, pictures):.2f} %"]
        rows.append("| " + " | ".join(values + [f"{v:.2f}" for v in decibels.tolist()]) + " |")
    bases, minutes = run.module.bank.bases, run.history.seconds[-1] / 60
    repair = sum(p.numel() for p in run.module.parameters())
    skips, after = "", ""
    if shape:
        skips = f" Skips: {shape['skips']} channels at a quarter of the size, noise {shape.get('noise', 0)}."
        after = ", on top of v2"
    return f"""# autoencoder_{name}

`eon_utils.load_autoencoder("{name}")`: {path.stat().st_size / 1e6:.1f} MB, half precision, safetensors.

SHA-256 `{sha}`

**What it is.** A bank of {len(bases)} local bases in eight orientations ({bases.numel():,} numbers), fitted in
closed form, then {repair:,} parameters of residual blocks that repair what the bank rebuilds.{skips}
Code: k numbers for each cell of 8x8 pixels, of which one, a whole number below {8 * len(bases)}, names the basis.

**Trained on** generated scenes (`eon_utils.dead_leaves_images`) and crops of the photographs {", ".join(TRAINING_PHOTOS)},
all 64x64: {run.done:,} steps of {BATCH} pictures, {minutes:.0f} minutes{after}.
`make prior` does it again, from nothing.

**Photographs never trained on**, 64x64, centre crops; PSNR in dB:

| numbers | mean | accuracy | {" | ".join(HELD_OUT_PHOTOS)} |
|---|---|---|{"---|" * len(HELD_OUT_PHOTOS)}
{chr(10).join(rows)}

**Limits.** Trained for pictures of about 64 pixels with much detail in each. Larger ones work (any multiple of 8)
and come out better, since they are smoother. Noise and checkerboards do not look like photographs, and suffer. The
choice of a basis is no smooth function of the picture, so the mean of two codes means little.

**Licence.** MIT, as the project.
"""


def train_all(
    only: str = "",
    seed: int = 0,
    scale: float = 1.0,
    weights: Path = WEIGHTS,
    mixture: Mapping[str, float | str] | None = None,
) -> None:
    """Train and save the autoencoders and the prior, or those named in `only` ("v3,prior"), in order.

    What was interrupted goes on. `scale` shortens everything, for a test. mixture: how often the prior sees each
    source, {"leaves": 5, ...}, else `MIXTURE`. Two CPU cores need 1 hour for the autoencoders, 1/2 for the prior.
    """
    names = [name.strip() for name in only.split(",") if name.strip()] or [*SHIPPED, "prior"]
    if unknown := set(names) - {*SHIPPED, "prior"}:
        raise ValueError(f"--only {', '.join(sorted(unknown))} is unknown; choose of {', '.join(SHIPPED)}, prior")
    shares = parse_mixture(mixture) if mixture else MIXTURE
    seed_everything(seed)
    folder, start = RUNS / "prior", time.monotonic()
    if set(names) & set(SHIPPED):
        data = prepare(folder, seed, scale)
        print(f"training set ready after {time.monotonic() - start:.0f} s", flush=True)
    for name in names:
        if name == "prior":
            ship(folder, seed, scale, weights, shares)
        else:
            train(name, data, folder, seed, scale, weights)
        print(f"{name}: saved after {(time.monotonic() - start) / 60:.1f} minutes in all", flush=True)
