"""TrainingRun: everything around a training loop, so that the loop itself stays the reader's."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from eon_utils.config import RUNS, device

SNAPSHOTS, SNAPSHOT_WIDTH = 60, 256


@dataclass
class History:
    """What a run leaves behind; step k means: after k updates."""

    loss: list[float] = field(default_factory=list)  # one a step
    accuracy: list[float] = field(default_factory=list)  # one a step, a fraction; empty if not logged
    seconds: list[float] = field(default_factory=list)  # training time so far, one a step
    snapshot_steps: list[int] = field(default_factory=list)
    snapshots: list[np.ndarray] = field(default_factory=list)  # uint8, each (N, H, W, 3); films (N, K, H, W, 3)
    measures: list[dict[str, float]] = field(default_factory=list)  # one a snapshot: what `measure` returned
    target: np.ndarray | None = None  # uint8, as a snapshot
    context: np.ndarray | None = None  # uint8 (N, C, H, W, 3): the frames from which a film is predicted

    def first(self, accuracy: float) -> tuple[int, float] | None:
        """Step and seconds at which the logged accuracy first reached a level; None if it never did."""
        step = next((i for i, a in enumerate(self.accuracy) if a >= accuracy), None)
        return None if step is None else (step, self.seconds[step])


class TrainingRun:
    """One training of one model. The loop is yours:

        run = TrainingRun(model, steps=1000, lr=3e-3, probe=photos, name="02-v4")
        async for step, batch in run.batches(photos):     # a plain `for` in scripts
            loss = F.huber_loss(run(batch), batch)
            run.step(loss)

    `async for` hands control back for a moment at each screen update: that is what lets the Stop button through
    while a cell runs. Stop and the interrupt button end the loop after the current step; everything so far stays
    usable. A loss that is NaN or above `explode` times the first one ends the loop too, in the last good state.

    model, optimizer: any; without an optimizer, Adam(lr), fused (one pass over the weights). warmup: over so many
    steps the rate rises from 0. cooldown: over this last share of the steps it falls to 0, which settles what a
    constant rate keeps shaking. steps: updates in all. probe: images (N, 3, H, W) in [0, 1] reconstructed at <= 60
    log-spaced steps, and at `marks`; or what a film is predicted from, frames (N, C, 3, H, W) as a rule. target:
    what the results should be (default: the probe), for a film (N, K, 3, H, W). predict: (model, probe) ->
    results, shaped as the target (default: model(probe)). measure: called with the model (eval mode, no gradient)
    at the same steps, returns numbers to keep. live: a panel of `live_panel()`, or None. resume: go on from the
    checkpoint `folder/name.safetensors` if there is one. fabric: for several GPUs, nodes or another precision; the
    default is one device. tensorboard: also log there. Raises ValueError for a checkpoint of something else, and
    when results and target differ in shape.
    """

    def __init__(
        self,
        model: nn.Module,
        steps: int,
        *,
        name: str,
        lr: float = 1e-3,
        warmup: int = 0,
        cooldown: float = 0.0,
        optimizer: torch.optim.Optimizer | None = None,
        probe: Tensor | None = None,
        target: Tensor | None = None,
        predict: Callable[[nn.Module, Tensor], Tensor] | None = None,
        marks: tuple[int, ...] = (),
        measure: Callable[[nn.Module], dict[str, float]] | None = None,
        explode: float = 1e4,
        resume: bool = False,
        live: Any = None,  # noqa: ANN401  (a LivePanel: one floor up, so not imported here)
        folder: str | Path | None = None,
        fabric: Fabric | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.fabric = fabric or Fabric(accelerator=device().type, devices=1)
        self.module = model
        optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=lr, fused=True)
        self.wrapped, self.optimizer = self.fabric.setup(model, optimizer)
        self.rates, self.warmup, self.cooldown = [g["lr"] for g in optimizer.param_groups], warmup, cooldown
        self.steps, self.name, self.explode, self.measure, self.live = steps, name, explode, measure, live
        self.probe = None if probe is None else self.fabric.to_device(probe)
        self.at = _log_spaced(steps, marks)
        self.predict, self.history = predict or (lambda model, given: model(given)), History()
        if probe is not None:
            self.history.target = to_uint8(self.probe if target is None else target)
            self.history.context = to_uint8(self.probe) if target is not None and probe.ndim == 5 else None
        folder = Path(folder or os.environ.get("EON_CHECKPOINTS") or RUNS / "checkpoints")
        self.path = folder / f"{name}.safetensors"
        self.done, self.status, self.stopping, self._kept_previous = 0, "new", False, False
        self._good: tuple[int, dict[str, Tensor]] | None = None
        self._logs = _tensorboard(self.path.with_suffix("")) if tensorboard else None
        if resume:
            self._load()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The model's forward pass, on the run's device(s) and in its precision."""
        return self.wrapped(*inputs)

    def batches(self, stream: Tensor | Callable[[int], Tensor]) -> _Batches:
        """(step, batch) for each step to do. stream: one batch for all steps, or a function step -> batch."""
        return _Batches(self, stream)

    def step(self, loss: Tensor, accuracy: float | Tensor | None = None) -> None:
        """Backward pass, one optimiser step, log."""
        if self._healthy(loss):
            self.optimizer.zero_grad()
            self.fabric.backward(loss)
            self.optimizer.step()
            self._append(loss, accuracy)

    def log(self, loss: Tensor, accuracy: float | Tensor | None = None) -> None:
        """Log only: for a loop that writes the backward pass and the optimiser step out itself."""
        if self._healthy(loss):
            self._append(loss, accuracy)

    def _append(self, loss: Tensor, accuracy: float | Tensor | None) -> None:
        self.history.loss.append(float(loss.detach()))
        if accuracy is not None:
            self.history.accuracy.append(float(accuracy))
        if self._logs is not None:
            self._logs.add_scalar("loss", self.history.loss[-1], self.done)

    def _healthy(self, loss: Tensor) -> bool:
        value, first = float(loss.detach()), (self.history.loss or [float(loss.detach())])[0]
        if math.isfinite(value) and value <= self.explode * max(first, 1e-12):
            return True
        self.status, self.stopping = "diverged", True
        bad = self.done
        if self._good:
            self.done, state = self._good
            self.module.load_state_dict(state)
        for series in (self.history.loss, self.history.accuracy, self.history.seconds):
            del series[self.done :]
        self._say(
            f"{self.name} diverged at step {bad}: loss {value:.3g}. The state of step {self.done} is kept."
            " A lower learning rate is the usual remedy."
        )
        return False

    def _walk(self, stream: Tensor | Callable[[int], Tensor]) -> Iterator[tuple[int, Tensor]]:
        """The loop around the reader's loop: what happens before, between and after the steps."""
        batch = self.fabric.to_device(stream) if isinstance(stream, Tensor) else None
        seconds = self.history.seconds[-1] if self.history.seconds else 0.0
        self.status, self.stopping, told, saved = "running", False, False, time.monotonic()
        shown, pause = 0.0, 0.1
        hidden = bool(self.live) or not sys.stderr.isatty()
        bar = tqdm(total=self.steps, initial=self.done, desc=self.name, disable=hidden)
        if self.live:
            self.live.start(self.name, self.steps)
        try:
            with _interrupt_stops(self):
                while self.done < self.steps and not self.stopping:
                    if self.done in self.at:
                        self._snapshot()
                    self.wrapped.train()
                    self._set_rates()
                    given = batch if batch is not None else self.fabric.to_device(stream(self.done))
                    start = time.perf_counter()
                    yield self.done, given
                    if self.status == "diverged":
                        break
                    seconds += time.perf_counter() - start
                    self.history.seconds.append(seconds)
                    self.done += 1
                    bar.update()
                    self.stopping |= bool(self.live) and self.live.stop_requested
                    if self.live and (now := time.monotonic()) - shown > pause:
                        self._show(seconds)
                        shown = time.monotonic()
                        pause = max(0.1, 3 * (shown - now))  # a film takes long to predict
                    if not (self.live or told) and seconds > 5:
                        told, left = True, (self.steps - self.done) * seconds / len(self.history.seconds)
                        if left > 60:
                            self._say(f"{self.name}: about {left / 60:.0f} minutes to go on this machine")
                    if time.monotonic() - saved > 60:
                        self.save()
                        saved = time.monotonic()
            if self.status == "running":
                self.status = "finished" if self.done >= self.steps else "stopped"
        finally:
            if self.status == "running":
                self.status = "failed"
            bar.close()
            self._finish(seconds)

    def _set_rates(self) -> None:
        """Learning rates rise in a straight line over the warm-up, and fall in one over the cool-down."""
        left = (self.steps - self.done) / max(self.cooldown * self.steps, 1)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * min(1.0, left, (self.done + 1) / (self.warmup + 1))

    def _finish(self, seconds: float) -> None:
        loss = f", loss {self.history.loss[-1]:.3g}" if self.history.loss else ""
        of = "" if self.done == self.steps else f" of {self.steps:,}"
        if self.status != "failed":
            self._snapshot()
            self.save()
        summary = f"{self.name}: {self.status} after {self.done:,}{of} steps, {seconds:.1f} s{loss}"
        if self.live:
            self.live.finish(summary)
        else:
            self._say(summary)
        if self._logs is not None:
            self._logs.flush()
        self.wrapped.eval()

    def _say(self, text: str) -> None:
        if self.fabric.is_global_zero:
            print(text, flush=True)

    def _show(self, seconds: float) -> None:
        rate = self.done / max(seconds, 1e-9)
        image = None if self.probe is None else self._pictures()
        self.live.update(self.done, self.history, image, rate, (self.steps - self.done) / rate)

    @torch.no_grad()
    def _pictures(self) -> np.ndarray:
        self.module.eval()
        found, target = to_uint8(self.predict(self.module, self.probe)), self.history.target
        if found.shape[:-3] != target.shape[:-3]:
            raise ValueError(f"{self.name}: the probe's pictures are {found.shape}, the target's {target.shape}")
        return found

    @torch.no_grad()
    def _snapshot(self) -> None:
        """Picture, measures and a copy of the weights at this step. Draws no random number of the training's."""
        if not self.fabric.is_global_zero or self.done in self.history.snapshot_steps:
            return
        with torch.random.fork_rng():
            if self.probe is not None:
                self.history.snapshots.append(self._pictures())
            self.module.eval()
            self.history.measures.append(self.measure(self.module) if self.measure else {})
        self.history.snapshot_steps.append(self.done)
        weights = {k: v.detach().to("cpu", copy=True) for k, v in self.module.state_dict().items()}
        self._good = (self.done, weights)

    def save(self) -> None:
        """Weights, optimiser, random state and history into one safetensors file, written whole or not at all."""
        if not self.fabric.is_global_zero:
            return
        tensors = {f"model.{k}": v for k, v in self.module.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        for key in ("loss", "accuracy", "seconds", "snapshot_steps"):
            tensors[f"history.{key}"] = torch.tensor(getattr(self.history, key), dtype=torch.float64)
        if self.history.snapshots:
            tensors["history.snapshots"] = torch.from_numpy(np.stack(self.history.snapshots))
        measures, probe = json.dumps(self.history.measures), self._fingerprint()
        about = {"step": str(self.done), "measures": measures, "probe": probe}
        partial, previous = self.path.with_suffix(".partial"), self.path.with_suffix(".previous.safetensors")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, partial, about)
            about_old = _about(self.path)
            ours = about_old.get("probe") == about["probe"] and int(about_old.get("step", 0)) <= self.done
            if about_old and not ours and not self._kept_previous:
                self.path.replace(previous)  # longer work, or work on other pictures
            partial.replace(self.path)
            self._kept_previous = True
            about_old = _about(previous)
            if about_old.get("probe") == about["probe"] and int(about_old["step"]) <= self.done:
                previous.unlink()
        except (OSError, SafetensorError) as error:  # a full disk must not end a training
            partial.unlink(missing_ok=True)
            warnings.warn(f"checkpoint {self.path.name} not written ({error}); the training goes on", stacklevel=2)

    def _fingerprint(self) -> str:
        shown = [some.tobytes() for some in (self.history.target, self.history.context) if some is not None]
        return hashlib.sha256(b"".join(shown)).hexdigest() if shown else ""

    def _load(self) -> None:
        if not self.path.exists():
            self._say(f"{self.name}: no checkpoint to resume, starting anew")
            return
        try:
            with safe_open(self.path, framework="pt") as file:
                about, saved = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            if about["probe"] != self._fingerprint():
                raise RuntimeError("it was trained on other pictures, or at another size")
            self.module.load_state_dict({k[6:]: v for k, v in saved.items() if k.startswith("model.")})
        except (SafetensorError, RuntimeError, KeyError, TypeError) as error:
            remedy = "train with resume=False to start anew (the old file is kept as .previous)"
            raise ValueError(f"cannot resume from {self.path.name}; {remedy}: {error}") from error
        state: dict[int, dict[str, Tensor]] = {}
        for key in (k for k in saved if k.startswith("optimizer.")):
            _, index, entry = key.split(".")
            state.setdefault(int(index), {})[entry] = saved[key]
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        torch.set_rng_state(saved["random.cpu"])
        if "random.cuda" in saved and torch.cuda.is_available():
            torch.cuda.set_rng_state(saved["random.cuda"])
        for key in ("loss", "accuracy", "seconds"):
            setattr(self.history, key, saved[f"history.{key}"].tolist())
        self.history.snapshot_steps = [int(s) for s in saved["history.snapshot_steps"].tolist()]
        self.history.snapshots = list(saved["history.snapshots"].numpy()) if "history.snapshots" in saved else []
        self.history.measures = json.loads(about["measures"])
        self.done, self._kept_previous = int(about["step"]), True
        self._say(f"{self.name}: resumed at step {self.done:,} of {self.steps:,}")


class _Batches:
    """The same steps for `for` and for `async for`."""

    def __init__(self, run: TrainingRun, stream: Tensor | Callable[[int], Tensor]) -> None:
        self.run, self.stream = run, stream

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        return self.run._walk(self.stream)

    async def __aiter__(self) -> AsyncIterator[tuple[int, Tensor]]:
        last = time.monotonic()
        for item in self.run._walk(self.stream):
            yield item
            if time.monotonic() - last > 0.1:
                await asyncio.sleep(0.002)  # long enough for the front end's messages to come in
                last = time.monotonic()


class _interrupt_stops:
    """While a run is under way the first Ctrl-C or interrupt asks it to stop; the second one interrupts."""

    def __init__(self, run: TrainingRun) -> None:
        self.run, self.mine = run, threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        if self.mine:
            self.before = signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, frame: Any) -> None:  # noqa: ANN401
        if self.run.stopping:
            raise KeyboardInterrupt
        self.run.stopping = True

    def __exit__(self, *error: object) -> None:
        if self.mine:
            signal.signal(signal.SIGINT, self.before)


def _about(path: Path) -> dict[str, str]:
    """What a checkpoint says of itself; nothing when it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}


def _log_spaced(steps: int, marks: tuple[int, ...]) -> set[int]:
    """At most 60 steps from 0 to the last, evenly spaced on a log scale, and `marks` among them."""
    marks = tuple(m for m in marks if m <= steps)
    spaced = np.geomspace(1, steps + 1, SNAPSHOTS - len(marks)).round().astype(int) - 1
    return {int(s) for s in spaced} | {*marks, steps}


@torch.no_grad()
def to_uint8(images: Tensor) -> np.ndarray:
    """(N, 3, H, W) or (N, K, 3, H, W) -> uint8 (N, h, w, 3) or (N, K, h, w, 3), no wider than a scrubber's."""
    lead, images = images.shape[:-3], images.flatten(0, -4)
    if images.shape[-1] > SNAPSHOT_WIDTH:
        h = round(images.shape[-2] * SNAPSHOT_WIDTH / images.shape[-1])
        images = F.interpolate(images, (h, SNAPSHOT_WIDTH), mode="area")
    images = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1)
    return images.unflatten(0, lead).cpu().numpy()


def _tensorboard(folder: Path) -> Any:  # noqa: ANN401
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("tensorboard=True needs the package: pip install tensorboard") from error
    return SummaryWriter(str(folder))
