"""An extension of Sphinx: what a notebook of the course needs beside MyST-NB to become a page.

Its widgets move without kernel or network, its figures have numbers and captions, its formulas are
MathML, the glossary's table is a glossary, and nothing is loaded from elsewhere.
"""

from __future__ import annotations

import hashlib
import html
import json
import posixpath
import re
from base64 import b64encode
from collections.abc import Container, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import nbformat
from docutils import nodes
from latex2mathml.converter import convert
from nbformat import NotebookNode
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging
from sphinx.util.nodes import make_id
from sphinx.writers.html5 import HTML5Translator

from eon_utils.course.outputs import (
    STATE,
    VIEW,
    alt_of,
    caption_of,
    images,
    inserted,
    kind_of,
    outputs,
    picture_of,
)
from eon_utils.course.widgets import named_views, restore_widgets

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
NO_KERNEL = "This control needs a running kernel: open the notebook in JupyterLab to move it."
# `file:` is 'self' where a page is opened from the disk
POLICY = "default-src 'self' file: data: blob: 'unsafe-inline'"
# What Colab has to run before a lesson, since it opens the notebook alone. Its own Jupyter stays as
# it is: newer packages of it need another start of the machine.
COLAB = '!pip install -q "eye-of-newt[data] @ git+{}" anywidget torchinfo onnx onnxruntime'
LONG = 10  # lines of code
TAUGHT = re.compile(r"^class |async for |\bawait |eon\.show_source", re.M)
WORDS = re.compile(r"^\| \*\*(.+?)\*\* \| (.+?) \| (\S+) \|$", re.M)  # of the glossary's table
# Words of the glossary that lessons use in their everyday meaning, too.
EVERYDAY = {"bend", "cell", "fitting", "shot", "way"}
PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


class Term(nodes.inline):
    """A word of the glossary, in a lesson."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx what is here; it calls this."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("builder-inited", lambda app: app.config.html_static_path.append(str(STATIC)))
    app.connect("source-read", read_source)
    app.add_node(Term, html=(open_term, close_term))
    app.connect("builder-inited", read_glossary)
    app.connect("doctree-read", finish_page, priority=400)  # before titles are collected
    app.connect("doctree-read", explain_terms)
    app.connect("doctree-resolved", list_figures)
    app.connect("html-page-context", finish_html, priority=900)  # after the theme's own
    app.add_css_file("site.css")
    app.add_js_file("site.js", loading_method="defer")
    app.connect("config-inited", open_notes)
    return {"parallel_read_safe": False}


# --- sources, before they are parsed ---


def read_source(app: Sphinx, page: str, source: list[str]) -> None:
    """Make a notebook ready for MyST-NB, and the glossary's table a glossary."""
    if page.endswith("glossary"):
        names = [PurePosixPath(name).name for name in app.env.found_docs]
        lessons = {name[:2]: f"{name}.ipynb" for name in names if name[:2].isdigit()}
        source[0] = glossary(source[0], lessons)
    path = Path(app.env.doc2path(page))
    if path.suffix == ".ipynb":
        nb = nbformat.reads(source[0], as_version=4)
        for problem in restore_widgets(nb, path.parent):
            log.warning(problem)
        repository = app.config.html_theme_options.get("repository_url")
        if repository and app.builder.name == "html":
            explain_colab(nb, repository)
        said = prepare(nb, PurePosixPath(page).name)
        source[0] = nbformat.writes(nb)
        app.env.metadata[page]["said"] = said  # until `finish_page`


def prepare(nb: NotebookNode, name: str) -> dict[str, tuple[str, str]]:
    """Change a notebook, called `name`, in place into what MyST-NB shows as we want it.

    Returns:
        The alternative texts and captions of its pictures, by what MyST-NB will call the files.
    """
    nb.cells = [cell for cell in nb.cells if not inserted(cell)]
    texts = [cell for cell in nb.cells if cell.cell_type == "markdown"]
    titles = [cell for cell in texts if re.match(r"\s*# ", cell.source)]
    if not titles:
        titles = [nbformat.v4.new_markdown_cell(f"# {as_text(name)}")]
        nb.cells[:0] = titles
    error = nb.metadata.pop("eon", {}).get("error")
    if error:
        stopped = as_text(f"This run stopped{error['where']}.")
        banner = f"\n\n```{{error}}\n{stopped}\n\n{as_text(error['message'])}\n```\n\n"
        heading, _, rest = titles[0].source.lstrip().partition("\n")
        titles[0].source = f"{heading}{banner}{rest}"
    for cell in texts:  # JupyterLab's anchors keep capitals, a page's do not
        cell.source = re.sub(r"\]\([^)\s]*#[^)\s]+\)", lower_anchor, cell.source)
    for cell in nb.cells:
        if "solution" in cell.metadata.get("tags", []):
            cell.metadata["tags"].append("hide-cell")
            prompts = {"code_prompt_show": "Solution", "code_prompt_hide": "Solution"}
            cell.metadata["mystnb"] = prompts
        elif cell.metadata.get("jupyter", {}).get("source_hidden") or is_beside(cell):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
            cell.metadata["mystnb"] = {"code_prompt_show": "Code", "code_prompt_hide": "Code"}
    drop_code_styles(nb)
    take_widgets(nb, name[:2])
    return picture_texts(nb)


def explain_colab(nb: NotebookNode, repository: str) -> None:
    """Say after a notebook's first cell what it needs in Colab, where a button leads."""
    lines = [
        "```{dropdown} To run this lesson in Colab",
        "The rocket at the top of this page leads there. Add this as the first cell:",
        "",
        "    " + COLAB.format(repository),
        "",
        "[What Binder and Colab need](../guide.md#binder-and-colab)",
        "```",
    ]
    nb.cells.insert(1, nbformat.v4.new_markdown_cell("\n".join(lines)))


def is_beside(cell: NotebookNode) -> bool:
    """True for long code that only draws or tabulates: a page folds it.

    What a lesson teaches stays open: set-up, short cells, models, trainings, source that is shown.
    """
    outputs = cell.get("outputs", [])
    draws = any(kind_of(output) or "text/html" in output.get("data", {}) for output in outputs)
    long = len(cell.source.splitlines()) > LONG
    return cell.cell_type == "code" and draws and long and not TAUGHT.search(cell.source)


def lower_anchor(link: re.Match) -> str:
    """A Markdown link to a heading, its anchor in small letters; others as they are."""
    address, _, anchor = link[0].partition("#")
    return link[0] if "//" in address else f"{address}#{anchor.lower()}"


def as_text(text: str) -> str:
    """Markdown that shows this text, whatever it holds, on one line."""
    return PUNCTUATION.sub(r"\\\1", " ".join(text.split()))


def drop_code_styles(nb: NotebookNode) -> None:
    """Take the style sheet from IPython's highlighted source; it knows light pages only."""
    for output in outputs(nb):
        markup = output.get("data", {}).get("text/html", "")
        if 'class="highlight"' in markup:
            output.data["text/html"] = re.sub(r"<style>.*?</style>", "", markup, flags=re.S)


def picture_texts(nb: NotebookNode) -> dict[str, tuple[str, str]]:
    """Alternative texts and captions, which MyST-NB does not read, by its names for the files."""
    texts = {}
    for output in images(nb):
        if alt_of(output):
            name = hashlib.sha256(picture_of(output)).hexdigest()
            texts[name] = alt_of(output), caption_of(output)
    return texts


def take_widgets(nb: NotebookNode, phase: str) -> None:
    """Replace every widget view by a place for it; the last place holds what all of them need.

    The place has the widget's name, by which a link leads to one of its steps (see site.js).

    A view keeps its poster in its place until it runs. A view without saved state, or of a widget
    that is no anywidget, is only its poster, or a line that says where it lives.
    """
    saved = nb.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    store: dict[str, dict] = {"models": {}, "esm": {}, "css": {}}
    last = None
    for output, name in list(named_views(nb, phase)):
        if VIEW not in output.get("data", {}):
            continue
        key = output.data.pop(VIEW)["model_id"]
        model = saved.get(key, {})
        if model.get("model_module") == "anywidget":
            state = dict(model["state"])
            source, css = state.pop("_esm"), state.pop("_css", "")
            esm, style = (hashlib.sha256(text.encode()).hexdigest()[:12] for text in (source, css))
            store["esm"][esm], store["css"][style] = source, css
            state = {k: v for k, v in state.items() if not k.startswith("_")}
            store["models"][key] = {"esm": esm, "state": state, "buffers": model.get("buffers", [])}
            poster = ""
            if kind := kind_of(output):
                data = b64encode(picture_of(output)).decode()
                alt = html.escape(alt_of(output))
                said = html.escape(caption_of(output))
                poster = f'<img src="data:{kind};base64,{data}" alt="{alt}" data-caption="{said}">'
            place = f'<div class="eon-widget" data-model="{key}" id="{name}">{poster}</div>'
            output.data = NotebookNode({"text/html": place})
            last = output
        elif not kind_of(output) and "text/html" not in output.data:
            output.data = NotebookNode({"text/html": f"<p>{NO_KERNEL}</p>"})
    if last:
        text = json.dumps(store).replace("<", "\\u003c")
        last.data["text/html"] += (
            f'<script type="application/json" id="eon-widgets">{text}</script>'
        )


def glossary(text: str, lessons: Mapping[str, str]) -> str:
    """Turn the table with the lines | **word** | meaning | lesson | into a glossary of Sphinx's.

    Args:
        text: of the page.
        lessons: names of files by the numbers of lessons.

    Examples:
        >>> print(glossary("| **flow** | how far each pixel moves | 04 |", {"04": "04_a.ipynb"}))
        ```{glossary}
        flow
          how far each pixel moves ([04](04_a.ipynb))
        ```
    """

    def entries(table: re.Match) -> str:
        linked = [
            (word, said, f"[{n}]({lessons[n]})" if n in lessons else n)
            for word, said, n in WORDS.findall(table[0])
        ]
        lines = "\n\n".join(f"{word}\n  {said} ({lesson})" for word, said, lesson in linked)
        return f"```{{glossary}}\n{lines}\n```"

    return re.sub(r"(?:^\|.*(?:\n|\Z))+", entries, text, flags=re.M)


# --- pages, before they are written ---


def finish_page(app: Sphinx, tree: nodes.document) -> None:
    """Give figures numbers and captions; mend the HTML that Markdown and outputs hold."""
    page = app.env.docname
    home = app.builder.get_relative_uri(page, "index") if app.builder.name == "html" else ""
    link_files(tree, page, app.config.html_theme_options.get("repository_url"), home)
    said = app.env.metadata[page].pop("said", {})
    figures: list[str] = []
    for node in list(tree.findall(lambda node: isinstance(node, nodes.image | nodes.raw))):
        caption = ""
        if isinstance(node, nodes.image):
            alt, caption = said.get(PurePosixPath(node["uri"]).stem, ("", ""))
            node["alt"] = alt or node.get("alt", "")
        elif isinstance(node, nodes.raw):
            mend_html(node, page, app.env.found_docs)
            pattern = r'class="eon-widget".*?<img [^>]*data-caption="([^"]*)"'
            poster = re.search(pattern, node.astext())
            caption = html.unescape(poster[1]) if poster else ""
        if caption and app.builder.name == "html":  # a slide has no room for captions
            figures.append(f"Figure {len(figures) + 1}. {caption}")
            figure = nodes.figure("", ids=[f"figure-{len(figures)}"])
            node.parent.replace(node, figure)
            figure += [node, nodes.caption("", figures[-1])]
    app.env.metadata[page]["figures"] = figures  # for `list_figures`


def link_files(tree: nodes.document, page: str, repository: str | None, home: str) -> None:
    """Let links to files that are no pages lead to the repository; without one, be text.

    What is the README in the repository is the first page here, `home`; slides have none.
    """
    for node in list(tree.findall(addnodes.pending_xref)):
        target = node["reftarget"]
        if (
            node["reftype"] != "myst"
            or node["refdomain"] == "doc"
            or not re.search(r"[./]", target)
        ):
            continue
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
        link = nodes.inline()
        if repository:
            link = nodes.reference(refuri=f"{repository}/blob/main/{path}")
        elif home and path.partition("#")[0] == "README.md":
            link = nodes.reference(refuri=home)
        node.parent.replace(node, link)
        link += node.children


def mend_html(node: nodes.raw, page: str, pages: Container[str]) -> None:
    """Let links lead to pages; outside outputs, show tags that run or load something as text."""

    def link(found: re.Match) -> str:
        if found[1].endswith(".html"):  # no source of Sphinx's
            return found[0]
        target = PurePosixPath(found[1]).with_suffix("").as_posix()
        known = posixpath.normpath(posixpath.join(posixpath.dirname(page), target)) in pages
        return f'href="{target}.html{found[2] or ""}"' if known else ""

    markup = node.astext()
    if "output" not in node["classes"]:
        tag = r"<(?=/?(script|iframe|object|embed|style|link|meta|base)\b)"
        markup = re.sub(tag, "&lt;", markup, flags=re.I)
        if markup != node.astext() and isinstance(node.parent, nodes.TextElement):
            node.parent.replace(node, nodes.Text(node.astext()))  # so that titles say it, too
            return
    markup = re.sub(r'href="(?![a-z]+:|/|#)([^"#?]+)(#[^"]*)?"', link, markup)
    node.children = [nodes.Text(markup)]


def list_figures(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Fill the page of figures: a list a lesson, in which each caption leads to its figure."""
    if page != "figures":
        return
    place = next(iter(tree.findall(nodes.section)))
    for lesson in sorted(app.env.found_docs):
        captions = app.env.metadata[lesson].get("figures", [])
        if not captions or not PurePosixPath(lesson).name[:2].isdigit():
            continue
        uri = app.builder.get_relative_uri(page, lesson)
        items = [
            nodes.list_item("", nodes.paragraph("", "", link(f"{uri}#figure-{n}", caption)))
            for n, caption in enumerate(captions, 1)
        ]
        title = app.env.titles[lesson].astext()
        section = nodes.section("", nodes.title("", title), ids=[nodes.make_id(title)])
        section += nodes.bullet_list("", *items)
        place += section


def link(uri: str, text: str) -> nodes.reference:
    """A link to a place in another page."""
    return nodes.reference("", text, refuri=uri, internal=True)


# --- words of the glossary ---


def read_glossary(app: Sphinx) -> None:
    """Keep the glossary's words, with what they mean and the lesson that explains them."""
    path = Path(app.srcdir) / "notebooks" / "glossary.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    app.env.eon_words = {  # pyright: ignore
        word: (re.sub(r"[*`]", "", said), lesson)
        for word, said, lesson in WORDS.findall(text)
        if word not in EVERYDAY
    }


def explain_terms(app: Sphinx, tree: nodes.document) -> None:
    """Let a lesson's words of the glossary say what they mean, once a section.

    A word that is printed bold is being explained there, and one of a later lesson is an everyday
    word here: both are left alone.
    """
    lesson = PurePosixPath(app.env.docname).name[:2]
    words = {word: said for word, (said, first) in app.env.eon_words.items() if first <= lesson}  # pyright: ignore
    if app.builder.name != "html" or not lesson.isdigit() or not words:
        return
    longest_first = sorted(words, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, longest_first))})(?![\w-])", re.I)
    of_lower = {word.lower(): word for word in words}
    page = app.builder.get_relative_uri(app.env.docname, "notebooks/glossary")
    for section in tree.findall(nodes.section):
        said: set[str] = set()
        for text in own_texts(section):
            parts: list[nodes.Node] = []
            rest = 0
            for found in pattern.finditer(text):
                word = of_lower[found[0].lower()]
                if word in said or (word != word.lower() and found[0] != word):
                    continue
                said.add(word)
                anchor = make_id(app.env, tree, "term", word)
                term = Term("", found[0], uri=f"{page}#{anchor}", meaning=words[word])
                parts += [nodes.Text(text[rest : found.start()]), term]
                rest = found.end()
            if parts:
                text.parent.replace(text, [*parts, nodes.Text(text[rest:])])


def own_texts(section: nodes.section) -> list[nodes.Text]:
    """The texts of a section's paragraphs and lists, without those of sections in it."""
    return [
        text
        for child in section.children
        if isinstance(child, nodes.paragraph | nodes.bullet_list | nodes.enumerated_list)
        for text in child.findall(nodes.Text)
        if isinstance(text.parent, nodes.paragraph | nodes.emphasis)
        and not isinstance(text.parent.parent, nodes.reference)
    ]


def open_term(writer: HTML5Translator, node: Term) -> None:
    """Begin a word of the glossary: a link with a tooltip, which the theme's Bootstrap shows."""
    said = html.escape(node["meaning"])
    writer.body.append(
        f'<a class="eon-term" href="{node["uri"]}" data-bs-toggle="tooltip" title="{said}">'
    )


def close_term(writer: HTML5Translator, node: Term) -> None:
    """End a word of the glossary."""
    writer.body.append("</a>")


def finish_html(app: Sphinx, page: str, template: str, context: dict, tree: object) -> None:
    """Forbid a page to load anything from elsewhere; let folds be named by what they say."""
    context["metatags"] = (
        context.get("metatags", "")
        + f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    )
    if "pagetitle" in context:  # the theme writes it as it is
        context["pagetitle"] = html.escape(context["pagetitle"])
    if "body" in context:
        context["body"] = context["body"].replace(' aria-label="Toggle hidden content"', "")


def open_notes(app: Sphinx, config: Config) -> None:
    """Let a speaker's notes be paragraphs and formulas; sphinx-revealjs writes plain text."""
    if "sphinx_revealjs" in app.extensions:
        begin, end = '<aside class="notes">', "</aside>"
        visit = (
            lambda writer, node: writer.body.append(begin),
            lambda writer, node: writer.body.append(end),
        )
        app.registry.translation_handlers["revealjs"]["revealjs_notes"] = visit


# --- formulas ---


def inline_math(writer: HTML5Translator, node: nodes.math) -> None:
    """Write a formula that stands in a line."""
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def block_math(writer: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula that stands alone."""
    writer.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def mathml(tex: str, display: str) -> str:
    """A formula as MathML; one that latex2mathml cannot read is shown as its source."""
    try:
        return convert(tex, display=display)
    except Exception:  # latex2mathml's errors share no base class
        return f"<code>{html.escape(tex)}</code>"
