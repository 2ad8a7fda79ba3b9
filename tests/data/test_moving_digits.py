"""Moving digits: what clips promise, how the digits move, and which handwriting is held out."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eon_utils.data import moving_digits
from eon_utils.data.moving_digits import HELD_OUT_DIGITS, TRAINING_DIGITS, MovingDigits


def digits(*settings, **more):
    return MovingDigits(*settings, **more).stack()


@pytest.fixture(scope="module")
def paths():
    """Centres of mass of single digits, (64, 40, 2) pixels, and their ink, (64, 40)."""
    clips = digits(64, frames=40, digits=1)[:, :, 0]
    ink = clips.sum((2, 3))
    pixels = torch.arange(64.0)
    return torch.stack([(clips.sum(2) @ pixels) / ink, (clips.sum(3) @ pixels) / ink], -1), ink


def drawn(monkeypatch, **arguments):
    """Which digits the clips show."""
    used, original = [], moving_digits._digit
    with monkeypatch.context() as patch:
        patch.setattr(
            moving_digits, "_digit", lambda index, side: used.append(index) or original(index, side)
        )
        _, labels = digits(**arguments, labels=True)
    return used, labels


def test_clips_are_white_digits_on_black():
    clips = digits(64)
    assert clips.shape == (64, 5, 3, 64, 64) and clips.dtype == torch.float32
    assert clips.is_contiguous() and torch.equal(clips[:, :, 0], clips[:, :, 2])
    assert clips.min() == 0 and 0.99 < clips.max() <= 1
    assert (clips == 0).float().mean() > 0.8
    ink = clips[clips > 0]
    assert ((ink > 0.25) & (ink < 0.75)).float().mean() < 0.35  # strokes have edges; measured: 0.25
    assert digits(1, frames=1, size=8).shape == (1, 1, 3, 8, 8)


def test_a_clip_depends_on_seed_and_index_alone():
    several = digits(6, seed=3, start=10)
    assert torch.equal(several[2:4], digits(2, seed=3, start=12))
    singly = [digits(1, seed=3, start=10 + k) for k in reversed(range(6))]
    assert torch.equal(several, torch.cat(singly).flip(0))
    assert not torch.equal(several[0], several[1])
    assert not torch.equal(several, digits(6, seed=4, start=10))


def test_another_process_makes_the_same_clips_without_importing_scikit_learn():
    code = "import hashlib, sys; from eon_utils.data.moving_digits import MovingDigits\n"
    code += "clips = MovingDigits(4, seed=2).stack().numpy().tobytes()\n"
    code += "print(hashlib.sha256(clips).hexdigest(), 'sklearn' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    clips = digits(4, seed=2).numpy().tobytes()
    assert run.stdout.split() == [hashlib.sha256(clips).hexdigest(), "False"]


def test_training_and_held_out_clips_have_different_digits(monkeypatch):
    used, _ = drawn(monkeypatch, count=4000, frames=1, size=8)
    held_out, _ = drawn(monkeypatch, count=1000, frames=1, size=8, train=False)
    assert set(used) <= set(TRAINING_DIGITS) and len(set(used)) > 0.98 * len(TRAINING_DIGITS)
    assert set(held_out) <= set(HELD_OUT_DIGITS)
    assert len(set(held_out)) > 0.98 * len(HELD_OUT_DIGITS)
    pixels = moving_digits._handwriting()[:, :64]
    training_images = {image.tobytes() for image in pixels[used]}
    assert not training_images & {image.tobytes() for image in pixels[held_out]}


def test_held_out_digits_are_whole_forms():
    # Writers filled in forms with the same text, one after the other: 130 digits, of which some are
    # missing.
    text = "".join(str(int(label)) for label in moving_digits._handwriting()[:, 64])
    first = HELD_OUT_DIGITS.start
    assert TRAINING_DIGITS.stop == first and HELD_OUT_DIGITS.stop == len(text)
    assert text[first - 8 : first] == text[-8:] == text[122:130]
    assert text[first : first + 17] == text[:17]


def test_labels_are_those_of_the_digits(monkeypatch):
    used, labels = drawn(monkeypatch, count=8, digits=3)
    assert labels.shape == (8, 3) and labels.dtype == torch.int64
    assert labels.flatten().tolist() == moving_digits._handwriting()[used, 64].tolist()
    assert torch.equal(digits(8, digits=3, labels=True)[0], digits(8, digits=3))


def test_digits_keep_their_speed_and_their_ink(paths):
    centres, ink = paths
    # No part of a digit leaves the frame.
    assert torch.allclose(ink, ink[:, :1].expand_as(ink), rtol=1e-4)
    steps = centres.diff(dim=1)
    pace = steps.abs().amax(1, keepdim=True)  # a step with a bounce in it is shorter
    assert pace.norm(dim=-1).min() >= 1 and pace.norm(dim=-1).max() <= 5 + 1e-3
    assert 0 < ((pace - steps.abs()) > 1e-3).float().mean() < 0.15
    turned = steps[:, 1:].sign() != steps[:, :-1].sign()
    to_first_edge = centres - centres.amin(1, keepdim=True)
    to_last_edge = centres.amax(1, keepdim=True) - centres
    to_edge = torch.minimum(to_first_edge, to_last_edge)
    assert turned.any() and (to_edge[:, 1:-1] <= pace + 1e-3)[turned].all()


def test_digits_go_everywhere_and_in_any_direction(paths):
    centres, _ = paths
    assert centres.amin() < 16 and centres.amax() > 48
    step = centres[:, 1] - centres[:, 0]
    quarters = (step > 0).unique(dim=0, return_counts=True)[1]
    assert len(quarters) == 4 and quarters.min() > 6


def test_a_larger_frame_shows_the_same_in_proportion():
    small, large = digits(8), digits(8, size=128)
    difference = F.avg_pool2d(large.flatten(0, 1), 2) - small.flatten(0, 1)
    assert difference.abs().mean() < 0.01 < small.mean()


def test_overlapping_digits_are_merged_by_their_maximum(monkeypatch):
    def box(index, side):
        return np.pad(np.full((side, side), 0.6, np.float32), 1)

    monkeypatch.setattr(moving_digits, "_digit", box)
    clips = digits(64)
    assert clips.max() <= 0.6 + 1e-6
    ink = clips[:, :, 0].sum((2, 3))
    assert ink.max() <= 2 * 0.6 * 28 * 28 + 0.1 and ink.min() < 0.6 * 28 * 28 * 1.5


def test_bad_parameters_are_named():
    with pytest.raises(ValueError, match="digits=0 must be a whole number, at least 1"):
        digits(1, digits=0)
    with pytest.raises(ValueError, match="size=4 must be a whole number, at least 8"):
        digits(1, size=4)
