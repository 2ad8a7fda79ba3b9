"""Few labels: tasks, draws, the classifiers and how their answers are counted."""

import math

import pytest
import torch

import eon_utils as eon
from eon_utils import few_shot


@pytest.mark.parametrize("task", few_shot.TASKS)
def test_labelled_clips_of_every_class(task):
    clips, labels = few_shot.labelled_clips(task, 2, 5, 32, 0, True)
    classes = 13 if task == "how it moves" else 10
    assert len(clips) == len(labels) == 2 * classes
    assert (labels.bincount() == 2).all()
    query, _ = few_shot.labelled_clips(task, 2, 5, 32, 0, False)
    both = torch.cat([clips, query]).flatten(1)
    assert len(both.unique(dim=0)) == len(clips) + len(query), "what is asked about was given"


def test_bad_questions_are_named():
    with pytest.raises(ValueError, match=r"task='which cat'.*which game"):
        few_shot.labelled_clips("which cat", 2, 5, 32, 0, True)
    with pytest.raises(ValueError, match="class 1 has 2 clips, 3 were asked for"):
        few_shot.sample_shots(torch.tensor([0, 0, 0, 1, 1]), 3, 0)


def test_a_draw_has_each_class_and_depends_on_the_seed():
    labels = torch.arange(5).repeat(20)
    chosen = few_shot.sample_shots(labels, 3, 0)
    assert (labels[chosen].bincount() == 3).all()
    assert len(set(chosen.tolist())) == 15
    assert torch.equal(chosen, few_shot.sample_shots(labels, 3, 0))
    assert not torch.equal(chosen, few_shot.sample_shots(labels, 3, 1))


def share(answers, labels):
    return (answers == labels).float().mean()


def test_embed_is_the_encoder_in_batches():
    clips = torch.rand(70, 2, 3, 4, 4)
    sizes = []

    def encoder(batch):
        sizes.append(len(batch))
        return batch.mean((1, 3, 4))

    vectors = few_shot.embed(encoder, clips)
    assert torch.allclose(vectors, clips.mean((1, 3, 4)))
    assert sizes == [32, 32, 6]


def test_probes_find_what_is_linear():
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(40)
    centres = torch.randn(3, 50, generator=rng)
    vectors = centres[labels] + 0.3 * torch.randn(120, 50, generator=rng)
    support, query = vectors.split(60)
    known, truth = labels.split(60)
    answers = few_shot.linear_probe(support, known, query)
    assert share(answers, truth) > 0.95
    support, query = few_shot.pca_features(support, query, 5)
    assert support.shape == (60, 5)
    assert query.shape == (60, 5)
    answers = few_shot.linear_probe(support, known, query)
    assert share(answers, truth) > 0.95


def test_a_network_from_scratch_learns_from_pixels():
    clips = torch.rand(24, 5, 3, 32, 32) * 0.2
    labels = torch.arange(2).repeat(12)
    clips[labels == 1, :, 0] += 0.7
    torch.manual_seed(0)
    answers = few_shot.train_from_scratch(clips, labels, clips, steps=30)
    assert share(answers, labels) > 0.9


def test_right_answers_are_counted_for_each_seed():
    labels = torch.arange(4).repeat(10)
    known = few_shot.Labelled(torch.eye(4)[labels], labels)
    right = few_shot.few_shot_accuracy(few_shot.linear_probe, known, known, shots=(1, 5), seeds=3)
    assert right.shape == (2, 3)
    assert (right == 100).all()

    def always_the_first(support, labels, query):
        return torch.zeros(len(query))

    pair = (known.inputs, labels)
    right = few_shot.few_shot_accuracy(always_the_first, pair, pair, (2,), 2)
    assert (right == 25).all()


# --- the moves that one of the tasks asks about ---


@pytest.fixture(scope="module")
def moves():
    """Two clips of each move, their labels, and how their middle frames flow."""
    clips, labels = eon.LabelledMoves(26, 5, 64, 3).stack()
    return clips, labels, eon.forward_flow(clips)


def test_straight_moves_go_where_they_are_labelled(moves):
    clips, labels, flow = moves
    assert labels.tolist() == [*range(13)] * 2
    assert clips.shape == (26, 5, 3, 64, 64)
    mean = flow[:, :, 16:48, 16:48].mean((2, 3))
    ahead = mean / mean.norm(dim=1, keepdim=True)
    for move in range(8):
        angle = move * math.pi / 4
        expected = torch.tensor([math.cos(angle), math.sin(angle)])
        for clip in (move, move + 13):
            assert ahead[clip] @ expected > 0.8, eon.MOVES[move]


def test_turns_and_zooms_are_as_they_are_labelled(moves):
    _, _, flow = moves
    place = torch.arange(64) - 31.5
    y, x = torch.meshgrid(place, place, indexing="ij")
    across, down = flow.unbind(1)
    turn = (down * x - across * y).mean((1, 2))
    growth = (across * x + down * y).mean((1, 2))
    for first in (0, 13):
        assert turn[first + 8] > 5, "to the right is clockwise; y points down"
        assert turn[first + 9] < -5
        assert growth[first + 10] > 5, "what comes nearer grows"
        assert growth[first + 11] < -5
        assert flow[first + 12].abs().mean() < 0.2


def test_each_move_is_its_own_clip(moves):
    clips, _, _ = moves
    later = eon.LabelledMoves(2, 5, 64, 3, start=5).stack()[0]
    assert torch.equal(later, clips[5:7])
    held_out = eon.LabelledMoves(2, 5, 64, 3, train=False).stack()[0]
    assert not torch.equal(held_out, clips[:2])
