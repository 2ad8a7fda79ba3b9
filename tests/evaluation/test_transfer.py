"""What phase 6 asks of a prior: a new world, surprise, the frame in between, other programs."""

import copy

import pytest
import torch

import eon_utils as eon
from eon_utils import train_prior, transfer


@pytest.fixture(scope="module")
def prior():
    return eon.load_prior()


def leaves(*settings, **others):
    return eon.DeadLeaves(*settings, **others).stack()


# --- a new world ---


def test_fine_tuning_helps_and_keeps_the_model_as_it_was(prior):
    clips = leaves(8, 6, 32, 3)
    before = copy.deepcopy(prior.state_dict())

    def loss(model, batch, step):
        return train_prior.prediction_loss(model, batch, step)[0]

    curve = transfer.fine_tune(prior, clips, clips, loss, (0, 2, 25), seed=0)
    assert curve.steps == (0, 2, 25)
    assert curve.seconds[0] == 0 < curve.seconds[1] < curve.seconds[2]
    assert curve.psnr[2] > curve.psnr[0], "on the clips that it was trained on"
    for name, value in prior.state_dict().items():
        assert torch.equal(value, before[name])
    assert not prior.training
    again = transfer.fine_tune(prior, clips, clips, loss, (0, 2), seed=0, watched=clips[:3])
    assert again.psnr == curve.psnr[:2], "same seed, same numbers, watched or not"
    assert curve.frames == () and [len(frames) for frames in again.frames] == [3, 3]
    assert torch.equal(again.frames[0], prior(clips[:3, :-1])), "nothing is learnt at step 0"


# --- surprise ---


def test_events_happen_in_the_last_frame_alone():
    films = eon.CameraPans(6, 13, 32, 0).stack()
    events = transfer.make_events(films, 0)
    names = {"nothing", "scene cut", "teleport", "backwards", "frozen", "new object"}
    assert set(events) == names
    before, steady = films[:, :7].split([6, 1], 1)
    for name, clips in events.items():
        assert clips.shape == (6, 7, 3, 32, 32)
        start, event = clips.split([6, 1], 1)
        assert torch.equal(start, before)
        assert torch.equal(event, steady) == (name == "nothing")
    differs = events["new object"][:, 6:] != steady
    share = differs.any(2).float().mean((1, 2, 3))
    assert (share > 0.01).all()
    assert (share < 0.35).all()


def test_events_surprise_and_nothing_does_not(prior):
    films = eon.CameraPans(8, 13, 64, 1).stack()
    level = transfer.surprise(prior.predict, transfer.make_events(films, 0))
    calm = level["nothing"]
    assert calm.shape == (8,)
    assert calm.mean().abs() < 1
    for name in ("scene cut", "teleport", "backwards", "new object"):
        assert level[name].mean() > calm.mean() + 1, name


def test_what_was_predicted_exactly_and_then_is_not_surprises_most():
    films = torch.rand(2, 1, 3, 16, 16).expand(-1, 7, -1, -1, -1)
    other = torch.cat([films[:, :6], 1 - films[:, 6:]], 1)
    level = transfer.surprise(eon.copy_last, {"still": films, "changed": other})
    assert torch.equal(level["still"], torch.zeros(2))
    assert (level["changed"] > 5).all()


# --- the frame in between ---


def test_the_frame_in_between(prior):
    films = leaves(6, 11, 64, 2, train=False)
    before, target, after = films.split([5, 1, 5], 1)
    target = target[:, 0]
    mean = (before[:, -1] + after[:, 0]) / 2
    by_flow = transfer.interpolate_by_flow(before, after)
    blended = transfer.between(prior.predict, before, after)
    level = eon.psnr(mean, target).mean()
    for frame in (by_flow, blended, prior.between(before, after)):
        assert eon.psnr(frame, target).mean() > level + 2
    turned = transfer.between(prior.predict, after.flip(1), before.flip(1))
    assert (turned - blended).abs().mean() < 1e-4, "neither side comes first"


def test_each_frame_is_left_out_once(prior):
    films = leaves(4, 5, 64, 3, train=False)
    asked = []

    def fill(clips, times):
        asked.append(list(times))
        return prior.fill(clips, times)

    first, *inside, last = transfer.leave_one_out(fill, films).tolist()
    assert asked[0] == [1, 2, 3, 4]
    assert asked[2] == [-2, -1, 1, 2]
    assert len(asked) == 5
    assert sum(inside) / 3 > (first + last) / 2, "one side knows less than two"


def test_an_exact_frame_counts_as_60():
    still = torch.rand(2, 1, 3, 16, 16).expand(-1, 3, -1, -1, -1)
    level = transfer.leave_one_out(lambda clips, times: clips[:, 0], still)
    assert level.tolist() == [60, 60, 60]


# --- camera video, and a damaged frame ---


def test_camera_clips_are_those_there_are(monkeypatch, tmp_path):
    monkeypatch.setattr(transfer, "CAMERA", tmp_path / "none")
    made = transfer.camera_clips("", 32, 8, seed=1)
    assert {name: tuple(clips.shape) for name, clips in made.items()} == {
        "generated clips": (8, 8, 3, 32, 32)
    }
    video_files = pytest.importorskip("video_files", reason="PyAV writes the videos")
    film = eon.CameraPans(1, 60, 64, 0).stack()[0]
    for folder in ("camera", "mine"):
        (tmp_path / folder).mkdir()
        pictures = list((255 * film).byte().permute(0, 2, 3, 1).numpy())
        video_files.write(tmp_path / folder / "a.mp4", pictures)
    assert list(transfer.camera_clips(tmp_path / "mine", 32, 8, seed=1)) == ["your videos"]
    monkeypatch.setattr(transfer, "CAMERA", tmp_path / "camera")
    assert list(transfer.camera_clips("", 32, 8, seed=1)) == ["camera video"]
    both = transfer.camera_clips(tmp_path / "mine", 32, 1, seed=1)
    assert list(both) == ["camera video", "your videos"]
    assert all(len(clips) == 1 for clips in both.values())
    world = transfer.video_world(tmp_path / "mine", "mine", 32)
    assert 2 * len(world.clips) <= len(world.clips) + len(world.unseen) <= 10
    assert not torch.equal(world.clips[:1], world.unseen[:1])


def test_a_game_is_judged_by_another_episode():
    world = transfer.game_world("freeway", 32, 3, 2, seed=0)
    assert (world.name, len(world.clips), len(world.unseen)) == ("freeway", 3, 2)
    assert not torch.equal(world.clips[:2], world.unseen)


def test_a_square_is_lost_and_comes_back(prior):
    clips = leaves(4, 8, 32, 5, train=False)
    frames = clips[:, 3]
    damaged, lost = transfer.lose_squares(frames, seed=0)
    assert lost.shape == (4, 1, 32, 32)
    assert (lost.sum((1, 2, 3)) == 16 * 16).all()
    assert torch.equal(damaged, torch.where(lost, 0.0, frames))
    grown = transfer.inpaint(damaged, lost)
    assert torch.equal(torch.where(lost, 0.0, grown), damaged), "what is left stays"
    level = transfer.psnr_where(grown, frames, lost)
    assert (level > transfer.psnr_where(damaged, frames, lost)).all()
    assert (transfer.psnr_where(frames, frames, lost) == 60).all()


def test_several_questions_about_the_same_clips(prior):
    clips = leaves(4, 8, 32, 5, train=False)
    reached = transfer.several_questions(prior.predict, prior.between, clips, seed=0)
    assert list(reached) == ["next", "third", "in between", "lost square"]
    assert all(level.shape == (4,) for level in reached.values())
    assert reached["next"].mean() > reached["third"].mean()
    inpainted = transfer.inpainted(clips, seed=0)["lost square"]
    assert reached["lost square"].mean() > inpainted.mean() + 2


# --- elsewhere ---


def test_torch_export_says_the_same_of_any_number_of_clips(prior):
    clips = leaves(3, 3, 32, 4)
    shapes = {"clips": {0: torch.export.Dim.DYNAMIC}}
    program = torch.export.export(prior, (clips[:2],), dynamic_shapes=shapes)
    for some in (clips, clips[:1]):
        assert torch.allclose(program.module()(some), prior(some), atol=1e-5)


def test_onnx_is_written_whole_or_not_at_all_and_at_home(prior, tmp_path, monkeypatch):
    def write(network, inputs, file, **settings):
        file.write_text("half")
        if failing:
            raise RuntimeError("no operator")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr(torch.onnx, "export", write)
    failing = True
    with pytest.raises(RuntimeError, match="no operator"):
        transfer.to_onnx(prior, leaves(1, 2, 32, 4), "~/prior.onnx")
    assert not list(tmp_path.iterdir())
    failing = False
    transfer.to_onnx(prior, leaves(1, 2, 32, 4), "~/prior.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["prior.onnx"]


@pytest.mark.parametrize("length", [2, 5])  # without and with a fit to the past
def test_onnx_says_the_same_of_any_number_of_clips(prior, tmp_path, length):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    file = tmp_path / "prior.onnx"
    clips = leaves(3, length, 32, 4)
    transfer.to_onnx(prior, clips[:2], file)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for some in (clips, clips[:1]):
        (output,) = session.run(None, {"clips": some.numpy()})
        difference = torch.from_numpy(output) - prior(some)
        assert difference.abs().max() < 1e-3
