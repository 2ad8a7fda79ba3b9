"""How many threads to compute with: where other programs keep cores busy, or few may be used.

Threads that share an operation wait for each other. Where one of them has to wait for a core, so
do the others, each time: work of many small operations can take ten times as long as with a thread
for each free core.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

GLANCE = 0.2  # seconds of rest in which others are watched
LOOK_EVERY = 30.0  # seconds between looks at how many cores others keep busy
GROUPS = Path("/sys/fs/cgroup")  # where Linux says what a container or a job may use
OWN_GROUPS = Path("/proc/self/cgroup")


class BusyCores:
    """How many cores others keep busy, since the last time it was asked."""

    def __init__(self) -> None:
        self.others = self._others()
        self.began = time.perf_counter()

    def __call__(self) -> float:
        """A number of cores; 0 where psutil is not installed."""
        others = self._others()
        now = time.perf_counter()
        busy = (others - self.others) / max(now - self.began, 1e-9)
        self.others = others
        self.began = now
        return max(busy, 0.0)

    @staticmethod
    def _others() -> float:
        """Seconds that all programs but this one have kept the cores busy."""
        try:
            import psutil
        except ImportError:  # it comes with the notebooks, not with the models alone
            return 0.0
        cores = psutil.cpu_times(percpu=True)
        busy = 0.0
        for index in _own_cores(len(cores)):
            times = cores[index]
            idle = times.idle + getattr(times, "iowait", 0.0)
            busy += sum(times[:8]) - idle  # further times are parts of these
        return busy - time.process_time()


class CoreWatch:
    """Now and then takes fewer threads where other programs keep cores busy, and back again."""

    def __init__(self) -> None:
        self.busy = BusyCores()
        self.looked = time.monotonic()

    def update(self) -> str:
        """Look, if the last look was a while ago. A sentence where the threads have changed."""
        if time.monotonic() - self.looked < LOOK_EVERY:
            return ""
        self.looked = time.monotonic()
        return settle_threads(self.busy())


@lru_cache(maxsize=1)
def core_watch() -> CoreWatch:
    """The one of this process: many short trainings look as often as a long one."""
    return CoreWatch()


def settle_threads(busy: float | None = None) -> str:
    """Compute with a thread for each core that others leave free, and not more than at first.

    Nor are there more than whole cores that a container or a job may use.

    The variable `OMP_NUM_THREADS` overrules: then nothing is changed.

    Args:
        busy: cores that others keep busy; None: they are watched for a fifth of a second.

    Returns:
        A sentence where the number of threads has changed, else nothing.
    """
    import torch

    most = min(_threads_at_first(), usable_cores())
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" in os.environ or before == most == 1:
        return ""
    if busy is None:
        watch = BusyCores()
        time.sleep(GLANCE)
        busy = watch()
    cores = os.cpu_count() or 1
    free = len(list(_own_cores(cores))) - busy
    threads = min(max(round(free), 1), most)
    if threads == before:
        return ""
    torch.set_num_threads(threads)
    if before > most:
        what = f"{threads} thread{'s' * (threads > 1)} instead of {before}"
        return f"This program may use {usable_cores()} of the cores: computing with {what}."
    if threads == most:
        return f"The cores are free again: computing with {threads} threads."
    what = f"{threads} thread{'s' * (threads > 1)} instead of {most}"
    return f"Other programs keep {busy:.1f} cores busy: computing with {what} is quicker then."


def _own_cores(count: int) -> Iterable[int]:
    """Those that this program may use, of so many."""
    if hasattr(os, "sched_getaffinity"):
        return [core for core in sorted(os.sched_getaffinity(0)) if core < count]
    return range(count)


def usable_cores() -> int:
    """How many cores this program may keep busy, at least 1."""
    cores = len(list(_own_cores(os.cpu_count() or 1)))
    return max(int(min(cores, _allowed())), 1)


def _allowed() -> float:
    """The time that a container or a job may use, in cores; infinite where there is no limit.

    Linux keeps it as the quota of a control group, of version 1 or 2. One group is in another.
    """
    least = math.inf
    with suppress(OSError, ValueError):
        for line in OWN_GROUPS.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if not kinds or "cpu" in kinds.split(","):
                inside = Path(path.lstrip("/"))
                for group in (inside, *inside.parents):
                    least = min(least, _quota(GROUPS / kinds / group))
    return least


def _quota(group: Path) -> float:
    """Of one control group, in cores; infinite where it has none."""
    with suppress(OSError, ValueError):
        return _cores((group / "cpu.max").read_text().split())
    with suppress(OSError, ValueError):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        return _cores([(group / name).read_text() for name in names])
    return math.inf


def _cores(quota_and_period: list[str]) -> float:
    """Microseconds of time, and in how many: "max" or a negative number is no limit."""
    quota, period = map(int, quota_and_period)
    return quota / period if quota > 0 else math.inf


@lru_cache(maxsize=1)
def _threads_at_first() -> int:
    import torch

    return torch.get_num_threads()
