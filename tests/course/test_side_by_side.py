"""Several notebooks at once: they share the cores, and end together."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from terminal import start

from eon_utils.__main__ import main
from eon_utils.course import outputs, runner
from eon_utils.course.ledger import read_ledger

PARAMETERS = 'preset = "laptop"  # smoke, laptop or full\nseed = 0  # a whole number'
MEET = """import os, pathlib, time
open(r"{root}/{own}", "w").close()
for _ in range({seconds} * 10):
    if pathlib.Path(r"{root}/{other}").exists():
        break
    time.sleep(0.1)
print("met", pathlib.Path(r"{root}/{other}").exists(), os.environ["OMP_NUM_THREADS"])"""
posix = pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")


def write(root, name, *codes):
    cells = [new_markdown_cell(f"# {name}")]
    cells.append(new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}))
    cells += [new_code_cell(code) for code in codes]
    (root / "notebooks").mkdir(exist_ok=True)
    made = new_notebook(cells=cells, metadata={"eon": {"code_sha256": "0"}})
    nbformat.write(made, root / "notebooks" / f"{name}.ipynb")


def printed_in(path):
    nb = nbformat.read(path, 4)
    return "\n".join(output.get("text", "") for output in outputs.outputs(nb))


def test_two_notebooks_run_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("eon_utils.course.runner.usable_cores", lambda: 6)
    write(tmp_path, "00_first", MEET.format(root=tmp_path, own="a", other="b", seconds=60))
    write(tmp_path, "01_second", MEET.format(root=tmp_path, own="b", other="a", seconds=60))
    write(tmp_path, "02_third", "1 / 0")
    out = tmp_path / "runs" / "one"
    words = ["run", "--root", str(tmp_path), "--out", str(out), "--workers", "2"]
    assert main(words) == 1, "one fails, and does not stop the others"
    said = capsys.readouterr().out
    assert "02_third ... failed" in said and "division by zero" in said
    for name in ("00_first", "01_second"):
        assert "met True 3" in printed_in(out / f"{name}.ipynb"), "six cores are shared by two"
        assert f"{name} ... ok" in said
        assert "Executing notebook" in (out / f"log_{name}.txt").read_text()
    assert said.index("\n00_first  ") < said.index("\n01_second  ") < said.index("\n02_third  ")
    assert [row["phase"] for row in read_ledger(out / "ledger.json")] == ["00", "01", "02"]
    assert (tmp_path / "runs" / "latest").resolve() == out.resolve()


def test_a_number_of_workers_that_cannot_be_is_named(tmp_path, capsys):
    write(tmp_path, "00_first", "1")
    assert main(["run", "--root", str(tmp_path), "--workers", "0"]) == 2
    assert "--workers 0 must be 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def two_that_wait(tmp_path):
    """A run of three notebooks, two at a time; two are at it, and wait."""
    for name, own in (("00_never", "n"), ("01_slow", "a"), ("02_slower", "b")):
        wait = MEET.format(root=tmp_path, own=own, other="nothing", seconds=120)
        write(tmp_path, name, "print('begun')", wait)
    words = ["run", "--root", str(tmp_path), "--out", str(tmp_path / "out"), "--workers", "2"]
    process = start([sys.executable, "-m", "eon_utils", *words])
    while process.poll() is None and not all((tmp_path / own).exists() for own in "ab"):
        time.sleep(0.1)
    time.sleep(1)
    yield process, tmp_path
    process.kill()


@posix
@pytest.mark.parametrize("whom", ["the group, as a terminal", "the runner alone"])
def test_ctrl_c_saves_all_that_run(two_that_wait, whom):
    process, root = two_that_wait
    send = os.killpg if whom.startswith("the group") else os.kill
    send(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "Traceback" not in said, said
    for name in ("01_slow", "02_slower"):
        assert "begun" in printed_in(root / "out" / f"{name}.ipynb")
        assert f"{name} ... interrupted" in said
    assert not (root / "n").exists() and not (root / "out" / "00_never.ipynb").exists()
    assert f"run --resume {root}/out" in said


@posix
def test_who_is_killed_leaves_nobody_behind(two_that_wait):
    process, root = two_that_wait
    process.kill()
    process.wait()
    files = [root / "out" / name for name in ("01_slow.ipynb", "02_slower.ipynb")]
    for _ in range(300):
        if all(file.exists() and '"interrupted"' in file.read_text() for file in files):
            break
        time.sleep(0.1)
    assert all('"interrupted"' in file.read_text() for file in files), "each saved what it had"
    assert not any(runner.ran_through(file) for file in files)


@posix
def test_a_notebook_whose_process_is_killed_has_failed(two_that_wait):
    process, root = two_that_wait
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True, text=True
    )
    for child in children.stdout.split():
        os.kill(int(child), signal.SIGKILL)
    (root / "nothing").touch()  # for the one that has its turn now
    said = process.communicate(timeout=90)[0]
    assert process.returncode == 1, said
    assert said.count("failed, 0 s: its process was killed") == 2 and "00_never ... ok" in said
