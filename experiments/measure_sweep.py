"""What a sweep costs beside its runs: a notebook alone, and in sweeps with one and two workers.

    python experiments/measure_sweep.py [--notebook 01] [--runs 8] [--workers 1 2] [--out data/]

It times the commands `run` and `sweep` of the course, all under the preset smoke and with one
thread a kernel. Prints a table, and puts it into scaling.md of the folder, if there is one.

It wants two cores that nothing else uses, and takes about 5 minutes.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

import eon_utils as eon
from eon_utils.config import ROOT
from eon_utils.course.ledger import markdown_table, read_ledger
from eon_utils.course.pages import filled
from eon_utils.data.files import whole_file

ALONE = 3  # runs of the notebook alone
HEAD = [
    "workers",
    "runs",
    "all [s]",
    "notebook alone [s]",
    "in the sweep [s]",
    "overhead a run [s]",
]


def timed(*words: str) -> float:
    """Seconds that a command of the course takes.

    Raises:
        RuntimeError: with what it said, when it fails.
    """
    command = [sys.executable, "-m", "eon_utils", *words, "--preset", "smoke"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    seconds = time.monotonic() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return seconds


def alone(args: argparse.Namespace, out: Path) -> float:
    """Seconds of the notebook in a run of its own, without the start and the site of that run."""
    timed("run", "--only", args.notebook, "--root", str(args.root), "--out", str(out))
    rows = read_ledger(out / "ledger.json")
    return next(row["value"] for row in rows if row["metric"] == "notebook")


def swept(args: argparse.Namespace, workers: int, by_itself: float, out: Path) -> list[str]:
    """A row of the table: a sweep over seeds.

    Args:
        args: the options.
        workers: of the sweep.
        by_itself: seconds of the notebook alone.
        out: folder of the sweep.
    """
    seeds = f"seed=0..{args.runs - 1}"
    words = ["sweep", args.notebook, "-p", seeds, "--workers", str(workers)]
    seconds = timed(*words, "--root", str(args.root), "--out", str(out))
    inside = statistics.median(row["seconds"] for row in eon.read_sweep(out / "sweep.csv"))
    overhead = workers * seconds / args.runs - by_itself
    times = [f"{value:.1f}" for value in (seconds, by_itself, inside, overhead)]
    return [str(workers), str(args.runs), *times]


def measure(args: argparse.Namespace, folder: Path) -> str:
    """The table as Markdown, with a sentence on what measured it."""
    times = []
    for number in range(ALONE):
        times.append(alone(args, folder / f"alone_{number}"))
        print(f"alone: {times[-1]:.1f} s", flush=True)
    table = [HEAD]
    for workers in args.workers:
        row = swept(args, workers, statistics.median(times), folder / f"workers_{workers}")
        table.append(row)
        print(f"workers {workers}: {row[2]} s", flush=True)
    where = f"{os.cpu_count()} CPUs, Python {platform.python_version()}"
    said = f"Measured with notebook {args.notebook} on {where}."
    return f"{said} Times in one notebook are medians.\n\n{markdown_table(table)}"


def parse() -> argparse.Namespace:
    """The options."""
    options = common.parser(__doc__)
    options.add_argument("--notebook", default="01", help="number of the notebook (01)")
    options.add_argument("--runs", type=int, default=8, help="of a sweep (8)")
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="of sweeps (1 2)")
    options.add_argument("--out", type=Path, default=Path("data"), help="folder (data)")
    options.add_argument("--root", type=Path, default=ROOT, help="of the course (this one)")
    return options.parse_args()


def main() -> None:
    """Measure, print, write."""
    args = parse()
    with tempfile.TemporaryDirectory(prefix="sweeps_") as folder:
        text = measure(args, Path(folder))
    print(f"\n{text}")
    page = args.out / "scaling.md"
    if page.exists():
        whole = filled(page.read_text(encoding="utf-8"), {"measured sweeps": text})
        with whole_file(page) as partial:
            partial.write_text(whole, encoding="utf-8")


if __name__ == "__main__":
    main()
