"""The experiments of phase 6: labels, flow, surprise, noise; and the prior taken elsewhere."""

import pytest
import torch

import eon_utils as eon
from eon_utils.evaluation import few_shot, transfer


@pytest.fixture(scope="module")
def prior():
    return eon.load_prior()


def test_moves_move_as_they_are_labelled():
    clips, labels = eon.videos.moves(26, 5, 64, 3)
    assert labels.tolist() == [*range(13)] * 2 and clips.shape == (26, 5, 3, 64, 64)
    flow = eon.forward_flow(clips)
    across, down = flow[:, :, 16:48, 16:48].mean((2, 3)).T
    for kind, (x, y) in enumerate([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]):
        for clip in (kind, kind + 13):
            ahead = torch.stack([across[clip], down[clip]]) / torch.hypot(across[clip], down[clip])
            assert ahead @ torch.tensor([x, y]).float() / (x * x + y * y) ** 0.5 > 0.8, eon.videos.MOVES[kind]
    y, x = torch.meshgrid(*[torch.arange(64) - 31.5] * 2, indexing="ij")
    turn, growth = (flow[:, 1] * x - flow[:, 0] * y).mean((1, 2)), (flow[:, 0] * x + flow[:, 1] * y).mean((1, 2))
    for clip in (0, 13):
        assert turn[8 + clip] > 5 and turn[9 + clip] < -5, "to the right is clockwise; y points down"
        assert growth[10 + clip] > 5 and growth[11 + clip] < -5, "what comes nearer grows"
        assert flow[12 + clip].abs().mean() < 0.2
    assert torch.equal(eon.videos.moves(2, 5, 64, 3, start=5)[0], clips[5:7]), "each clip is its own"
    assert not torch.equal(eon.videos.moves(2, 5, 64, 3, train=False)[0], clips[:2])


@pytest.mark.parametrize("task", few_shot.TASKS)
def test_labelled_clips_of_every_class(task):
    clips, labels = few_shot.labelled_clips(task, 2, 5, 32, 0, True)
    assert (labels.bincount() == 2).all() and len(clips) == len(labels) == 2 * (
        13 if task == "how it moves" else 10
    )
    other = few_shot.labelled_clips(task, 2, 5, 32, 0, False)[0]
    assert not any(torch.equal(a, b) for a in clips for b in other), "what is asked about was given"


def test_bad_questions_are_named():
    with pytest.raises(ValueError, match=r"task='which cat'.*which game"):
        few_shot.labelled_clips("which cat", 2, 5, 32, 0, True)
    with pytest.raises(ValueError, match="class 1 has 2 clips, 3 were asked for"):
        few_shot.sample_shots(torch.tensor([0, 0, 0, 1, 1]), 3, 0)


def test_few_draws_each_class_and_depends_on_the_seed():
    labels = torch.arange(5).repeat(20)
    chosen = few_shot.sample_shots(labels, 3, 0)
    assert (labels[chosen].bincount() == 3).all() and len(set(chosen.tolist())) == 15
    assert torch.equal(chosen, few_shot.sample_shots(labels, 3, 0)) and not torch.equal(chosen, few_shot.sample_shots(labels, 3, 1))


def test_probes_find_what_is_linear():
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(40)
    given = torch.eye(3)[labels] @ torch.randn(3, 50, generator=rng) + 0.3 * torch.randn(120, 50, generator=rng)
    assert (few_shot.linear_probe(given[:60], labels[:60], given[60:]) == labels[60:]).float().mean() > 0.95
    kept, asked = few_shot.pca_features(given[:60], given[60:], 5)
    assert kept.shape == (60, 5) and asked.shape == (60, 5)
    assert (few_shot.linear_probe(kept, labels[:60], asked) == labels[60:]).float().mean() > 0.95


def test_a_network_from_scratch_learns_from_pixels():
    clips = torch.rand(24, 5, 3, 32, 32) * 0.2
    labels = torch.arange(2).repeat(12)
    clips[labels == 1, :, 0] += 0.7
    torch.manual_seed(0)
    assert (few_shot.train_from_scratch(clips, labels, clips, steps=30) == labels).float().mean() > 0.9


def test_right_answers_are_counted_for_each_seed():
    labels = torch.arange(4).repeat(10)
    given = torch.eye(4)[labels]
    found = few_shot.few_shot_accuracy(few_shot.linear_probe, (given, labels), (given, labels), shots=(1, 5), seeds=3)
    assert found.shape == (2, 3) and (found == 100).all()
    nonsense = few_shot.few_shot_accuracy(lambda a, y, b: torch.zeros(len(b)), (given, labels), (given, labels), (2,), 2)
    assert (nonsense == 25).all()


def test_flow_baselines_see_a_moved_picture():
    large = eon.photos((80, 80), ("astronaut",))
    clip = torch.stack([large[0][:, 8:72, 8 - 2 * t : 72 - 2 * t] for t in range(4)])[None]
    for method in ("dis", "tvl1"):
        flow = eon.forward_flow(clip, method)
        assert flow.shape == (1, 2, 64, 64)
        assert (flow[0, :, 16:48, 16:48].mean((1, 2)) - torch.tensor([2.0, 0.0])).abs().max() < 0.4


def test_events_happen_in_the_last_frame_alone():
    films = eon.videos.pans(6, 13, 32, 0)
    events = transfer.make_events(films, 0)
    assert set(events) == {"nothing", "scene cut", "teleport", "backwards", "frozen", "new object"}
    for name, clips in events.items():
        assert clips.shape == (6, 7, 3, 32, 32) and torch.equal(clips[:, :6], films[:, :6])
        assert torch.equal(clips[:, 6], films[:, 6]) == (name == "nothing")
    changed = (events["new object"][:, 6] != films[:, 6]).any(1).float().mean((1, 2))
    assert (changed > 0.01).all() and (changed < 0.35).all()


def test_events_surprise_and_nothing_does_not(prior):
    events = transfer.make_events(eon.videos.pans(8, 13, 64, 1), 0)
    calm = transfer.surprise(prior.predict, events["nothing"])
    assert calm.shape == (8,) and calm.mean().abs() < 1
    for name in ("scene cut", "teleport", "backwards", "new object"):
        assert transfer.surprise(prior.predict, events[name]).mean() > calm.mean() + 1, name


def test_adapting_helps_and_keeps_the_model_as_it_was(prior):
    clips, before = eon.videos.leaves(8, 5, 32, 3), prior.state_dict()["last.4.bias"].clone()

    def loss(model, batch, step):
        return eon.prior_training.prediction_loss(model, batch, step)[0]

    steps, seconds, levels = transfer.fine_tune(prior, clips, clips, loss, (0, 2, 25), seed=0)
    assert steps == (0, 2, 25) and seconds[0] == 0 < seconds[1] < seconds[2]
    assert levels[2] > levels[0], "on the clips that it was trained on"
    assert torch.equal(prior.state_dict()["last.4.bias"], before) and not prior.training
    assert transfer.fine_tune(prior, clips, clips, loss, (0, 2), seed=0)[2] == levels[:2], "same seed, same numbers"


def test_the_frame_in_between(prior):
    films = eon.videos.leaves(6, 11, 64, 2, train=False)
    goal, mean = films[:, 5], (films[:, 4] + films[:, 6]) / 2
    ways = {"mean": mean, "flow": transfer.interpolate_by_flow(films[:, :5], films[:, 6:])}
    ways["prior"] = transfer.between(prior.predict, films[:, :5], films[:, 6:])
    levels = {name: eon.psnr(made, goal).mean() for name, made in ways.items()}
    assert levels["flow"] > levels["mean"] + 2 and levels["prior"] > levels["mean"] + 2, levels
    turned = transfer.between(prior.predict, films.flip(1)[:, :5], films.flip(1)[:, 6:])
    assert (turned - ways["prior"]).abs().mean() < 1e-4, "neither side comes first"


# --- elsewhere ---


def test_torch_export_says_the_same(prior):
    clips = eon.videos.leaves(1, 3, 32, 4)
    program = torch.export.export(prior, (clips,))
    assert torch.allclose(program.module()(clips), prior(clips), atol=1e-5)


def test_onnx_says_the_same(prior, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    clips = eon.videos.leaves(1, 3, 32, 4)
    transfer.to_onnx(prior, clips, tmp_path / "prior.onnx")
    session = runtime.InferenceSession(tmp_path / "prior.onnx", providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {"clips": clips.numpy()})
    assert abs(torch.from_numpy(made) - prior(clips)).max() < 1e-3
