"""The prior: its contract, what it reaches, and the files of its weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

import eon_utils as eon
from eon_utils.models import prior as prior_module, weight_files
from eon_utils.models.prior import load_prior, save_prior

REAL = Path(__file__).resolve().parents[3] / "shared" / "videos" / "val"
real = pytest.mark.skipif(
    not REAL.is_dir(), reason="needs the camera clips in ../shared/videos/val, no part of this"
)
MOST_OPERATIONS = 2_900  # of tensors, for eight clips of 64x64 pixels
MOST_BYTES = 5_000_000  # of the shipped weights


class Operations(TorchDispatchMode):
    """Counts the operations on tensors, and the numbers in the largest that they return."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        self.count += 1
        if isinstance(output, torch.Tensor):
            self.largest = max(self.largest, output.numel())
        return output


@pytest.fixture(params=["shipped", "untrained"])
def either(request, prior, untrained):
    """The shipped prior, and one as it is built."""
    return prior if request.param == "shipped" else untrained()


def leaves(count, frames, size, seed=3, **settings):
    return eon.DeadLeaves(count, frames, size, seed, train=False, **settings).stack()


def level(frames, target):
    """Mean PSNR in dB, an exact frame as 60."""
    return eon.psnr(frames, target).clamp(max=60).mean()


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
@pytest.mark.parametrize("method", ["forward", "predict", "flow", "features", "forward_features"])
def test_wrong_shapes_are_named(prior, method, shape):
    numbers = str(shape)[1:-1].replace(" ", ".")
    with pytest.raises(ValueError, match=r"T >= 2.*multiples of 16, not \(" + numbers):
        getattr(prior, method)(torch.rand(shape))


def test_no_clips_are_no_error(prior):
    clips = torch.rand(0, 5, 3, 32, 48)
    assert prior.predict(clips).shape == (0, 3, 32, 48)
    assert prior.predict(clips, steps=2).shape == (0, 2, 3, 32, 48)
    assert prior.between(clips[:, :2], clips[:, 3:]).shape == (0, 3, 32, 48)
    assert prior.flow(clips).shape == (0, 2, 32, 48)


@pytest.mark.parametrize("method", ["forward", "predict", "flow", "features", "forward_features"])
def test_values_out_of_range_are_named(prior, method):
    ask = getattr(prior, method)
    clips = torch.rand(1, 3, 3, 16, 16)
    for wrong, text in ((1.5, "to 1.5"), (-0.5, "from -0.5"), (255.0, "to 255"), (None, "nan")):
        spoilt = clips.clone()
        spoilt[0, 1, 2, 3, 4] = float("nan") if wrong is None else wrong
        with pytest.raises(ValueError, match=rf"float in \[0, 1\] or uint8, not.*{text}"):
            ask(spoilt)
    ask(1.15 * clips - 0.05)  # as resized frames are


@pytest.mark.parametrize("method", ["predict", "flow", "features"])
def test_bytes_are_taken_as_what_they_stand_for(prior, method):
    clips = torch.randint(256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    ask = getattr(prior, method)
    assert torch.equal(ask(clips), ask(clips / 255))
    assert torch.equal(ask(clips.double() / 255), ask((clips.double() / 255).float()))
    with pytest.raises(ValueError, match=r"float in \[0, 1\] or uint8, not torch.int64"):
        ask(clips.long())


def test_features_are_motion_and_looks(prior):
    clips = leaves(2, 4, 32)
    motion = eon.velocity_histogram(prior.flow(clips))
    parts = torch.cat([motion, prior.looks(clips)], 1)
    assert torch.equal(parts, prior.features(clips))


def test_arrays_and_single_clips_get_a_remedy(prior):
    with pytest.raises(TypeError, match=r"not ndarray; torch.from_numpy makes one"):
        prior.predict(torch.rand(1, 2, 3, 16, 16).numpy())
    with pytest.raises(ValueError, match=r"not \(2, 3, 16, 16\); add \[None\] for a batch of one"):
        prior.predict(torch.rand(2, 3, 16, 16))


@pytest.mark.parametrize("steps", [0, -1, 1.5, float("nan"), "3"])
def test_steps_that_cannot_be_counted_are_an_error(prior, steps):
    with pytest.raises(ValueError, match=f"steps={steps!r} must be a whole number, at least 1"):
        prior.predict(torch.rand(1, 3, 3, 16, 16), steps=steps)


def test_a_clip_is_predicted_alike_alone_and_among_others(prior):
    clips = leaves(3, 5, 64)
    together = prior.predict(clips)
    alone = torch.cat([prior.predict(clip[None]) for clip in clips])
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.equal(together, prior.predict(clips))


def test_many_clips_are_predicted_in_parts_that_fit_the_memory(prior):
    clips = leaves(8, 2, 64).repeat(5, 1, 1, 1, 1)
    with Operations() as some:
        prior.predict(clips[:16])
    with Operations() as all_of_them:
        together = prior.predict(clips)
    assert all_of_them.largest <= max(some.largest, clips.numel())
    parts = torch.cat([prior.predict(part) for part in clips.split(10)])
    assert torch.allclose(together, parts, atol=1e-4)


@pytest.mark.parametrize("ask", ["forward", "forward_features"])
def test_a_frozen_prior_takes_many_clips_in_parts(prior, monkeypatch, ask):
    monkeypatch.setattr(prior_module, "PIXELS_AT_ONCE", 3 * 32 * 32)
    taken = []
    read = prior.predict_motion
    monkeypatch.setattr(prior, "predict_motion", lambda part: taken.append(len(part)) or read(part))
    clips = leaves(7, 2, 32)
    together = getattr(prior, ask)(clips)
    alone = getattr(prior, ask)(clips[:1])
    assert taken == [3, 3, 1, 1]
    if ask == "forward":
        together, alone = {"": together}, {"": alone}
    for name, part in together.items():
        assert len(part) == 7 and torch.allclose(part[:1], alone[name], atol=1e-3)
    getattr(prior, ask)(clips.requires_grad_())
    assert taken[4:] == [7], "whole where gradients are wanted"


@pytest.mark.parametrize("frames", [2, 5])
def test_it_takes_few_operations(prior, frames):
    with Operations() as operations:
        prior.predict(torch.rand(8, frames, 3, 64, 64))
    assert operations.count <= MOST_OPERATIONS


def test_steps_go_on_from_its_own_frames(either):
    clips = leaves(1, 5, 32)
    frames = either.predict(clips, steps=3)
    first = frames[:, 0]
    assert torch.allclose(first, either.predict(clips), atol=1e-5)
    assert torch.allclose(frames[:, :2], either.predict(clips, steps=2), atol=1e-5)
    again = either.predict(torch.cat([clips, first[:, None]], 1))
    assert eon.psnr(frames[:, 1], again) > eon.psnr(frames[:, 1], first) + 6


def test_the_last_four_frames_are_read(prior):
    clips = leaves(2, 6, 32)
    frame = prior.predict(clips)
    assert torch.allclose(frame, prior.predict(clips[:, -4:]), atol=1e-5)
    assert not torch.allclose(frame, prior.predict(clips[:, -3:]), atol=1e-3)


# --- between, and anywhere ---


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_frame_between_is_the_same_from_either_side(either, length):
    clips = leaves(4, 7, 64)
    before = clips[:, 3 - length : 3]
    after = clips[:, 4 : 4 + length]
    frame = either.between(before, after)
    assert frame.shape == (4, 3, 64, 64)
    assert frame.min() >= 0 and frame.max() <= 1 and not frame.requires_grad
    backwards = either.between(after.flip(1), before.flip(1))
    assert (frame - backwards).square().mean() < 1e-3
    halves = (before[:, -1] + after[:, 0]) / 2
    assert level(frame, clips[:, 3]) > level(halves, clips[:, 3]) + 3


def test_of_two_clips_between_is_asked_alike(prior):
    clips = torch.rand(2, 3, 3, 16, 32)
    as_bytes = (255 * clips).round().byte()
    frame = prior.between(as_bytes[:, :1], as_bytes[:, 2:])
    filled = prior.fill(as_bytes[:, [0, 2]] / 255, [-1, 1])
    assert torch.allclose(frame, filled, atol=1e-5)
    with pytest.raises(ValueError, match=r"same shape, not \(2, 2, .* and \(2, 1, "):
        prior.between(clips[:, :2], clips[:, 2:])
    with pytest.raises(ValueError, match=r"T >= 1.*multiples of 16, not \(2, 0, "):
        prior.between(clips[:, :0], clips[:, 2:])
    with pytest.raises(ValueError, match=r"multiples of 16, not \(2, 1, 3, 15, 32\)"):
        prior.between(clips[:, :1], clips[:, 2:, :, :15])
    with pytest.raises(ValueError, match=r"not from .* to 2"):
        prior.between(clips[:, :1], 2 + 0 * clips[:, 2:])


@pytest.mark.parametrize(
    ("times", "frames"),
    [
        ([-3, -1, 2], [0, 2, 5]),
        ([2, -1, -3], [5, 2, 0]),
        ([-2, -1], [1, 2]),
        ([1, 2, 3], [4, 5, 6]),
        ([-1, 1, 2, 3], [2, 4, 5, 6]),
        ([-1.0, 3.0], [2, 6]),
    ],
)
def test_a_frame_is_filled_in_at_any_times(either, moving, times, frames):
    clips = moving(1.5, -1.0, frames=7)
    frame = either.fill(clips[:, frames], times)
    assert frame.shape == (1, 3, 64, 64)
    inner = (..., slice(8, -8), slice(8, -8))
    nearest = frames[min(range(len(times)), key=lambda index: abs(times[index]))]
    target = clips[:, 3][inner]
    assert level(frame[inner], target) > level(clips[:, nearest][inner], target) + 6


def test_the_next_frame_and_those_between_are_filled_in(prior):
    clips = leaves(2, 4, 32)
    following = prior.predict(clips)
    assert torch.allclose(prior.fill(clips, [-4, -3, -2, -1]), following, atol=1e-5)
    assert torch.allclose(prior.fill(clips.flip(1), [1, 2, 3, 4]), following, atol=1e-5)
    middle = prior.between(clips[:, :2], clips[:, 2:])
    assert torch.allclose(prior.fill(clips, [-2, -1, 1, 2]), middle, atol=1e-5)


@pytest.mark.parametrize(
    "times",
    [
        *([], [-1, 1], [-1, 0, 1], [2, 2, 2], [-2, -1, float("nan")], [-2, -1, float("inf")]),
        *("abc", None, [[-2], [-1], [1]]),
    ],
)
def test_other_times_are_an_error(prior, times):
    with pytest.raises(ValueError, match=r"times=.* must be 3 numbers, none of them 0"):
        prior.fill(torch.rand(1, 3, 3, 16, 16), times)


# --- motion ---


@pytest.mark.parametrize(("dx", "dy"), [(1.0, 0.0), (0.0, -2.0), (-1.5, 2.5)])
def test_flow_points_where_things_go(either, moving, dx, dy):
    inner = either.flow(moving(dx, dy))[0, :, 16:-16, 16:-16]
    assert (inner - torch.tensor([dx, dy])[:, None, None]).norm(dim=0).median() < 0.4


@pytest.mark.parametrize("length", [2, 5])
def test_a_clip_of_one_picture_goes_on_with_it(prior, length):
    picture = torch.rand(2, 1, 3, 32, 48)
    clips = picture.expand(-1, length, -1, -1, -1)
    for frame in (prior.predict(clips), prior.between(clips, clips), prior.predict(clips, 3)[:, 2]):
        assert (frame - picture[:, 0]).abs().max() < 1e-6
    one_moves = torch.cat([clips[:1], torch.rand(1, length, 3, 32, 48)])
    assert (prior.predict(one_moves)[0] - picture[0]).abs().max() < 1e-6
    assert (prior.predict(one_moves)[1] - one_moves[1, -1]).abs().max() > 0.01


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
    back = prior.predict_motion(clips[:, :5]).way
    turned, settled = (
        (flow - exact[:, 4]).norm(dim=1).mean() for flow in (-back, prior.flow(clips[:, :5]))
    )
    assert settled < 0.95 * turned, (turned, settled)


# --- features ---


def test_maps_are_those_that_feature_info_names(prior):
    for height, width in ((64, 96), (16, 16)):
        maps = prior.forward_features(torch.rand(2, 5, 3, height, width))
        assert list(maps) == [info["module"] for info in prior.feature_info]
        for info, features in zip(prior.feature_info, maps.values(), strict=True):
            stride = info["reduction"]
            assert features.shape == (2, info["num_chs"], height // stride, width // stride)


def test_maps_of_motion_end_in_it(prior):
    clips = torch.rand(2, 5, 3, 32, 32)
    maps = prior.forward_features(clips)
    levels = prior.predict_motion(clips).levels[::-1]  # from the finest on
    for level, found in enumerate(levels):
        way_and_bend = torch.cat([*found.trajectory], 1)
        assert torch.allclose(maps[f"motion{level}"][:, -4:], way_and_bend, atol=1e-4)


def test_maps_of_looks_begin_with_the_last_frame(prior):
    clips = torch.rand(2, 5, 3, 32, 32)
    maps = prior.forward_features(clips)
    for level in (1, 2, 3, 4):
        small = torch.nn.functional.avg_pool2d(clips[:, -1] - 0.5, 2**level)
        assert torch.allclose(maps[f"looks{level}"][:, :3], small, atol=1e-5)


def test_it_can_be_tuned_under_a_head_of_ones_own():
    body = load_prior().requires_grad_(True).train()
    body.forward_features(torch.rand(2, 5, 3, 32, 32))["motion4"].square().mean().backward()
    gradients = [parameter.grad for parameter in body.net.decoder[4].parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert not body.features(torch.rand(2, 5, 3, 32, 32)).requires_grad


# --- files ---


@pytest.mark.parametrize(
    "settings",
    [{"fusion": 8}, {"encoder": (8, 8, 16, 16), "decoder": (8, 8, 8, 16, 16)}],
)
def test_designs_run_and_save(tmp_path, untrained, settings):
    model = untrained(**settings)
    clips = torch.rand(2, 5, 3, 32, 32)
    sha256 = save_prior(model, tmp_path / "own.safetensors")
    assert len(sha256) == 64
    again = load_prior(tmp_path / "own.safetensors")
    assert torch.allclose(again.predict(clips), model.predict(clips), atol=1e-3)
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
    about = {"prior": json.dumps({"model": {"candidates": 2}})}
    save_file({"a": torch.zeros(1)}, tmp_path / "old.safetensors", about)
    with pytest.raises(ValueError, match=r"old\.safetensors holds another kind.*make prior"):
        load_prior(tmp_path / "old.safetensors")
    about = {"prior": json.dumps({"model": {"fusion": 24}})}
    save_file({"a": torch.zeros(1)}, tmp_path / "before.safetensors", about)
    with pytest.raises(ValueError, match=r"before\.safetensors .* without a content encoder"):
        load_prior(tmp_path / "before.safetensors")
    monkeypatch.setattr(weight_files, "WEIGHTS", tmp_path)
    save_prior(untrained(), tmp_path / "prior.safetensors")
    (tmp_path / "prior.md").write_text("another hash", encoding="utf-8")
    with pytest.raises(ValueError, match="not the file that its model card names"):
        load_prior()


def test_what_ships_is_small_frozen_and_in_eval_mode(prior):
    assert sum(parameter.numel() for parameter in prior.parameters()) <= 3_000_000
    assert (weight_files.WEIGHTS / "prior.safetensors").stat().st_size <= MOST_BYTES
    assert not any(parameter.requires_grad for parameter in prior.parameters())
    assert not prior.training


# --- quality ---


def test_a_still_clip_stays_as_it_is(either):
    clips = eon.CameraPans(4, 1, 64, seed=3, train=False).stack().expand(-1, 5, -1, -1, -1)
    assert eon.psnr(either.predict(clips), clips[:, -1]).min() > 45
    assert eon.psnr(either.between(clips[:, :2], clips[:, 3:]), clips[:, -1]).min() > 45


def test_it_beats_copying_and_flow_on_clips_never_seen(either, held_out):
    above_flow = {}
    for source, clips in held_out.items():
        clips = clips[:, :6]
        ours = eon.next_frame_psnr(either, clips)
        assert ours > eon.next_frame_psnr(eon.copy_last, clips) + 1, source
        above_flow[source] = ours - eon.next_frame_psnr(eon.flow_extrapolation, clips)
    del above_flow["digits"]  # there flow is better
    assert sum(above_flow.values()) > 3 * 0.3 and above_flow["leaves"] > 0.1


def test_between_it_beats_flow_read_half_way(either, held_out):
    above_flow = []
    for source, clips in held_out.items():
        before, after, target = clips[:, 1:3], clips[:, 4:6], clips[:, 3]
        ours = level(either.between(before, after), target)
        halves = (before[:, -1] + after[:, 0]) / 2
        assert ours > level(halves, target) + 1, source
        by_flow = eon.transfer.interpolate_by_flow(before, after).clamp(0, 1)
        above_flow.append(ours - level(by_flow, target))
    assert torch.stack(above_flow).mean() > 0.3


def test_thirty_frames_ahead_nothing_blows_up(prior, held_out):
    start = torch.cat([clips[:1, :5] for clips in held_out.values()])
    far = prior.predict(start, steps=30)
    assert far.isfinite().all() and far[:, -1].std() < 1.5 * start[:, -1].std()


@real
def test_camera_video(prior):
    videos = eon.score_clips(REAL, 7, 64, per_file=1)
    clips = torch.cat([*videos.values()])  # one of each file
    context, target = clips[:, :5], clips[:, 5]
    ours = level(prior.predict(context), target)
    assert ours > level(eon.flow_extrapolation(context), target) + 0.2
    assert ours > level(clips[:, 4], target) + 1
    before, after, middle = clips[:, :3], clips[:, 4:], clips[:, 3]
    by_flow = eon.transfer.interpolate_by_flow(before, after).clamp(0, 1)
    assert level(prior.between(before, after), middle) > level(by_flow, middle)
