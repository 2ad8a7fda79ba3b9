"""Photographs as tensors: those inside installed packages, crops of them, your own folder."""

from __future__ import annotations

import warnings
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

PHOTOS = ("astronaut", "chelsea", "coffee")
TRAINING_PHOTOS = (*PHOTOS, "brick", "grass", "gravel", "coins", "clock_motion")
HELD_OUT_PHOTOS = ("rocket", "motorcycle_left", "china", "flower", "camera")  # from phase 3 on never trained on
FOREIGN_PHOTOS = ("page", "text", "ihc", "retina", "hubble_deep_field", "moon")  # other kinds of picture


def crop_to(picture: Image.Image, size: tuple[int, int], centre: bool = False) -> Tensor:
    """One picture, upright, on white where transparent, scaled and cropped (more below than
    above: heads are at the top; with `centre` evenly) to `size` = (width, height).

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
    middle = (0.5, 0.5 if centre else 0.2)
    picture = ImageOps.fit(picture.convert("RGB"), size, Image.Resampling.LANCZOS, centering=middle)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1).contiguous()


@lru_cache(maxsize=32)
def photograph(name: str) -> Image.Image:
    """The decoded photograph `name` out of the installed scikit-image or scikit-learn, in the mode of its file.

    Raises ValueError for a name that neither package carries.
    """
    for package, inside in (("skimage", "data"), ("sklearn", "datasets/images")):
        spec = find_spec(package)  # finds the folder without the seconds that importing scikit-learn takes
        for place in spec.submodule_search_locations if spec else ():
            for path in sorted((Path(place) / inside).glob(f"{name}.[pj][np]g")):
                with Image.open(path) as picture:
                    return picture.copy()
    raise ValueError(
        f"scikit-image and scikit-learn ship no photograph {name!r}; try {', '.join(TRAINING_PHOTOS + HELD_OUT_PHOTOS)}"
    )


def photos(size: tuple[int, int] = (512, 352), names: tuple[str, ...] = PHOTOS, centre: bool = False) -> Tensor:
    """Photographs bundled with scikit-image and scikit-learn, by name; gray ones have three equal channels.

    Returns (N, 3, H, W), float32 RGB in [0, 1], for `size` = (width, height), cropped evenly around the middle
    with `centre`, else more below than above. Raises ValueError for a name that neither package carries.
    """
    return torch.stack([crop_to(photograph(name), size, centre) for name in names])


def random_crops(count: int, size: int = 64, seed: int = 0, names: tuple[str, ...] = TRAINING_PHOTOS, start: int = 0) -> Tensor:
    """Random square crops `start` to `start + count - 1` out of bundled photographs.

    A crop lies anywhere in its photograph; its side is log-uniform from 1.25 `size` to the shorter side; it is
    scaled with a Lanczos filter and mirrored half of the time. It depends on (seed, index), size and names alone.

    Returns (count, 3, size, size), float32 RGB in [0, 1]. Raises ValueError for a name that neither scikit-image
    nor scikit-learn carries, and for a count below 1.
    """
    if count < 1:
        raise ValueError(f"count={count!r} must be a whole number of crops, at least 1")
    pictures = [photograph(name) for name in names]
    # Most of the bundled photographs are gray textures: drawn evenly, colour would be rare.
    weights = np.array([3.0 if picture.mode == "RGB" else 1.0 for picture in pictures])
    result = []
    for index in range(start, start + count):
        rng = np.random.default_rng((seed, index))
        picture = pictures[rng.choice(len(pictures), p=weights / weights.sum())]
        shorter = min(picture.size)
        smallest = min(1.25 * size, shorter)
        side = min(smallest * (shorter / smallest) ** rng.random(), shorter)
        left, top = rng.random(2) * (np.array(picture.size) - side)
        crop = picture.resize((size, size), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
        crop = ImageOps.mirror(crop) if rng.random() < 0.5 else crop
        result.append(np.asarray(crop.convert("RGB")))
    return torch.from_numpy(np.stack(result)).permute(0, 3, 1, 2).contiguous() / 255


def photo_folder(path: str | Path, size: tuple[int, int], limit: int = 12) -> tuple[Tensor, list[str]]:
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
                pictures.append(crop_to(picture, size))
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
