"""What is committed and handed out: notebooks with outputs, widgets, ledger, student copies."""

from __future__ import annotations

import hashlib
import re
import shutil
from base64 import b64decode, b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image

from eon_utils.config import ROOT
from eon_utils.course.ledger import read_ledger, write_ledger
from eon_utils.course.outputs import VIEW, alt_of, kind_of, picture_of, read_notebook
from eon_utils.course.pages import renew_pages, with_suffixes
from eon_utils.course.pictures import save_moving_picture, save_screenshots
from eon_utils.course.runner import make_empty, run, say, select, sign
from eon_utils.course.widgets import keep_widgets, remove_unnamed
from eon_utils.data.files import whole_file
from eon_utils.notebook.claims import map_data
from eon_utils.notebook.display import SUFFIXES

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
MAP = "eon.course_map()"
EXPECTED = re.compile(
    r"(?P<text><details><summary>Expected of (?P<number>\d)</summary>.*?)</details>", re.S
)
TEACHERS_PAGES = {"teaching_notes.md"}  # they say what comes out


def clean_notebooks(only: str = "", root: Path = ROOT) -> None:
    """Clean the outputs of the committed notebooks, without running them.

    What their widgets show is kept, where a notebook was saved with it. The mark of outputs that
    are older than the code stays.
    """
    for path in select(only, root):
        nb = read_notebook(path)
        keep_widgets(nb, path)
        tidy(nb)
        nb.metadata["eon"].setdefault("code_sha256", code_hash(nb))
        replace(path, nb)
    remove_unnamed(root / "notebooks", read_all(root))
    save_pages(root)


def save_notebooks(only: str = "", root: Path = ROOT) -> int:
    """Run the committed notebooks under `laptop` and save their outputs, cleaned, in place.

    What their widgets show goes into notebooks/widgets. A notebook that fails keeps its old files.

    Returns:
        The exit status, 0 when every notebook was saved.
    """
    out, status = run("laptop", only, root=root)
    executed = sorted(out.glob("*.ipynb"))
    saved = []
    for path in executed:
        nb = read_notebook(path)
        if nb.metadata.eon.status == "ok" and take_outputs(root / "notebooks" / path.name, nb):
            saved.append(path.name[:2])
    ledger = root / "data" / "ledger.json"
    ledger.parent.mkdir(exist_ok=True)
    rows = [row for row in read_ledger(ledger) if row["phase"] not in saved]
    rows += [row for row in read_ledger(out / "ledger.json") if row["phase"] in saved]
    write_ledger(ledger, sorted(rows, key=lambda row: row["phase"]))
    remove_unnamed(root / "notebooks", read_all(root))
    save_pages(root, [path for path in executed if path.name[:2] in saved])
    say(f"saved: {', '.join(saved) or 'nothing'}")
    return status or int(len(saved) < len(executed))


def take_outputs(path: Path, executed: NotebookNode) -> bool:
    """Put the outputs of an executed copy into the notebook at `path`, unless its code changed."""
    nb = read_notebook(path)
    if code_hash(nb) != code_hash(executed):
        say(f"{path.name} was edited while it ran, and is left as it is: run it again")
        return False
    for cell, result in zip(code_cells(nb), code_cells(executed), strict=True):
        cell.outputs = result.outputs
        cell.execution_count = result.execution_count
    nb.metadata["widgets"] = executed.metadata.get("widgets", {})
    keep_widgets(nb, path)
    tidy(nb)
    nb.metadata["eon"]["code_sha256"] = code_hash(nb)
    replace(path, nb)
    return True


def tidy(nb: NotebookNode) -> None:
    """Keep of a notebook what a reader sees: no widget state or views, no times, no random ids."""
    eon = nb.metadata.get("eon", {})
    kept = {"code_sha256": eon["code_sha256"]} if "code_sha256" in eon else {}
    language = {"name": "python"}
    nb.metadata = NotebookNode(eon=kept, kernelspec=KERNEL, language_info=language)
    nb.nbformat_minor = max(nb.nbformat_minor, 5)
    count = 0
    for i, cell in enumerate(nb.cells, 1):
        cell.id = f"cell-{i:02d}"
        kept = {
            key: cell.metadata[key]
            for key in ("tags", "jupyter", "slideshow")
            if key in cell.metadata
        }
        if is_solution(cell):
            kept["jupyter"] = {"source_hidden": True, "outputs_hidden": True}  # folded
        cell.metadata = NotebookNode(kept)
        if cell.cell_type == "code":
            if cell.execution_count is not None:
                count += 1
                cell.execution_count = count
            tidy_outputs(cell)


def tidy_outputs(cell: NotebookNode) -> None:
    """Drop widget views; join what was printed to the same stream without anything between."""
    outputs: list[NotebookNode] = []
    for output in cell.outputs:
        data = output.get("data", {})
        data.pop(VIEW, None)
        if "image/png" in data:
            data["image/png"] = without_alpha(data["image/png"])
        if "execution_count" in output:
            output.execution_count = cell.execution_count
        stream = output.get("name")
        if outputs and stream and stream == outputs[-1].get("name"):
            outputs[-1].text += output.text  # the kernel splits what it prints where time passes
        else:
            outputs.append(output)
    cell.outputs = outputs


def without_alpha(png: str) -> str:
    """A picture in base64 without its alpha channel, if that says nothing: the same in less."""
    picture = Image.open(BytesIO(b64decode(png)))
    if picture.mode != "RGBA" or picture.getchannel("A").getextrema() != (255, 255):
        return png
    packed = BytesIO()
    density = {"dpi": picture.info["dpi"]} if "dpi" in picture.info else {}
    picture.convert("RGB").save(packed, "PNG", optimize=True, **density)
    return b64encode(packed.getvalue()).decode()


def read_all(root: Path) -> list[NotebookNode]:
    """The notebooks of a course, in order."""
    return [read_notebook(path) for path in select(root=root)]


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    """The code cells that the author wrote, in order."""
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    return [cell for cell in code if "injected-parameters" not in cell.metadata.get("tags", [])]


def code_hash(nb: NotebookNode) -> str:
    """One number for all code of a notebook; outputs saved with another number are stale."""
    code = "\0".join(cell.source for cell in code_cells(nb))
    return hashlib.sha256(code.encode()).hexdigest()


def replace(path: Path, nb: NotebookNode) -> None:
    """Write a notebook completely or not at all, and sign it."""
    with whole_file(path) as partial:
        nbformat.write(nb, partial)
    sign(nb)


def save_pages(root: Path = ROOT, executed: Sequence[Path] = ()) -> None:
    """Write the screenshots, links to them, and what pages and notebooks say of the ledger.

    Args:
        root: of the course.
        executed: notebooks as they ran. The picture that moves is taken from them; the committed
            ones hold no widgets, so that without these it stays as it is.
    """
    for path in executed:
        save_moving_picture(root, path)
    notebooks = select(root=root)
    save_screenshots(root, notebooks)
    for path in notebooks:
        link_screenshots(path, root)
        renew_map(path, root)
    renew_pages(root, read_ledger(root / "data" / "ledger.json"))


def link_screenshots(path: Path, root: Path) -> None:
    """Give a notebook's links to screenshots the suffixes of the files that are there."""
    nb = read_notebook(path)
    before = [cell.source for cell in nb.cells]
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = with_suffixes(cell.source, root / "screenshots")
    if [cell.source for cell in nb.cells] != before:
        replace(path, nb)


def renew_map(path: Path, root: Path) -> None:
    """Let a notebook's map of the course say the minutes of the ledger as it is now.

    The notebook that shows it runs first, before the others have taken their time.
    """
    nb = read_notebook(path)
    shown = [out for cell in code_cells(nb) if MAP in cell.source for out in cell.outputs]
    data = NotebookNode(map_data(root, solved=())) if shown else None
    if any(output.data != data for output in shown):
        for output in shown:
            output.data = data
        replace(path, nb)


def make_student(out: Path, root: Path = ROOT) -> list[Path]:
    """Copies of the notebooks to work in, without solutions, outputs and teaching notes.

    Folds that say what to expect of an exercise show what the solution drew when it was saved.

    Returns:
        The paths of the copies.

    Raises:
        FileExistsError: when `out` holds something; it may be somebody's work.
    """
    notebooks = {path.name: read_notebook(path) for path in select(root=root)}
    make_empty(out)
    for name, nb in notebooks.items():
        add_expected(nb, name[:2], out)
        nb.cells = [cell for cell in nb.cells if not is_solution(cell)]
        for cell in code_cells(nb):
            cell.outputs = []
            cell.execution_count = None
        nb.metadata.pop("eon", None)
        nbformat.write(nb, out / name)
    for notes in (root / "notebooks").glob("*.md"):
        if notes.name not in TEACHERS_PAGES:
            shutil.copy(notes, out)
    return sorted(out.glob("*.ipynb"))


def add_expected(nb: NotebookNode, phase: str, out: Path) -> None:
    """Write the pictures of solutions to `out`/expected, and show them in the folds about them.

    The pictures of a notebook's solutions and its folds "Expected of ..." are in the same order.
    """
    drawn = [
        output
        for cell in nb.cells
        if is_solution(cell)
        for output in cell.outputs
        if kind_of(output)
    ]
    left = iter(drawn)

    def with_picture(fold: re.Match) -> str:
        output = next(left, None)
        if output is None:
            return fold[0]
        file = out / "expected" / f"{phase}-{fold['number']}{SUFFIXES[kind_of(output)]}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(picture_of(output))
        picture = f'<img src="expected/{file.name}" alt="{escape(alt_of(output))}">'
        return f"{fold['text']}<br>{picture}</details>"

    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = EXPECTED.sub(with_picture, cell.source)


def is_solution(cell: NotebookNode) -> bool:
    """True for a cell that solves an exercise."""
    return "solution" in cell.metadata.get("tags", [])
