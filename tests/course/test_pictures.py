"""The pictures beside the notebooks: small ones, and the scrubber that moves in the README."""

import base64

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from eon_utils.__main__ import main
from eon_utils.course import pictures
from eon_utils.course.outputs import STATE, VIEW
from eon_utils.notebook.export import HEAD
from eon_utils.notebook.scrubber import scrub
from eon_utils.training.history import History

STEPS = [0, 1, 3, 8]


def history(shade):
    """A training that ends at its targets: three plain pictures."""
    target = np.full((3, 32, 48, 3), shade, np.uint8)
    return History(
        loss=[1 / (step + 1) for step in range(9)],
        accuracy=[step / 10 for step in range(9)],
        seconds=[float(step) for step in range(9)],
        snapshot_steps=STEPS,
        snapshots=[target // (4 - i) for i in range(4)],
        target=target,
    )


@pytest.fixture
def executed(tmp_path):
    """The path of a notebook that ran and saved a scrubber of four networks."""
    runs = {f"V{i}": history(200) for i in range(1, 5)}
    widget = scrub(runs, name=pictures.MOVING)
    buffers = []
    for key in ("atlas", "targets"):
        data = base64.b64encode(getattr(widget, key)).decode()
        buffers.append({"path": [key], "encoding": "base64", "data": data})
    models = {"abc": {"state": {"spec": widget.spec}, "buffers": buffers}}
    shown = new_output(
        "display_data", {VIEW: {"model_id": "abc"}}, metadata={"screenshot": pictures.MOVING}
    )
    nb = new_notebook(cells=[new_code_cell("", outputs=[shown])])
    nb.metadata["widgets"] = {STATE: {"state": models}}
    path = tmp_path / "run" / "02_deep.ipynb"
    path.parent.mkdir()
    nbformat.write(nb, path)
    return path


def test_a_saved_scrubber_is_read(executed):
    scrubber = pictures.read_scrubber(nbformat.read(executed, 4), pictures.MOVING)
    assert scrubber.spec["names"][2:] == ["V3", "V4"] and scrubber.spec["steps"] == STEPS
    assert scrubber.atlas and scrubber.targets


def test_the_moving_picture_goes_through_the_training(executed, tmp_path):
    pictures.save_moving_picture(tmp_path, executed)
    with Image.open(tmp_path / "screenshots" / "02_scrubber.webp") as moving:
        assert moving.n_frames == len(STEPS) and moving.info["loop"] == 0
        shades = []
        for frame in range(moving.n_frames):
            moving.seek(frame)
            page = moving.convert("RGBA")
            shades.append(page.getpixel((20, HEAD + 20))[0])
        assert shades == sorted(shades) and shades[0] < 70 and shades[-1] > 190
        assert page.getpixel((0, page.height - 1))[3] == 0, "nothing is behind it"


def test_the_command_takes_it_from_a_run(executed, tmp_path, capsys):
    (tmp_path / "notebooks").mkdir()
    nbformat.write(new_notebook(), tmp_path / "notebooks" / "02_deep.ipynb")
    words = ["screenshots", "--root", str(tmp_path)]
    assert main([*words, "--run", str(executed.parent)]) == 0
    made = (tmp_path / "screenshots" / "02_scrubber.webp").read_bytes()
    assert main(words) == 0, "committed notebooks hold no widgets: it stays"
    assert (tmp_path / "screenshots" / "02_scrubber.webp").read_bytes() == made
    assert main([*words, "--run", str(tmp_path)]) == 2
    assert "holds no executed notebook" in capsys.readouterr().err


def test_small_pictures_are_parts(tmp_path):
    half = Image.new("RGB", (100, 40), "red")
    half.paste("blue", (50, 0, 100, 40))
    half.save(tmp_path / "half.png")
    small = pictures.small_picture(tmp_path / "half.png", (0.5, 0, 1, 1)).convert("RGB")
    assert small.size == (2 * pictures.SMALL_WIDTH, round(2 * pictures.SMALL_WIDTH * 40 / 50))
    assert small.getpixel((3, 3)) == (0, 0, 255)
