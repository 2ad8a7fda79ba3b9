"""The research scripts: each explains its options, and runs on a few clips."""

import json
import os
import shutil
import signal
import subprocess
import sys

import compare_ledgers
import measure_sweep
import profile_course
import pytest
import torch
from rivals import SMALL, ConvLSTM, SimVP
from terminal import start

import eon_utils as eon
from eon_utils import __main__ as command_line
from eon_utils.course.ledger import NEEDED

SCRIPTS = (
    "ablate_prior",
    "benchmark_clips",
    "benchmark_prediction",
    "compare_ledgers",
    "judge_prior",
    "judge_transfer",
    "measure_sweep",
    "measure_processes",
    "profile_course",
    "scale_prior",
    "silence_prior",
)


@pytest.fixture
def run(repo, tmp_path):
    """Name of a script and its options -> what it prints."""

    def run_script(name, *options):
        script = repo / "experiments" / f"{name}.py"
        command = [sys.executable, str(script), *options]
        places = {"EON_CHECKPOINTS": str(tmp_path), "OMP_NUM_THREADS": "1"}
        process = subprocess.run(
            command, cwd=tmp_path, env=os.environ | places, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    return run_script


def rows(output):
    """Cells of the rows of a table, its head left out."""
    lines = [line for line in output.splitlines() if line.startswith("|")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_option_is_explained(run, script):
    text = run(script, "--help")
    assert f"python experiments/{script}.py" in text
    options = text.split("options:")[1].split("\n  -")[1:]
    for option in options:
        assert len(option.split("  ", 1)[-1].split()) > 1, option


def test_scripts_are_all_here(repo):
    files = {path.stem for path in (repo / "experiments").glob("*.py")}
    assert files == {*SCRIPTS, "common", "joint_training", "rivals", "workloads"}


def test_silencing_parts_of_the_prior(run):
    whole, *parts, untrained = rows(run("silence_prior", "--clips", "2"))
    assert whole[0] == "as it ships" and len(parts) == 8 and untrained[0] == "all that is learnt"
    lost = {row[0]: [float(cell.split("(")[1].rstrip(")")) for cell in row[1:]] for row in parts}
    assert all(len(row) == 3 for row in [whole, *parts])
    assert all(any(losses) for losses in lost.values()), "each is heard in some answer"
    assert lost["the fit to the past, where in doubt"][1] == 0, "between two frames there is none"


def test_judging_the_flow(run):
    table = rows(run("judge_prior", "--clips", "2", "--flow"))
    assert [row[0] for row in table] == ["digits", "leaves", "pans", "games"]
    for row in table[1:3]:
        still, prior = float(row[2]), float(row[8])
        assert prior < still / 2


def test_judging_the_prior(run):
    table = rows(run("judge_prior", "--clips", "2"))
    assert [row[0] for row in table] == 2 * ["digits", "leaves", "pans", "games"]
    assert [row[1] for row in table] == 4 * ["next"] + 4 * ["between"]
    for row in table:
        copied, prior = (float(row[column].split(",")[0]) for column in (3, 6))
        assert prior > copied


def test_judging_the_prior_on_own_videos(run, tmp_path):
    video_files = pytest.importorskip("video_files", reason="PyAV writes the videos")
    film = eon.CameraPans(1, 16, 96, train=False).stack()[0]
    pictures = list((255 * film).byte().permute(0, 2, 3, 1).numpy())
    for name in ("a", "b"):
        video_files.write(tmp_path / f"{name}.mp4", pictures)
    table = rows(run("judge_prior", "--clips", "1", "--videos", str(tmp_path)))
    files = [row[0] for row in table if row[1] == "between"][4:]
    means = ["mean of files, 64", "mean of files, 128"]
    assert files == ["a, 64", "b, 64", means[0], "a, 128", "b, 128", means[1]]


def test_judging_transfer_goes_on_where_it_stopped(run, tmp_path):
    video_files = pytest.importorskip("video_files", reason="PyAV writes the videos")
    film = eon.CameraPans(1, 60, 96, train=False).stack()[0]
    video_files.write(tmp_path / "a.mp4", list((255 * film).byte().permute(0, 2, 3, 1).numpy()))
    out = tmp_path / "transfer.csv"
    options = ["--steps", "1", "--seeds", "1", "--counts", "2", "--clips", "2", "--out", str(out)]
    options += ["--video", str(tmp_path / "a.mp4"), "--worlds"]
    table = rows(run("judge_transfer", *options, "camera"))
    assert [row[2] for row in table] == ["prior, 2 clips", "as built, 2 clips"]
    spoilt = out.read_text().replace("camera,prior,2,0,0,", "camera,prior,2,0,0,1")
    out.write_text(spoilt)
    again = rows(run("judge_transfer", *options, "camera", "freeway"))
    assert [row[0] for row in again] == ["camera", "camera", "freeway", "freeway"]
    assert float(again[0][3].split()[0]) > 100, "a world that is kept is not measured again"
    assert len(out.read_text().splitlines()) == 1 + 2 * 2 * 2  # worlds, learners, steps


def write_films(folder, count):
    """A pan over a photograph, in so many files."""
    video_files = pytest.importorskip("video_files", reason="PyAV writes the videos")
    film = eon.CameraPans(1, 24, 96, train=False).stack()[0]
    pictures = list((255 * film).byte().permute(0, 2, 3, 1).numpy())
    folder.mkdir()
    for number in range(count):
        video_files.write(folder / f"{number}.mp4", pictures)


def test_ablating_the_prior(run, tmp_path):
    write_films(tmp_path / "videos", 2)
    folders = f"--folder {tmp_path} --videos {tmp_path}/videos --score {tmp_path}/videos"
    options = f"--steps 2 --batch 2 --scale 0.001 --clips 1 {folders} --out {tmp_path}/kept.csv"
    names = ["as it ships", "without the second trajectory", "asked for the next frame alone"]
    table = rows(run("ablate_prior", *options.split(), "--only", *names))
    assert [row[0] for row in table] == names
    assert all(len(row) == 5 for row in table) and "(" not in "".join(table[0])
    assert all("(" in cell for row in table[1:] for cell in row[1:])
    kept = (tmp_path / "kept.csv").read_text()
    names.append("not trained")
    again = rows(run("ablate_prior", *options.split(), "--only", *names))
    assert again[:3] == table and again[3][0] == "not trained"
    assert (tmp_path / "kept.csv").read_text().startswith(kept), "no training was made again"


def test_scaling_the_prior(run, tmp_path):
    write_films(tmp_path / "clips", 4)
    folder = str(tmp_path / "clips")
    options = ["--videos", folder, "--score", folder, "--steps", "1", "--scale", "0.001"]
    options += ["--folder", str(tmp_path), "--only", "0.1 million parameters", "half of it"]
    table = rows(run("scale_prior", *options, "--out", str(tmp_path / "scaling.csv")))
    assert [row[2] for row in table] == ["0", "4", "2"], "real files"
    assert int(table[1][1].replace(",", "")) < 200_000 < int(table[2][1].replace(",", ""))
    measured = eon.prior_scaling.read_scaling(tmp_path / "scaling.csv")
    assert [(one.name, one.videos, one.steps) for one in measured] == [
        ("untrained", 0, 0),
        ("0.1 million parameters", 4, 1),
        ("half of it", 2, 1),
    ]
    assert [f"{one.between:+.2f}" for one in measured] == [row[6] for row in table]


def test_benchmark_of_prediction(run, tmp_path):
    file = tmp_path / "curves.json"
    options = ["--seconds", "0.1", "--scale", "0.001", "--clips", "1", "--folder", str(tmp_path)]
    run("benchmark_prediction", *options, "--on", "digits", "--out", str(file))
    curves = json.loads(file.read_text())
    assert [row["model"] for row in curves] == ["simvp", "convlstm", "prior"]
    assert all(len(row["curve"]) == 2 for row in curves)


def test_the_overhead_of_a_sweep(tmp_path, monkeypatch):
    def timed(command, *words):
        out = tmp_path / words[-1]
        out.mkdir()
        if command == "run":
            rows = [dict.fromkeys(NEEDED, "") | {"metric": "notebook", "value": 2.0}]
            (out / "ledger.json").write_text(json.dumps(rows))
            return 9.0
        (out / "sweep.csv").write_text("run,status,seconds\n" + 4 * "a,ok,2.5\n")
        return 20.0 / int(words[words.index("--workers") + 1])

    (tmp_path / "scaling.md").write_text(
        "<!-- measured sweeps:begin -->\nold\n<!-- measured sweeps:end -->\n"
    )
    options = ["--runs", "4", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["measure_sweep.py", *options])
    monkeypatch.setattr(measure_sweep, "timed", timed)
    measure_sweep.main()
    page = (tmp_path / "scaling.md").read_text()
    assert "old" not in page and "Measured with notebook 01 on" in page
    assert "| 1 | 4 | 20.0 | 2.0 | 2.5 | 3.0 |\n| 2 | 4 | 10.0 | 2.0 | 2.5 | 3.0 |" in page


def test_two_ledgers_are_compared(run, tmp_path, repo):
    ledger = repo / "data" / "ledger.json"
    values = json.loads(ledger.read_text(encoding="utf-8"))
    other = tmp_path / "other.json"
    known = [row for row in values if row["value"] is not None][5:]
    other.write_text(json.dumps([row | {"value": row["value"] + 1} for row in known]))
    table = rows(run("compare_ledgers", str(ledger), str(other)))
    assert len(table) == len(known)
    assert {row[-1] for row in table} == {"+1"}


@pytest.mark.parametrize(
    ("preset", "device", "apart"),
    [
        ("full", "cuda", "preset and device"),
        ("full", "cpu", "preset"),
        ("laptop", "cuda", "device"),
        ("laptop", "cpu", "two runs alike"),
    ],
)
def test_the_head_says_what_sets_two_ledgers_apart(preset, device, apart):
    head = compare_ledgers.head(
        {"preset": "laptop", "device": "cpu"}, {"preset": preset, "device": device}
    )
    assert head[:2] == ["preset laptop, device cpu", f"preset {preset}, device {device}"]
    assert head[2] == f"difference of {apart}"


PLACED = """#!/usr/bin/env bash
printf '%s\\x1f' "$@" >> "$CALLS"
echo >> "$CALLS"
case "$*" in *"$FAILS"*) exit "$STATUS"; esac
"""

STOPPABLE = """#!/usr/bin/env bash
trap 'exit 2' INT
echo part >&2
for second in {1..20}; do sleep 1; done
"""


@pytest.fixture
def gpu_job(repo, tmp_path):
    """Options of gpu.sh -> how it ended, and the words of each command that it gave."""
    if not shutil.which("bash"):
        pytest.skip("the script is one of bash")
    python = tmp_path / "python"
    python.write_text(PLACED, encoding="utf-8")
    python.chmod(0o755)
    calls = tmp_path / "calls"

    def run_job(*options, fails="none of them", status=3):
        places = {"PYTHON": str(python), "CALLS": str(calls), "OUT": str(tmp_path / "out")}
        places |= {"FAILS": fails, "STATUS": str(status)}
        command = ["bash", str(repo / "experiments" / "gpu.sh"), *options]
        done = subprocess.run(command, env=os.environ | places, capture_output=True, text=True)
        lines = calls.read_text(encoding="utf-8").splitlines()
        calls.unlink()
        return done, [line.split("\x1f")[:-1] for line in lines]

    return run_job


@pytest.mark.parametrize("fails", ["eon_utils prior", "none of them"])
def test_the_gpu_job_runs_each_part(gpu_job, fails):
    done, asked = gpu_job("--smoke", "some videos", fails=fails)
    assert done.returncode == (fails == "eon_utils prior"), done.stderr
    assert done.stderr == ("failed: training\n" if done.returncode else "")
    parts = [words[:3] for words in asked]
    assert parts[0] == ["-m", "eon_utils", "run"] and parts[2] == ["-m", "eon_utils", "prior"]
    assert asked[1][0].endswith("compare_ledgers.py") and asked[3][0].endswith("profile_course.py")
    training = command_line.parser().parse_args(asked[2][2:])
    assert training.videos == ["some videos"] and training.precision == "bf16-mixed"


@pytest.mark.parametrize("options", [(), ("--smoke",), ("a", "b c"), ("--smoke", "a")])
def test_each_command_of_the_gpu_job_is_one_that_there_is(gpu_job, repo, tmp_path, options):
    _, asked = gpu_job(*options)
    assert len(asked) == 4
    parsers = {
        "-m": command_line.parser,
        "experiments/compare_ledgers.py": compare_ledgers.parser,
        "experiments/profile_course.py": profile_course.parser,
    }
    for first, *words in asked:
        parsers[first]().parse_args(words[1:] if first == "-m" else words)
    assert all((repo / words[0]).is_file() for words in asked if words[0] != "-m")
    course, _, training, profile = asked
    out = tmp_path / "out" / "smoke" if "--smoke" in options else tmp_path / "out"
    assert [words[-1] for words in (course, training, profile)] == [
        str(out / part) for part in ("course", "prior", "profile")
    ]


def test_after_a_trial_the_gpu_job_begins_with_the_whole_course(gpu_job, tmp_path):
    gpu_job("--smoke")
    (tmp_path / "out" / "smoke" / "course").mkdir()
    _, asked = gpu_job("--smoke")
    assert asked[0][3:5] == ["--resume", str(tmp_path / "out" / "smoke" / "course")]
    _, asked = gpu_job()
    assert asked[0][3:5] == ["--preset", "full"]


def test_ctrl_c_ends_the_whole_gpu_job(gpu_job):
    done, asked = gpu_job("--smoke", fails="eon_utils run", status=130)
    assert (done.returncode, len(asked)) == (130, 1)
    assert done.stderr == "stopped; the same command goes on\n"


def test_ctrl_c_ends_the_gpu_job_when_a_part_ends_by_itself(repo, tmp_path):
    python = tmp_path / "python"
    python.write_text(STOPPABLE, encoding="utf-8")
    python.chmod(0o755)
    job = start(
        ["bash", str(repo / "experiments" / "gpu.sh"), "--smoke"],
        env=os.environ | {"PYTHON": str(python), "OUT": str(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert job.stderr is not None and job.stderr.readline() == "part\n"
    os.killpg(job.pid, signal.SIGINT)  # as a terminal does
    assert job.communicate(timeout=30)[1] == "stopped; the same command goes on\n"
    assert job.returncode == 130


def test_benchmark_of_clips(run):
    options = "--seconds 0.1 --clips 2 --only pans mixture"
    table = rows(run("benchmark_clips", *options.split()))
    assert [row[0] for row in table] == ["pans", "mixture"]


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_rivals_are_those_of_the_papers():
    assert parameters(ConvLSTM(1, (128, 64, 64), 5, 4)) == 7_585_296  # Shi et al. 2015, table 1
    gsta = parameters(SimVP(10))  # Tan et al. 2022, gSTA on Moving MNIST
    assert abs(gsta / 46.8e6 - 1) < 0.01
    clips = torch.rand(2, 10, 1, 64, 64)
    assert SimVP(10, hid_s=8, hid_t=16, n_t=3)(clips).shape == clips.shape
    assert ConvLSTM(1, (8, 8), 5)(clips, 10).shape == clips.shape
    assert all(0.3e6 < parameters(build()) < 0.8e6 for build in SMALL.values())
