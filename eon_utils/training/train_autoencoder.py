"""`make prior ONLY=v2,v3,v4`: how the shipped autoencoders are made, from nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from eon_utils.config import RUNS, device, seed_everything
from eon_utils.data.augment import turn
from eon_utils.data.clips import check_positive, check_whole
from eon_utils.data.dead_leaves_images import dead_leaves_images
from eon_utils.data.files import check_room, in_turn, whole_tensors
from eon_utils.data.photos import random_crops
from eon_utils.models.pca_autoencoder import (
    CODE_SIZES,
    Autoencoder,
    load_autoencoder,
    patchify,
    save_autoencoder,
)
from eon_utils.models.weight_files import WEIGHTS, write_with_card
from eon_utils.training.launchers import launch, several_processes
from eon_utils.training.model_card import autoencoder_card
from eon_utils.training.run import TrainingRun
from eon_utils.training.train_prior import log_error

BATCH = 32
SCENES, CROPS = 12_000, 6_000  # pictures of each kind to train on
PATCHES = 200_000  # cells that the local PCA is fitted to
CORNERS = (
    (0, 0),
    (3, 4),
    (6, 1),
    (1, 6),
)  # cells from off the grid too: a picture may be cut anywhere
PIXELS = 64  # side of a picture to train on
INNER = 56  # side of what is cut there
CHUNK = 100  # pictures encoded at a time
SHIPPED: dict[str, tuple[dict[str, Any], list[int], int]] = {  # design, code sizes, steps
    "v2": ({}, list(CODE_SIZES), 5_000),
    "v3": ({"skips": 16}, [32], 1_200),
    "v4": ({"skips": 16, "noise": 0.25}, [32], 1_200),
}


def prepare(folder: Path, seed: int, scale: float = 1.0) -> dict[str, Tensor]:
    """The fitted local PCA and the training set, kept for a run that is interrupted.

    Of several processes one makes them, and the others wait for it.

    Args:
        folder: where they are kept (1.1 GB at full scale).
        seed: of pictures and fit.
        scale: share of the pictures.

    Returns:
        uint8 tensors: "images" (N, 3, 64, 64), and "rough" (4, N, 3, 64, 64), what the local PCA
        reconstructs of them with each of `CODE_SIZES`; beside them its "bases".
    """
    file = folder / f"training_set_{seed}_{scale:g}.safetensors"
    if not file.exists():
        with in_turn(file):
            if not file.exists():  # another process may have made it meanwhile
                _make_training_set(file, seed, scale)
    return load_file(file)


def _make_training_set(file: Path, seed: int, scale: float) -> None:
    counts = round(SCENES * scale), round(CROPS * scale)
    each = 3 * PIXELS**2 * (1 + len(CODE_SIZES))  # bytes kept of a picture
    check_room(file.parent, sum(counts) * each, "the training pictures")
    scenes = dead_leaves_images(counts[0], seed=seed)
    crops = random_crops(counts[1], seed=seed)
    images = torch.cat([_to_bytes(scenes), _to_bytes(crops)])
    print(f"{len(images):,} training pictures made; fitting the local PCA", flush=True)
    model = Autoencoder().to(device())
    _fit_local_pca(model, images)
    print(f"encoding the training pictures with {len(CODE_SIZES)} code sizes", flush=True)
    rough = torch.empty((len(CODE_SIZES), *images.shape), dtype=torch.uint8)
    for row, code_size in enumerate(CODE_SIZES):
        model.channels = code_size
        rough[row] = _reconstructions(model, images)
    result = {"images": images, "rough": rough, "bases": model.local_pca.bases.cpu()}
    with whole_tensors(file) as partial:
        save_file(result, partial)


def _to_bytes(images: Tensor) -> Tensor:
    return (255 * images).round().byte()


def _fit_local_pca(model: Autoencoder, images: Tensor) -> None:
    parts = []
    for index, (top, left) in enumerate(CORNERS):
        some = images[index :: len(CORNERS), :, top : top + INNER, left : left + INNER]
        parts.append(patchify(some / 255 - 0.5))
    patches = torch.cat(parts)  # (n, 192)
    chosen = torch.randperm(len(patches))[:PATCHES]
    model.local_pca.fit(patches[chosen].to(device()))


@torch.no_grad()
def _reconstructions(model: Autoencoder, images: Tensor) -> Tensor:
    """What the local PCA alone makes of uint8 images (N, 3, H, W), the same."""
    parts = []
    for part in images.split(CHUNK):
        code = model.encode(part.to(device()) / 255)
        assert isinstance(code, Tensor)
        parts.append(_to_bytes(model.reconstruct(code)).cpu())
    return torch.cat(parts)


class RefinementPairs(Dataset):
    """What the local PCA reconstructs, which code size it had, and the picture; turned at random.

    Draw k depends on the seed and on k alone. Items are (3, H, W), an index into `CODE_SIZES`, and
    (3, H, W).

    Args:
        data: as `prepare` gives it.
        code_sizes: to train for, in turn.
        draws: how many, the length of this data set.
        seed: of the draws.
    """

    def __init__(
        self, data: Mapping[str, Tensor], code_sizes: Sequence[int], draws: int, seed: int
    ) -> None:
        self.images = data["images"]
        self.rough = data["rough"]
        self.rows = [CODE_SIZES.index(code_size) for code_size in code_sizes]
        self.draws = draws
        self.seed = seed

    def __len__(self) -> int:
        return self.draws

    def __getitem__(self, draw: int) -> tuple[Tensor, int, Tensor]:
        rng = np.random.default_rng((self.seed, draw))
        row = self.rows[draw % len(self.rows)]
        index = int(rng.integers(len(self.images)))
        pair = torch.stack([self.rough[row, index], self.images[index]]) / 255  # (2, 3, H, W)
        mirrored, upside_down, transposed = rng.random(3) < 0.5
        pair = turn(pair, mirrored, upside_down, transposed)
        return pair[0], row, pair[1]


def build(name: str, data: Mapping[str, Tensor], weights: Path) -> Autoencoder:
    """One of `SHIPPED`, to be trained: with fitted bases; V3 and V4 with what V2 has learnt."""
    design, _, _ = SHIPPED[name]
    model = Autoencoder(**design).to(device())
    model.local_pca.bases.copy_(data["bases"])
    if model.skip_decoder is not None:
        own = weights / "autoencoder_v2.safetensors"
        v2 = load_autoencoder(path=own if own.exists() else None)
        model.load_state_dict(v2.state_dict(), strict=False)
        for parameter in model.skip_decoder.parameters():
            torch.nn.init.zeros_(parameter)  # the skips begin without a voice
    return model.to(memory_format=torch.channels_last)  # a third faster on CPU


class RefinementObjective(nn.Module):
    """An autoencoder and its loss as one module, so that several processes can share the work."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, rough: Tensor, row: Tensor, images: Tensor) -> Tensor:
        """A batch of `RefinementPairs` -> the loss, a scalar."""
        model = self.autoencoder
        skips = None if model.skip_encoder is None else model.skips(images)
        return log_error(model.refine(rough, row, skips), images)


def train(
    name: str,
    data: Mapping[str, Tensor],
    folder: Path,
    seed: int,
    scale: float,
    weights: Path,
    *,
    fabric: Fabric,
    **settings: Any,  # noqa: ANN401
) -> TrainingRun:
    """Train one of `SHIPPED` and save it with its card, if its training came to its end.

    Args:
        name: of `SHIPPED`.
        data: as `prepare` gives it.
        folder: of the checkpoint.
        seed: of weights and draws.
        scale: share of the steps.
        weights: folder for weights and card.
        fabric: of `several_processes`, launched.
        settings: what else `TrainingRun` takes.
    """
    design, code_sizes, steps = SHIPPED[name]
    steps = max(round(steps * scale), 1)
    torch.manual_seed(seed)
    model = build(name, data, weights)
    run = TrainingRun(
        RefinementObjective(model),
        steps,
        name=f"autoencoder_{name}_{seed}_{scale:g}",
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True),
        warmup=99,  # at the full learning rate the first steps undo the local PCA's work
        cooldown=0.6,
        clip_norm=0.5,  # without: diverged after 570 steps
        folder=folder,
        fabric=fabric,
        **settings,
    )
    pairs = RefinementPairs(data, code_sizes, steps * BATCH, seed)
    for _, batch in run.batches(DataLoader(pairs, BATCH // fabric.world_size)):
        run.step(run(*batch))
    if run.status == "finished" and fabric.is_global_zero:
        write_with_card(
            weights / f"autoencoder_{name}.safetensors",
            lambda new: save_autoencoder(model.eval(), new, code_sizes, seed=seed, steps=run.done),
            lambda new, sha256: autoencoder_card(name, new, sha256, run, code_sizes, design, BATCH),
        )
    fabric.barrier()  # the next one may begin with what this one has learnt
    return run


def train_all(
    names: Sequence[str] = tuple(SHIPPED),
    seed: int = 0,
    scale: float = 1.0,
    weights: Path = WEIGHTS,
    *,
    fabric: Fabric | None = None,
    hours: float | None = None,
    resume: bool = True,
) -> bool:
    """Train and save autoencoders, in order. What was interrupted goes on.

    Two CPU cores need an hour for all of them.

    Args:
        names: of `SHIPPED`. V3 and V4 are made on top of V2, that of `weights` or the shipped one.
        seed: of everything that is drawn.
        scale: shortens everything, for a test.
        weights: where the files go.
        fabric: of `several_processes`, which is launched here; None: one device.
        hours: of each training at most; None: its steps decide.
        resume: go on from the checkpoint of the same name, seed and scale, if there is one.

    Returns:
        Whether all were trained. Where not, the first process raises, and the others return.

    Raises:
        ValueError: for a number out of range, and for processes that can't share a batch evenly.
        RuntimeError: when a training was stopped or diverged; that one is not saved.
    """
    fabric = fabric or several_processes()
    check_whole("seed", seed, 0)
    check_positive("scale", scale)
    check_positive("hours", hours)
    if BATCH % fabric.world_size:
        raise ValueError(
            f"{fabric.world_size} processes can't share the {BATCH} pictures of a step evenly;"
            " take as many as divide it"
        )
    seed_everything(seed)
    folder = RUNS / "prior"
    start = time.monotonic()
    data = prepare(folder, seed, scale)
    launch(fabric)
    _say(fabric, f"training set ready after {time.monotonic() - start:.0f} s")
    for name in names:
        run = train(
            name,
            data,
            folder,
            seed,
            scale,
            weights,
            fabric=fabric,
            seconds=3600 * hours if hours else None,
            resume=resume,
        )
        if run.status != "finished":
            if not fabric.is_global_zero:
                return False  # when others fail, the first one is ended before it has said why
            raise RuntimeError(
                f"{name}: {run.status}, so it was not saved; the same command goes on from the"
                " checkpoint"
            )
        minutes = (time.monotonic() - start) / 60
        _say(fabric, f"{name}: saved after {minutes:.1f} minutes in all")
    return True


def _say(fabric: Fabric, text: str) -> None:
    if fabric.is_global_zero:
        print(text, flush=True)
