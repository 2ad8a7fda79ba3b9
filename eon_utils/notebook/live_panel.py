"""The live panel of a training run: the loss curve, the pictures of now, and a Stop button."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import anywidget
import numpy as np
import traitlets as t
from IPython import get_ipython
from IPython.display import DisplayHandle
from PIL import Image

from eon_utils.notebook.display import image_bytes
from eon_utils.notebook.histories import FILM_AXES, loss_curve, smooth_curve, value_at, value_text
from eon_utils.notebook.sprites import CHART, CONTROLS, CSS, STATIC, evenly, side_by_side

if TYPE_CHECKING:
    from eon_utils.training.history import History

PICTURES = 3  # shown, at most
FRAMES = 5  # likewise, of the first film
STRIP_WIDTH = 840  # pixels of all pictures together, at most


class LivePanel(anywidget.AnyWidget):
    """Progress, loss curve, current reconstruction and a Stop button while a cell trains.

    The curve is smoothed, with the loss as measured faint behind it, as in a scrubber.

    The training loop calls `start`, `update` and at its end `finish`. Between updates it awaits, so
    that a press of the button (`stop_requested`) gets through. Only the summary stays in the saved
    notebook.

    Args:
        title: what the panel is headed; default: the run's name.
    """

    _esm = CONTROLS + CHART + (STATIC / "panel.js").read_text(encoding="utf-8")
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
        self.title = self.title or name
        self.steps = steps
        self.stop_requested = False
        self._display = DisplayHandle()
        self._display.display(self)

    def update(
        self, step: int, history: History, pictures: np.ndarray | None, speed: float, left: float
    ) -> None:
        """Show how far the run is.

        Args:
            step: steps done.
            history: of the run.
            pictures: uint8 (N, H, W, 3), or films (N, K, H, W, 3), the first of which is shown.
                None keeps the last ones.
            speed: steps a second.
            left: seconds to go.
        """
        text = f"step {step:,} of {self.steps:,}"
        curve: list[list] = [[], [], []]
        if history.loss:
            text += f" · loss {value_text(value_at(history.loss, step))}"
            steps, values = loss_curve(history.loss, [step])
            curve = [steps, values, smooth_curve(history.loss, steps)]
        if speed > 0 and math.isfinite(left):
            text += f" · {speed:.3g} steps/s · {_duration(left)} left"
        message = {"step": step, "text": text, "curve": curve, "pictures": 0}
        if pictures is None or not len(pictures):
            self.send(message, [])
            return
        shown = pictures[:PICTURES]
        if pictures.ndim == FILM_AXES:
            frames = evenly(pictures.shape[1], FRAMES)
            shown = pictures[0, frames]
            numbers = ", ".join(str(frame + 1) for frame in frames)
            message["film"] = f"Frames {numbers} of the first film now"
        message["pictures"] = len(shown)
        self.send(message, [_jpeg(shown)])

    def finish(self, summary: str) -> None:
        """Put `summary`, plain text, where the panel was."""
        if self._display:
            self._display.update({"text/plain": summary}, raw=True)
        self.close()


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _jpeg(pictures: np.ndarray) -> bytes:
    """Pictures (N, H, W, 3) side by side."""
    count, tall, wide = pictures.shape[:3]
    width = min(wide, STRIP_WIDTH // count)
    height = max(1, round(tall * width / wide))
    strip = side_by_side(pictures, (width, height))
    return image_bytes(Image.fromarray(strip), "JPEG", quality=82)


def live_panel(title: str = "") -> LivePanel | None:
    """A live panel where somebody looks: in JupyterLab. `EON_LIVE=1` or `0` overrules.

    Args:
        title: what the panel is headed; default: the run's name.

    Returns:
        The panel, for `TrainingRun(live=...)`; None in papermill and in scripts.
    """
    wish = os.environ.get("EON_LIVE", "")
    in_jupyterlab = "JPY_SESSION_NAME" in os.environ
    live = wish == "1" or (in_jupyterlab and wish != "0")
    return LivePanel(title) if live and get_ipython() else None
