"""The static site: Sphinx makes pages of notebooks and notes that need no kernel and no network."""

from __future__ import annotations

import html
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from eon_utils.config import REPOSITORY, ROOT
from eon_utils.course.extension import STATIC, as_text
from eon_utils.course.grid import in_words, read_asked
from eon_utils.course.ledger import Row, dense_tables, duration, markdown_table, read_ledger
from eon_utils.course.outputs import (
    count_claims,
    images,
    picture_of,
    read_notebook,
    title_and_question,
)
from eon_utils.course.widgets import FOLDER
from eon_utils.data.files import scratch_folder
from eon_utils.notebook.display import SUFFIXES, mime_of

NOTES = ("notebooks", "data", "eon_utils/models/weights")  # whose Markdown files are pages, too
PICTURES = {".gif", ".jpeg", ".jpg", ".png", ".svg", ".webp"}
SETTINGS = {
    "project": "Eye of Newt",
    "html_title": "Eye of Newt",
    "extensions": ["myst_nb", "sphinx_copybutton", "sphinx_design", "eon_utils.course.extension"],
    "smartquotes": False,  # what a text says is what is meant
    "nb_execution_mode": "off",
    "nb_ipywidgets_js": {},
    "nb_merge_streams": True,
    "myst_enable_extensions": ["amsmath", "colon_fence", "dollarmath"],
    "myst_dmath_allow_digits": False,  # "$5 or $6" is no formula
    "myst_heading_anchors": 3,
    "html_math_renderer": "mathml",
    "html_theme": "sphinx_book_theme",
    "html_context": {"default_mode": "auto"},
    "html_favicon": str(STATIC / "icon.svg"),
    "html_use_index": False,
    "html_show_sphinx": False,
    "html_show_copyright": False,
    "copybutton_selector": ".cell_input pre, .bd-article > section div.highlight > pre",
    # links to files that are no pages are shown as text; measured values are no output to show
    "suppress_warnings": ["myst.xref_missing", "myst.header", "mystnb.unknown_mime_type"],
}
THEME = {
    "repository_branch": "main",
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "use_download_button": True,
    "navbar_persistent": [],
    "search_bar_text": "Search",
}
FIGURES = "# Figures\n\nAll figures of the lessons, with what they show.\n"  # the list is added
SWEEPS = "Each ran a notebook with every combination of some parameters' values."
EXTRA = "extra"  # folder of the sources: what is in it becomes part of the site as it is
LAUNCH = {
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
    "notebook_interface": "jupyterlab",
}


def build_site(run: Path | None = None, root: Path = ROOT) -> Path:
    """Build a site: a page a lesson, results, cards, glossary. Nothing is run.

    Args:
        run: the folder of a run, whose site is `run`/site; None: the committed notebooks, whose
            site is `root`/build/site.
        root: of the course; its Markdown files become pages, too.

    Returns:
        The path of index.html.

    Raises:
        FileNotFoundError: when there is no notebook.
    """
    folder = run or root / "notebooks"
    notebooks = sorted(folder.glob("[0-9]*.ipynb"))
    if not notebooks:
        advice = "make one with: python -m eon_utils run"
        raise FileNotFoundError(f"{folder} holds no executed notebook; {advice}")
    rows = read_ledger((run or root / "data") / "ledger.json")
    return build_pages(notebooks, rows, root, (run or root / "build") / "site")


def build_pages(notebooks: Sequence[Path], rows: Sequence[Row], root: Path, out: Path) -> Path:
    """Build a site completely or not at all; the folders of its sources are those of the course."""
    with scratch_folder(out) as folder:
        source = folder / "source"
        write_sources(source, notebooks, rows, root)
        made = folder / "html"
        run_sphinx(source, made, folder / "trees", site_settings())
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
    return out / "index.html"


def site_settings() -> dict[str, Any]:
    """The settings of the site; buttons lead to the repository where it has a name."""
    theme = dict(THEME)
    if REPOSITORY:
        theme |= {"repository_url": REPOSITORY, "use_repository_button": True}
        theme |= {"launch_buttons": LAUNCH}
    return SETTINGS | {"html_theme_options": theme, "html_extra_path": [EXTRA]}


def run_sphinx(
    source: Path, out: Path, trees: Path, settings: Mapping[str, Any], builder: str = "html"
) -> None:
    """Make pages of a folder of sources."""
    told = {"confoverrides": dict(settings), "status": None, "warning": sys.stderr}
    with patch_docutils(), docutils_namespace():
        Sphinx(source, None, out, trees, builder, **told).build()


def write_sources(source: Path, notebooks: Sequence[Path], rows: Sequence[Row], root: Path) -> None:
    """Put together what the site is made of: notebooks, notes, pictures, index, results."""
    for folder in (*NOTES, "screenshots", "."):
        (source / folder).mkdir(parents=True, exist_ok=True)
        kinds = {*PICTURES, ".md"} if folder in NOTES else PICTURES
        for path in (root / folder).glob("*.*"):
            if path.suffix in kinds:
                shutil.copy(path, source / folder)
    widgets = notebooks[0].parent / FOLDER
    if widgets.is_dir():
        shutil.copytree(widgets, source / "notebooks" / FOLDER)
    (source / "covers").mkdir()
    (source / EXTRA / "sweeps").mkdir(parents=True)
    cards = []
    titles = {}
    for path in notebooks:
        shutil.copy(path, source / "notebooks")
        nb = read_notebook(path)
        titles[path.name[:2]] = title_and_question(nb, path.stem)[0]
        file = ""
        if picture := cover(nb):
            file = f"covers/{path.stem}{SUFFIXES[mime_of(picture)]}"
            (source / file).write_bytes(picture)
        cards.append(card(nb, path.stem, file, minutes(rows, path.name[:2])))
    (source / "results.md").write_text(results(rows, titles), encoding="utf-8")
    (source / "figures.md").write_text(FIGURES, encoding="utf-8")
    committed = notebooks[0].parent == root / "notebooks"
    copy_pages(root, source, ("RESULTS.md", "GUIDE.md") if committed else ("GUIDE.md",))
    with open(source / "results.md", "a", encoding="utf-8") as page:
        page.write(sweeps(source, root))
    (source / "index.md").write_text(index(cards, rows, source), encoding="utf-8")


def copy_pages(root: Path, source: Path, names: Sequence[str]) -> None:
    """Copy what stands beside the README, under names in small letters, and links between them."""
    for name in names:
        if (root / name).exists():
            text = (root / name).read_text(encoding="utf-8")
            text = re.sub(r"\]\((RESULTS|GUIDE)\.md", lambda link: link[0].lower(), text)
            (source / name.lower()).write_text(text, encoding="utf-8")


# --- pages that are made from what was run ---


def cover(nb: NotebookNode) -> bytes | None:
    """The picture of a notebook's card: a scrubber's where there is one."""
    pictures = list(images(nb))
    named = [output for output in pictures if output.metadata.get("screenshot")]
    named.sort(key=lambda output: not output.metadata.screenshot.endswith("_scrubber"))
    best = next(iter(named or pictures), None)
    return picture_of(best) if best else None


def minutes(rows: Sequence[Row], phase: str) -> str:
    """How long a notebook took; empty when that was not measured."""
    times = [row for row in rows if row["phase"] == phase and row["metric"] == "notebook"]
    return duration(times[-1]["value"]) if times else ""


def card(nb: NotebookNode, name: str, picture: str, took: str) -> str:
    """What the index says of a notebook: title, question, picture, status, time, claims, error."""
    title, question = title_and_question(nb, name)
    eon = nb.metadata.get("eon", {})
    known = [eon.get("status", ""), took and f"{took} to run", count_claims(nb)]
    lines = [f":::{{grid-item-card}} {as_text(title)}"]
    lines += [f":link: notebooks/{name}", ":link-type: doc"]
    lines += [f":img-top: {picture}", ":img-alt:"] if picture else []
    lines += ["", as_text(question)]
    if eon.get("error"):
        lines += ["", as_text(eon["error"]["message"])]
    lines += ["", " · ".join(as_text(fact) for fact in known if fact), ":::"]
    return "\n".join(lines)


def facts(rows: Sequence[Row]) -> str:
    """With which settings the values were measured: "preset laptop · seed 0 · device cpu"."""
    values = {key: sorted({str(row[key]) for row in rows}) for key in ("preset", "seed", "device")}
    return " · ".join(f"{key} {', '.join(found)}" for key, found in values.items() if found)


def results(rows: Sequence[Row], titles: Mapping[str, str]) -> str:
    """The page of measured values: a table a lesson, under its title."""
    parts = ["# Results", f"What the notebooks measured: {as_text(facts(rows)) or 'nothing yet'}."]
    for phase in dict.fromkeys(row["phase"] for row in rows):
        tables = dense_tables([row for row in rows if row["phase"] == phase])
        if tables:
            parts.append(f"## {as_text(titles.get(phase, phase))}")
        for table in tables:
            parts.append(markdown_table([[as_text(cell) for cell in line] for line in table]))
    return "\n\n".join(parts) + "\n"


def sweeps(source: Path, root: Path) -> str:
    """The section of the results that leads to sweeps: to notes in data/, and to pages in runs/.

    Args:
        source: of the site. The pages that sweeps in runs/ have are copied into it.
        root: of the course.
    """
    lines = []
    for note in sorted((source / "data").glob("*_sweep.md")):
        title = note.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{as_text(title)}](data/{note.name})")
    for page in sorted(root.glob("runs/*/index.html"), reverse=True):  # the newest first
        name = page.parent.name
        try:
            sweep = read_asked(page.parent, root)
        except ValueError:  # of something else
            continue
        shutil.copy(page, source / EXTRA / "sweeps" / f"{name}.html")
        link = f'<a href="sweeps/{quote(name)}.html">{html.escape(name)}</a>'
        what = as_text("; ".join(in_words(sweep.axes)))
        lines.append(f"- {link}: {as_text(sweep.notebook.stem)}, {what}")
    return "\n".join(["\n## Sweeps\n", SWEEPS, "", *lines, ""]) if lines else ""


def index(cards: Sequence[str], rows: Sequence[Row], source: Path) -> str:
    """The first page: what this is, where to start, a card a lesson, and the contents."""
    lessons = sorted(path.stem for path in source.glob("notebooks/*.ipynb"))
    notes = {
        folder: sorted(path.stem for path in source.glob(f"{folder}/*.md")) for folder in NOTES
    }
    beside = [name for name in ("results", "figures", "guide") if (source / f"{name}.md").exists()]
    parts = [
        "# Eye of Newt",
        "Unsupervised models of visual dynamics, one runnable notebook a phase.",
        f"As run with {as_text(facts(rows))}." if rows else "",
        f"```{{button-ref}} notebooks/{lessons[0]}\n:color: primary\nStart\n```",
        "\n".join(
            ["::::{grid} 1", ":class-container: eon-cards", ":gutter: 4", "", *cards, "::::"]
        ),
        toctree("Lessons", [f"notebooks/{name}" for name in lessons]),
        toctree("Beside them", [*beside, *(f"notebooks/{name}" for name in notes["notebooks"])]),
    ]
    for folder, caption in zip(NOTES[1:], ("Data", "Weights"), strict=True):
        if notes[folder]:
            parts.append(toctree(caption, [f"{folder}/{name}" for name in notes[folder]]))
    return "\n\n".join(parts) + "\n"


def toctree(caption: str, pages: Sequence[str]) -> str:
    """A list of pages for the side of each page."""
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"])
