"""Threads give way to other programs."""

import sys
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from eon_utils import threads


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
