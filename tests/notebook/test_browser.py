"""The widgets in a real browser: a static page, JupyterLab, a saved notebook, the Stop button."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import nbformat
import numpy as np
import pytest
from browser import (
    CHROMIUM,
    STOPWATCH,
    fake_film,
    jupyterlab,
    lab_environment,
    latency,
    nearest,
    notebook,
    open_lab,
    picture,
    run_all,
)
from nbclient import NotebookClient
from nbformat.sign import NotebookNotary

from eon_utils.course.site import build_pages

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH: apt-get install chromium"),
]
READY = ".eon-scrub[data-ready=true]"
SCRUB = """
from eon_utils.notebook.scrubber import scrub
scrub({'slow': fake_history(speed=0.5), 'fast': fake_history()})
"""
FILMS = "scrub({'V4': fake_film(speed=0.5), 'V5': fake_film()}, titles=['a', 'b', 'c'])"
CLIPS = """
from eon_utils.notebook.player import show_clip
run = fake_film()
clips = {'true': run.target, 'V4': run.snapshots[20]}
show_clip({name: tensor(clip) for name, clip in clips.items()}, given=4)
"""
LIVE = """
import torch, torch.nn.functional as F
from eon_utils.data.photos import photos
from eon_utils.training.run import TrainingRun
from eon_utils.notebook.live_panel import live_panel
from eon_utils.notebook.scrubber import scrub
pictures = photos((192, 128))
layers = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 3, 3, padding=1)
model = torch.nn.Sequential(*layers)
options = {"watched": pictures, "live": live_panel("toy"), "folder": "checkpoints"}
run = TrainingRun(model, 1_000_000, name="toy", **options)
async for step, batch in run.batches(pictures):
    run.step(F.mse_loss(run(batch), batch))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def executed(folder):
    """A notebook with scrubbers and a player, run headless and trusted, as the runner leaves it."""
    path = notebook(folder / "executed.ipynb", SCRUB, FILMS, CLIPS)
    environment = lab_environment(folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        nb = nbformat.read(path, as_version=4)
        NotebookClient(
            nb, kernel_name="python3", timeout=300, resources={"metadata": {"path": folder}}
        ).execute()
        nbformat.write(nb, path)
        NotebookNotary(data_dir=environment["JUPYTER_DATA_DIR"]).sign(nb)
    return path


@pytest.fixture(scope="module")
def lab(folder, executed):
    with jupyterlab(folder) as address:
        yield address


@pytest.fixture
def page(chromium):
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.problems, page.requests = [], []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda line: line.type == "error" and page.problems.append(line.text))
    page.on("request", lambda request: page.requests.append(request.url))
    yield page
    page.close()


def moves_by_drag(page, root) -> bool:
    """Drag over the loss curve from its left to its right; True when slider and pixels followed."""
    box = root.query_selector(".eon-chart").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 60, middle)
    page.mouse.down()
    left = page.evaluate("pixels()"), root.query_selector(".eon-caption").inner_text()
    page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=8)
    page.mouse.up()
    right = page.evaluate("pixels()"), root.query_selector(".eon-caption").inner_text()
    return left[0] != right[0] and left[1] != right[1]


def label(slider) -> str:
    """What is said of where a slider stands."""
    return slider.get_attribute("aria-valuetext")


def click(page, slider, share: float) -> None:
    """A click on a slider, `share` of the way from its left to its right end."""
    box = slider.bounding_box()
    page.mouse.click(box["x"] + 8 + share * (box["width"] - 16), box["y"] + box["height"] / 2)


def test_the_course_and_its_site(page, repo, tmp_path):
    """`make course PRESET=smoke`, then its site: from the index to a lesson; all scrubbers move."""
    words = ["run", "--preset", "smoke", "--workers", "2", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "eon_utils", *words],
        cwd=repo,
        env=os.environ | {"EON_CHECKPOINTS": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count(" ok ") == len(list((repo / "notebooks").glob("[0-9]*.ipynb"))), (
        done.stdout
    )
    page.goto((tmp_path / "run" / "site" / "index.html").as_uri())
    page.click("a:has-text('02 · Deep image reconstruction')")
    page.wait_for_function(
        f"() => document.querySelectorAll('{READY}').length === 2", timeout=60_000
    )
    for root in page.query_selector_all(READY):
        root.scroll_into_view_if_needed()
        latency(page, root, moves=3)  # waits for the pixels to change
    page.goto((tmp_path / "run" / "site" / "notebooks" / "04_next_frame_sanity.html").as_uri())
    page.wait_for_function(
        "() => document.querySelectorAll('.eon[data-ready=true]').length === 3", timeout=60_000
    )
    for kind, end in (
        (".eon-scrub.eon-films", "frame +10, predicted"),
        (".eon-player", "frame 14 of 14"),
    ):
        slider = page.query_selector_all(f"{kind} input[type=range]")[-1]
        slider.press("End")
        assert label(slider) == end
    assert page.problems == []
    site = (tmp_path / "run" / "site").as_uri()
    assert [url for url in page.requests if not url.startswith(("blob:", "data:", site))] == []


@pytest.fixture(scope="module")
def static(executed, repo):
    """The address of the notebook's page, in a site of it alone."""
    index = build_pages([executed], [], repo, executed.parent / "site")
    return (index.parent / "notebooks" / "executed.html").as_uri()


def fetched(page, static) -> list[str]:
    """Addresses outside the site that the page asked for."""
    inside = ("blob:", "data:", static.rpartition("/notebooks/")[0])
    return [url for url in page.requests if not url.startswith(inside)]


def test_static_page(page, static, record_property):
    """(file://) keys, drag and play move the pictures; nothing is fetched; no error."""
    page.goto(static)
    root = page.wait_for_selector(f"{READY}:not(.eon-films)")  # whichever of the two is ready first
    median, p95 = latency(page, root)
    record_property("static_latency_ms", (median, p95))
    print(f"static page: key to pixels median {median:.0f} ms, p95 {p95:.0f} ms")
    assert p95 < 250
    assert moves_by_drag(page, root)

    page.keyboard.press("End")
    root.query_selector("input[type=range]").press("End")
    assert root.query_selector(".eon-caption").inner_text() == "step 400"
    assert "step 400" in root.query_selector(".eon-grid").get_attribute("aria-label")
    play = root.query_selector(".eon-play")
    play.click()
    page.wait_for_function(
        "e => e.textContent === 'step 3'", arg=root.query_selector(".eon-caption")
    )
    play.click()
    assert play.get_attribute("aria-label") == "Play: slow, fast"

    assert page.problems == []
    assert fetched(page, static) == []


def test_widgets_of_a_page_are_told_apart(page, static):
    """Each has a name, and so has each of its controls; none is a barrier."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.goto(static)
    page.wait_for_function("() => document.querySelectorAll('.eon[data-ready=true]').length === 3")
    for kind in (".eon[role=group]", ".eon button", ".eon input"):
        names = [part.get_attribute("aria-label") for part in page.query_selector_all(kind)]
        assert len(names) >= 3 and all(names) and len(set(names)) == len(names), names
    found = axe.run(page, options={"preload": False}).response["violations"]
    assert [one for one in found if one["impact"] in ("serious", "critical")] == []


@pytest.fixture
def films(page, static):
    """The page's scrubber of films and its player; a picture of the films has 64 pixels a side."""
    page.goto(static)
    page.wait_for_function("() => document.querySelectorAll('.eon[data-ready=true]').length === 3")
    yield page.query_selector(".eon-scrub.eon-films"), page.query_selector(".eon-player")
    assert page.problems == []
    assert fetched(page, static) == []


def test_both_sliders_of_a_film(page, films):
    """Keys and clicks: the canvases show that step's and that frame's picture, of all models."""
    root, _ = films
    slow, fast = fake_film(speed=0.5), fake_film()
    frames = np.concatenate([slow.context, slow.target], axis=1)
    steps, time = root.query_selector_all("input[type=range]")
    canvases = root.query_selector_all("canvas")  # three targets, three of V4, three of V5
    assert (label(steps).split(";")[0], label(time)) == ("step 400", "frame +1, predicted")
    for key, frame, words in (
        ("ArrowRight", 5, "frame +2, predicted"),
        ("End", 13, "frame +10, predicted"),
        ("Home", 0, "frame 1 of 4, given"),
    ):
        time.press(key)
        assert label(time) == root.query_selector_all(".eon-caption")[1].inner_text() == words
        for clip in range(3):
            assert nearest(picture(canvases[clip]), frames[clip]) == frame
            assert (
                nearest(picture(canvases[6 + clip]), frames[clip]) == frame
            )  # V5 has learned all of it
    assert root.get_attribute("data-frame") == "given"

    click(page, time, 11 / 13)
    assert label(time) == "frame +8, predicted" and root.get_attribute("data-frame") == "predicted"
    for key, step in (("Home", 0), ("End", 400)):
        steps.press(key)
        assert label(steps).startswith(f"step {step};")
        at = slow.snapshot_steps.index(step)
        for m, run in enumerate((slow, fast)):
            others = [run.snapshots[at][clip, 7] for clip in range(3)]
            assert nearest(picture(canvases[3 * m + 4]), others) == 1
            assert np.abs(picture(canvases[3 * m + 4]) - run.snapshots[at][1, 7]).mean() < 6
    grid = root.query_selector(".eon-grid").get_attribute("aria-label")
    assert grid.startswith(
        "Predictions under their targets at step 400, frame +8, predicted. V4: loss"
    )
    click(page, steps, 0.5)
    assert 1 < int(label(steps).split(";")[0].removeprefix("step ")) < 400
    assert nearest(picture(canvases[0]), frames[0]) == 11


def test_films_play_in_a_loop(page, films):
    for root in films:
        slider = root.query_selector_all("input[type=range]")[-1]
        caption = root.query_selector_all(".eon-caption")[-1]
        play = root.query_selector_all(".eon-play")[-1]
        slider.press("End")
        play.click()
        assert play.get_attribute("aria-label").startswith("Pause")
        for words in ("frame 1 of 4, given", "frame +2, predicted", "frame 1 of 4, given"):
            page.wait_for_function(
                "([e, words]) => e.textContent === words", arg=[caption, words], timeout=5_000
            )
        slider.press(" ")
        assert play.get_attribute("aria-label").startswith("Play")
        still = caption.inner_text()
        page.wait_for_timeout(300)
        assert caption.inner_text() == still


def test_player(page, films):
    """Both rows move in step, with keys, with clicks on the slider and on the pictures."""
    _, root = films
    run = fake_film()
    (slider,) = root.query_selector_all("input[type=range]")
    canvases = root.query_selector_all("canvas")
    assert label(slider) == "frame +1, predicted" and len(canvases) == 6
    slider.press("ArrowLeft")
    assert label(slider) == "frame 4 of 4, given" and root.get_attribute("data-frame") == "given"
    for share, frame in ((0, 0), (6 / 9, 6), (1, 9)):
        click(page, slider, share)
        for row, clips in enumerate((run.target, run.snapshots[20])):
            for clip in range(3):
                shown = picture(canvases[3 * row + clip])
                assert nearest(shown, clips[clip]) == frame
                assert np.abs(shown - clips[clip, frame]).mean() < 6
    play = root.query_selector(".eon-play")
    canvases[0].click()
    assert play.get_attribute("aria-label") == "Pause: true, V4: 10 frames, the first 4 given"
    canvases[0].click()
    assert play.get_attribute("aria-label") == "Play: true, V4: 10 frames, the first 4 given"


def test_saved_notebook(page, lab, executed):
    """A trusted notebook that was run elsewhere moves while the kernel knows no widget."""
    open_lab(page, lab.format(executed.name))
    root = page.wait_for_selector(READY, timeout=60_000)
    median, p95 = latency(page, root, moves=10)
    print(f"saved notebook: key to pixels median {median:.0f} ms, p95 {p95:.0f} ms")
    assert moves_by_drag(page, root)
    for kind, last in ((".eon-scrub.eon-films", 10), (".eon-player", 6)):
        root = page.wait_for_selector(f"{kind}[data-ready=true]")
        slider, canvas = (
            root.query_selector_all("input[type=range]")[-1],
            root.query_selector("canvas"),
        )
        before = picture(canvas)
        slider.press("End")  # a key that JupyterLab has a use for
        assert (
            label(slider) == f"frame +{last}, predicted"
            and np.abs(picture(canvas) - before).mean() > 5
        )


def test_jupyterlab_live(page, lab, folder, record_property):
    """A reader's session: train, press Stop; the cells after it run; their scrubbers move."""
    notebook(
        folder / "live.ipynb",
        LIVE,
        "print('after', run.done)",
        "scrub(run.history)",
        SCRUB,
        FILMS,
        CLIPS,
    )
    open_lab(page, lab.format("live.ipynb"))
    run_all(page)
    stop = page.wait_for_selector(".eon-stop", timeout=60_000)
    page.wait_for_function(
        "() => document.querySelector('.eon-live progress')?.value > 20", timeout=30_000
    )
    page.wait_for_selector(
        ".eon-live canvas[width='584']"
    )  # three pictures of 192 pixels and two gaps
    the_panel_fills_the_screen(page)
    start = time.monotonic()
    stop.click()
    page.wait_for_selector(".jp-OutputArea-output:has-text('after')", timeout=5_000)
    seconds = time.monotonic() - start
    print(f"Stop to the next cell's output {seconds:.2f} s")
    assert seconds < 2

    page.wait_for_function(
        "() => document.querySelectorAll('.eon[data-ready=true]').length === 4", timeout=60_000
    )
    assert "toy: stopped after" in page.inner_text(".jp-Notebook")
    assert page.query_selector(".eon-live") is None  # a plain line took the panel's place
    root = page.query_selector_all(READY)[1]
    root.scroll_into_view_if_needed()
    median, p95 = latency(page, root)
    record_property("live_latency_ms", (median, p95))
    print(f"JupyterLab: key to pixels median {median:.0f} ms, p95 {p95:.0f} ms")
    assert p95 < 250
    assert moves_by_drag(page, root)
    for kind in (".eon-scrub.eon-films", ".eon-player"):
        root = page.query_selector(kind)
        slider, canvas = (
            root.query_selector_all("input[type=range]")[-1],
            root.query_selector("canvas"),
        )
        before = picture(canvas)
        slider.press("ArrowRight")
        assert (
            label(slider) == "frame +2, predicted" and np.abs(picture(canvas) - before).mean() > 1
        )
    assert not [
        problem
        for problem in page.problems
        if "eon" in problem.lower() or "widget" in problem.lower()
    ]
    slider.focus()
    page.keyboard.press("Control+s")  # while a slider has the focus
    page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")
    saved_widgets_move(page, folder / "live.ipynb")


def the_panel_fills_the_screen(page) -> None:
    """By its button and back; the loss is smoothed, with the measured one faint behind it."""
    lines = page.query_selector_all(".eon-live svg.eon-chart polyline")
    assert [line.get_attribute("stroke-opacity") for line in lines] == ["0.35", None]
    button = page.query_selector(".eon-live [aria-label^='Full screen']")
    button.click()
    page.wait_for_selector(".eon-live.eon-full")
    assert page.query_selector(".eon-live .eon-stop").is_visible()
    button.click()
    page.wait_for_function("() => !document.querySelector('.eon-full')")


def saved_widgets_move(page, path) -> None:
    """A notebook that was saved in JupyterLab moves when it is opened again, with a new kernel."""
    saved = nbformat.read(path, as_version=4)
    assert saved.metadata.widgets, "the course's setting makes JupyterLab save them"
    page.evaluate("() => jupyterapp.shell.currentWidget.context.sessionContext.shutdown()")
    open_lab(page, page.url)
    root = page.wait_for_selector(READY, timeout=60_000)
    root.scroll_into_view_if_needed()
    root.evaluate(STOPWATCH)
    assert moves_by_drag(page, root)
