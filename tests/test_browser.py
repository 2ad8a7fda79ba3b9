"""The widgets in a real browser: a static page, JupyterLab with a kernel, a saved notebook, the Stop button."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import nbformat
import pytest
from browser import CHROMIUM, FLAGS, jupyterlab, lab_environment, latency, notebook, open_lab, run_all
from nbclient import NotebookClient
from nbformat.sign import NotebookNotary

from eon_utils.site import notebook_to_html

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH: apt-get install chromium"),
]
READY = ".eon-scrub[data-ready=true]"
SCRUB = "from eon_utils.widgets import scrub\nscrub({'slow': fake_history(speed=0.5), 'fast': fake_history()})"
LIVE = """
import torch, torch.nn.functional as F
from eon_utils.images import photos
from eon_utils.training import TrainingRun
from eon_utils.widgets import live_panel, scrub
pictures = photos((192, 128))
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 3, 3, padding=1))
run = TrainingRun(model, 1_000_000, name="toy", probe=pictures, live=live_panel("toy"), folder="checkpoints")
async for step, batch in run.batches(pictures):
    run.step(F.mse_loss(run(batch), batch))
"""


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def executed(folder):
    """A notebook with a scrubber, executed headless and trusted, as the course runner leaves it."""
    path = notebook(folder / "executed.ipynb", SCRUB)
    environment = lab_environment(folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        nb = nbformat.read(path, as_version=4)
        NotebookClient(nb, kernel_name="python3", timeout=300, resources={"metadata": {"path": folder}}).execute()
        nbformat.write(nb, path)
        NotebookNotary(data_dir=environment["JUPYTER_DATA_DIR"]).sign(nb)
    return path


@pytest.fixture(scope="module")
def lab(folder, executed):
    with jupyterlab(folder) as address:
        yield address


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
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


def test_the_course_and_its_site(page, repo, tmp_path):
    """What `make course PRESET=smoke` does, then the site: from the index to a lesson whose scrubbers all move."""
    command = [sys.executable, "-m", "eon_utils", "run", "--preset", "smoke", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        command, cwd=repo, env=os.environ | {"EON_CHECKPOINTS": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count(" ok ") == 4, done.stdout
    page.goto((tmp_path / "run" / "site" / "index.html").as_uri())
    page.click("a:has-text('02 · Deep image reconstruction')")
    page.wait_for_function(f"() => document.querySelectorAll('{READY}').length === 2", timeout=60_000)
    for root in page.query_selector_all(READY):
        root.scroll_into_view_if_needed()
        latency(page, root, moves=3)  # waits for the pixels to change
    assert page.problems == []
    site = (tmp_path / "run" / "site").as_uri()
    assert [url for url in page.requests if not url.startswith(("blob:", "data:", site))] == []


def test_static_page(page, executed, record_property):
    """(file://) keys, drag and play move the pictures; nothing is fetched; no error."""
    html = executed.with_suffix(".html")
    notebook_to_html(executed, html)
    page.goto(html.as_uri())
    root = page.wait_for_selector(READY)
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
    page.wait_for_function("e => e.textContent === 'step 3'", arg=root.query_selector(".eon-caption"))
    play.click()
    assert play.get_attribute("aria-label") == "Play"

    assert page.problems == []
    assert [url for url in page.requests if not url.startswith(("blob:", "data:", html.as_uri()))] == []


def test_saved_notebook(page, lab, executed):
    """A trusted notebook that was run elsewhere moves before anything is run: the kernel knows no widget."""
    open_lab(page, lab.format(executed.name))
    root = page.wait_for_selector(READY, timeout=60_000)
    median, p95 = latency(page, root, moves=10)
    print(f"saved notebook: key to pixels median {median:.0f} ms, p95 {p95:.0f} ms")
    assert moves_by_drag(page, root)


def test_jupyterlab_live(page, lab, folder, record_property):
    """A reader's session: train, press Stop; the cells after it run; their scrubbers move with keys and drag."""
    notebook(folder / "live.ipynb", LIVE, "print('after', run.done)", "scrub(run.history)", SCRUB)
    open_lab(page, lab.format("live.ipynb"))
    run_all(page)
    stop = page.wait_for_selector(".eon-stop", timeout=60_000)
    page.wait_for_function("() => document.querySelector('.eon-live progress')?.value > 20", timeout=30_000)
    page.wait_for_selector(".eon-live canvas[width='584']")  # three pictures of 192 pixels and two gaps
    start = time.monotonic()
    stop.click()
    page.wait_for_selector(".jp-OutputArea-output:has-text('after')", timeout=5_000)
    seconds = time.monotonic() - start
    print(f"Stop to the next cell's output {seconds:.2f} s")
    assert seconds < 2

    page.wait_for_function(f"() => document.querySelectorAll('{READY}').length === 2", timeout=60_000)
    assert "toy: stopped after" in page.inner_text(".jp-Notebook")
    assert page.query_selector(".eon-live") is None  # a plain line took the panel's place
    root = page.query_selector_all(READY)[1]
    root.scroll_into_view_if_needed()
    median, p95 = latency(page, root)
    record_property("live_latency_ms", (median, p95))
    print(f"JupyterLab: key to pixels median {median:.0f} ms, p95 {p95:.0f} ms")
    assert p95 < 250
    assert moves_by_drag(page, root)
    assert not [problem for problem in page.problems if "eon" in problem.lower() or "widget" in problem.lower()]
