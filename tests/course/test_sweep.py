"""Sweeps: refusals, runs on a small cluster, what a kill leaves, the table, the page."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from unittest.mock import Mock

import nbformat
import pytest
import terminal
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from eon_utils.__main__ import main
from eon_utils.course import grid, runner, sweep, sweep_report, sweep_run
from eon_utils.course.ledger import NEEDED
from eon_utils.data.files import FolderInUseError, alone_in
from eon_utils.notebook.sweeps import read_sweep

for package in sweep.PACKAGES:
    pytest.importorskip(package, reason="sweeps have packages of their own: the extra `sweep`")

SOON = 240  # seconds, on a machine whose cores are taken
needs_posix = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
PARAMETERS = """preset = "laptop"  # smoke, laptop or full
seed = 0  # a whole number
noise = 0.25  # standard deviation
size: int | list | None = None  # of the pictures
images = ""  # a folder of your own pictures"""
# What is measured depends on noise and seed. Where the file `broken` is, seed 1 fails once; where
# `slow` is, it waits.
CELL = """import os, pathlib, time
from IPython.display import display
import eon_utils as eon
cfg = eon.resolve(preset, seed, dict(noise=(0.25, 0.25, 0.25)), noise=noise)
here = pathlib.Path(r"{root}")
with open(here / "ran.txt", "a") as file:
    file.write(f"{{noise}} {{seed}}\\n")
threads = [os.environ[f"{{name}}_NUM_THREADS"] for name in ("OMP", "MKL", "OPENBLAS")]
print("threads", *threads, "checkpoints", os.environ["EON_CHECKPOINTS"])
while (here / "slow").exists() and seed == 1:
    time.sleep(0.1)
row = {{"phase": "01", "preset": preset, "seed": seed, "device": "cpu", "model": "V1"}}
display({{"application/vnd.eon.ledger+json": [
    row | {{"metric": "psnr", "unit": "dB", "value": 30 - 10 * noise + seed}},
    row | {{"metric": "steps", "unit": "", "value": None if noise > 0.4 else 7}},
]}}, raw=True)
claims = eon.Claims("01", cfg)
claims.check("noise is low / or none", noise < 0.2)
claims.check("two are two", True, trained=False)
if (here / "broken").exists() and seed == 1:
    (here / "broken").unlink()
    raise RuntimeError("no luck\\nat all")
claims.table()"""


def make_course(root):
    cells = [
        new_markdown_cell("# Tiny"),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        new_code_cell(CELL.format(root=root)),
    ]
    (root / "notebooks").mkdir()
    nbformat.write(new_notebook(cells=cells), root / "notebooks" / "01_tiny.ipynb")
    nbformat.write(new_notebook(cells=cells), root / "notebooks" / "02_tiny.ipynb")
    return root


@pytest.fixture
def course(tmp_path):
    return make_course(tmp_path)


@pytest.fixture
def notebook(course):
    return course / "notebooks" / "01_tiny.ipynb"


def ran(root):
    """Noise and seed of every run, in the order of the runs."""
    return (root / "ran.txt").read_text().splitlines()


# --- refused before anything runs ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["01", "-p", "sed=3"], "unknown parameter sed; these notebooks have: preset, seed"),
        (["01", "-p", "noise=0,abc"], "noise=abc has the wrong type: it must be float"),
        (["01", "-p", "noise=0,-1"], "noise=-1 must be a number from 0 on"),
        (["01", "-p", "seed=0..3", "-p", "noise=0,0.1,-2"], "noise=-2 must be a number from 0"),
        (["01", "-p", "seed=3..0"], "seed=3..0 is an empty range; write the smaller number first"),
        (["01", "-p", "seed=0,1,1"], "seed=0,1,1 names 1 twice"),
        (["01", "-p", "noise=0,0.0"], "noise=0,0.0 names 0.0 twice"),
        (["01", "-p", "noise=0,,1"], "noise=0,,1 has an empty value"),
        (["01", "-p", "seed=0..99999999999999999999"], "a sweep makes 10,000 at most"),
        (["01", "-p", "seed=0..999", "-p", "noise=0,1,2,3,4,5,6,7,8,9,10"], "11,000 runs"),
        (["01", "-p", "seed=0", "-p", "seed=1"], "-p seed is given twice"),
        (["01", "-p", "seed"], "write -p name=value, such as -p seed=0..4"),
        (["01", "-p", "preset=smoke,huge"], "preset='huge' is unknown"),
        (["01", "-p", "seed=0..1", "--preset", "huge"], "preset='huge' is unknown"),
        (["01"], "a sweep needs values of a parameter; write them as -p seed=0..4"),
        (["-p", "seed=0..1"], "a sweep runs one notebook, not 2"),
        (["07", "-p", "seed=0..1"], "no notebook 07"),
        (["01", "-p", "seed=0..1", "--over", "noise"], "--over noise is no parameter"),
        (["01", "-p", "seed=0..1", "--workers", "0"], "--workers 0 must be 1 or more"),
        (["01", "-p", "seed=0..1", "--retries", "-1"], "--retries -1 must be 0 or more"),
        (
            ["01", "-p", "seed=0", "--workers", "2", "--scheduler", "tcp://127.0.0.1:9"],
            "leave it out with --scheduler",
        ),
        (
            ["01", "-p", "seed=0..1", "--scheduler", "tcp://127.0.0.1:9"],
            "--scheduler tcp://127.0.0.1:9: no scheduler answers",
        ),
        (["--resume", ".", "-p", "seed=0"], "leave the other options out, or name the notebook"),
        (["--resume", "."], "is no folder of a sweep"),
        (["--plot", "V1 / psnr", "."], "has no sweep.csv"),
    ],
)
def test_refused_before_anything_runs(course, capsys, monkeypatch, words, said):
    monkeypatch.chdir(course)
    monkeypatch.setattr(sweep, "PATIENCE", 1)
    out = [] if "--resume" in words or "--plot" in words else ["--out", str(course / "out")]
    assert main(["sweep", "--root", str(course), *out, *words]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1, message
    assert not (course / "ran.txt").exists() and not list(course.glob("out/*"))


def test_a_missing_package_is_named_with_the_remedy(course, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "PACKAGES", ("json", "no_such_package"))
    assert main(["sweep", "01", "-p", "seed=0..1", "--root", str(course)]) == 2
    said = capsys.readouterr().err
    assert "a sweep needs no_such_package: pip install 'eye-of-newt[sweep]'" in said


def test_a_folder_in_use_is_left_alone(course, capsys):
    words = ["sweep", "01", "-p", "seed=0..1", "--root", str(course)]
    assert main([*words, "--out", str(course / "notebooks")]) == 2
    assert "not empty" in capsys.readouterr().err


# --- runs ---


@pytest.fixture(scope="module")
def scheduler():
    """The address of a cluster with one worker, as a user may have one."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as local:
        yield local.scheduler_address


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of four runs, of which one fails, on a worker of its own: root, folder, output."""
    root = make_course(tmp_path_factory.mktemp("course"))
    (root / "broken").touch()
    words = ["sweep", "01", "-p", "noise=0,0.5", "-p", "seed=0..1", "--preset", "smoke"]
    words += ["--workers", "1"]
    command = [sys.executable, "-m", "eon_utils", *words, "--root", str(root)]
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [*command, "--out", str(root / "out")],
        env=env,
        capture_output=True,
        text=True,
        timeout=SOON,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return root, root / "out", done.stdout


def printed_in(path):
    nb = nbformat.read(path, 4)
    return "\n".join(
        output.get("text", "") for cell in nb.cells for output in cell.get("outputs", [])
    )


def test_a_failed_run_is_named_and_the_others_are_finished(swept):
    _, out, said = swept
    assert "3 of 4 runs ok" in said and re.search(r"Dashboard: http://127\.0\.0\.1:\d+", said)
    assert re.search(r"failed: .*/noise=0_seed=1: RuntimeError: no luck at cell \[\d\]\n", said)
    rows = {row["run"]: row for row in read_sweep(out / "sweep.csv")}
    assert [row["status"] for row in rows.values()] == ["ok", "failed", "ok", "ok"]
    assert rows["noise=0_seed=1"]["error"].startswith("RuntimeError: no luck")
    assert rows["noise=0_seed=1"]["V1 / psnr [dB]"] == 31, "what it measured before is kept"


def test_a_run_is_a_folder_as_the_runner_leaves_it(swept):
    root, out, _ = swept
    folder = out / "noise=0.5_seed=1"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["01_tiny.ipynb", "ledger.json", "log.txt", "run.json"]
    asked = runner.read_asked(folder / "run.json", root)
    assert asked.jobs[0][1] == {"preset": "smoke", "noise": 0.5, "seed": 1}
    assert "not at this preset" not in (out / "sweep.csv").read_text()


def test_workers_do_not_fight_for_cores_and_checkpoints(swept):
    from dask.system import CPU_COUNT

    _, out, said = swept
    assert f"1 worker, threads of each: {CPU_COUNT}." in said
    printed = printed_in(out / "noise=0.5_seed=0" / "01_tiny.ipynb")
    threads = " ".join(3 * [str(CPU_COUNT)])
    assert f"threads {threads} checkpoints {out}/noise=0.5_seed=0/checkpoints" in printed


def test_resumed_only_what_failed_runs_again(swept, scheduler, capsys):
    root, out, _ = swept
    words = ["sweep", "--root", str(root), "--resume", str(out), "--scheduler", scheduler]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Kept, because they ran through: 3 of 4 runs" in said and "1 worker at tcp://" in said
    assert ran(root) == ["0 0", "0 1", "0.5 0", "0.5 1", "0 1"]
    # it is whole now, and may grow
    assert main([*words, "01", "-p", "noise=0,0.5", "-p", "seed=0..2", "--preset", "smoke"]) == 0
    assert len(ran(root)) == 7 and len(read_sweep(out / "sweep.csv")) == 6
    assert main(words[:-2]) == 0, "nothing to do needs no cluster"
    assert len(ran(root)) == 7


def test_a_cluster_that_forgets_what_it_did_does_not_do_it_again(swept):
    root, out, _ = swept
    before = ran(root)
    notebook = root / "notebooks" / "01_tiny.ipynb"
    (job, *_) = grid.combine(notebook, {"preset": ["smoke"], "noise": [0], "seed": [0, 1]})
    sweep_run.run_one(notebook, job, out / "noise=0_seed=0", "")
    assert ran(root) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"seed": "0"}, {"seed": "0..2"}),
        ({"seed": "0..1"}, {"seed": "0..1", "noise": "0.25,0.5"}),  # 0.25 is the default
        ({"seed": "0..1"}, {"seed": "0..1", "preset": "smoke,laptop"}),
        ({"noise": "0", "seed": "1"}, {"seed": "0..1", "noise": "0.0,0.5"}),
        ({"size": "[64, 48]"}, {"size": "none,[64, 48],64"}),
    ],
)
def test_a_sweep_that_grows_keeps_the_runs_that_it_has(notebook, tmp_path, before, after):
    out = tmp_path / "out"
    old = grid.combine(notebook, grid.read_axes(notebook, before, "smoke"))
    for job in old:
        (out / job.folder).mkdir(parents=True)
        runner.write_asked(sweep_run.asked_for(notebook, job), out / job.folder / "run.json")
    grown = sweep.Sweep(notebook, grid.read_axes(notebook, after, "smoke"))
    jobs = sweep._at_home(grid.combine(*grown), grown, out, tmp_path)
    assert len({job.folder for job in jobs}) == len(jobs)
    found = {job.folder: job.values for job in jobs if (out / job.folder).exists()}
    assert found == {job.folder: job.values for job in old}


def test_a_run_that_goes_on_is_left_alone(notebook, tmp_path):
    (job,) = grid.combine(notebook, {"preset": ["smoke"], "seed": [0]})
    with alone_in(tmp_path / "run"), pytest.raises(FolderInUseError, match="another process works"):
        sweep_run.run_one(notebook, job, tmp_path / "run", "1")
    assert not list((tmp_path / "run").iterdir()) and not (tmp_path / "ran.txt").exists()


def test_a_busy_worker_gives_a_run_back(notebook, tmp_path, monkeypatch):
    from distributed import Reschedule

    monkeypatch.setattr(sweep_run, "BUSY", 0)
    (job,) = grid.combine(notebook, {"preset": ["smoke"], "seed": [0]})
    with sweep_run.one_at_a_time, pytest.raises(Reschedule):
        sweep_run.run_one(notebook, job, tmp_path / "run", "1")
    assert not (tmp_path / "run").exists()


def test_a_worker_with_several_threads_does_one_run_at_a_time_with_all(course, capsys):
    from distributed import LocalCluster

    words = ["sweep", "01", "-p", "seed=0..2", "--root", str(course), "--preset", "smoke"]
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0") as wide:
        out = course / "out"
        assert main([*words, "--scheduler", wide.scheduler_address, "--out", str(out)]) == 0
    assert sorted(ran(course)) == ["0.25 0", "0.25 1", "0.25 2"]
    times = []
    for seed in range(3):
        path = out / f"seed={seed}" / "01_tiny.ipynb"
        assert "threads 2 2 2 checkpoints" in printed_in(path)
        noted = nbformat.read(path, 4).metadata.papermill
        times.append((noted.start_time, noted.end_time))
    times.sort()
    assert all(end < start for (_, end), (start, _) in pairwise(times))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"tcp://a": True, "tcp://b": False}, "tcp://b sees no sweep in .*; its workers must see"),
        (ImportError("no eon_utils"), "a worker lacks the course .no eon_utils.; install"),
    ],
)
def test_workers_that_could_not_do_a_run_are_refused(tmp_path, answer, said):
    client = Mock()
    client.run = Mock(side_effect=[answer])
    with pytest.raises(ValueError, match=said):
        sweep._check_workers(client, tmp_path)


def test_other_parameters_do_not_overwrite(swept, capsys):
    root, out, _ = swept
    words = ["--root", str(root), "--resume", str(out), "-p", "noise=0,0.5", "-p", "seed=0..1"]
    assert main(["sweep", "01", *words]) == 2, "at another preset"
    assert "holds a run with other parameters" in capsys.readouterr().err
    assert main(["sweep", "02", *words]) == 2
    assert "is a sweep of 01_tiny" in capsys.readouterr().err


def test_a_failed_run_is_tried_again(course, scheduler, capsys):
    (course / "broken").touch()
    words = ["sweep", "01", "-p", "seed=1", "--root", str(course), "--preset", "smoke"]
    words += ["--retries", "1", "--scheduler", scheduler]
    assert main([*words, "--out", str(course / "out")]) == 0
    assert ran(course) == ["0.25 1", "0.25 1"]
    assert "1 of 1 runs ok" in capsys.readouterr().out


def test_a_false_claim_fails_a_run_at_its_end(course, scheduler, capsys):
    words = ["sweep", "01", "-p", "seed=0", "--root", str(course), "--scheduler", scheduler]
    assert main([*words, "--out", str(course / "out")]) == 1
    assert "run: ClaimError: notebook 01: the claim 'noise is low / or" in capsys.readouterr().out
    (row,) = read_sweep(course / "out" / "sweep.csv")
    assert row["status"] == "failed" and row["V1 / steps"] == 7
    assert row["claim: noise is low / or none"] is False and row["claim: two are two"] is True


def start(root, *words):
    """A sweep in a process group of its own, as a terminal starts it."""
    command = [sys.executable, "-m", "eon_utils", "sweep", "01", "--preset", "smoke"]
    command += ["--root", str(root), "--out", str(root / "out"), *words]
    return terminal.start(command, stderr=subprocess.PIPE)


def wait_until(true, process=None):
    give_up = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < give_up
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)


def through(root, seeds):
    """Those of the seeds whose runs ran through."""
    notebook = root / "notebooks" / "01_tiny.ipynb"
    return [seed for seed in seeds if sweep_run.finished(root / "out" / f"seed={seed}", notebook)]


@needs_posix
@pytest.mark.parametrize(
    ("name", "send", "moment"),
    [
        ("SIGINT", "killpg", "at the start"),
        ("SIGKILL", "killpg", "at the start"),
        ("SIGINT", "killpg", "in the middle"),
        ("SIGKILL", "killpg", "in the middle"),
        ("SIGKILL", "kill", "in the middle"),
    ],
)
def test_killed_anywhere_it_goes_on_and_leaves_no_orphans(course, scheduler, name, send, moment):
    psutil = pytest.importorskip("psutil")
    (course / "slow").touch()
    process = start(course, "-p", "seed=0..2", "--workers", "2")
    wait_until((course / "out" / "sweep.json").exists, process)
    if moment == "in the middle":  # seed 1 waits on one worker, the other does all else
        wait_until(lambda: through(course, range(3)) == [0, 2], process)
        wait_until(lambda: "0.25 1" in ran(course), process)
    started = psutil.Process(process.pid).children(recursive=True)
    getattr(os, send)(process.pid, getattr(signal, name))
    said, _ = process.communicate(timeout=SOON)
    assert not psutil.wait_procs(started, timeout=SOON)[1]
    if name == "SIGINT":
        assert process.returncode == 130
        assert "of 3 runs ok" in said and f"eon_utils sweep --resume {course}/out" in said
        assert "Still running" not in said
    before = through(course, range(3))
    (course / "slow").unlink()
    if moment == "in the middle":
        (course / "out" / "seed=1" / "01_tiny.ipynb").write_text("{torn")
    words = ["sweep", "--resume", str(course / "out"), "--root", str(course)]
    assert main([*words, "--scheduler", scheduler]) == 0
    assert through(course, range(3)) == [0, 1, 2]
    assert all(ran(course).count(f"0.25 {seed}") == 1 for seed in before)
    assert len(ran(course)) == (4 if moment == "in the middle" else 3)


@needs_posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_a_cluster_that_a_sweep_leaves_only_ends_what_it_began(course, scheduler, capsys, name):
    (course / "slow").touch()
    process = start(course, "-p", "seed=1,0,2", "--scheduler", scheduler)
    wait_until((course / "ran.txt").exists, process)
    process.send_signal(getattr(signal, name))
    said, _ = process.communicate(timeout=SOON)
    if name == "SIGINT":
        assert process.returncode == 130
        assert "Still running on the cluster, to their end: seed=1\n" in said
    (course / "slow").unlink()
    wait_until(lambda: through(course, [1]))
    time.sleep(1)  # in which others would begin
    assert ran(course) == ["0.25 1"]
    words = ["sweep", "--resume", str(course / "out"), "--root", str(course)]
    assert main([*words, "--scheduler", scheduler]) == 0
    assert "Kept, because they ran through: 1 of 3 runs" in capsys.readouterr().out
    assert ran(course) == ["0.25 1", "0.25 0", "0.25 2"]


@pytest.mark.parametrize("left", ["nothing", "a torn ledger", "no ledger"])
def test_what_is_not_whole_is_not_finished(notebook, tmp_path, left):
    folder = tmp_path / "run"
    folder.mkdir()
    nb = nbformat.read(notebook, 4)
    nb.metadata.eon = {"status": "ok"}
    if left != "nothing":
        nbformat.write(nb, folder / notebook.name)
    if left == "a torn ledger":
        (folder / "ledger.json").write_text("[{")
    assert not sweep_run.finished(folder, notebook)
    if left == "no ledger":
        (folder / "ledger.json").write_text(json.dumps([dict.fromkeys(NEEDED, "")]))
        assert sweep_run.finished(folder, notebook)


# --- table, figure, page ---


def test_a_row_a_run_with_all_that_it_measured(swept):
    import pandas

    _, out, _ = swept
    rows = read_sweep(out / "sweep.csv")
    titles = ["run", "preset", "noise", "seed", "status", "seconds"]
    titles += ["V1 / psnr [dB]", "V1 / steps", "claim: noise is low / or none"]
    titles += ["claim: two are two", "error"]
    assert list(rows[0]) == titles
    row = next(row for row in rows if row["run"] == "noise=0.5_seed=1")
    assert (row["noise"], row["seed"], row["preset"], row["status"]) == (0.5, 1, "smoke", "ok")
    assert row["V1 / psnr [dB]"] == 26 and row["V1 / steps"] is None and row["seconds"] > 0
    assert row["claim: noise is low / or none"] is False
    assert rows[0]["claim: noise is low / or none"] is True
    parquet = pandas.read_parquet(out / "sweep.parquet")
    assert list(parquet) == titles and len(parquet) == len(rows)
    assert parquet["V1 / psnr [dB]"].tolist() == [row["V1 / psnr [dB]"] for row in rows]


def test_a_finished_sweep_is_drawn_again_and_has_a_page(swept, capsys):
    _, out, _ = swept
    assert main(["sweep", "--plot", "V1 / psnr", "--over", "noise", str(out)]) == 0
    path = out / "figures" / "V1 psnr over noise.png"
    assert str(path) in capsys.readouterr().out and path.stat().st_size > 5000
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 2, "this one, and all values"
    assert 'alt="V1 psnr over noise, mean and spread over seeds"' in page
    assert "noise is low / or none" in page and "noise=0.5_seed=1" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert main(["sweep", "--plot", "V9 / psnr", "--over", "noise", str(out)]) == 2
    assert "this sweep has no value 'V9 / psnr'; there are: V1 / psnr" in capsys.readouterr().err


def test_what_is_mixed_becomes_text_in_the_table(tmp_path):
    import pandas

    rows = []
    for index, size in enumerate([None, 64, [64, 48]]):
        rows.append({"run": f"<b>{index}", "size": size, "status": "ok", "error": ""})
    sweep_report.write_table(tmp_path, rows)
    assert [row["size"] for row in read_sweep(tmp_path / "sweep.csv")] == [None, 64, [64, 48]]
    assert pandas.read_parquet(tmp_path / "sweep.parquet")["size"].tolist()[1:] == [
        "64",
        "[64, 48]",
    ]
    note = {"notebook": "01_tiny.ipynb", "axes": {"size": [None, 64]}}
    (tmp_path / "sweep.json").write_text(json.dumps(note))
    sweep_report.build_page(tmp_path)
    assert "&lt;b&gt;0" in (tmp_path / "index.html").read_text(encoding="utf-8")
