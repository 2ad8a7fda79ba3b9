"""Phase 4's predictor of frames, and its output fed back."""

import pytest
import torch

from eon_utils import FramePredictor, rollout

DESIGNS = [{}, {"skips": True}, {"skips": True, "noise": 0.25, "widths": (4, 8)}]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("design", DESIGNS)
def test_a_predictor_takes_the_last_frames_of_any_clip(residual, design):
    model = FramePredictor(3, residual, **design).eval()
    clips = torch.rand(2, 5, 3, 32, 48)
    assert model(clips).shape == (2, 3, 32, 48)
    assert torch.equal(model(clips), model(clips[:, 2:]))
    assert torch.equal(model(clips), model.decode(clips, *model.encode(clips)))


def test_a_predictor_of_the_residual_starts_as_copy_last():
    clips = torch.rand(2, 4, 3, 32, 32)
    assert torch.equal(FramePredictor(residual=True, skips=True)(clips), clips[:, -1])
    assert not torch.allclose(FramePredictor(skips=True)(clips), clips[:, -1], atol=0.1)


@pytest.mark.parametrize("shape", [(2, 3, 3, 32, 32), (4, 3, 32, 32)])
def test_too_few_frames_are_named(shape):
    with pytest.raises(ValueError, match=r"clips \(N, T >= 4, 3, H, W\), not \("):
        FramePredictor()(torch.rand(shape))


def test_a_rollout_feeds_its_output_back():
    lengths = []

    def brighter(clips):
        lengths.append(clips.shape[1])
        return clips[:, -1] + 0.3

    frames = rollout(brighter, torch.full((2, 4, 3, 8, 8), 0.2), 4)
    assert frames.shape == (2, 4, 3, 8, 8)
    assert lengths == [4, 5, 6, 7]
    levels = frames[0, :, 0, 0, 0].tolist()
    assert levels == pytest.approx([0.5, 0.8, 1.0, 1.0]), "clipped before it is fed back"
