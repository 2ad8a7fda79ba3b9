"""Helpers of the tests of widgets: fake histories, a Chromium, a JupyterLab, a stopwatch."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
from PIL import Image

from eon_utils.course.outputs import alt_of, picture_of

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
HERE = Path(__file__).parent
REPO = HERE.parents[1]


def still_of(bundle: tuple[dict, dict]) -> tuple[Image.Image, str]:
    """The picture of what a widget shows without a kernel, and its alternative text."""
    output = nbformat.from_dict(dict(zip(("data", "metadata"), bundle, strict=True)))
    return Image.open(io.BytesIO(picture_of(output))), alt_of(output)


def fake_history(
    steps: int = 400, speed: float = 1.0, pictures: int = 3, size=(192, 132), snapshots: int = 40
):
    """A run that never was: photographs which come out of gray. It has the fields of `History`."""
    from eon_utils.data.photos import PHOTOS, photos

    names = tuple(PHOTOS[i % len(PHOTOS)] for i in range(pictures))
    target = (255 * photos(size, names)).byte().permute(0, 2, 3, 1).numpy()
    at = sorted({0, *np.geomspace(1, steps, snapshots - 1).astype(int).tolist()})
    left = [(1 + s / 3) ** -speed for s in range(steps + 1)]
    frames = [(target * (1 - left[s]) + 120 * left[s]).astype(np.uint8) for s in at]
    return SimpleNamespace(
        loss=[0.1 * v**2 for v in left[1:]],
        accuracy=[1 - 0.3 * v for v in left[1:]],
        seconds=[0.01 * s for s in range(steps)],
        snapshot_steps=at,
        snapshots=frames,
        target=target,
        context=None,
    )


def moving_shapes(clips: int = 3, frames: int = 14, size: int = 64) -> np.ndarray:
    """Discs that move over a gray ramp and bounce: uint8 (clips, frames, size, size, 3)."""
    y, x = np.mgrid[:size, :size] / size
    out = (
        np.repeat(70 + 60 * x[..., None], 3, axis=2)[None, None].repeat(clips, 0).repeat(frames, 1)
    )
    for clip in range(clips):
        rng = np.random.default_rng(clip)
        for _ in range(3):
            colour, start = rng.uniform(30, 255, 3), rng.uniform(0.2, 0.8, 2)
            speed, radius = rng.uniform(-0.05, 0.05, 2), rng.uniform(0.08, 0.2)
            for frame in range(frames):
                cy, cx = 1 - abs((start + speed * frame) % 2 - 1)
                inside = np.clip((radius - np.hypot(y - cy, x - cx)) * size + 0.5, 0, 1)[..., None]
                out[clip, frame] += inside * (colour - out[clip, frame])
    return out.astype(np.uint8)


def fake_film(
    steps: int = 400,
    speed: float = 1.0,
    clips: int = 3,
    given: int = 4,
    frames: int = 10,
    size: int = 64,
):
    """A run that never was: the mean of a clip gives way to its frames, to later ones last."""
    shapes = moving_shapes(clips, given + frames, size)
    target, still = shapes[:, given:], shapes.mean(1, keepdims=True)
    run = fake_history(steps, speed, 1, (8, 8))
    run.target, run.context = target, shapes[:, :given] if given else None
    late = (1 + np.arange(frames) / 2)[:, None, None, None]
    left = [np.minimum(1, late * (1 + s / 3) ** -speed) for s in run.snapshot_steps]
    run.snapshots = [(target * (1 - share) + still * share).astype(np.uint8) for share in left]
    return run


def tensor(frames: np.ndarray):
    """(..., H, W, 3) uint8 -> (..., 3, H, W) in [0, 1], as clips are."""
    import torch

    return torch.from_numpy(np.moveaxis(frames, -1, -3) / np.float32(255))


def decoded(scrubber) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(scrubber.atlas)).convert("RGB")).astype(int)


def film_tile(sheet: np.ndarray, spec: dict, tile: int) -> np.ndarray:
    """The pictures of one tile of a film's atlas, as the scripts find them: (N, H, W, 3)."""
    (width, height), pad, count = spec["cell"], spec["pad"], spec["pictures"]
    y, x = divmod(tile, spec["columns"])
    high, wide = height + 2 * pad, width + 2 * pad
    row = sheet[y * high + pad :, x * count * wide :][:height, : count * wide]
    return row.reshape(height, count, wide, 3).swapaxes(0, 1)[:, :, pad:-pad]


def notebook(path: Path, *cells: str) -> Path:
    """Write a notebook of these code cells, the first of which can import this file."""
    first = f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
    first += "from browser import fake_film, fake_history, tensor"
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in (first, *cells)]
    )
    nb.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
    }
    nbformat.write(nb, path)
    return path


def lab_environment(folder: Path) -> dict[str, str]:
    """No settings, kernels or trust data base but `folder`'s, and this environment's own kernel."""
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))
    (folder / "data").mkdir(exist_ok=True)
    own = {
        f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")
    }
    own |= {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    own |= {"JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"), "JUPYTER_PREFER_ENV_PATH": "1"}
    return os.environ | own | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}


@contextlib.contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """JupyterLab on the notebooks in `folder`; yields an address to put a file name into."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    options = [
        f"--port={port}",
        f"--ServerApp.root_dir={folder}",
        "--ServerApp.port_retries=0",
        "--allow-root",
    ]
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--expose-app-in-browser",
        *options,
    ]
    log = folder / "lab.log"
    environment = lab_environment(folder / "home") | {"JUPYTER_TOKEN": token}
    with open(log, "w") as out:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=2)
                break
            assert server.poll() is None, f"JupyterLab did not start:\n{log.read_text()[-2000:]}"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}&reset"
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()


def open_lab(page, url: str) -> None:
    """Open a notebook in JupyterLab and wait until its kernel is idle."""
    page.goto(url)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_function(
        "() => jupyterapp.shell.currentWidget?.context?.sessionContext"
        "?.session?.kernel?.status === 'idle'",
        timeout=60_000,
    )


def run_all(page) -> None:
    """Run all cells, without waiting for their end."""
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")


STOPWATCH = """(root) => {
  const canvases = [...root.querySelectorAll('canvas')].slice(-1);
  const sum = () => canvases.map(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data
    .reduce((a, v, i) => (a * 31 + v + i) | 0, 7)).join();
  window.pixels = sum;
  window.waits = [];
  root.addEventListener('keydown', () => {
    const start = performance.now(), before = sum();
    const look = () => {
      if (sum() !== before) waits.push(performance.now() - start);
      else if (performance.now() - start < 2000) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }, true);
}"""


def picture(canvas) -> np.ndarray:
    """What a canvas shows: (H, W, 3)."""
    read = (
        "c => [c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    high, wide, *values = canvas.evaluate(read)
    return np.array(values).reshape(high, wide, 4)[..., :3]


def nearest(shown: np.ndarray, pictures: Sequence[np.ndarray]) -> int:
    """Which of the pictures, all of one size, is shown; it has been through a lossy codec."""
    errors = [np.abs(shown - other).mean() for other in pictures]
    assert min(errors) < 8, errors
    return int(np.argmin(errors))


def latency(page, root, moves: int = 30) -> tuple[float, float]:
    """From key press to changed pixels, in ms: median and 95th percentile of some presses."""
    root.query_selector("input[type=range]").press("Home")
    page.wait_for_timeout(300)
    root.evaluate(STOPWATCH)
    for move in range(moves):
        page.keyboard.press("ArrowRight")
        page.wait_for_function("n => waits.length === n", arg=move + 1)
    waits = page.evaluate("() => waits")
    return float(np.median(waits)), float(np.percentile(waits, 95))
