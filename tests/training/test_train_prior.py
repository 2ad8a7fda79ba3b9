"""How the shipped prior is trained: questions, losses, runs that go on, and the recipe."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from video_files import write_drift

import eon_utils.__main__ as command
from eon_utils import MovingDigits, load_prior, save_prior
from eon_utils.__main__ import main
from eon_utils.data import public, video_clips
from eon_utils.models import weight_files
from eon_utils.training import (
    checkpoint,
    launchers,
    model_card,
    prior_score,
    recording,
    train_prior,
)
from eon_utils.training.train_prior import QUESTIONS, Recipe, draw_question, prediction_loss

TINY = Recipe(mixture=(("digits", 1.0),), width=4, steps=3, batch=4, size=32, scale=1e-3)
SCRIPT = """
import sys
from pathlib import Path
import eon_utils.__main__ as command
from eon_utils.training import model_card, prior_score

if __name__ == "__main__":
    command.RUNS = Path("runs")
    model_card.CLIPS = prior_score.CLIPS = 1
    sys.exit(command.main(sys.argv[1:]))
"""


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A folder for what is made; few clips are judged by."""
    monkeypatch.setattr(model_card, "CLIPS", 1)
    monkeypatch.setattr(prior_score, "CLIPS", 1)
    monkeypatch.setattr(video_clips, "RUNS", tmp_path)
    return tmp_path


def about(path):
    with safe_open(path, framework="pt") as saved:
        return json.loads(saved.metadata()["prior"])


def untrained():
    torch.manual_seed(0)
    return train_prior.widened(4)


# --- questions and losses ---


@pytest.mark.parametrize("frames", [5, 6, 7])
@pytest.mark.parametrize("kind", ["next", "between", "any"])
def test_questions_are_valid(kind, frames):
    question = draw_question(kind, 300, frames, np.random.default_rng(0))
    assert question.given.shape == (300, 4) and question.asked.shape == (300,)
    assert question.given.min() >= 0 and question.given.max() == frames - 1 - (kind == "next")
    assert question.asked.max() < frames
    times = question.times
    assert (times != 0).all() and (times[:, 0] != times[:, 1]).all()
    assert (times.abs().diff(dim=1)[:, :1] >= 0).all(), "the nearest first"
    if kind == "next":
        assert (times == torch.tensor([-1.0, -2, -3, -4])).all()
    if kind == "between":
        assert (times[:, 0] == -times[:, 1]).all() and (times[:, 0].abs() == 1).all()
        uneven = (times[:, 2].abs() == 1).float().mean()
        assert 0.15 < uneven < 0.35
    if kind == "any":
        assert set(question.asked.tolist()) == set(range(frames))


@pytest.mark.parametrize("kind", sorted(set(QUESTIONS)))
def test_every_kind_of_question_is_learnt(kind):
    clips = MovingDigits(4, 7, 32).stack()
    model = untrained()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(6):
        loss, share = prediction_loss(model, clips, QUESTIONS.index(kind))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assert 0 < share < 10
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


def test_what_is_good_enough_counts_no_more():
    frames = torch.zeros(2, 3, 8, 8)
    for enough, counted in ((1e-3, (0, 0.1)), (1e-6, (1.3, 1.4))):
        fair, good = (
            train_prior.log_error(frames + error, frames, enough) for error in (0.01, 0.005)
        )
        assert counted[0] < fair - good < counted[1], "of log 4, which is 6 dB"


@pytest.mark.parametrize("learn", ["all", "frames", "content"])
def test_what_is_not_learnt_stays(learn):
    objective = train_prior.PriorObjective(untrained(), learn)
    loss, _ = objective(MovingDigits(4, 7, 32).stack(), 0)
    loss.backward()
    parts = {"frames": objective.prior.net, "content": objective.prior.content}
    for name, part in parts.items():
        moved = any(parameter.grad is not None for parameter in part.parameters())
        assert moved == (learn in ("all", name)), name
    with pytest.raises(ValueError, match="learn='motion' must be one of all, frames, content"):
        train_prior.PriorObjective(untrained(), "motion")


@pytest.mark.parametrize("frames", [5, 6])
def test_of_shorter_clips_it_asks_what_it_can(frames):
    clips = MovingDigits(2, frames, 32).stack()
    for step in range(len(QUESTIONS)):
        loss, _ = prediction_loss(untrained(), clips, step)
        assert loss.isfinite()


# --- clips and runs ---


@pytest.mark.parametrize(
    "mixture",
    [{"cats": 1}, {"leaves": "x"}, {"leaves": 0}, {"leaves": -1, "pans": 2}, {"leaves": "nan"}],
)
def test_bad_mixtures_are_named(mixture):
    sources = "digits, leaves, pans, games, real"
    with pytest.raises(ValueError, match=rf"mixture=.*must be weights from 0 on.* of {sources}"):
        train_prior.parse_mixture(mixture)


def test_batches_depend_on_the_step_alone():
    mixture = {"leaves": 1.0, "digits": 1.0}
    clips = train_prior.training_sources(size=32, scale=1e-3, mixture=mixture)
    loader = train_prior.mixture_loader(clips, 6, weights=mixture, batch=4)
    first = list(loader)
    assert len(first) == 6 and first[0].shape == (4, 7, 3, 32, 32)
    again = train_prior.mixture_loader(clips, 9, weights=mixture, batch=4)
    assert all(map(torch.equal, first, again)), "nor on how many there are"
    for step in (5, 1, 3):
        draws = [loader.dataset[draw] for draw in range(4 * step, 4 * step + 4)]
        assert torch.equal(torch.stack(draws), first[step])
    assert 0 <= min(map(torch.min, first)) <= max(map(torch.max, first)) <= 1


def test_now_and_then_a_batch_is_of_large_clips_for_all_processes():
    mixture = {"leaves": 1.0, "digits": 1.0}
    sources = train_prior.training_sources(size=32, scale=1e-3, mixture=mixture)
    large = train_prior.large_sources(replace(TINY, mixture=tuple(mixture.items())))
    assert [source.name for source in large] == ["digits"], "leaves are slow to make"
    settings = {"weights": mixture, "batch": 4, "large": large, "large_every": 3}
    loader = train_prior.mixture_loader(sources, 6, **settings)
    sides = [batch.shape[-1] for batch in loader]
    assert sides == [32, 32, 64, 32, 32, 64]
    halves = train_prior.mixture_loader(sources, 6, processes=2, **settings)
    assert len(halves.dataset) == len(loader.dataset) and halves.batch_size == 2
    sides = [batch.shape[-1] for batch in halves]  # one process that sees all
    assert sides == [32, 32, 32, 32, 64, 64] * 2


def test_an_interrupted_training_goes_on_as_if_nothing_had_been(tmp_path):
    clips = train_prior.training_sources(size=32, mixture={"digits": 1.0})

    def train(name, **settings):
        loader = train_prior.mixture_loader(clips, 10, batch=2)
        return train_prior.train(untrained(), loader, 10, name=name, folder=tmp_path, **settings)

    def stop(run):
        run.stopping |= run.done == 4

    finished, average = train("finished")
    assert finished.status == "finished" and len(finished.history.accuracy) == 0
    assert all(parameter.isfinite().all() for parameter in average.parameters())
    half, _ = train("half", watch=stop)
    assert half.status == "stopped" and half.done == 5
    again, resumed = train("half", resume=True)
    assert again.status == "finished" and again.history.loss == finished.history.loss
    for a, b in zip(average.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_half_precision_learns_as_single_precision_does(tmp_path):
    clips = MovingDigits(2, 7, 32).stack()
    losses = []
    for precision in launchers.PRECISIONS:
        fabric = launchers.several_processes(precision=precision)
        settings = {"name": precision, "folder": tmp_path, "fabric": fabric}
        run, _ = train_prior.train(untrained(), clips, 4, **settings)
        losses.append(run.history.loss)
    assert np.allclose(*losses, rtol=0.05)


def test_a_training_has_the_same_name_whatever_its_length(tmp_path):
    start = tmp_path / "start.safetensors"
    save_prior(untrained(), start)
    other = {
        "videos": (str(tmp_path),),
        "mixture": (("leaves", 1.0),),
        "width": 8,
        "batch": 8,
        "size": 48,
        "large_every": 3,
        "lr": 1e-4,
        "seed": 1,
        "start": str(start),
        "scale": 1.0,
        "precision": "bf16-mixed",
        "shards": "shards/",
        "learn": "content",
    }
    length = {"steps": 9, "hours": 1.0}
    assert {*other, *length} == set(Recipe.__dataclass_fields__)
    assert replace(TINY, **length).digest() == TINY.digest()
    names = {replace(TINY, **{field: value}).digest() for field, value in other.items()}
    names.add(TINY.digest())
    assert len(names) == len(other) + 1
    save_prior(train_prior.widened(4), start, seed=3)
    assert replace(TINY, start=str(start)).digest() not in names, "another file of the same name"


def test_videos_count_by_what_they_are(quick):
    write_drift(quick / "mine" / "a.mkv")
    recipe = replace(TINY, videos=(str(quick / "mine"),))
    first = recipe.digest()
    write_drift(quick / "mine" / "b.mkv", seed=1)
    second = recipe.digest()
    assert second != first, "a file was added"
    (quick / "mine").rename(quick / "other")
    moved = replace(TINY, videos=(str(quick / "other"),))
    assert moved.digest() == second, "the same files elsewhere"
    write_drift(quick / "other" / "b.mkv", seed=2)
    assert moved.digest() != second, "another film of the same name"


def test_shards_count_by_their_settings(tmp_path):
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "index.json").write_text("{}")
    recipe = replace(TINY, shards=str(tmp_path))
    names = {recipe.digest()}
    for seed in (1, 2):  # uncompressed clips of the same size have the same index
        (tmp_path / "shards.json").write_text(json.dumps({"seed": seed}))
        names.add(recipe.digest())
    assert len(names) == 3


def test_shards_may_be_of_a_source_that_nobody_knows(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.json").write_text('{"chunks": []}')
    recipe = replace(TINY, mixture=None, shards=str(tmp_path))
    assert recipe.weights() == {"mine": 1.0} and not recipe.makes_large()


def test_what_is_best_is_judged_by_the_same_videos(quick):
    for name in ("one", "two"):
        write_drift(quick / name / "held.mkv", seed=len(name))
    write_drift(quick / "two" / "more.mkv", seed=9)
    judges = [prior_score.PriorScore(32, folder, quick / "p") for folder in (None, quick / "one")]
    judges.append(prior_score.PriorScore(32, quick / "two", quick / "p"))
    assert len({judge.best for judge in judges}) == len({judge.states for judge in judges}) == 3
    judges[1].too_early = False
    judges[1](torch.nn.ModuleDict({"prior": untrained().eval()}))
    assert judges[1].best.exists() and list(judges[1].states.iterdir())
    judges[1].forget()
    assert not judges[1].best.exists() and not judges[1].states.exists()


def test_a_full_disk_ends_no_training_while_it_is_judged(quick, monkeypatch):
    def full(*_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(weight_files, "save_file", full)
    judge = prior_score.PriorScore(32, None, quick / "p")
    with pytest.warns(UserWarning, match=r"a state is not kept: .*No space left") as warned:
        gains = judge(torch.nn.ModuleDict({"prior": untrained().eval()}))
    assert len(warned) == 2
    assert sorted(gains) == ["between", "next"]


def test_a_full_disk_in_the_end_leaves_the_checkpoint_and_what_was_shipped(quick, monkeypatch):
    train_prior.ship(TINY, quick / "out", quick)
    before = {path: path.read_bytes() for path in (quick / "out").iterdir()}

    def full(*_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(weight_files, "save_file", full)
    with pytest.raises(OSError, match=r"prior\.safetensors\..*can't be written: .*No space left"):
        train_prior.ship(TINY, quick / "out", quick)
    assert {path: path.read_bytes() for path in (quick / "out").iterdir()} == before


def test_a_read_only_course_is_told_before_anything_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "RUNS", tmp_path / "course" / "runs")
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "course")
    (tmp_path / "course").mkdir()
    assert main(["prior", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the folder of clips and checkpoints") and "copy the cou" in said
    assert [path.name for path in tmp_path.iterdir()] == ["course"]


# --- the recipe ---


def test_the_recipe_makes_weights_and_card(quick):
    run = train_prior.ship(TINY, quick / "out", quick)
    prior = load_prior(quick / "out" / "prior.safetensors")
    assert prior.predict(torch.rand(1, 2, 3, 16, 16)).shape == (1, 3, 16, 16)
    assert load_prior(quick / "out" / "prior_best.safetensors").config == prior.config
    card = (quick / "out" / "prior.md").read_text(encoding="utf-8")
    assert (
        "| prior |" in card
        and "digits 100%" in card
        and "| 1 | all | 3 | 4 | 32; one step in 7: 64 |" in card
    )
    assert run.history.snapshot_steps == [0, 1, 2, 3]
    assert [sorted(measures) for measures in run.history.measures] == [
        ["between", "next"],
        [],
        [],
        ["between", "next"],
    ]
    recorded = recording.read_recording(quick / "out" / recording.FILE)
    assert recorded.snapshot_steps == [0, 3] and len(recorded.loss) == 3
    assert recorded.measures[0].keys() == {"next", "between"}
    assert recorded.measures[0] == pytest.approx(run.history.measures[0], abs=1e-4)
    assert recorded.measures[1] == pytest.approx(run.history.measures[3], abs=1e-4)
    (trained,) = about(quick / "out" / "prior.safetensors")["trained"]
    assert trained["steps"] == 3 and trained["mixture"] == {"digits": 1} and trained["size"] == 32


def test_it_goes_on_from_a_prior_on_own_videos(quick):
    write_drift(quick / "mine" / "drift.mkv")
    write_drift(quick / "mine" / "other.mkv", seed=1)
    write_drift(quick / "judge" / "held.mkv", seed=2)
    listed = "file,source,licence\ndrift.mkv,someone/drifts,CC0\n"
    (quick / "mine" / "SOURCES.csv").write_text(listed)
    first = quick / "first.safetensors"
    earlier = TINY.summary(7, 3600)
    save_prior(untrained(), first, trained=[earlier])
    mixture = (("real", 3.0), ("digits", 1.0))
    recipe = replace(TINY, videos=(str(quick / "mine"),), mixture=mixture, start=str(first))
    train_prior.ship(recipe, quick, quick, score=quick / "judge")
    saved = about(quick / "prior.safetensors")
    assert saved["trained"][0] == earlier and saved["trained"][1]["videos"] == ["mine"]
    card = (quick / "prior.md").read_text(encoding="utf-8")
    assert "real 75%" in card and "| someone/drifts | 1 | CC0 | ? |" in card
    assert "Of 1 videos" in card and "| held |" in card and "mean of the files" in card
    assert (
        "| 1 | all | 7 | 4 | 32; one step in 7: 64 | 1.0 | digits 1 | none | 32-true | CPU |"
        in card
    )
    assert "| 2 | all | 3 | 4 | 32;" in card and "real 3, digits 1 | mine |" in card
    assert str(quick) not in card + json.dumps(saved)


def test_it_trains_on_a_public_set(quick, monkeypatch):
    monkeypatch.setattr(public, "DATA", quick)
    (quick / "torchvision" / "MovingMNIST").mkdir(parents=True)
    sequences = np.random.default_rng(0).integers(0, 256, (20, 10, 64, 64), np.uint8)
    np.save(quick / "torchvision" / "MovingMNIST" / "mnist_test_seq.npy", sequences)
    mixture = (("MovingMNIST", 1.0), ("digits", 3.0))
    train_prior.ship(replace(TINY, mixture=mixture), quick, quick)
    card = (quick / "prior.md").read_text(encoding="utf-8")
    assert "MovingMNIST 25%" in card and "**Public sets** that it was trained on" in card


def test_a_content_encoder_is_trained_anew_beside_a_network_that_stays(quick):
    train_prior.ship(TINY, quick / "first", quick)
    first = load_prior(quick / "first" / "prior.safetensors")
    start = str(quick / "first" / "prior.safetensors")
    train_prior.ship(replace(TINY, start=start, learn="content"), quick / "out", quick)
    prior = load_prior(quick / "out" / "prior.safetensors")
    clips = torch.rand(2, 4, 3, 32, 32)
    assert torch.equal(prior.predict(clips), first.predict(clips))
    assert not torch.allclose(prior.features(clips)[:, 132:], first.features(clips)[:, 132:])
    trained = about(quick / "out" / "prior.safetensors")["trained"]
    assert [one["learn"] for one in trained] == ["all", "content"]
    card = (quick / "out" / "prior.md").read_text(encoding="utf-8")
    assert "**While it trained,**" in card, "what was measured when the network was trained"
    recorded = recording.read_recording(quick / "out" / recording.FILE)
    assert recorded.snapshot_steps == [0, 3]


def test_the_network_is_trained_further_beside_a_content_encoder_that_stays(quick):
    train_prior.ship(TINY, quick / "first", quick)
    start = quick / "first" / "prior.safetensors"
    first = load_prior(start)
    train_prior.ship(replace(TINY, start=str(start), learn="frames"), quick / "out", quick)
    prior = load_prior(quick / "out" / "prior.safetensors")
    clips = torch.rand(2, 4, 3, 32, 32)
    assert torch.equal(prior.looks(clips), first.looks(clips))
    assert not torch.equal(prior.predict(clips), first.predict(clips))
    recorded = recording.read_recording(quick / "out" / recording.FILE)
    assert recorded.snapshot_steps == [0, 3, 6], "both trainings"


def test_a_training_that_was_stopped_saves_nothing(quick, monkeypatch):
    monkeypatch.setattr(
        prior_score.PriorScore, "follow", lambda _, run: setattr(run, "stopping", True)
    )
    with pytest.raises(RuntimeError, match="prior: stopped, so nothing was saved; the same"):
        train_prior.ship(TINY, quick / "out", quick)
    assert not (quick / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--size 40", "size=40 must be a multiple of 16"),
        ("--width 2", "width=2 must be a whole number, at least 4"),
        ("--steps 0", "steps=0 must be a whole number, at least 1"),
        ("--batch 1 --devices 2", "batch=1 must be a whole number, at least 2"),
        ("--batch 3 --devices 2", "batch=3 must be a multiple of 2, the processes"),
        ("--large-every -1", "large_every=-1 must be a whole number, at least 0"),
        ("--seed 18446744073709551616", "seed=18446744073709551616 must be a whole number from 0"),
        ("--only v2 --seed -1", "seed=-1 must be a whole number from 0 to 4294967295"),
        ("--hours 0", "hours=0.0 must be greater than 0"),
        ("--lr nan", "lr=nan must be greater than 0"),
        ("--videos nowhere", "videos='nowhere' does not exist"),
        ("--mixture real=1", "the mixture draws 'real' clips: name videos"),
        ("--mixture MovingMNIST=1", "MovingMNIST is not there"),
        ("--mixture leaves=1 UCF101=2", "UCF101 is not complete"),
        ("--mixture leaves=1 --videos .", "the mixture draws no 'real' clips"),
        ("--mixture leaves", "--mixture leaves says no value; write --mixture name=value"),
        ("--from nofile", "there are no weights nofile"),
        ("--from /", "/ is a folder; give the file of weights in it"),
        ("--from prior --width 12", "width=12, but 'prior' has 24: --width 24"),
        ("--learn motion", "learn='motion' must be one of all, frames, content"),
        ("--learn content", "learn='content' goes on from weights: name them, --from prior"),
        ("--precision half", "precision='half' must be one of 32-true, bf16-mixed"),
        ("--devices 0", "devices=0 must be a whole number, at least 1"),
        ("--only v7", "--only v7 is unknown; choose of v2, v3, v4, prior"),
        ("--score nowhere", "folder='nowhere' does not exist"),
    ],
)
def test_bad_arguments_are_refused_before_anything_begins(words, message, tmp_path, capsys):
    assert main(["prior", *words.split(), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}") and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_two_processes_from_the_command_line(tmp_path):
    (tmp_path / "two.py").write_text(SCRIPT)
    words = "prior --mixture digits=1 --size 32 --width 4 --batch 4 --steps 3 --hours 1 --devices 2"
    words += " --out out"

    done = subprocess.run(
        [sys.executable, "two.py", *words.split()],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "EON_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for said in ("No --videos", "starting anew", "finished after 3 steps", "The prior is in"):
        assert done.stdout.count(said) == 1
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == ["prior.md", "prior.safetensors", "prior_best.safetensors", recording.FILE]
    assert about(tmp_path / "out" / "prior.safetensors")["steps"] == 3


def test_two_machines_under_torchrun(tmp_path):
    (tmp_path / "two.py").write_text(SCRIPT)
    words = "two.py prior --mixture digits=1 --size 32 --width 4 --batch 4 --steps 3 --num-nodes 2"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = f"-m torch.distributed.run --nnodes 2 --master-addr 127.0.0.1 --master-port {port}"
    machines = []
    for rank in (0, 1):
        command = [*launch.split(), "--node-rank", str(rank), *words.split(), "--out", "out"]
        machine = subprocess.Popen(
            [sys.executable, *command],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1", "EON_DEVICE": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        machines.append(machine)
    first, second = (machine.communicate(timeout=200)[0] for machine in machines)
    assert [machine.returncode for machine in machines] == [0, 0], first[-3000:] + second[-3000:]
    assert "finished after 3 steps" in first and "finished" not in second, "one of them speaks"
    assert about(tmp_path / "out" / "prior.safetensors")["trained"][0]["machine"] == "2 x CPU"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_processes_that_are_stopped_say_so_and_save(tmp_path, number):
    (tmp_path / "two.py").write_text(SCRIPT)
    words = "prior --mixture digits=1 --size 32 --width 4 --batch 4 --steps 9999 --devices 2"
    process = subprocess.Popen(
        [sys.executable, "-u", "two.py", *words.split(), "--out", "out"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "EON_DEVICE": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "starting anew" in line:
            break
    time.sleep(3)  # some steps
    process.send_signal(number)
    said, error = process.communicate(timeout=100)
    assert "stopped after" in said
    assert "prior: stopped, so nothing was saved; the same command goes on" in error
    (kept,) = (tmp_path / "runs" / "prior").glob("prior_????????.safetensors")
    assert int(checkpoint.about(kept)["step"]) > 0


def test_the_notebooks_take_it_as_it_ships():
    assert load_prior().config == train_prior.widened(train_prior.WIDTH).config
