"""Photographs, their crops and your own pictures: what they promise."""

import struct
import warnings
from itertools import compress

import numpy as np
import pytest
import torch
from PIL import Image

from eon_utils.data import photos as module
from eon_utils.data.photos import (
    FOREIGN_PHOTOS,
    HELD_OUT_PHOTOS,
    PHOTOS,
    TRAINING_PHOTOS,
    crop_to,
    photo_folder,
    photos,
    random_crops,
)


def test_the_three_lists_of_photographs_are_disjoint_and_load():
    names = TRAINING_PHOTOS + HELD_OUT_PHOTOS + FOREIGN_PHOTOS
    assert len(set(names)) == len(names) and set(PHOTOS) < set(TRAINING_PHOTOS)
    pictures = photos((64, 64), names)
    assert pictures.shape == (len(names), 3, 64, 64) and pictures.dtype == torch.float32
    assert pictures.min() >= 0 and pictures.max() <= 1
    gray = [torch.equal(picture[0], picture[2]) for picture in pictures]
    of_training = ["brick", "grass", "gravel", "coins", "clock_motion"]
    assert list(compress(names, gray)) == [*of_training, "camera", "page", "text", "moon"]
    with pytest.raises(ValueError, match=r"no photograph 'nobody'; try .*rocket.*china"):
        photos((64, 64), ("nobody",))


def test_centre_crops_evenly_and_portraits_keep_their_heads():
    rows = np.repeat(np.arange(64, dtype=np.uint8)[:, None], 16, axis=1)  # gray value = row
    picture = Image.fromarray(rows)
    assert 255 * crop_to(picture, (16, 16), centre=True).mean() == pytest.approx(31.5)
    assert 255 * crop_to(picture, (16, 16)).mean() == pytest.approx(0.2 * 48 + 7.5, abs=0.5)
    upper = photos((64, 32), ("camera",))
    assert not torch.equal(upper, photos((64, 32), ("camera",), centre=True))


def test_a_crop_depends_on_seed_index_size_and_names_alone():
    several = random_crops(4, seed=3, start=10)
    assert several.shape == (4, 3, 64, 64) and several.dtype == torch.float32
    assert several.min() >= 0 and several.max() <= 1
    assert torch.equal(several[2:], random_crops(2, seed=3, start=12))
    assert not torch.equal(several[0], several[1])
    assert not torch.equal(several, random_crops(4, seed=4, start=10))
    large = random_crops(2, size=400)  # larger than the shorter side of some photographs
    assert large.shape == (2, 3, 400, 400)
    with pytest.raises(ValueError, match="no photograph 'nobody'"):
        random_crops(1, names=("nobody",))
    with pytest.raises(ValueError, match="count=0"):
        random_crops(0)


def test_crops_come_from_the_training_photographs(monkeypatch):
    opened = []
    original = module.photograph
    monkeypatch.setattr(module, "photograph", lambda name: opened.append(name) or original(name))
    pictures = random_crops(400, size=16)
    # The lists are disjoint, see above: none is held out.
    assert set(opened) == set(TRAINING_PHOTOS)
    gray = (pictures[:, 0] == pictures[:, 2]).flatten(1).all(1).float().mean().item()
    # Five are gray; three have colour, and are drawn three times as often.
    assert abs(gray - 5 / 14) < 0.08


def test_photos_are_rgb_in_unit_range():
    pictures = photos((48, 32))
    assert pictures.shape == (3, 3, 32, 48) and pictures.dtype == torch.float32
    assert pictures.min() >= 0 and pictures.max() <= 1
    with pytest.raises(ValueError, match="no photograph 'nobody'"):
        photos(names=("nobody",))


def test_folder_reads_what_people_have(tmp_path):
    rgb = (np.random.default_rng(0).random((40, 60, 3)) * 255).astype("uint8")
    Image.fromarray(rgb).save(tmp_path / "a.jpg")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "b_gray.png")
    Image.fromarray(rgb).convert("P").save(tmp_path / "c_palette.gif")
    rgba = np.dstack([rgb, np.zeros((40, 60), "uint8")])
    Image.fromarray(rgba).save(tmp_path / "d_transparent.png")
    Image.fromarray(rgb[..., 0].astype("uint16") * 257).save(tmp_path / "e_16bit.png")
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "f_cmyk.jpg")
    Image.fromarray(rgb[:1, :1]).save(tmp_path / "g_one_pixel.webp", lossless=True)
    (tmp_path / "h_truncated.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:300])
    (tmp_path / "i_text.png").write_text("no picture")
    (tmp_path / "j_empty.jpg").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / "folder").mkdir()
    with pytest.warns(UserWarning, match="3 skipped") as caught:
        pictures, names = photo_folder(tmp_path, (48, 32))
    (text,) = (str(one.message) for one in caught if "skipped" in str(one.message))
    assert "h_truncated.jpg (cut off), i_text.png (no picture of a known format)" in text
    assert "j_empty.jpg (empty)" in text and "folders in it are not read: folder;" in text
    assert len(names) == 7 and pictures.shape == (7, 3, 32, 48)
    assert pictures.min() >= 0 and pictures.max() <= 1
    assert pictures[names.index("d_transparent")].min() == 1  # put on white
    gray = pictures[names.index("b_gray")]
    assert (gray - pictures[names.index("e_16bit")]).abs().max() < 0.01
    assert torch.equal(gray[0], gray[2])


GRAY = np.linspace(0, 1, 12 * 16).reshape(12, 16)


@pytest.mark.parametrize(
    ("values", "says", "black", "white"),
    [
        ((4095 * GRAY).astype("uint16"), "0 to 4095; 0 is black, 4095 white", 0, 1),
        ((1000 * GRAY).astype("uint16"), "0 to 1000; 0 is black, 1023 white", 0, 1000 / 1023),
        ((65535 * GRAY).astype("uint16"), "0 to 65535; 0 is black, 65535 white", 0, 1),
        ((200 * GRAY).astype("int32"), "0 to 200; 0 is black, 255 white", 0, 200 / 255),
        ((2000 * GRAY - 1000).astype("int32"), "-1000 to 1000; -1000 is black, 1000", 0, 1),
        ((1e6 * GRAY).astype("int32"), "0 to 1e.06; 0 is black, 1e.06 white", 0, 1),
        (GRAY.astype("float32"), "0 to 1; 0 is black, 1 white", 0, 1),
        (0.5 * GRAY.astype("float32"), "0 to 0.5; 0 is black, 1 white", 0, 0.5),
        (40 * GRAY.astype("float32") - 20, "-20 to 20; -20 is black, 20 white", 0, 1),
        (7 * np.ones((12, 16), "float32"), "7 to 7; 7 is black", 0, 0),
        (np.full((12, 16), np.nan, "float32"), "0 to 1; 0 is black", 0, 0),
    ],
)
def test_gray_beyond_8_bits_is_scaled_and_said(tmp_path, values, says, black, white):
    Image.fromarray(values).save(tmp_path / "scan.tif")
    with pytest.warns(UserWarning, match=rf"scan.tif: its values go from {says}"):
        pictures, _ = photo_folder(tmp_path, (16, 12))
    assert pictures[0, 0, 0, 0] == pytest.approx(black, abs=0.01)
    assert pictures[0, 0, -1, -1] == pytest.approx(white, abs=0.01)


def test_holes_are_black(tmp_path):
    depth = 5 + GRAY.astype("float32")
    depth[4:8, 4:8] = np.nan
    Image.fromarray(depth).save(tmp_path / "depth.tif")
    with pytest.warns(UserWarning, match="depth.tif"):
        pictures, _ = photo_folder(tmp_path, (16, 12))
    assert pictures[0, 0, 5:7, 5:7].max() == 0 and pictures[0, 0, -1, -1] == 1


def test_a_damaged_tag_beside_the_orientation_does_no_harm(tmp_path):
    picture = Image.new("RGB", (40, 20), "white")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "phone.jpg", exif=exif)
    data = (tmp_path / "phone.jpg").read_bytes()
    at = data.index(b"Exif")
    for start in range(at + 6, at + 28):  # in the tags; the pixels are whole
        broken = data[:start] + b"\xff\xff\xff\xff" + data[start + 4 :]
        (tmp_path / f"broken_{start}.jpg").write_bytes(broken)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pictures, names = photo_folder(tmp_path, (16, 16), limit=99)
    assert len(names) == 23 and pictures.min() > 0.95


@pytest.mark.parametrize("name", ["photo.HEIC", "photo.heif"])
def test_formats_of_phones_get_a_reason_that_helps(tmp_path, name):
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
    with (
        pytest.warns(UserWarning, match="is not read: save it as JPEG or PNG"),
        pytest.raises(ValueError, match="no readable picture"),
    ):
        photo_folder(tmp_path, (16, 16))


def test_no_error_of_a_decoder_ends_the_reading(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    read = module._read_picture

    def raise_on_a(file, size):
        if file.name == "a.png":
            raise struct.error("argument out of range")
        return read(file, size)

    monkeypatch.setattr(module, "_read_picture", raise_on_a)
    with pytest.warns(UserWarning, match=r"1 skipped.*a.png \(cannot be decoded\)"):
        assert photo_folder(tmp_path, (16, 16))[1] == ["b"]


def test_folder_turns_pictures_upright(tmp_path):
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste("white", (0, 0, 20, 20))  # left half white
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the left half comes to the top
    picture.save(tmp_path / "turned.png", exif=exif)
    turned = photo_folder(tmp_path, (20, 40))[0][0]
    assert turned[:, :15].min() > 0.9 and turned[:, 25:].max() < 0.1


def test_folder_takes_one_file_and_a_limit(tmp_path):
    for i in range(4):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    assert photo_folder(tmp_path / "2.png", (16, 16))[1] == ["2"]
    with pytest.warns(UserWarning, match="the first 3"):
        assert len(photo_folder(tmp_path, (16, 16), limit=3)[1]) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photo_folder(tmp_path, (16, 16))


def test_folder_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        photo_folder(tmp_path / "nowhere", (16, 16))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="no readable picture"):
        photo_folder(tmp_path, (16, 16))
    with pytest.raises(ValueError, match="limit=0 must be a whole number, at least 1"):
        photo_folder(tmp_path, (16, 16), limit=0)
