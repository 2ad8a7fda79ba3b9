"""What phase 6 asks of a prior: a new world, surprise, the frame in between, other programs."""

import copy

import pytest
import torch

import eon_utils as eon
from eon_utils import train_prior, transfer


@pytest.fixture(scope="module")
def prior():
    return eon.load_prior()


def leaves(*settings, **others):
    return eon.DeadLeaves(*settings, **others).stack()


# --- a new world ---


def test_fine_tuning_helps_and_keeps_the_model_as_it_was(prior):
    clips = leaves(8, 5, 32, 3)
    before = copy.deepcopy(prior.state_dict())

    def loss(model, batch, step):
        return train_prior.prediction_loss(model, batch, step)[0]

    curve = transfer.fine_tune(prior, clips, clips, loss, (0, 2, 25), seed=0)
    assert curve.steps == (0, 2, 25)
    assert curve.seconds[0] == 0 < curve.seconds[1] < curve.seconds[2]
    assert curve.psnr[2] > curve.psnr[0], "on the clips that it was trained on"
    for name, value in prior.state_dict().items():
        assert torch.equal(value, before[name])
    assert not prior.training
    again = transfer.fine_tune(prior, clips, clips, loss, (0, 2), seed=0)
    assert again.psnr == curve.psnr[:2], "same seed, same numbers"


# --- surprise ---


def test_events_happen_in_the_last_frame_alone():
    films = eon.CameraPans(6, 13, 32, 0).stack()
    events = transfer.make_events(films, 0)
    names = {"nothing", "scene cut", "teleport", "backwards", "frozen", "new object"}
    assert set(events) == names
    before, steady = films[:, :7].split([6, 1], 1)
    for name, clips in events.items():
        assert clips.shape == (6, 7, 3, 32, 32)
        start, event = clips.split([6, 1], 1)
        assert torch.equal(start, before)
        assert torch.equal(event, steady) == (name == "nothing")
    differs = events["new object"][:, 6:] != steady
    share = differs.any(2).float().mean((1, 2, 3))
    assert (share > 0.01).all()
    assert (share < 0.35).all()


def test_events_surprise_and_nothing_does_not(prior):
    films = eon.CameraPans(8, 13, 64, 1).stack()
    events = transfer.make_events(films, 0)
    calm = transfer.surprise(prior.predict, events["nothing"])
    assert calm.shape == (8,)
    assert calm.mean().abs() < 1
    for name in ("scene cut", "teleport", "backwards", "new object"):
        level = transfer.surprise(prior.predict, events[name])
        assert level.mean() > calm.mean() + 1, name


# --- the frame in between ---


def test_the_frame_in_between(prior):
    films = leaves(6, 11, 64, 2, train=False)
    before, target, after = films.split([5, 1, 5], 1)
    target = target[:, 0]
    mean = (before[:, -1] + after[:, 0]) / 2
    by_flow = transfer.interpolate_by_flow(before, after)
    by_prior = transfer.between(prior.predict, before, after)
    level = eon.psnr(mean, target).mean()
    assert eon.psnr(by_flow, target).mean() > level + 2
    assert eon.psnr(by_prior, target).mean() > level + 2
    turned = transfer.between(prior.predict, after.flip(1), before.flip(1))
    assert (turned - by_prior).abs().mean() < 1e-4, "neither side comes first"


# --- elsewhere ---


def test_torch_export_says_the_same(prior):
    clips = leaves(1, 3, 32, 4)
    program = torch.export.export(prior, (clips,))
    frame = program.module()(clips)
    assert torch.allclose(frame, prior(clips), atol=1e-5)


def test_onnx_says_the_same(prior, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    file = tmp_path / "prior.onnx"
    clips = leaves(1, 3, 32, 4)
    transfer.to_onnx(prior, clips, file)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"clips": clips.numpy()})
    difference = torch.from_numpy(output) - prior(clips)
    assert difference.abs().max() < 1e-3
