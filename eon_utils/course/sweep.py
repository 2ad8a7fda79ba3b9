"""A sweep: one notebook, run with every combination of some parameters' values on a Dask cluster.

Each run has a folder, as `runner.run` would leave it. So a sweep can be killed anywhere: what ran
through is kept, and `resume` runs the others.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from eon_utils.config import ROOT
from eon_utils.course import runner
from eon_utils.course.grid import Job, Sweep, combine, read_asked, read_axes, write_asked
from eon_utils.course.sweep_run import asked_for, finished, is_sweep, run_one
from eon_utils.data.files import alone_in, check_writable, in_use, name_some

if TYPE_CHECKING:  # an extra of its own
    from distributed import Client, Future

PACKAGES = ("bokeh", "distributed", "pandas", "pyarrow")
PATIENCE = 10  # seconds in which a scheduler must answer


class Cluster(NamedTuple):
    """Where and how runs are computed."""

    scheduler: str = ""  # the address of a Dask scheduler; none: workers of our own are started
    workers: int | None = None  # of our own; default: one for each core
    retries: int = 0  # of a failed run


# --- what the user calls ---


def start(
    sweep: Sweep, out: Path | None = None, cluster: Cluster | None = None, root: Path = ROOT
) -> tuple[Path, int]:
    """Run a notebook with every combination of the values of its parameters.

    Args:
        sweep: from `ask`.
        out: a folder that is empty or is not there; default: `runs/sweep_<time>`.
        cluster: default: a worker for each core of this machine.
        root: of the course, the folder that holds notebooks/.

    Returns:
        The folder, and the exit status: 0, 1 when a run failed, 130 after Ctrl-C.

    Raises:
        ValueError: for a value out of range, or options or workers that do not fit; nothing has
            run then.
        FileExistsError: when `out` is in use.
        ConnectionError: when no scheduler answers.
    """
    cluster = check_cluster(cluster)
    jobs = combine(*sweep)
    check_answers(cluster)
    out = (out or runner.dated_folder(root / "runs", "sweep_")).resolve()
    runner.make_empty(out)
    write_asked(sweep, out)  # before all else, so that `resume` goes on from wherever it is killed
    with alone_in(out):
        return out, _run_into(out, sweep.notebook, jobs, jobs, cluster)


def resume(
    out: Path, sweep: Sweep | None = None, cluster: Cluster | None = None, root: Path = ROOT
) -> tuple[Path, int]:
    """Go on with a sweep that was stopped or killed.

    Runs that ran through are kept, and known by their parameters; the others run, from their
    beginning.

    Args:
        out: its folder.
        sweep: what it shall be from now on, as with more seeds; default: what it was.
        cluster: as for `start`.
        root: of the course.

    Returns:
        As `start`.

    Raises:
        ValueError: for a folder that is none of a sweep, or is one of another notebook, or holds
            runs with other parameters.
    """
    cluster = check_cluster(cluster)
    out = out.expanduser().resolve()
    noted = read_asked(out, root)
    check_writable(out, "--resume")
    sweep = sweep or noted
    if sweep.notebook != noted.notebook:
        raise ValueError(f"{out} is a sweep of {noted.notebook.stem}; give another --out")
    jobs = _at_home(combine(*sweep), sweep, out, root)
    todo = [job for job in jobs if not finished(out / job.folder, sweep.notebook)]
    if todo:
        check_answers(cluster)
    kept = len(jobs) - len(todo)
    if kept:
        print(f"Kept, because they ran through: {kept} of {_count(len(jobs), 'run')}")
    with alone_in(out):
        write_asked(sweep, out)
        return out, _run_into(out, sweep.notebook, jobs, todo, cluster)


def _run_into(
    out: Path, notebook: Path, jobs: Sequence[Job], todo: Sequence[Job], cluster: Cluster
) -> int:
    """Run those of the jobs that are to do, and report on all; returns the exit status."""
    errors: dict[str, str] = {}
    interrupted = False
    if todo:
        try:
            with connect(cluster, len(todo), out) as (client, threads):
                print(f"{_count(len(todo), 'run')} of {notebook.stem}, into {out}")
                futures = _submit(client, notebook, todo, out, threads, cluster.retries)
                _wait(futures, errors)
        except KeyboardInterrupt:  # the client has left, so the cluster dropped what it had queued
            interrupted = True
    from eon_utils.course import sweep_report  # draws, and so loads PyTorch: not for a refusal

    failed = sweep_report.report(out, notebook, jobs, errors)
    if interrupted:
        running = [job.folder for job in todo if in_use(out / job.folder)]
        if running:
            print(f"\nStill running on the cluster, to their end: {name_some(running)}")
        print(f"\nTo go on: python -m eon_utils sweep --resume {out}")
        return 130
    return int(failed > 0)


def _submit(
    client: Client,
    notebook: Path,
    jobs: Sequence[Job],
    out: Path,
    threads: str,
    retries: int,
) -> dict[Future, str]:
    """Hand the jobs to a cluster; returns the folder's name of each."""
    futures = {}
    for job in jobs:
        folder = out / job.folder
        key = ("run", str(folder))
        future = client.submit(run_one, notebook, job, folder, threads, key=key, retries=retries)
        futures[future] = job.folder
    return futures


def _wait(futures: Mapping[Future, str], errors: dict[str, str]) -> None:
    """Wait for all runs, with a bar or a line for each.

    Args:
        futures: from `_submit`.
        errors: here goes why a run failed, by its folder's name.
    """
    from distributed import as_completed

    live = sys.stderr.isatty()
    with tqdm(total=len(futures), unit="run", disable=not live) as bar:
        for future in as_completed(futures):
            name = futures[future]
            error = _error_of(future)
            if error:
                errors[name] = error
                bar.set_postfix(failed=len(errors))
            bar.update()
            if not live:
                print(f"  {name}: {error or 'ok'}", flush=True)


def _error_of(future: Future) -> str:
    """Why a run failed, in one line; nothing where it did not."""
    try:
        error = future.exception()
    except Exception as problem:  # it was cancelled, or the cluster is gone
        error = problem
    return runner.first_line(str(error)) if error else ""


def ask(only: str, settings: Mapping[str, str], preset: str = "laptop", root: Path = ROOT) -> Sweep:
    """A sweep as it is typed on the command line.

    Args:
        only: the notebook's number, such as "02".
        settings: parameter -> values, such as "0,0.1,0.25" or "0..4".
        preset: "smoke", "laptop" or "full".
        root: of the course.

    Raises:
        ValueError: for a wrong parameter, or where `only` is not one notebook.
    """
    notebooks = runner.select(only, root)
    if len(notebooks) != 1:
        remedy = "write its number, such as 02"
        raise ValueError(f"a sweep runs one notebook, not {len(notebooks)}; {remedy}")
    if not settings:
        raise ValueError("a sweep needs values of a parameter; write them as -p seed=0..4")
    return Sweep(notebooks[0], read_axes(notebooks[0], settings, preset))


# --- what is there ---


def _at_home(jobs: Sequence[Job], sweep: Sweep, out: Path, root: Path) -> list[Job]:
    """The jobs, each with the folder that holds its run already, if one does.

    A run is known by its parameters. The name of its folder is no guide: it has those parameters
    that had several values when the run began.

    Raises:
        ValueError: where a folder that a job would get holds another run.
    """
    homes: dict[str, str] = {}
    for path in sorted(out.glob(f"*/{runner.ASKED}")):
        try:
            known = _known_by(runner.read_asked(path, root))
        except ValueError:  # it has not begun
            continue
        if known not in homes or finished(path.parent, sweep.notebook):
            homes[known] = path.parent.name
    found = []
    taken = set(homes.values())
    for job in jobs:
        home = homes.get(_known_by(asked_for(sweep.notebook, job)))
        if not home and job.folder in taken:
            remedy = "give another --out"
            raise ValueError(f"{out / job.folder} holds a run with other parameters; {remedy}")
        found.append(job._replace(folder=home or job.folder))
    return found


def _known_by(asked: runner.Asked) -> str:
    """A text that is the same for the same run."""
    jobs = [[notebook.name, values] for notebook, values in asked.jobs]
    text = json.dumps([asked.preset, asked.whole, jobs])
    return json.dumps(json.loads(text, parse_int=float), sort_keys=True)  # 0 and 0.0 are the same


# --- where it runs ---


def check_cluster(cluster: Cluster | None) -> Cluster:
    """The same, if its options fit and the packages are there; without one, this machine.

    Raises:
        ValueError: for options that do not fit.
        RuntimeError: where a package is missing; it says what to install.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(f"a sweep needs {', '.join(missing)}: pip install 'eye-of-newt[sweep]'")
    cluster = cluster or Cluster()
    if cluster.retries < 0:
        raise ValueError(f"--retries {cluster.retries} must be 0 or more")
    if cluster.workers is not None and cluster.workers < 1:
        raise ValueError(f"--workers {cluster.workers} must be 1 or more")
    if cluster.scheduler and cluster.workers:
        raise ValueError("--workers is for workers on this machine; leave it out with --scheduler")
    return cluster


def check_answers(cluster: Cluster) -> None:
    """Raise a `ConnectionError` when no scheduler answers at the address, if there is one."""
    if cluster.scheduler:
        _client_of(cluster.scheduler).close()


@contextmanager
def connect(cluster: Cluster, runs: int, out: Path) -> Iterator[tuple[Client, str]]:
    """A client of a Dask cluster, and the threads for each run; "" for those of its worker.

    Args:
        cluster: where to.
        runs: that wait; no more workers than these are started.
        out: the sweep's folder.

    Raises:
        ConnectionError: when no scheduler answers.
        ValueError: where workers lack the course, or see another folder than we do.
    """
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    if cluster.scheduler:
        with _client_of(cluster.scheduler) as client:
            there: Any = client.nthreads()
            _check_workers(client, out)
            waits = "" if there else ": runs wait until one comes"
            _announce(client, f"{_count(len(there), 'worker')} at {cluster.scheduler}{waits}")
            yield client, ""
        return
    workers = min(cluster.workers or CPU_COUNT, runs)
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(CPU_COUNT // workers, 1))
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=None,  # the memory is the kernels', which Dask does not watch
            dashboard_address="127.0.0.1:8787",
            silence_logs=logging.CRITICAL,  # what fails is told by us
        ) as local,
        Client(local) as client,
    ):
        _announce(client, f"{_count(workers, 'worker')}, threads of each: {threads}")
        yield client, threads


def _check_workers(client: Client, out: Path) -> None:
    """Raise a `ValueError` where a worker can't do runs into this folder."""
    try:
        seen: Any = client.run(is_sweep, out)
    except ImportError as error:
        remedy = "install the course there as here"
        raise ValueError(f"--scheduler: a worker lacks the course ({error}); {remedy}") from error
    blind = [address for address, sees in seen.items() if not sees]
    if blind:
        remedy = "its workers must see the same folders; then go on with --resume"
        raise ValueError(f"--scheduler: {name_some(blind)} sees no sweep in {out}; {remedy}")


def _announce(client: Client, where: str) -> None:
    print(f"{where}. Dashboard: {client.dashboard_link}", flush=True)


def _client_of(scheduler: str) -> Client:
    from distributed import Client

    try:
        return Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        remedy = "give the address that it printed, such as tcp://127.0.0.1:8786"
        raise ConnectionError(f"--scheduler {scheduler}: no scheduler answers; {remedy}") from error


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
