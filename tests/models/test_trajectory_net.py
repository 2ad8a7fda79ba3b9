"""The network of the prior: its parts, its classical start, and the names of its weights."""

from dataclasses import asdict

import pytest
import torch
from safetensors import safe_open

import eon_utils as eon
from eon_utils.models.past_fit import fit_to_past
from eon_utils.models.prior import load_prior, save_prior
from eon_utils.models.trajectory_net import (
    SLOTS,
    Clock,
    Source,
    Trajectory,
    TrajectoryNet,
    TrajectoryNetConfig,
)
from eon_utils.models.weight_files import WEIGHTS

PAST = torch.tensor([-1.0, -2.0, -3.0, -4.0])
AROUND = torch.tensor([-1.0, 1.0, -2.0, 2.0])
SMALL = {"encoder": (8, 8, 8, 8), "decoder": (8, 8, 8, 8, 8), "fusion": 8}


def clock(times, count=2):
    return times.expand(count, SLOTS)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return TrajectoryNet().eval()


@pytest.fixture(scope="module")
def stirred():
    """Small, and with heads that are not 0, as training makes them."""
    torch.manual_seed(0)
    net = TrajectoryNet(TrajectoryNetConfig(**SMALL)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return net


def test_names_of_the_weights_are_those_of_the_shipped_file():
    with safe_open(WEIGHTS / "prior.safetensors", framework="pt") as saved:
        assert sorted(saved.keys()) == sorted(eon.Prior().state_dict())


def test_without_a_configuration_it_is_built_as_the_shipped_one(prior, net):
    assert net.config == TrajectoryNetConfig() == prior.net.config
    assert net.config == TrajectoryNetConfig(**asdict(net.config))
    shapes = [parameter.shape for parameter in net.parameters()]
    assert shapes == [parameter.shape for parameter in prior.net.parameters()]


@pytest.mark.parametrize(("height", "width"), [(16, 32), (64, 48), (128, 128)])
@pytest.mark.parametrize("past", [True, False])
def test_a_reading_has_one_entry_a_pixel(stirred, height, width, past):
    frames = torch.rand(2, SLOTS, 3, height, width)
    with torch.no_grad():
        reading = stirred(frames, clock(PAST if past else AROUND), fit=past)
    assert reading.frame.shape == reading.residual.shape == (2, 3, height, width)
    assert reading.hypotheses.shape == (2, 11, 3, height, width)
    assert reading.masks.shape == (2, 11, 1, height, width)
    assert torch.allclose(reading.masks.sum(1), torch.ones(2, 1, height, width), atol=1e-5)
    assert reading.way.shape == (2, 2, height, width)
    blend = (reading.masks * reading.hypotheses).sum(1)
    assert torch.allclose(reading.frame, blend + reading.residual, atol=1e-5)
    sizes = [(height >> level, width >> level) for level in (4, 3, 2, 1, 0)]
    ways = [level.trajectory.way for level in reading.levels]
    assert [way.shape[-2:] for way in ways] == sizes, "coarse to fine"
    assert (reading.masks[:, -1].max() < 1e-6) != past, "the fit is of the past alone"


def test_reading_is_encoding_then_reading(stirred):
    frames = torch.rand(2, SLOTS, 3, 32, 32)
    pyramid = stirred.encode(frames)
    assert [level.shape[2] for level in pyramid] == [3, 11, 11, 11, 11]
    assert torch.equal(pyramid[0], frames - 0.5)
    one = stirred(frames, clock(AROUND)).frame
    assert torch.equal(one, stirred.read(pyramid, clock(AROUND)).frame)


def test_a_trajectory_passes_where_it_should():
    way = torch.full((1, 2, 4, 4), -2.0)  # at time -1
    straight = Trajectory(way, torch.zeros_like(way)).to(Clock.of(clock(PAST, 1)))
    assert [ways.mean() for ways in straight[0]] == [-2, -4, -6, -8]
    bent = Trajectory(way, torch.full_like(way, 0.5)).to(Clock.of(clock(AROUND, 1)))
    assert [ways.mean() for ways in bent[0]] == [-2, 2.5, -3.5, 5.5], "at times -1, 1, -2 and 2"
    larger = Trajectory(way, way).upsample()
    assert torch.equal(larger.bend, torch.full((1, 2, 8, 8), -4.0))


def test_untrained_it_is_classical_flow_fitted_to_the_past(net, held_out):
    frames = held_out["leaves"][:4, 1:5].flip(1)  # the last one first
    with torch.no_grad():
        reading = net(frames, clock(PAST, 4), fit=True)
        fit = fit_to_past([level[:, :, :3] for level in net.encode(frames)])
    assert reading.residual.abs().max() == 0
    assert torch.equal(reading.hypotheses[:, -1], fit.frame + 0.5)
    assert reading.masks[:, -1].min() > 0.9
    assert eon.psnr(reading.frame, fit.frame + 0.5).min() > 40
    difference = reading.way + fit.velocities[0]  # a way is to the frame before
    assert difference.norm(dim=1).mean() < 0.05


def test_untrained_it_beats_copying(untrained, held_out):
    model = untrained()
    for source in ("leaves", "pans"):
        clips = held_out[source][:, :6]
        copied = eon.next_frame_psnr(eon.copy_last, clips)
        assert eon.next_frame_psnr(model, clips) > copied + 3


def test_untrained_a_film_backwards_is_a_film(net, held_out):
    frames = held_out["pans"][:2, :4]
    with torch.no_grad():
        forwards = net(frames, clock(AROUND))
        backwards = net(frames, clock(-AROUND))
    assert torch.allclose(forwards.way, backwards.way, atol=1e-4), "a way has no direction in time"
    assert eon.psnr(forwards.frame, backwards.frame).min() > 60


def test_what_is_far_ahead_is_read_from_the_source(net, held_out):
    still = held_out["pans"][:2, :1].expand(-1, SLOTS, -1, -1, -1)
    source = Source(torch.rand(2, 3, 64, 64), torch.full((2, 2, 64, 64), 3.0))
    with torch.no_grad():
        reading = net(still, clock(PAST), source)
    assert torch.allclose(reading.way, source.way, atol=1e-2), "both ways, one after the other"
    read = reading.hypotheses[:, 8, :, 8:-8, 8:-8]
    assert torch.allclose(read, source.frame[..., 11:-5, 11:-5], atol=2e-2)


def test_a_configuration_is_saved_and_loaded(tmp_path):
    model = eon.Prior(**SMALL).eval()
    save_prior(model, tmp_path / "own.safetensors")
    again = load_prior(tmp_path / "own.safetensors")
    assert again.config == model.config == TrajectoryNetConfig(**SMALL)


@pytest.mark.parametrize("past", [True, False])
def test_every_weight_learns(stirred, past):
    frames = torch.rand(2, SLOTS, 3, 32, 32)
    reading = stirred(frames, clock(PAST if past else AROUND), fit=past)
    loss = reading.frame.square().mean()
    for level in reading.levels:
        loss = loss + level.blend.square().mean()
    stirred.zero_grad()
    loss.backward()
    for name, parameter in stirred.named_parameters():
        gradient = parameter.grad
        assert gradient is not None and gradient.isfinite().all(), name
        assert gradient.abs().max() > 0, name


def test_each_level_answers_for_itself(stirred):
    """A loss of the finest level alone leaves the coarser ones' motion as it is."""
    reading = stirred(torch.rand(1, SLOTS, 3, 32, 32), clock(AROUND, 1))
    coarse = reading.levels[1].trajectory.way
    coarse.retain_grad()
    reading.levels[-1].blend.square().mean().backward()
    assert coarse.grad is None
