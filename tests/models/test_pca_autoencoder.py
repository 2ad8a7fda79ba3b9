"""The bank of local bases, the autoencoders on it, what is shipped, and the recipe that makes it."""

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from eon_utils import HELD_OUT_PHOTOS, Autoencoder, LocalPCA, PatchPCA, jpeg, load_autoencoder, photos, psnr
from eon_utils.training import train_autoencoder as recipes
from eon_utils.data import scenes
from eon_utils.models.pca_autoencoder import CODE_SIZES, patchify, orientations, save_autoencoder, unpatchify
from eon_utils.models.weight_files import WEIGHTS


@pytest.fixture(scope="module")
def pictures():
    return scenes(24)


@pytest.fixture(scope="module")
def unseen():
    return photos((64, 64), HELD_OUT_PHOTOS, centre=True)


@pytest.fixture(scope="module")
def bank(pictures):
    torch.manual_seed(0)
    bank = LocalPCA(count=4)
    bank.fit(patchify(pictures - 0.5), rounds=3)
    return bank


def test_cells_and_back(pictures):
    assert patchify(pictures).shape == (24 * 64, 192)
    assert torch.equal(unpatchify(patchify(pictures), pictures.shape), pictures)


def test_eight_orientations_are_different_and_invertible():
    order = orientations()
    assert len({tuple(row.tolist()) for row in order}) == 8
    assert all(torch.equal(row.sort().values, torch.arange(192)) for row in order)
    cell = torch.rand(3, 8, 8)
    assert torch.equal(cell.reshape(-1)[order[1]].view(3, 8, 8), cell.flip(2))
    assert torch.equal(cell.reshape(-1)[order[4]].view(3, 8, 8), cell.transpose(1, 2))


def test_bases_are_orthonormal(bank):
    gram = bank.bases.transpose(1, 2) @ bank.bases
    assert torch.allclose(gram, torch.eye(63).expand_as(gram), atol=1e-4)


def test_the_choice_is_the_best_there_is(bank, pictures):
    some = patchify(pictures[:1] - 0.5)
    code = bank.encode(some, 16)
    error = (bank.decode(code) - some).square().sum(1)
    for choice in range(8 * len(bank.bases)):
        turned = some[:, bank.order[choice // 4]]
        basis = bank.bases[choice % 4, :, :15]
        other = (turned - turned @ basis @ basis.T).square().sum(1)
        assert (error <= other + 1e-4).all()


def test_a_bank_beats_plain_pca_on_the_same_cells(bank, pictures):
    some = patchify(pictures - 0.5)
    left = (bank.decode(bank.encode(some, 16)) - some).square().mean()
    plain = (PatchPCA(pictures, patch=8)(pictures, 1024) - pictures).square().mean()
    assert left < plain


def test_a_picture_turned_is_coded_as_well(bank, pictures):
    for turned in (pictures.flip(-1), pictures.transpose(-1, -2)):
        error = [
            (bank.decode(bank.encode(patchify(p - 0.5), 16)) - patchify(p - 0.5)).square().mean().item()
            for p in (pictures, turned)
        ]
        assert error[0] == pytest.approx(error[1], rel=1e-3)


@pytest.mark.parametrize("channels", CODE_SIZES)
@pytest.mark.parametrize("skips", [0, 4])
def test_shapes_and_round_trip(bank, pictures, channels, skips):
    torch.manual_seed(0)
    model = Autoencoder(channels, skips=skips, noise=0.25 * bool(skips), width=8, depth=1, count=4)
    model.bank.load_state_dict(bank.state_dict())
    model.eval()
    images = pictures[:2, :, :40]
    given = model.encode(images)
    code = given[0] if skips else given
    assert code.shape == (2, channels, 5, 8) and model(images).shape == images.shape
    assert torch.equal(model.decode(given), model(images))
    assert model(images).min() >= 0 and model(images).max() <= 1
    if skips:
        assert given[1].shape == (2, skips, 10, 16) and given[1].abs().max() <= 1
        assert torch.equal(model.decode(*given), model.decode(given))
        assert model.decode(code).shape == images.shape


def test_noise_in_training_only(bank, pictures):
    model = Autoencoder(skips=4, noise=0.25, width=8, depth=1, count=4)
    torch.nn.init.normal_(model.fold_out.weight)  # else what the skips say is not heard
    assert not torch.equal(model(pictures[:1]), model(pictures[:1]))
    model.eval()
    assert torch.equal(model(pictures[:1]), model(pictures[:1]))


def test_wrong_input_is_named():
    model = Autoencoder(width=8, depth=1, count=1)
    with pytest.raises(ValueError, match=r"multiples of 8, not \(1, 3, 12, 64\)"):
        model(torch.rand(1, 3, 12, 64))
    with pytest.raises(ValueError, match=r"not \(1, 10, 4, 4\)"):
        model.decode(torch.rand(1, 10, 4, 4))
    with pytest.raises(ValueError, match="channels=10 must be one of 8, 16, 32, 64"):
        Autoencoder(10)


@pytest.mark.parametrize("name", ["v2", "v3", "v4"])
def test_shipped_weights_are_those_of_their_card(name):
    file = WEIGHTS / f"autoencoder_{name}.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() in file.with_suffix(".md").read_text(encoding="utf-8")
    assert file.stat().st_size < 6e6
    with safe_open(file, framework="pt") as saved:
        assert json.loads(saved.metadata()["autoencoder"])["steps"] == recipes.SHIPPED[name][2]
    model = load_autoencoder(name)
    assert not model.training and not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(("channels", "wanted"), [(8, 24.0), (16, 26.5), (32, 29.5), (64, 34.0)])
def test_shipped_v2_on_photographs_never_seen(unseen, channels, wanted):
    ours = psnr(load_autoencoder("v2", channels)(unseen), unseen).mean().item()
    torch.manual_seed(0)
    train = torch.cat([scenes(200), recipes.crops(600)])
    linear = max(psnr(PatchPCA(train, p)(unseen, 64 * channels), unseen).mean().item() for p in (8, 16))
    assert ours >= wanted and ours >= linear + 1


def test_shipped_v4_uses_its_code_and_its_skips(unseen):
    model = load_autoencoder("v4")
    code, skips = model.encode(unseen)
    even, _ = model.encode(unseen.mean((2, 3), keepdim=True).expand_as(unseen))
    whole, alone, silent = (
        1 - (p - unseen).abs().mean() for p in (model(unseen), model.decode(code), model.decode(even, skips))
    )
    assert whole >= 0.97 and whole - silent > 0.05 and whole > alone


def test_loading_says_what_is_wrong(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no weights autoencoder_v9.safetensors; shipped are: v2, v3, v4"):
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
    sha = save_autoencoder(Autoencoder(width=8, depth=1, count=2), tmp_path / "autoencoder_v2.safetensors", [32])
    monkeypatch.setattr("eon_utils.weights.WEIGHTS", tmp_path)
    card = tmp_path / "autoencoder_v2.md"
    card.write_text(f"SHA-256 {sha}")
    assert load_autoencoder("v2").channels == 32
    card.write_text("SHA-256 of something else")
    with pytest.raises(ValueError, match="not the file that its model card names"):
        load_autoencoder("v2")


def test_the_recipe_runs_from_nothing_and_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recipes, "RUNS", tmp_path)
    recipes.train_all("v2", scale=0.002, weights=tmp_path)
    recipes.train_all("v4", scale=0.002, weights=tmp_path)
    card = (tmp_path / "autoencoder_v4.md").read_text(encoding="utf-8")
    assert "noise 0.25" in card and "rocket" in card
    first = load_autoencoder(path=tmp_path / "autoencoder_v2.safetensors")
    recipes.train_all(
        "v2", scale=0.002, weights=tmp_path
    )  # finished before: goes on from there, that is, not at all
    again = load_autoencoder(path=tmp_path / "autoencoder_v2.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert capsys.readouterr().out.count("fitting the bank") == 1
    with pytest.raises(ValueError, match="--only v7 is unknown"):
        recipes.train_all("v7")


def test_patch_pca_keeps_everything_with_all_numbers(pictures):
    pca = PatchPCA(pictures, patch=16)
    assert torch.allclose(pca(pictures, 12288), pictures, atol=1e-4)
    quality = [psnr(pca(pictures, n), pictures).mean() for n in (128, 512, 2048)]
    assert quality == sorted(quality)


def test_jpeg_keeps_to_its_budget(pictures):
    few, many = (psnr(jpeg(pictures[:3], budget), pictures[:3]).mean() for budget in (600, 3000))
    assert few < many
    assert (jpeg(pictures[:1], 10) == 0.5).all()
