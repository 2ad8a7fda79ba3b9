"""The prior: its contract, what it reaches, and the files of its weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import eon_utils as eon
from eon_utils.models import weight_files
from eon_utils.models.prior import load_prior, save_prior

REAL = Path(__file__).resolve().parents[3] / "shared" / "videos"
real = pytest.mark.skipif(
    not REAL.is_dir(), reason="needs the camera clips in ../shared/videos, no part of this"
)


def leaves(count, frames, size, seed=3, **settings):
    return eon.DeadLeaves(count, frames, size, seed, train=False, **settings).stack()


@pytest.mark.parametrize(
    ("frames", "height", "width"),
    [(2, 64, 64), (3, 16, 16), (4, 32, 48), (5, 80, 112), (8, 128, 64)],
)
def test_any_length_and_any_multiple_of_sixteen(prior, frames, height, width):
    clips = torch.rand(2, frames, 3, height, width)
    frame = prior.predict(clips)
    assert frame.shape == (2, 3, height, width) and frame.dtype == torch.float32
    assert not frame.requires_grad
    assert frame.min() >= 0 and frame.max() <= 1 and frame.isfinite().all()
    assert prior.predict(clips, steps=3).shape == (2, 3, 3, height, width)
    assert prior.flow(clips).shape == (2, 2, height, width)
    other = prior.features(torch.rand(1, 2, 3, 64, 64))
    assert prior.features(clips).shape == other.expand(2, -1).shape


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 3, 64, 64), (1, 5, 1, 64, 64), (5, 3, 64, 64), (1, 5, 3, 60, 64), (1, 5, 3, 64, 0)],
)
@pytest.mark.parametrize("method", ["predict", "flow", "features", "forward_features"])
def test_wrong_shapes_are_named(prior, method, shape):
    numbers = str(shape)[1:-1].replace(" ", ".")
    with pytest.raises(ValueError, match=r"T >= 2.*multiples of 16, not \(" + numbers):
        getattr(prior, method)(torch.rand(shape))


@pytest.mark.parametrize("method", ["predict", "flow", "features"])
def test_bytes_are_taken_as_what_they_stand_for(prior, method):
    clips = torch.randint(256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    ask = getattr(prior, method)
    assert torch.equal(ask(clips), ask(clips / 255))
    assert torch.equal(ask(clips.double() / 255), ask((clips.double() / 255).float()))
    with pytest.raises(ValueError, match=r"float in \[0, 1\] or uint8, not torch.int64"):
        ask(clips.long())


def test_no_steps_are_an_error(prior):
    with pytest.raises(ValueError, match="steps=0"):
        prior.predict(torch.rand(1, 3, 3, 16, 16), steps=0)


def test_a_clip_is_predicted_alike_alone_and_among_others(prior):
    clips = leaves(3, 5, 64)
    together = prior.predict(clips)
    alone = torch.cat([prior.predict(clip[None]) for clip in clips])
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.equal(together, prior.predict(clips))


def test_steps_feed_its_own_frames_back(prior):
    clips = leaves(1, 5, 32)
    first = prior.predict(clips)
    second = prior.predict_motion(torch.cat([clips, first[:, None]], 1)).frame.clamp(0, 1)
    steps = torch.stack([first[0], second[0]])
    assert torch.allclose(prior.predict(clips, steps=2)[0], steps, atol=1e-6)


@pytest.mark.parametrize("frames", [2, 3, 4, 5])
def test_the_fit_has_as_many_frames_of_the_past_as_there_are(prior, untrained, frames):
    clips = leaves(2, frames, 32)
    online = prior.predict_online(clips)
    assert torch.equal(online.frame, prior(clips))
    assert online.weights.shape == (2, 5, 32, 32)
    alone = prior.predict_motion(clips)
    assert torch.allclose(online.motion.frame, alone.frame, atol=1e-5)
    assert online.motion.levels[0].flow.shape == alone.levels[0].flow.shape
    assert (online.weights.std((0, 2, 3)).sum() == 0) == (frames == 2), "two: the default weights"
    short = untrained(context=frames)
    assert torch.equal(short(leaves(2, 5, 32)), short(leaves(2, 5, 32)[:, -frames:]))


@pytest.mark.parametrize(("dx", "dy"), [(1.0, 0.0), (0.0, -2.0), (-1.5, 2.5)])
def test_flow_points_where_things_go(prior, untrained, moving, dx, dy):
    for model in (untrained(), prior):
        inner = model.flow(moving(dx, dy))[0, :, 16:-16, 16:-16]
        assert (inner - torch.tensor([dx, dy])[:, None, None]).norm(dim=0).median() < 0.4


def test_flow_is_that_of_the_last_frame(prior):
    clips, flow, hidden = leaves(12, 6, 64, flow=True)
    in_view = ~hidden[:, 4]
    error = (prior.flow(clips[:, :5]) - flow[:, 4]).norm(dim=1, keepdim=True)
    speed = flow[:, 4].norm(dim=1, keepdim=True)
    assert error[in_view].mean() < 0.6 * speed[in_view].mean()


@pytest.mark.parametrize("source", ["leaves", "pans"])
def test_flow_is_nearer_to_the_exact_one_than_dis(prior, source):
    clips, exact, _ = eon.SOURCES[source](24, 6, 64, seed=106, train=False, flow=True).stack()
    ours, dis = (flow(clips[:, :5]) - exact[:, 4] for flow in (prior.flow, eon.forward_flow))
    assert ours.norm(dim=1).mean() < dis.norm(dim=1).mean()


def test_flow_is_settled_on_the_last_frame(prior):
    clips, exact, _ = leaves(8, 6, 64, seed=9, flow=True)
    back = prior.predict_motion(clips[:, :5]).levels[-1].flow
    turned, settled = (
        (flow - exact[:, 4]).norm(dim=1).mean() for flow in (-back, prior.flow(clips[:, :5]))
    )
    assert settled < 0.95 * turned, (turned, settled)


def test_maps_are_those_that_feature_info_names(prior):
    for height, width in ((64, 96), (16, 16)):
        maps = prior.forward_features(torch.rand(2, 5, 3, height, width))
        assert list(maps) == [info["module"] for info in prior.feature_info]
        for info, features in zip(prior.feature_info, maps.values(), strict=True):
            stride = info["reduction"]
            assert features.shape == (2, info["num_chs"], height // stride, width // stride)


def test_the_finest_map_ends_in_the_motion(prior):
    clips = torch.rand(2, 5, 3, 32, 32)
    motion = prior.predict_motion(clips).levels[-1]
    assert torch.equal(prior.forward_features(clips)["fine"][:, -4:], torch.cat([*motion], 1))


def test_it_can_be_tuned_under_a_head_of_ones_own():
    body = load_prior().requires_grad_(True).train()
    body.forward_features(torch.rand(2, 5, 3, 32, 32))["coarse"].square().mean().backward()
    gradients = [parameter.grad for parameter in body.net.decoder[1].parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert not body.features(torch.rand(2, 5, 3, 32, 32)).requires_grad


@pytest.mark.parametrize(
    "settings",
    [{"candidates": 0}, {"candidates": 1}, {"candidates": 3, "noise": 0.0}, {"context": 2}],
)
def test_designs_run_and_save(tmp_path, untrained, settings):
    model = untrained(**settings)
    clips = torch.rand(2, 5, 3, 32, 32)
    sha256 = save_prior(model, tmp_path / "own.safetensors")
    assert len(sha256) == 64
    again = load_prior(tmp_path / "own.safetensors")
    assert torch.equal(again.predict(clips), model.predict(clips))
    for name, value in settings.items():
        assert getattr(again.config, name) == value


def test_the_shipped_file_saved_again_holds_the_same(prior, tmp_path):
    path = tmp_path / "own.safetensors"
    save_prior(prior, path, seed=0)
    shipped = weight_files.read_weights("prior", "prior")
    own = weight_files.read_weights("prior", "prior", path)
    assert own.about["model"] == shipped.about["model"] and own.about["seed"] == 0
    assert own.tensors.keys() == shipped.tensors.keys()
    assert all(torch.equal(own.tensors[key], shipped.tensors[key]) for key in own.tensors)
    clips = torch.rand(2, 5, 3, 32, 32)
    assert torch.equal(load_prior(path).predict(clips), prior.predict(clips))


def test_an_unknown_setting_is_an_error():
    with pytest.raises(TypeError, match="colour"):
        eon.Prior(colour=3)


def test_a_still_clip_stays_as_it_is(prior):
    clips = eon.CameraPans(4, 1, 64, seed=3, train=False).stack().expand(-1, 5, -1, -1, -1)
    assert eon.psnr(prior.predict(clips), clips[:, -1]).min() > 45


def test_weights_are_checked(tmp_path, untrained, monkeypatch):
    with pytest.raises(ValueError, match=r"no weights none\.safetensors"):
        load_prior(tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken\.safetensors cannot be read as prior"):
        load_prior(tmp_path / "broken.safetensors")
    about = {"prior": json.dumps({"model": {}})}
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", about)
    with pytest.raises(ValueError, match=r"other\.safetensors does not hold the weights"):
        load_prior(tmp_path / "other.safetensors")
    monkeypatch.setattr(weight_files, "WEIGHTS", tmp_path)
    save_prior(untrained(), tmp_path / "prior.safetensors")
    (tmp_path / "prior.md").write_text("another hash", encoding="utf-8")
    with pytest.raises(ValueError, match="not the file that its model card names"):
        load_prior()


def test_what_ships_is_small_frozen_and_in_eval_mode(prior):
    assert sum(parameter.numel() for parameter in prior.parameters()) <= 3_000_000
    assert not any(parameter.requires_grad for parameter in prior.parameters())
    assert not prior.training


def test_it_beats_copying_and_flow_on_clips_never_seen(prior, held_out):
    predictors = {"prior": prior, "copied": eon.copy_last, "flow": eon.flow_extrapolation}
    psnr = {}
    for name, predict in predictors.items():
        psnr[name] = {s: eon.next_frame_psnr(predict, clips) for s, clips in held_out.items()}
    assert all(psnr["prior"][source] > psnr["copied"][source] + 1 for source in held_out)
    above_flow = {source: psnr["prior"][source] - psnr["flow"][source] for source in held_out}
    assert psnr["prior"]["digits"] >= 26
    del above_flow["digits"]  # there flow is better: see the card
    assert sum(above_flow.values()) > 3 * 0.3 and above_flow["leaves"] > 0.3


def test_thirty_frames_ahead_nothing_blows_up(prior, held_out):
    start = torch.cat([clips[:2, :5] for clips in held_out.values()])
    far = prior.predict(start, steps=30)
    assert far.isfinite().all() and far[:, -1].std() < 1.5 * start[:, -1].std()


@real
@pytest.mark.parametrize("size", [64, 128])
def test_camera_video(prior, size):
    over_flow, over_copying = [], []
    for file in sorted(REAL.glob("*.mp4")):
        clips = eon.video_folder(file, 6, size, limit=24)[0]
        context, target = clips[:, :5], clips[:, 5]
        ours = eon.psnr(prior.predict(context), target).mean()
        over_flow.append(ours - eon.psnr(eon.flow_extrapolation(context), target).mean())
        over_copying.append(ours - eon.psnr(clips[:, 4], target).mean())
        assert over_copying[-1] > -0.1, file.name
    assert torch.stack(over_flow).mean() > 0.8 and torch.stack(over_copying).mean() > 1.9
