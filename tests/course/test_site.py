"""The site of the committed notebooks: built without training, whole, and usable by everybody."""

import json
import os
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import PurePosixPath
from urllib.parse import unquote, urldefrag

import nbformat
import pytest
import yaml
from browser import CHROMIUM, STOPWATCH

from eon_utils.course import extension, site
from eon_utils.course.grid import Sweep, write_asked
from eon_utils.course.outputs import outputs

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1366, "height": 768}
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH")


@pytest.fixture(scope="module")
def built(repo, tmp_path_factory):
    """What `make site` does on a fresh clone: what it said, how long it took, the site's folder."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("notebooks", "data", "eon_utils", "screenshots"):
        (root / name).symlink_to(repo / name, target_is_directory=True)
    for name in ("RESULTS.md", "GUIDE.md"):
        (root / name).symlink_to(repo / name)
    command = [sys.executable, "-m", "eon_utils", "site", "--root", str(root)]
    env = {key: value for key, value in os.environ.items() if key != "EON_REPOSITORY"}
    start = time.monotonic()
    done = subprocess.run(command, cwd=repo, env=env, capture_output=True, text=True)
    seconds = time.monotonic() - start
    print(f"the site was built in {seconds:.1f} s")
    return done, seconds, root / "build" / "site"


@pytest.fixture(scope="module")
def pages(built):
    """Path -> text of every page."""
    folder = built[2]
    files = [file for file in folder.rglob("*.html") if "_static" not in file.parts]
    return {file.relative_to(folder).as_posix(): file.read_text("utf-8") for file in files}


class Links(HTMLParser):
    """What a page links to, what it loads, and what in it can be linked to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loaded, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id"))
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        elif address := attrs.get("src") or attrs.get("href"):
            self.loaded.append(address)


# --- what is there ---


def test_it_is_built_soon_and_without_a_word(built):
    done, seconds, folder = built
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "index.html")
    assert done.stderr == "" and seconds < 120
    assert {path.name for path in folder.parent.iterdir()} == {"site"}, "nothing else is left"


def test_lessons_notes_and_cards_are_pages(repo, pages):
    sources = [*repo.glob("notebooks/*.*"), *repo.glob("data/*.md")]
    sources += repo.glob("eon_utils/models/weights/*.md")
    names = {path.relative_to(repo).with_suffix(".html").as_posix() for path in sources}
    assert set(pages) == names | {
        f"{page}.html" for page in ("index", "results", "figures", "guide", "search")
    }


def test_the_first_page_leads_to_each_lesson(repo, pages):
    index = pages["index.html"]
    start = re.search(r'<a class="[^"]*sd-btn[^"]*" href="([^"]*)"', index)
    assert start[1] == "notebooks/00_start_here.html"
    cards = index.split('class="sd-card ')[1:]
    notebooks = sorted(repo.glob("notebooks/*.ipynb"))
    assert len(cards) == len(notebooks)
    for card, path in zip(cards, notebooks, strict=True):
        first = nbformat.read(path, 4).cells[0].source
        assert first.split("\n")[0].removeprefix("# ") in card
        assert f'href="notebooks/{path.stem}.html"' in card and "?" in card
        assert re.search(rf'src="_images/{path.stem}\.(png|jpg|svg)"', card)
        assert re.search(r"\d (min|s) to run", card) and "claims hold" in card


def test_every_link_leads_somewhere(built, pages):
    folder = built[2]
    parsed = {name: Links(text) for name, text in pages.items()}
    for name, page in parsed.items():
        local = [url for url in page.links + page.loaded if not re.match(r"\w+:", url)]
        for address in local:
            path, anchor = urldefrag(unquote(address).split("?")[0])
            target = (folder / PurePosixPath(name).parent / path).resolve() if path else None
            assert target is None or target.is_file(), f"{name} -> {address}"
            other = target.relative_to(folder.resolve()).as_posix() if target else name
            if anchor and other in parsed and other != "search.html":
                assert anchor in parsed[other].ids, f"{name} -> {address}"
    assert "data/prior.html" in {
        os.path.normpath(f"notebooks/{url}")
        for url in parsed["notebooks/05_generalized_next_frame.html"].links
    }


def test_nothing_comes_from_outside(built, pages):
    for name, text in pages.items():
        outside = [url for url in Links(text).loaded if re.match(r"//|(?!data:)\w+:", url)]
        assert outside == [], name
        assert extension.POLICY in text, name
    for css in built[2].rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", css.read_text("utf-8")), css


def test_the_glossarys_words_can_be_linked_to(repo, pages):
    words = re.findall(r"^\| \*\*(.+?)\*\*", (repo / "notebooks/glossary.md").read_text(), re.M)
    page = pages["notebooks/glossary.html"]
    assert page.count('<dt id="term-') == len(words) > 50
    assert '<dt id="term-autoencoder">' in page and "01_image_reconstruction_sanity.html" in page


def test_figures_have_numbers_captions_and_descriptions(repo, pages):
    for path in repo.glob("notebooks/*.ipynb"):
        page = pages[f"notebooks/{path.stem}.html"]
        numbers = [int(n) for n in re.findall(r'<span class="caption-text">Figure (\d+)\. ', page)]
        assert numbers == list(range(1, len(numbers) + 1)) and numbers, path.stem
        assert not re.search(r'<img(?![^>]*alt="[^"])', page.split("<article")[1]), path.stem


def test_the_list_of_figures_leads_to_each(repo, pages):
    listed = re.findall(r'href="(notebooks/[^"]+#figure-\d+)"', pages["figures.html"])
    there = [
        f"notebooks/{path.stem}.html#{figure}"
        for path in sorted(repo.glob("notebooks/*.ipynb"))
        for figure in re.findall(
            r'<figure[^>]* id="(figure-\d+)"', pages[f"notebooks/{path.stem}.html"]
        )
    ]
    assert listed == there and len(there) > 50


def test_long_code_that_only_draws_is_folded(pages):
    page = pages["notebooks/01_image_reconstruction_sanity.html"]
    folded = re.findall(r"<details.*?</details>", page, re.S)
    assert [part for part in folded if "codes" in part and "psnr" in part]
    assert not [part for part in folded if "DenseAutoencoder" in part or "huber_loss" in part]


def test_words_of_the_glossary_say_what_they_mean(repo, pages):
    glossary = (repo / "notebooks/glossary.md").read_text("utf-8")
    firsts = {word.lower(): n for word, _, n in extension.WORDS.findall(glossary)}
    for path in repo.glob("notebooks/0[1-6]*.ipynb"):
        page = pages[f"notebooks/{path.stem}.html"]
        terms = re.findall(r'<a class="eon-term" href="([^"]+)"[^>]* title="([^"]+)">([^<]+)', page)
        assert len(terms) > 15, path.stem
        for address, said, word in terms:
            assert address.startswith("glossary.html#term-") and len(said) > 10
            assert firsts[word.lower()] <= path.stem[:2] and word.lower() not in extension.EVERYDAY


def test_solutions_are_folded(pages):
    page = pages["notebooks/01_image_reconstruction_sanity.html"]
    assert page.count('<p class="collapsed admonition-title">Solution</p>') == 3
    assert "<details open" not in page


def test_kept_widgets_are_in_their_pages(repo, pages):
    """The state of each is in the page itself: of a page from the disk nothing else is read."""
    for path in repo.glob("notebooks/*.ipynb"):
        named = {
            output.metadata.widget.file
            for output in outputs(nbformat.read(path, 4))
            if "widget" in output.get("metadata", {})
        }
        page = pages[f"notebooks/{path.stem}.html"]
        assert set(re.findall(r'class="eon-widget" data-model="([^"]*)"', page)) == named
        assert ('id="eon-widgets"' in page) == bool(named)


def test_results_are_those_of_the_ledger(repo, pages):
    rows = json.loads((repo / "data/ledger.json").read_text())
    page = pages["results.html"]
    assert all(row["model"] in page for row in rows if "<" not in row["model"])
    assert "Numbers</em>: so many in the code" in page, "with what RESULTS.md says of them"
    assert 'href="results.html"' in pages["guide.html"]
    assert 'href="data/noise_sweep.html"' in page, "the committed sweep"


def test_sweeps_are_part_of_the_results(tmp_path, repo):
    (tmp_path / "notebooks").symlink_to(repo / "notebooks", target_is_directory=True)
    (notebook,) = repo.glob("notebooks/00_*.ipynb")
    for name, note in {"my sweep": True, "latest": False}.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "index.html").write_text("a page")
        if note:
            sweep = Sweep(notebook, {"seed": [0, 1], "noise": [0.5]})
            write_asked(sweep, tmp_path / "runs" / name)
    index = site.build_pages([notebook], [], tmp_path, tmp_path / "site")
    page = (index.parent / "results.html").read_text("utf-8")
    assert '<a href="sweeps/my%20sweep.html">my sweep</a>' in page
    assert "seed = 0, 1; noise = 0.5" in page and "latest" not in page
    assert [path.name for path in index.parent.glob("sweeps/*")] == ["my sweep.html"]


# --- one setting names the repository ---


def test_launch_buttons_need_the_repository(pages):
    assert not [name for name, text in pages.items() if "mybinder" in text or "colab" in text]


def test_launch_buttons_lead_to_the_repository(tmp_path, repo, monkeypatch):
    monkeypatch.setattr(site, "REPOSITORY", "https://github.com/someone/newt")
    paths = [*repo.glob("notebooks/00_*.ipynb"), *repo.glob("notebooks/06_*.ipynb")]
    site.build_pages(paths, [], repo, tmp_path / "site")
    page = (tmp_path / "site" / "notebooks" / "00_start_here.html").read_text("utf-8")
    lab = "?urlpath=lab/tree/notebooks/00_start_here.ipynb"
    assert f"https://mybinder.org/v2/gh/someone/newt/main{lab}" in page
    colab = "https://colab.research.google.com/github/someone/newt/blob/main/notebooks"
    assert f"{colab}/00_start_here.ipynb" in page
    last = tmp_path / "site" / "notebooks" / "06_transferring_the_prior.html"
    assert 'href="https://github.com/someone/newt/blob/main/README.md"' in last.read_text("utf-8")


def test_the_workflow_publishes_what_make_site_builds(repo):
    flow = yaml.safe_load((repo / ".github" / "workflows" / "pages.yml").read_text("utf-8"))
    steps = [step for job in flow["jobs"].values() for step in job["steps"]]
    assert "make site" in [step.get("run") for step in steps]
    (upload,) = [s for s in steps if s.get("uses", "").startswith("actions/upload-pages-artifact")]
    assert upload["with"]["path"] == "build/site"
    (build,) = [step for step in steps if step.get("run") == "make site"]
    assert "github.repository" in build["env"]["EON_REPOSITORY"]


# --- in a browser, from the disk ---


@pytest.fixture
def open_page(chromium, built):
    """Opens a page of the site; nothing may be fetched from outside, and no script may fail."""
    opened, wrong = [], []

    def open_page(name, size=DESK, scheme="light"):
        def listen(request):
            if request.url.startswith("http"):
                wrong.append(f"{name}: {request.url}")

        def hear(line):
            icons = "fontawesome"  # older themes ask for these twice, once in vain
            if line.type == "error" and icons not in line.text + line.location["url"]:
                wrong.append(f"{name}: {line.text}")

        page = chromium.new_page(viewport=size, color_scheme=scheme)
        page.on("pageerror", lambda error: wrong.append(f"{name}: {error}"))
        page.on("console", hear)
        page.on("request", listen)
        page.goto((built[2] / name).as_uri())
        opened.append(page)
        return page

    yield open_page
    for page in opened:
        page.close()
    assert wrong == []


@pytest.mark.browser
@needs_browser
def test_no_page_is_wider_than_a_phone(open_page, pages):
    for name in pages:
        page = open_page(name, PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], name
        page.close()


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize(
    ("size", "scheme", "lesson"),
    [
        (DESK, "light", "01_image_reconstruction_sanity"),
        (DESK, "dark", "01_image_reconstruction_sanity"),
        (PHONE, "light", "05_generalized_next_frame"),  # with formulas wider than a phone
    ],
    ids=["light", "dark", "phone"],
)
def test_no_serious_barrier(open_page, size, scheme, lesson):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for name in ("index", "results", "notebooks/glossary", f"notebooks/{lesson}"):
        page = open_page(f"{name}.html", size, scheme)
        page.wait_for_timeout(500)  # the theme's scripts
        found = axe.run(page, options={"preload": False}).response["violations"]
        serious = [
            (one["id"], node["html"][:200], node["failureSummary"][:300])
            for one in found
            for node in one["nodes"]
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], f"{name}, {scheme}: {serious[:5]}"
        page.close()


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_word_is_explained_under_mouse_and_keyboard(open_page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page("notebooks/02_deep_image_reconstruction.html", scheme=scheme)
    term = page.query_selector(".eon-term")
    said = term.get_attribute("data-bs-original-title")  # where Bootstrap keeps it
    term.hover()
    assert page.wait_for_selector(".tooltip.show").inner_text() == said
    page.mouse.move(2, 2)
    page.wait_for_selector(".tooltip", state="detached")
    term.focus()
    shown = page.wait_for_selector(".tooltip.show")
    assert term.get_attribute("aria-describedby") == shown.get_attribute("id")
    page.wait_for_timeout(300)  # it fades in
    found = axe.run(page, context=".tooltip", options={"preload": False}).response["violations"]
    assert not [one["id"] for one in found if one["impact"] in ("serious", "critical")]
    page.keyboard.press("Escape")
    page.wait_for_selector(".tooltip", state="detached")


@pytest.mark.browser
@needs_browser
def test_a_word_is_explained_by_a_tap_and_looked_up_by_another(chromium, built):
    page = chromium.new_page(viewport=PHONE, has_touch=True)
    address = (built[2] / "notebooks/02_deep_image_reconstruction.html").as_uri()
    page.goto(address)
    term = page.query_selector(".eon-term")
    said = term.get_attribute("data-bs-original-title")  # where Bootstrap keeps it
    term.tap()
    shown = page.wait_for_selector(".tooltip.show")
    box = shown.bounding_box()
    assert shown.inner_text() == said and page.url == address
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
    term.tap()
    page.wait_for_url("**/glossary.html#term-*")
    page.close()


@pytest.mark.browser
@needs_browser
def test_pictures_are_not_tinted_in_the_dark(open_page):
    page = open_page("notebooks/01_image_reconstruction_sanity.html", scheme="dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", ground)[:3])) < 150
    for picture in page.query_selector_all("article img"):
        assert picture.evaluate("e => getComputedStyle(e).filter") == "none"


@pytest.mark.browser
@needs_browser
def test_theme_is_chosen_by_a_button(open_page):
    page = open_page("index.html")
    for mode in ("dark", "light"):
        for _ in range(3):  # older themes have no menu; their button goes round
            if page.evaluate("document.documentElement.dataset.mode") != mode:
                page.click(".theme-switch-button:visible")
                if item := page.query_selector(f".dropdown-menu [data-mode={mode}]"):
                    item.click()
        assert page.evaluate("document.documentElement.dataset.theme") == mode


@pytest.mark.browser
@needs_browser
def test_search_from_the_disk_by_keyboard(open_page):
    """Ctrl+K asks, Escape leaves; a word of a lesson and one of the glossary are found."""
    page = open_page("index.html")
    page.keyboard.press("Control+k")
    dialog = page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_function("e => !e.open", arg=dialog)
    page.keyboard.press("Control+k")
    page.keyboard.type("autoencoder")
    page.keyboard.press("Enter")
    page.wait_for_selector("ul.search li a")
    page.wait_for_timeout(500)
    found = [link.get_attribute("href") for link in page.query_selector_all("ul.search li a")]
    assert any(url.startswith("notebooks/01_image_reconstruction") for url in found)
    assert any("notebooks/glossary.html#term-autoencoder" in url for url in found)


@pytest.mark.browser
@needs_browser
def test_keyboard_reaches_the_text_and_opens_solutions(open_page):
    page = open_page("notebooks/01_image_reconstruction_sanity.html")
    page.keyboard.press("Tab")
    assert "main-content" in page.evaluate("document.activeElement.href")
    fold = page.locator("details.hide", has_text="Solution").first.element_handle()
    fold.query_selector("summary").focus()
    page.keyboard.press("Enter")
    assert (
        fold.evaluate("e => e.open") and fold.query_selector("summary").inner_text() == "Solution"
    )


@pytest.mark.browser
@needs_browser
def test_the_contents_follow_the_reader(open_page):
    page = open_page("notebooks/01_image_reconstruction_sanity.html")
    page.query_selector("#why-it-explodes").scroll_into_view_if_needed()
    page.evaluate("location.hash = '#why-it-explodes'")
    page.wait_for_selector(".bd-sidebar-secondary a.active[href='#why-it-explodes']")


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize(
    ("size", "scheme"),
    [(DESK, "light"), (DESK, "dark"), (PHONE, "light")],
    ids=["light", "dark", "phone"],
)
def test_the_scrubber_of_lesson_01_moves(open_page, size, scheme):
    """Keys change pictures and words, play goes on, the marks of its axis are apart."""
    page = open_page("notebooks/01_image_reconstruction_sanity.html", size, scheme)
    root = page.wait_for_selector(".eon-scrub[data-ready=true]")
    root.evaluate(STOPWATCH)
    slider = root.query_selector("input[type=range]")
    caption = root.query_selector(".eon-caption")
    pixels, words = [], []
    for key in ("Home", "ArrowRight", "End"):
        slider.press(key)
        pixels.append(page.evaluate("pixels()"))
        words.append(caption.inner_text())
    assert len(set(pixels)) == len(set(words)) == 3, words
    play = root.query_selector(".eon-play")
    play.click()
    page.wait_for_function(
        "([e, known]) => !known.includes(e.textContent)", arg=[caption, words], timeout=60_000
    )
    play.click()
    box = root.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= size["width"]
    marks = root.query_selector_all(".eon-chart [text-anchor=end]")
    heights = sorted(mark.bounding_box()["y"] for mark in marks)
    assert all(after - before >= 12 for before, after in pairwise(heights))


@pytest.mark.browser
@needs_browser
def test_every_kept_widget_moves(open_page, pages):
    for name, text in pages.items():
        count = text.count('class="eon-widget"')
        if count:
            page = open_page(name)
            ready = "n => document.querySelectorAll('.eon[data-ready=true]').length === n"
            page.wait_for_function(ready, arg=count)
            for slider in page.query_selector_all(".eon input[type=range]"):
                said = []
                for key in ("Home", "End"):
                    slider.press(key)
                    said.append(slider.get_attribute("aria-valuetext"))
                assert said[0] != said[1], f"{name}: {said}"
            page.close()
