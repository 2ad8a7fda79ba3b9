"""Widgets on a page from the disk: size, full screen, links to a step, a step as a picture."""

from __future__ import annotations

import base64
import io
from itertools import pairwise
from urllib.parse import urldefrag

import numpy as np
import pytest
from browser import CHROMIUM, fake_film, fake_history, moving_shapes, tensor
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from eon_utils.course.extension import STATIC, take_widgets
from eon_utils.course.outputs import STATE, VIEW
from eon_utils.notebook.player import play
from eon_utils.notebook.scrubber import scrub

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH: apt-get install chromium"),
]
LAPTOP = {"width": 1366, "height": 650}
PHONE = {"width": 390, "height": 800}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Widgets</title>
<style>:root {{ color-scheme: light dark }} main {{ max-width: 740px; margin: auto }}</style>
<main><h1>Widgets</h1>{places}</main>
<script>const DOCUMENTATION_OPTIONS = {{}};</script><script>{script}</script></html>"""


def saved(widget) -> dict:
    """The model of a widget, as a notebook saves it."""
    state = widget.get_state()
    buffers = []
    for name in [name for name, value in state.items() if isinstance(value, bytes)]:
        data = base64.b64encode(state.pop(name)).decode()
        buffers.append({"path": [name], "encoding": "base64", "data": data})
    return {"model_module": "anywidget", "state": state, "buffers": buffers}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page with four scrubbers, two of them of the same models, and a player."""
    runs = {f"V{i}": fake_history(speed=i / 2, snapshots=12) for i in range(1, 5)}
    titles = ["astronaut", "chelsea", "coffee"]
    widgets = [
        scrub(runs, titles, name="07_all"),
        scrub(runs, titles, metric="error", axis="cell size"),
        scrub(runs, titles),
        scrub(
            {"first step learnt": fake_film(), "every step learnt": fake_film()}, name="07_films"
        ),
        play(tensor(moving_shapes(4, 6)), titles="abcd", name="07_clips"),
    ]
    models = {f"m{i}": saved(widget) for i, widget in enumerate(widgets)}
    views = []
    for key, widget in zip(models, widgets, strict=True):
        metadata = {"screenshot": widget.name} if widget.name else {}
        views.append(new_output("display_data", {VIEW: {"model_id": key}}, metadata=metadata))
    nb = new_notebook(cells=[new_code_cell("", outputs=views)])
    nb.metadata["widgets"] = {STATE: {"state": models}}
    take_widgets(nb, "07")
    places = "\n".join(view.data["text/html"] for view in nb.cells[0].outputs)
    script = (STATIC / "site.js").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("page") / "widgets.html"
    path.write_text(PAGE.format(places=places, script=script), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(chromium):
    page = chromium.new_page(viewport=LAPTOP)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: line.type == "error" and problems.append(line.text))
    yield page
    page.close()
    assert problems == []


def opened(page, address):
    """Open the page; its widgets in order."""
    page.goto("about:blank")  # so that another fragment is another visit
    page.goto(address)
    page.wait_for_function("() => document.querySelectorAll('.eon[data-ready=true]').length === 5")
    page.wait_for_timeout(100)
    return page.query_selector_all(".eon")


def spoken(root, slider: int = 0) -> str:
    inputs = root.query_selector_all("input[type=range]")
    return inputs[slider].get_attribute("aria-valuetext").split(";")[0]


def high(root) -> float:
    return root.bounding_box()["height"]


def picture_width(root) -> float:
    return root.query_selector("canvas").bounding_box()["width"]


def test_slider_chart_and_pictures_are_in_view_together(page, address):
    for root in opened(page, address):
        assert high(root) <= LAPTOP["height"]
        assert picture_width(root) > 80
        box = root.bounding_box()
        for part in root.query_selector_all("canvas, svg.eon-chart, input, button, .eon-caption"):
            inside = part.bounding_box()
            assert inside["x"] >= box["x"] and inside["y"] >= box["y"]
            assert inside["x"] + inside["width"] <= box["x"] + box["width"] + 1
            assert inside["y"] + inside["height"] <= box["y"] + box["height"] + 1


def test_a_phone_scrolls_in_one_direction(page, address):
    page.set_viewport_size(PHONE)
    for root in opened(page, address):
        assert picture_width(root) >= 56 and high(root) <= PHONE["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_full_screen(page, address):
    """By key and by button; keys move it wherever the focus is; Escape leaves."""
    root = opened(page, address)[0]
    before = picture_width(root)
    root.query_selector("input").focus()
    page.keyboard.press("f")
    page.wait_for_function("() => document.querySelector('.eon-full')")
    page.wait_for_timeout(200)
    assert high(root) >= LAPTOP["height"] - 1 and picture_width(root) > 1.15 * before
    assert (
        page.evaluate("parseFloat(getComputedStyle(document.querySelector('.eon')).fontSize)") > 15
    )
    assert root.evaluate("e => e.scrollHeight <= e.clientHeight + 1"), "all of it is in view"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Home")
    assert spoken(root) == "step 0"
    page.keyboard.press("ArrowRight")
    assert spoken(root) == "step 1"
    page.keyboard.press("Escape")
    if page.evaluate("!!document.fullscreenElement"):  # keys of a headless browser stay on the page
        page.evaluate("document.exitFullscreen()")
    page.wait_for_function("() => !document.querySelector('.eon-full')")
    page.wait_for_timeout(200)
    assert abs(picture_width(root) - before) <= 2

    button = root.query_selector("[aria-label^='Full screen']")
    button.click()
    page.wait_for_function("() => document.querySelector('.eon-full')")
    assert button.get_attribute("aria-label").startswith("Leave full screen")
    page.keyboard.press("f")
    page.wait_for_function("() => !document.querySelector('.eon-full')")


def test_a_link_leads_to_a_step(page, address):
    roots = opened(page, f"{address}#07_all=400&07_films=0/3&07_clips=5&07_unknown=3")
    assert spoken(roots[0]) == "step 400" and spoken(roots[2]) == "step 400"
    assert (spoken(roots[3]), spoken(roots[3], 1)) == ("step 0", "frame 3 of 4, given")
    assert spoken(roots[4]) == "frame 5 of 6"
    page.wait_for_function(
        "e => Math.abs(e.getBoundingClientRect().bottom - innerHeight) < 300", arg=roots[4]
    )


def test_the_step_is_in_the_address(page, address):
    """Of each scrubber that moved, the last one last; the address leads there again."""
    roots = opened(page, address)
    roots[2].query_selector("input").press("Home")
    roots[0].query_selector("input").press("Home")
    page.wait_for_function("() => location.hash === '#07_widget_3=0&07_all=0'")
    roots[2].query_selector("input").press("ArrowRight")
    page.wait_for_function("() => location.hash === '#07_all=0&07_widget_3=1'")
    link = page.url
    assert urldefrag(link)[0] == address
    roots = opened(page, link)
    assert (spoken(roots[0]), spoken(roots[2])) == ("step 0", "step 1")
    page.wait_for_function("e => Math.abs(e.getBoundingClientRect().top) < 20", arg=roots[2])
    page.evaluate("location.hash = '#07_all=400'")  # a link on the page itself
    page.wait_for_function("e => Math.abs(e.getBoundingClientRect().top) < 20", arg=roots[0])
    assert spoken(roots[0]) == "step 400"


def test_a_step_is_saved_as_a_picture(page, address):
    roots = opened(page, address)
    roots[0].query_selector("input").press("Home")
    for root, name in (
        (roots[0], "07_all_step-0.png"),
        (roots[1], "v1-v2-v3-v4-2_cell-size-0.png"),
        (roots[3], "07_films_step-400-frame-+1-predicted.png"),
        (roots[4], "07_clips_frame-1-of-6.png"),
    ):
        with page.expect_download() as download:
            root.query_selector("[aria-label^='Save this step']").click()
        assert download.value.suggested_filename == name
        picture = Image.open(io.BytesIO(download.value.path().read_bytes())).convert("RGB")
        pixels = np.asarray(picture).astype(int)
        assert picture.width >= 700 and (pixels[:4] == 255).all(), "a white edge"
        assert pixels[20:60, 20:200].min() < 80, "the step is written at the top"


def test_all_can_be_told_apart(page, address):
    """The same models in three scrubbers: no two groups or controls have one name."""
    opened(page, address)
    for kind in (".eon[role=group]", ".eon button", ".eon input"):
        names = [part.get_attribute("aria-label") for part in page.query_selector_all(kind)]
        assert len(names) >= 5 and all(names) and len(set(names)) == len(names), names


def test_the_answer_comes_with_the_slider(page, address):
    """Where the reader guesses, it stands at the beginning; the curve ends where it was moved."""
    root = opened(page, address)[1]
    count = "e => e.querySelector('polyline').getAttribute('points').split(' ').length"
    assert spoken(root) == "cell size 0" and root.evaluate(count) == 1
    root.query_selector("input").press("End")
    whole = root.evaluate(count)
    root.query_selector("input").press("Home")
    assert root.evaluate(count) == whole > 20


def test_smoothed_curves_have_the_raw_ones_behind(page, address):
    root = opened(page, address)[0]
    chart = root.query_selector("svg.eon-chart")
    assert "smoothed" in chart.get_attribute("aria-label")
    assert "faint: as measured" in chart.text_content()
    faint = [line.get_attribute("stroke-opacity") for line in chart.query_selector_all("polyline")]
    assert faint == ["0.35"] * 4 + [None] * 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_a_barrier(chromium, address, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = chromium.new_page(viewport=LAPTOP, color_scheme=scheme)
    opened(page, address)
    found = axe.run(page, options={"preload": False}).response["violations"]
    page.close()
    assert [one for one in found if one["impact"] in ("serious", "critical")] == []


def test_a_player_is_saved_as_a_film(page, address, tmp_path):
    """Every frame, in order, in even sizes; the slider stands where it stood."""
    av = pytest.importorskip("av")
    root = opened(page, address)[4]
    slider = root.query_selector("input[type=range]")
    slider.press("Home")
    slider.press("ArrowRight")
    with page.expect_download() as download:
        root.query_selector("[aria-label^='Save as a film']").click()
    assert download.value.suggested_filename == "07_clips.webm"
    assert spoken(root) == "frame 2 of 6"
    file = tmp_path / "film.webm"
    download.value.save_as(file)
    with av.open(file) as film:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(video=0)]
    assert len(frames) >= 6 and frames[0].shape[0] % 2 == frames[0].shape[1] % 2 == 0
    assert frames[0][:4].min() > 240, "a white edge"
    changes = [np.abs(after - before).mean() for before, after in pairwise(frames)]
    assert sum(change > 0.05 for change in changes) >= 5, "six frames that differ"
