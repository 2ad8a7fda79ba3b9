"""Widgets of committed notebooks: a file each beside them, so that their site moves without a run.

Viewers such as GitHub show no output of a notebook that holds a widget. So a committed notebook
holds the widget's poster, and the name of a file with the widget's state: a ZIP archive of
`state.json` and of the pictures, as WebP. Its script is the package's own.
"""

from __future__ import annotations

import hashlib
import io
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import nbformat
from anywidget import AnyWidget
from nbformat import NotebookNode

from eon_utils.course.outputs import STATE, VIEW, outputs
from eon_utils.data.files import whole_file
from eon_utils.notebook.sprites import CSS, PLAYER, SCRUBBER

FOLDER = "widgets"  # beside the notebooks
KEY = "widget"  # in an output's metadata: the file's path from the notebook, and its SHA-256
FILE_BYTES = 700_000  # of a file: an atlas of 640 kB at most, targets, curves
ALL_BYTES = 6_000_000  # of all files: nine such atlases, and small ones
SCRIPTS = {
    "eon_utils.notebook.player.Player": PLAYER,
    "eon_utils.notebook.scrubber.Scrubber": SCRUBBER,
}


def keep_widgets(nb: NotebookNode, path: Path) -> None:
    """Write the state of each scrubber and player beside the notebook, and name it in the output.

    The same state makes the same bytes. Outputs that show no widget with saved state stay as they
    are; so do other widgets, whose scripts are not the package's.

    Args:
        nb: an executed notebook, changed in place.
        path: of the notebook.
    """
    saved = nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    kept: dict[str, NotebookNode] = {}
    for output, name in named_views(nb, path.name[:2]):
        key = output.get("data", {}).get(VIEW, {}).get("model_id", "")
        model = saved.get(key, {})
        if model.get("state", {}).get("_anywidget_id") not in SCRIPTS:
            continue
        if key not in kept:
            file = f"{FOLDER}/{name}.zip"
            data = pack(model)
            with whole_file(path.parent / file) as partial:
                partial.write_bytes(data)
            kept[key] = NotebookNode(file=file, sha256=hashlib.sha256(data).hexdigest())
        output.metadata[KEY] = kept[key]


def named_views(nb: NotebookNode, phase: str) -> Iterator[tuple[NotebookNode, str]]:
    """The outputs that show a widget, or did when they were made, each with a name.

    Args:
        nb: a notebook, executed or committed: the names are the same.
        phase: the number of the lesson, with which each name begins.
    """
    number = 0
    for output in outputs(nb):
        metadata = output.get("metadata", {})
        if VIEW in output.get("data", {}) or KEY in metadata:
            number += 1
            name = metadata.get("screenshot") or f"widget_{number}"
            yield output, f"{phase}_{name.removeprefix(f'{phase}_')}"


def restore_widgets(nb: NotebookNode, folder: Path) -> list[str]:
    """Put the state of widgets from their files back into a notebook, as if it had just run.

    Args:
        nb: a committed notebook, changed in place.
        folder: where its widgets/ is.

    Returns:
        For each file that is missing or damaged, whose output stays a still picture: a line that
        says so.
    """
    state = {}
    problems = []
    for output in outputs(nb):
        named = output.get("metadata", {}).get(KEY)
        if not named:
            continue
        try:
            state[named.file] = unpack((folder / named.file).read_bytes(), named.sha256)
        except (OSError, ValueError) as error:
            wrong = "is missing" if isinstance(error, FileNotFoundError) else f"{error}"
            remedy = f"make notebooks ONLY={Path(named.file).name[:2]}"
            problems.append(f"{named.file} {wrong}: a still picture stays; to mend it: {remedy}")
        else:
            output.data[VIEW] = {"model_id": named.file}
    if state:
        widgets = nb.metadata.setdefault("widgets", NotebookNode())
        widgets[STATE] = nbformat.from_dict({"state": state})
    return problems


def remove_unnamed(folder: Path, notebooks: Sequence[NotebookNode]) -> None:
    """Remove the files of widgets in `folder`/widgets that none of its notebooks names."""
    metadata = [output.get("metadata", {}) for nb in notebooks for output in outputs(nb)]
    named = {folder / each[KEY].file for each in metadata if KEY in each}
    for file in (folder / FOLDER).glob("*.zip"):
        if file not in named:
            file.unlink()


def pack(model: dict[str, Any]) -> bytes:
    """A file of a widget's saved model, as Jupyter has it: what is shown, but not the script."""
    jupyters = {*AnyWidget.class_trait_names(sync=True), "_esm", "_css"}
    state = {name: value for name, value in model["state"].items() if name not in jupyters}
    parts = {"state.json": json.dumps(state, sort_keys=True, separators=(",", ":")).encode()}
    for buffer in model["buffers"]:
        (name,) = buffer["path"]
        parts[f"{name}.webp"] = b64decode(buffer["data"])
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for name in sorted(parts):
            entry = ZipInfo(name)  # of a fixed date
            entry.create_system = 3  # on every system
            archive.writestr(entry, parts[name])
    return file.getvalue()


def unpack(data: bytes, sha256: str) -> dict[str, Any]:
    """The model of a widget, as Jupyter saves it, from what `pack` made.

    Args:
        data: the file.
        sha256: of the file, as its notebook has it.

    Raises:
        ValueError: for any other file.
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError("is damaged, or of another run")
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        state = json.loads(parts.pop("state.json"))
        state |= {"_esm": SCRIPTS[state["_anywidget_id"]], "_css": CSS}
    except Exception as error:  # what archives and their parts raise shares no base class
        raise ValueError("holds no widget of the course") from error
    buffers = []
    for name, part in parts.items():
        text = b64encode(part).decode()
        buffers.append({"path": [Path(name).stem], "encoding": "base64", "data": text})
    return {"model_module": "anywidget", "state": state, "buffers": buffers}
