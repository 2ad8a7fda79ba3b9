"""How many threads to compute with, where other programs keep cores busy.

Threads that share an operation wait for each other. Where one of them has to wait for a core, so
do the others, each time: work of many small operations can take ten times as long as with a thread
for each free core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import lru_cache

GLANCE = 0.2  # seconds of rest in which others are watched


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


def settle_threads(busy: float | None = None) -> str:
    """Compute with a thread for each core that others leave free, and not more than at first.

    The variable `OMP_NUM_THREADS` overrules: then nothing is changed.

    Args:
        busy: cores that others keep busy; None: they are watched for a fifth of a second.

    Returns:
        A sentence where the number of threads has changed, else nothing.
    """
    import torch

    most = _threads_at_first()
    if "OMP_NUM_THREADS" in os.environ or most == 1:
        return ""
    if busy is None:
        watch = BusyCores()
        time.sleep(GLANCE)
        busy = watch()
    cores = os.cpu_count() or 1
    free = len(list(_own_cores(cores))) - busy
    threads = min(max(round(free), 1), most)
    if threads == torch.get_num_threads():
        return ""
    torch.set_num_threads(threads)
    if threads == most:
        return f"The cores are free again: computing with {threads} threads."
    what = f"{threads} thread{'s' * (threads > 1)} instead of {most}"
    return f"Other programs keep {busy:.1f} cores busy: computing with {what} is quicker then."


def _own_cores(count: int) -> Iterable[int]:
    """Those that this program may use, of so many."""
    if hasattr(os, "sched_getaffinity"):
        return [core for core in sorted(os.sched_getaffinity(0)) if core < count]
    return range(count)


@lru_cache(maxsize=1)
def _threads_at_first() -> int:
    import torch

    return torch.get_num_threads()
