"""The course, headless: notebooks run into one folder, one after the other or side by side."""

from __future__ import annotations

import io
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import papermill
from nbformat import NotebookNode
from nbformat.sign import NotebookNotary
from papermill.exceptions import PapermillExecutionError

from eon_utils.config import ROOT
from eon_utils.course.ledger import Row, duration, pivot, text_table, write_ledger
from eon_utils.course.outputs import count_claims, ledger_rows
from eon_utils.course.parameters import minutes, plan
from eon_utils.course.side_by_side import side_by_side
from eon_utils.course.site import build_site
from eon_utils.data.files import alone_in, check_writable, whole_file
from eon_utils.threads import usable_cores

log = logging.getLogger("papermill")

ASKED = "run.json"  # in a run's folder: what it was asked for
LONGEST_MESSAGE = 160  # characters, where one line is what there is


def select(only: str = "", root: Path = ROOT) -> list[Path]:
    """The notebooks of the course in `root`, in order; or those that `only`, as "02,03", names.

    Raises:
        ValueError: when nothing fits; it says what there is.
    """
    folder = root / "notebooks"
    every = sorted(path for path in folder.glob("*.ipynb") if path.name[:2].isdigit())
    wanted = tuple(part.strip() for part in only.split(",") if part.strip())
    names = [path.name for path in every]
    missing = [part for part in wanted if not any(name.startswith(part) for name in names)]
    if missing or not every:
        there_are = ", ".join(path.stem for path in every) or "none"
        absent = ", ".join(missing) or "at all"
        raise ValueError(f"no notebook {absent} in {folder}; there are: {there_are}")
    return [path for path in every if not wanted or path.name.startswith(wanted)]


class Asked(NamedTuple):
    """What a run was asked for."""

    preset: str
    whole: bool  # of the course
    jobs: list[tuple[Path, dict[str, Any]]]  # notebooks with their parameters


def run(
    preset: str = "laptop",
    only: str = "",
    settings: Mapping[str, str] | None = None,
    out: Path | None = None,
    root: Path = ROOT,
    workers: int = 1,
) -> tuple[Path, int]:
    """Run notebooks into one folder.

    A notebook that fails does not stop the others. Ctrl-C stops all, and keeps what is there;
    `resume` goes on from it. A run of the whole course becomes `runs/latest`.

    Args:
        preset: "smoke", "laptop" or "full".
        only: the notebooks to run, such as "02,03"; empty: all.
        settings: parameter -> value, as typed on the command line.
        out: the folder: executed notebooks, ledger.json, log.txt and site/; None: `runs/<time>`.
        root: of the course, the folder that holds notebooks/.
        workers: so many notebooks at a time.

    Returns:
        The folder, and the exit status: 0, 1 when a notebook failed, 130 after Ctrl-C.

    Raises:
        ValueError: for a wrong parameter; nothing has run then.
        FileExistsError: when `out` is in use.
    """
    _check_workers(workers)
    jobs = plan(select(only, root), preset, settings or {})
    out = (out or dated_folder(root / "runs")).resolve()
    make_empty(out)
    asked = Asked(preset, not only, jobs)
    write_asked(asked, out / ASKED)
    return _run_into(out, asked, root, workers)


def resume(out: Path, root: Path = ROOT, workers: int = 1) -> tuple[Path, int]:
    """Go on with a run that was stopped or killed, with the parameters that it began with.

    Notebooks that ran through are kept; the others run, from their beginning.

    Args:
        out: its folder.
        root: of the course.
        workers: so many notebooks at a time.

    Returns:
        As `run`.

    Raises:
        ValueError: for a folder that is none of a run, or of one with other notebooks.
    """
    _check_workers(workers)
    out = out.expanduser().resolve()
    asked = read_asked(out / ASKED, root)
    check_writable(out, "--resume")
    return _run_into(out, asked, root, workers)


def _check_workers(workers: int) -> None:
    if workers < 1:
        raise ValueError(f"--workers {workers} must be 1 or more")


def write_asked(asked: Asked, path: Path) -> None:
    """Note beside a run's notebooks what it was asked for."""
    jobs = [[notebook.name, values] for notebook, values in asked.jobs]
    text = json.dumps(asked._asdict() | {"jobs": jobs}, indent=1)
    with whole_file(path) as partial:
        partial.write_text(f"{text}\n", encoding="utf-8")


def read_asked(path: Path, root: Path = ROOT) -> Asked:
    """What `write_asked` noted.

    Raises:
        ValueError: where there is no such note, or the course lacks a notebook that it names.
    """
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        jobs = [(root / "notebooks" / name, values) for name, values in noted["jobs"]]
        asked = Asked(noted["preset"], noted["whole"], jobs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "name the folder of a run, such as runs/<time>"
        raise ValueError(f"--resume {path.parent} is no folder of a run; {remedy}") from error
    missing = [notebook.name for notebook, _ in jobs if not notebook.is_file()]
    if missing:
        folder = root / "notebooks"
        raise ValueError(f"{path.parent.name} ran {', '.join(missing)}, no notebook of {folder}")
    return asked


def _run_into(out: Path, asked: Asked, root: Path, workers: int) -> tuple[Path, int]:
    """Run what has not run through yet."""
    use_own_kernel()
    with alone_in(out), log_file(out / "log.txt"):
        system = f"Python {platform.python_version()} on {platform.platform()}"
        log.info(f"{system}, {os.cpu_count()} CPUs")
        kept: dict[Path, NotebookNode] = {}
        for path, _ in asked.jobs:
            nb = ran_through(out / path.name)
            if nb is not None:
                kept[path] = nb
        jobs = [(path, values) for path, values in asked.jobs if path not in kept]
        say(f"Preset {asked.preset}, {len(jobs)} notebook{'s' * (len(jobs) != 1)}, into {out}")
        if kept:
            say(f"Kept, because they ran through: {', '.join(path.stem for path in kept)}")
        announce(jobs, asked.preset)
        ended = dict(kept)
        rows = _rows(asked, ended)
        ledger_kept = keep_ledger(out / "ledger.json", rows)
        for path, nb in _execute_all(jobs, out, workers):
            ended[path] = nb
            rows = _rows(asked, ended)
            ledger_kept = keep_ledger(out / "ledger.json", rows)
        statuses = {nb.metadata.eon.status for nb in ended.values()}
        if asked.whole and "interrupted" not in statuses:
            point_latest(out)
        report([(path.stem, ended[path]) for path, _ in asked.jobs if path in ended], rows, out)
        if "interrupted" in statuses:
            say(f"\nTo go on: python -m eon_utils run --resume {out}")
        say(f"\nRead it: {build_site(out, root)}")
    if "interrupted" in statuses:
        return out, 130
    return out, int("failed" in statuses or not ledger_kept)


def _execute_all(
    jobs: Sequence[tuple[Path, Mapping[str, Any]]], out: Path, workers: int
) -> Iterator[tuple[Path, NotebookNode]]:
    """Run notebooks, and say how each ended; after Ctrl-C no other begins."""
    if workers > 1:
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(usable_cores() // workers, 1))
        # Later lessons take longer, so they begin: no core waits for a long last one.
        each = [(path, out, values, threads) for path, values in reversed(jobs)]
        for number, interrupted in side_by_side(_execute_quietly, each, workers):
            path = each[number][0]
            nb = as_it_ended(path, out / path.name, interrupted)
            say(f"{path.stem} ... {how_it_ended(nb)}")
            yield path, nb
        return
    for path, values in jobs:
        nb = execute(path, out / path.name, values)
        yield path, nb
        if nb.metadata.eon.status == "interrupted":
            return


def _execute_quietly(path: Path, out: Path, values: Mapping[str, Any], threads: str) -> None:
    """`execute`, in a process of its own: a log tells, and nothing is printed."""
    os.environ["OMP_NUM_THREADS"] = threads
    quiet = io.StringIO()
    with redirect_stdout(quiet), redirect_stderr(quiet), log_file(out / f"log_{path.stem}.txt"):
        use_own_kernel()
        execute(path, out / path.name, values)


def _rows(asked: Asked, ended: Mapping[Path, NotebookNode]) -> list[Row]:
    """What the notebooks that ended have measured, in the course's order."""
    rows: list[Row] = []
    for path, values in asked.jobs:
        if path in ended:
            rows += measured(ended[path], path.name[:2], asked.preset, values)
    return rows


def keep_ledger(path: Path, rows: Sequence[Row]) -> bool:
    """Write what was measured so far; whether that went well. A full disk must not end a run."""
    try:
        write_ledger(path, rows)
    except OSError as error:
        say(f"{path.name} not written: {error.strerror or error}; the run goes on")
        return False
    return True


def ran_through(path: Path) -> NotebookNode | None:
    """An executed notebook that ended well; None for any other, or none."""
    try:
        nb = nbformat.read(path, as_version=4)
    except (OSError, ValueError):  # the runner was killed while it was written
        return None
    return nb if nb.metadata.get("eon", {}).get("status") == "ok" else None


def dated_folder(runs: Path, kind: str = "") -> Path:
    """A path for a new folder, named by the date and time.

    Where it is taken, a number follows: clocks are put back, and two runs may begin at once.

    Examples:
        >>> len(dated_folder(Path("nowhere"), "sweep_").name)
        25
    """
    name = f"{kind}{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    numbered = (runs / f"{name}_{number}" for number in count(2))
    return next(path for path in chain([runs / name], numbered) if not path.exists())


def make_empty(folder: Path) -> None:
    """Make a folder, parents included.

    Raises:
        FileExistsError: when it holds something or is a file; it may be somebody's work.
        NotWritableError: where it can't be made, or not be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; choose another --out")
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; choose another --out, or remove it")
    check_writable(folder, "--out")
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """What papermill and `say` tell goes into this file."""
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


def say(text: str, end: str = "\n") -> None:
    """Print, and keep in the log."""
    print(text, end=end, flush=True)
    log.info(text)


def use_own_kernel() -> None:
    """`python3` is the kernel of this environment, whatever kernels the machine or the user has.

    It neither shows nor keeps a reader's progress, so that outputs are the same for everybody.
    """
    os.environ["EON_PROGRESS"] = "off"
    folders = [str(Path(sys.prefix) / "share" / "jupyter")]
    if os.environ.get("JUPYTER_PATH"):
        folders.append(os.environ["JUPYTER_PATH"])
    os.environ["JUPYTER_PATH"] = os.pathsep.join(folders)
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"


def announce(jobs: list[tuple[Path, dict[str, Any]]], preset: str) -> None:
    """Print what will run, with which parameters, and how long each notebook says it takes."""
    for path, values in jobs:
        time_needed = minutes(path).get(preset, "")
        settings = " ".join(f"{name}={value!r}" for name, value in values.items())
        say(f"  {path.stem:<34} {time_needed:<14} {settings}".rstrip())
    say("")


def execute(path: Path, out: Path, values: Mapping[str, Any]) -> NotebookNode:
    """Run one notebook in its own folder; whatever happens, `out` holds how far it came.

    Returns:
        The executed notebook; its `metadata.eon` has `status` ("ok", "failed" or "interrupted"),
        `error` (`where` and `message`, or None) and `seconds`.
    """
    live = sys.stderr.isatty()
    if not live:
        say(f"{path.stem} ...", end=" ")
    bar: Any = {"desc": path.stem, "unit": "cell"} if live else False
    started = time.monotonic()
    status = "ok"
    error = None
    try:
        papermill.execute_notebook(
            path,
            out,
            values,
            kernel_name="python3",
            language="python",
            cwd=path.parent,
            progress_bar=bar,
            log_output=True,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # transport notes help no reader
        )
    except KeyboardInterrupt:
        status = "interrupted"
        error = {"where": "", "message": "stopped by Ctrl-C"}
    except PapermillExecutionError as problem:
        status = "failed"
        where = f" at cell [{problem.exec_count}]"
        error = {"where": where, "message": f"{problem.ename}: {problem.evalue}"}
        log.error(str(problem))
    except Exception as problem:  # a kernel died or did not start: the next notebook gets its turn
        status = "failed"
        error = {"where": "", "message": f"{type(problem).__name__}: {problem}"}
        log.exception("papermill")
    seconds = round(time.monotonic() - started, 1)
    nb = _as_far_as_it_came(out, path)
    nb.metadata["eon"] = NotebookNode(status=status, error=error, seconds=seconds)
    try:
        with whole_file(out) as partial:
            nbformat.write(nb, partial)
    except OSError as problem:  # a full disk must not end the course
        status = nb.metadata.eon.status = "failed"
        error = {"where": "", "message": f"not saved: {problem.strerror or problem}"}
        nb.metadata.eon.error = NotebookNode(error)
    sign(nb)
    if error or not live:
        say(how_it_ended(nb))
    return nb


def how_it_ended(nb: NotebookNode) -> str:
    """Status, time and what went wrong, of an executed notebook."""
    result = nb.metadata.eon
    text = f"{result.status}, {duration(result.seconds)}"
    return f"{text}: {first_line(result.error['message'])}" if result.error else text


def as_it_ended(path: Path, out: Path, interrupted: bool) -> NotebookNode:
    """What `execute` left, by another process. One that was killed has left no word.

    Args:
        path: of the notebook.
        out: of the executed one.
        interrupted: it was to end early.
    """
    nb = _as_far_as_it_came(out, path)
    if "status" not in nb.metadata.get("eon", {}):
        status = "interrupted" if interrupted else "failed"
        message = "stopped by Ctrl-C" if interrupted else "its process was killed"
        error = NotebookNode(where="", message=message)
        nb.metadata["eon"] = NotebookNode(status=status, error=error, seconds=0.0)
        with suppress(OSError), whole_file(out) as partial:
            nbformat.write(nb, partial)
    return nb


def _as_far_as_it_came(out: Path, path: Path) -> NotebookNode:
    """The executed copy; where there is none that is whole, the notebook without any output."""
    try:
        return nbformat.read(out, as_version=4)
    except (OSError, ValueError):  # a full disk leaves half a file
        nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = []  # they are another run's, and so is what that measured
    return nb


def sign(nb: NotebookNode) -> None:
    """JupyterLab shows the widgets of signed notebooks only. Who has no home has no signatures."""
    try:
        NotebookNotary().sign(nb)
    except Exception as problem:  # of the file system, of the data base, of Jupyter's settings
        log.warning("a notebook is not signed: %s", problem)


def first_line(text: str) -> str:
    """The first line of a message, for a place where one line is what there is."""
    lines = text.strip().splitlines() or [""]
    return lines[0][:LONGEST_MESSAGE]


def measured(nb: NotebookNode, phase: str, preset: str, values: Mapping[str, Any]) -> list[Row]:
    """The ledger rows of an executed notebook, then one with the time that it took."""
    rows = ledger_rows(nb)
    seconds = nb.metadata.eon.seconds
    settled = rows[0] if rows else {"seed": values.get("seed", 0), "device": "cpu"}
    whole_run = {
        "phase": phase,
        "model": "-",
        "metric": "notebook",
        "value": seconds,
        "unit": "s",
        "preset": preset,
        "seed": settled["seed"],
        "device": settled["device"],
        "seconds": seconds,
    }
    return [*rows, whole_run]


def report(executed: list[tuple[str, NotebookNode]], rows: list[Row], out: Path) -> None:
    """Print how each notebook went, what was measured, what failed and why."""
    table = [["notebook", "status", "time", "claims"]]
    for name, nb in executed:
        result = nb.metadata.eon
        table.append([name, result.status, duration(result.seconds), count_claims(nb)])
    say(f"\n{text_table(table)}")
    values = pivot(rows)
    if len(values) > 1:
        say(f"\n{text_table(values)}")
    for name, nb in executed:
        result = nb.metadata.eon
        if result.error:
            say(f"\n{name} {result.status}{result.error['where']}: {result.error['message']}")
            say(f"  as far as it came: {out / name}.ipynb")


def point_latest(out: Path) -> None:
    """Make `latest` beside `out` lead to it: a link, or a text file where there are no links."""
    latest = out.parent / "latest"
    if latest.is_dir() and not latest.is_symlink():
        return  # somebody's own
    new = out.parent / "latest.new"
    new.unlink(missing_ok=True)
    try:
        new.symlink_to(out.name, target_is_directory=True)
    except OSError:
        new.write_text(out.name, encoding="utf-8")
    new.replace(latest)


def latest_run(runs: Path) -> Path:
    """The folder of the last run of the whole course.

    Raises:
        FileNotFoundError: when there was none.
    """
    latest = runs / "latest"
    if latest.is_file():
        latest = runs / latest.read_text(encoding="utf-8").strip()
    if not latest.is_dir():
        raise FileNotFoundError(
            f"no run of the whole course in {runs} yet; make one with: python -m eon_utils run"
        )
    return latest.resolve()
