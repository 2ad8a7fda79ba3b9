"""How the shipped prior is made: `make prior ONLY=prior`, from nothing, on whatever this machine has."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eon_utils.config import device
from eon_utils.data import clips as videos
from eon_utils.evaluation.baselines import FRAME_BASELINES
from eon_utils.evaluation.metrics import next_frame_psnr, ssim
from eon_utils.models.motion_net import MotionPrediction
from eon_utils.models.optical_flow import warp
from eon_utils.models.prior import Prior, load_prior, save_prior
from eon_utils.training.run import TrainingRun

MIXTURE = {"leaves": 5.0, "pans": 3.0, "games": 2.0, "digits": 1.0}  # how often a clip of each is drawn
POOL = {"leaves": 12_000, "pans": 8_000, "games": 5_000, "digits": 3_000}  # clips of 8 frames, drawn once
BLOCK, FRAMES = 50, 8
BATCH, STEPS = 8, 5_000


def pool(name: str, count: int, folder: Path, seed: int = 0, size: int = 64) -> np.ndarray:
    """`training_clips`, drawn once by as many processes as there are cores, kept in `folder`, read as needed."""
    file = folder / f"{name}_{count}_{size}_{seed}.npy"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial_file = file.with_suffix(".partial")
        shape = (count, FRAMES, 3, size, size)
        made = np.lib.format.open_memmap(partial_file, "w+", np.uint8, shape)
        blocks = videos.Prefetched(
            partial(_block, name, count, size, seed), -(-count // BLOCK), os.cpu_count() or 1
        )
        for block in range(blocks.steps):
            made[block * BLOCK : (block + 1) * BLOCK] = blocks(block).numpy()
        made.flush()
        partial_file.replace(file)
    return np.load(file, mmap_mode="r")


def training_clips(name: str, count: int, size: int = 64, seed: int = 0, start: int = 0) -> Tensor:
    """Clips of a source to train on, uint8 (count, 8, 3, size, size); half of leaves and pans move unsteadily."""
    unsteady = {"jitter": 1.0} if name in ("leaves", "pans") else {}
    return (255 * videos.SOURCES[name](count, FRAMES, size, seed, start, **unsteady)).round().byte()


def _block(name: str, count: int, size: int, seed: int, block: int) -> Tensor:
    return training_clips(name, min(BLOCK, count - block * BLOCK), size, seed, block * BLOCK)


def batches(
    pools: dict[str, np.ndarray], weights: dict[str, float], seed: int, frames: int = 5, batch: int = BATCH
) -> Callable[[int], Tensor]:
    """step -> clips (batch, frames, 3, size, size) in [0, 1], changed at random; the same whenever asked.

    Changes: flips, transposition, time reversed (not games: they have a direction), every second or any frames in
    order instead of frames in a row, enlarged by up to 2.5 (what moves, then moves faster), darker or brighter,
    noise.
    """
    names = [name for name in pools if weights.get(name, 0) > 0]
    share = np.array([weights[name] for name in names]) / sum(weights[name] for name in names)

    def draw(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        side = next(iter(pools.values())).shape[-1]
        part = round(side * rng.uniform(0.4, 1)) if rng.random() < 0.4 else side
        pace = rng.random()
        clips = []
        for name in rng.choice(names, batch, p=share):
            start = rng.integers(FRAMES - frames + 1)
            at = np.arange(start, start + frames)
            if pace < 0.12 and 2 * frames - 1 <= FRAMES:
                at = np.arange(frames) * 2
            elif pace < 0.22:
                at = np.sort(rng.choice(FRAMES, frames, replace=False))
            clip = pools[name][rng.integers(len(pools[name]))][at]
            y, x = rng.integers(0, side - part + 1, 2)
            clip = clip[..., y : y + part, x : x + part]
            flips = rng.random(4) < 0.5
            clip = clip[::-1] if flips[0] and name != "games" else clip
            clip = clip[..., ::-1] if flips[1] else clip
            clip = clip[..., ::-1, :] if flips[2] else clip
            clips.append(np.ascontiguousarray(clip.swapaxes(-1, -2) if flips[3] else clip))
        result = torch.from_numpy(np.stack(clips)).float() / 255
        if part < side:
            result = F.interpolate(result.flatten(0, 1), (side, side), mode="bilinear", align_corners=False)
            result = result.unflatten(0, (batch, frames))
        light, grain = rng.uniform(0.6, 1.1, batch), rng.uniform(0, 0.02, batch) * (rng.random(batch) < 0.4)
        noise = torch.from_numpy(rng.standard_normal(result.shape, dtype=np.float32))
        light, grain = (torch.from_numpy(v).float().view(-1, 1, 1, 1, 1) for v in (light, grain))
        return (light * result + grain * noise).clamp(0, 1)

    return draw


def log_error(made: Tensor, target: Tensor) -> Tensor:
    """Mean over images of log(mean squared error + 1e-4): what a mean PSNR measures, with 40 dB good enough."""
    return ((made - target).square().flatten(1).mean(1) + 1e-4).log().mean()


def motion_loss(found: MotionPrediction, last: Tensor, target: Tensor) -> Tensor:
    """Loss of an explanation: of its frame, and of the motion alone at each level but the coarsest."""
    loss = log_error(found.frame, target)
    for flow, _ in found.levels[1:]:
        small, wanted = (F.interpolate(part, flow.shape[-2:], mode="area") for part in (last, target))
        loss = loss + 0.2 * log_error(warp(small, flow), wanted)
    return loss


def prediction_loss(model: Prior, clips: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Clips (N, 5, 3, H, W): the fourth frame from three, or two, of them; each fourth step the fifth as well,
    from half of the clips and from the frame just predicted.

    Returns the loss, and the squared error as a share of what copying the last frame gives (1: no better).
    """
    if step % 4 == 3:
        clips = clips[: -(-len(clips) // 2)]
    given = clips[:, 1:3] if step % 8 == 5 else clips[:, :3]
    found = model.predict_motion(given)
    loss = motion_loss(found, clips[:, 2], clips[:, 3])
    share = (log_error(found.frame.detach(), clips[:, 3]) - log_error(clips[:, 2], clips[:, 3])).exp()
    if step % 4 == 3:
        again = torch.cat([given[:, 1:], found.frame.clamp(0, 1)[:, None]], 1)
        loss = (loss + motion_loss(model.predict_motion(again), again[:, -1].detach(), clips[:, 4])) / 2
    return loss, share


class Averaged(nn.Module):
    """A model and the moving average of its weights, which is what is kept (both are in a checkpoint)."""

    def __init__(self, model: Prior, keep: float = 0.998) -> None:
        super().__init__()
        self.model, self.average, self.keep = model, copy.deepcopy(model).requires_grad_(False), keep

    def forward(self, clips: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Clips (N, 5, 3, H, W) and the step -> loss, and error as a share of copying's."""
        return prediction_loss(self.model, clips, step)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """After each step: the average moves towards the model; the sooner, the younger both are."""
        keep = min(self.keep, (step + 1) / (step + 10))
        for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)


def train(
    model: Prior,
    draw: Callable[[int], Tensor],
    steps: int,
    *,
    name: str = "prior",
    lr: float = 2e-3,
    seconds: float | None = None,
    watch: Callable[[TrainingRun, Averaged], None] = lambda run, both: None,
    **of_the_run: object,
) -> tuple[TrainingRun, Prior]:
    """Train a prior on the batches of `draw`; returns the run and the averaged model, in `eval` mode.

    seconds: end after so many of training, the rate falling with them instead of with the steps.
    watch: called after each step. of_the_run: `folder`, `resume` and what else `TrainingRun` takes.
    """
    both = Averaged(model.to(device()))
    optimizer = torch.optim.AdamW(model.parameters(), lr, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    cooldown = 0.0 if seconds else 0.6
    run = TrainingRun(both, steps, name=name, optimizer=optimizer, warmup=100, cooldown=cooldown, **of_the_run)
    for step, clips in run.batches(draw):
        if seconds:
            spent = run.history.seconds[-1] / seconds if run.history.seconds else 0.0
            run.stopping |= spent >= 1
            for group in optimizer.param_groups:
                group["lr"] *= min(1.0, max(1 - spent, 0.0) / 0.6)
        loss, share = run(clips, step)
        if torch.isfinite(loss):  # else the run ends in its last good state
            optimizer.zero_grad()
            run.fabric.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            both.follow(step)
        run.log(share)
        watch(run, both)
    return run, both.average.eval()


def parse_mixture(given: Mapping[str, float | str]) -> dict[str, float]:
    """Source -> weight, as numbers; ValueError for an unknown source, a weight below 0, or none above."""
    try:
        mixture = {name: float(weight) for name, weight in given.items()}
    except ValueError:
        mixture = {}
    if not set(mixture) <= set(POOL) or not 0 < sum(mixture.values()) < float("inf") or min(mixture.values()) < 0:
        wanted = f"weights from 0 on, one above it, of {', '.join(POOL)}, such as leaves=5 pans=3"
        raise ValueError(f"mixture={dict(given)!r} must be {wanted}")
    return mixture


def ship(folder: Path, seed: int, scale: float, weights: Path, mixture: dict[str, float] = MIXTURE) -> TrainingRun:
    """Draw the pools, train, save the prior with its model card; goes on from its checkpoint.

    folder: for pools (2.8 GB) and checkpoints. scale: shortens everything, for a test. mixture: how often a clip
    of each source is drawn.
    """
    used = [name for name, weight in mixture.items() if weight > 0]
    pools = {name: pool(name, max(round(POOL[name] * scale), BATCH), folder, seed) for name in used}
    print(f"{sum(map(len, pools.values())):,} clips ready", flush=True)
    torch.manual_seed(seed)
    draw, steps = batches(pools, mixture, seed), max(round(STEPS * scale), 1)
    name = "_".join(["prior", *(f"{n}{w:g}" for n, w in mixture.items() if mixture != MIXTURE)])
    run, model = train(Prior(), draw, steps, name=name, folder=folder, resume=True)  # never another mixture's
    if run.status != "finished":
        raise RuntimeError(f"prior: {run.status}, so nothing was saved; `make prior` goes on from the checkpoint")
    path = weights / "prior.safetensors"
    sha = save_prior(model, path, seed=seed, steps=run.done)
    path.with_suffix(".md").write_text(card(sha, run, path, pools, mixture), encoding="utf-8")
    return run


def card(sha: str, run: TrainingRun, path: Path, pools: dict[str, np.ndarray], mixture: dict[str, float]) -> str:
    """The model card: what it is, what it was trained on, how well it does on sources' held-out clips."""
    prior = load_prior(path)
    ways = FRAME_BASELINES | {"prior": prior}
    psnrs, ssims = {name: [] for name in ways}, {name: [] for name in ways}
    for make in videos.SOURCES.values():
        clips = make(48, 6, 64, 5, 0, False).to(device())
        for name, way in ways.items():
            with torch.no_grad():
                psnrs[name].append(f"{next_frame_psnr(way, clips):.2f}")
                ssims[name].append(f"{ssim(way(clips[:, :5]).clamp(0, 1), clips[:, 5]).mean():.3f}")
    rows = [f"| {name} | {' | '.join(psnrs[name])} | {' | '.join(ssims[name])} |" for name in ways]
    heads = [*videos.SOURCES, *(f"{name}, SSIM" for name in videos.SOURCES)]
    total = sum(mixture[name] for name in pools)
    drawn = ", ".join(f"{name} {mixture[name] / total:.0%} ({len(clips):,})" for name, clips in pools.items())
    parameters = sum(p.numel() for p in prior.parameters())
    return f"""# prior

`eon_utils.load_prior()`: {parameters:,} parameters, {path.stat().st_size / 1e3:.0f} kB, safetensors.

SHA-256 `{sha}`

**What it is.** A network that explains the next frame by motion, and a fit of that explanation to the clip's own
past: `eon_utils/prior.py`. What it is good and bad at, on camera video too: `data/prior.md`.

**Trained on** generated clips of 64x64, without labels; share of the draws, and how many clips there are of each:
{drawn}. Flips, transposition, time reversed, other frame rates, enlargement, light and noise change them.
{run.done:,} steps of {BATCH} clips, {run.history.seconds[-1] / 60:.0f} minutes; again by `make prior ONLY=prior`.

**Next frame from five**, 48 held-out clips of 64x64 of each source (other digits, textures, photographs, games),
PSNR in dB, then SSIM:

| | {" | ".join(heads)} |
|---|{"---|" * len(heads)}
{chr(10).join(rows)}

**Licence.** MIT, as the project.
"""
