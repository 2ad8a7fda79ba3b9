"""What is committed and handed out: notebooks with outputs, the ledger, screenshots, student copies."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.sign import NotebookNotary

from eon_utils.config import ROOT
from eon_utils.course.runner import read_ledger, run, say, select, write_json
from eon_utils.course.site import VIEW, images, pivot

BEGIN, END = "<!-- ledger:begin -->", "<!-- ledger:end -->"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
YOUR_TURN = "# Your turn: write your solution here."


def save_notebooks(only: str = "", clean_only: bool = False, root: Path = ROOT) -> int:
    """Run the committed notebooks under `laptop` and save their outputs, cleaned, in place.

    A notebook that fails keeps its old file. `clean_only` runs nothing and only cleans; it leaves the mark of
    outputs that are older than the code. Returns the exit status.
    """
    if clean_only:
        for path in select(only, root):
            nb = nbformat.read(path, as_version=4)
            tidy(nb)
            nb.metadata["eon"].setdefault("code_sha256", code_hash(nb))
            replace(path, nb)
        save_screenshots(root)
        return 0
    out, status = run("laptop", only, root=root)
    executed = [(path, nbformat.read(out / path.name, as_version=4)) for path in sorted(out.glob("*.ipynb"))]
    saved = [
        path.name[:2]
        for path, done in executed
        if done.metadata.eon.status == "ok" and take_outputs(root / "notebooks" / path.name, done)
    ]
    ledger = root / "data" / "ledger.json"
    rows = [r for r in read_ledger(ledger) if r["phase"] not in saved]
    rows += [r for r in read_ledger(out / "ledger.json") if r["phase"] in saved]
    ledger.parent.mkdir(exist_ok=True)
    write_json(ledger, sorted(rows, key=lambda r: r["phase"]))
    save_screenshots(root)
    say(f"saved: {', '.join(saved) or 'nothing'}")
    return status or int(len(saved) < len(executed))


def take_outputs(path: Path, done: NotebookNode) -> bool:
    """Put the outputs of an executed copy into the notebook at `path`; False if its code has changed."""
    nb = nbformat.read(path, as_version=4)
    if code_hash(nb) != code_hash(done):
        say(f"{path.name} was edited while it ran, and is left as it is: run it again")
        return False
    for cell, result in zip(code_cells(nb), code_cells(done), strict=True):
        cell.outputs, cell.execution_count = result.outputs, result.execution_count
    tidy(nb)
    nb.metadata["eon"]["code_sha256"] = code_hash(nb)
    replace(path, nb)
    return True


def tidy(nb: NotebookNode) -> None:
    """Keep of a notebook what a reader sees: no widget state or views, no times, no random ids."""
    nb.metadata = NotebookNode(
        eon={k: v for k, v in nb.metadata.get("eon", {}).items() if k == "code_sha256"},
        kernelspec=KERNEL,
        language_info={"name": "python"},
    )
    nb.nbformat_minor = max(nb.nbformat_minor, 5)
    count = 0
    for i, cell in enumerate(nb.cells, 1):
        cell.id = f"cell-{i:02d}"
        cell.metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k in ("tags", "jupyter")})
        if "solution" in cell.metadata.get("tags", []):
            cell.metadata["jupyter"] = {"source_hidden": True}  # folded, so that nobody reads it by accident
        if cell.cell_type != "code":
            continue
        count += cell.execution_count is not None
        cell.execution_count = count if cell.execution_count is not None else None
        outputs: list[NotebookNode] = []
        for output in cell.outputs:
            output.get("data", {}).pop(VIEW, None)
            if "execution_count" in output:
                output.execution_count = cell.execution_count
            if outputs and output.get("name") and output.get("name") == outputs[-1].get("name"):
                outputs[-1].text += output.text  # the kernel splits what it prints where time passes
            else:
                outputs.append(output)
        cell.outputs = outputs


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    """The code cells that the author wrote, in order."""
    code = [c for c in nb.cells if c.cell_type == "code"]
    return [c for c in code if "injected-parameters" not in c.metadata.get("tags", [])]


def code_hash(nb: NotebookNode) -> str:
    """One number for all code of a notebook: when it differs from the saved one, the outputs are stale."""
    return hashlib.sha256("\0".join(c.source for c in code_cells(nb)).encode()).hexdigest()


def replace(path: Path, nb: NotebookNode) -> None:
    """Write a notebook whole or not at all, and sign it."""
    part = path.with_suffix(".part")
    nbformat.write(nb, part)
    os.replace(part, path)
    NotebookNotary().sign(nb)


def save_screenshots(root: Path = ROOT) -> None:
    """Write each named output as screenshots/NAME.png, remove the others, renew the README's table."""
    folder, readme = root / "screenshots", root / "README.md"
    folder.mkdir(exist_ok=True)
    stale = set(folder.glob("*.png"))
    for path in select(root=root):
        for output in images(nbformat.read(path, as_version=4)):
            if name := output.metadata.get("screenshot"):
                target = folder / f"{name}.png"
                target.write_bytes(base64.b64decode(output.data["image/png"]))
                stale.discard(target)
    for path in stale:
        path.unlink()
    if readme.exists():
        rows = read_ledger(root / "data" / "ledger.json")
        readme.write_text(with_table(readme.read_text(encoding="utf-8"), rows), encoding="utf-8")


def with_table(text: str, rows: Sequence[dict]) -> str:
    """The README's text with the tables between its two marks, one a phase, made anew from ledger rows."""
    if BEGIN not in text or END not in text:
        return text
    tables = []
    for phase in dict.fromkeys(row["phase"] for row in rows):
        head, *body = pivot([row for row in rows if row["phase"] == phase])
        lines = [head, ["---" if h in ("phase", "model") else "---:" for h in head], *body]
        if body:
            tables.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    made = "\n\n".join(tables)
    return f"{text.split(BEGIN)[0]}{BEGIN}\n{made}\n{END}{text.split(END, 1)[1]}"


def make_student(out: Path, root: Path = ROOT) -> list[Path]:
    """Copies of the notebooks to work in: solutions emptied, outputs removed.

    Raises FileExistsError when `out` holds something: it may be somebody's work.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty; choose another --out, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    for path in select(root=root):
        nb = nbformat.read(path, as_version=4)
        for cell in nb.cells:
            if "solution" in cell.metadata.get("tags", []):
                cell.source = YOUR_TURN if cell.cell_type == "code" else "*Your turn.*"
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nb.metadata.pop("eon", None)
        nbformat.write(nb, out / path.name)
    for notes in (root / "notebooks").glob("*.md"):
        shutil.copy(notes, out)
    return sorted(out.glob("*.ipynb"))
