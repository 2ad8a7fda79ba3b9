"""The handout: two pages to print, with a figure, the question and room for a guess, a lesson."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from string import Template

import nbformat
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from eon_utils.course.extension import STATIC, mathml
from eon_utils.course.outputs import guesses, title_and_question
from eon_utils.course.site import cover
from eon_utils.data.files import whole_file
from eon_utils.notebook.display import mime_of

TEMPLATE = STATIC / "handout.html"
LESSON = Template("""<article>
$picture
<div><h2>$title</h2><p class="question">$question</p>$guesses<div class="room"></div></div>
</article>""")


def write_handout(notebooks: Sequence[Path], out: Path) -> None:
    """Write the handout as a page that needs no other file.

    Args:
        notebooks: of the course, in order; their pictures are those of their outputs.
        out: the page.
    """
    page = Template(TEMPLATE.read_text(encoding="utf-8"))
    lessons = "\n".join(lesson(path) for path in notebooks)
    with whole_file(out) as partial:
        partial.write_text(page.substitute(lessons=lessons), encoding="utf-8")


def lesson(path: Path) -> str:
    """What the handout has of a notebook: picture, title, question, what is to be guessed."""
    nb = nbformat.read(path, as_version=4)
    title, question = title_and_question(nb, path.stem)
    texts = [cell.source for cell in nb.cells if cell.cell_type == "markdown"]
    asked = [guess for text in texts for guess in guesses(text)]
    markdown = MarkdownIt("commonmark").use(
        dollarmath_plugin, renderer=lambda tex, options: mathml(tex, "inline")
    )
    picture = cover(nb)
    source = f"data:{mime_of(picture)};base64,{b64encode(picture).decode()}" if picture else ""
    return LESSON.substitute(
        picture=f'<img src="{source}" alt="">' if picture else "<span></span>",
        title=markdown.renderInline(title),
        question=markdown.renderInline(question),
        guesses="".join(markdown.render(guess) for guess in asked),
    )
