"""Moving digits: what clips promise, how the digits move, and which handwriting is held out."""

import hashlib
import importlib
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eon_utils.data.moving_digits import HELD_OUT_DIGITS, TRAINING_DIGITS, digits

module = importlib.import_module("eon_utils.data.moving_digits")  # not the function of the same name


@pytest.fixture(scope="module")
def paths():
    """Centres of mass of single digits, (64, 40, 2) pixels, and their ink, (64, 40)."""
    clips = digits(64, frames=40, digits=1)[:, :, 0]
    ink = clips.sum((2, 3))
    pixels = torch.arange(64.0)
    return torch.stack([(clips.sum(2) @ pixels) / ink, (clips.sum(3) @ pixels) / ink], -1), ink


def drawn(monkeypatch, **arguments):
    """Which digits the clips show."""
    used, original = [], module._digit
    with monkeypatch.context() as patch:
        patch.setattr(module, "_digit", lambda index, side: used.append(index) or original(index, side))
        _, labels = digits(**arguments, labels=True)
    return used, labels


def test_clips_are_white_digits_on_black():
    clips = digits(64)
    assert clips.shape == (64, 5, 3, 64, 64) and clips.dtype == torch.float32 and clips.is_contiguous()
    assert clips.min() == 0 and 0.99 < clips.max() <= 1 and torch.equal(clips[:, :, 0], clips[:, :, 2])
    assert (clips == 0).float().mean() > 0.8
    ink = clips[clips > 0]
    assert ((ink > 0.25) & (ink < 0.75)).float().mean() < 0.35  # strokes have edges; measured: 0.25
    assert digits(1, frames=1, size=8).shape == (1, 1, 3, 8, 8)


def test_a_clip_depends_on_seed_and_index_alone():
    several = digits(6, seed=3, start=10)
    assert torch.equal(several[2:4], digits(2, seed=3, start=12))
    assert torch.equal(several, torch.cat([digits(1, seed=3, start=10 + k) for k in reversed(range(6))]).flip(0))
    assert not torch.equal(several[0], several[1]) and not torch.equal(several, digits(6, seed=4, start=10))


def test_another_process_makes_the_same_clips_without_importing_scikit_learn():
    code = "import hashlib, sys; from eon_utils.data.moving_digits import digits\n"
    code += "print(hashlib.sha256(digits(4, seed=2).numpy().tobytes()).hexdigest(), 'sklearn' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [hashlib.sha256(digits(4, seed=2).numpy().tobytes()).hexdigest(), "False"]


def test_training_and_held_out_clips_have_different_digits(monkeypatch):
    used, _ = drawn(monkeypatch, count=4000, frames=1, size=8)
    held_out, _ = drawn(monkeypatch, count=1000, frames=1, size=8, train=False)
    assert set(used) <= set(TRAINING_DIGITS) and len(set(used)) > 0.98 * len(TRAINING_DIGITS)
    assert set(held_out) <= set(HELD_OUT_DIGITS) and len(set(held_out)) > 0.98 * len(HELD_OUT_DIGITS)
    images = [{image.tobytes() for image in module._handwriting()[which, :64]} for which in (used, held_out)]
    assert not images[0] & images[1]


def test_held_out_digits_are_whole_forms():
    # Writers filled in forms with the same text, one after the other: 130 digits, of which some are missing.
    text, first = "".join(str(int(label)) for label in module._handwriting()[:, 64]), HELD_OUT_DIGITS.start
    assert TRAINING_DIGITS.stop == first and HELD_OUT_DIGITS.stop == len(text)
    assert text[first - 8 : first] == text[-8:] == text[122:130] and text[first : first + 17] == text[:17]


def test_labels_are_those_of_the_digits(monkeypatch):
    used, labels = drawn(monkeypatch, count=8, digits=3)
    assert labels.shape == (8, 3) and labels.dtype == torch.int64
    assert labels.flatten().tolist() == module._handwriting()[used, 64].tolist()
    assert torch.equal(digits(8, digits=3, labels=True)[0], digits(8, digits=3))


def test_digits_keep_their_speed_and_their_ink(paths):
    centres, ink = paths
    assert torch.allclose(ink, ink[:, :1].expand_as(ink), rtol=1e-4)  # no part of a digit leaves the frame
    steps = centres.diff(dim=1)
    pace = steps.abs().amax(1, keepdim=True)  # a step with a bounce in it is shorter
    assert pace.norm(dim=-1).min() >= 1 and pace.norm(dim=-1).max() <= 5 + 1e-3
    assert 0 < ((pace - steps.abs()) > 1e-3).float().mean() < 0.15
    turned = steps[:, 1:].sign() != steps[:, :-1].sign()
    to_edge = torch.minimum(centres - centres.amin(1, keepdim=True), centres.amax(1, keepdim=True) - centres)
    assert turned.any() and (to_edge[:, 1:-1] <= pace + 1e-3)[turned].all()


def test_digits_go_everywhere_and_in_any_direction(paths):
    centres, _ = paths
    assert centres.amin() < 16 and centres.amax() > 48
    step = centres[:, 1] - centres[:, 0]
    quarters = torch.stack([step[:, 0] > 0, step[:, 1] > 0], -1).unique(dim=0, return_counts=True)[1]
    assert len(quarters) == 4 and quarters.min() > 6


def test_a_larger_frame_shows_the_same_in_proportion():
    small, large = digits(8), digits(8, size=128)
    difference = F.avg_pool2d(large.flatten(0, 1), 2) - small.flatten(0, 1)
    assert difference.abs().mean() < 0.01 < small.mean()


def test_overlapping_digits_are_merged_by_their_maximum(monkeypatch):
    monkeypatch.setattr(module, "_digit", lambda index, side: np.pad(np.full((side, side), 0.6, np.float32), 1))
    clips = digits(64)
    assert clips.max() <= 0.6 + 1e-6
    ink = clips[:, :, 0].sum((2, 3))
    assert ink.max() <= 2 * 0.6 * 28 * 28 + 0.1 and ink.min() < 0.6 * 28 * 28 * 1.5


def test_bad_parameters_are_named():
    for parameter in ("count", "frames", "digits"):
        with pytest.raises(ValueError, match=f"{parameter}=0.* must be at least 1"):
            digits(**{"count": 1, parameter: 0})
    with pytest.raises(ValueError, match="size=4 at least 8"):
        digits(1, size=4)
    with pytest.raises(ValueError, match="start=-1 at least 0"):
        digits(1, start=-1)
