"""Pieces of the course's work, of any size: what `profile_course.py` measures."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import eon_utils as eon
from eon_utils.config import device
from eon_utils.models.pca_autoencoder import CODE_SIZES
from eon_utils.training import train_prior
from eon_utils.training.train_prior import log_error

Work = Callable[[], object]
NEXT = train_prior.QUESTIONS.index("next")  # a step that asks for the next frame
READ = 8  # clips that are taken of a video, whatever its length


class Size(NamedTuple):
    """How much work.

    Attributes:
        side: of a frame in pixels.
        batch: pictures or clips at once; of a source, clips made.
        frames: of a clip, or of a video.
    """

    side: int = 64
    batch: int = 4
    frames: int = 7


class Setting(NamedTuple):
    """How a training step is computed.

    Attributes:
        channels_last: the layout of convolutions in memory; False: as it ships.
        optimizer: "fused", "foreach" or "loop".
        compiled: by `torch.compile`.
        bf16: convolutions in bfloat16.
        inference: under `torch.inference_mode`; of predictions alone.
        threads: 0: as many as the measurement has.
    """

    channels_last: bool = False
    optimizer: str = "fused"
    compiled: bool = False
    bf16: bool = False
    inference: bool = False
    threads: int = 0


def _step(model: nn.Module, loss: Callable[[], Tensor], setting: Setting) -> Work:
    """A training step: forward, backward, AdamW."""
    if setting.channels_last:
        model.to(memory_format=torch.channels_last)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = setting.optimizer == "fused"
    foreach = setting.optimizer == "foreach"
    optimizer = torch.optim.AdamW(trained, 1e-4, fused=fused, foreach=foreach)
    forward = torch.compile(loss) if setting.compiled else loss

    def step() -> None:
        with torch.autocast(device().type, torch.bfloat16, enabled=setting.bf16):
            value = forward()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step


def train_v4(size: Size, setting: Setting) -> Work:
    """A step of notebook 02's V4."""
    images = torch.rand(size.batch, 3, size.side, size.side, device=device())
    model = eon.ConvAutoencoder(skips=True, noise=0.25).to(device())
    return _step(model, lambda: F.huber_loss(model(images), images), setting)


def train_autoencoder(size: Size, setting: Setting) -> Work:
    """A step of the autoencoder that ships, as `train_autoencoder.train` does it."""
    images = torch.rand(size.batch, 3, size.side, size.side, device=device())
    rough = torch.rand_like(images)
    rows = torch.arange(size.batch, device=device()) % len(CODE_SIZES)
    model = eon.load_autoencoder("v2").train().requires_grad_(True)
    model.to(memory_format=torch.channels_last)
    return _step(model, lambda: log_error(model.refine(rough, rows), images), setting)


def train_prior_step(size: Size, setting: Setting) -> Work:
    """A step of the prior that asks for the next frame."""
    clips = _clips(size)
    objective = train_prior.PriorObjective(eon.load_prior().train().requires_grad_(True))
    objective.contrast.to(device())
    return _step(objective, lambda: objective(clips, NEXT)[0], setting)


def _clips(size: Size) -> Tensor:
    """Clips that move, on the device."""
    source = eon.SOURCES["leaves"](size.batch, size.frames, size.side, 3, train=False)
    return source.stack().to(device())


def run_autoencoder(size: Size, setting: Setting) -> Work:
    """Pictures to their codes and back."""
    images = torch.rand(size.batch, 3, size.side, size.side, device=device())
    model = eon.load_autoencoder("v2")
    return _without_gradients(lambda: model(images), model, setting)


def _prior(method: str, size: Size, setting: Setting) -> Work:
    """What the prior is asked."""
    clips = _clips(size)
    prior = eon.load_prior()
    return _without_gradients(lambda: getattr(prior, method)(clips), prior, setting)


def _without_gradients(ask: Work, model: nn.Module, setting: Setting) -> Work:
    if setting.channels_last:
        model.to(memory_format=torch.channels_last)

    def answer() -> None:
        with (
            torch.inference_mode(setting.inference),
            torch.no_grad(),
            torch.autocast(device().type, torch.bfloat16, enabled=setting.bf16),
        ):
            ask()

    return answer


def _make(source: str, size: Size, setting: Setting) -> Work:
    """Clips of a source, `size.batch` of them."""
    seeds = itertools.count()  # what was made before may be kept

    def make() -> None:
        eon.SOURCES[source](size.batch, size.frames, size.side, next(seeds)).stack()

    return make


def read_video(size: Size, setting: Setting) -> Work:
    """A video of `size.frames` frames, read from beginning to end."""
    folder = tempfile.TemporaryDirectory()
    film = Path(folder.name) / "film.mp4"
    _write_film(film, size.frames)

    def read() -> None:
        assert folder  # kept as long as this function is
        eon.video_folder(film, frames=5, size=size.side, limit=READ)

    return read


def _write_film(path: Path, frames: int, width: int = 320, height: int = 240) -> None:
    """A film of a texture that moves by two pixels a frame."""
    picture = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    picture = picture.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for index in range(frames):
            moved = np.ascontiguousarray(np.roll(picture, 2 * index, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, "rgb24")))
        container.mux(stream.encode(None))


WORKS: dict[str, Callable[[Size, Setting], Work]] = {
    "V4 step": train_v4,
    "autoencoder step": train_autoencoder,
    "autoencoder": run_autoencoder,
    "prior step": train_prior_step,
    "predict": partial(_prior, "predict"),
    "flow": partial(_prior, "flow"),
    "features": partial(_prior, "features"),
    **{name: partial(_make, name) for name in eon.SOURCES},
    "video": read_video,
}
