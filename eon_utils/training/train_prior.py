"""How the shipped prior is made, from nothing: `make prior ONLY=prior`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from eon_utils.config import device
from eon_utils.data.clips import CachedClips, Mixture
from eon_utils.data.sources import SOURCES
from eon_utils.models.motion_net import MotionPrediction
from eon_utils.models.optical_flow import warp
from eon_utils.models.prior import Prior, save_prior
from eon_utils.training.model_card import prior_card
from eon_utils.training.run import TrainingRun

CLIPS_PER_WEIGHT = 2_500  # clips made of a source, for each unit of its weight
FRAMES = 8  # of a clip that is made; a draw takes some of them
BATCH = 8
STEPS = 5_000
ALREADY_GOOD = 1e-4  # mean squared error of 40 dB: what is better counts no more
MOTION_WEIGHT = 0.2  # of the loss of each level's motion, beside that of the frame


def default_mixture() -> dict[str, float]:
    """How often a clip of each source is drawn: the sources' own weights."""
    return {name: source.weight for name, source in SOURCES.items()}


def parse_mixture(settings: Mapping[str, float | str]) -> dict[str, float]:
    """Source -> weight, as numbers.

    Raises:
        ValueError: for an unknown source, a weight below 0, or none above it.
    """
    try:
        mixture = {name: float(weight) for name, weight in settings.items()}
    except ValueError:
        mixture = {}
    known = set(mixture) <= set(SOURCES)
    positive = 0 < sum(mixture.values()) < float("inf")
    if not known or not positive or min(mixture.values()) < 0:
        wanted = (
            f"weights from 0 on, one above it, of {', '.join(SOURCES)}, such as leaves=5 pans=3"
        )
        raise ValueError(f"mixture={dict(settings)!r} must be {wanted}")
    return mixture


def training_clips(
    seed: int = 0,
    folder: Path | None = None,
    scale: float = 1.0,
    size: int = 64,
    mixture: Mapping[str, float] | None = None,
) -> list[CachedClips]:
    """Clips to train on, those of each source of a mixture.

    Args:
        seed: of the clips.
        folder: where they are kept and found again (2.8 GB at full scale); None: in memory.
        scale: share of the clips, of which there are `CLIPS_PER_WEIGHT` for each unit of a source's
            weight.
        size: side of the frames in pixels.
        mixture: source -> weight; a source whose weight is 0 is left out. None: `default_mixture`.

    Returns:
        A cache a source, of clips (8, 3, size, size).
    """
    mixture = default_mixture() if mixture is None else mixture
    caches = []
    for name, weight in mixture.items():
        if weight > 0:
            source = SOURCES[name]
            count = max(round(CLIPS_PER_WEIGHT * source.weight * scale), BATCH)
            clips = source(count, FRAMES, size, seed, **source.training_settings)
            caches.append(CachedClips(clips, folder, workers=None if folder else 0))
    return caches


def mixture_loader(
    sources: list[CachedClips],
    steps: int,
    seed: int = 0,
    weights: Mapping[str, float] | None = None,
    batch: int = BATCH,
    workers: int = 0,
) -> DataLoader:
    """Batches (batch, 5, 3, H, W) of a `Mixture`, one for each of `steps`.

    Args:
        sources: what is drawn from.
        steps: batches in all.
        seed: of the draws.
        weights: source -> how often it is drawn; None: the sources' own.
        batch: clips in one.
        workers: processes that load them beside the training.
    """
    clips = Mixture(sources, steps * batch, seed, weights=weights)
    return DataLoader(clips, batch, num_workers=workers)


def log_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean over images of log(mean squared error + 1e-4): a mean PSNR, with 40 dB good enough.

    Args:
        output: (N, ...).
        target: the same shape.
    """
    error = (output - target).square().flatten(1).mean(1)  # (N,)
    return (error + ALREADY_GOOD).log().mean()


def motion_loss(prediction: MotionPrediction, last: Tensor, target: Tensor) -> Tensor:
    """Loss of a prediction: of its frame, and of the motion alone at each level but the coarsest.

    Args:
        prediction: of the network.
        last: the last frame given, (N, 3, H, W).
        target: the next one, (N, 3, H, W).
    """
    loss = log_error(prediction.frame, target)
    for flow, _ in prediction.levels[1:]:
        size = flow.shape[-2:]
        small_last = F.interpolate(last, size, mode="area")  # (N, 3, h, w)
        small_target = F.interpolate(target, size, mode="area")
        loss = loss + MOTION_WEIGHT * log_error(warp(small_last, flow), small_target)
    return loss


def prediction_loss(model: Prior, clips: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """The fourth frame from three, or two; each fourth step also the fifth, from that prediction.

    Args:
        model: the prior to train.
        clips: (N, 5, 3, H, W) in [0, 1]; each fourth step half of them are used.
        step: of the training.

    Returns:
        The loss, and the squared error as a share of what copying the last frame gives.
    """
    two_steps = step % 4 == 3
    if two_steps:
        clips = clips[: -(-len(clips) // 2)]
    context = clips[:, 1:3] if step % 8 == 5 else clips[:, :3]
    last = clips[:, 2]
    target = clips[:, 3]
    prediction = model.predict_motion(context)
    loss = motion_loss(prediction, last, target)
    copied = log_error(last, target)
    share = (log_error(prediction.frame.detach(), target) - copied).exp()
    if two_steps:
        frame = prediction.frame.clamp(0, 1)
        context = torch.cat([context[:, 1:], frame[:, None]], 1)
        second = model.predict_motion(context)
        loss = (loss + motion_loss(second, frame.detach(), clips[:, 4])) / 2
    return loss, share


class PredictionObjective(nn.Module):
    """A prior and its loss as one module, so that several processes can share the work."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, clips: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Clips (N, 5, 3, H, W) and the step -> `prediction_loss`."""
        return prediction_loss(self.prior, clips, step)


def prior_run(
    prior: Prior,
    steps: int,
    *,
    name: str = "prior",
    lr: float = 2e-3,
    warmup: int = 100,
    **settings: Any,  # noqa: ANN401
) -> TrainingRun:
    """A run that trains a prior as the shipped one was; its loop is yours:

        run = prior_run(Prior(), 5000)
        for step, clips in run.batches(mixture_loader(training_clips(), 5000)):
            loss, share = run(clips, step)
            run.step(loss, logged=share)
        trained = run.trained.prior

    Args:
        prior: to train, in place; what is kept of it in the end is the average of its weights.
        steps: updates in all.
        name: of the run.
        lr: learning rate of AdamW.
        warmup: steps over which it rises.
        settings: what else `TrainingRun` takes.
    """
    objective = PredictionObjective(prior.to(device()))
    optimizer = torch.optim.AdamW(
        prior.parameters(), lr, betas=(0.9, 0.99), weight_decay=1e-4, fused=True
    )
    return TrainingRun(
        objective,
        steps,
        name=name,
        optimizer=optimizer,
        warmup=warmup,
        cooldown=0.6,
        clip_norm=1.0,
        average=0.998,
        **settings,
    )


def train(
    prior: Prior,
    clips: Tensor | DataLoader,
    steps: int,
    *,
    watch: Callable[[TrainingRun], None] | None = None,
    **settings: Any,  # noqa: ANN401
) -> tuple[TrainingRun, Prior]:
    """Train a prior.

    Args:
        prior: to train, in place.
        clips: batches (N, 5, 3, H, W) in [0, 1], or one batch for all steps.
        steps: updates in all.
        watch: called after each of them.
        settings: as `prior_run`.

    Returns:
        The run, and the prior with averaged weights, in `eval` mode.
    """
    run = prior_run(prior, steps, **settings)
    for step, batch in run.batches(clips):
        loss, share = run(batch, step)
        run.step(loss, logged=share)
        if watch is not None:
            watch(run)
    objective = run.trained
    assert isinstance(objective, PredictionObjective)
    return run, objective.prior.eval()


def ship(
    folder: Path,
    seed: int,
    scale: float,
    weights: Path,
    mixture: Mapping[str, float] | None = None,
) -> TrainingRun:
    """Make the clips, train, save the prior with its model card; goes on from its checkpoint.

    Args:
        folder: for clips and checkpoints.
        seed: of clips, draws and the network as it is built.
        scale: shortens everything, for a test.
        weights: where the prior and its card go.
        mixture: source -> how often a clip of it is drawn; None: `default_mixture`.

    Raises:
        RuntimeError: when the training was stopped or diverged; nothing is saved then.
    """
    sources = training_clips(seed, folder, scale, mixture=mixture)
    print(f"{sum(map(len, sources)):,} clips ready", flush=True)
    torch.manual_seed(seed)
    steps = max(round(STEPS * scale), 1)
    name = "prior"
    if (
        mixture is not None and mixture != default_mixture()
    ):  # never go on from another mixture's checkpoint
        name += "".join(f"_{source}{weight:g}" for source, weight in mixture.items())
    loader = mixture_loader(sources, steps, seed, mixture)
    run, prior = train(Prior(), loader, steps, name=name, folder=folder, resume=True)
    if run.status != "finished":
        raise RuntimeError(
            f"prior: {run.status}, so nothing was saved; `make prior` goes on from the checkpoint"
        )
    path = weights / "prior.safetensors"
    sha256 = save_prior(prior, path, seed=seed, steps=run.done)
    drawn = mixture or default_mixture()
    card = prior_card(
        path, sha256, run, {source.name: len(source) for source in sources}, drawn, BATCH
    )
    path.with_suffix(".md").write_text(card, encoding="utf-8")
    return run
