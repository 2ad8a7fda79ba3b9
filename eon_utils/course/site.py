"""The static site: notebooks as plain pages with live scrubbers, without kernel or network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import mimetypes
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
from jinja2 import Environment, FileSystemLoader, pass_context
from jinja2.runtime import Context
from latex2mathml.converter import convert
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from eon_utils.config import ROOT
from eon_utils.course.ledger import duration, pivot, read_ledger
from eon_utils.course.outputs import VIEW, count_claims, images, outputs

STATIC = Path(__file__).parent / "static"
NOTEBOOKS = ROOT / "notebooks"
STATE = "application/vnd.jupyter.widget-state+json"
CSS, JS = ((STATIC / name).read_text(encoding="utf-8") for name in ("site.css", "site.js"))
CELLS = """
{%- extends 'classic/base.html.j2' -%}
{%- block codecell -%}
{%- set tags = cell.metadata.get('tags', []) -%}
{%- if 'solution' in tags -%}
<details class="solution"><summary>Solution</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock -%}
{%- block input -%}
{%- set hidden = cell.metadata.get('jupyter', {}).get('source_hidden') -%}
{%- if hidden and 'solution' not in cell.metadata.get('tags', []) -%}
<details class="source"><summary>Code</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock -%}
"""
TEMPLATES = Environment(loader=FileSystemLoader(STATIC), autoescape=True, trim_blocks=True)


class Renderer(IPythonRenderer):
    """Notebook Markdown as HTML: formulas as MathML, headings kept, script-like tags as text."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401
        super().__init__(escape=False, **options)
        self.headings: list[tuple[int, str, str]] = []  # level, id, text

    def heading(self, text: str, level: int, **attrs: Any) -> str:  # noqa: ANN401
        markup = super().heading(text, level, **attrs)
        found = re.search(r'id="([^"]*)"', markup)
        self.headings.append((level, html.unescape(found[1]) if found else "", plain(text)))
        return markup

    def block_html(self, html: str) -> str:
        return harmless(super().block_html(html))

    def inline_html(self, html: str) -> str:
        return harmless(super().inline_html(html))

    def block_math(self, body: str) -> str:
        return f'<span class="formula">{mathml(body, "block")}</span>'

    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")


def harmless(markup: str) -> str:
    """`markup` with tags that run, load or restyle something shown as text."""
    tag = r"<(?=/?(script|iframe|object|embed|style|link|meta|base)\b)"
    return re.sub(tag, "&lt;", markup, flags=re.I)


def mathml(tex: str, display: str) -> str:
    """A formula as MathML; one that latex2mathml cannot read is shown as its source."""
    try:
        return convert(tex, display=display)
    except Exception:  # latex2mathml's errors share no base class
        return f"<code>{html.escape(tex)}</code>"


def plain(markup: str) -> str:
    """The text of a piece of HTML, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", markup)).split())


def inserted(cell: NotebookNode) -> bool:
    """True for a cell that papermill put into a failed notebook; the page has its own banner."""
    return "papermill-error-cell-tag" in cell.metadata.get("tags", [])


def describe(nb: NotebookNode, href: str) -> dict:
    """What the index says of a notebook: title, question, picture, status, time, claims, error."""
    texts = [c.source for c in nb.cells if c.cell_type == "markdown" and not inserted(c)]
    renderer = Renderer(exclude_anchor_links=True)
    first = MarkdownWithMath(renderer=renderer).render(next((t for t in texts if "# " in t), ""))
    paragraphs = [plain(text) for text in re.findall(r"<p>(.*?)</p>", first, re.S)]
    paragraphs = [text.removeprefix("The question: ") for text in paragraphs if text]
    questions = [text[: text.index("?") + 1] for text in paragraphs if "?" in text]
    question = next(iter(questions or paragraphs), "")
    title = next((text for level, _, text in renderer.headings if level == 1), Path(href).stem)
    pictures = list(images(nb))
    named = [o for o in pictures if o.metadata.get("screenshot")]
    # what moves makes the best cover
    named.sort(key=lambda o: not o.metadata.screenshot.endswith("_scrubber"))
    best = next(iter(named or pictures), None)
    eon = nb.metadata.get("eon", {})
    seconds = eon.get("seconds") or nb.metadata.get("papermill", {}).get("duration") or 0
    return {
        "href": href,
        "title": title,
        "question": question[:1].upper() + question[1:],
        "picture": best.data["image/png"].replace("\n", "") if best else "",
        "status": eon.get("status", ""),
        "seconds": seconds,
        "duration": duration(seconds),
        "claims": count_claims(nb),
        "error": eon.get("error"),
    }


def take_widgets(nb: NotebookNode) -> dict:
    """Replace every widget view by a place for it; returns what these need: models, code, styles.

    A view keeps its poster in its place until it runs. A view without saved state, or of a widget
    that is no anywidget, is only its poster, or a line that says where it lives.
    """
    saved = nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    store: dict[str, dict] = {"models": {}, "esm": {}, "css": {}}
    for output in outputs(nb):
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
            alt = html.escape(output.get("metadata", {}).get("image/png", {}).get("alt", ""))
            png = output.data.get("image/png", "").replace("\n", "")
            poster = f'<img src="data:image/png;base64,{png}" alt="{alt}">' if png else ""
            place = f'<div class="eon-widget" data-model="{key}">{poster}</div>'
            output.data = {"text/html": place}
        elif not {"image/png", "text/html"} & set(output.data):
            note = "This control needs a running kernel: open the notebook in JupyterLab to move it"
            output.data = {"text/html": f'<p class="note">{note}.</p>'}
    nb.metadata.pop("widgets", None)
    return store if store["models"] else {}


def drop_code_styles(nb: NotebookNode) -> None:
    """Take the style sheet from IPython's highlighted source; it knows light pages only."""
    for output in outputs(nb):
        markup = output.get("data", {}).get("text/html", "")
        if 'class="highlight"' in markup:
            output.data["text/html"] = re.sub(r"<style>.*?</style>", "", markup, flags=re.S)


def render_cells(nb: NotebookNode) -> tuple[str, list[tuple[str, str]]]:
    """A notebook's cells as HTML, and its second-level headings as (id, text)."""
    headings: list[tuple[str, str]] = []

    @pass_context
    def markdown2html(context: Context, text: str) -> str:
        cell = context.get("cell", {})
        renderer = Renderer(attachments=cell.get("attachments", {}))
        markup = MarkdownWithMath(renderer=renderer).render(text)
        headings.extend((id, text) for level, id, text in renderer.headings if level == 2)
        return markup

    exporter = HTMLExporter(template_name="basic", raw_template=CELLS)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.register_filter("markdown2html", markdown2html)
    body, _ = exporter.from_notebook_node(nb)
    return body, headings


def mend_links(body: str, known: set[str], source: Path) -> str:
    """Let links to notebooks lead to their pages, drop links to other files, embed pictures."""

    def link(found: re.Match) -> str:
        target = Path(found[1]).with_suffix(".html").name
        return f'href="{target}{found[2] or ""}"' if target in known else ""

    def picture(found: re.Match) -> str:
        path = (source / unquote(html.unescape(found[2]))).resolve()
        kind, _ = mimetypes.guess_type(path)
        if not (path.is_file() and path.is_relative_to(source.parent.resolve()) and kind):
            return found[0]
        return f"{found[1]}data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"

    body = re.sub(r'href="(?![a-z]+:|/|#)([^"#?]+)(#[^"]*)?"', link, body)
    return re.sub(r'(<img\b[^>]*?\bsrc=")(?![a-z]+:|/)([^"]+)', picture, body)


def notebook_to_html(
    path: Path, out: Path, pages: Sequence[dict] = (), source: Path = NOTEBOOKS
) -> dict:
    """Write one notebook (or a Markdown file) as a page that needs nothing beside it.

    Args:
        path: of the notebook.
        out: the page.
        pages: the descriptions of all pages of the site, in order, for contents and links.
        source: the folder that the notebook's relative picture paths start from.

    Returns:
        The page's own description.

    Raises:
        FileNotFoundError: for a missing file.
        ValueError: for a file that is no notebook.
    """
    nb = read(path)
    page = describe(nb, out.name)
    nb.cells = [c for c in nb.cells if not inserted(c)]
    store = take_widgets(nb)
    drop_code_styles(nb)
    css = CSS + "".join(store.pop("css", {}).values())
    body, toc = render_cells(nb)
    place = next((i for i, other in enumerate(pages) if other["href"] == out.name), None)
    text = TEMPLATES.get_template("site.html").render(
        title=page["title"],
        page=page,
        pages=pages,
        toc=toc,
        body=Markup(mend_links(body, {p["href"] for p in pages}, source)),
        before=pages[place - 1] if place else None,
        after=pages[place + 1] if place is not None and place + 1 < len(pages) else None,
        css=Markup(css.replace("</", "<\\/")),
        widgets=Markup(json.dumps(store).replace("<", "\\u003c")) if store else "",
        js=Markup(JS),
    )
    out.write_text(text, encoding="utf-8")
    return page


def read(path: Path) -> NotebookNode:
    """A notebook, or a Markdown file as a notebook of one cell."""
    if path.suffix == ".md":
        cell = nbformat.v4.new_markdown_cell(path.read_text(encoding="utf-8"))
        return nbformat.v4.new_notebook(cells=[cell])
    try:
        return nbformat.read(path, as_version=4)
    except nbformat.reader.NotJSONError as error:
        raise ValueError(f"{path} is no notebook: {error}") from None


def build_site(run: Path, notebooks: Path = NOTEBOOKS) -> Path:
    """Build the site of one run into `run`/site: a page per notebook and an index.

    Args:
        run: the folder of the run.
        notebooks: where the notebooks came from; its Markdown files become pages too.

    Returns:
        The path of index.html.

    Raises:
        FileNotFoundError: when `run` holds no notebook.
    """
    executed = sorted(run.glob("*.ipynb"))
    if not executed:
        advice = "make one with: python -m eon_utils run"
        raise FileNotFoundError(f"{run} holds no executed notebook; {advice}")
    out = run / "site"
    out.mkdir(parents=True, exist_ok=True)
    sources = [*executed, *sorted(notebooks.glob("*.md"))]
    pages = [describe(read(path), f"{path.stem}.html") for path in sources]
    for path, page in zip(sources, pages, strict=True):
        notebook_to_html(path, out / page["href"], pages, notebooks)
    rows = read_ledger(run / "ledger.json")
    facts = {key: sorted({str(r[key]) for r in rows}) for key in ("preset", "seed", "device")}
    index = out / "index.html"
    text = TEMPLATES.get_template("site.html").render(
        title="Eye of Newt",
        subtitle="Unsupervised models of visual dynamics, one runnable notebook a phase.",
        run=" · ".join(f"{key} {', '.join(values)}" for key, values in facts.items() if values),
        pages=pages[: len(executed)],
        notes=pages[len(executed) :],
        table=pivot(rows),
        css=Markup(CSS),
    )
    index.write_text(text, encoding="utf-8")
    return index
