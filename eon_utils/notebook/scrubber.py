"""What moves in a notebook: the scrubber over training steps and frames, and the live panel of a training run."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets as t
from PIL import Image, ImageDraw

from eon_utils.notebook.sprites import (
    BUDGET,
    CONTROLS,
    CSS,
    MAX_PIXELS,
    PAD,
    STATIC,
    captions,
    cell_of,
    encoded,
    evenly,
    film_page,
    font,
    pixels,
    sheet,
    side_by_side,
    still,
    weigh,
    with_poster,
)

if TYPE_CHECKING:
    from eon_utils.training.run import History

PICTURES = 6
CHART = (STATIC / "chart.js").read_text(encoding="utf-8")


class Scrubber(anywidget.AnyWidget):
    """Slider over the training steps of one or more models; made by `scrub`, which see.

    `index` is the position among `spec["steps"]`: set it to move the slider, read it to know where it stands;
    `frame` is that of the second slider, which predicted films have, among `spec["frames"]`.
    """

    _esm = CONTROLS + CHART + (STATIC / "scrubber.js").read_text(encoding="utf-8")
    _css = CSS
    atlas = t.Bytes().tag(sync=True)
    targets = t.Bytes().tag(sync=True)
    spec = t.Dict().tag(sync=True)
    index = t.Int(0).tag(sync=True)
    frame = t.Int(0).tag(sync=True)
    poster = t.Bytes()
    name = t.Unicode(None, allow_none=True)

    def _repr_mimebundle_(self, **_: object) -> tuple[dict, dict]:
        steps, frames = self.spec["steps"], self.spec.get("frames")
        text = f"Scrubber: {', '.join(self.spec['names'])} over steps {steps[0]}..{steps[-1]}"
        text += f" and {len(frames)} frames" if frames else ""
        return with_poster(super()._repr_mimebundle_(), text, self.poster, self.spec["alt"], self.name)


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

    Histories of films, whose snapshots are (N, K, H, W, 3), get a second slider, over the frames: those given
    to the models (`History.context`, where there is one), then the K predicted ones. The first four clips are
    shown, of three models three, of more two.

    The pictures are lossy WebP, 640 kB at most: do not measure pixels in them. Raises ValueError when a history
    has no snapshot yet, or when the histories are not of the same pictures.
    """
    if not isinstance(histories, dict):
        film = histories.target is not None and histories.target.ndim == 5
        histories = {"prediction" if film else "reconstruction": histories}
    named = histories
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
        if run.snapshots[0].shape[:-3] != target.shape[:-3]:
            raise ValueError(f"scrub: snapshots of {label!r} are {run.snapshots[0].shape}, not as {target.shape}")
    if titles and len(titles) != len(target):
        raise ValueError(f"scrub: {len(titles)} titles for {len(target)} pictures; give one each or none")

    shown, given = _shown(runs), _given(runs)
    rows, (high, wide) = len(runs) + 1, target.shape[-3:-1]
    tall = height or min(620 / rows, 240 * high / wide, (732 / shown - 6) * high / wide)
    width = round(tall * wide / high)
    atlas, spec = encode(runs, width)
    steps = spec["steps"]
    ends = [len(run.loss) for run in runs]
    values = [[at(run.loss, s) for s in steps] for run in runs]
    fell = [f"{label}: {metric} {_text(v[0])} to {_text(v[-1])}" for label, v in zip(named, values, strict=True)]
    what = f"{target.shape[1]} frames as predicted" if target.ndim == 5 else "Pictures as reconstructed"
    described = f"{what} at {axis}s {steps[0]} to {steps[-1]}. {'; '.join(fell)}."
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
    poster = contact_sheet(named, metric, axis)
    made = {"atlas": atlas, "spec": spec, "index": len(steps) - 1, "poster": poster, "name": name}
    if target.ndim == 5:  # its frames are in the atlas
        spec |= {"given": len(given), "frames": captions(len(given), target.shape[1])}
        return Scrubber(frame=len(given), **made)
    strip = Image.fromarray(side_by_side(target[:shown], spec["cell"]))
    return Scrubber(targets=encoded(strip, "WEBP", quality=90), **made)


def _shown(runs: Sequence[History]) -> int:
    """How many pictures, or clips, whose frames need more room: four, three of three models, two of more."""
    target = runs[0].target
    return min(len(target), max(2, min(4, 9 // len(runs))) if target.ndim == 5 else PICTURES)


def _frames(pictures: np.ndarray) -> np.ndarray:
    """(N, K, H, W, 3) -> (K, N, H, W, 3); pictures without time, (N, H, W, 3), are a film of one frame."""
    return pictures.swapaxes(0, 1) if pictures.ndim == 5 else pictures[None]


def _given(runs: Sequence[History]) -> list[np.ndarray]:
    """The frames before the predicted ones, each (N, H, W, 3): of the run which was given most of them."""
    contexts = [list(_frames(run.context)) for run in runs if run.context is not None]
    return max(contexts, key=len, default=[])


def encode(runs: Sequence[History], width: int, budget: int = BUDGET) -> tuple[bytes, dict[str, Any]]:
    """One WebP of all snapshots, at most `budget` bytes, for pictures shown `width` CSS pixels wide.

    Quality, number of steps and resolution give way in turn until it fits. Returns the file and a dict:
    `steps` (the union of the runs' snapshot steps, or as many of them as fit), `tiles` (for each run and
    step, the place in the atlas of its last snapshot at or before that step), `columns` (tiles in a row of
    the atlas) and `cell` (width, height of one picture; a tile is up to six of them side by side). A snapshot
    of a film takes a tile a frame, from that place on; `film` is the place of the frames given, with the
    targets after them. Raises ValueError when not even two steps fit.
    """
    union = sorted({step for run in runs for step in run.snapshot_steps})
    target, film = runs[0].target, runs[0].target.ndim == 5
    count, (high, wide), pad = _shown(runs), target.shape[-3:-1], PAD if film else 0
    frames, known = len(_frames(target)), [*_given(runs), *_frames(target)] if film else []
    weights: dict[tuple, float] = {}
    for most, scale, quality in _film_rungs(wide, width) if film else _rungs():
        steps = [union[i] for i in sorted({round(i) for i in np.linspace(0, len(union) - 1, most)})]
        rows = [[max(bisect_right(run.snapshot_steps, step) - 1, 0) for step in steps] for run in runs]
        used = sorted({(m, k) for m, row in enumerate(rows) for k in row})
        shots = [shot for m, k in used for shot in _frames(runs[m].snapshots[k])]
        shown, cell = [shot[:count] for shot in [*shots, *known]], cell_of(wide, high, scale * width)
        key = (*cell, quality)
        if pixels(shown, cell, pad) > MAX_PIXELS:
            continue
        if not film or key not in weights:  # a film tries many rungs
            weights[key] = weigh(shown, cell, quality, pad, frames)
        if weights[key] * len(shown) > budget:
            continue
        data, columns = sheet([side_by_side(shot, cell, pad) for shot in shown], quality)
        weights[key] = len(data) / len(shown)
        if len(data) <= budget:
            place = {key: i * frames for i, key in enumerate(used)}
            tiles = [[place[m, k] for k in row] for m, row in enumerate(rows)]
            spec = {"steps": steps, "tiles": tiles, "columns": columns, "cell": cell}
            return data, spec | ({"film": len(shots), "pad": pad} if film else {})
    raise ValueError(f"scrub: {budget} bytes hold no two steps of {len(runs)} x {count} pictures")


def _rungs() -> Iterator[tuple[int, float, int]]:
    """(steps, source pixels a CSS pixel, WebP quality), best first; chosen by eye on photographs."""
    yield from [(60, 1.3, 82), (60, 1.1, 82), (60, 1.1, 72), (60, 1, 72), (60, 1, 64), (48, 1, 64)]
    yield from [(48, 0.85, 72), (48, 0.85, 60), (40, 0.85, 55), (40, 0.7, 50), (32, 0.7, 45), (24, 0.6, 40)]
    yield from [(max(2, int(24 * 0.8**i)), 0.6 * 0.8**i, 35) for i in range(1, 10)]


def _film_rungs(wide: int, width: int) -> list[tuple[int, float, int]]:
    """The same for films, whose many frames leave room for few steps: what is lost in all three is balanced."""
    full = min(1.1, wide / width)
    steps, scales = (60, 48, 40, 32, 24, 20, 16, 12, 10, 8, 6, 4, 2), [full * 0.85**i for i in range(14)]

    def loss(rung: tuple[int, float, int]) -> float:
        return 12 / rung[0] + 2.5 * (full / rung[1] - 1) + (80 - rung[2]) / 20

    return sorted(product(steps, scales, (80, 70, 60, 45)), key=loss)


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
    """The still picture of a scrubber, as `still` makes it: five steps, log-spaced, and the target; of films
    three steps, under their targets.
    """
    film = next(iter(named.values())).target.ndim == 5
    return still(lambda column: (_films_of if film else _sheet_of)(named, metric, axis, column), film)


def _sheet_of(named: dict[str, History], metric: str, axis: str, column: int) -> Image.Image:
    runs = list(named.values())
    longest = max(runs, key=lambda run: run.snapshot_steps[-1]).snapshot_steps
    marks = [longest[0], *(round(longest[-1] ** power) for power in (0.3, 0.55, 0.78, 1))]
    steps = sorted({longest[max(bisect_right(longest, mark) - 1, 0)] for mark in marks})
    high, wide = runs[0].target.shape[1:3]
    each = min(len(runs[0].target), max(1, 3 // len(runs)))
    left = 20 + max(int(font(15, True).getlength(name)) for name in named) if len(runs) > 1 else 8
    column = max(64, min(column, (1020 - left) // (len(steps) + 1) - 6))
    row = max(1, round(column * high / wide))
    block = each * (row + 6) + 26
    page = Image.new("RGB", (left + (len(steps) + 1) * (column + 6) + 2, 34 + len(runs) * block), "white")
    pen = ImageDraw.Draw(page)
    for m, (label, run) in enumerate(named.items()):
        top = 34 + m * block
        if len(runs) > 1:
            pen.text((left - 12, top + (block - 32) // 2), label, "#222", font(15, True), anchor="rm")
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
                pen.text((middle, 18), head, "#222", font(15 if column > 110 else 12, True), anchor="mm")
            pen.text((middle, top + block - 22), words, "#444", font(12 if column > 110 else 10), anchor="mm")
    return page


def _films_of(named: dict[str, History], metric: str, axis: str, column: int) -> Image.Image:
    runs = list(named.values())
    target, given = _frames(runs[0].target), _given(runs)
    chosen = [*range(max(0, len(given) - 2), len(given)), *(len(given) + i for i in evenly(len(target), 6))]
    last = max(run.snapshot_steps[-1] for run in runs)
    rows = []
    for clip in range(1 if len(runs) > 1 else min(len(runs[0].target), 2)):
        rows.append(("target", "", [[*given, *target][i][clip] for i in chosen]))
        for label, run in named.items():
            marks = [last] if len(runs) > 3 else [round(last**power) for power in (1 / 3, 2 / 3, 1)]
            for n, k in enumerate(sorted({max(bisect_right(run.snapshot_steps, mark) - 1, 0) for mark in marks})):
                step, shot = run.snapshot_steps[k], _frames(run.snapshots[k])
                text = f"{axis.removeprefix('training ')} {step:,}\n{metric} {_text(at(run.loss, step))}"
                shots = [shot[i - len(given)][clip] for i in chosen if i >= len(given)]
                rows.append(("" if n else label, text, shots))
    return film_page(rows, chosen, len(given), column)
