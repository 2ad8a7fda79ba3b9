"""The online fit: weights of hypotheses, and how the past judges them."""

import torch

from eon_utils.models.online_fit import leave_one_out_weights, ridge_weights


def test_ridge_finds_the_weights_that_made_a_frame():
    hypotheses = torch.randn(2, 3, 4, 3, 32, 32)
    true = torch.tensor([0.5, -0.2, 0.0, 0.7])
    default = torch.tensor([0.9, 0.05, 0.0, 0.0])
    target = (hypotheses * true.view(4, 1, 1, 1)).sum(2)
    fitted = ridge_weights(hypotheses, target, default)
    assert (fitted - true.view(4, 1, 1)).abs().max() < 0.05
    nothing = ridge_weights(0 * hypotheses, 0 * target, default)
    expected = default.view(4, 1, 1).expand_as(nothing)
    assert torch.allclose(nothing, expected, atol=1e-5), "where nothing moved, the default stays"


def test_what_would_have_failed_on_the_past_counts_for_less():
    rng = torch.Generator().manual_seed(0)
    hypotheses = torch.randn(2, 1, 5, 3, 32, 32, generator=rng)
    default = torch.tensor([0.7, 0.05, 0.0, 0.0, 0.2])
    lawful = hypotheses[:, :, 1]
    fitted = ridge_weights(hypotheses, lawful, default)
    mixed = leave_one_out_weights(hypotheses, lawful, default)
    assert (mixed - fitted).abs().max() < 0.05

    fickle = torch.stack([3 * hypotheses[0, :, 1], -hypotheses[1, :, 1]])  # then its opposite
    fitted = ridge_weights(hypotheses, fickle, default)
    mixed = leave_one_out_weights(hypotheses, fickle, default)
    assert (mixed[:, 1] < 0.8 * fitted[:, 1]).all()


def test_one_frame_of_the_past_cannot_judge_itself():
    rng = torch.Generator().manual_seed(0)
    hypotheses = torch.randn(1, 2, 5, 3, 32, 32, generator=rng)
    target = hypotheses[:, :, 1]
    default = torch.tensor([0.7, 0.05, 0.0, 0.0, 0.2])
    fitted = ridge_weights(hypotheses, target, default)
    assert torch.equal(leave_one_out_weights(hypotheses, target, default), fitted)
