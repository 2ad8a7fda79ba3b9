"""The live panel of a training run: the loss curve, the pictures of this moment, and a Stop button."""

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

from eon_utils.notebook.scrubber import CHART, _curve, _text, at
from eon_utils.notebook.sprites import CONTROLS, CSS, STATIC, encoded, evenly, side_by_side

if TYPE_CHECKING:
    from eon_utils.training.run import History


class LivePanel(anywidget.AnyWidget):
    """Progress, loss curve, current reconstruction and a Stop button while a cell trains.

    The training loop calls `start`, `update` and, in a `finally`, `finish`; between updates it awaits, so
    that a press of the button (`stop_requested`) gets through. Only the summary stays in the saved notebook.
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
        self.title, self.steps, self.stop_requested = self.title or name, steps, False
        self._display = DisplayHandle()
        self._display.display(self)

    def update(self, step: int, history: History, image: np.ndarray | None, rate: float, eta: float) -> None:
        """image: uint8 (N, H, W, 3), films (N, K, H, W, 3), the first of which is shown, or None to keep the last
        one; rate in steps a second, eta in seconds.
        """
        text = f"step {step:,} of {self.steps:,}"
        if history.loss:
            text += f" · loss {_text(at(history.loss, step))}"
        if rate > 0 and math.isfinite(eta):
            text += f" · {rate:.3g} steps/s · {_clock(eta)} left"
        curve = _curve(history.loss, [step]) if history.loss else [[], []]
        shown = [] if image is None else image[:3]
        message = {"step": step, "text": text, "curve": curve, "pictures": len(shown)}
        if len(shown) and image.ndim == 5:
            frames = evenly(image.shape[1], 5)
            shown, numbers = image[0, frames], ", ".join(str(i + 1) for i in frames)
            message |= {"pictures": len(frames), "film": f"Frames {numbers} of the first film now"}
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
    return encoded(Image.fromarray(strip), "JPEG", quality=82)


def live_panel(title: str = "") -> LivePanel | None:
    """A LivePanel in JupyterLab, None where nobody looks (papermill, scripts); EON_LIVE=1 or 0 overrides."""
    wish = os.environ.get("EON_LIVE", "")
    live = wish == "1" or (wish != "0" and "JPY_SESSION_NAME" in os.environ)
    return LivePanel(title) if live and get_ipython() else None
