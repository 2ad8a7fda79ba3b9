"""What is saved of a notebook that ran."""

from base64 import b64decode, b64encode
from io import BytesIO

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from eon_utils.course.ledger import write_ledger
from eon_utils.course.pages import lesson_table
from eon_utils.course.publish import make_student, save_pages, without_alpha
from eon_utils.notebook.display import with_still


@pytest.mark.parametrize("clear", [False, True])
def test_an_alpha_channel_is_kept_where_it_says_something(clear):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[3, 4, 3] -= clear
    packed = BytesIO()
    Image.fromarray(pixels).save(packed, "PNG", dpi=(90, 90))
    before = b64encode(packed.getvalue()).decode()
    after = without_alpha(before)
    picture = Image.open(BytesIO(b64decode(after)))
    assert picture.mode == ("RGBA" if clear else "RGB") and round(picture.info["dpi"][0]) == 90
    assert np.array_equal(np.asarray(picture.convert("RGBA")), pixels)
    assert (after == before) is clear and without_alpha(after) == after


@pytest.fixture
def course(tmp_path):
    """A course of one notebook, which took 90 s and shows the map of another day."""
    first = new_markdown_cell("# 01 · A start\n\n**The question:** is it on?\n")
    old = new_output("display_data", {"text/plain": "01 · A start  is it on?  0.2 min"})
    shown = new_code_cell("eon.course_map()", outputs=[old], execution_count=1)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "data").mkdir()
    nbformat.write(new_notebook(cells=[first, shown]), tmp_path / "notebooks" / "01_start.ipynb")
    row = {"phase": "01", "model": "all", "metric": "notebook", "value": 90.0, "unit": "s"}
    row |= {"preset": "laptop", "seed": 0, "device": "cpu"}
    write_ledger(tmp_path / "data" / "ledger.json", [row])
    return tmp_path, [row]


def test_map_and_readme_say_the_same_minutes(course):
    """Also where the notebook with the map ran before the others had taken their time."""
    root, rows = course
    path = root / "notebooks" / "01_start.ipynb"
    save_pages(root)
    data = nbformat.read(path, 4).cells[1].outputs[0].data
    assert "1.5 min" in data["text/plain"] and "<td>1.5 min</td>" in data["text/html"]
    assert lesson_table(root, rows).endswith("| 1.5 |")
    before = path.stat().st_mtime_ns
    save_pages(root)
    assert path.stat().st_mtime_ns == before, "nothing new, nothing written"


def test_student_copies_show_what_solutions_drew(course, tmp_path):
    """The n-th picture of the solutions stands in the n-th fold; a fold too many stays as it is."""
    root, _ = course
    path = root / "notebooks" / "01_start.ipynb"
    nb = nbformat.read(path, 4)
    folds = [f"<details><summary>Expected of {n}</summary>A line.</details>\n\n" for n in (2, 3)]
    chart = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    data, metadata = with_still(({}, {}), chart, "a figure", "a flat line & more", "")
    drawn = new_output("display_data", data, metadata=metadata)
    solution = new_code_cell("x = 1", outputs=[drawn], metadata={"tags": ["solution"]})
    nb.cells += [new_markdown_cell("".join(folds)), solution]
    nbformat.write(nb, path)
    (copy,) = make_student(tmp_path / "student", root)
    text = nbformat.read(copy, 4).cells[2].source
    assert '<br><img src="expected/01-2.svg" alt="a flat line &amp; more"></details>' in text
    assert folds[1].strip() in text and len(nbformat.read(copy, 4).cells) == 3
    assert (tmp_path / "student" / "expected" / "01-2.svg").read_bytes() == chart
    assert "x = 1" not in copy.read_text()
