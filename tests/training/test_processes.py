"""Several processes train one model: as one with the joint batch would, whatever happens to one."""

import os
import signal
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from joint_training import Job, difference, outcome

from eon_utils import TrainingRun
from eon_utils.training import checkpoint, processes
from eon_utils.training.processes import LOST_AFTER

CLOSE = 1e-5
QUICK = 6.0  # seconds to wait for another process, in a test
TO_END = 19.0  # seconds in which one that is cut off has saved and ended


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """Network -> what one process does with the joint batch."""
    done = {}

    def learn(network):
        if network not in done:
            folder = tmp_path_factory.mktemp(network)
            done[network] = outcome(Job(str(folder), count=1, network=network)).reports[0]
        return done[network]

    return learn


def frames(folder, **settings):
    """A job whose steps are quick."""
    return Job(str(folder), network="frames", **settings)


def kept(job):
    """Step, series and tensors of a checkpoint that is whole."""
    facts, saved = checkpoint.read(job.checkpoint)
    step = int(facts["step"])
    for series in ("loss", "seconds"):
        assert len(saved[f"history.{series}"]) == step
    assert len(saved["history.snapshot_steps"]) == facts["measures"].count("pi") > 0
    return step


# --- as one ---


@pytest.mark.parametrize("network", ["frames", "prior"])
def test_two_processes_learn_as_one_with_the_joint_batch(tmp_path, one, network):
    alone = one(network)
    job = Job(str(tmp_path), network=network)
    made = outcome(job, "fabric")
    assert made.codes == [0], made.text
    first, second = made.reports
    assert first["loss"] == second["loss"] and first["share"] == second["share"]
    assert not set(first["seen"]) & set(second["seen"]), "each sees its own clips"
    assert sorted(first["seen"] + second["seen"]) == sorted(alone["seen"])
    assert difference(first["loss"], alone["loss"]) < CLOSE
    if network == "prior":
        assert difference(first["share"], alone["share"]) < CLOSE
    assert made.text.count(f"finished after {job.steps} steps") == 1
    assert kept(job) == job.steps


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_training_goes_on_with_another_number_of_processes(tmp_path, one, before, after):
    job = Job(str(tmp_path), count=before, event="stop", who=0, at=6)
    assert outcome(job).reports[0]["status"] == "stopped" and kept(job) == 7
    made = outcome(replace(job, count=after, resume=True, event=""))
    assert made.codes == [0] * after, made.text
    for report in made.reports:
        assert report["status"] == "finished"
        assert difference(report["loss"], one("prior")["loss"]) < CLOSE


def test_each_process_draws_its_own_numbers_and_goes_on_with_them(tmp_path):
    whole = outcome(frames(tmp_path / "whole", steps=8)).reports
    drawn = [report["drawn"] for report in whole]
    assert not set(drawn[0]) & set(drawn[1])
    job = frames(tmp_path / "parts", steps=8, event="stop")
    begun = outcome(job).reports
    made = outcome(replace(job, event="", resume=True)).reports
    assert [a["drawn"] + b["drawn"] for a, b in zip(begun, made, strict=True)] == drawn


# --- what happens to one ---


@pytest.mark.parametrize(
    ("event", "status", "done"),
    [("stop", "stopped", 4), ("terminate", "stopped", 4), ("nan", "diverged", 3)],
)
def test_what_happens_to_one_happens_to_both(tmp_path, event, status, done):
    job = frames(tmp_path, steps=1000, event=event)
    made = outcome(job)
    assert made.codes == [0, 0], made.text
    for report in made.reports:
        assert report["status"] == status
        assert report["done"] == len(report["loss"]) == done
    assert f"{status} after {done} of 1,000 steps" in made.text or status == "diverged"
    assert kept(job) == done


def test_time_is_up_for_both(tmp_path):
    job = frames(tmp_path, steps=100_000, seconds=1.0)
    first, second = outcome(job).reports
    assert first["status"] == second["status"] == "finished"
    assert first["done"] == second["done"] == kept(job) < 100_000


def check_lost(made, job, step=3):
    """The others said why, in time, and the checkpoint is whole."""
    assert made.seconds < TO_END + (job.lost_after if job.event == "freeze" else 0), made.text
    assert not made.reports
    sentence = f"of {job.count} lost touch with the others after step {step}: one has "
    assert sentence in made.text and "resume=True to go on" in made.text, made.text
    assert kept(job) == step


@pytest.mark.parametrize(
    ("launcher", "who", "network", "event"),
    [
        ("fabric", 0, "frames", "kill"),
        ("fabric", 1, "frames", "kill"),
        ("torchrun", 1, "frames", "kill"),
        ("by hand", 0, "prior", "kill"),
        ("by hand", 1, "frames", "kill in the backward pass"),
    ],
)
def test_when_one_is_killed_the_other_keeps_the_state_and_ends(
    tmp_path, launcher, who, network, event
):
    job = Job(str(tmp_path), steps=1000, network=network, event=event, who=who)
    check_lost(outcome(job, launcher), job)


@pytest.mark.parametrize("who", [0, 1])
def test_when_one_is_frozen_the_other_does_so_after_a_while(tmp_path, who):
    job = frames(tmp_path, steps=1000, event="freeze", who=who, lost_after=QUICK)
    made = outcome(job)
    check_lost(made, job)
    assert made.seconds > 0.9 * QUICK
    assert f"one has not answered for {QUICK:.0f} s" in made.text
    assert LOST_AFTER + TO_END < 60


def test_what_is_kept_is_whole_though_one_is_killed_between_two_steps(tmp_path, one):
    job = frames(tmp_path, event="kill after the step")
    check_lost(outcome(job), job, step=4)
    made = outcome(replace(job, event="", resume=True))
    assert difference(made.reports[0]["loss"], one("frames")["loss"]) < CLOSE


def test_several_that_are_left_keep_one_whole_state(tmp_path):
    job = frames(tmp_path, count=4, steps=1000, event="kill", who=0)
    made = outcome(job)
    check_lost(made, job)
    for rank in (1, 2, 3):
        assert f"process {rank} of 4 lost touch" in made.text
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["joint.safetensors"]


def test_torchrun_starts_two_processes(tmp_path, one):
    made = outcome(frames(tmp_path), "torchrun")
    assert made.codes == [0], made.text
    assert difference(made.reports[1]["loss"], one("frames")["loss"]) < CLOSE


def test_processes_that_would_begin_at_different_steps_say_so(tmp_path):
    job = frames(tmp_path, apart=True, event="stop")
    outcome(job)  # only the first one saves
    made = outcome(replace(job, event="", resume=True))
    assert made.codes == [1, 1]
    assert "some processes go on from step 4, others from step 0; all machines" in made.text


# --- in one process ---


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (dist.DistBackendError("NCCL communicator was aborted on rank 1"), True),
        (dist.DistNetworkError("the client socket has failed"), True),
        (RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection closed by peer"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), False),
    ],
)
def test_errors_of_contact_are_known(error, lost):
    assert processes.is_of_contact(error) == lost


def test_one_that_lost_the_others_says_so_though_its_launcher_ends_it(tmp_path, monkeypatch):
    run = TrainingRun(torch.nn.Linear(1, 1), 4, name="t", folder=tmp_path)

    def lose():
        run.status = "lost"
        raise ConnectionError("one has ended")

    monkeypatch.setattr(run, "_agreed", lose)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(ConnectionError, match="one has ended"):
            next(iter(run.batches(torch.zeros(4, 1))))
        os.kill(os.getpid(), signal.SIGTERM)  # as torchrun does: it must not cut the words off
    finally:
        signal.signal(signal.SIGTERM, before)


def test_rows_are_dealt_as_batches_are(monkeypatch):
    joint = torch.arange(6)
    monkeypatch.setattr(processes, "rank_and_count", lambda: (1, 2))
    assert processes.own_rows(joint).tolist() == [1, 3, 5]
    rng = torch.Generator().manual_seed(0)
    own = processes.own_draws(torch.rand, rng, 3, 2)
    assert torch.equal(own, torch.rand(6, 2, generator=rng.manual_seed(0))[1::2])


def test_a_batch_that_can_t_be_dealt_evenly_is_refused(tmp_path, monkeypatch):
    run = TrainingRun(torch.nn.Linear(2, 2), 1, name="t", folder=tmp_path)
    monkeypatch.setattr(type(run.fabric), "world_size", 2)
    with pytest.raises(ValueError, match="t: a batch of 3 must be a multiple of 2, the processes"):
        next(iter(run.batches(torch.zeros(3, 2))))
