"""What still and moving dead leaves share: sizes, colours and textures as photographs have them."""

from __future__ import annotations

import numpy as np

# Directions of colour, each of no brightness: red against blue, magenta against green.
OPPONENT_COLOURS = np.array([[1, 0, -1], [0.35, -0.7, 0.35]])


def leaf_radii(rng: np.random.Generator, count: int, smallest: float, largest: float) -> np.ndarray:
    """Radii of density r^-3 from `smallest` to `largest`, (count,): alike at every scale.

    See Lee, Mumford & Huang 2001, section 3.
    """
    spread = rng.random(count)
    inverse_squares = smallest**-2 + spread * (largest**-2 - smallest**-2)
    return inverse_squares**-0.5


def leaf_stretch(rng: np.random.Generator, count: int) -> np.ndarray:
    """By how much each leaf is longer than it is wide, (count,), around 1."""
    return np.exp(rng.normal(0, 0.35, count))


def leaf_colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """Colours of the leaves of one picture, (count, 3), float32.

    They differ more in brightness than in hue, as those of one photograph do.
    """
    brightness = rng.uniform(0.25, 0.75) + rng.normal(0, 0.25, count)
    brightness = np.clip(brightness, 0.02, 0.98)
    common_hue = rng.normal(0, 0.06, 2)
    hue = common_hue + rng.standard_t(3, (count, 2)) * rng.uniform(0.01, 0.07)
    colours = brightness[:, None] + hue @ OPPONENT_COLOURS
    return colours.astype(np.float32)


def leaf_contrast(rng: np.random.Generator, count: int) -> np.ndarray:
    """Standard deviation of each leaf's texture, (count,)."""
    return np.abs(rng.standard_t(3, count)) * rng.uniform(0.01, 0.06)


def noise_tile(
    rng: np.random.Generator, side: int, slope: float, finest: float = np.inf
) -> np.ndarray:
    """Noise that tiles the plane, of mean 0 and unit variance, (side, side).

    Args:
        rng: decides the phases.
        side: in texels.
        slope: the power at frequency f is 1/f^slope (1: grain, 3: clouds).
        finest: the frequency, in waves a texel, from which on there is none.
    """
    rows = np.fft.fftfreq(side)
    columns = np.fft.rfftfreq(side)
    frequency = np.hypot(rows[:, None], columns[None])  # (side, side // 2 + 1)
    present = (frequency > 0) & (frequency < finest)
    amplitude = np.where(present, np.maximum(frequency, 1e-6) ** (-slope / 2), 0)
    phase = np.exp(2j * np.pi * rng.random(frequency.shape))
    noise = np.fft.irfft2(amplitude * phase, (side, side))
    return noise / noise.std()
