"""Photographs as tensors: the ones that ship inside scikit-image, and a folder of your own."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

PHOTOS = ("astronaut", "chelsea", "coffee")


def fit(picture: Image.Image, size: tuple[int, int]) -> Tensor:
    """One picture, upright, on white where transparent, scaled and cropped (more below than
    above: heads are at the top) to `size` = (width, height).

    Returns (3, H, W), float32 RGB in [0, 1].
    """
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):  # 16-bit and float gray: PIL would clip, not scale
        values = np.asarray(picture, dtype=np.float64)
        top = 65535 if picture.mode.startswith("I") else max(values.max(), 1e-9)
        picture = Image.fromarray((255 * np.clip(values / top, 0, 1)).astype("uint8"))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = ImageOps.fit(picture.convert("RGB"), size, Image.Resampling.LANCZOS, centering=(0.5, 0.2))
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1).contiguous()


def photos(size: tuple[int, int] = (512, 352), names: tuple[str, ...] = PHOTOS) -> Tensor:
    """Photographs bundled with scikit-image, by name.

    Returns (N, 3, H, W), float32 RGB in [0, 1], for `size` = (width, height). Raises ValueError for a name that
    scikit-image does not carry.
    """
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    pictures = []
    for name in names:
        path = next(iter(sorted(folder.glob(f"{name}.[pj][np]g"))), None)
        if path is None:
            raise ValueError(f"scikit-image ships no photograph {name!r}; try {', '.join(PHOTOS)} or rocket")
        with Image.open(path) as picture:
            pictures.append(fit(picture, size))
    return torch.stack(pictures)


def folder(path: str | Path, size: tuple[int, int], limit: int = 12) -> tuple[Tensor, list[str]]:
    """Your own pictures: every file in a folder (or one file), in order of name, at most `limit`.

    Turned upright by their EXIF tag, put on white where transparent, gray and palettes made RGB, scaled and
    cropped to `size` = (width, height). What is not a readable picture is skipped with a warning that
    names it.

    Returns pictures (N, 3, H, W), float32 in [0, 1], and their names. Raises FileNotFoundError when the path does
    not exist and ValueError when no picture is left.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"images={str(path)!r} does not exist (looked in {Path.cwd()}); give a folder of pictures"
        )
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file() and p.name[0] != ".")
    pictures, names, skipped = [], [], []
    for file in files:
        if len(pictures) == limit:
            warnings.warn(f"{path}: more than {limit} pictures, the first {limit} by name are used", stacklevel=2)
            break
        try:
            with Image.open(file) as picture:
                picture.draft(
                    "RGB", (2 * size[0], 2 * size[1])
                )  # large JPEGs are decoded at a fraction of their size
                pictures.append(fit(picture, size))
            names.append(file.stem)
        except (
            UnidentifiedImageError,
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ) as error:
            skipped.append(f"{file.name} ({type(error).__name__})")
    if skipped:
        warnings.warn(
            f"{path}: {len(skipped)} skipped, not readable as pictures: {', '.join(skipped)}", stacklevel=2
        )
    if not pictures:
        raise ValueError(
            f"images={str(path)!r} holds no readable picture; PNG, JPEG, WebP, GIF, BMP and TIFF are read"
        )
    return torch.stack(pictures), names
