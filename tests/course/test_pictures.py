"""The pictures beside the notebooks: small ones, and the scrubber that moves in the README."""

import base64
import io

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image, ImageDraw

from eon_utils.__main__ import main
from eon_utils.course import pictures
from eon_utils.course.outputs import STATE, VIEW
from eon_utils.course.pages import renew_pages
from eon_utils.notebook.display import image_bytes, with_still
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


@pytest.fixture
def sheet(tmp_path):
    """A screenshot: two rows of three plain pictures under a title, each with a light corner."""
    page = Image.new("RGB", (200, 130), "white")
    ImageDraw.Draw(page).text((20, 2), "a title", "black")
    for index, colour in enumerate(("red", "green", "blue", "black", "brown", "navy")):
        row, column = divmod(index, 3)
        page.paste(colour, (10 + 60 * column, 20 + 50 * row, 66 + 60 * column, 62 + 50 * row))
        page.paste("white", (10 + 60 * column, 20 + 50 * row, 15 + 60 * column, 25 + 50 * row))
    page.save(tmp_path / "sheet.png")
    return tmp_path / "sheet.png"


def test_small_pictures_are_whole_pictures(sheet):
    part = pictures.small_picture(sheet, [(0, 2), (1, 0)])
    small = Image.open(io.BytesIO(part)).convert("RGB")
    wide = pictures.SMALL_WIDTH - pictures.GAP // 2
    assert small.size == (2 * pictures.SMALL_WIDTH, round(wide * 42 / 56))
    for x, colour in ((0, (0, 0, 255)), (wide + pictures.GAP, (0, 0, 0))):
        corners = [(x, small.height - 1), (x + wide - 1, 0), (x + wide - 1, small.height - 1)]
        assert {small.getpixel(corner) for corner in corners} == {colour}


def test_a_place_without_a_picture_is_named(sheet):
    with pytest.raises(ValueError, match=r"2 rows of 3 pictures .* \[\(2, 0\)\]; correct PARTS"):
        pictures.small_picture(sheet, [(2, 0)])


def output(picture, name):
    """An output that shows a picture and is a screenshot."""
    data, metadata = with_still(({}, {}), picture, "a figure", "what it shows", name)
    return new_output("display_data", data, metadata=metadata)


def test_screenshots_are_called_by_their_kind(tmp_path):
    grey = Image.new("RGB", (40, 30), "grey")
    shown = {
        "07_chart": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "07_frames": image_bytes(grey, "PNG"),
        "07_photos": image_bytes(grey, "JPEG"),
    }
    outputs = [output(picture, name) for name, picture in shown.items()]
    path = tmp_path / "notebooks" / "07_own.ipynb"
    path.parent.mkdir()
    nbformat.write(new_notebook(cells=[new_code_cell("", outputs=outputs)]), path)
    folder = tmp_path / "screenshots"
    folder.mkdir()
    (folder / "07_photos.png").write_bytes(b"of another kind, once")
    page = tmp_path / "RESULTS.md"
    page.write_text("![a](screenshots/07_chart.png) ![b](screenshots/07_photos.png) 07_chart.png")
    pictures.save_screenshots(tmp_path, [path])
    renew_pages(tmp_path, [])
    assert {file.name: file.read_bytes() for file in folder.glob("*.*")} == {
        "07_chart.svg": shown["07_chart"],
        "07_frames.png": shown["07_frames"],
        "07_photos.jpg": shown["07_photos"],
    }
    assert page.read_text() == (
        "![a](screenshots/07_chart.svg) ![b](screenshots/07_photos.jpg) 07_chart.png"
    )
