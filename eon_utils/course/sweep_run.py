"""One run of a sweep, as a worker of a cluster makes it. Its folder is like one of `runner.run`."""

from __future__ import annotations

import io
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NoReturn

from eon_utils.course import runner
from eon_utils.course.grid import ASKED, Job
from eon_utils.course.ledger import read_ledger, write_ledger
from eon_utils.data.files import alone_in

one_at_a_time = threading.Lock()  # the environment and the log belong to a whole process
BUSY = 1  # seconds after which a run looks for another worker
# Dask sets all of them to 1, and PyTorch heeds the smallest.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class RunFailedError(Exception):
    """A run failed; its folder says how far it came."""


def run_one(notebook: Path, job: Job, folder: Path, threads: str) -> None:
    """Run a notebook into a folder. A worker does this, and does one run at a time.

    Args:
        notebook: its path.
        job: its parameters.
        folder: where to; it may hold an earlier try. What ran through is not run again.
        threads: of its kernel; "": as many as the worker has.

    Raises:
        RunFailedError: when the notebook failed.
        FolderInUseError: while another worker runs it, as one that its sweep has left.
    """
    if not one_at_a_time.acquire(blocking=False):
        _go_elsewhere()
    try:
        with alone_in(folder):
            # The cluster may have lost a worker, and with it what its runs had returned.
            if not finished(folder, notebook):
                _run_into(folder, notebook, job, threads or _threads_of_worker())
    finally:
        one_at_a_time.release()


def _go_elsewhere() -> NoReturn:
    """Give a run of a busy worker back to the scheduler, which may know an idle one."""
    from distributed import Reschedule

    time.sleep(BUSY)
    raise Reschedule


def _threads_of_worker() -> str:
    from distributed import get_worker

    return str(get_worker().state.nthreads)


def _run_into(folder: Path, notebook: Path, job: Job, threads: str) -> None:
    variables = {"EON_CLAIMS": "1", "EON_CHECKPOINTS": str(folder / "checkpoints")}
    variables |= dict.fromkeys(THREADS, threads)
    asked = asked_for(notebook, job)
    runner.write_asked(asked, folder / runner.ASKED)
    with _environment(variables), _quiet(), runner.log_file(folder / "log.txt"):
        runner.use_own_kernel()
        nb = runner.execute(notebook, folder / notebook.name, job.values)
        rows = runner.measured(nb, notebook.name[:2], asked.preset, job.values)
        write_ledger(folder / "ledger.json", rows)
    if nb.metadata.eon.status != "ok":
        raise RunFailedError(nb.metadata.eon.error["message"])
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables as they shall be for a while; then all are as before."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is printed: there are other workers, and the log has it."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def asked_for(notebook: Path, job: Job) -> runner.Asked:
    """What `runner.run` would note for one run of a sweep."""
    return runner.Asked(job.settings.get("preset", "laptop"), False, [(notebook, job.values)])


def finished(folder: Path, notebook: Path) -> bool:
    """Whether a run's folder holds a notebook that ran through, and all that it measured."""
    try:
        rows = read_ledger(folder / "ledger.json")
    except ValueError:
        return False
    return bool(rows) and runner.ran_through(folder / notebook.name) is not None


def is_sweep(folder: Path) -> bool:
    """Whether this is the folder of a sweep, as seen from here."""
    return (folder / ASKED).is_file()
