"""Photographs as tensors: those inside installed packages, crops of them, your own folder."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from eon_utils.data.clips import check_whole
from eon_utils.data.files import folders_left_out, list_files, name_some, system_reason

PHOTOS = ("astronaut", "chelsea", "coffee")
TRAINING_PHOTOS = (*PHOTOS, "brick", "grass", "gravel", "coins", "clock_motion")
# From lesson 03 on never trained on.
HELD_OUT_PHOTOS = ("rocket", "motorcycle_left", "china", "flower", "camera")
# Other kinds of picture.
FOREIGN_PHOTOS = ("page", "text", "ihc", "retina", "hubble_deep_field", "moon")
TITLES = {  # where a file is not named by what it shows
    "chelsea": "cat",
    "motorcycle_left": "motorcycle",
    "china": "temple",
    "camera": "cameraman",
    "ihc": "tissue",
    "hubble_deep_field": "stars",
}

COLOUR_AXES = 3  # (H, W, C)
MOST_COLOUR = 2**16 - 1
EVEN = (0.5, 0.5)  # shares of what is cropped away that lie on the left and above
HEADS_KEPT = (0.5, 0.2)  # more is cropped below than above: heads are at the top
BITS = (1, 8, 10, 12, 14, 16)  # of whole numbers in files of pictures
ROWS = 2**22  # gray values of a large picture that are scaled at a time
PNG = b"\x89PNG\r\n\x1a\n"  # how a file begins
BESIDE = (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"eXIf")
ORIENTATION = 0x0112  # EXIF's tag
PHOTOMETRIC, SAMPLE_FORMAT = 262, 339  # TIFF's tags
ONES = "its values are 0 and 1; 1 is white"
WHITE_IS_ZERO, UNSIGNED = "white is zero", "unsigned"  # what they say, noted in a picture's info
UPRIGHT = {  # its values
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def crop_to(picture: Image.Image, size: tuple[int, int], centre: bool = False) -> Tensor:
    """One picture, upright, on white where transparent, scaled and cropped.

    Gray values beyond 8 bits are scaled, and a warning says from where to where. Whole numbers
    from 0 on: the largest of 1, 8, 10, 12, 14 or 16 bits is white, the first that holds them all.
    So in colours of 16 bits. Where a TIFF says that 0 is white, it is the other way round.
    Others: [0, 1] stays, else the lowest is black and the highest white. Holes (NaN) are black.
    Where 8 bits hold nothing but 0 and 1, as masks do, 1 is white, and a warning says so.

    Args:
        picture: of any mode.
        size: (width, height) in pixels.
        centre: crop evenly around the middle, else more below than above: heads are at the top.

    Returns:
        (3, H, W), float32 RGB in [0, 1].

    Examples:
        >>> crop_to(Image.new("L", (30, 20)), (16, 8)).shape
        torch.Size([3, 8, 16])
    """
    name = Path(getattr(picture, "filename", "")).name or "a picture"
    picture = upright(all_bits(picture))
    if is_deep(picture):
        levels = gray_levels([picture])
        warnings.warn(f"{name}: {levels}", stacklevel=2)
        picture = Image.fromarray(gray_values(deep_values(picture), levels))
    rgb = to_rgb(picture)
    if highest_of_8_bits(rgb) == 1:
        warnings.warn(f"{name}: {ONES}", stacklevel=2)
        rgb = ones_in_white(rgb)
    centering = EVEN if centre else HEADS_KEPT
    picture = ImageOps.fit(rgb, size, Image.Resampling.LANCZOS, centering=centering)
    values = np.asarray(picture, dtype=np.float32) / 255  # (H, W, 3)
    return torch.from_numpy(values).permute(2, 0, 1).contiguous()


@contextmanager
def open_picture(file: Path) -> Iterator[Image.Image]:
    """Open the file of a picture, or of several: as `Image.open`, which refuses more PNG files."""
    with file.open("rb") as handle:
        of_png = handle.read(len(PNG)) == PNG
        handle.seek(0)
        with Image.open(io.BytesIO(picture_bytes(file)) if of_png else handle) as picture:
            picture.filename = str(file)
            yield picture


def picture_bytes(file: Path) -> bytes:
    """The bytes of a picture's file; of a PNG without what it says beside its pixels.

    Texts and profiles change no pixel here, and damaged or long ones keep PIL from reading any. So
    does a damaged note of how the camera was held.
    """
    data = file.read_bytes()
    if not data.startswith(PNG):
        return data
    kept = [PNG]
    place = len(PNG)
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunk = data[place : place + 12 + length]  # its length, kind, what is in it, checksum
        kind, checksum = chunk[4:8], chunk[-4:]
        whole_tags = kind == b"eXIf" and zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == checksum
        if kind not in BESIDE or whole_tags:
            kept.append(chunk)
        place += len(chunk)
    return b"".join(kept)


def is_deep(picture: Image.Image) -> bool:
    """Whether it is gray of more than 8 bits: whole numbers, or float."""
    return picture.mode.startswith(("I", "F"))


def deep_values(picture: Image.Image) -> np.ndarray:
    """The gray values (H, W) of a picture that `is_deep`, as its file has them."""
    values = np.asarray(picture)
    if picture.info.get(UNSIGNED):  # for which PIL has no mode
        return values.astype(np.int32).view(np.uint32)
    return values


def all_bits(picture: Image.Image) -> Image.Image:
    """A picture in colours of 16 bits, of which PIL keeps the upper 8, with those that it uses.

    Where its values fit into 8, 10, 12 or 14 bits, the largest number of these is white, and a
    warning says so. Any other picture stays as it is.
    """
    values = colours_of_16_bits(picture)
    if values is None:
        return picture
    high = highest_colour(values)
    white = white_above(high)
    if white < MOST_COLOUR:
        name = Path(getattr(picture, "filename", "")).name
        warnings.warn(f"{name}: its values go to {high}; {white} is white", stacklevel=3)
    return from_16_bits(picture, values, white)


def colours_of_16_bits(picture: Image.Image) -> np.ndarray | None:
    """The values (H, W, 3 or 4), blue first, of which PIL keeps the upper 8 bits.

    None where a picture, just opened, has other ones.
    """
    file = getattr(picture, "filename", "")
    of_16_bits = picture.mode in ("RGB", "RGBA") and ";16" in repr(getattr(picture, "tile", ""))
    if not of_16_bits or not file:
        return None
    import cv2

    data = np.frombuffer(picture_bytes(Path(file)), np.uint8)
    page = (picture.tell(), picture.tell() + 1)
    _, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=page)
    if not pages or pages[0].dtype != np.uint16 or pages[0].ndim != COLOUR_AXES:
        return None
    return pages[0]


def highest_colour(values: np.ndarray) -> int:
    """The largest of `colours_of_16_bits`, transparency left out."""
    return int(values[..., :3].max())


def white_above(high: int) -> int:
    """The largest number of the fewest bits that hold a value, at most 16."""
    return next(2**bits - 1 for bits in BITS if high < 2**bits)


def from_16_bits(picture: Image.Image, values: np.ndarray, white: int) -> Image.Image:
    """A picture, with its `colours_of_16_bits` scaled to 8; as PIL has it where all are used."""
    if white == MOST_COLOUR:
        return picture
    colours = (255 * (values[..., 2::-1] / white)).round().astype(np.uint8)
    whole = Image.fromarray(colours)
    if values.shape[2] == 4:
        whole.putalpha(Image.fromarray((values[..., 3] // 256).astype(np.uint8)))
    whole.info |= {"exif": picture.info["exif"]} if "exif" in picture.info else {}
    return whole


def upright(picture: Image.Image) -> Image.Image:
    """Turned by its EXIF tag. A tag beside it that is damaged does no harm, unlike in PIL's own."""
    _note_tags(picture)
    try:
        method = UPRIGHT.get(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # PIL's errors for damaged tags share no base class
        method = None
    return picture if method is None else picture.transpose(method)


def _note_tags(picture: Image.Image) -> None:
    """Keep what a TIFF says of its gray values where a turned copy has it, too."""
    tags = getattr(picture, "tag_v2", {})
    if tags.get(PHOTOMETRIC) == 0:
        picture.info[WHITE_IS_ZERO] = True
    if picture.mode == "I" and np.all(np.atleast_1d(tags.get(SAMPLE_FORMAT, 0)) == 1):
        picture.info[UNSIGNED] = True


def highest_of_8_bits(rgb: Image.Image) -> int:
    """The largest value of a picture of 8 bits a channel, without transparency."""
    return int(np.asarray(rgb).max())


def ones_in_white(rgb: Image.Image) -> Image.Image:
    """A picture whose values are 0 and 1, with 255 in place of 1."""
    return rgb.point(lambda value: 255 * value)


def to_rgb(picture: Image.Image) -> Image.Image:
    """A picture of 8 bits a channel, on white where it is transparent."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


class GrayLevels(NamedTuple):
    """How gray values beyond 8 bits are shown."""

    low: float  # the lowest value that there is
    high: float
    black: float
    white: float

    def __str__(self) -> str:
        values = f"its values go from {self.low:g} to {self.high:g}"
        return f"{values}; {self.black:g} is black, {self.white:g} white"


def gray_levels(pictures: Iterable[Image.Image]) -> GrayLevels:
    """What becomes black and white in pictures that are all deep: the rule of `crop_to`.

    Args:
        pictures: whose NaN and infinity do not count.
    """
    low, high = np.inf, -np.inf
    whole = inverted = False
    for picture in pictures:
        whole = picture.mode.startswith("I")
        inverted = bool(picture.info.get(WHITE_IS_ZERO))  # as X-rays are kept
        for rows in _by_rows(deep_values(picture)):
            known = rows[np.isfinite(rows)]
            if known.size:
                low = min(low, float(known.min()))
                high = max(high, float(known.max()))
    if low > high:  # nothing but holes
        low, high = 0.0, 1.0
    levels = _levels(low, high, whole)
    return levels._replace(black=levels.white, white=levels.black) if inverted else levels


def _levels(low: float, high: float, whole: bool) -> GrayLevels:
    """The levels of values in such a range, where the lowest is black."""
    if whole and low >= 0:
        whites = [2.0**bits - 1 for bits in BITS if high < 2**bits]
        return GrayLevels(low, high, 0.0, whites[0] if whites else high)
    if not whole and low >= 0 and high <= 1:
        return GrayLevels(low, high, 0.0, 1.0)
    return GrayLevels(low, high, low, max(high, low + 1e-9))


def gray_values(values: np.ndarray, levels: GrayLevels) -> np.ndarray:
    """Gray values (H, W) from 0, black, to 255; holes are black."""
    parts = []
    for rows in _by_rows(values):
        known = np.where(np.isfinite(rows), rows.astype(np.float64), levels.black)
        gray = (known - levels.black) / (levels.white - levels.black)
        parts.append((255 * gray.clip(0, 1)).round().astype(np.uint8))
    return np.concatenate(parts)


def _by_rows(values: np.ndarray) -> list[np.ndarray]:
    """Gray values (H, W), some rows at a time: as float64 they take many times their room."""
    count = max(ROWS // values.shape[1], 1)
    return [values[start : start + count] for start in range(0, len(values), count)]


@lru_cache(maxsize=32)
def photograph(name: str) -> Image.Image:
    """A photograph out of the installed scikit-image or scikit-learn, in the mode of its file.

    Raises:
        ValueError: for a name that neither package carries.
    """
    for file in _photograph_files(name):
        with Image.open(file) as picture:
            return picture.copy()
    known = ", ".join(TRAINING_PHOTOS + HELD_OUT_PHOTOS)
    raise ValueError(f"scikit-image and scikit-learn ship no photograph {name!r}; try {known}")


def _photograph_files(name: str) -> Iterator[Path]:
    """JPEG and PNG files of that name. Their folders are found without importing the packages."""
    for package, folder in (("skimage", "data"), ("sklearn", "datasets/images")):
        spec = find_spec(package)
        if spec and spec.origin:
            yield from sorted(Path(spec.origin).parent.glob(f"{folder}/{name}.[pj][np]g"))


def photos(
    size: tuple[int, int] = (512, 352), names: tuple[str, ...] = PHOTOS, centre: bool = False
) -> Tensor:
    """Photographs that ship inside scikit-image and scikit-learn.

    Args:
        size: (width, height) in pixels.
        names: of the photographs; gray ones get three equal channels.
        centre: crop evenly around the middle, else more below than above.

    Returns:
        (N, 3, H, W), float32 RGB in [0, 1].

    Raises:
        ValueError: for a name that neither package carries.

    Examples:
        >>> photos((64, 48), ("rocket", "camera")).shape
        torch.Size([2, 3, 48, 64])
    """
    return torch.stack([crop_to(photograph(name), size, centre) for name in names])


def photo_titles(names: Iterable[str]) -> list[str]:
    """What shipped photographs show, in a word each.

    Examples:
        >>> photo_titles(["rocket", "chelsea"])
        ['rocket', 'cat']
    """
    return [TITLES.get(name, name) for name in names]


def random_crops(
    count: int,
    size: int = 64,
    seed: int = 0,
    names: tuple[str, ...] = TRAINING_PHOTOS,
    start: int = 0,
) -> Tensor:
    """Random square crops out of photographs, numbers `start` to `start + count - 1` of a stream.

    A crop lies anywhere in its photograph. Its side is log-uniform from 1.25 `size` to the shorter
    side. It is scaled with a Lanczos filter, and mirrored half of the time. It depends on the seed,
    its number, size and names alone.

    Args:
        count: number of crops, at least 1.
        size: their side in pixels, at least 1.
        seed: of the stream.
        names: of the photographs. Those in colour are drawn three times as often as gray ones.
        start: number of the first crop in the stream, at least 0.

    Returns:
        (count, 3, size, size), float32 RGB in [0, 1].

    Raises:
        ValueError: for a name that neither scikit-image nor scikit-learn carries, and for a number
            that is not whole or below its least value.

    Examples:
        >>> random_crops(2, size=32).shape
        torch.Size([2, 3, 32, 32])
    """
    check_whole("count", count, 1)
    check_whole("size", size, 1)
    check_whole("start", start, 0)
    pictures = [photograph(name) for name in names]
    # Most of the photographs are gray textures: drawn evenly, colour would be rare.
    weights = np.array([3.0 if picture.mode == "RGB" else 1.0 for picture in pictures])
    shares = weights / weights.sum()
    crops = []
    for index in range(start, start + count):
        rng = np.random.default_rng((seed, index))
        picture = pictures[rng.choice(len(pictures), p=shares)]
        crop = _random_crop(rng, picture, size)
        crops.append(np.asarray(crop.convert("RGB")))
    pixels = torch.from_numpy(np.stack(crops))  # (N, size, size, 3)
    return pixels.permute(0, 3, 1, 2).contiguous() / 255


def _random_crop(rng: np.random.Generator, picture: Image.Image, size: int) -> Image.Image:
    """A random square of a picture, scaled to `size` and mirrored half of the time."""
    shorter = min(picture.size)
    smallest = min(1.25 * size, shorter)
    side = min(smallest * (shorter / smallest) ** rng.random(), shorter)
    left, top = rng.random(2) * (np.array(picture.size) - side)
    box = (left, top, left + side, top + side)
    crop = picture.resize((size, size), Image.Resampling.LANCZOS, box)
    return ImageOps.mirror(crop) if rng.random() < 0.5 else crop


def photo_folder(
    path: str | Path, size: tuple[int, int], limit: int = 12
) -> tuple[Tensor, list[str]]:
    """Your own pictures: every file in a folder (or one file), in order of name.

    They are turned upright by their EXIF tag, put on white where transparent, made RGB, scaled and
    cropped. What is not a readable picture is skipped with a warning that names it.

    Args:
        path: of a folder or a file.
        size: (width, height) in pixels.
        limit: as many pictures at most, at least 1.

    Returns:
        Pictures (N, 3, H, W), float32 RGB in [0, 1], and their names.

    Raises:
        FileNotFoundError: for a path that does not exist.
        ValueError: when no picture is left, and for a limit below 1.
    """
    check_whole("limit", limit, 1)
    path = Path(path).expanduser()
    pictures = []
    names = []
    skipped = []
    for file in list_files(path, "images", "a folder of pictures"):
        if len(pictures) == limit:
            more = f"more than {limit} pictures, the first {limit} by name are used"
            warnings.warn(f"{path}: {more}", stacklevel=2)
            break
        try:
            pictures.append(_read_picture(file, size))
            names.append(file.stem)
        except Exception as error:  # whatever a decoder raises: the others are read
            skipped.append(f"{file.name} ({_reason(file, error)})")
    remarks = folders_left_out(path)
    if skipped:
        remarks.append(f"{len(skipped)} skipped, not readable as pictures: {name_some(skipped)}")
    if remarks:
        warnings.warn(f"{path}: {'; '.join(remarks)}", stacklevel=2)
    if not pictures:
        found = name_some(skipped) if skipped else "no file at all"
        formats = "PNG, JPEG, WebP, GIF, BMP and TIFF are read"
        raise ValueError(f"images={str(path)!r} holds no readable picture: {found}; {formats}")
    return torch.stack(pictures), names


def _reason(file: Path, error: Exception) -> str:
    """Why a file is no picture, in a user's words."""
    if file.suffix.lower() in (".heic", ".heif"):
        return f"{file.suffix[1:].upper()} is not read: save it as JPEG or PNG"
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than are safe to decode"
    if isinstance(error, UnidentifiedImageError):
        return "empty" if not file.stat().st_size else "no picture of a known format"
    if isinstance(error, OSError) and error.strerror:
        return system_reason(error)
    return "cut off" if "truncated" in str(error).lower() else "cannot be decoded"


def _read_picture(file: Path, size: tuple[int, int]) -> Tensor:
    with open_picture(file) as picture:
        twice = (2 * size[0], 2 * size[1])
        picture.draft("RGB", twice)  # large JPEGs are decoded at a fraction of their size
        return crop_to(picture, size)
