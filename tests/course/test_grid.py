"""The grid of a sweep: what is typed becomes values, and every combination a run."""

import json
import random
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from eon_utils.course import grid

PARAMETERS = """preset = "laptop"  # smoke, laptop or full
seed = 0  # a whole number
noise = 0.25  # standard deviation
size: int | list | None = None  # of the pictures
images = ""  # a folder of your own pictures"""


@pytest.fixture
def notebook(tmp_path):
    cell = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "01_tiny.ipynb")
    return tmp_path / "01_tiny.ipynb"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0", ["0"]),
        ("", [""]),
        ("0, 0.1 ,0.25", ["0", "0.1", "0.25"]),
        ("[64, 48],[96,64],none", ["[64, 48]", "[96,64]", "none"]),
        ("(64, 48),7", ["(64, 48)", "7"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ("it's,here", ["it's", "here"]),
        ("[1,2", ["[1", "2"]),
        ("a,", ["a", ""]),
        (",", ["", ""]),
    ],
)
def test_values_are_split_at_commas(text, values):
    assert grid.split_values(text) == values


def test_whatever_is_typed_is_split_and_nothing_is_lost():
    draw = random.Random(0)
    for _ in range(2000):
        text = "".join(draw.choices("ab01.,[]()'\" -", k=draw.randrange(12)))
        values = grid.split_values(text)
        assert re.sub(r"[\s,]", "", "".join(values)) == re.sub(r"[\s,]", "", text)
        assert len(values) <= text.count(",") + 1


def test_ranges_lists_and_defaults_are_typed(notebook):
    settings = {"seed": "0..2,7", "noise": "0,0.25", "size": "none,64,[64,48]"}
    axes = grid.read_axes(notebook, settings, "smoke")
    assert axes == {
        "preset": ["smoke"],
        "seed": [0, 1, 2, 7],
        "noise": [0, 0.25],
        "size": [None, 64, [64, 48]],
    }
    jobs = grid.combine(notebook, axes)
    assert len(jobs) == len({job.folder for job in jobs}) == 24
    assert jobs[0].settings == {"preset": "smoke", "seed": 0, "noise": 0, "size": None}
    assert jobs[0].values == {"preset": "smoke", "noise": 0}, "defaults are left to the notebook"
    assert jobs[3].settings["noise"] == 0.25 and "noise" not in jobs[3].values


def test_axes_survive_being_noted(notebook):
    settings = {"seed": "-0..1", "size": "none,[64,48]", "noise": "1e-3,.5"}
    axes = grid.read_axes(notebook, settings, "smoke")
    assert json.loads(json.dumps(axes)) == axes


def test_a_folder_is_named_after_what_differs(notebook, tmp_path, monkeypatch):
    axes = grid.read_axes(notebook, {"seed": "3", "noise": "0,0.1"}, "smoke")
    assert [job.folder for job in grid.combine(notebook, axes)] == ["noise=0", "noise=0.1"]
    odd = ["a/b", "a b", "../x", "ü", "x" * 200, "y" * 200, "a:b"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in odd:
        Path(name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(Path(name) / "mine.png")  # an empty folder is refused
    axes = grid.read_axes(notebook, {"images": ",".join(odd)}, "smoke")
    names = [job.folder for job in grid.combine(notebook, axes)]
    assert len(set(names)) == len(odd)
    assert all(re.fullmatch(r"[\w.=+-]{1,100}", name, re.A) for name in names)


def test_own_files_are_found_from_where_the_user_stands(notebook, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    axes = grid.read_axes(notebook, {"images": "mine"}, "smoke")
    assert axes["images"] == [str((tmp_path / "mine").resolve())]
    with pytest.raises(ValueError, match="images=gone does not exist"):
        grid.read_axes(notebook, {"images": "mine,gone"}, "smoke")
