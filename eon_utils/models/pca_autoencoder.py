"""The autoencoders of phase 3, for pictures never seen: what linear algebra knows first, then a network on top."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eon_utils.config import device
from eon_utils.models.weight_files import fill, read_weights, write_weights

CELL, DIMENSIONS = 8, 3 * 8 * 8  # a cell is 8x8 pixels of three colours
CODE_SIZES = (8, 16, 32, 64)  # numbers a cell: 512, 1,024, 2,048 and 4,096 for 64x64 pixels
CHUNK = 2048  # cells at a time: all energies, or all bases, of a large picture would not fit into memory


def patchify(images: Tensor) -> Tensor:
    """(N, 3, H, W) -> its 8x8 cells, row by row, (N * H/8 * W/8, 192)."""
    return F.unfold(images, CELL, stride=CELL).transpose(1, 2).reshape(-1, DIMENSIONS)


def unpatchify(patches: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `patchify`, for images of `shape` = (N, 3, H, W)."""
    columns = patches.reshape(shape[0], -1, DIMENSIONS).transpose(1, 2)
    return F.fold(columns, tuple(shape[-2:]), CELL, stride=CELL)


def orientations() -> Tensor:
    """(8, 192): the order of a cell's values after each of its eight flips and transpositions."""
    square = torch.arange(DIMENSIONS).view(3, CELL, CELL)
    flipped = [square, square.flip(2), square.flip(1), square.flip((1, 2))]
    return torch.stack([view.reshape(-1) for view in flipped + [f.transpose(1, 2) for f in flipped]])


def principal_directions(patches: Tensor, weights: Tensor | None = None) -> Tensor:
    """(N, D) -> (D, D): principal directions as columns, strongest first; nothing is centred."""
    weighted = patches if weights is None else patches * weights[:, None]
    return torch.linalg.eigh(weighted.T @ patches)[1].flip(1)


class LocalPCA(nn.Module):
    """A mixture of local PCAs (Kambhatla & Leen 1997): each 8x8 cell is coded in the basis that suits it best.

    `count` bases, each in eight orientations. A cell's code is the number of its basis, a whole one from 0 to
    8 * count - 1, and its first coefficients there: with k numbers a cell, one is the choice, k - 1 coefficients.
    """

    def __init__(self, count: int = 128) -> None:
        super().__init__()
        self.register_buffer("bases", torch.zeros(count, DIMENSIONS, max(CODE_SIZES) - 1))
        self.register_buffer("order", orientations(), persistent=False)

    def choose(self, patches: Tensor, rank: int) -> Tensor:
        """(n, 192) -> which basis captures most of each with `rank` coefficients, (n,)."""
        count, choices = len(self.bases), []
        filters = self.bases[:, :, :rank].permute(1, 0, 2).reshape(DIMENSIONS, -1)
        for part in patches.split(CHUNK):
            energy = [(part[:, o] @ filters).square_().view(-1, count, rank).sum(2) for o in self.order]
            choices.append(torch.cat(energy, 1).argmax(1))
        return torch.cat(choices)

    def encode(self, patches: Tensor, numbers: int) -> Tensor:
        """(n, 192), about [-0.5, 0.5] -> (n, numbers): the choice, then numbers - 1 coefficients."""
        codes, choices = [], self.choose(patches, numbers - 1)
        for part, choice in zip(patches.split(CHUNK), choices.split(CHUNK), strict=True):
            turned = part.gather(1, self.order[choice // len(self.bases)])
            basis = self.bases[choice % len(self.bases), :, : numbers - 1]
            codes.append(torch.cat([choice[:, None].to(part), torch.einsum("nd,ndk->nk", turned, basis)], 1))
        return torch.cat(codes)

    def decode(self, code: Tensor) -> Tensor:
        """(n, numbers) -> (n, 192). The choice is rounded to the nearest basis there is."""
        patches, count = [], len(self.bases)
        for part in code.split(CHUNK):
            choice = part[:, 0].round().long().clamp(0, 8 * count - 1)
            turned = torch.einsum("nk,ndk->nd", part[:, 1:], self.bases[choice % count, :, : part.shape[1] - 1])
            patches.append(torch.zeros_like(turned).scatter(1, self.order[choice // count], turned))
        return torch.cat(patches)

    @torch.no_grad()
    def fit(self, patches: Tensor, rounds: int = 10, rank: int = 15) -> None:
        """Alternate, as k-means does: cells choose bases, bases become their cells' principal directions.

        patches: (n, 192), about [-0.5, 0.5]; the first guess for a basis are the cells most like a random one.
        Errors are weighed relative to what plain PCA leaves over: a few busy cells must not settle everything.
        """
        keep, floor = self.bases.shape[2], principal_directions(patches)
        left = patches.square().sum(1) - (patches @ floor[:, :rank]).square().sum(1)
        weight = 1 / (left + left.median() / 2)
        common = patches.T @ patches / patches.square().sum()
        for index in range(len(self.bases)):
            some = patches[torch.randint(len(patches), (3000,))]
            shape = F.normalize(some @ floor[:, 1:], dim=1)
            alike = some[(shape @ shape[0]).abs().topk(400).indices]
            self.bases[index] = torch.linalg.eigh(alike.T @ alike / alike.square().sum() + common)[1].flip(1)[
                :, :keep
            ]
        for _ in range(rounds):
            choice = self.choose(patches, rank)
            for index in range(len(self.bases)):
                mine = choice % len(self.bases) == index
                if mine.sum() > DIMENSIONS:  # fewer cells than dimensions would settle nothing
                    turned = patches[mine].gather(1, self.order[choice[mine] // len(self.bases)])
                    self.bases[index] = principal_directions(turned, weight[mine])[:, :keep]


class ResidualBlock(nn.Module):
    """x + conv(gelu(conv(x))), 3x3 (He et al. 2016, without normalisation); it starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) -> the same shape."""
        return x + self.second(F.gelu(self.first(x)))


class Autoencoder(nn.Module):
    """A bank of local PCAs makes the code; residual blocks repair what the bank rebuilds from it.

    The repair works at a quarter of the size: pixels are folded into channels and back (pixel shuffle, Shi et al.
    2016), so every output pixel has as many weights as any other. Optional skips hand `skips` channels at a
    quarter of the size around the code, bounded by tanh, with Gaussian `noise` of that standard deviation in
    `train` mode, as in phase 2.

    channels: numbers a cell of 8x8 pixels, one of 8, 16, 32, 64; may be changed at any time. Images are
    (N, 3, H, W) in [0, 1], H and W multiples of 8.
    """

    def __init__(
        self,
        channels: int = 32,
        skips: int = 0,
        noise: float = 0.0,
        width: int = 64,
        depth: int = 6,
        count: int = 128,
    ) -> None:
        super().__init__()
        if channels not in CODE_SIZES:
            raise ValueError(f"channels={channels!r} must be one of {', '.join(map(str, CODE_SIZES))}")
        self.channels, self.noise, self.bank = channels, noise, LocalPCA(count)
        self.fold_in = nn.Conv2d(48, width, 3, padding=1)
        self.rate = nn.Embedding(len(CODE_SIZES), width)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(depth)))
        self.fold_out = nn.Conv2d(width, 48, 3, padding=1)
        nn.init.zeros_(self.fold_out.weight)
        nn.init.zeros_(self.fold_out.bias)
        self.see = self.hear = None
        if skips:
            self.see = nn.Sequential(
                nn.Conv2d(48, width, 3, padding=1), ResidualBlock(width), nn.Conv2d(width, skips, 1)
            )
            self.hear = nn.Conv2d(skips, width, 3, padding=1)

    def encode(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> the code (N, channels, H/8, W/8); with skips, also these, (N, S, H/4, W/4)."""
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % CELL or images.shape[3] % CELL:
            wanted = f"(N, 3, H, W) with H and W multiples of {CELL}"
            raise ValueError(f"Autoencoder takes images {wanted}, not {tuple(images.shape)}")
        n, _, h, w = images.shape
        code = self.bank.encode(patchify(images - 0.5), self.channels)
        code = code.view(n, h // CELL, w // CELL, -1).permute(0, 3, 1, 2)
        return code if self.see is None else (code, self.skips(images))

    def skips(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> what goes around the code, (N, S, H/4, W/4) in [-1, 1]."""
        return torch.tanh(self.see(F.pixel_unshuffle(images - 0.5, 4)))

    def rebuild(self, code: Tensor) -> Tensor:
        """The bank's part of decoding: a code (N, k, h, w) -> (N, 3, 8 h, 8 w) in [0, 1], not yet repaired."""
        if code.ndim != 4 or code.shape[1] not in CODE_SIZES:
            raise ValueError(f"a code is (N, k, h, w) with k one of {CODE_SIZES}, not {tuple(code.shape)}")
        n, k, h, w = code.shape
        patches = self.bank.decode(code.permute(0, 2, 3, 1).reshape(-1, k))
        return (unpatchify(patches, torch.Size((n, 3, CELL * h, CELL * w))) + 0.5).clamp(0, 1)

    def repair(self, rough: Tensor, rate: Tensor, skips: Tensor | None = None) -> Tensor:
        """What the bank rebuilt, (N, 3, H, W), and which rate it had, (N,) indices into CODE_SIZES -> (N, 3, H, W)."""
        x = self.fold_in(4 * F.pixel_unshuffle(rough - 0.5, 4)) + self.rate(rate)[:, :, None, None]
        if skips is not None:
            x = x + self.hear(
                skips + self.noise * torch.randn_like(skips) if self.training and self.noise else skips
            )
        return rough + F.pixel_shuffle(self.fold_out(self.blocks(x)), 4)

    def decode(self, code: Tensor | tuple[Tensor, Tensor], skips: Tensor | None = None) -> Tensor:
        """What `encode` gave -> (N, 3, H, W), in [0, 1] in `eval` mode. Skips left out are cut."""
        if isinstance(code, tuple):
            code, skips = code
        rough = self.rebuild(code)
        rate = torch.full((len(code),), CODE_SIZES.index(code.shape[1]), device=code.device)
        images = self.repair(rough, rate, skips)
        return images if self.training else images.clamp(0, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> its reconstruction, same shape."""
        return self.decode(self.encode(images))


def load_autoencoder(name: str = "v2", channels: int = 32, path: str | Path | None = None) -> Autoencoder:
    """A shipped autoencoder, in `eval` mode, without gradients: "v2" (code alone), "v3" (skips), "v4" (noisy).

    channels: numbers a cell of 8x8 pixels: 8, 16, 32 or 64 for "v2" (512 to 4,096 for a picture of 64x64); "v3"
    and "v4" were trained with 32. path: a file of your own instead, written by `save_autoencoder`.

    Raises ValueError for an unknown name, a size the model was not trained for, or a file that is damaged or not
    the one that its model card names (SHA-256).
    """
    about, state = read_weights("autoencoder", f"autoencoder_{name}", path)
    if channels not in about["channels"]:
        raise ValueError(
            f"channels={channels!r}: {name!r} was trained with {', '.join(map(str, about['channels']))}"
        )
    model = Autoencoder(channels, **about["model"])
    fill(model, state, Path(path).name if path else f"autoencoder_{name}.safetensors")
    return model.requires_grad_(False).eval().to(device())


def save_autoencoder(model: Autoencoder, path: Path, channels: list[int], **about: object) -> str:
    """Write the weights in half precision (an error of 0.05 %), whole or not at all; returns their SHA-256."""
    skips = 0 if model.see is None else model.hear.in_channels
    shape = {"skips": skips, "noise": model.noise, "width": model.fold_in.out_channels, "depth": len(model.blocks)}
    shape["count"] = len(model.bank.bases)
    return write_weights(model, path, "autoencoder", {"model": shape, "channels": channels, **about})
