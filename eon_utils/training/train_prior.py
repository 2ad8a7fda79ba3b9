"""How the shipped prior is made: `python -m eon_utils prior --videos FOLDER`."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from eon_utils.config import RUNS, check_seed, device
from eon_utils.data.clips import (
    CachedClips,
    ClipSource,
    Interleaved,
    Mixture,
    check_positive,
    check_whole,
)
from eon_utils.data.files import whole_file
from eon_utils.data.public_clips import moving_mnist_sequences, placed_ucf101_files
from eon_utils.data.shards import (
    INDEX,
    NOTED,
    check_drawn,
    check_shards,
    find_shards,
    shard_loader,
)
from eon_utils.data.sources import KINDS, SOURCES
from eon_utils.data.video_clips import VideoClips, fingerprint, video_files
from eon_utils.models.prior import MULTIPLE, Prior, load_prior, save_prior
from eon_utils.models.trajectory_net import SLOTS, Reading
from eon_utils.models.weight_files import WEIGHTS, load_tensors, read_weights, write_with_card
from eon_utils.threads import usable_cores
from eon_utils.training import recording
from eon_utils.training.clip_contrast import ClipContrast
from eon_utils.training.history import History
from eon_utils.training.launchers import launch, machine, several_processes
from eon_utils.training.model_card import prior_card
from eon_utils.training.prior_score import PriorScore
from eon_utils.training.processes import joint_rows, own_rows, rank_and_count
from eon_utils.training.run import TrainingRun

CLIPS_PER_WEIGHT = 5_000  # kept of a source that is slow to make, for each unit of its weight
FRESH_CLIPS = 100_000  # of a source whose clips are made as they are drawn
FRAMES = 10  # of a clip that is made; a draw takes some of them
DRAWN = 7  # frames of a draw: four to predict from, and three to predict
BATCH = 16
ALREADY_GOOD = 1e-4  # mean squared error of 40 dB: what is better counts no more
LEVEL_WEIGHT = 0.15  # of the loss of each level's own blend, beside that of the frame
CONTRAST_WEIGHT = 0.03  # of `ClipContrast`, which trains layers of its own
AHEAD = 3  # frames that are predicted in a row
QUESTIONS = (  # in turn
    *("between", "next", "between", "ahead", "between", "next", "between", "next"),
    *("between", "next", "between", "ahead", "between", "next", "between", "any"),
)
UNEVEN = 0.25  # share of the questions in between with one frame on each side
WIDTH = 24  # channels at full size, of the shipped prior
LEAST_WIDTH = 4
LEARNT = ("all", "frames", "content")
LARGE_EVERY = 7  # steps: one of so many is of clips of twice the size
NEW_WORLD = "real"  # the source of own videos, by its name
PUBLIC_FILES = {"MovingMNIST": moving_mnist_sequences, "UCF101": placed_ucf101_files}


@dataclass(frozen=True)
class Recipe:
    """What shapes a training of a prior.

    Attributes:
        videos: folders or files of real video; none: generated clips alone.
        mixture: how often a clip of each source is drawn; None: `default_mixture`.
        width: channels at full size; the other levels' are in proportion.
        steps: updates at most.
        batch: clips a step, over all processes.
        size: side of the frames in pixels, a multiple of 16.
        large_every: one step of so many is of clips of twice the size; 0: none.
        hours: end after so long; None: the steps decide.
        lr: learning rate of AdamW.
        seed: of clips, draws and the network as it is built.
        start: weights to go on from: "prior", the shipped ones, or a file; "": none.
        scale: share of the clips that are kept.
        precision: "32-true" or "bf16-mixed".
        shards: folder of clips that were written before, which are streamed; "": they are made.
        learn: "all"; "frames": all but the content encoder, which stays as it is; "content": a
            content encoder from nothing, beside the network of `start`.
    """

    videos: tuple[str, ...] = ()
    mixture: tuple[tuple[str, float], ...] | None = None
    width: int = WIDTH
    steps: int = 400_000
    batch: int = BATCH
    size: int = 64
    large_every: int = LARGE_EVERY
    hours: float | None = None
    lr: float = 5e-4
    seed: int = 0
    start: str = ""
    scale: float = 1.0
    precision: str = "32-true"
    shards: str = ""
    learn: str = "all"

    def weights(self) -> dict[str, float]:
        """Source -> how often a clip of it is drawn."""
        if self.mixture is not None:
            return dict(self.mixture)
        if self.shards:
            usual = default_mixture(videos=True)
            return {name: usual.get(name, 1.0) for name in find_shards(self.shards)}
        return default_mixture(bool(self.videos))

    def makes_large(self) -> bool:
        """Whether there are clips of twice the size: not out of shards, nor of slow sources."""
        if self.large_every == 0 or self.shards:
            return False
        drawn = [name for name, weight in self.weights().items() if weight > 0]
        return any(KINDS[name].quick for name in drawn)

    def digest(self) -> str:
        """Names the training: one that differs in anything but its length has another.

        Videos count by what they are, not by where: files that are added make another training.
        """
        settings = replace(self, steps=0, hours=None, videos=())
        digest = hashlib.sha256(repr(settings).encode())
        if self.videos:
            digest.update(fingerprint(video_files(self.videos)).encode())
        if self.start:  # the same name may hold other weights by now
            digest.update(self.start_file().read_bytes())
        if self.shards:  # or other clips
            folder = Path(self.shards).expanduser()
            for noted in sorted([*folder.glob(f"*/{INDEX}"), *folder.glob(NOTED)]):
                digest.update(noted.read_bytes())
        return digest.hexdigest()[:8]

    def start_file(self) -> Path:
        """The file of the weights to go on from."""
        return (
            WEIGHTS / "prior.safetensors"
            if self.start == "prior"
            else Path(self.start).expanduser()
        )

    def earlier(self) -> list[dict[str, Any]]:
        """The trainings that the weights to go on from have had, as `summary`."""
        if not self.start:
            return []
        about = read_weights("prior", "prior", self.start_file()).about
        return about.get("trained", [{"steps": about.get("steps", 0)}])

    def summary(self, steps: int, seconds: float, machine: str = "CPU") -> dict[str, Any]:
        """What the weights' file says of the training. Videos go by their names alone.

        Args:
            steps: that were done.
            seconds: that they took.
            machine: on which.
        """
        return {
            "steps": steps,
            "hours": round(seconds / 3600, 2),
            "batch": self.batch,
            "size": self.size,
            "large_every": self.large_every if self.makes_large() else 0,
            "lr": self.lr,
            "seed": self.seed,
            "precision": self.precision,
            "learn": self.learn,
            "machine": machine,
            "mixture": self.weights(),
            "videos": [Path(path).resolve().name for path in self.videos],
        }

    def check(self, processes: int = 1) -> None:
        """Refuse what can't be trained, before anything begins.

        Args:
            processes: that share a batch.

        Raises:
            ValueError: in one sentence, what is wrong.
        """
        check_whole("width", self.width, LEAST_WIDTH)
        check_whole("steps", self.steps, 1)
        check_seed(self.seed)
        check_whole("size", self.size, MULTIPLE)
        check_whole("large_every", self.large_every, 0)
        check_whole("batch", self.batch, processes)
        if self.size % MULTIPLE:
            raise ValueError(f"size={self.size} must be a multiple of {MULTIPLE}")
        if self.batch % processes:
            raise ValueError(f"batch={self.batch} must be a multiple of {processes}, the processes")
        for name in ("hours", "lr", "scale"):
            check_positive(name, getattr(self, name))
        if self.learn not in LEARNT:
            raise ValueError(f"learn={self.learn!r} must be one of {', '.join(LEARNT)}")
        if self.learn == "content" and not self.start:
            raise ValueError("learn='content' goes on from weights: name them, --from prior")
        self._check_videos()
        if self.start:
            self._check_start()

    def _check_videos(self) -> None:
        if self.shards:
            if self.videos:
                raise ValueError("shards hold the clips already: leave the videos out")
            folders = find_shards(self.shards)
            drawn = [name for name, weight in self.weights().items() if weight > 0]
            check_drawn(drawn, folders)
            check_shards({name: folders[name] for name in drawn}, self.size, DRAWN, self.batch)
            return
        for path in self.videos:
            if not Path(path).expanduser().exists():
                missing = f"videos={path!r} does not exist (looked in {Path.cwd()})"
                raise ValueError(f"{missing}; give folders of videos, or files")
        weights = self.weights()
        for name, find in PUBLIC_FILES.items():
            if weights.get(name):
                find()
        real = weights.get(NEW_WORLD, 0)
        if real and not self.videos:
            raise ValueError(f"the mixture draws {NEW_WORLD!r} clips: name videos, or leave it out")
        if self.videos and not real:
            raise ValueError(f"the mixture draws no {NEW_WORLD!r} clips: leave the videos out")

    def _check_start(self) -> None:
        model = read_weights("prior", "prior", self.start_file()).about["model"]
        wanted = asdict(widened(self.width).config)
        if self.learn == "content":  # that of the weights is left behind
            model = model | {"content": wanted["content"]}
        if json.dumps(model) != json.dumps(wanted):  # as text, in which tuples are lists
            have = model["fusion"]
            raise ValueError(f"width={self.width}, but {self.start!r} has {have}: --width {have}")


class Question(NamedTuple):
    """Which frames of each clip are given, and which is asked for."""

    given: Tensor  # (N, 4), the nearest first
    asked: Tensor  # (N,)

    @property
    def times(self) -> Tensor:
        """Of the given frames, counted from the one asked for, (N, 4)."""
        return (self.given - self.asked[:, None]).float()

    def own(self) -> Question:
        """That about the clips of this process, where it is about the joint batch of several."""
        return Question(own_rows(self.given), own_rows(self.asked))


def default_mixture(videos: bool = False) -> dict[str, float]:
    """How often a clip of each source is drawn: the sources' own weights.

    Args:
        videos: with real video.
    """
    mixture = {name: source.weight for name, source in SOURCES.items()}
    if videos:
        mixture[NEW_WORLD] = VideoClips.weight
    return mixture


def parse_mixture(settings: Mapping[str, float | str]) -> dict[str, float]:
    """Source -> weight, as numbers.

    Raises:
        ValueError: for an unknown source, a weight below 0, or none above it.
    """
    try:
        mixture = {name: float(weight) for name, weight in settings.items()}
    except ValueError:
        mixture = {}
    positive = 0 < sum(mixture.values()) < float("inf")
    if not set(mixture) <= set(KINDS) or not positive or min(mixture.values()) < 0:
        wanted = f"weights from 0 on, one above it, of {', '.join(KINDS)}, such as leaves=5 pans=3"
        raise ValueError(f"mixture={dict(settings)!r} must be {wanted}")
    return mixture


def training_sources(
    seed: int = 0,
    folder: Path | None = None,
    scale: float = 1.0,
    size: int = 64,
    mixture: Mapping[str, float] | None = None,
    videos: Sequence[str] = (),
    slow: bool = True,
) -> list[ClipSource | CachedClips]:
    """Clips to train on, those of each source of a mixture.

    What is quick to make is made anew for each draw. Of slow sources clips are made once, and kept.

    Args:
        seed: of the clips.
        folder: where they are kept and found again; None: in memory.
        scale: share of the clips that are kept, of which there are `CLIPS_PER_WEIGHT` for each unit
            of a source's weight.
        size: side of the frames in pixels.
        mixture: source -> weight; a source whose weight is 0 is left out. None: `default_mixture`.
        videos: folders or files of real video.
        slow: False leaves out the sources whose clips are kept.

    Returns:
        A data set a source, of clips (10, 3, size, size).

    Raises:
        ValueError: for a mixture with real video where there are no videos.
    """
    mixture = default_mixture(bool(videos)) if mixture is None else mixture
    drawn = [name for name, weight in mixture.items() if weight]
    made: dict[str, ClipSource | CachedClips] = {}
    # Videos first: what can't be used is found out before slow sources make their clips.
    for name in sorted(drawn, key=lambda name: not issubclass(KINDS[name], VideoClips)):
        if KINDS[name].quick:
            made[name] = _source(name, FRESH_CLIPS, size, seed, videos)
        elif slow:
            count = max(round(CLIPS_PER_WEIGHT * KINDS[name].weight * scale), BATCH)
            clips = _source(name, count, size, seed)
            made[name] = CachedClips(clips, folder, workers=None if folder else 0)
    return [made[name] for name in drawn if name in made]


def _source(name: str, count: int, size: int, seed: int, videos: Sequence[str] = ()) -> ClipSource:
    """Clips to train on, of one source by its name."""
    if name != NEW_WORLD:
        return KINDS[name](count, FRAMES, size, seed, **KINDS[name].training_settings)
    if not videos:
        raise ValueError(f"the mixture draws {name!r} clips: name videos, or leave it out")
    return VideoClips(count, FRAMES, size, seed, folders=tuple(videos))


def shard_sources(
    clips: int,
    seed: int = 0,
    size: int = 64,
    mixture: Mapping[str, float] | None = None,
    videos: Sequence[str] = (),
) -> list[ClipSource]:
    """Sources whose clips are written into shards, to be streamed.

    Args:
        clips: of all sources together, shared out by their weights.
        seed, size, mixture, videos: as of `training_sources`.

    Raises:
        ValueError: for fewer than one clip of a source.
    """
    mixture = default_mixture(bool(videos)) if mixture is None else mixture
    total = sum(mixture.values())
    sources: list[ClipSource] = []
    for name, weight in mixture.items():
        if not weight:
            continue
        count = round(clips * weight / total)
        check_whole(f"clips of {name}", count, 1)
        sources.append(_source(name, count, size, seed, videos))
    return sources


def mixture_loader(
    sources: Sequence[ClipSource | CachedClips],
    steps: int,
    seed: int = 0,
    weights: Mapping[str, float] | None = None,
    batch: int = BATCH,
    workers: int = 0,
    processes: int = 1,
    large: Sequence[ClipSource | CachedClips] = (),
    large_every: int = LARGE_EVERY,
) -> DataLoader:
    """Batches (batch, 7, 3, H, W) of a `Mixture`, one for each of `steps`.

    Args:
        sources: what is drawn from.
        steps: batches in all.
        seed: of the draws.
        weights: source -> how often it is drawn; None: the sources' own.
        batch: clips in one.
        workers: processes that load them beside the training.
        processes: that share a batch.
        large: sources of clips of another size; every `large_every`-th batch is of them.
        large_every: at least 1.
    """
    clips = Mixture(sources, steps * batch, seed, frames=DRAWN, weights=weights)
    if large:
        other = Mixture(large, steps * batch, seed, frames=DRAWN, weights=weights)
        clips = Interleaved(clips, other, batch, large_every)
    pinned = workers > 0 and torch.cuda.is_available()
    return DataLoader(clips, batch // processes, num_workers=workers, pin_memory=pinned)


def draw_question(kind: str, count: int, frames: int, rng: np.random.Generator) -> Question:
    """Ask for a frame of each clip.

    Args:
        kind: "next", from the four before it; "between", from two on each side or, in a quarter of
            the clips, one; "any": from four or fewer others, wherever they are.
        count: of clips.
        frames: of a clip, at least 5.
        rng: decides.
    """
    draw = {"next": _next, "between": _between, "any": _any}[kind]
    given, asked = zip(*(draw(frames, rng) for _ in range(count)), strict=True)
    return Question(torch.tensor(given), torch.tensor(asked))


def _next(frames: int, rng: np.random.Generator) -> tuple[list[int], int]:
    asked = int(rng.integers(SLOTS, frames))
    return [asked - back for back in (1, 2, 3, 4)], asked


def _between(frames: int, rng: np.random.Generator) -> tuple[list[int], int]:
    asked = int(rng.integers(2, frames - 2))
    side = 1 if rng.random() < 0.5 else -1  # which neighbour comes first
    outer = 1 if rng.random() < UNEVEN else 2
    return [asked - side, asked + side, asked - side * outer, asked + side * outer], asked


def _any(frames: int, rng: np.random.Generator) -> tuple[list[int], int]:
    asked = int(rng.integers(frames))
    others = [index for index in range(frames) if index != asked]
    count = int(rng.integers(2, SLOTS + 1))
    chosen = [int(index) for index in rng.choice(others, count, replace=False)]
    chosen.sort(key=lambda index: abs(index - asked))
    return [chosen[slot % count] for slot in range(SLOTS)], asked


def log_error(output: Tensor, target: Tensor, good: float = ALREADY_GOOD) -> Tensor:
    """Mean over images of log(mean squared error + good): a mean PSNR, up to what is good enough.

    Args:
        output: (N, ...).
        target: the same shape.
        good: a mean squared error; much smaller ones count alike.
    """
    error = (output - target).square().flatten(1).mean(1)  # (N,)
    return (error + good).log().mean()


def reading_loss(reading: Reading, target: Tensor) -> Tensor:
    """Loss of a frame, and of what each coarser level would have made of it.

    Args:
        reading: of the network.
        target: what the frame was, (N, 3, H, W) in [0, 1].
    """
    # The floor is named, not left to the default, so that an ablation can set another.
    loss = log_error(reading.frame, target, ALREADY_GOOD)
    for level in reading.levels[:-1]:
        blend = level.blend + 0.5  # (N, 3, h, w)
        small = F.interpolate(target, blend.shape[-2:], mode="area")
        loss = loss + LEVEL_WEIGHT * log_error(blend, small, ALREADY_GOOD)
    return loss


def prediction_loss(model: Prior, clips: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """The loss of a step: each asks one kind of question, in turn.

    Several processes call it together. What is asked about a clip depends on the step and on the
    clip's place in the joint batch. So the mean of their losses is the loss of the joint batch, for
    an even number of clips each.

    Args:
        model: the prior to train.
        clips: (N, T, 3, H, W) in [0, 1], T >= 5; to predict several frames, half of them are used.
        step: of the training.

    Returns:
        The loss, and the squared error as a share of what copying the nearest frame gives. That of
        several processes is over the clips of all.
    """
    kind = QUESTIONS[step % len(QUESTIONS)]
    if kind == "ahead":
        return _loss_ahead(model, clips[: -(-len(clips) // 2)])
    count, frames = clips.shape[:2]
    joint = count * rank_and_count()[1]
    question = draw_question(kind, joint, frames, np.random.default_rng(step)).own()
    rows = torch.arange(count)
    given = clips[rows[:, None], question.given]  # (N, 4, 3, H, W)
    target = clips[rows, question.asked]
    reading = model.net(given, question.times, fit=kind == "next")
    return reading_loss(reading, target), _share(reading, given[:, 0], target)


def _loss_ahead(model: Prior, clips: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of frames predicted one from the other."""
    past = clips[:, :SLOTS]
    targets = clips[:, SLOTS : SLOTS + AHEAD].unbind(1)
    readings = model.roll_out(past, len(targets))
    losses = []
    for reading, target in zip(readings, targets, strict=True):
        losses.append(reading_loss(reading, target))
    loss = torch.stack(losses).mean()
    return loss, _share(readings[0], past[:, -1], targets[0])


@torch.no_grad()
def _share(reading: Reading, nearest: Tensor, target: Tensor) -> Tensor:
    share = log_error(reading.frame, target) - log_error(nearest, target)
    return joint_rows(share[None]).mean().exp()


class PriorObjective(nn.Module):
    """A prior and its losses as one module, so that several processes can share the work.

    With the same number of clips each, an even one, their loss curve is that of one process with
    the joint batch, up to rounding: both losses draw by a clip's place in the joint batch, and the
    frames to choose from are those of all processes.

    Args:
        prior: to train.
        learn: "all"; "frames": all but its content encoder; "content": that alone.

    Raises:
        ValueError: for another `learn`.
    """

    def __init__(self, prior: Prior, learn: str = "all") -> None:
        super().__init__()
        if learn not in LEARNT:
            raise ValueError(f"learn={learn!r} must be one of {', '.join(LEARNT)}")
        self.prior = prior
        self.contrast = ClipContrast(prior.content)
        self.predicts = learn != "content"
        self.contrasts = learn != "frames"
        if not self.predicts:
            prior.net.requires_grad_(False)
        if not self.contrasts:
            prior.content.requires_grad_(False)
            self.contrast.requires_grad_(False)

    def forward(self, clips: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Clips (N, T, 3, H, W) and the step -> the loss, and what a curve shows of it.

        That is the share of `prediction_loss`, or the loss of the content encoder alone.
        """
        if not self.contrasts:
            return prediction_loss(self.prior, clips, step)
        contrast = self.contrast(self.prior.content, clips, step)
        if not self.predicts:
            return contrast, contrast.detach()
        loss, share = prediction_loss(self.prior, clips, step)
        return loss + CONTRAST_WEIGHT * contrast, share


def prior_run(
    prior: Prior,
    steps: int,
    *,
    name: str = "prior",
    lr: float = 5e-4,
    warmup: int = 200,
    learn: str = "all",
    **settings: Any,  # noqa: ANN401
) -> TrainingRun:
    """A run that trains a prior as the shipped one was; its loop is yours:

        run = prior_run(Prior(), 5000)
        for step, clips in run.batches(mixture_loader(training_sources(), 5000)):
            loss, share = run(clips, step)
            run.step(loss, logged=share)
        trained = run.trained.prior

    Args:
        prior: to train, in place; what is kept of it in the end is the average of its weights.
        steps: updates in all.
        name: of the run.
        lr: learning rate of AdamW.
        warmup: steps over which it rises.
        learn: as of `PriorObjective`.
        settings: what else `TrainingRun` takes.
    """
    objective = PriorObjective(prior.to(device()), learn)
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    return TrainingRun(
        objective,
        steps,
        name=name,
        optimizer=optimizer,
        warmup=warmup,
        cooldown=0.4,
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
        clips: batches (N, T, 3, H, W) in [0, 1], T >= 5, or one batch for all steps.
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
    assert isinstance(objective, PriorObjective)
    return run, objective.prior.eval()


def widened(width: int) -> Prior:
    """An untrained prior with so many channels at full size, and the others in proportion."""
    shipped = Prior().config

    def scaled(channels: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(max(round(count * width / WIDTH), 4) for count in channels)

    return Prior(encoder=scaled(shipped.encoder), decoder=scaled(shipped.decoder), fusion=width)


def first_weights(recipe: Recipe) -> Prior:
    """The prior that a training starts from."""
    torch.manual_seed(recipe.seed)
    if recipe.learn == "content":
        prior = widened(recipe.width)
        known = read_weights("prior", "prior", recipe.start_file())
        load_tensors(prior.net, known.part("net"))
        return prior
    if not recipe.start:
        return widened(recipe.width)
    known = load_prior(recipe.start_file())
    return known.requires_grad_(True).train()


LoaderOf = Callable[[int, int], DataLoader]  # of processes, and of those that load for each


def _made(recipe: Recipe, folder: Path) -> LoaderOf:
    """Clips that are made, or drawn from videos."""
    mixture = recipe.weights()
    sources = training_sources(
        recipe.seed, folder, recipe.scale, recipe.size, mixture, recipe.videos
    )
    large = large_sources(recipe) if recipe.makes_large() else []

    def loader(processes: int, workers: int) -> DataLoader:
        return mixture_loader(
            sources,
            recipe.steps,
            recipe.seed,
            mixture,
            recipe.batch,
            workers,
            processes,
            large,
            recipe.large_every,
        )

    return loader


def _streamed(recipe: Recipe) -> LoaderOf:
    """Clips out of shards."""
    folders = find_shards(recipe.shards)
    irreversible = [name for name, source in KINDS.items() if not source.reversible]

    def loader(processes: int, workers: int) -> DataLoader:
        return shard_loader(
            folders,
            recipe.weights(),
            recipe.batch // processes,
            DRAWN,
            recipe.seed,
            workers,
            irreversible,
        )

    return loader


def _recorded(recipe: Recipe, states: Path, history: History) -> History:
    """All trainings so far, to look at; nothing where that of the start is not known."""
    before = recipe.start_file().with_name(recording.FILE) if recipe.start else None
    known = recording.read_recording(before) if before and before.exists() else None
    if recipe.learn == "content":  # by which no frame is predicted otherwise
        return known or History()
    return recording.record(states, history, recipe.size, known)


def large_sources(recipe: Recipe) -> list[ClipSource | CachedClips]:
    """Clips of twice the size, of the sources that make them as they are drawn."""
    mixture = recipe.weights()
    return training_sources(
        recipe.seed, size=2 * recipe.size, mixture=mixture, videos=recipe.videos, slow=False
    )


def loaders(fabric: Fabric) -> int:
    """How many processes load clips beside each that trains."""
    if fabric.device.type != "cuda":
        return 0  # a CPU has its hands full
    return max(usable_cores() // torch.cuda.device_count() - 1, 1)


def ship(
    recipe: Recipe,
    weights: Path,
    folder: Path = RUNS / "prior",
    *,
    score: str | Path | None = None,
    fabric: Fabric | None = None,
    resume: bool = True,
) -> TrainingRun:
    """Make the clips, train, save the prior with its model card; goes on from its checkpoint.

    While it trains, `PriorScore` judges it now and then. The best state by that score is kept
    beside the checkpoint, and in the end beside the prior.

    Args:
        recipe: what shapes the training.
        weights: folder for the prior and its card.
        folder: for clips and checkpoints.
        score: folder of videos to judge by; None: held-out clips of the sources that make them.
        fabric: of `several_processes`, which is launched here; None: one device.
        resume: go on from the checkpoint of the same recipe, if there is one.

    Raises:
        ValueError: for what can't be trained.
        RuntimeError: when the training was stopped or diverged; nothing is saved then.
    """
    fabric = fabric or several_processes()
    recipe.check(fabric.world_size)
    earlier = recipe.earlier()
    name = f"prior_{recipe.digest()}"
    judge = PriorScore(recipe.size, score, folder / name)
    if fabric.is_global_zero:
        _ = judge.clips  # what is wrong with them is said at once
        if not resume:
            judge.forget()
    # Before the launch, because processes that have met each other do not wait for hours. Of those
    # that a launcher started all at once, one makes the clips, and the others find them.
    loader_of = _streamed(recipe) if recipe.shards else _made(recipe, folder)
    launch(fabric)
    loader = loader_of(fabric.world_size, loaders(fabric))
    run, prior = train(
        first_weights(recipe),
        loader,
        recipe.steps,
        name=name,
        folder=folder,
        lr=recipe.lr,
        seconds=3600 * recipe.hours if recipe.hours else None,
        learn=recipe.learn,
        resume=resume,
        fabric=fabric,
        measure=None if recipe.learn == "content" else judge,
        watch=judge.follow,
    )
    if run.status != "finished" and fabric.is_global_zero:  # when others fail, it is ended
        raise RuntimeError(
            f"prior: {run.status}, so nothing was saved; the same command goes on from the"
            " checkpoint"
        )
    if run.status == "finished" and fabric.is_global_zero:
        trained = [*earlier, recipe.summary(run.done, run.history.spent, machine(fabric))]
        recorded = _recorded(recipe, judge.states, run.history)
        write_with_card(
            weights / "prior.safetensors",
            lambda new: save_prior(prior, new, seed=recipe.seed, steps=run.done, trained=trained),
            lambda new, sha256: prior_card(new, sha256, recorded, trained, recipe.videos, score),
        )
        if recorded.target is not None:
            recording.write_recording(recorded, weights / recording.FILE)
        if judge.best.exists() and weights.resolve() != WEIGHTS:  # there, it would ship for nothing
            with whole_file(weights / "prior_best.safetensors") as partial:
                shutil.copy(judge.best, partial)
    return run
