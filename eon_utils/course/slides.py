"""Slides of the lessons, made from the cells of the notebooks that are tagged as such.

A cell whose metadata has `slideshow.slide_type` = `slide` becomes one. A text cell shows its first
heading and what is said first below it; a code cell shows its figures, scrubbers and players under
the last heading. Its text is the guess that the reader is asked for, or what is said first after
it. All that is said between two slides goes into the notes of the speaker. `slideshow` may have
more entries: `title`; `show`, which is `code`, `table` or the name of a figure; `say`, the words of
the notes with which the slide's text begins.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from eon_utils.config import ROOT
from eon_utils.course.extension import STATIC, as_text
from eon_utils.course.handout import write_handout
from eon_utils.course.outputs import guesses, kind_of, title_and_question
from eon_utils.course.runner import make_empty, select
from eon_utils.course.site import SETTINGS, run_sphinx
from eon_utils.course.widgets import FOLDER, KEY
from eon_utils.data.files import scratch_folder
from eon_utils.notebook.display import SUFFIXES

FEW = 190  # characters: two lines of a slide
EXERCISES = "Exercises"  # what is said below this heading is no note
SENTENCE = re.compile(r"(?:(?<=[.?!])|(?<=[.?!][*)])|(?<=[.?!]\*\*))\s+(?=[A-Z*(`])")
REVEAL = "revealjs/plugin"  # in the package sphinx-revealjs, reveal.js beside it
SITES = {"html_theme", "html_theme_options", "copybutton_selector"}  # settings of the site alone
DECKS = {name: value for name, value in SETTINGS.items() if name not in SITES} | {
    "extensions": ["myst_nb", "eon_utils.course.extension", "sphinx_revealjs"],
    # MyST-NB knows no order of preference for this builder
    "nb_mime_priority_overrides": [
        ("revealjs", kind, rank) for rank, kind in enumerate(["text/html", *SUFFIXES])
    ],
    "revealjs_html_theme": "revealjs-simple",
    "revealjs_style_theme": "white",
    "revealjs_static_path": [str(STATIC)],
    "revealjs_css_files": [f"{REVEAL}/highlight/zenburn.css", "slides.css"],
    "revealjs_js_files": [("slides.js", {"defer": "defer"})],
    "revealjs_use_section_ids": True,
    "revealjs_script_plugins": [
        {"name": "RevealNotes", "src": f"{REVEAL}/notes/notes.js"},
        {"name": "RevealHighlight", "src": f"{REVEAL}/highlight/highlight.js"},
    ],
    "revealjs_script_conf": {
        "width": 1280,
        "height": 720,
        "margin": 0,
        "maxScale": 4,
        "center": False,
        "display": "flex",
        "hash": True,
        "slideNumber": "c/t",
        "transition": "none",
    },
}


@dataclass
class Slide:
    """One slide: what stands on it, and what the speaker says."""

    title: str
    text: str  # Markdown
    notes: list[str]  # Markdown, a part of a cell each
    cell: NotebookNode | None = None  # whose code or outputs are shown


def build_slides(
    only: str = "", run: Path | None = None, out: Path | None = None, root: Path = ROOT
) -> Path:
    """Build a deck a lesson, a page that leads to them, and the handout. Nothing is run.

    Args:
        only: these lessons, as "02,03"; empty: all that have slides.
        run: the folder of a run; None: the committed notebooks.
        out: a folder that is empty or new; None: `root`/build/slides, which is made anew.
        root: of the course.

    Returns:
        The path of index.html.

    Raises:
        ValueError: when a notebook is not there or has no slides.
        FileExistsError: when `out` holds something.
    """
    paths = select(only, root)
    if run:
        paths = [run / path.name for path in paths if (run / path.name).exists()]
    decks = {path: slides_of(nbformat.read(path, as_version=4)) for path in paths}
    empty = [path.name for path, slides in decks.items() if not slides]
    if len(empty) == len(decks) or (only and empty):
        remedy = "give cells the metadata slideshow.slide_type = slide"
        raise ValueError(f"no slides in {', '.join(empty) or run}; {remedy}")
    if out:
        make_empty(out)
    else:
        out = root / "build" / "slides"
    with scratch_folder(out) as folder:
        source, made = folder / "source", folder / "html"
        write_decks({path: slides for path, slides in decks.items() if slides}, source, root)
        run_sphinx(source, made, folder / "trees", DECKS, "revealjs")
        write_handout(select(root=root), made / "handout.html")
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
    return out / "index.html"


def write_decks(decks: dict[Path, list[Slide]], source: Path, root: Path) -> None:
    """Write what Sphinx makes decks of: a notebook a lesson, widgets, pictures, an index."""
    (source / "notebooks").mkdir(parents=True)
    if (root / "screenshots").is_dir():
        shutil.copytree(root / "screenshots", source / "screenshots")
    lines = ["# Eye of Newt", ""]
    for path, slides in decks.items():
        title = title_and_question(nbformat.read(path, as_version=4), path.stem)[0]
        lines.append(f"- [{as_text(title)}](notebooks/{path.stem}.ipynb)")
        nbformat.write(deck(slides), source / "notebooks" / path.name)
        if (path.parent / FOLDER).is_dir() and not (source / "notebooks" / FOLDER).exists():
            shutil.copytree(path.parent / FOLDER, source / "notebooks" / FOLDER)
    lines += ["", '<p><a href="handout.html">The handout, to print</a></p>', ""]
    toctree = ["```{toctree}", ":hidden:", "", *(f"notebooks/{path.stem}" for path in decks), "```"]
    (source / "index.md").write_text("\n".join([*lines, *toctree]), encoding="utf-8")


# --- from a notebook to slides ---


def slides_of(nb: NotebookNode) -> list[Slide]:
    """The slides of a notebook, in order; see the head of this module."""
    slides: list[Slide] = []
    heading, lead = "", []
    current = False  # no heading since the last slide: what is said is about it
    for cell in nb.cells:
        about = cell.metadata.get("slideshow", {})
        tagged = about.get("slide_type") == "slide"
        if cell.cell_type == "markdown":
            before, parts = split_at_headings(cell.source)
            if slides and before and heading != EXERCISES:
                add_reading(slides[-1], before, current)
            current = current and not parts
            if tagged:
                title, body = parts.pop(0)
                slides.append(Slide(about.get("title", title), first_said(body), [body]))
            if parts:
                heading = parts[-1][0]
                lead = [body for title, body in parts if title != EXERCISES]
        elif tagged:
            asked = guesses("\n\n".join(lead))
            slides.append(Slide(about.get("title", heading), "".join(asked[:1]), lead, cell))
            lead, current = [], True
    for slide in slides:
        if slide.cell and "say" in slide.cell.metadata.slideshow:
            slide.text = said(slide, slide.cell.metadata.slideshow.say)
        if not slide.text and slide.notes:  # nothing was said after it
            slide.text = sentences(prose(slide.notes[0])[-1:])
    return slides


def said(slide: Slide, words: str) -> str:
    """What a slide's notes say, from these words on.

    Raises:
        ValueError: when the notes do not have them.
    """
    for part in slide.notes:
        for block in prose(part):
            if words in block:
                return sentences([block[block.index(words) :]])
    raise ValueError(
        f"slide {slide.title!r}: nothing near it says {words!r}; correct say in its cell's metadata"
    )


def add_reading(slide: Slide, text: str, about_it: bool) -> None:
    """Add what is said after a slide's cell to its notes, and the first of it to the slide."""
    if slide.cell and about_it and not slide.text:
        slide.text = sentences(prose(text))
    slide.notes.append(text)


def split_at_headings(source: str) -> tuple[str, list[tuple[str, str]]]:
    """The text before the first heading of a Markdown cell, then each heading with its text.

    Examples:
        >>> split_at_headings("It is so.\\n\\n## Why?\\n\\nNobody knows.")
        ('It is so.', [('Why?', 'Nobody knows.')])
    """
    before, *rest = re.split(r"^#{1,3} (.+)$", source, flags=re.M)
    return before.strip(), [
        (title, body.strip()) for title, body in zip(rest[::2], rest[1::2], strict=True)
    ]


def paragraphs(text: str) -> list[str]:
    """The blocks of a Markdown text; a formula, list or table is one."""
    return [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()]


def prose(text: str) -> list[str]:
    """The paragraphs of a text, without formulas, lists, tables, pictures, code and HTML."""
    return [block for block in paragraphs(text) if not re.match(r"\$\$|[-|!<#]|\d+\. |```", block)]


def sentences(blocks: Sequence[str]) -> str:
    """The first sentences of the first paragraph, one at least, as many as a slide has room for.

    Examples:
        >>> sentences(["It explodes. " + "An error of 1 is black for white. " * 9])[:13]
        'It explodes. '
    """
    text = ""
    for sentence in SENTENCE.split(" ".join(blocks[0].split())) if blocks else []:
        if text and len(text) + len(sentence) > FEW and text.count("*") % 2 == 0:
            break
        text = f"{text} {sentence}".strip()
    return text


def first_said(body: str) -> str:
    """What stands on the slide of a text cell, out of what it says under its heading.

    That is the guess it asks for; or its list; or its first sentences, and the first formula. The
    title's cell has its question and its picture.
    """
    blocks = paragraphs(body)
    lists = [block for block in blocks if block.startswith("- ")]
    pictures = [block for block in blocks if block.startswith("![")]
    formulas = [block for block in blocks if block.startswith("$$")]
    if pictures:
        return "\n\n".join([*prose(body)[:1], pictures[0]])
    if asked := guesses(body):
        return asked[0]
    if lists:
        return lists[0]
    return "\n\n".join([sentences(prose(body)), *formulas[:1]])


# --- from slides to what Sphinx reads ---


def deck(slides: Sequence[Slide]) -> NotebookNode:
    """A notebook of slides: a heading, the text, the figure, and notes, for each."""
    cells = []
    for number, slide in enumerate(slides):
        show = slide.cell.metadata.slideshow.get("show", "") if slide.cell else ""
        parts = [f"{'##' if number else '#'} {slide.title}"]
        if slide.text:
            parts.append(f":::{{container}} say\n{slide.text}\n:::")
        if slide.cell and show == "code":
            parts.append(f"```python\n{slide.cell.source}\n```")
        cells.append(nbformat.v4.new_markdown_cell(without_links("\n\n".join(parts))))
        if slide.cell and show != "code":
            shown = nbformat.v4.new_code_cell("# hidden", metadata={"tags": ["remove-input"]})
            shown.outputs = shown_outputs(slide.cell, show)
            if guesses(slide.text) and not any(KEY in out.metadata for out in shown.outputs):
                shown.metadata.tags.append("answer")  # it comes with the next key
            cells.append(shown)
        notes = without_links("\n\n".join(slide.notes))
        if notes:
            fence = "::::::{revealjs-notes}\n"
            cells.append(nbformat.v4.new_markdown_cell(f"{fence}{notes}\n::::::"))
    return nbformat.v4.new_notebook(cells=cells)


def shown_outputs(cell: NotebookNode, show: str) -> list[NotebookNode]:
    """The outputs of a cell that are shown: its figures, the one named `show`, or its tables."""
    shown = []
    for output in cell.outputs:
        data = output.get("data", {})
        name = output.get("metadata", {}).get("screenshot")
        is_table = "<table" in data.get("text/html", "")
        if is_table if show == "table" else kind_of(output) and show in ("", name):
            shown.append(output)
    return shown


def without_links(text: str) -> str:
    """Markdown whose links are their text; pages are elsewhere. Pictures stay.

    Examples:
        >>> without_links("[notebook 02](02_deep.ipynb) goes on; ![a cat](cat.png)")
        'notebook 02 goes on; ![a cat](cat.png)'
    """
    return re.sub(r"(?<!!)\[([^]]*)\]\([^)]*\)", r"\1", text)
