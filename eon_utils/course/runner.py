"""The course, headless: notebooks run one after the other, with checked parameters, into one folder."""

from __future__ import annotations

import ast
import json
import logging
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbformat import NotebookNode
from nbformat.sign import NotebookNotary
from papermill.exceptions import PapermillExecutionError

from eon_utils.config import PRESETS, ROOT
from eon_utils.course.site import build_site, count_claims, duration, ledger_rows, pivot

KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "str": (str,),
    "list": (list,),
    "None": (type(None),),
}
log = logging.getLogger("papermill")

BUDGETS = {"smoke": "about 20 s", "laptop": "up to 3 min", "full": "up to 30 min on two cores"}


def select(only: str = "", root: Path = ROOT) -> list[Path]:
    """The notebooks of the course in `root`, in order, or those that `only` (such as "02,03") names.

    Raises ValueError, naming what there is, when nothing fits.
    """
    folder = root / "notebooks"
    found = sorted(p for p in folder.glob("*.ipynb") if p.name[:2].isdigit())
    wanted = [part.strip() for part in only.split(",") if part.strip()]
    missing = [part for part in wanted if not any(p.name.startswith(part) for p in found)]
    if missing or not found:
        raise ValueError(
            f"no notebook {', '.join(missing) or 'at all'} in {folder}; "
            f"there are: {', '.join(p.stem for p in found) or 'none'}"
        )
    return [p for p in found if not wanted or any(p.name.startswith(part) for part in wanted)]


def parameters(notebook: Path) -> dict[str, tuple[Any, list[str]]]:
    """Name -> (default, allowed kinds) of each parameter of a notebook.

    The kinds come from the annotation (`steps: int | None = None`), else from the default. A plain `None`
    stands for a number or a list of numbers.
    """
    cells = nbformat.read(notebook, as_version=4).cells
    source = next((c.source for c in cells if "parameters" in c.metadata.get("tags", [])), "")
    known = {}
    for line in ast.parse(source).body:
        if isinstance(line, ast.Assign | ast.AnnAssign) and line.value is not None:
            target = line.target if isinstance(line, ast.AnnAssign) else line.targets[0]
            default = ast.literal_eval(line.value)
            kinds = [type(default).__name__] if default is not None else ["int", "float", "list", "None"]
            if isinstance(line, ast.AnnAssign):
                kinds = [k for k in KINDS if re.search(rf"\b{k}\b", ast.unparse(line.annotation))] or kinds
            known[ast.unparse(target)] = (default, ["list" if k == "tuple" else k for k in kinds])
    return known


def typed(name: str, text: str, kinds: list[str]) -> Any:  # noqa: ANN401
    """A parameter as it was typed on the command line, as one of `kinds`; ValueError says what is allowed."""
    words = {"true": "True", "false": "False", "none": "None"}
    try:
        value = ast.literal_eval(words.get(text.lower(), text))
    except (ValueError, SyntaxError):
        value = text
    value = list(value) if isinstance(value, tuple) else value
    if any(isinstance(value, KINDS[k]) and (type(value) is not bool or k == "bool") for k in kinds):
        if isinstance(value, int | float) and value < 0:
            raise ValueError(f"{name}={text} is out of range: it must not be negative")
        return value
    if "str" in kinds:
        return text
    raise ValueError(f"{name}={text} has the wrong type: it must be {' or '.join(kinds)}")


def plan(notebooks: Sequence[Path], preset: str, given: dict[str, str]) -> list[tuple[Path, dict[str, Any]]]:
    """Each notebook with the parameters that it has and that differ from its own defaults.

    Raises ValueError for an unknown preset, a parameter that none of the notebooks has, or a wrong type.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset} is unknown; choose one of {', '.join(PRESETS)}")
    known = {path: parameters(path) for path in notebooks}
    allowed = {"preset": None} | {name: None for spec in known.values() for name in spec}
    for name in given:
        if name not in allowed:
            raise ValueError(f"unknown parameter {name}; these notebooks have: {', '.join(allowed)}")
    result = []
    for path, spec in known.items():
        values = {n: typed(n, t, spec[n][1]) for n, t in {**given, "preset": preset}.items() if n in spec}
        for name in {"images", "videos"} & set(values):
            own = Path(values[name]).expanduser()
            if values[name] and own.exists():
                values[name] = str(own.resolve())  # the kernel works in the notebooks' folder
        result.append((path, {n: v for n, v in values.items() if v != spec[n][0]}))
    return result


def run(
    preset: str = "laptop",
    only: str = "",
    given: dict[str, str] | None = None,
    out: Path | None = None,
    root: Path = ROOT,
) -> tuple[Path, int]:
    """Run notebooks one after the other into `out`: executed notebooks, ledger.json, log.txt and site/.

    A notebook that fails does not stop the others. Ctrl-C stops all, and keeps what is there. Nothing runs
    when a parameter is wrong (ValueError) or `out` is in use (FileExistsError).

    Returns the folder and the exit status: 0, 1 when a notebook failed, 130 after Ctrl-C.
    """
    jobs = plan(select(only, root), preset, given or {})
    out = (out or root / "runs" / time.strftime("%Y-%m-%d_%H-%M-%S")).resolve()
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty; choose another --out, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(out / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    use_own_kernel()
    log.info(f"Python {platform.python_version()} on {platform.platform()}, {os.cpu_count()} CPUs")
    say(f"Preset {preset}, {len(jobs)} notebook{'s' * (len(jobs) > 1)}, into {out}")
    reference = read_ledger(root / "data" / "ledger.json")
    timed = [r for r in reference if r["metric"] == "notebook" and r["preset"] == preset]
    expected = {r["phase"]: f"about {duration(r['value'])}" for r in timed}
    otherwise = BUDGETS[preset]
    for path, values in jobs:
        given_here = " ".join(f"{name}={value!r}" for name, value in values.items())
        say(f"  {path.stem:<34} {expected.get(path.name[:2], otherwise)} {given_here}".rstrip())
    say("")
    done, rows = [], []
    for path, values in jobs:
        nb = execute(path, out / path.name, values)
        done.append((path.stem, nb))
        found, seconds = ledger_rows(nb), nb.metadata.eon.seconds
        whole = {"phase": path.name[:2], "model": "-", "metric": "notebook", "value": seconds, "unit": "s"}
        whole |= {"preset": preset, "seed": values.get("seed", 0), "device": "cpu", "seconds": seconds}
        whole |= {key: found[0][key] for key in ("seed", "device") if found}
        rows += [*found, whole]
        write_json(out / "ledger.json", rows)
        if nb.metadata.eon.status == "interrupted":
            break
    point_latest(out)
    report(done, rows, out)
    say(f"\nRead it: {build_site(out, root / 'notebooks')}")
    log.removeHandler(handler)
    handler.close()
    statuses = {nb.metadata.eon.status for _, nb in done}
    return out, 130 if "interrupted" in statuses else int("failed" in statuses)


def execute(path: Path, out: Path, values: dict[str, Any]) -> NotebookNode:
    """Run one notebook in its own folder; whatever happens, `out` holds what was done and how it went."""
    live = sys.stderr.isatty()
    if not live:
        say(f"{path.stem} ...", end=" ")
    started, status, error = time.monotonic(), "ok", None
    try:
        papermill.execute_notebook(
            path,
            out,
            values,
            kernel_name="python3",
            language="python",
            cwd=path.parent,
            progress_bar={"desc": path.stem, "unit": "cell"} if live else False,
            log_output=True,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # its notes on transport help no reader
        )
    except KeyboardInterrupt:
        status, error = "interrupted", {"where": "", "message": "stopped by Ctrl-C"}
    except PapermillExecutionError as problem:
        where, message = f" at cell [{problem.exec_count}]", f"{problem.ename}: {problem.evalue}"
        status, error = "failed", {"where": where, "message": message}
        log.error(str(problem))
    except Exception as problem:  # a kernel that died or did not start: the next notebook gets its turn
        status, error = "failed", {"where": "", "message": f"{type(problem).__name__}: {problem}"}
        log.exception("papermill")
    seconds = round(time.monotonic() - started, 1)
    nb = nbformat.read(out if out.exists() else path, as_version=4)
    nb.metadata["eon"] = NotebookNode(status=status, error=error, seconds=seconds)
    nbformat.write(nb, out)
    NotebookNotary().sign(nb)  # JupyterLab shows the widgets of signed notebooks only
    if not live or error:
        say(f"{status}, {duration(seconds)}" + (f": {first_line(error['message'])}" if error else ""))
    return nb


def use_own_kernel() -> None:
    """`python3` is the kernel of this environment, whatever kernels the machine or the user has."""
    own = str(Path(sys.prefix) / "share" / "jupyter")
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [own, os.environ.get("JUPYTER_PATH")]))
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"


def report(done: Sequence[tuple[str, NotebookNode]], rows: Sequence[dict], out: Path) -> None:
    """Print how each notebook went, what was measured, what failed and why."""
    facts = [(name, nb.metadata.eon, count_claims(nb)) for name, nb in done]
    lines = [[name, eon.status, duration(eon.seconds), claims] for name, eon, claims in facts]
    say("\n" + columns([["notebook", "status", "time", "claims"], *lines]))
    if len(table := pivot(rows)) > 1:
        say("\n" + columns(table))
    for name, eon, _ in facts:
        if eon.error:
            say(f"\n{name} {eon.status}{eon.error['where']}: {eon.error['message']}")
            say(f"  as far as it came: {out / name}.ipynb")


def columns(table: Sequence[Sequence[str]]) -> str:
    """A table as aligned text; the first row is the head."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    rows = [table[0], ["-" * w for w in widths], *table[1:]]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def say(text: str, end: str = "\n") -> None:
    """Print, and keep in the log."""
    print(text, end=end, flush=True)
    log.info(text)


def first_line(text: str) -> str:
    """The first line of a message, for a place where one line is what there is."""
    return (text.strip().splitlines() or [""])[0][:160]


def point_latest(out: Path) -> None:
    """Make `latest` beside `out` lead to it: a link, or a text file where there are no links."""
    latest = out.parent / "latest"
    if latest.is_symlink() or latest.is_file():
        latest.unlink()
    try:
        latest.symlink_to(out.name, target_is_directory=True)
    except OSError:
        latest.write_text(out.name, encoding="utf-8")


def latest_run(runs: Path) -> Path:
    """The folder of the last run; FileNotFoundError when there was none."""
    latest = runs / "latest"
    if latest.is_file():
        latest = runs / latest.read_text(encoding="utf-8").strip()
    if not latest.is_dir():
        raise FileNotFoundError(f"no run in {runs} yet; make one with: python -m eon_utils run")
    return latest.resolve()


def read_ledger(path: Path) -> list[dict]:
    """The rows of a ledger; none while there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def write_json(path: Path, rows: Sequence[dict]) -> None:
    """Rows as JSON, one a line, so that a change reads as a change."""
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")
