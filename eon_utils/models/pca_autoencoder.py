"""The autoencoders of lesson 03: what linear algebra knows of pictures, then a network on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eon_utils.config import device
from eon_utils.models.inputs import check_tensor, in_unit_range, split_batch, unbatched
from eon_utils.models.weight_files import load_tensors, read_weights, write_weights

COLOURS = 3
CELL = 8  # side of a cell in pixels
DIMENSIONS = COLOURS * CELL * CELL
CODE_SIZES = (8, 16, 32, 64)  # numbers a cell: 512, 1,024, 2,048 and 4,096 for 64x64 pixels
ORIENTATIONS = 8  # of a square: flips and transpositions
CHUNK = 2048  # cells at a time: all energies of a large picture would not fit into memory
CELLS_AT_ONCE = 2**14  # of the pictures that are coded together, 256 of 64x64: it bounds the memory
FOLD = 4  # side of the squares of pixels that are folded into channels
FOLDED = COLOURS * FOLD * FOLD
IMAGE_AXES = 4  # (N, C, H, W)
SAMPLE = 3000  # cells among which those most alike are looked for
ALIKE = 400  # cells that a basis starts from
TAKES = "Autoencoder takes images"  # how errors of what it is given begin
RENAMED = {  # parts of an `Autoencoder` in older files
    "bank.": "local_pca.",
    "fold_in.": "conv_in.",
    "fold_out.": "conv_out.",
    "rate.": "size_embedding.",
    "see.": "skip_encoder.",
    "hear.": "skip_decoder.",
}


def patchify(images: Tensor) -> Tensor:
    """(N, 3, H, W) -> its 8x8 cells, row by row, (N * H/8 * W/8, 192)."""
    columns = F.unfold(images, CELL, stride=CELL)  # (N, 192, H/8 * W/8)
    return columns.transpose(1, 2).reshape(-1, DIMENSIONS)


def unpatchify(patches: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `patchify`, for images of `shape` = (N, 3, H, W)."""
    rows = patches.reshape(shape[0], -1, DIMENSIONS)  # (N, H/8 * W/8, 192)
    return F.fold(rows.transpose(1, 2), tuple(shape[-2:]), CELL, stride=CELL)


def orientations() -> Tensor:
    """(8, 192): the order of a cell's values after each of its eight flips and transpositions."""
    square = torch.arange(DIMENSIONS).view(COLOURS, CELL, CELL)
    flips = [square, square.flip(2), square.flip(1), square.flip((1, 2))]
    flipped = torch.stack(flips)  # (4, 3, 8, 8)
    return torch.cat([flipped, flipped.mT]).flatten(1)


def principal_directions(patches: Tensor, weights: Tensor | None = None) -> Tensor:
    """Principal directions of cells, of which nothing is subtracted.

    Args:
        patches: (N, D).
        weights: (N,), how much each counts; None: all alike.

    Returns:
        (D, D): directions as columns, strongest first.
    """
    weighted = patches if weights is None else patches * weights[:, None]
    return _eigenvectors(weighted.T @ patches)


def _eigenvectors(matrix: Tensor) -> Tensor:
    """Of a symmetric matrix (D, D): as columns, that of the largest eigenvalue first."""
    return torch.linalg.eigh(matrix).eigenvectors.flip(1)


class LocalPCA(nn.Module):
    """A mixture of local PCAs (Kambhatla & Leen 1997): each 8x8 cell has the basis that fits best.

    Each basis comes in eight orientations. A cell's code is the number of its basis, an integer
    from 0 to 8 * count - 1, and its first coefficients there. With k numbers a cell, one is the
    choice, k - 1 are coefficients.

    Args:
        count: of the bases.
    """

    bases: Tensor  # (count, 192, 63)
    order: Tensor  # (8, 192): see `orientations`

    def __init__(self, count: int = 128) -> None:
        super().__init__()
        rank = max(CODE_SIZES) - 1
        self.register_buffer("bases", torch.zeros(count, DIMENSIONS, rank))
        self.register_buffer("order", orientations(), persistent=False)

    def choose(self, patches: Tensor, rank: int) -> Tensor:
        """(n, 192) -> which basis captures most of each with `rank` coefficients, (n,)."""
        filters = self.bases[:, :, :rank].permute(1, 0, 2)  # (192, count, rank)
        filters = filters.reshape(DIMENSIONS, -1)
        choices = []
        for part in patches.split(CHUNK):
            energies = []
            for order in self.order:
                coefficients = part[:, order] @ filters  # (n, count * rank)
                squares = coefficients.square_().view(len(part), -1, rank)
                energies.append(squares.sum(2))  # (n, count)
            energy = torch.cat(energies, 1)  # (n, 8 * count)
            choices.append(energy.argmax(1))
        return torch.cat(choices)

    def encode(self, patches: Tensor, code_size: int, choices: Tensor | None = None) -> Tensor:
        """(n, 192), about [-0.5, 0.5] -> (n, code_size): the choice, then coefficients.

        The choices (n,) are those that fit best, unless they are given.
        """
        rank = code_size - 1
        if choices is None:
            choices = self.choose(patches, rank)
        codes = []
        for part, choice in zip(patches.split(CHUNK), choices.split(CHUNK), strict=True):
            turned = self._turn(part, choice)  # (n, 192)
            basis = self._basis(choice, rank)  # (n, 192, rank)
            coefficients = torch.einsum("nd,ndk->nk", turned, basis)
            choice = choice[:, None].to(part)  # (n, 1)
            codes.append(torch.cat([choice, coefficients], 1))
        return torch.cat(codes)

    def decode(self, code: Tensor) -> Tensor:
        """(n, code_size) -> (n, 192). The choice is rounded to the nearest basis there is."""
        last = ORIENTATIONS * len(self.bases) - 1
        patches = []
        for part in code.split(CHUNK):
            choice = part[:, 0].round().long()
            choice = choice.clamp(0, last)
            coefficients = part[:, 1:]
            basis = self._basis(choice, coefficients.shape[1])  # (n, 192, rank)
            turned = torch.einsum("nk,ndk->nd", coefficients, basis)  # (n, 192)
            upright = torch.zeros_like(turned).scatter(1, self._order(choice), turned)
            patches.append(upright)
        return torch.cat(patches)

    def _order(self, choice: Tensor) -> Tensor:
        """(n,) -> the order of a cell's values in the orientation chosen, (n, 192)."""
        return self.order[choice // len(self.bases)]

    def _turn(self, patches: Tensor, choice: Tensor) -> Tensor:
        """Cells (n, 192) in the orientations that they chose, the same shape."""
        return patches.gather(1, self._order(choice))

    def _basis(self, choice: Tensor, rank: int) -> Tensor:
        """(n,) -> the first directions of the bases chosen, (n, 192, rank)."""
        return self.bases[choice % len(self.bases), :, :rank]

    @torch.no_grad()
    def fit(self, patches: Tensor, rounds: int = 10, rank: int = 15) -> None:
        """Alternate, as k-means does: cells choose bases, bases become their principal directions.

        Errors are weighed relative to what plain PCA leaves over: a few busy cells must not settle
        everything.

        Args:
            patches: (n, 192), about [-0.5, 0.5].
            rounds: of the alternation.
            rank: coefficients with which a basis is judged.
        """
        plain = principal_directions(patches)  # (192, 192)
        coefficients = patches @ plain[:, :rank]  # (n, rank)
        left = patches.square().sum(1) - coefficients.square().sum(1)  # (n,)
        weights = 1 / (left + left.median() / 2)
        self._start(patches, plain)
        for _ in range(rounds):
            choice = self.choose(patches, rank)
            for index in range(len(self.bases)):
                mine = choice % len(self.bases) == index
                if mine.sum() > DIMENSIONS:  # fewer cells than dimensions would settle nothing
                    turned = self._turn(patches[mine], choice[mine])
                    self._set(index, principal_directions(turned, weights[mine]))

    def _start(self, patches: Tensor, plain: Tensor) -> None:
        """Each basis from the cells most like a random one, whatever their contrast."""
        common = patches.T @ patches / patches.square().sum()
        for index in range(len(self.bases)):
            some = patches[torch.randint(len(patches), (SAMPLE,))]
            shape = F.normalize(some @ plain[:, 1:], dim=1)  # less the strongest: brightness
            similarity = (shape @ shape[0]).abs()
            alike = some[similarity.topk(ALIKE).indices]  # (ALIKE, 192)
            own = alike.T @ alike / alike.square().sum()
            self._set(index, _eigenvectors(own + common))

    def _set(self, index: int, directions: Tensor) -> None:
        self.bases[index] = directions[:, : self.bases.shape[2]]


class ResidualBlock(nn.Module):
    """x + conv(gelu(conv(x))), at first the identity (He et al. 2016, without normalisation)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        _zero(self.second)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) -> the same shape."""
        residual = F.gelu(self.first(x))
        residual = self.second(residual)
        return x + residual


def _zero(layer: nn.Conv2d) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class Autoencoder(nn.Module):
    """Local PCAs make the code; residual blocks refine what is reconstructed from it.

    The refinement works at a quarter of the size: pixels are folded into channels and back (pixel
    shuffle, Shi et al. 2016), so every output pixel has as many weights as any other. Skips, if
    asked for, hand features at a quarter of the size around the code. They are bounded by tanh,
    with noise in `train` mode, as in lesson 02.

    Images are (N, 3, H, W) in [0, 1], H and W multiples of 8.

    Args:
        channels: numbers a cell of 8x8 pixels, one of 8, 16, 32, 64; may be changed at any time.
        skips: their channels; 0: none.
        noise: standard deviation of the noise on the skips.
        width: channels of the refinement.
        depth: its residual blocks.
        count: bases of the local PCA.

    Raises:
        ValueError: for channels that are not among those.
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
            allowed = ", ".join(map(str, CODE_SIZES))
            raise ValueError(f"channels={channels!r} must be one of {allowed}")
        self.channels = channels
        self.noise = noise
        self.local_pca = LocalPCA(count)
        self.conv_in = nn.Conv2d(FOLDED, width, 3, padding=1)
        self.size_embedding = nn.Embedding(len(CODE_SIZES), width)
        blocks = [ResidualBlock(width) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.conv_out = nn.Conv2d(width, FOLDED, 3, padding=1)
        _zero(self.conv_out)
        self.skip_encoder: nn.Sequential | None = None
        self.skip_decoder: nn.Conv2d | None = None
        if skips:
            self.skip_encoder = nn.Sequential(
                nn.Conv2d(FOLDED, width, 3, padding=1),
                ResidualBlock(width),
                nn.Conv2d(width, skips, 1),
            )
            self.skip_decoder = nn.Conv2d(skips, width, 3, padding=1)
        self.register_load_state_dict_pre_hook(_rename_old_keys)

    def encode(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Images -> the code (N, channels, H/8, W/8); with skips, also these, (N, S, H/4, W/4).

        Images may also be uint8.

        Raises:
            ValueError: for images of another shape, type or range.
            TypeError: for what is no tensor.
        """
        check_tensor(images, TAKES)
        fits = images.ndim == IMAGE_AXES and images.shape[1] == COLOURS
        sides = images.shape[2:]
        if not fits or not len(images) or 0 in sides or any(side % CELL for side in sides):
            wanted = f"(N, 3, H, W) with N >= 1, H and W multiples of {CELL}"
            shape = tuple(images.shape)
            raise ValueError(f"{TAKES} {wanted}, not {shape}{unbatched(shape, IMAGE_AXES)}")
        images = in_unit_range(images, TAKES).to(self.local_pca.bases)
        height, width = sides[0] // CELL, sides[1] // CELL
        parts = split_batch(self, images, max(CELLS_AT_ONCE // (height * width), 1))
        code = torch.cat([self._code(part) for part in parts])
        if self.skip_encoder is None:
            return code
        return code, torch.cat([self.skips(part) for part in parts])

    def _code(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, channels, H/8, W/8)."""
        patches = patchify(images - 0.5)  # (n, 192)
        codes = self.local_pca.encode(patches, self.channels)  # (n, channels)
        height = images.shape[2] // CELL
        code = codes.view(len(images), height, -1, self.channels)
        return code.permute(0, 3, 1, 2)

    def skips(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> what goes around the code, (N, S, H/4, W/4) in [-1, 1]."""
        assert self.skip_encoder is not None
        folded = F.pixel_unshuffle(images - 0.5, FOLD)  # (N, 48, H/4, W/4)
        return torch.tanh(self.skip_encoder(folded))

    def reconstruct(self, code: Tensor) -> Tensor:
        """The local PCA's part of decoding: (N, k, h, w) -> (N, 3, 8 h, 8 w) in [0, 1].

        Raises:
            ValueError: for a code of another shape.
        """
        _check_code_shape(code)
        codes = code.permute(0, 2, 3, 1).flatten(0, 2)  # (n, k)
        patches = self.local_pca.decode(codes)  # (n, 192)
        height = CELL * code.shape[2]
        width = CELL * code.shape[3]
        images = unpatchify(patches, torch.Size((len(code), COLOURS, height, width)))
        return (images + 0.5).clamp(0, 1)

    def refine(self, rough: Tensor, size_index: Tensor, skips: Tensor | None = None) -> Tensor:
        """The network's part of decoding.

        Args:
            rough: what the local PCA reconstructed, (N, 3, H, W).
            size_index: of the code sizes that it had, in `CODE_SIZES`, (N,).
            skips: as `encode` gives them; None: they are cut.

        Returns:
            (N, 3, H, W), about [0, 1].
        """
        folded = F.pixel_unshuffle(rough - 0.5, FOLD)  # (N, 48, H/4, W/4)
        embedding = self.size_embedding(size_index)[:, :, None, None]
        x = self.conv_in(4 * folded) + embedding  # (N, width, H/4, W/4)
        if skips is not None:
            assert self.skip_decoder is not None
            if self.training and self.noise:
                skips = skips + self.noise * torch.randn_like(skips)
            x = x + self.skip_decoder(skips)
        x = self.conv_out(self.blocks(x))  # (N, 48, H/4, W/4)
        return rough + F.pixel_shuffle(x, FOLD)

    def decode(self, code: Tensor | tuple[Tensor, Tensor], skips: Tensor | None = None) -> Tensor:
        """What `encode` gave -> (N, 3, H, W), in [0, 1] in `eval` mode. Skips left out are cut.

        Raises:
            ValueError: for a code of another shape or type, or that holds what is no number, and
                for skips where the model has none.
            TypeError: for what is no tensor.
        """
        if isinstance(code, tuple):
            code, skips = code
        code = self._checked_code(code)
        if skips is not None:
            if self.skip_decoder is None:
                raise ValueError("this autoencoder has no skips; give decode the code alone")
            skips = skips.to(self.local_pca.bases)
        height, width = code.shape[2:]
        images = []
        start = 0
        for part in split_batch(self, code, max(CELLS_AT_ONCE // (height * width), 1)):
            end = start + len(part)
            images.append(self._decoded(part, None if skips is None else skips[start:end]))
            start = end
        return torch.cat(images)

    def _decoded(self, code: Tensor, skips: Tensor | None) -> Tensor:
        """A code (N, k, h, w) and its skips -> (N, 3, 8 h, 8 w)."""
        rough = self.reconstruct(code)
        index = CODE_SIZES.index(code.shape[1])
        size_index = torch.full((len(code),), index, device=code.device)
        images = self.refine(rough, size_index, skips)
        return images if self.training else images.clamp(0, 1)

    def _checked_code(self, code: Tensor) -> Tensor:
        """A code in the type of the weights."""
        check_tensor(code, "decode takes a code")
        if not code.is_floating_point():
            raise ValueError(f"decode takes a code of float, not {code.dtype}")
        known = not code.is_meta and not torch.compiler.is_compiling()
        if known and not code.isfinite().all():
            raise ValueError("decode takes a code of numbers, this one holds NaN or infinity")
        _check_code_shape(code)
        return code.to(self.local_pca.bases)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> its reconstruction, same shape."""
        return self.decode(self.encode(images))


def _check_code_shape(code: Tensor) -> None:
    if code.ndim != IMAGE_AXES or code.shape[1] not in CODE_SIZES or 0 in code.shape:
        wanted = f"(N, k, h, w) with k one of {CODE_SIZES}"
        raise ValueError(f"a code is {wanted}, not {tuple(code.shape)}")


def _rename_old_keys(
    module: nn.Module, state: dict[str, Any], prefix: str, *unused: object
) -> None:
    """Let an `Autoencoder` load what was saved before its parts had their present names."""
    for key in list(state):
        for old, new in RENAMED.items():
            if key.startswith(prefix + old):
                name = key.removeprefix(prefix + old)
                state[prefix + new + name] = state.pop(key)


def load_autoencoder(
    name: str = "v2", channels: int = 32, path: str | Path | None = None
) -> Autoencoder:
    """A shipped autoencoder, or one of your own: in `eval` mode, without gradients.

    Args:
        name: "v2" (code alone), "v3" (skips) or "v4" (noisy skips).
        channels: numbers a cell of 8x8 pixels: 8, 16, 32 or 64 for "v2" (512 to 4,096 for a picture
            of 64x64); "v3" and "v4" were trained with 32.
        path: of a file that `save_autoencoder` wrote, instead of a shipped one.

    Raises:
        ValueError: for an unknown name, a size the model was not trained for, or a file that is
            damaged or not the one that its model card names (SHA-256).

    Examples:
        >>> model = load_autoencoder("v2", channels=16)
        >>> code = model.encode(torch.rand(2, 3, 64, 48))
        >>> code.shape
        torch.Size([2, 16, 8, 6])
        >>> model.decode(code).shape
        torch.Size([2, 3, 64, 48])
    """
    weights = read_weights("autoencoder", f"autoencoder_{name}", path)
    trained_for = weights.about["channels"]
    if channels not in trained_for:
        allowed = ", ".join(map(str, trained_for))
        raise ValueError(f"channels={channels!r}: {name!r} was trained with {allowed}")
    model = Autoencoder(channels, **weights.about["model"])
    load_tensors(model, weights)
    return model.requires_grad_(False).eval().to(device())


def save_autoencoder(
    model: Autoencoder, path: str | Path, channels: list[int], **about: object
) -> str:
    """Write an autoencoder's weights, and what it takes to load them.

    Args:
        model: to save, in half precision, which errs by 0.05 %.
        path: of the file.
        channels: code sizes that it was trained for.
        about: what else the file says of itself, as JSON.

    Returns:
        The file's SHA-256.
    """
    design = {
        "skips": 0 if model.skip_decoder is None else model.skip_decoder.in_channels,
        "noise": model.noise,
        "width": model.conv_in.out_channels,
        "depth": len(model.blocks),
        "count": len(model.local_pca.bases),
    }
    description = {"model": design, "channels": channels, **about}
    return write_weights(model, path, "autoencoder", description)
