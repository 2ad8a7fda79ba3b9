"""Videos that tests write, and how they read the frames again."""

import os
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV reads the videos")


@contextmanager
def usual_priority():
    """SVT-AV1, when it is root's, makes the calling thread real-time, and so what is started later.

    A browser at such a priority starves what it waits for.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def write(
    path, pictures, codec="libx264", fmt="yuv420p", stamps=None, rate=25, pixels=None, **options
):
    """A video of uint8 pictures (H, W, 3 or 4), at `stamps` (milliseconds) or `rate` a second."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    with (
        usual_priority(),
        av.open(str(path), "w", options=options.pop("container", {})) as container,
    ):
        stream = container.add_stream(
            codec, rate=rate, options={k: str(v) for k, v in options.items()}
        )
        stream.height, stream.width, _ = pictures[0].shape
        stream.pix_fmt = fmt
        if pixels:
            stream.codec_context.sample_aspect_ratio = Fraction(*pixels)
        unit = Fraction(1, 1000) if stamps else Fraction(1, rate)
        stream.codec_context.time_base = unit
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(
                picture, "rgb24" if picture.shape[2] == 3 else "rgba"
            )
            frame.pts, frame.time_base = stamps[index] if stamps else index, unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def ramp(count, height=48, width=64):
    """Plain pictures, of which each tells its number by its brightness: 20 + 5 times the number."""
    return [np.full((height, width, 3), 20 + 5 * index, np.uint8) for index in range(count)]


def numbers(clips):
    """The numbers (N, T) of the pictures of a ramp."""
    return ((clips.mean((2, 3, 4)) * 255 - 20) / 5).round().int().tolist()


def texture(height=48, width=64, seed=0):
    return np.random.default_rng(seed).integers(0, 40, (height, width, 1), dtype=np.uint8)


def marked(height=48, width=64):
    """Black, white in the upper left quarter."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = 255
    return picture


def write_drift(path, seed=0, frames=24):
    """A video of a texture that drifts to the left."""
    rng = np.random.default_rng(seed)
    ground = np.kron(rng.integers(0, 256, (12, 24, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
    path.parent.mkdir(exist_ok=True)
    pictures = [np.ascontiguousarray(ground[:, frame : frame + 64]) for frame in range(frames)]
    write(path, pictures, codec="ffv1", fmt="bgra")
