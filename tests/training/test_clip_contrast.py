"""Telling clips apart: what is shown to the network, and that it learns from it."""

import numpy as np
import pytest
import torch

from eon_utils import DeadLeaves
from eon_utils.models.content_encoder import ContentEncoder
from eon_utils.training.clip_contrast import QUEUE, ClipContrast, random_views

WIDTHS = (8, 16, 16, 32)


@pytest.fixture
def contrast():
    torch.manual_seed(0)
    encoder = ContentEncoder(WIDTHS)
    return ClipContrast(encoder), encoder


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_views_are_pictures_and_the_seed_s_own():
    frames = torch.rand(3, 3, 32, 48)
    views, again, other = (random_views(frames, seeded(n)) for n in (0, 0, 1))
    assert views.shape == frames.shape and views.min() >= 0 and views.max() <= 1
    assert torch.equal(views, again)
    assert (views - other).abs().mean() > 0.02
    assert (views - frames).abs().mean() > 0.02


def test_the_loss_is_that_of_guessing_where_nothing_tells_clips_apart(contrast):
    objective, encoder = contrast
    clips = torch.full((4, 3, 3, 32, 32), 0.5)
    loss = objective(encoder, clips, 0)
    assert loss.item() == pytest.approx(np.log(4), abs=0.3)


def test_earlier_frames_are_kept_the_newest_first(contrast):
    objective, encoder = contrast
    for step in range(3):
        clips = torch.rand(4, 2, 3, 16, 16)
        before = objective.queue.clone()
        objective(encoder, clips, step)
        assert int(objective.filled) == 4 * (step + 1)
        assert torch.equal(objective.queue[4:], before[:-4])
    many = torch.rand(QUEUE + 8, 2, 3, 8, 8)
    objective(encoder, many, 3)
    assert int(objective.filled) == QUEUE == len(objective.queue)


def test_gradients_reach_what_is_trained_and_nothing_else(contrast):
    objective, encoder = contrast
    objective(encoder, torch.rand(4, 2, 3, 16, 16), 0).backward()
    trained = [*encoder.parameters(), *objective.head.parameters()]
    assert all(parameter.grad is not None for parameter in trained)
    slow = [*objective.slow_encoder.parameters(), *objective.slow_head.parameters()]
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in slow)


def test_clips_are_told_apart_in_the_end(contrast):
    objective, encoder = contrast
    clips = DeadLeaves(16, 4, 32, 0).stack()
    trained = [*encoder.parameters(), *objective.head.parameters()]
    optimizer = torch.optim.Adam(trained, 2e-3)
    losses = []
    for step in range(120):
        objective.filled.zero_()  # these clips alone, again and again
        loss = objective(encoder, clips, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.3, losses
