"""Moving leaves: occlusions, acceleration, light, speed, and what is other in held-out clips."""

import numpy as np
import torch
import torch.nn.functional as F
from flow_checks import carried_back

from eon_utils.data import dead_leaves
from eon_utils.data.dead_leaves import DeadLeaves


def test_occlusions_are_where_flow_fails():
    clips, flow, hidden = DeadLeaves(40, flow=True).stack()
    carried = carried_back(clips[:, 1], flow[:, 0])
    error = (carried - clips[:, 0]).square().mean(1, keepdim=True)
    inside = F.pad(torch.ones(1, 1, 48, 48), (8, 8, 8, 8)).bool()  # what another leaf hides
    inside = inside.expand_as(error)
    hidden_error = error[hidden[:, 0] & inside].mean()
    assert hidden_error > 10 * error[~hidden[:, 0] & inside].mean()
    assert 0.01 < hidden.float().mean() < 0.2


def test_leaves_accelerate():
    _, flow, _ = DeadLeaves(60, flow=True).stack()
    middle = flow[..., 31:33, 31:33].mean((-1, -2))
    assert (middle[:, 3] - middle[:, 0]).norm(dim=1).median() > 0.05


def test_light_changes_in_some_clips():
    clips = DeadLeaves(200, size=32).stack()
    change = (clips[:, -1].mean((1, 2, 3)) - clips[:, 0].mean((1, 2, 3))).abs()
    assert 0.1 < (change > 0.05).float().mean() < 0.5


def test_speed_is_a_limit():
    _, slow, _ = DeadLeaves(30, flow=True, speed=1).stack()
    _, fast, _ = DeadLeaves(30, flow=True, speed=8).stack()
    assert slow.norm(dim=2).mean() < fast.norm(dim=2).mean() / 4


def test_held_out_leaves_have_other_numbers_and_other_textures():
    assert not torch.equal(DeadLeaves(1)[0], DeadLeaves(1, train=False)[0])
    # Steps between neighbours: the clouds themselves have so few waves that any two of them are
    # somewhat alike.
    steps = []
    for train in (True, False):
        textures = dead_leaves._textures(train)[:, ::8].astype(np.float32)
        steps.append(np.diff(textures).reshape(dead_leaves.TEXTURES, -1))
    ours, theirs = steps
    correlation = np.corrcoef(ours, theirs)[: len(ours), len(ours) :]
    assert np.abs(correlation).max() < 0.2
