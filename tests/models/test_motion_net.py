"""The network of the prior: its parts, its classical start, and the names of its weights."""

from dataclasses import asdict

import pytest
import torch
from safetensors import safe_open

import eon_utils as eon
from eon_utils.models.motion_net import Motion, MotionNet, MotionNetConfig
from eon_utils.models.weight_files import WEIGHTS

LAYERS = ["encoder.0", "encoder.1.0", "encoder.1.2", "narrow.0", "narrow.1"]
LAYERS += ["decoder.0.0", "decoder.1.0", "decoder.1.2", "heads.0", "heads.1"]
LAYERS += ["others", "last.0", "last.2", "last.4"]


def test_names_and_order_of_the_weights_stay():
    names = [f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")]
    assert list(MotionNet().state_dict()) == names
    with safe_open(WEIGHTS / "prior.safetensors", framework="pt") as saved:
        assert sorted(saved.keys()) == sorted(names)


def test_without_a_configuration_it_is_built_as_the_shipped_one(prior):
    net = MotionNet()
    assert net.config == MotionNetConfig()
    assert net.config == MotionNetConfig(**asdict(net.config))
    shapes = [parameter.shape for parameter in net.parameters()]
    assert shapes == [parameter.shape for parameter in prior.net.parameters()]


@pytest.mark.parametrize(("candidates", "hypotheses"), [(0, 1), (1, 3), (2, 4), (3, 5)])
@pytest.mark.parametrize(("height", "width", "levels"), [(16, 32, 3), (64, 48, 3), (128, 128, 5)])
def test_a_prediction_has_one_entry_a_pixel(candidates, hypotheses, height, width, levels):
    net = MotionNet(MotionNetConfig(candidates=candidates)).eval()
    with torch.no_grad():
        prediction = net(torch.rand(2, 3, 3, height, width))
    assert prediction.frame.shape == prediction.residual.shape == (2, 3, height, width)
    assert prediction.hypotheses.shape == (2, hypotheses, 3, height, width)
    assert prediction.masks.shape == (2, hypotheses, 1, height, width)
    assert torch.allclose(prediction.masks.sum(1), torch.ones(2, 1, height, width), atol=1e-5)
    assert prediction.flows.shape == (2, max(candidates, 1), 2, height, width)
    blend = (prediction.masks * prediction.hypotheses).sum(1)
    assert torch.allclose(prediction.frame, blend + prediction.residual)
    sizes = [(height >> level, width >> level) for level in reversed(range(levels))]
    assert [level.flow.shape[-2:] for level in prediction.levels] == sizes, "coarse to fine"
    assert [state.shape[-2:] for state in prediction.states] == sizes


def test_a_prediction_is_encoding_then_predicting():
    net = MotionNet().eval()
    frames = torch.rand(2, 3, 3, 32, 32)
    pyramid = net.encode(frames)
    assert [level.shape for level in pyramid] == [
        (2, 3, 11, 32, 32),
        (2, 3, 19, 16, 16),
        (2, 3, 19, 8, 8),
    ]
    assert torch.equal(net(frames).frame, net.predict(frames, pyramid).frame)


def test_noise_is_on_the_skips_in_training_only():
    frames = torch.rand(1, 3, 3, 16, 16)
    net = MotionNet(MotionNetConfig(noise=0.25))
    for first, second in zip(net.encode(frames), net.encode(frames), strict=True):
        assert torch.equal(first[:, :, :3], second[:, :, :3]), "colours have none"
        assert not torch.equal(first, second)
    net.eval()
    assert all(map(torch.equal, net.encode(frames), net.encode(frames)))


def test_motion_over_more_frames():
    flow = torch.full((1, 2, 4, 4), 1.0)
    motion = Motion(flow, 0.5 * flow)  # 1 from the next frame back, then 1.5, then 2
    assert (motion.over_two_frames == 2.5).all() and (motion.over_three_frames == 4.5).all()
    larger = motion.upsample()
    assert torch.equal(larger.flow, torch.full((1, 2, 8, 8), 2.0))


def test_untrained_it_is_classical_flow(untrained, held_out):
    model = untrained()
    prediction = model.predict_motion(held_out["leaves"][:, :5])
    assert prediction.residual.abs().max() == 0
    for source in ("leaves", "pans"):
        copied = eon.next_frame_psnr(eon.copy_last, held_out[source])
        assert eon.next_frame_psnr(model, held_out[source]) > copied + 3
