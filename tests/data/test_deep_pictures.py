"""Pictures and films of more than eight bits a channel, of kinds that Pillow or FFmpeg darken."""

import struct

import av
import numpy as np
import pytest
from PIL import Image

import eon_utils as eon
from eon_utils.data import photos

cv2 = pytest.importorskip("cv2")
RAMP = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (64, 1))  # 12 bits, dark to bright
COLOURS = np.stack([RAMP] * 3, -1)


def write_tiff(path, values, photometric, sample_format):
    """A TIFF of one strip, of tags that Pillow does not write."""
    height, width, channels = values.shape
    bits = 8 * values.itemsize
    entries = [
        *((256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 0)),
        *((277, channels), (278, height), (279, values.nbytes), (339, sample_format)),
    ]
    after = 8 + 2 + 12 * len(entries) + 4
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, value in entries:
        if tag == 258 and channels > 1:
            head += struct.pack("<HHII", tag, 3, channels, after)
        else:
            value = after + 2 * channels if tag == 273 else value
            head += struct.pack("<HHII", tag, 4, 1, value)
    depths = struct.pack(f"<{channels}H", *[bits] * channels)
    path.write_bytes(head + struct.pack("<I", 0) + depths + values.tobytes())


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_large_pictures_are_scaled_some_rows_at_a_time(monkeypatch, kind):
    values = np.arange(70 * 9).reshape(70, 9).astype(kind)
    if kind is np.float32:
        values[3, 3] = np.nan
    picture = Image.fromarray(values)
    whole = photos.gray_levels([picture])
    at_once = photos.gray_values(values, whole)
    monkeypatch.setattr(photos, "ROWS", 36)  # four rows
    largest = []
    isfinite = np.isfinite
    monkeypatch.setattr(
        photos.np, "isfinite", lambda part: largest.append(part.size) or isfinite(part)
    )
    assert photos.gray_levels([picture]) == whole
    assert np.array_equal(photos.gray_values(values, whole), at_once)
    assert max(largest) == 36


def write_video(path, values, kind, pixels):
    with av.open(str(path), "w") as film:
        stream = film.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        for shift in range(8):
            frame = av.VideoFrame.from_ndarray(np.roll(values, shift, 1), format=kind)
            film.mux(stream.encode(frame.reformat(format=pixels)))
        film.mux(stream.encode(None))


def is_ramp(picture):
    row = picture[0, 32]
    return row[2] < 0.05 and abs(row[32] - 0.5) < 0.03 and row[-3] > 0.95


@pytest.mark.parametrize(
    ("values", "photometric", "sample_format", "said"),
    [
        ((4095 - RAMP)[..., None], 0, 1, "from 0 to 4095; 4095 is black, 0 white"),
        (RAMP[..., None].astype(np.uint32) * 1_000_000, 1, 1, "from 0 to 4.095e"),
        (RAMP[..., None].astype(np.int16) - 2000, 1, 2, "from -2000 to 2095; -2000 is black"),
        (COLOURS, 2, 1, "its values go to 4095; 4095 is white"),
    ],
    ids=["white is zero", "unsigned 32 bits", "signed", "colours"],
)
def test_a_tiff_is_shown_as_it_is_meant(tmp_path, values, photometric, sample_format, said):
    write_tiff(tmp_path / "a.tif", np.ascontiguousarray(values), photometric, sample_format)
    with pytest.warns(UserWarning, match=said):
        pictures, _ = eon.photo_folder(tmp_path, (64, 64))
    assert is_ramp(pictures[0])


def test_colours_of_16_bits_in_a_png(tmp_path, recwarn):
    cv2.imwrite(str(tmp_path / "full.png"), COLOURS * 16)
    assert is_ramp(eon.photo_folder(tmp_path / "full.png", (64, 64))[0][0])
    assert not recwarn.list
    alpha = np.concatenate([COLOURS, np.full((64, 64, 1), 65535, np.uint16)], 2)
    for name, values in (("twelve.png", COLOURS), ("alpha.png", alpha)):
        cv2.imwrite(str(tmp_path / name), values)
        with pytest.warns(UserWarning, match=f"{name}: its values go to 4095; 4095 is white"):
            pictures, _ = eon.photo_folder(tmp_path / name, (64, 64))
        assert is_ramp(pictures[0])


def test_a_stack_whose_zero_is_white_is_one_in_each_frame(tmp_path):
    tags = {262: 0}
    frames = [Image.fromarray(np.roll(4095 - RAMP, shift, 1)) for shift in range(3)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:], tiffinfo=tags)
    with Image.open(tmp_path / "a.tif") as written:
        if written.tag_v2[262] != 0:
            pytest.skip("this Pillow writes the tag as it likes")
    with pytest.warns(UserWarning, match="4095 is black, 0 white"):
        clips, _ = eon.video_folder(tmp_path, 3, 64)
    assert is_ramp(clips[0, 0])


@pytest.mark.parametrize(
    ("values", "kind", "pixels"),
    [(RAMP, "gray16le", "gray16le"), (COLOURS, "rgb48le", "gbrp16le")],
)
def test_a_film_that_uses_few_of_its_bits_is_said_to_be_dark(tmp_path, values, kind, pixels):
    write_video(tmp_path / "a.mkv", values, kind, pixels)
    with pytest.warns(UserWarning, match="a.mkv is dark: its values of 16 bits go to 4095"):
        eon.video_folder(tmp_path, 3, 64)


def test_a_film_that_uses_all_its_bits_is_shown_without_a_word(tmp_path, recwarn):
    write_video(tmp_path / "a.mkv", RAMP * 16, "gray16le", "gray16le")
    clips, _ = eon.video_folder(tmp_path, 3, 64, fps=25)
    assert is_ramp(clips[0, 0]) and not recwarn.list
