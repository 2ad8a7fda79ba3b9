"""A training to look at: what a prior makes of clips never seen, from untrained to the end."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from eon_utils.config import device
from eon_utils.data.files import whole_tensors
from eon_utils.data.sources import SOURCES
from eon_utils.evaluation.metrics import psnr
from eon_utils.models.prior import Prior, load_prior
from eon_utils.models.weight_files import WEIGHTS, read_weights
from eon_utils.training.history import History, to_uint8
from eon_utils.training.prior_score import FRAMES, MIDDLE, TASKS

FILE = "prior_training.safetensors"
SHOWN = ("digits", "leaves", "pans")  # sources of which a frame may be part of the project
TITLES = tuple(f"{source} {task}" for task in ("in between", "next") for source in SHOWN)
STATES = 32  # at most, of those that were judged
CLIPS = 12  # of a source, of which one is shown
LIVELY = 3  # the one that so many are livelier than
SEED = 9
QUALITY = 90  # of the WebP
POINTS = 200  # of the curve


def clips_to_show(size: int) -> Tensor:
    """A lively held-out clip of each source, (3, 5, 3, size, size)."""
    chosen = []
    for name in SHOWN:
        clips = SOURCES[name](CLIPS, FRAMES, size, SEED, train=False).stack()
        liveliest_first = psnr(clips[:, MIDDLE], clips[:, MIDDLE + 1]).argsort()
        chosen.append(clips[liveliest_first[LIVELY]])
    return torch.stack(chosen)


def pictures_of(prior: Prior, clips: Tensor) -> np.ndarray:
    """The middle frame of each clip by the others, then the last one by those before it.

    Args:
        prior: that is asked.
        clips: (N, 5, 3, H, W) in [0, 1].

    Returns:
        uint8 (2 * N, H, W, 3).
    """
    clips = clips.to(device())
    following = prior.predict(clips[:, :-1])
    middle = prior.between(clips[:, :MIDDLE], clips[:, MIDDLE + 1 :])
    return to_uint8(torch.cat([middle, following]))


def record(states: Path, history: History, size: int, before: History | None = None) -> History:
    """What the states of a training make of `clips_to_show`.

    Args:
        states: folder of them, as `PriorScore` keeps them.
        history: of the training: its loss and seconds.
        size: side of the frames in pixels.
        before: what this returned for the training that this one went on from.

    Returns:
        Pictures and `measures` of at most 32 states, loss and seconds of both trainings.
    """
    clips = clips_to_show(size)
    target = to_uint8(torch.cat([clips[:, MIDDLE], clips[:, -1]]))
    recorded = History(target=target)
    if before is not None:
        recorded.snapshot_steps += before.snapshot_steps
        recorded.snapshots += before.snapshots
        recorded.measures += before.measures
        recorded.loss += before.loss
        recorded.seconds += before.seconds
    earlier = len(recorded.loss)
    spent = recorded.spent
    recorded.loss += history.loss
    recorded.seconds += [spent + seconds for seconds in history.seconds]
    for file in sorted(states.glob("*.safetensors")):
        about = read_weights("prior", "prior", file).about
        if before is not None and not about["steps"]:
            continue  # the last one of the training before
        recorded.snapshot_steps.append(earlier + about["steps"])
        recorded.snapshots.append(pictures_of(load_prior(file), clips))
        recorded.measures.append({task: about[task] for task in TASKS})
    kept = np.linspace(0, len(recorded.snapshots) - 1, min(STATES, len(recorded.snapshots)))
    for series in (recorded.snapshot_steps, recorded.snapshots, recorded.measures):
        series[:] = [series[round(index)] for index in kept]  # pyright: ignore
    return recorded


def write_recording(recorded: History, path: Path) -> None:
    """Write pictures, measures and a smoothed loss of a training into one file, or nothing."""
    assert recorded.target is not None
    rows = np.stack([*recorded.snapshots, recorded.target])  # (S + 1, P, H, W, 3)
    count, pictures, height, width, _ = rows.shape
    sheet = rows.swapaxes(1, 2).reshape(count * height, pictures * width, 3)
    packed = BytesIO()
    Image.fromarray(sheet).save(packed, "WEBP", quality=QUALITY, method=6)
    steps = np.unique(np.geomspace(1, len(recorded.loss), POINTS).astype(int)) - 1
    tensors = {
        "pictures": np.frombuffer(packed.getvalue(), np.uint8),
        "steps": np.array(recorded.snapshot_steps),
        "measures": np.array(
            [[one[task] for task in TASKS] for one in recorded.measures], np.float32
        ),
        "curve_steps": steps,
        "curve": np.array([_mean_around(recorded.loss, int(step)) for step in steps], np.float32),
        "seconds": np.array([recorded.seconds[step] for step in steps]),
    }
    facts = {"shape": json.dumps([count, pictures, height, width]), "last": str(len(recorded.loss))}
    with whole_tensors(path) as partial:
        save_file(tensors, partial, facts)


def read_recording(path: str | Path | None = None) -> History:
    """How the shipped prior learnt: pictures of clips never seen at steps of its training.

    Args:
        path: of a file that a training wrote beside its weights; None: the shipped one's.

    Returns:
        A history to scrub, of the six pictures `TITLES`. Its loss is smoothed, its seconds are
        interpolated. Its `measures` are dB above optical flow on the videos by which the training
        was judged.

    Raises:
        ValueError: if the file is missing or damaged.

    Examples:
        >>> read_recording().snapshots[0].shape
        (6, 64, 64, 3)
    """
    file = Path(path).expanduser() if path else WEIGHTS / FILE
    try:
        with safe_open(file, framework="np") as saved:
            facts = saved.metadata()
            tensors = {key: saved.get_tensor(key) for key in saved.keys()}  # noqa: SIM118
        sheet = Image.open(BytesIO(tensors["pictures"].tobytes())).convert("RGB")
        count, pictures, height, width = json.loads(facts["shape"])
        rows = np.asarray(sheet).reshape(count, height, pictures, width, 3).swapaxes(1, 2)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        remedy = "`make prior` writes it beside the weights"
        raise ValueError(f"{file.name} cannot be read as a training: {error}; {remedy}") from error
    every = np.arange(int(facts["last"]))
    measures: list[dict[str, float]] = []
    for row in tensors["measures"]:
        measures.append(dict(zip(TASKS, map(float, row), strict=True)))
    return History(
        loss=np.interp(every, tensors["curve_steps"], tensors["curve"]).tolist(),
        seconds=np.interp(every, tensors["curve_steps"], tensors["seconds"]).tolist(),
        snapshot_steps=tensors["steps"].tolist(),
        snapshots=list(rows[:-1]),
        measures=measures,
        target=rows[-1],
    )


def _mean_around(series: list[float], step: int) -> float:
    """The mean over a window that grows with the step."""
    reach = 4 + step // 8
    window = series[max(step - reach, 0) : step + reach + 1]
    return sum(window) / len(window)
