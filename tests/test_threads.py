"""Threads give way to other programs."""

import sys
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from eon_utils import FramePredictor, threads
from eon_utils.evaluation import few_shot, transfer


class Times(NamedTuple):
    """Seconds of a core, as psutil gives them on Linux."""

    user: float
    nice: float
    system: float
    idle: float
    iowait: float


@pytest.fixture
def four(monkeypatch):
    """Four cores and at first four threads; the number that is set is recorded."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_own_cores", lambda count: range(4))
    monkeypatch.setattr(threads, "_threads_at_first", lambda: 4)
    now = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: now.__setitem__(0, number))
    return now


@pytest.mark.parametrize(("busy", "left"), [(0, 4), (0.4, 4), (1, 3), (2.9, 1), (4, 1), (60, 1)])
def test_a_thread_for_each_core_that_is_free(four, busy, left):
    said = threads.settle_threads(busy)
    assert four == [left]
    assert bool(said) == (left < 4)
    if said:
        assert f"{left} thread" in said and "instead of 4" in said


def test_it_takes_them_back(four):
    threads.settle_threads(3.0)
    assert not threads.settle_threads(3.0), "nothing new"
    assert "free again: computing with 4 threads" in threads.settle_threads(0.1)
    assert four == [4]


def test_the_user_s_own_number_holds(four, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert not threads.settle_threads(3.0) and four == [4]


def test_others_are_counted_and_not_this_program(monkeypatch):
    clock = SimpleNamespace(now=0.0, own=0.0)
    cores = [Times(0, 0, 0, 0, 0)] * 2
    fake = SimpleNamespace(cpu_times=lambda percpu: cores)
    monkeypatch.setitem(sys.modules, "psutil", fake)
    monkeypatch.setattr(threads, "_own_cores", range)
    monkeypatch.setattr(threads.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(threads.time, "process_time", lambda: clock.own)
    busy = threads.BusyCores()
    cores[:] = [Times(user=8, nice=1, system=1, idle=0, iowait=0), Times(4, 0, 1, 4, 1)]
    clock.now, clock.own = 10.0, 4.0
    assert busy() == pytest.approx((10 + 5 - 4) / 10)
    clock.now, clock.own = 20.0, 14.0  # this program alone
    cores[:] = [Times(18, 1, 1, 0, 0), Times(4, 0, 1, 12, 3)]
    assert busy() == 0


def test_without_psutil_nobody_is_busy(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert threads.BusyCores()() == 0


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Write files of control groups: their paths with what is in them."""
    monkeypatch.setattr(threads, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(threads, "OWN_GROUPS", tmp_path / "own")

    def write(own, **files):
        (tmp_path / "own").write_text(own)
        for path, text in files.items():
            file = tmp_path / "cgroup" / path.replace("__", "/").replace("_dot_", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    return write


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/", {"cpu_dot_max": "200000 100000"}, 2),
        ("0::/", {"cpu_dot_max": "250000 100000"}, 2),
        ("0::/", {"cpu_dot_max": "50000 100000"}, 1),
        ("0::/", {"cpu_dot_max": "max 100000"}, 16),
        ("0::/a/b", {"a__cpu_dot_max": "300000 100000", "a__b__cpu_dot_max": "max 100000"}, 3),
        ("0::/gone", {"cpu_dot_max": "no numbers"}, 16),
        (
            "4:memory:/x\n3:cpu,cpuacct:/docker/1\n0::/",
            {
                "cpu,cpuacct__cpu_dot_cfs_quota_us": "400000",
                "cpu,cpuacct__cpu_dot_cfs_period_us": "1",
            },
            16,
        ),
        (
            "3:cpu,cpuacct:/docker/1\n0::/",
            {
                "cpu,cpuacct__cpu_dot_cfs_quota_us": "400000\n",
                "cpu,cpuacct__cpu_dot_cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            "1:cpu:/",
            {"cpu__cpu_dot_cfs_quota_us": "-1", "cpu__cpu_dot_cfs_period_us": "100000"},
            16,
        ),
        ("not a group", {}, 16),
    ],
)
def test_a_quota_of_a_container_counts(groups, monkeypatch, own, files, cores):
    monkeypatch.setattr(threads, "_own_cores", lambda count: range(16))
    groups(own, **files)
    assert threads.usable_cores() == cores


def test_without_control_groups_all_cores_count(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "OWN_GROUPS", tmp_path / "none")
    monkeypatch.setattr(threads, "_own_cores", lambda count: range(3))
    assert threads.usable_cores() == 3


def test_no_more_threads_than_a_container_may_use(four, monkeypatch):
    monkeypatch.setattr(threads, "_allowed", lambda: 2.0)
    said = threads.settle_threads(0.0)
    assert four == [2] and said.startswith("This program may use 2 of the cores: computing with 2")
    assert not threads.settle_threads(1.0) and four == [2], "others have the cores that are no use"
    assert "1 thread instead of 2" in threads.settle_threads(3.0) and four == [1]


def test_many_short_trainings_look_as_often_as_a_long_one(monkeypatch):
    clips = torch.rand(4, 3, 3, 16, 16)
    asked = []
    monkeypatch.setattr(threads, "settle_threads", lambda busy: asked.append(busy) or "")
    monkeypatch.setattr(threads, "LOOK_EVERY", 0.0)
    few_shot.train_from_scratch(clips, torch.tensor([0, 1, 0, 1]), clips, steps=3)
    assert len(asked) == 3

    def loss(model, clips, step):
        return model(clips[:, :-1]).mean()

    transfer.fine_tune(FramePredictor(2, widths=(4,)), clips, clips, loss, (0, 1), seed=0)
    assert len(asked) == 5
