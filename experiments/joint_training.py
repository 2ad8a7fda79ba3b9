"""A small training in one or several processes on the CPU, to which something may happen.

`measure_processes.py` and the tests of several processes start it: each process runs this file.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import eon_utils as eon
from eon_utils.training import launchers, processes, train_prior
from eon_utils.training.run import TrainingRun

BATCH = 4  # clips a step, of all processes
SIZE = 32  # pixels a side
LAUNCHERS = ("by hand", "fabric", "torchrun")
STOPS_ITSELF = {  # what a process may do to itself
    "kill": signal.SIGKILL,
    "kill in the backward pass": signal.SIGKILL,
    "kill after the step": signal.SIGKILL,
    "freeze": signal.SIGSTOP,
    "terminate": signal.SIGTERM,
}


@dataclass(frozen=True)
class Job:
    """What is trained, and what happens.

    Attributes:
        folder: of checkpoint and report.
        count: processes.
        steps: updates.
        network: "prior", or "frames", a `FramePredictor`, whose steps are quicker.
        event: "", "stop", "nan", or of `STOPS_ITSELF`.
        who: the number of the process to which it happens.
        at: in which step.
        resume: go on from the checkpoint.
        seconds: end after so many.
        lost_after: seconds that the processes wait for each other.
        apart: each process has a folder of its own.
    """

    folder: str
    count: int = 2
    steps: int = 16
    network: str = "prior"
    event: str = ""
    who: int = 1
    at: int = 3
    resume: bool = False
    seconds: float | None = None
    lost_after: float = processes.LOST_AFTER
    apart: bool = False

    @property
    def checkpoint(self) -> Path:
        """The file from which it goes on."""
        return Path(self.folder) / "joint.safetensors"


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        codes: exit status of each program that was started.
        seconds: from the event until the last of them ended that went on.
        text: what they printed.
        reports: of each process that came to its end: "loss", "share" and "drawn", a value a step;
            "seen", the sum of each clip; "status" and "done".
    """

    codes: list[int]
    seconds: float
    text: str
    reports: list[dict[str, Any]]


def train(job: Job) -> None:
    """Train, in one of the processes; writes its report."""
    # CPUs round other batches otherwise, and a training amplifies it: in single precision, a fault
    # could not be told from rounding.
    torch.set_default_dtype(torch.float64)
    fabric = launchers.several_processes(job.count)
    fabric.launch()
    rank = fabric.global_rank
    processes.LOST_AFTER = job.lost_after
    clips = train_prior.training_sources(size=SIZE, mixture={"digits": 1.0})
    loader = train_prior.mixture_loader(clips, job.steps, batch=BATCH, processes=fabric.world_size)
    run = _run(job, fabric)
    drawn, seen = [], []
    for step, batch in run.batches(loader):
        drawn.append(torch.rand(()).item())
        seen += [clip.sum().item() for clip in batch]
        event = job.event if step == job.at and rank == job.who else ""
        if event in ("stop", "kill", "freeze", "terminate"):
            _happen(job, run)
        loss, share = _losses(run, batch.double(), step)
        if event == "nan":
            loss = loss * float("nan")
        if event == "kill in the backward pass":
            loss.register_hook(lambda _: _happen(job, run))
        run.step(loss, accuracy=share)
        if event == "kill after the step":
            _happen(job, run)
    report = {"loss": run.history.loss, "share": run.history.accuracy, "drawn": drawn}
    report |= {"seen": seen, "status": run.status, "done": run.done}
    (Path(job.folder) / f"report_{rank}.json").write_text(json.dumps(report), encoding="utf-8")


def _run(job: Job, fabric: Any) -> TrainingRun:  # noqa: ANN401
    folder = Path(job.folder) / str(fabric.global_rank) if job.apart else Path(job.folder)
    settings = {"name": "joint", "folder": folder, "fabric": fabric, "resume": job.resume}
    settings |= {"seconds": job.seconds, "measure": lambda _: {"pi": 3.14}}
    torch.manual_seed(0)
    if job.network == "frames":
        return TrainingRun(eon.FramePredictor(4, True), job.steps, **settings)
    return train_prior.prior_run(train_prior.widened(4), job.steps, warmup=1, **settings)


def _losses(run: TrainingRun, clips: Tensor, step: int) -> tuple[Tensor, Tensor | None]:
    if isinstance(run.module, train_prior.PriorObjective):
        return run(clips, step)
    return F.mse_loss(run(clips[:, :4]), clips[:, 4]), None


def _happen(job: Job, run: TrainingRun) -> None:
    (Path(job.folder) / "event").write_text(str(time.time()), encoding="utf-8")
    if job.event == "stop":
        run.stopping = True
    if job.event in STOPS_ITSELF:
        os.kill(os.getpid(), STOPS_ITSELF[job.event])


def difference(curve: Sequence[float], other: Sequence[float]) -> float:
    """The largest one between two curves of the same steps."""
    return max(abs(first - second) for first, second in zip(curve, other, strict=True))


def outcome(job: Job, launcher: str = "by hand", limit: float = 150.0) -> Outcome:
    """Run a job, and wait until all processes ended that can.

    Args:
        job: what to train.
        launcher: of `LAUNCHERS`; "by hand" starts each process alone, so that the end of each is
            seen.
        limit: seconds after which what still runs is killed.
    """
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("event", *(f"report_{rank}.json" for rank in range(job.count))):
        (folder / name).unlink(missing_ok=True)
    frozen = job.event == "freeze" and launcher == "by hand"
    started = []
    for command, places in _commands(job, launcher):
        program = subprocess.Popen(
            command,
            env=os.environ | places,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            start_new_session=True,
        )
        started.append(program)
    others = [program for rank, program in enumerate(started) if not frozen or rank != job.who]
    try:
        text = _listen(others, limit)
        ended = time.time()
    finally:
        for program in started:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()
    event = folder / "event"
    began = float(event.read_text()) if event.exists() else ended
    files = [folder / f"report_{rank}.json" for rank in range(job.count)]
    reports = [json.loads(file.read_text()) for file in files if file.exists()]
    codes = [program.returncode for program in started]
    return Outcome(codes, ended - began, text, reports)


def _commands(job: Job, launcher: str) -> list[tuple[list[str], dict[str, str]]]:
    """Each program to start, and its environment's additions."""
    words = [__file__, json.dumps(asdict(job))]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    places = {"OMP_NUM_THREADS": "1", "EON_DEVICE": "cpu", "MASTER_ADDR": "127.0.0.1"}
    if launcher == "torchrun":
        options = f"--nproc-per-node {job.count} --master-addr 127.0.0.1 --master-port {port}"
        return [([sys.executable, "-m", "torch.distributed.run", *options.split(), *words], places)]
    places |= {"MASTER_PORT": port}
    if launcher == "fabric" or job.count == 1:
        return [([sys.executable, *words], places)]
    places |= {"NODE_RANK": "0", "WORLD_SIZE": str(job.count)}
    command = [sys.executable, *words]
    return [(command, places | {"LOCAL_RANK": str(rank)}) for rank in range(job.count)]


def _listen(programs: Sequence[subprocess.Popen[str]], limit: float) -> str:
    """What programs print until they and those that they started have ended."""
    until = time.monotonic() + limit
    parts = []
    for program in programs:
        with suppress(subprocess.TimeoutExpired):
            parts.append(program.communicate(timeout=max(until - time.monotonic(), 0.1))[0])
    return "".join(parts)


if __name__ == "__main__":
    train(Job(**json.loads(sys.argv[1])))
