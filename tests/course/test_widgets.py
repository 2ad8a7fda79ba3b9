"""Widgets of committed notebooks: written, named, restored as they were, and removed in the end."""

import hashlib
import io
import re
from zipfile import ZipFile

import nbformat
import pytest
from browser import fake_film, fake_history, tensor
from ipywidgets import Widget
from nbformat.v4 import new_code_cell, new_notebook, new_output

from eon_utils.course import publish, site
from eon_utils.course.outputs import STATE, VIEW, outputs
from eon_utils.course.widgets import FILE_BYTES, SCRIPTS, keep_widgets, restore_widgets, unpack
from eon_utils.notebook import player
from eon_utils.notebook.scrubber import scrub


@pytest.fixture(scope="module")
def widgets():
    """A scrubber with a name, one of films without, and a player."""
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(player, "display", shown.append)
        player.show_clip(tensor(fake_film().target), name="07_clips")
    named = scrub({"a": fake_history(), "b": fake_history(speed=0.5)}, name="scrubber")
    return [named, scrub(fake_film()), *shown]


def executed(*widgets):
    """A notebook that shows these widgets, as papermill leaves it."""
    nb = new_notebook(cells=[new_code_cell("print(1)")])
    for widget in widgets:
        data, metadata = widget._repr_mimebundle_()
        nb.cells[0].outputs.append(new_output("display_data", data=data, metadata=metadata))
    nb.metadata.widgets = {STATE: Widget.get_manager_state(widgets=widgets)}
    return nbformat.from_dict(nb)


def committed(folder, *widgets):
    """The path of a notebook 07 in `folder`, saved as `make notebooks` saves it."""
    path = folder / "notebooks" / "07_own.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=[new_code_cell("print(1)")]), path)
    assert publish.take_outputs(path, executed(*widgets))
    return path


def files(path):
    return {file.name: file.read_bytes() for file in (path.parent / "widgets").glob("*")}


def test_each_widget_becomes_a_file_that_its_output_names(tmp_path, widgets):
    path = committed(tmp_path, *widgets)
    text = path.read_text(encoding="utf-8")
    assert VIEW not in text and STATE not in text
    named = [output.metadata.widget.file for output in outputs(nbformat.read(path, 4))]
    names = ["07_scrubber", "07_widget_2", "07_clips"]
    assert named == [f"widgets/{name}.zip" for name in names]
    assert set(files(path)) == {f"{name}.zip" for name in names}
    for data in files(path).values():
        assert len(data) < FILE_BYTES and b"function" not in data  # scripts are the package's


def test_the_same_state_makes_the_same_bytes(tmp_path, widgets):
    first = committed(tmp_path / "a", *widgets)
    second = committed(tmp_path / "b", *widgets)
    assert files(first) == files(second)
    assert first.read_bytes() == second.read_bytes()


def test_it_is_restored_as_it_was(tmp_path, widgets):
    path = committed(tmp_path, *widgets)
    nb = nbformat.read(path, 4)
    assert restore_widgets(nb, path.parent) == []
    before = executed(*widgets).metadata.widgets[STATE].state
    after = nb.metadata.widgets[STATE].state
    for widget, output in zip(widgets, outputs(nb), strict=True):
        old = before[widget.model_id]
        new = after[output.data[VIEW].model_id]
        for name in ("_anywidget_id", "_esm", "_css", "spec", "frame"):
            assert new.state[name] == old.state[name]
        assert {b.path[0]: b.data for b in new.buffers} == {b.path[0]: b.data for b in old.buffers}


def test_restored_and_kept_again_nothing_changes(tmp_path, widgets):
    path = committed(tmp_path, *widgets)
    before = files(path)
    nb = nbformat.read(path, 4)
    restore_widgets(nb, path.parent)
    keep_widgets(nb, path)
    publish.tidy(nb)
    assert files(path) == before and nb == nbformat.read(path, 4)


def test_cleaning_keeps_what_is_named_and_removes_what_is_not(tmp_path, widgets):
    path = committed(tmp_path, *widgets)
    before = files(path)
    (path.parent / "widgets" / "07_gone.zip").write_bytes(b"")
    publish.clean_notebooks(root=tmp_path)
    assert files(path) == before
    nb = nbformat.read(path, 4)
    nb.cells[0].outputs.pop()
    nbformat.write(nb, path)
    publish.clean_notebooks(root=tmp_path)
    assert set(files(path)) == {"07_scrubber.zip", "07_widget_2.zip"}


def test_one_widget_shown_twice_has_one_file(tmp_path, widgets):
    path = committed(tmp_path, widgets[0], widgets[0])
    assert set(files(path)) == {"07_scrubber.zip"}
    nb = nbformat.read(path, 4)
    restore_widgets(nb, path.parent)
    assert len(nb.metadata.widgets[STATE].state) == 1


def test_of_a_notebook_edited_while_it_ran_no_widget_is_kept(tmp_path, widgets, capsys):
    path = tmp_path / "07_own.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("print(2)")]), path)
    assert not publish.take_outputs(path, executed(*widgets))
    assert not (tmp_path / "widgets").exists()


def test_other_widgets_stay_still(tmp_path, widgets):
    nb = executed(widgets[0])
    for model in nb.metadata.widgets[STATE].state.values():
        model.state["_anywidget_id"] = "__main__.Scrubber"
    keep_widgets(nb, tmp_path / "07_own.ipynb")
    assert list(tmp_path.iterdir()) == [] and "widget" not in nb.cells[0].outputs[0].metadata


def test_a_missing_or_damaged_file_leaves_the_poster_and_is_told(tmp_path, widgets, capsys):
    path = committed(tmp_path, *widgets)
    kept = path.parent / "widgets"
    (kept / "07_scrubber.zip").unlink()
    damaged = bytearray((kept / "07_clips.zip").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (kept / "07_clips.zip").write_bytes(damaged)
    index = site.build_pages([path], [], tmp_path, tmp_path / "site")
    said = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().err).splitlines()  # colours
    assert [line.split("WARNING: ")[-1] for line in said] == [
        "widgets/07_scrubber.zip is missing: a still picture stays;"
        " to mend it: make notebooks ONLY=07",
        "widgets/07_clips.zip is damaged, or of another run: a still picture stays;"
        " to mend it: make notebooks ONLY=07",
    ]
    page = (index.parent / "notebooks" / "07_own.html").read_text(encoding="utf-8")
    assert page.count('class="eon-widget"') == 1 and 'data-model="widgets/07_widget_2.zip"' in page
    assert page.split("<article")[1].count("<img") == 3


@pytest.mark.parametrize("content", [None, b"{}", b'{"_anywidget_id": "__main__.Other"}', b"[]"])
def test_a_file_of_something_else_is_refused(content):
    data = io.BytesIO()
    with ZipFile(data, "w") as archive:
        if content:
            archive.writestr("state.json", content)
    sha256 = hashlib.sha256(data.getvalue()).hexdigest()
    with pytest.raises(ValueError, match="holds no widget of the course"):
        unpack(data.getvalue(), sha256)


def test_the_scripts_are_those_of_the_widgets(widgets):
    for widget in widgets:
        state = widget.get_state()
        assert SCRIPTS[state["_anywidget_id"]] == state["_esm"]
