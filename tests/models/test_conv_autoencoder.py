"""Models, metrics and images: shapes, ranges, values known in closed form, and bad input."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from eon_utils import ConvAutoencoder, accuracy, folder, photos, psnr, spectrum, ssim
from eon_utils.notebook.figures import trace


@pytest.mark.parametrize("options", [{"widths": (8,)}, {}, {"skips": True}, {"skips": True, "noise": 0.25}])
def test_autoencoder_shapes(options):
    model = ConvAutoencoder(**options)
    images = torch.rand(2, 3, 48, 64)
    code, skips = model.encode(images)
    assert model(images).shape == images.shape
    assert len(skips) == (len(model.encoder) - 1 if options.get("skips") else 0)
    assert code.shape == (2, 8, 24, 32) if options.get("widths") else (2, 64, 3, 4)
    assert code.abs().max() <= 1


def test_parameter_counts_of_the_four():
    count = [
        sum(p.numel() for p in ConvAutoencoder(**o).parameters()) for o in ({"widths": (8,)}, {}, {"skips": True})
    ]
    assert count == [1211, 135_779, 152_379]


def test_noise_is_on_the_skips_in_training_only():
    model, images = ConvAutoencoder(skips=True, noise=0.25), torch.rand(1, 3, 32, 32)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 33, 32), (1, 3, 32, 40)])
def test_wrong_shapes_are_named(shape):
    with pytest.raises(ValueError, match=r"multiples of 16, not \("):
        ConvAutoencoder()(torch.rand(shape))


def test_trace_lists_layers_in_the_order_in_which_they_ran():
    layers = trace(ConvAutoencoder(skips=True), torch.rand(1, 3, 32, 48))
    assert [layer.returned[0] for layer in layers] == [8, 16, 32, 64, 32, 16, 8, 3]
    assert sum(layer.parameters for layer in layers) == 152_379


def test_metrics_in_closed_form():
    a, b = torch.zeros(2, 3, 16, 16), torch.full((2, 3, 16, 16), 0.1)
    assert accuracy(a, b) == pytest.approx(0.9)
    assert psnr(a, b).tolist() == pytest.approx([20, 20], abs=1e-4)
    assert psnr(a, a).isinf().all()
    assert ssim(b, b).tolist() == pytest.approx([1, 1])
    with pytest.raises(ValueError, match="11x11"):
        ssim(a[..., :8, :8], b[..., :8, :8])


def test_spectrum_finds_a_wave():
    x = torch.arange(64)
    wave = torch.sin(2 * torch.pi * x / 8).expand(1, 1, 64, 64)  # period 8 pixels: 0.125 cycles a pixel
    frequencies, power = spectrum(wave)
    assert abs(frequencies[power.argmax()] - 0.125) < 0.02


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
    Image.fromarray(np.dstack([rgb, np.zeros((40, 60), "uint8")])).save(tmp_path / "d_transparent.png")
    Image.fromarray(rgb[..., 0].astype("uint16") * 257).save(tmp_path / "e_16bit.png")
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "f_cmyk.jpg")
    Image.fromarray(rgb[:1, :1]).save(tmp_path / "g_one_pixel.webp", lossless=True)
    (tmp_path / "h_truncated.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:300])
    (tmp_path / "i_text.png").write_text("no picture")
    (tmp_path / "j_empty.jpg").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / "folder").mkdir()
    with pytest.warns(UserWarning, match="3 skipped") as caught:
        pictures, names = folder(tmp_path, (48, 32))
    text = str(caught[0].message)
    assert all(name in text for name in ("h_truncated.jpg", "i_text.png", "j_empty.jpg"))
    assert len(names) == 7 and pictures.shape == (7, 3, 32, 48)
    assert pictures.min() >= 0 and pictures.max() <= 1
    assert pictures[names.index("d_transparent")].min() == 1  # put on white
    gray = pictures[names.index("b_gray")]
    assert (gray - pictures[names.index("e_16bit")]).abs().max() < 0.01 and torch.equal(gray[0], gray[2])


def test_folder_turns_pictures_upright(tmp_path):
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste("white", (0, 0, 20, 20))  # left half white
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the left half comes to the top
    picture.save(tmp_path / "turned.png", exif=exif)
    turned = folder(tmp_path, (20, 40))[0][0]
    assert turned[:, :15].min() > 0.9 and turned[:, 25:].max() < 0.1


def test_folder_takes_one_file_and_a_limit(tmp_path):
    for i in range(4):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    assert folder(tmp_path / "2.png", (16, 16))[1] == ["2"]
    with pytest.warns(UserWarning, match="the first 3"):
        assert len(folder(tmp_path, (16, 16), limit=3)[1]) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder(tmp_path, (16, 16))


def test_folder_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        folder(tmp_path / "nowhere", (16, 16))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="no readable picture"):
        folder(tmp_path, (16, 16))
