"""The commands that train, started by torchrun, by `fabric run` and by srun."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from video_files import write_drift

from eon_utils.__main__ import main
from eon_utils.models.weight_files import read_weights
from eon_utils.training import checkpoint, launchers, train_autoencoder
from eon_utils.training.launchers import Started, precision_of, several_processes, started

SCRIPT = """
import sys
from pathlib import Path
import eon_utils.__main__ as command
from eon_utils.data import clips, video_clips
from eon_utils.training import model_card, prior_score, train_autoencoder

def noted(what, make):
    def noted_make(*args):
        print(f"makes {what}", flush=True)
        return make(*args)
    return noted_make

if __name__ == "__main__":
    for module in (command, train_autoencoder, video_clips):
        module.RUNS = Path("runs")
    model_card.CLIPS = prior_score.CLIPS = 1
    clips.CachedClips._make = noted("clips", clips.CachedClips._make)
    video_clips._keep = noted("a video", video_clips._keep)
    pictures = train_autoencoder._make_training_set
    train_autoencoder._make_training_set = noted("pictures", pictures)
    sys.exit(command.main(sys.argv[1:]))
"""
TINY = "prior --size 32 --width 4 --batch 4 --steps 3 --scale 0.001 --large-every 0 --out out"
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_WORLD_SIZE": "3",
    "WORLD_SIZE": "6",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "1",
}
SRUN = {
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_NTASKS": "6",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "3",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_JOB_NAME": "prior",
}


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def begin(folder, launcher, words):
    """Start the script in a folder by a launcher; its standard output and error are one."""
    folder.mkdir(exist_ok=True)
    (folder / "two.py").write_text(SCRIPT)
    return subprocess.Popen(
        [*launcher, "two.py", *words.split()],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "EON_DEVICE": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def torchrun(nodes=1, rank=0, port=None, processes_each=2):
    words = f"-m torch.distributed.run --nnodes {nodes} --nproc-per-node {processes_each}"
    words += f" --node-rank {rank} --master-addr 127.0.0.1 --master-port {port or free_port()}"
    return [sys.executable, *words.split()]


def finished(process):
    said = process.communicate(timeout=250)[0]
    assert process.returncode == 0, said[-4000:]
    return said


# --- what the launcher says ---


@pytest.fixture
def variables(monkeypatch):
    """Sets variables of a launcher; none is left of those that the test itself runs under."""
    for name in (
        *TORCHRUN,
        *SRUN,
        "LT_CLI_USED",
        *(f"LT_{n.upper()}" for n in launchers.HANDED_ON),
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EON_DEVICE", "cpu")
    return lambda settings: [monkeypatch.setenv(*pair) for pair in settings.items()]


def test_alone_there_is_one_process(variables):
    fabric = several_processes()
    assert started() is None and fabric.world_size == 1 and precision_of(fabric) == "32-true"


@pytest.mark.parametrize(("settings", "name"), [(TORCHRUN, "torchrun"), (SRUN, "srun")])
def test_a_launcher_says_how_many_processes_there_are(variables, settings, name):
    variables(settings)
    assert started() == Started(name, 2, 3)
    for asked in ({}, {"devices": 2}, {"num_nodes": 3}):
        fabric = several_processes(**asked)
        assert fabric.world_size == 6 and fabric.global_rank == 3
    with pytest.raises(ValueError, match=f"devices=4, but {name} has 2; leave one of them out"):
        several_processes(devices=4)
    with pytest.raises(ValueError, match=f"num_nodes=1, but {name} has 3; leave one of them out"):
        several_processes(num_nodes=1)


def test_a_job_of_slurm_without_srun_is_one_process(variables):
    variables({name: value for name, value in SRUN.items() if "STEP" not in name})
    assert started() is None


def test_fabric_run_hands_its_options_on_once(variables):
    given = {"LT_CLI_USED": "1", "LT_DEVICES": "2", "LT_NUM_NODES": "3", "LT_STRATEGY": "ddp"}
    variables(TORCHRUN | given | {"LT_PRECISION": "bf16-mixed", "LT_ACCELERATOR": "cpu"})
    fabric = several_processes()
    assert fabric.world_size == 6 and precision_of(fabric) == "bf16-mixed"
    assert not [name for name in os.environ if name.startswith("LT_")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which has bfloat16")
@pytest.mark.parametrize(("able", "warned"), [("AVX2", 1), ("AVX512", 0)])
def test_half_precision_is_warned_of_where_it_is_emulated(able, warned, monkeypatch, recwarn):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: able)
    several_processes(precision="32-true")
    several_processes(precision="bf16-mixed")
    assert sum("has no instructions" in str(one.message) for one in recwarn) == warned


@pytest.mark.parametrize(
    ("settings", "asked", "message"),
    [
        ({"LT_PRECISION": "16-mixed"}, {}, "precision='16-mixed' must be one of 32-true"),
        (
            {"LT_PRECISION": "bf16-mixed"},
            {"precision": "32-true"},
            "precision='32-true', but fabric run has 'bf16-mixed'; leave one of them out",
        ),
        ({"LT_STRATEGY": "fsdp"}, {}, "strategy='fsdp' of fabric run must be 'ddp', or left out"),
        (
            {"LT_ACCELERATOR": "cuda"},
            {},
            "accelerator='cuda' of fabric run must be 'auto' or 'cpu'",
        ),
        ({"LT_DEVICES": "0,1"}, {}, "devices='0,1' of fabric run names single devices; give a num"),
        ({"LT_DEVICES": "2"}, {"devices": 3}, "devices=3, but torchrun has 2; leave one of them"),
    ],
)
def test_what_fabric_run_can_not_have_is_named(variables, settings, asked, message):
    variables(TORCHRUN | {"LT_CLI_USED": "1"} | settings)
    with pytest.raises(ValueError, match=message):
        several_processes(**asked)


# --- the prior ---


def test_under_torchrun_one_process_makes_the_clips_and_all_train_one_prior(tmp_path):
    for seed in range(2):
        write_drift(tmp_path / "mine" / f"drift{seed}.mkv", seed)
    words = f"{TINY} --mixture leaves=1 real=1 --videos mine --only prior"
    said = finished(begin(tmp_path, torchrun(), words))
    assert said.count("makes clips") == 1 and said.count("makes a video") == 2
    assert said.count("starting anew") == said.count("finished after 3 steps") == 1
    about = read_weights("prior", "prior", tmp_path / "out" / "prior.safetensors").about
    assert about["trained"][0]["machine"] == "2 x CPU"
    assert not list(tmp_path.rglob("*.lock"))


def test_fabric_run_trains_one_prior_on_two_processes(tmp_path):
    pytest.importorskip("click", reason="`fabric run` needs it")
    fabric = [sys.executable, "-c", "from lightning_fabric.cli import _main; _main()", "run"]
    options = f"--accelerator cpu --devices 2 --main-port {free_port()}"
    words = f"{TINY} --mixture digits=1 --precision bf16-mixed"
    said = finished(begin(tmp_path, [*fabric, *options.split()], words))
    assert said.count("finished after 3 steps") == 1
    about = read_weights("prior", "prior", tmp_path / "out" / "prior.safetensors").about
    (trained,) = about["trained"]
    assert (trained["machine"], trained["precision"]) == ("2 x CPU", "bf16-mixed")


def test_machines_without_a_shared_folder_do_not_go_on_from_different_steps(tmp_path):
    words = f"{TINY} --mixture digits=1"
    finished(begin(tmp_path / "first", [sys.executable], words))
    port = free_port()
    machines = []
    for rank, name in enumerate(("first", "second")):
        launcher = torchrun(2, rank, port, processes_each=1)
        machines.append(begin(tmp_path / name, launcher, words))
    said = "".join(machine.communicate(timeout=200)[0] for machine in machines)
    assert all(machine.returncode for machine in machines)
    assert "some processes go on from step 3, others from step 0; all machines need one" in said
    (kept,) = (tmp_path / "first" / "runs" / "prior").glob("prior_????????.safetensors")
    assert checkpoint.about(kept)["step"] == "3", "what was there stays"


# --- the autoencoders ---


def losses(folder, name):
    _, saved = checkpoint.read(folder / "prior" / f"autoencoder_{name}_0_0.002.safetensors")
    return saved["history.loss"].tolist()


def test_two_processes_train_the_autoencoders_as_one_does(tmp_path, monkeypatch):
    words = f"{TINY} --only v2,v3,prior --mixture digits=1".replace("0.001", "0.002")
    said = finished(begin(tmp_path / "two", torchrun(), words))
    assert said.count("makes pictures") == 1
    assert said.count("v2: saved after") == said.count("v3: saved after") == 1
    assert said.count("finished after 3 steps") == 1, "the prior, by the same processes"
    card = (tmp_path / "two" / "out" / "autoencoder_v3.md").read_text(encoding="utf-8")
    assert "minutes on 2 x CPU, on top of v2" in card

    monkeypatch.setattr(train_autoencoder, "RUNS", tmp_path)
    (made,) = (tmp_path / "two" / "runs" / "prior").glob("training_set_*.safetensors")
    (tmp_path / "prior").mkdir()  # a fit to so few pictures depends on the number of threads
    made.rename(tmp_path / "prior" / made.name)
    assert train_autoencoder.train_all(["v2", "v3"], scale=0.002, weights=tmp_path / "one")
    for name, steps in (("v2", 10), ("v3", 2)):
        one, two = (losses(folder, name) for folder in (tmp_path, tmp_path / "two" / "runs"))
        assert len(one) == steps and one == pytest.approx(two, abs=1e-5)


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A folder for what is made; the training set is noise, which takes no time."""
    images = torch.randint(256, (8, 3, 64, 64), dtype=torch.uint8)
    data = {"images": images, "rough": images.expand(4, -1, -1, -1, -1)}
    data["bases"] = train_autoencoder.Autoencoder().local_pca.bases
    monkeypatch.setattr(train_autoencoder, "prepare", lambda *unused: data)
    monkeypatch.setattr(train_autoencoder, "RUNS", tmp_path)
    return tmp_path


def test_an_autoencoder_takes_hours_precision_and_begins_anew(prepared, capsys):
    words = ["prior", "--only", "v2", "--scale", "0.002", "--out", str(prepared / "out")]
    assert main([*words, "--hours", "1e-9", "--precision", "bf16-mixed"]) == 0
    assert len(losses(prepared, "v2")) == 1, "the time is up after the first step"
    card = (prepared / "out" / "autoencoder_v2.md").read_text(encoding="utf-8")
    assert "0 minutes on CPU in bf16-mixed." in card
    assert main(words) == 2
    assert "it was trained with precision=bf16-mixed, not 32-true" in capsys.readouterr().err
    assert main([*words, "--precision", "bf16-mixed"]) == 2
    assert "in whose cool-down it is" in capsys.readouterr().err, "its rate has fallen already"
    assert main([*words, "--no-resume"]) == 0
    assert "resumed" not in capsys.readouterr().out and len(losses(prepared, "v2")) == 10
    assert main(words) == 0
    assert "resumed at step 10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--steps 5 --videos .", "autoencoders take no --videos, --steps; leave out what is of"),
        ("--from prior", "autoencoders take no --from; leave out what is of the prior alone"),
        ("--large-every 0", "autoencoders take no --large-every"),
        ("--devices 3", "3 processes can't share the 32 pictures of a step evenly"),
        ("--devices 0", "devices=0 must be a whole number, at least 1"),
        ("--precision half", "precision='half' must be one of 32-true, bf16-mixed"),
        ("--hours 0", "hours=0.0 must be greater than 0"),
        ("--scale 0", "scale=0.0 must be greater than 0"),
        ("--seed -1", "seed=-1 must be a whole number from 0 to 4294967295"),
    ],
)
def test_what_an_autoencoder_can_not_have_is_named(words, message, tmp_path, capsys):
    assert main(["prior", "--only", "v2", *words.split(), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}") and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_autoencoder_that_was_stopped_is_not_saved(prepared, monkeypatch):
    class Stopped(train_autoencoder.TrainingRun):
        def batches(self, stream):
            self.status = "stopped"
            return iter(())

    monkeypatch.setattr(train_autoencoder, "TrainingRun", Stopped)
    with pytest.raises(RuntimeError, match="v2: stopped, so it was not saved; the same command"):
        train_autoencoder.train_all(["v2"], scale=0.002, weights=prepared / "out")
    assert not (prepared / "out").exists()
