"""The decks of the committed notebooks, their handout, and what the teaching notes say of them."""

import re

import nbformat
import pytest
from browser import CHROMIUM

from eon_utils.course import publish, slides
from eon_utils.course.extension import POLICY

LESSONS = ("01", "02", "03", "04", "05", "06")
PROJECTOR = {"width": 1280, "height": 720}
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH")


def read(repo, lesson):
    (path,) = repo.glob(f"notebooks/{lesson}_*.ipynb")
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def decks(repo):
    """The slides of each lesson."""
    return {lesson: slides.slides_of(read(repo, lesson)) for lesson in LESSONS}


@pytest.fixture(scope="module")
def built(repo, tmp_path_factory):
    """What `make slides` builds."""
    return slides.build_slides(out=tmp_path_factory.mktemp("decks") / "slides", root=repo).parent


# --- from cells to slides ---


def cell(kind, source, outputs=(), **about):
    made = getattr(nbformat.v4, f"new_{kind}_cell")(source)
    if about:
        made.metadata["slideshow"] = {"slide_type": "slide", **about}
    if outputs:
        made.outputs = list(outputs)
    return made


def picture(name):
    data = {"image/png": "iVBORw0KGgo="}
    return nbformat.v4.new_output("display_data", data, metadata={"screenshot": name})


def test_a_figure_stands_under_the_last_heading_with_what_is_said_of_it():
    nb = nbformat.v4.new_notebook(
        cells=[
            cell("markdown", "# A lesson\n\n**The question:** why?\n\n| a | table |", title="A"),
            cell("markdown", "It was so.\n\n## Look here\n\nLook at the left."),
            cell("code", "draw()", [picture("left"), picture("right")], show="right"),
            cell("markdown", "**Left is bright.** " + "Right is dark, and long. " * 12),
            cell("markdown", "## Exercises\n\nNot for the speaker."),
        ]
    )
    first, second = slides.slides_of(nb)
    assert first.title == "A" and first.text.strip() == "**The question:** why?"
    assert second.title == "Look here" and second.text.startswith("**Left is bright.** Right")
    assert len(second.text) < slides.FEW + 30
    assert second.notes[0] == "Look at the left." and "Not for" not in "".join(second.notes)
    made = slides.deck([first, second])
    shown = [one.metadata.screenshot for part in made.cells for one in part.get("outputs", [])]
    assert shown == ["right"]


def test_a_guess_comes_before_its_answer():
    asked = "**Your guess:** left or right?"
    nb = nbformat.v4.new_notebook(
        cells=[
            cell("markdown", f"# A lesson\n\nThere are two. {asked}\n\nMore."),
            cell("code", "draw()", [picture("left")], title="Guess"),
            cell("markdown", "Left."),
        ]
    )
    (slide,) = slides.slides_of(nb)
    assert slide.text == asked and slide.notes[-1] == "Left."
    assert "answer" in slides.deck([slide]).cells[1].metadata.tags


def test_words_that_nobody_says_are_an_error():
    cells = [cell("markdown", "# A\n\nB."), cell("code", "draw()", say="Nobody says")]
    with pytest.raises(ValueError, match="'Nobody says'; correct say"):
        slides.slides_of(nbformat.v4.new_notebook(cells=cells))


def test_a_lesson_without_slides_is_told(repo, tmp_path):
    with pytest.raises(ValueError, match="no slides in 00_start_here"):
        slides.build_slides("00", out=tmp_path / "out", root=repo)
    assert not (tmp_path / "out").exists()


def test_tags_of_slides_stay_when_notebooks_are_saved(repo):
    nb = nbformat.v4.new_notebook(cells=[cell("code", "1", title="One")])
    before = publish.code_hash(nb)
    publish.tidy(nb)
    assert nb.cells[0].metadata == {"slideshow": {"slide_type": "slide", "title": "One"}}
    assert publish.code_hash(nb) == before


# A widget is enlarged, and its chart drawn anew for it, over several frames of the browser.
SETTLED = """async () => {
  let before = "";
  for (let same = 0; same < 5; ) {
    await new Promise(requestAnimationFrame);
    const boxes = [...Reveal.getCurrentSlide().querySelectorAll(".eon *")];
    const now = JSON.stringify(boxes.map((e) => e.getBoundingClientRect()));
    same = now === before ? same + 1 : 0;
    before = now;
  }
}"""


# --- the decks of the course ---


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_has_eight_to_twelve_slides(decks, lesson):
    deck = decks[lesson]
    assert 8 <= len(deck) <= 12
    assert deck[0].title.startswith(lesson) and deck[-1].title == "Key points"
    titles = [slide.title for slide in deck]
    assert len(set(titles)) == len(titles)
    for slide in deck:
        assert 20 < len(slide.text) < 700 and slide.notes, slide.title
    for slide in deck[:-1]:
        if slide.cell:
            show = slide.cell.metadata.slideshow.get("show", "")
            assert show == "code" or slides.shown_outputs(slide.cell, show), slide.title


def test_decks_need_nothing_from_outside(repo, built):
    pages = {path.name[:2]: path.read_text("utf-8") for path in built.glob("notebooks/*.html")}
    assert sorted(pages) == list(LESSONS)
    for page in pages.values():
        assert POLICY in page and '<aside class="notes">' in page
        loaded = re.findall(r'(?:src|<link[^>]*href)="([^"]+)"', page)
        assert loaded and not [url for url in loaded if re.match(r"//|https?:", url)]
    index = (built / "index.html").read_text("utf-8")
    assert all(f"notebooks/{path.name}" in index for path in built.glob("notebooks/*.html"))
    assert 'href="handout.html"' in index


def test_the_handout_asks_each_lessons_questions(repo, built):
    page = (built / "handout.html").read_text("utf-8")
    assert page.count("<article>") == page.count("<img ") == 7
    assert page.count("Your guess:") >= 6 and not re.search(r'(src|href)="http', page)


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("lesson", LESSONS)
def test_slides_fit_a_projector_and_move(chromium, built, lesson):
    (path,) = built.glob(f"notebooks/{lesson}_*.html")
    page = chromium.new_page(viewport=PROJECTOR)
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if "http" in request.url else 0)
    page.goto(path.as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    page.wait_for_function(
        "[...document.querySelectorAll('.eon-widget')].every(e => e.dataset.ready)"
    )
    moved = 0
    for number in range(page.evaluate("Reveal.getTotalSlides()")):
        page.evaluate("n => Reveal.slide(n)", number)
        page.wait_for_timeout(200)
        page.evaluate(SETTLED)
        outside = page.evaluate(
            """() => [...Reveal.getCurrentSlide().querySelectorAll(
                ':is(h1, h2, .say *, .cell *, pre):not(math *, aside *)')]
              .filter(e => e.getClientRects().length)
              .map(e => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])
              .filter(([, box]) => box.bottom > 720 || box.right > 1280).map(([what]) => what)"""
        )
        assert outside == [], f"slide {number + 1}"
        slider = page.query_selector("section.present section.present input[type=range]")
        if slider:
            slider.focus()
            page.keyboard.press("Home")
            page.keyboard.press("ArrowRight")
            assert slider.input_value() == "1", f"slide {number + 1}"
            moved += 1
        assert page.evaluate("Reveal.getIndices().h") == number
    assert wrong == [] and (moved or lesson == "06")
    page.close()


@pytest.mark.browser
@needs_browser
def test_the_handout_is_two_pages(chromium, built, tmp_path):
    page = chromium.new_page()
    page.goto((built / "handout.html").as_uri())
    printed = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page[^s]", printed)) == 2
    page.close()


# --- the teaching notes ---


@pytest.fixture(scope="module")
def notes(repo):
    """Heading -> text, of the teaching notes."""
    text = (repo / "notebooks" / "teaching_notes.md").read_text("utf-8")
    _, *parts = re.split(r"^##+ (.+)$", text, flags=re.M)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_minutes_add_up(notes):
    planned = 0
    for heading, text in notes.items():
        found = re.search(r"\((\d+) minutes\)", heading)
        total = 5 if heading.endswith("in five minutes") else int(found[1]) if found else 0
        rows = [int(row) for row in re.findall(r"^\| (\d+) \|", text, re.M)]
        if rows:
            assert total == sum(rows), heading
            planned += 1
    assert planned == 15, "six lessons, their five minutes, three plans"


def test_plans_have_the_lessons_minutes(notes):
    lesson = {}
    for heading in notes:
        if found := re.match(r"(\d\d) · .+\((\d+) minutes\)", heading):
            lesson[found[1]] = int(found[2])
    for heading in ("Day one (360 minutes)", "Day two (420 minutes)"):
        for minutes, number in re.findall(r"^\| (\d+) \| (0\d) \|", notes[heading], re.M):
            assert lesson.pop(number) == int(minutes)
    assert lesson == {}


def test_demonstrations_name_slides_that_are_there(notes, decks):
    for lesson, deck in decks.items():
        named = re.findall(r"^\| \d+ \| ([^|]+) \|", notes[f"{lesson} in five minutes"], re.M)
        assert len(named) >= 4 and set(named) <= {slide.title for slide in deck}
