"""Local PCAs, the autoencoders on them, and what ships."""

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from eon_utils import (
    HELD_OUT_PHOTOS,
    Autoencoder,
    LocalPCA,
    PatchPCA,
    dead_leaves_images,
    load_autoencoder,
    photos,
    psnr,
    random_crops,
)
from eon_utils.models import pca_autoencoder, weight_files
from eon_utils.models.pca_autoencoder import (
    CODE_SIZES,
    RENAMED,
    orientations,
    patchify,
    save_autoencoder,
    unpatchify,
)
from eon_utils.models.weight_files import WEIGHTS


@pytest.fixture(scope="module")
def pictures():
    return dead_leaves_images(24)


@pytest.fixture(scope="module")
def unseen():
    return photos((64, 64), HELD_OUT_PHOTOS, centre=True)


@pytest.fixture(scope="module")
def linear_codes():
    train = torch.cat([dead_leaves_images(200), random_crops(600)])
    return [PatchPCA(train, patch) for patch in (8, 16)]


@pytest.fixture(scope="module")
def local_pca(pictures):
    torch.manual_seed(0)
    local_pca = LocalPCA(count=4)
    local_pca.fit(patchify(pictures - 0.5), rounds=3)
    return local_pca


def test_patches_and_back(pictures):
    assert patchify(pictures).shape == (24 * 64, 192)
    assert torch.equal(unpatchify(patchify(pictures), pictures.shape), pictures)


def test_eight_orientations_are_different_and_invertible():
    order = orientations()
    assert len({tuple(row.tolist()) for row in order}) == 8
    assert all(torch.equal(row.sort().values, torch.arange(192)) for row in order)
    cell = torch.rand(3, 8, 8)
    assert torch.equal(cell.reshape(-1)[order[1]].view(3, 8, 8), cell.flip(2))
    assert torch.equal(cell.reshape(-1)[order[4]].view(3, 8, 8), cell.transpose(1, 2))


def test_bases_are_orthonormal(local_pca):
    gram = local_pca.bases.transpose(1, 2) @ local_pca.bases
    assert torch.allclose(gram, torch.eye(63).expand_as(gram), atol=1e-4)


def test_the_choice_is_the_best_there_is(local_pca, pictures):
    patches = patchify(pictures[:1] - 0.5)
    code = local_pca.encode(patches, 16)
    error = (local_pca.decode(code) - patches).square().sum(1)
    for choice in range(8 * len(local_pca.bases)):
        turned = patches[:, local_pca.order[choice // 4]]
        basis = local_pca.bases[choice % 4, :, :15]
        other = (turned - turned @ basis @ basis.T).square().sum(1)
        assert (error <= other + 1e-4).all()


def test_local_pcas_beat_plain_pca_on_the_same_cells(local_pca, pictures):
    patches = patchify(pictures - 0.5)
    local = (local_pca.decode(local_pca.encode(patches, 16)) - patches).square().mean()
    plain = (PatchPCA(pictures, patch=8)(pictures, 1024) - pictures).square().mean()
    assert local < plain


def test_a_picture_turned_is_coded_as_well(local_pca, pictures):
    def error(images):
        patches = patchify(images - 0.5)
        return (local_pca.decode(local_pca.encode(patches, 16)) - patches).square().mean().item()

    for turned in (pictures.flip(-1), pictures.transpose(-1, -2)):
        assert error(turned) == pytest.approx(error(pictures), rel=1e-3)


@pytest.mark.parametrize("channels", CODE_SIZES)
@pytest.mark.parametrize("skips", [0, 4])
def test_shapes_and_round_trip(local_pca, pictures, channels, skips):
    torch.manual_seed(0)
    noise = 0.25 if skips else 0.0
    model = Autoencoder(channels, skips=skips, noise=noise, width=8, depth=1, count=4)
    model.local_pca.load_state_dict(local_pca.state_dict())
    model.eval()
    images = pictures[:2, :, :40]
    encoded = model.encode(images)
    code = encoded[0] if skips else encoded
    assert code.shape == (2, channels, 5, 8)
    output = model(images)
    assert output.shape == images.shape
    assert torch.equal(model.decode(encoded), output)
    assert output.min() >= 0 and output.max() <= 1
    if skips:
        assert encoded[1].shape == (2, skips, 10, 16) and encoded[1].abs().max() <= 1
        assert torch.equal(model.decode(*encoded), model.decode(encoded))
        assert model.decode(code).shape == images.shape


def test_noise_in_training_only(pictures):
    model = Autoencoder(skips=4, noise=0.25, width=8, depth=1, count=4)
    torch.nn.init.normal_(model.conv_out.weight)  # else what the skips say is not heard
    assert not torch.equal(model(pictures[:1]), model(pictures[:1]))
    model.eval()
    assert torch.equal(model(pictures[:1]), model(pictures[:1]))


def test_the_range_of_what_comes_in_is_checked():
    model = Autoencoder(width=8, depth=1, count=1).eval()
    images = torch.rand(2, 3, 16, 24)
    data = (255 * images).byte()
    assert torch.equal(model(data), model(data / 255))
    for wrong, text in ((2.0, "to 2"), (-1.0, "from -1"), (float("nan"), "nan")):
        spoilt = images.clone()
        spoilt[0, 1, 2, 3] = wrong
        with pytest.raises(ValueError, match=rf"images of float in \[0, 1\] or uint8, not.*{text}"):
            model.encode(spoilt)
    with pytest.raises(ValueError, match=r"uint8, not torch.int64"):
        model(data.long())
    with pytest.raises(TypeError, match=r"not ndarray; torch.from_numpy"):
        model(images.numpy())
    with pytest.raises(ValueError, match=r"not \(3, 16, 24\); add \[None\] for a batch of one"):
        model(images[0])
    with pytest.raises(ValueError, match=r"N >= 1.*not \(0, 3, 16, 24\)"):
        model(images[:0])


def test_wrong_input_is_named():
    model = Autoencoder(width=8, depth=1, count=1)
    with pytest.raises(ValueError, match=r"multiples of 8, not \(1, 3, 12, 64\)"):
        model(torch.rand(1, 3, 12, 64))
    with pytest.raises(ValueError, match=r"not \(1, 10, 4, 4\)"):
        model.decode(torch.rand(1, 10, 4, 4))
    with pytest.raises(ValueError, match="channels=10 must be one of 8, 16, 32, 64"):
        Autoencoder(10)
    with pytest.raises(ValueError, match=r"not \(1, 3, 0, 64\)"):
        model(torch.rand(1, 3, 0, 64))


def test_images_and_codes_of_any_float_are_taken_and_other_codes_are_named():
    model = Autoencoder(width=8, depth=1, count=1).eval()
    images = torch.rand(1, 3, 16, 24)
    code = model.encode(images)
    assert torch.equal(model.encode(images.double()), code)
    assert model(images.half()).dtype == torch.float32
    assert torch.equal(model.decode(code.double()), model.decode(code))
    with pytest.raises(ValueError, match=r"decode takes a code of float, not torch.uint8"):
        model.decode(code.byte())
    with pytest.raises(ValueError, match="code of numbers, this one holds NaN or infinity"):
        model.decode(code / 0)
    with pytest.raises(ValueError, match=r"not \(0, 32, 2, 3\)"):
        model.decode(code[:0])
    with pytest.raises(TypeError, match=r"decode takes a code as a torch.Tensor, not ndarray"):
        model.decode(code.numpy())
    with pytest.raises(ValueError, match="has no skips; give decode the code alone"):
        model.decode((code, torch.rand(1, 16, 4, 6)))


@pytest.mark.parametrize("name", ["v2", "v3", "v4"])
def test_shipped_weights_are_those_of_their_card(name):
    file = WEIGHTS / f"autoencoder_{name}.safetensors"
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert sha256 in file.with_suffix(".md").read_text(encoding="utf-8")
    assert file.stat().st_size < 6e6
    model = load_autoencoder(name)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", ["v2", "v3", "v4"])
def test_older_files_load_and_are_saved_under_the_present_names(name, tmp_path, unseen):
    with safe_open(WEIGHTS / f"autoencoder_{name}.safetensors", framework="pt") as saved:
        old = set(saved.keys())
        about = json.loads(saved.metadata()["autoencoder"])
    assert any(key.startswith(tuple(RENAMED)) for key in old), "no longer an older file"
    shipped = load_autoencoder(name)
    path = tmp_path / "again.safetensors"
    save_autoencoder(shipped, path, about["channels"])
    with safe_open(path, framework="pt") as saved:
        new = set(saved.keys())
        assert json.loads(saved.metadata()["autoencoder"])["model"] == about["model"]
    assert new == set(shipped.state_dict()) and len(new) == len(old)
    assert not any(key.startswith(tuple(RENAMED)) for key in new)
    again = load_autoencoder(path=path)
    assert torch.equal(again(unseen), shipped(unseen))


def test_what_v2_learnt_goes_into_a_model_with_skips():
    v2 = load_autoencoder("v2")
    model = Autoencoder(skips=4)
    result = model.load_state_dict(v2.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert all(key.startswith(("skip_encoder.", "skip_decoder.")) for key in result.missing_keys)
    old = {key.replace("local_pca.", "bank."): tensor for key, tensor in v2.state_dict().items()}
    wrapped = torch.nn.ModuleDict({"model": Autoencoder()})
    wrapped.load_state_dict({f"model.{key}": tensor for key, tensor in old.items()})
    assert torch.equal(wrapped["model"].local_pca.bases, v2.local_pca.bases)


@pytest.mark.parametrize(("channels", "wanted"), [(8, 24.0), (16, 26.5), (32, 29.5), (64, 34.0)])
def test_shipped_v2_on_photographs_never_seen(unseen, linear_codes, channels, wanted):
    ours = psnr(load_autoencoder("v2", channels)(unseen), unseen).mean()
    assert ours >= wanted
    for pca in linear_codes:
        assert ours >= psnr(pca(unseen, 64 * channels), unseen).mean() + 1


def test_shipped_v4_uses_its_code_and_its_skips(unseen):
    model = load_autoencoder("v4")
    code, skips = model.encode(unseen)
    even, _ = model.encode(unseen.mean((2, 3), keepdim=True).expand_as(unseen))
    outputs = (model(unseen), model.decode(code), model.decode(even, skips))
    both, code_alone, skips_alone = (1 - (output - unseen).abs().mean() for output in outputs)
    assert both >= 0.97 and both - skips_alone > 0.05 and both > code_alone


def test_loading_says_what_is_wrong(tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match=r"no weights autoencoder_v9.safetensors; shipped are: v2, v3, v4"
    ):
        load_autoencoder("v9")
    with pytest.raises(ValueError, match="'v4' was trained with 32"):
        load_autoencoder("v4", channels=8)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"broken.safetensors cannot be read"):
        load_autoencoder(path=broken)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors cannot be read"):
        load_autoencoder(path=tmp_path / "other.safetensors")
    small = Autoencoder(width=8, depth=1, count=2)
    sha256 = save_autoencoder(small, tmp_path / "autoencoder_v2.safetensors", [32])
    monkeypatch.setattr(weight_files, "WEIGHTS", tmp_path)
    card = tmp_path / "autoencoder_v2.md"
    card.write_text(f"SHA-256 {sha256}")
    assert load_autoencoder("v2").channels == 32
    card.write_text("SHA-256 of something else")
    with pytest.raises(ValueError, match="not the file that its model card names"):
        load_autoencoder("v2")


@pytest.mark.parametrize("name", ["v2", "v3"])
def test_many_pictures_are_coded_in_parts(name, pictures, monkeypatch):
    model = load_autoencoder(name)
    code = model.encode(pictures)
    images = model.decode(code)
    monkeypatch.setattr(pca_autoencoder, "CELLS_AT_ONCE", 5 * 64)
    taken = []
    refine = model.refine
    monkeypatch.setattr(
        model, "refine", lambda rough, *more: taken.append(len(rough)) or refine(rough, *more)
    )
    again = model.encode(pictures)
    for part, of_all in zip(again, code, strict=True) if name == "v3" else [(again, code)]:
        assert torch.allclose(part, of_all, atol=1e-4)
    assert torch.allclose(model.decode(code), images, atol=1e-4)
    assert taken == [5, 5, 5, 5, 4]
    model.requires_grad_(True)
    model.decode(code)
    assert taken[-1] == 24, "whole where gradients are wanted"
