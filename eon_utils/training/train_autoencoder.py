"""`make prior ONLY=v2,v3,v4`: how the shipped autoencoders are made, from nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from eon_utils.config import RUNS, device, seed_everything
from eon_utils.data.augment import turn
from eon_utils.data.dead_leaves_images import dead_leaves_images
from eon_utils.data.files import check_room, whole_tensors
from eon_utils.data.photos import random_crops
from eon_utils.models.pca_autoencoder import (
    CODE_SIZES,
    Autoencoder,
    load_autoencoder,
    patchify,
    save_autoencoder,
)
from eon_utils.models.weight_files import WEIGHTS, write_with_card
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

    Args:
        folder: where they are kept (1.1 GB at full scale).
        seed: of pictures and fit.
        scale: share of the pictures.

    Returns:
        uint8 tensors: "images" (N, 3, 64, 64), and "rough" (4, N, 3, 64, 64), what the local PCA
        reconstructs of them with each of `CODE_SIZES`; beside them its "bases".
    """
    file = folder / f"training_set_{seed}_{scale:g}.safetensors"
    if file.exists():
        return load_file(file)
    counts = round(SCENES * scale), round(CROPS * scale)
    each = 3 * PIXELS**2 * (1 + len(CODE_SIZES))  # bytes kept of a picture
    check_room(folder, sum(counts) * each, "the training pictures")
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
    return result


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


def train(
    name: str, data: Mapping[str, Tensor], folder: Path, seed: int, scale: float, weights: Path
) -> TrainingRun:
    """Train one of `SHIPPED` and save it with its card; goes on from its checkpoint.

    Raises:
        RuntimeError: when the training was stopped or diverged; nothing is saved then.
    """
    design, code_sizes, steps = SHIPPED[name]
    steps = max(round(steps * scale), 1)
    torch.manual_seed(seed)
    model = build(name, data, weights)
    run = TrainingRun(
        model,
        steps,
        name=f"autoencoder_{name}_{seed}_{scale:g}",
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True),
        warmup=99,  # at the full learning rate the first steps undo the local PCA's work
        cooldown=0.6,
        clip_norm=0.5,  # without: diverged after 570 steps
        folder=folder,
        resume=True,
    )
    loader = DataLoader(RefinementPairs(data, code_sizes, steps * BATCH, seed), BATCH)
    for _, (rough, row, images) in run.batches(loader):
        skips = None if model.skip_encoder is None else model.skips(images)
        run.step(log_error(model.refine(rough, row, skips), images))
    if run.status != "finished":
        raise RuntimeError(
            f"{name}: {run.status}, so nothing was saved; the same command goes on from the"
            " checkpoint"
        )
    path = weights / f"autoencoder_{name}.safetensors"
    write_with_card(
        path,
        lambda new: save_autoencoder(model.eval(), new, code_sizes, seed=seed, steps=run.done),
        lambda new, sha256: autoencoder_card(name, new, sha256, run, code_sizes, design, BATCH),
    )
    return run


def train_all(
    names: Sequence[str] = tuple(SHIPPED),
    seed: int = 0,
    scale: float = 1.0,
    weights: Path = WEIGHTS,
) -> None:
    """Train and save autoencoders, in order. What was interrupted goes on.

    Two CPU cores need an hour for all of them.

    Args:
        names: of `SHIPPED`. V3 and V4 are made on top of V2, that of `weights` or the shipped one.
        seed: of everything that is drawn.
        scale: shortens everything, for a test.
        weights: where the files go.

    Raises:
        RuntimeError: when a training was stopped or diverged.
    """
    seed_everything(seed)
    folder = RUNS / "prior"
    start = time.monotonic()
    data = prepare(folder, seed, scale)
    print(f"training set ready after {time.monotonic() - start:.0f} s", flush=True)
    for name in names:
        train(name, data, folder, seed, scale, weights)
        minutes = (time.monotonic() - start) / 60
        print(f"{name}: saved after {minutes:.1f} minutes in all", flush=True)
