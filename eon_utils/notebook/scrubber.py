"""The scrubber: a slider over training steps, and one over frames, for pictures and losses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import anywidget
import numpy as np
import traitlets as t
from PIL import Image

from eon_utils.notebook.display import MimeBundle, image_bytes, with_still
from eon_utils.notebook.histories import (
    context_frames,
    frames_of,
    is_film,
    last_snapshot,
    loss_curve,
    percent_at,
    shown_count,
    smooth_curve,
    targets,
    value_at,
    value_text,
)
from eon_utils.notebook.looks import looks_of
from eon_utils.notebook.posters import frame_captions, poster
from eon_utils.notebook.sprites import (
    ATLAS_BYTES,
    CSS,
    PAD,
    SCRUBBER,
    AtlasPacker,
    PageRoom,
    cell_size,
    evenly,
    side_by_side,
)

if TYPE_CHECKING:
    from eon_utils.training.history import History

ROOM = PageRoom(width=732, square=240)
TRAINING = "training step"  # over anything else a reader moves the slider to guess


class Scrubber(anywidget.AnyWidget):
    """Slider over the training steps of one or more models; made by `scrub`, which see.

    Attributes:
        index: position among `spec["steps"]`. Set it to move the slider, read it to know where it
            stands.
        frame: the same of the second slider, which predicted films have, among `spec["frames"]`.
    """

    _esm = SCRUBBER
    _css = CSS
    atlas = t.Bytes().tag(sync=True)
    targets = t.Bytes().tag(sync=True)
    spec = t.Dict().tag(sync=True)
    index = t.Int(0).tag(sync=True)
    frame = t.Int(0).tag(sync=True)
    poster = t.Bytes()
    name = t.Unicode(None, allow_none=True).tag(sync=True)
    caption = t.Unicode()

    def _repr_mimebundle_(self, **_: object) -> MimeBundle:
        steps = self.spec["steps"]
        text = f"Scrubber: {', '.join(self.spec['names'])} over steps {steps[0]}..{steps[-1]}"
        if self.spec.get("frames"):
            text += f" and {len(self.spec['frames'])} frames"
        bundle = super()._repr_mimebundle_() or ({}, {})
        return with_still(bundle, self.poster, text, self.spec["alt"], self.name, self.caption)


def scrub(
    histories: dict[str, History] | History,
    titles: Sequence[str] = (),
    metric: str = "loss",
    axis: str = TRAINING,
    name: str | None = None,
    height: int | None = None,
    alt: str | None = None,
    caption: str = "",
) -> Scrubber:
    """Slider over training steps: targets, a row of reconstructions a model, and the loss curves.

    Histories of films, whose snapshots are (N, K, H, W, 3), get a second slider, over the frames:
    first those given to the models (`History.context`, where there is one), then the K predicted
    ones. The first four clips are shown, of three models three, of more two.

    Loss curves are smoothed by medians, with the raw ones faint behind them. A slider over anything
    but training steps is there to guess by: it stands at its beginning, the curve appears as far
    as it has been moved, and neither the still picture nor its description says values.

    Arrow keys move it, space plays, F is full screen, and a button saves the step as a PNG. Set
    `index` to move it from Python; `export` writes it as a film.

    The pictures are lossy WebP, 640 kB at most: do not measure pixels in them.

    Args:
        histories: one run's history, or name -> history. All are of the same pictures, of which the
            first six are shown. A run that was stopped early keeps its last picture.
        titles: one a picture.
        metric: what the loss is called.
        axis: what the slider moves over.
        name: of the still picture under screenshots/, of a step that is saved, and in links to it.
        height: of one picture on the page, in CSS pixels, at most (default: as suits a page). They
            are smaller where else pictures, chart and slider would not be in view together.
        alt: description of the still picture.
        caption: what to look at; the course's site writes it under the scrubber, in place of `alt`.

    Returns:
        The widget; a cell that ends with it shows it.

    Raises:
        ValueError: when a history has no snapshot yet, or when they are not of the same pictures.
    """
    named = _by_name(histories)
    _check_histories(named, titles)
    runs = list(named.values())
    tall, wide = targets(runs[0]).shape[-3:-1]
    width = ROOM.picture_width((tall, wide), len(runs) + 1, shown_count(runs))
    if height:
        width = round(height * wide / tall)
    atlas, spec = encode(runs, width)
    spec |= _description(named, titles, metric, axis, spec["steps"])
    spec["alt"] = alt or spec["alt"]
    spec |= {"width": width, "pixelated": wide < width}
    index = 0 if spec["guess"] else len(spec["steps"]) - 1
    state = {"atlas": atlas, "spec": spec, "index": index, "name": name, "caption": caption}
    if is_film(runs[0]):  # its targets are in the atlas
        given = len(context_frames(runs))
        spec |= {"given": given, "frames": frame_captions(given, targets(runs[0]).shape[1])}
        state["frame"] = given
    else:
        row = side_by_side(targets(runs[0])[: spec["pictures"]], tuple(spec["cell"]))
        state["targets"] = image_bytes(Image.fromarray(row), "WEBP", quality=90)
    still = poster(named, metric, axis, not spec["guess"], titles)
    return Scrubber(poster=still, **state)


def _by_name(histories: dict[str, History] | History) -> dict[str, History]:
    if isinstance(histories, dict):
        return histories
    return {"prediction" if is_film(histories) else "reconstruction": histories}


def _check_histories(named: dict[str, History], titles: Sequence[str]) -> None:
    """Raises ValueError for histories that cannot be shown, or not together."""
    if not named:
        remedy = "pass run.history, or {'name': run.history, ...}"
        raise ValueError(f"scrub: no histories given; {remedy}")
    for name, run in named.items():
        if run.target is None or not run.snapshots or not run.loss:
            remedy = "train it first, in a TrainingRun(watched=images), then scrub run.history"
            raise ValueError(f"scrub: {name!r} has no snapshots yet; {remedy}")
    first = targets(next(iter(named.values()))).shape
    for name, run in named.items():
        target = targets(run).shape
        snapshot = run.snapshots[0].shape
        if target != first:
            raise ValueError(f"scrub: pictures of {name!r} are {target}, the first's {first}")
        if snapshot[:-3] != first[:-3]:
            raise ValueError(f"scrub: snapshots of {name!r} are {snapshot}, not as {first}")
    if titles and len(titles) != first[0]:
        raise ValueError(
            f"scrub: {len(titles)} titles for {first[0]} pictures; give one each or none"
        )


def _description(
    named: dict[str, History], titles: Sequence[str], metric: str, axis: str, steps: Sequence[int]
) -> dict[str, Any]:
    """What the widget writes: names, titles, values and curves."""
    runs = list(named.values())
    shown = shown_count(runs)
    guess = axis != TRAINING
    curves = [loss_curve(run.loss, steps) for run in runs]
    spec = {
        "names": list(named),
        "looks": [look._asdict() for look in looks_of(named)],
        "titles": [str(title) for title in titles][:shown],
        "metric": metric,
        "axis": axis,
        "pictures": shown,
        "ends": [len(run.loss) for run in runs],
        "values": [],
        "accuracy": [],
        "curves": curves,
        "guess": guess,
    }
    if not guess:
        pairs = zip(runs, curves, strict=True)
        spec["smooth"] = [smooth_curve(run.loss, at) for run, (at, _) in pairs]
    changes = []
    for name, run in named.items():
        values = [value_at(run.loss, step) for step in steps]
        percents = [percent_at(run.accuracy, step) for step in steps] if run.accuracy else None
        spec["values"].append(values)
        spec["accuracy"].append(percents)
        changes.append(f"{name}: {metric} {value_text(values[0])} to {value_text(values[-1])}")
    what = "Pictures as reconstructed"
    if is_film(runs[0]):
        what = f"{targets(runs[0]).shape[1]} frames as predicted"
    spec["alt"] = f"{what}, {axis} {steps[0]} to {steps[-1]}."
    if not guess:
        spec["alt"] += f" {'; '.join(changes)}."
    return spec


# --- the atlas ---


class Rung(NamedTuple):
    """One way to make an atlas smaller; the rungs of a ladder are tried from the best one down."""

    steps: int
    scale: float  # source pixels a CSS pixel
    quality: int  # of the WebP


# Chosen by eye on photographs.
PHOTO_LADDER = [
    Rung(60, 1.3, 82),
    Rung(60, 1.1, 82),
    Rung(60, 1.1, 72),
    Rung(60, 1.0, 72),
    Rung(60, 1.0, 64),
    Rung(48, 1.0, 64),
    Rung(48, 0.85, 72),
    Rung(48, 0.85, 60),
    Rung(40, 0.85, 55),
    Rung(40, 0.7, 50),
    Rung(32, 0.7, 45),
    Rung(24, 0.6, 40),
    *(Rung(max(2, int(24 * 0.8**i)), 0.6 * 0.8**i, 35) for i in range(1, 10)),
]


def encode(
    runs: Sequence[History], width: int, budget: int = ATLAS_BYTES
) -> tuple[bytes, dict[str, Any]]:
    """One WebP of all snapshots. Quality, number of steps and resolution give way until it fits.

    A tile holds up to six pictures side by side. A snapshot of a film takes a tile a frame.

    Args:
        runs: histories of the same pictures.
        width: of one picture on the page, in CSS pixels.
        budget: bytes, at most.

    Returns:
        The file, and where things are in it. `steps`: the union of the runs' snapshot steps, or as
        many of them as fit. `tiles`: for each run and step, the place of its last snapshot at or
        before that step. `columns`: tiles in a row of the atlas. `cell`: width and height of one
        picture. For films also `film`: the place of the frames given, with the targets after them;
        and `pad`: pixels around each picture.

    Raises:
        ValueError: when not even two steps fit.
    """
    target = targets(runs[0])
    film = is_film(runs[0])
    count = shown_count(runs)
    tall, wide = target.shape[-3:-1]
    known = [*context_frames(runs), *frames_of(target)] if film else []
    pad = PAD if film else 0
    packer = AtlasPacker(budget, pad, period=len(frames_of(target)), remember=film)
    union = sorted(set().union(*(run.snapshot_steps for run in runs)))
    for rung in _film_ladder(wide, width) if film else PHOTO_LADDER:
        steps = [union[i] for i in evenly(len(union), rung.steps)]
        frames, places = _frames_at(runs, steps)
        tiles = [pictures[:count] for pictures in (*frames, *known)]
        cell = cell_size(wide, tall, rung.scale * width)
        atlas = packer.pack(tiles, cell, rung.quality)
        if atlas:
            spec = {"steps": steps, "tiles": places, "columns": atlas.columns, "cell": list(cell)}
            if film:
                spec |= {"film": len(frames), "pad": pad}
            return atlas.data, spec
    raise ValueError(f"scrub: {budget} bytes hold no two steps of {len(runs)} x {count} pictures")


def _frames_at(
    runs: Sequence[History], steps: Sequence[int]
) -> tuple[list[np.ndarray], list[list[int]]]:
    """Frames of all snapshots that these steps show; for each run and step, where they begin."""
    frames: list[np.ndarray] = []
    places = []
    for run in runs:
        row = [last_snapshot(run, step) for step in steps]
        place = {}
        for index in dict.fromkeys(row):
            place[index] = len(frames)
            frames += list(frames_of(run.snapshots[index]))
        places.append([place[index] for index in row])
    return frames, places


def _film_ladder(wide: int, width: int) -> list[Rung]:
    """The many frames of films leave room for few steps: what is lost in all three is balanced."""
    full = min(1.1, wide / width)

    def loss(rung: Rung) -> float:
        of_steps = 12 / rung.steps
        of_scale = 2.5 * (full / rung.scale - 1)
        of_quality = (80 - rung.quality) / 20
        return of_steps + of_scale + of_quality

    steps = (60, 48, 40, 32, 24, 20, 16, 12, 10, 8, 6, 4, 2)
    scales = [full * 0.85**i for i in range(14)]
    rungs = [Rung(*choice) for choice in product(steps, scales, (80, 70, 60, 45))]
    return sorted(rungs, key=loss)
