"""Two processes train one model: each sees its own clips, and both go the same way."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch
import torch.nn.functional as F

from eon_utils import CachedClips, CameraPans, DeadLeaves, FramePredictor, Mixture, TrainingRun

STEPS = 6
SCRIPT = """
import json, os, signal, sys
import torch, torch.nn.functional as F
from lightning_fabric import Fabric
from torch.utils.data import DataLoader
from eon_utils import CachedClips, CameraPans, DeadLeaves, FramePredictor, Mixture, TrainingRun

if __name__ == "__main__":
    folder, event, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    rank = fabric.global_rank
    torch.manual_seed(0)
    sources = [CachedClips(DeadLeaves(6, 5, 32)), CachedClips(CameraPans(6, 5, 32))]
    loader = DataLoader(Mixture(sources, steps * 4, seed=1), batch_size=2)
    run = TrainingRun(FramePredictor(4, True), steps, name="two", folder=folder, fabric=fabric)
    seen = []
    for step, clips in run.batches(loader):
        seen += [clip.sum().item() for clip in clips]
        if step == 3 and rank == 1 and event == "stop":
            run.stopping = True
        if step == 3 and rank == 1 and event == "nan":
            clips = clips * float("nan")
        if step == 3 and event == f"kill {rank}":
            os.kill(os.getpid(), signal.SIGKILL)
        run.step(F.mse_loss(run(clips[:, :4]), clips[:, 4]))
    said = {"seen": seen, "loss": run.history.loss, "status": run.status, "done": run.done}
    open(f"{folder}/{rank}.json", "w").write(json.dumps(said))
"""


def two(folder, event="", steps=STEPS):
    """Run the script in two processes; what it printed, and what each of them says."""
    script = folder / "two.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, script, folder, event, str(steps)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=180,
        cwd=folder,
    )
    ranks = [folder / f"{rank}.json" for rank in (0, 1)]
    return done, [json.loads(file.read_text()) for file in ranks if file.exists()]


def test_two_processes_learn_as_one_with_twice_the_batch(tmp_path):
    done, (first, second) = two(tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not set(first["seen"]) & set(second["seen"]), "each sees its own clips"
    assert first["loss"] == second["loss"]
    assert (tmp_path / "two.safetensors").exists()
    assert done.stdout.count(f"finished after {STEPS} steps") == 1

    torch.manual_seed(0)
    sources = [CachedClips(DeadLeaves(6, 5, 32)), CachedClips(CameraPans(6, 5, 32))]
    loader = torch.utils.data.DataLoader(Mixture(sources, STEPS * 4, seed=1), batch_size=4)
    run = TrainingRun(FramePredictor(4, True), STEPS, name="one", folder=tmp_path)
    seen = []
    for _, clips in run.batches(loader):
        seen += [clip.sum().item() for clip in clips]
        run.step(F.mse_loss(run(clips[:, :4]), clips[:, 4]))
    assert sorted(seen) == sorted(first["seen"] + second["seen"])
    assert run.history.loss == pytest.approx(first["loss"], abs=1e-5)


@pytest.mark.parametrize(("event", "status"), [("stop", "stopped"), ("nan", "diverged")])
def test_what_happens_to_one_happens_to_both(tmp_path, event, status):
    done, (first, second) = two(tmp_path, event, steps=1000)
    assert done.returncode == 0, done.stderr[-2000:]
    assert first["status"] == second["status"] == status
    assert first["done"] == second["done"] <= 4


@pytest.mark.parametrize("lost", [0, 1])
def test_when_one_is_killed_the_other_keeps_the_state_and_ends(tmp_path, lost):
    done, said = two(tmp_path, f"kill {lost}", steps=1000)
    assert done.returncode != 0 and not said
    printed = done.stdout + done.stderr
    assert f"process {1 - lost} of 2 lost touch with the others after step 3" in printed, printed[
        -3000:
    ]
    assert "resume=True" in printed

    run = TrainingRun(FramePredictor(4, True), 1000, name="two", folder=tmp_path, resume=True)
    assert run.done == 3 and len(run.history.loss) == 3
