"""The profile of the course: what is measured, and what is made of it."""

import csv
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

pytest.importorskip("av", reason="PyAV writes the videos that are measured")

import profile_course
from workloads import WORKS, Setting, Size

TINY = [16, 2, 5]  # side, batch, frames
SIDES = (16, 32, 64, 128)


def rows(exponent):
    """Sizes of V4's step, whose time and memory grow with a power of the pixels."""
    made = []
    for side in SIDES:
        grown = (side**2) ** exponent
        row = {"axis": "by pixels", "work": "V4 step", **Size(side=side)._asdict()}
        made.append(row | {"seconds": 1e-6 * grown, "MiB": 1e-3 * grown})
    return made


@pytest.mark.parametrize("work", WORKS)
def test_each_work_can_be_done_again(work):
    call = WORKS[work](Size(*TINY)._replace(frames=30 if work == "video" else 5), Setting())
    call()
    call()


@pytest.mark.parametrize("change", ["channels_last", "foreach", "loop over weights", "bf16"])
def test_a_setting_is_timed_beside_what_is_usual(change):
    row = profile_course.measure_setting("V4 step", TINY, change, 0)
    assert row["pairs"] == profile_course.PAIRS
    assert row["ratio"] > 0 and row["seconds"] > 0 and row["with it"] > 0


def test_a_setting_of_threads_is_undone():
    threads = torch.get_num_threads()
    profile_course.measure_setting("predict", TINY, "one thread", 0)
    assert torch.get_num_threads() == threads


def test_shares_add_up():
    row = profile_course.measure_share("V4 step", TINY, 0)
    shares = [row[kind] for kind in [*profile_course.KINDS, "between operations"]]
    assert 90 < sum(shares) < 110
    assert row["convolution"] > 0 and row["optimizer"] > 0 and row["operations"] > 50
    assert 0 < row["share of GEMM"] < 100


@pytest.mark.parametrize(
    ("on_gpu", "spent", "operations"),
    [(False, {"convolution": 1.0, "copies": 7.0}, 6), (True, {"convolution": 4.0}, 2)],
)
def test_on_a_gpu_the_time_is_that_of_the_kernels(on_gpu, spent, operations):
    def event(key, count, cpu, gpu, kind=DeviceType.CPU):
        times = {"self_cpu_time_total": 1e6 * cpu, "self_device_time_total": 1e6 * gpu}
        return SimpleNamespace(key=key, count=count, device_type=kind, **times)

    events = [
        event("aten::convolution", 2, cpu=1, gpu=4),
        event("implicit_convolve_sgemm", 2, cpu=0, gpu=4, kind=DeviceType.CUDA),
        event("aten::index", 4, cpu=7, gpu=0),
    ]
    found, count = profile_course.seconds_by_kind(events, on_gpu)
    assert {kind: seconds for kind, seconds in found.items() if seconds} == spent
    assert count == operations


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_a_slope_is_how_fast_a_work_grows(exponent):
    line = profile_course.lines_of(rows(exponent), "by pixels", "seconds")["V4 step"]
    assert line.amount == [side**2 for side in SIDES]
    assert abs(line.slope - exponent) < 1e-6
    table = profile_course.sizes_table(rows(exponent))
    assert (f"**{exponent:.2f}**" in table) == (exponent > profile_course.STEEP)


def test_what_pays_is_bold():
    row = {"work": "w", "change": "c", "seconds": 1.0, "breaks even after": 7}
    table = profile_course.settings_table(
        [row | {"with it": 0.5, "ratio": 0.5}, row | {"with it": 0.95, "ratio": 0.95}]
    )
    assert "**0.50**" in table and "| 0.95 |" in table and "7 steps" in table


def test_tables_go_into_their_page(repo, tmp_path):
    page = tmp_path / "scaling.md"
    marks = [
        f"<!-- profile {part}:begin -->\n<!-- profile {part}:end -->"
        for part in ("machine", "sizes")
    ]
    page.write_text("\n".join(marks), encoding="utf-8")
    script = repo / "experiments" / "profile_course.py"
    options = "--only sizes --works video --most 2 --seconds 0 --threads 1"
    command = [sys.executable, str(script), *options.split(), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "profile_sizes.csv").open(encoding="utf-8", newline="") as file:
        measured = list(csv.DictReader(file))
    assert [int(row["frames"]) for row in measured] == [100, 200]
    assert all(float(row["seconds"]) > 0 for row in measured)
    text = page.read_text(encoding="utf-8")
    assert "| video | by length of video | 100 | 200 |" in text and "1 thread" in text
    assert (tmp_path / "profile.png").stat().st_size > 0


def test_the_page_has_a_place_for_each_table(repo):
    text = (repo / "data" / "scaling.md").read_text(encoding="utf-8")
    for part in ("machine", *profile_course.PARTS):
        assert f"<!-- profile {part}:begin -->" in text and f"<!-- profile {part}:end -->" in text
