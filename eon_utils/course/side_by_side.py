"""Several pieces of work at once, each done by a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

PATIENCE = 20  # seconds in which a process that is told to end saves how far it came


def side_by_side(
    work: Callable[..., None], jobs: Sequence[tuple[Any, ...]], workers: int
) -> Iterator[tuple[int, bool]]:
    """Do jobs, so many at a time. After Ctrl-C those under way may save, and no other begins.

    Args:
        work: called with what a job holds; Ctrl-C is a `KeyboardInterrupt` in it.
        jobs: in this order.
        workers: at least 1.

    Yields:
        Of each job, as soon as it has ended, its number, and whether it was to end early.
    """
    waiting = list(range(len(jobs)))
    running: dict[BaseProcess, int] = {}
    interrupted = False
    while running or (waiting and not interrupted):
        try:
            while waiting and len(running) < workers and not interrupted:
                number = waiting.pop(0)
                running[_start(work, jobs[number])] = number
            wait([process.sentinel for process in running])
        except KeyboardInterrupt:
            interrupted = True
            _end(running)
        for process in [process for process in running if not process.is_alive()]:
            yield running.pop(process), interrupted


def _start(work: Callable[..., None], job: tuple[Any, ...]) -> BaseProcess:
    """Do a job in a new process. Ctrl-C is not for it: this process hands it on."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_begin, args=(work, job), daemon=True)
    with _interrupts_wait():
        process.start()
    return process


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """A process that is started meanwhile does not hear Ctrl-C until it says so itself."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(work: Callable[..., None], job: tuple[Any, ...]) -> None:
    """What such a process does."""
    if hasattr(os, "setsid"):
        os.setsid()  # a terminal's Ctrl-C does not reach it
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_follow, daemon=True).start()
    work(*job)


def _follow() -> None:
    """When the process that started this one is killed, end, too."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGINT)


def _end(running: Mapping[BaseProcess, int]) -> None:
    """Let processes save how far they came; whatever does not end is killed."""
    for process in running:
        if process.pid and process.is_alive():
            os.kill(process.pid, signal.SIGINT)
    for process in running:
        process.join(PATIENCE)
        process.kill()
        process.join()
