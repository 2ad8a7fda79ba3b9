"""One run of a sweep, as a worker of a cluster makes it. Its folder is like one of `runner.run`."""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from eon_utils.course import runner
from eon_utils.course.grid import Job
from eon_utils.course.ledger import read_ledger, write_ledger

one_at_a_time = threading.Lock()  # the environment and the log belong to a whole process


class RunFailedError(Exception):
    """A run failed; its folder says how far it came."""


def run_one(notebook: Path, job: Job, folder: Path, threads: int) -> None:
    """Run a notebook into a folder. A worker does this.

    Args:
        notebook: its path.
        job: its parameters.
        folder: where to; it may hold an earlier try. What ran through is not run again.
        threads: of its kernel; 0: as the worker's environment says.

    Raises:
        RunFailedError: when the notebook failed.
    """
    if finished(folder, notebook):  # the cluster lost a worker, and what its runs had returned
        return
    variables = {"EON_CLAIMS": "1", "EON_CHECKPOINTS": str(folder / "checkpoints")}
    if threads:
        variables["OMP_NUM_THREADS"] = str(threads)
    asked = asked_for(notebook, job)
    folder.mkdir(parents=True, exist_ok=True)
    runner.write_asked(asked, folder / runner.ASKED)
    with one_at_a_time, _environment(variables), _quiet(), runner.log_file(folder / "log.txt"):
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
