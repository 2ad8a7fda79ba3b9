"""Prediction of frames: the predictor, its metrics, what it has to beat, and the mixture to train it on."""

import itertools
from functools import partial

import pytest
import torch

from eon_utils import (
    FRAME_BASELINES,
    FramePredictor,
    copy_last,
    deep_path_share,
    next_frame_psnr,
    flow_extrapolation,
    psnr,
    rollout,
    videos,
)
from eon_utils.evaluation.baselines import linear_extrapolation


@pytest.fixture(scope="module")
def pans():
    return videos.pans(4, frames=6, seed=1)


# --- the predictor ---


@pytest.mark.parametrize("change", [False, True])
@pytest.mark.parametrize("design", [{}, {"skips": True}, {"skips": True, "noise": 0.25, "widths": (4, 8)}])
def test_a_predictor_takes_the_last_frames_of_any_clip(change, design):
    model, clips = FramePredictor(3, change, **design).eval(), torch.rand(2, 5, 3, 32, 48)
    assert model(clips).shape == (2, 3, 32, 48)
    assert torch.equal(model(clips), model(clips[:, 2:]))
    assert torch.equal(model(clips), model.decode(clips, *model.encode(clips)))


def test_a_predictor_of_the_change_starts_as_copy_last():
    clips = torch.rand(2, 4, 3, 32, 32)
    assert torch.equal(FramePredictor(change=True, skips=True)(clips), clips[:, -1])
    assert not torch.allclose(FramePredictor(skips=True)(clips), clips[:, -1], atol=0.1)


@pytest.mark.parametrize("shape", [(2, 3, 3, 32, 32), (4, 3, 32, 32)])
def test_too_few_frames_are_named(shape):
    with pytest.raises(ValueError, match=r"clips \(N, T >= 4, 3, H, W\), not \("):
        FramePredictor()(torch.rand(shape))


def test_a_rollout_feeds_its_output_back():
    steps = []

    def brighter(clips):
        steps.append(clips.shape[1])
        return clips[:, -1] + 0.3

    made = rollout(brighter, torch.full((2, 4, 3, 8, 8), 0.2), 4)
    assert made.shape == (2, 4, 3, 8, 8) and steps == [4, 5, 6, 7]
    assert made[0, :, 0, 0, 0].tolist() == pytest.approx([0.5, 0.8, 1.0, 1.0])  # clipped before it is fed back


# --- its metrics ---


def test_next_frame_psnr_is_that_of_the_last_frame():
    clips = torch.rand(3, 5, 3, 16, 16)
    clips[:, -1] = (clips[:, -2] + 0.1).clamp(0, 1)
    wanted = psnr(clips[:, 3], clips[:, 4]).mean().item()
    assert next_frame_psnr(copy_last, clips) == pytest.approx(wanted)
    assert next_frame_psnr(lambda given: clips[:, -1], clips) == 60  # exact: no infinity spoils the mean
    clips[:, -1] = 1
    assert next_frame_psnr(lambda given: given[:, -1] + 9, clips) == 60  # clipped


class Parts(torch.nn.Module):
    """The last frame, plus so much of a code that tells clips apart, and of a skip that does not."""

    def __init__(self, code, skip):
        super().__init__()
        self.parts = code, skip

    def encode(self, clips):
        return clips[:, -1].mean((1, 2, 3)).view(-1, 1, 1, 1), [torch.ones(len(clips), 1, 1, 1)]

    def decode(self, clips, code, skips):
        return clips[:, -1] + self.parts[0] * code + self.parts[1] * skips[0]


@pytest.mark.parametrize(("code", "skip", "share"), [(0.2, 0.0, 1.0), (0.0, 0.2, 0.0), (0.0, 0.0, 0.0)])
def test_deep_path_share_of_known_parts(code, skip, share):
    given = torch.linspace(0, 0.6, 4).view(4, 1, 1, 1, 1).expand(4, 2, 3, 8, 8)
    model = Parts(code, skip)
    clips = torch.cat([given, model.decode(given, *model.encode(given))[:, None]], 1)
    assert deep_path_share(model, clips) == pytest.approx(share, abs=1e-5)


# --- what it has to beat ---


def test_baselines_on_motion_they_can_follow(pans):
    clips = torch.stack([torch.full((3, 16, 16), 0.2 * i) for i in range(4)])[None]
    assert torch.allclose(linear_extrapolation(clips[:, :3]), clips[:, 3]) and torch.equal(copy_last(clips), clips[:, 3])
    assert linear_extrapolation(torch.cat([clips, clips[:, 3:] + 0.3], 1)).max() == 1  # clipped
    levels = {name: next_frame_psnr(predict, pans) for name, predict in FRAME_BASELINES.items()}
    assert levels["optical flow"] > max(levels["copy last"], levels["linear"]) + 3


def test_optical_flow_moves_by_what_moved(pans):
    picture = pans[0, 0]
    clip = torch.stack([picture.roll(2 * t, 2) for t in range(3)])[None]
    made, last, wanted = (x[..., 8:-8, 8:-8] for x in (flow_extrapolation(clip[:, :2]), clip[:, 1], clip[:, 2]))
    assert psnr(made, wanted) > psnr(last, wanted) + 8
    assert torch.equal(flow_extrapolation(clip[:, :1].expand(-1, 3, -1, -1, -1)), clip[:, 0])  # nothing moves


# --- the mixture ---


def test_a_mixture_depends_on_seed_and_index_alone():
    whole = videos.mixed(8, size=16, seed=3)
    assert whole.shape == (8, 5, 3, 16, 16) and whole.dtype == torch.float32
    assert torch.equal(videos.mixed(3, size=16, seed=3, start=4), whole[4:7])
    assert not torch.equal(videos.mixed(8, size=16, seed=4), whole)


def test_sources_take_turns_by_weight_and_none_of_their_clips_is_left_out(monkeypatch):
    asked = []
    for name in videos.SOURCES:

        def note(count, frames, size, seed, start, train, name=name):
            asked.append((name, start))
            return torch.zeros(count, frames, 3, size, size)

        monkeypatch.setitem(videos.SOURCES, name, note)
    videos.mixed(240, weights={"leaves": 3.0, "pans": 1.0})
    assert asked.count(("leaves", 0)) == 1 and len(asked) == 240
    for name, count in (("leaves", 180), ("pans", 60)):
        assert sorted(start for other, start in asked if other == name) == list(range(count))
    kinds = [name for name, _ in asked]
    assert max(len(list(run)) for _, run in itertools.groupby(kinds)) <= 4  # evenly spread


@pytest.mark.parametrize("weights", [{"films": 1.0}, {"pans": -1.0, "leaves": 2.0}, {"pans": 0.0}])
def test_bad_weights_are_named(weights):
    with pytest.raises(ValueError, match="must name sources among digits, leaves, pans, games"):
        videos.mixed(1, weights=weights)


def test_train_and_held_out_parts_of_a_mixture_differ():
    train, held_out = (videos.mixed(8, size=16, train=train) for train in (True, False))
    assert not {clip.numpy().tobytes() for clip in train} & {clip.numpy().tobytes() for clip in held_out}


def pans_of_step(step):
    return videos.pans(2, size=16, start=2 * step)


def test_prefetched_batches_are_those_of_their_steps():
    ahead = videos.Prefetched(pans_of_step, steps=8)
    for step in (0, 1, 2, 5, 6, 1):  # a jump starts anew, as a resumed training does
        assert torch.equal(ahead(step), pans_of_step(step))
    assert ahead.waited > 0
    mixture = videos.Prefetched(partial(_mixture, 3), steps=2)
    assert torch.equal(mixture(0), _mixture(3, 0))


def _mixture(seed, step):
    return videos.mixed(2, size=16, seed=seed, start=2 * step)
