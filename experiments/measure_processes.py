"""What several processes of one training do, measured on CPU processes of this machine.

    python experiments/measure_processes.py [--steps 16]

A tiny prior is trained by one process, and by two that share its batches. Then one of them is
killed or frozen, and a training goes on with another number of processes. Two cores take 4 minutes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import common
from joint_training import Job, Outcome, difference, outcome


def main() -> None:
    """Print the table."""
    options = common.parser(__doc__)
    options.add_argument("--steps", type=int, default=16, help="of each training (16)")
    steps = options.parse_args().steps
    common.print_head("two processes on the CPU", "measured")
    with TemporaryDirectory() as folder:
        _compare(Path(folder), steps)
        _lose(Path(folder))


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


def _lose(folder: Path) -> None:
    """How long the other goes on when one is lost."""
    for launcher, event in (("by hand", "kill"), ("torchrun", "kill"), ("by hand", "freeze")):
        job = Job(str(folder / f"{launcher} {event}"), steps=1000, network="frames", event=event)
        made = outcome(job, launcher)
        what = "killed" if event == "kill" else "frozen"
        under = " under torchrun" if launcher == "torchrun" else ""
        common.print_row(f"one is {what}{under}: until the other ended", f"{made.seconds:.0f} s")


def _whole(made: Outcome) -> list[float]:
    """The loss curve of a training that came to its end."""
    if not made.reports or made.reports[0]["status"] != "finished":
        raise RuntimeError(f"the training ended early: {made.text}")
    return made.reports[0]["loss"]


if __name__ == "__main__":
    main()
