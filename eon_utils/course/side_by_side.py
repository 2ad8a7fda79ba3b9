"""Several notebooks at once, each run by a process of its own."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from eon_utils.course import runner
from eon_utils.threads import usable_cores

PATIENCE = 20  # seconds in which a process that is told to end saves how far it came


def side_by_side(
    jobs: Sequence[tuple[Path, Mapping[str, Any]]], out: Path, workers: int
) -> Iterator[tuple[Path, NotebookNode]]:
    """Run notebooks, so many at a time. Each computes with its share of the cores.

    Later lessons take longer, so they begin: no core waits for a long last one. After Ctrl-C those
    that run are saved as far as they came, and no other begins.

    Args:
        jobs: notebooks with their parameters.
        out: folder for the executed ones, and a log of each.
        workers: at least 1.

    Yields:
        Each notebook as soon as it has ended, executed as by `runner.execute`.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(usable_cores() // workers, 1))
    waiting = list(jobs)
    running: dict[BaseProcess, Path] = {}
    interrupted = False
    while running or (waiting and not interrupted):
        try:
            while waiting and len(running) < workers and not interrupted:
                path, values = waiting.pop()
                running[_start(path, out, values, threads)] = path
            wait([process.sentinel for process in running])
        except KeyboardInterrupt:
            interrupted = True
            _end(running)
        for process in [process for process in running if not process.is_alive()]:
            path = running.pop(process)
            yield path, runner.as_it_ended(path, out / path.name, interrupted)


def _start(path: Path, out: Path, values: Mapping[str, Any], threads: str) -> BaseProcess:
    """Run a notebook in a new process. Ctrl-C is not for it: this process hands it on."""
    process = multiprocessing.get_context("spawn").Process(
        target=_work, args=(path, out, values, threads), daemon=True
    )
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


def _work(path: Path, out: Path, values: Mapping[str, Any], threads: str) -> None:
    """What such a process does."""
    if hasattr(os, "setsid"):
        os.setsid()  # a terminal's Ctrl-C does not reach it
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_follow, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = threads
    with (
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
        runner.log_file(out / f"log_{path.stem}.txt"),
    ):
        runner.use_own_kernel()
        runner.execute(path, out / path.name, values)


def _follow() -> None:
    """When the process that started this one is killed, end, too."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGINT)


def _end(running: Mapping[BaseProcess, Path]) -> None:
    """Let processes save how far they came; whatever does not end is killed."""
    for process in running:
        if process.pid and process.is_alive():
            os.kill(process.pid, signal.SIGINT)
    for process in running:
        process.join(PATIENCE)
        process.kill()
        process.join()
