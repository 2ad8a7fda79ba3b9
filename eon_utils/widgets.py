"""What moves in a notebook: the step scrubber, and the live panel of a training run."""

from __future__ import annotations

import base64
import io
import math
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import matplotlib
import numpy as np
import traitlets as t
from IPython import get_ipython
from IPython.display import DisplayHandle
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from eon_utils.training import History

BUDGET = 640_000  # bytes of the atlas; in base64, a third more, a saved scrubber stays below 1 MB
POSTER_BYTES = 150_000
MAX_PIXELS = 10_500_000  # of the decoded atlas: 42 MB in the browser, so that a dozen fit on one page
PICTURES = 6
HERE = Path(__file__).parent
CHART = (HERE / "chart.js").read_text(encoding="utf-8")
CSS = (HERE / "widgets.css").read_text(encoding="utf-8")


class Scrubber(anywidget.AnyWidget):
    """Slider over the training steps of one or more models; made by `scrub`, which see.

    `index` is the position among `spec["steps"]`: set it to move the slider, read it to know where it stands.
    """

    _esm = CHART + (HERE / "scrubber.js").read_text(encoding="utf-8")
    _css = CSS
    atlas = t.Bytes().tag(sync=True)
    targets = t.Bytes().tag(sync=True)
    spec = t.Dict().tag(sync=True)
    index = t.Int(0).tag(sync=True)
    poster = t.Bytes()
    name = t.Unicode(None, allow_none=True)

    def _repr_mimebundle_(self, **_: object) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_()
        steps = self.spec["steps"]
        data["text/plain"] = f"Scrubber: {', '.join(self.spec['names'])} over steps {steps[0]}..{steps[-1]}"
        data["image/png"] = base64.b64encode(self.poster).decode()
        metadata["image/png"] = {"alt": self.spec["alt"]}
        if self.name:
            metadata["screenshot"] = self.name
        return data, metadata


def scrub(
    histories: dict[str, History] | History,
    titles: Sequence[str] = (),
    metric: str = "loss",
    axis: str = "training step",
    name: str | None = None,
    height: int | None = None,
    alt: str | None = None,
) -> Scrubber:
    """Slider over training steps: targets, a row of reconstructions a model, and the loss curves.

    histories: one run's history, or name -> history; all of the same pictures, of which the first six
    are shown. A run that was stopped early keeps its last picture. titles: one a picture. metric: what the
    loss is called. axis: what the slider moves over. height: of one picture on the page, in CSS pixels
    (default: as large as suits a page). name: of the still picture under screenshots/. alt: description of
    that picture.

    The frames are lossy WebP, 640 kB at most: do not measure pixels in them. Raises ValueError when a history
    has no snapshot yet, or when the histories are not of the same pictures.
    """
    named = histories if isinstance(histories, dict) else {"reconstruction": histories}
    if not named:
        raise ValueError("scrub: no histories given; pass run.history, or {'name': run.history, ...}")
    for label, run in named.items():
        if run.target is None or not run.snapshots or not run.loss:
            remedy = "train it first, in a TrainingRun(probe=images), then scrub run.history"
            raise ValueError(f"scrub: {label!r} has no snapshots yet; {remedy}")
    runs = list(named.values())
    target = runs[0].target
    for label, run in named.items():
        if run.target.shape != target.shape:
            raise ValueError(f"scrub: pictures of {label!r} are {run.target.shape}, the first's {target.shape}")
    if titles and len(titles) != len(target):
        raise ValueError(f"scrub: {len(titles)} titles for {len(target)} pictures; give one each or none")

    shown = min(len(target), PICTURES)
    rows, (high, wide) = len(runs) + 1, target.shape[1:3]
    tall = height or min(620 / rows, 240 * high / wide, (732 / shown - 6) * high / wide)
    width = round(tall * wide / high)
    atlas, spec = encode(runs, width)
    steps = spec["steps"]
    ends = [len(run.loss) for run in runs]
    values = [[at(run.loss, s) for s in steps] for run in runs]
    fell = [f"{label}: {metric} {_text(v[0])} to {_text(v[-1])}" for label, v in zip(named, values, strict=True)]
    described = f"Pictures as reconstructed at {axis}s {steps[0]} to {steps[-1]}. {'; '.join(fell)}."
    spec |= {
        "names": list(named),
        "titles": [str(title) for title in titles][:shown],
        "metric": metric,
        "axis": axis,
        "alt": alt or described,
        "pictures": shown,
        "width": width,
        "pixelated": wide < width,
        "ends": ends,
        "values": values,
        "accuracy": [_percent(run, steps) for run in runs],
        "curves": [_curve(run.loss, steps) for run in runs],
    }
    strip = Image.fromarray(side_by_side(target[:shown], spec["cell"]))
    poster = contact_sheet(named, metric, axis)
    targets = _bytes(strip, "WEBP", quality=90)
    return Scrubber(atlas=atlas, targets=targets, spec=spec, index=len(steps) - 1, poster=poster, name=name)


def encode(runs: Sequence[History], width: int, budget: int = BUDGET) -> tuple[bytes, dict[str, Any]]:
    """One WebP of all snapshots, at most `budget` bytes, for pictures shown `width` CSS pixels wide.

    Quality, number of steps and resolution give way in turn until it fits. Returns the file and a dict:
    `steps` (the union of the runs' snapshot steps, or as many of them as fit), `tiles` (for each run and
    step, the place in the atlas of its last snapshot at or before that step), `columns` (tiles in a row of
    the atlas) and `cell` (width, height of one picture; a tile is up to six of them side by side). Raises
    ValueError when not even two steps fit.
    """
    union = sorted({step for run in runs for step in run.snapshot_steps})
    count, high, wide = runs[0].snapshots[0].shape[:3]
    count = min(count, PICTURES)
    for frames, scale, quality in _rungs():
        steps = [union[i] for i in sorted({round(i) for i in np.linspace(0, len(union) - 1, frames)})]
        rows = [[max(bisect_right(run.snapshot_steps, step) - 1, 0) for step in steps] for run in runs]
        used = sorted({(m, k) for m, row in enumerate(rows) for k in row})
        factor = min(1.0, scale * width / wide)
        cell = [max(2, 2 * round(side * factor / 2)) for side in (wide, high)]  # even: WebP halves chroma
        if len(used) * count * cell[0] * cell[1] > MAX_PIXELS:
            continue
        some = used[:: max(1, len(used) // 8)]
        guess, _ = _sheet([side_by_side(runs[m].snapshots[k][:count], cell) for m, k in some], quality)
        if len(guess) * len(used) > budget * len(some):
            continue
        data, columns = _sheet([side_by_side(runs[m].snapshots[k][:count], cell) for m, k in used], quality)
        if len(data) <= budget:
            place = {key: i for i, key in enumerate(used)}
            tiles = [[place[m, k] for k in row] for m, row in enumerate(rows)]
            return data, {"steps": steps, "tiles": tiles, "columns": columns, "cell": cell}
    raise ValueError(f"scrub: {budget} bytes hold no two steps of {len(runs)} x {count} pictures")


def _rungs() -> Iterator[tuple[int, float, int]]:
    """(frames, source pixels a CSS pixel, WebP quality), best first; chosen by eye on photographs."""
    yield from [(60, 1.3, 82), (60, 1.1, 82), (60, 1.1, 72), (60, 1, 72), (60, 1, 64), (48, 1, 64)]
    yield from [(48, 0.85, 72), (48, 0.85, 60), (40, 0.85, 55), (40, 0.7, 50), (32, 0.7, 45), (24, 0.6, 40)]
    yield from [(max(2, int(24 * 0.8**i)), 0.6 * 0.8**i, 35) for i in range(1, 10)]


def _sheet(tiles: list[np.ndarray], quality: int) -> tuple[bytes, int]:
    """Tiles in rows, as near to a square as they come: browsers decode no side beyond 16,383 pixels."""
    high, wide = tiles[0].shape[:2]
    columns = max(1, min(len(tiles), round(math.sqrt(len(tiles) * high / wide))))
    sheet = np.zeros((-(-len(tiles) // columns) * high, columns * wide, 3), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * high, i % columns * wide
        sheet[y : y + high, x : x + wide] = tile
    return _bytes(Image.fromarray(sheet), "WEBP", quality=quality, method=3), columns


def side_by_side(pictures: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(N, H, W, 3) uint8 -> (height, N * width, 3) for `size` = (width, height)."""
    if pictures.shape[2:0:-1] != tuple(size):
        pictures = [Image.fromarray(p).resize(size, Image.Resampling.HAMMING) for p in pictures]
    return np.concatenate([np.asarray(picture) for picture in pictures], axis=1)


def _bytes(picture: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def at(series: Sequence[float], step: int) -> float | None:
    """The value after `step` updates, or the last of a run that was over before; None if not finite."""
    value = float(series[min(step, len(series) - 1)])
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _percent(run: History, steps: Sequence[int]) -> list[float | None] | None:
    if not run.accuracy:
        return None
    values = [at(run.accuracy, step) for step in steps]
    return [None if v is None else round(100 * v, 2) for v in values]


def _curve(loss: Sequence[float], keep: Sequence[int]) -> list[list]:
    """[steps, values] for a log-log plot: at most 300 points, the steps `keep` among them, above zero."""
    spaced = np.geomspace(1, len(loss), 299 - len(keep)).astype(int).tolist()
    steps = sorted({0, *spaced, *(min(step, len(loss)) for step in keep)})
    points = [(s, v) for s in steps if (v := at(loss, s)) is not None and v > 0]
    return [[s for s, _ in points], [v for _, v in points]]


def _text(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def contact_sheet(named: dict[str, History], metric: str = "loss", axis: str = "step") -> bytes:
    """The still picture of a scrubber: five steps, log-spaced, and the target; a palette PNG of <= 150 kB."""
    for column, colours in ((160, 128), (140, 128), (120, 96), (104, 64), (88, 32), (64, 16)):
        data = _bytes(_sheet_of(named, metric, axis, column).quantize(colours), "PNG", optimize=True)
        if len(data) <= POSTER_BYTES:
            break
    return data


def _sheet_of(named: dict[str, History], metric: str, axis: str, column: int) -> Image.Image:
    runs = list(named.values())
    longest = max(runs, key=lambda run: run.snapshot_steps[-1]).snapshot_steps
    marks = [longest[0], *(round(longest[-1] ** power) for power in (0.3, 0.55, 0.78, 1))]
    steps = sorted({longest[max(bisect_right(longest, mark) - 1, 0)] for mark in marks})
    high, wide = runs[0].target.shape[1:3]
    each = min(len(runs[0].target), max(1, 3 // len(runs)))
    left = 20 + max(int(_font(15, True).getlength(name)) for name in named) if len(runs) > 1 else 8
    column = max(64, min(column, (1020 - left) // (len(steps) + 1) - 6))
    row = max(1, round(column * high / wide))
    block = each * (row + 6) + 26
    page = Image.new("RGB", (left + (len(steps) + 1) * (column + 6) + 2, 34 + len(runs) * block), "white")
    pen = ImageDraw.Draw(page)
    for m, (label, run) in enumerate(named.items()):
        top = 34 + m * block
        if len(runs) > 1:
            pen.text((left - 12, top + (block - 32) // 2), label, "#222", _font(15, True), anchor="rm")
        for i, step in enumerate([*steps, None]):
            x, middle = left + i * (column + 6), left + i * (column + 6) + column // 2
            if step is None:
                head, shots, words = "target", run.target, metric + " · accuracy" * bool(run.accuracy)
            else:
                shots = run.snapshots[max(bisect_right(run.snapshot_steps, step) - 1, 0)]
                head, words = f"{axis.removeprefix('training ')} {step:,}", _text(at(run.loss, step))
                if run.accuracy:
                    words += f" · {100 * (at(run.accuracy, step) or 0):.1f} %"
            for k in range(each):
                picture = Image.fromarray(side_by_side(shots[k : k + 1], (column, row)))
                page.paste(picture, (x, top + k * (row + 6)))
            if m == 0:
                pen.text((middle, 18), head, "#222", _font(15 if column > 110 else 12, True), anchor="mm")
            pen.text((middle, top + block - 22), words, "#444", _font(12 if column > 110 else 10), anchor="mm")
    return page


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{'-Bold' if bold else ''}.ttf"
    return ImageFont.truetype(str(file), size)


class LivePanel(anywidget.AnyWidget):
    """Progress, loss curve, current reconstruction and a Stop button while a cell trains.

    The training loop calls `start`, `update` and, in a `finally`, `finish`; between updates it awaits, so
    that a press of the button (`stop_requested`) gets through. Only the summary stays in the saved notebook.
    """

    _esm = CHART + (HERE / "panel.js").read_text(encoding="utf-8")
    _css = CSS
    title = t.Unicode().tag(sync=True)
    steps = t.Int(1).tag(sync=True)

    def __init__(self, title: str = "") -> None:
        super().__init__(title=title)
        self.stop_requested = False
        self._display: DisplayHandle | None = None
        self.on_msg(self._heard)

    def _heard(self, _: object, message: dict, __: object) -> None:
        self.stop_requested |= message.get("kind") == "stop"

    def start(self, name: str, steps: int) -> None:
        """Show the panel for a run of `steps` steps."""
        self.title, self.steps, self.stop_requested = self.title or name, steps, False
        self._display = DisplayHandle()
        self._display.display(self)

    def update(self, step: int, history: History, image: np.ndarray | None, rate: float, eta: float) -> None:
        """image: uint8 (N, H, W, 3), or None to keep the last one; rate in steps a second, eta in seconds."""
        text = f"step {step:,} of {self.steps:,}"
        if history.loss:
            text += f" · loss {_text(at(history.loss, step))}"
        if rate > 0 and math.isfinite(eta):
            text += f" · {rate:.3g} steps/s · {_clock(eta)} left"
        curve = _curve(history.loss, [step]) if history.loss else [[], []]
        shown = [] if image is None else image[:3]
        message = {"step": step, "text": text, "curve": curve, "pictures": len(shown)}
        self.send(message, [_jpeg(shown)] if len(shown) else [])

    def finish(self, summary: str) -> None:
        """Put `summary`, plain text, where the panel was."""
        if self._display:
            self._display.update({"text/plain": summary}, raw=True)
        self.close()


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _jpeg(pictures: np.ndarray) -> bytes:
    """Pictures side by side, at most 840 pixels wide in all."""
    count, high, wide = pictures.shape[:3]
    width = min(wide, 840 // count)
    strip = side_by_side(pictures, (width, max(1, round(high * width / wide))))
    return _bytes(Image.fromarray(strip), "JPEG", quality=82)


def live_panel(title: str = "") -> LivePanel | None:
    """A LivePanel in JupyterLab, None where nobody looks (papermill, scripts); EON_LIVE=1 or 0 overrides."""
    wish = os.environ.get("EON_LIVE", "")
    live = wish == "1" or (wish != "0" and "JPY_SESSION_NAME" in os.environ)
    return LivePanel(title) if live and get_ipython() else None
