"""What several processes of one training do, measured on CPU processes of this machine.

    python experiments/measure_processes.py [--steps 16] [--only curves lost sums]

A tiny prior is trained by one process, and by two that share its batches (curves). Then one of them
is killed or frozen, and a training goes on with another number of processes (lost). Last, two
processes sum what each has, as they do with the shipped prior's gradients in each step, and with
fewer and more numbers (sums). Two cores take 4 minutes.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import common
import torch
from joint_training import Job, Outcome, difference, outcome
from torch import distributed, multiprocessing

import eon_utils as eon

SHARES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the prior's gradients, summed by two processes
SUMS = 30  # of each


def main() -> None:
    """Print the table."""
    options = common.parser(__doc__)
    options.add_argument("--steps", type=int, default=16, help="of each training (16)")
    parts: dict[str, Callable[[Path, int], None]] = {
        "curves": _compare,
        "lost": _lose,
        "sums": _sum,
    }
    help_text = "what is measured (all of it)"
    options.add_argument("--only", nargs="+", choices=parts, default=[*parts], help=help_text)
    args = options.parse_args()
    common.print_head("two processes on the CPU", "measured")
    with TemporaryDirectory() as folder:
        for name in args.only:
            parts[name](Path(folder), args.steps)


def _compare(folder: Path, steps: int) -> None:
    """Loss curves beside that of one process with the joint batch."""
    names = {"frames": "a frame predictor's", "prior": "the prior's"}
    for network, name in names.items():
        job = Job(str(folder / network), count=1, steps=steps, network=network)
        alone = _whole(outcome(job))
        two = _whole(outcome(replace(job, count=2)))
        text = f"{name} loss curve, {steps} steps, against one process with the joint batch"
        common.print_row(text, f"{difference(two, alone):.1e} at most")
        for before, after in ((1, 2), (2, 1)):
            half = replace(job, count=before, event="stop", who=0, at=steps // 2 - 1)
            outcome(half)
            rest = _whole(outcome(replace(half, count=after, event="", resume=True)))
            text = f"the same, {before} for the first half, {after} for the second"
            common.print_row(text, f"{difference(rest, alone):.1e} at most")


def _lose(folder: Path, _: int) -> None:
    """How long the other goes on when one is lost."""
    for launcher, event in (("by hand", "kill"), ("torchrun", "kill"), ("by hand", "freeze")):
        job = Job(str(folder / f"{launcher} {event}"), steps=1000, network="frames", event=event)
        made = outcome(job, launcher)
        what = "killed" if event == "kill" else "frozen"
        under = " under torchrun" if launcher == "torchrun" else ""
        common.print_row(f"one is {what}{under}: until the other ended", f"{made.seconds:.0f} s")


def _sum(folder: Path, _: int) -> None:
    """How long two processes take to sum as many numbers as the prior has gradients."""
    numbers = sum(parameter.numel() for parameter in eon.Prior().parameters())
    counts = [round(share * numbers) for share in SHARES]
    multiprocessing.spawn(_sum_in_one, (str(folder), counts), nprocs=2)
    seconds = json.loads((folder / "sums.json").read_text(encoding="utf-8"))
    for count, share, one in zip(counts, SHARES, seconds, strict=True):
        size = f"{4 * count / 1e6:.1f} MB"
        which = "the prior's gradients" if share == 1 else f"{share:g} times as many numbers"
        common.print_row(f"sums of {which}, {size}, median", f"{1000 * one:.1f} ms")


def _sum_in_one(rank: int, folder: str, counts: list[int]) -> None:
    """One of the two processes; the first writes the median seconds of each count."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    medians = []
    for count in counts:
        numbers = torch.rand(count)
        taken = []
        for _ in range(SUMS):
            distributed.barrier()
            start = time.perf_counter()
            distributed.all_reduce(numbers)
            taken.append(time.perf_counter() - start)
        medians.append(statistics.median(taken))
    distributed.destroy_process_group()
    if rank == 0:
        (Path(folder) / "sums.json").write_text(json.dumps(medians), encoding="utf-8")


def _whole(made: Outcome) -> list[float]:
    """The loss curve of a training that came to its end."""
    if not made.reports or made.reports[0]["status"] != "finished":
        raise RuntimeError(f"the training ended early: {made.text}")
    return made.reports[0]["loss"]


if __name__ == "__main__":
    main()
