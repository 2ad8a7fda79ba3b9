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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice, repeat
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset, Sampler
from tqdm.auto import tqdm

from eon_utils.config import RUNS, device
from eon_utils.threads import core_watch
from eon_utils.training import checkpoint, identity, processes
from eon_utils.training.history import History, snapshot_steps, to_uint8

# What a process asks for after a step; the highest of all holds for all.
GO_ON, SAVE, TIME_IS_UP, STOP = range(4)
SAVE_EVERY = 60.0  # seconds between checkpoints
SHOW_EVERY = 0.1  # likewise between updates of the live panel


class TrainingRun:
    """One training of one model. The loop is yours:

        run = TrainingRun(model, steps=1000, lr=3e-3, watched=photos, name="02-v4")
        async for step, batch in run.batches(photos):     # a plain `for` in scripts
            loss = F.huber_loss(run(batch), batch)
            run.step(loss)

    `async for` hands control back for a moment at each screen update: that is what lets the Stop
    button through while a cell runs. Stop, the interrupt button, Ctrl-C and SIGTERM, which clusters
    send before they kill, end the loop after the current step; everything so far stays usable. A
    loss that is NaN or above `explode` times the first one ends the loop too, in the last good
    state.

    With several processes each sees its share of every batch: number r of W has each W-th clip,
    from clip r on. All log the mean of their losses, and go the same way after each step. The first
    one measures, and saves. When one is lost, the others save a checkpoint and end with an error.
    One is lost that ends, and one that the others have waited for `processes.LOST_AFTER` seconds;
    they have more patience at the first step, and while one measures or saves.

    What each of several processes draws from PyTorch's generator is its own: it depends on the
    seed, the step and the process's number. So a training that is resumed on several processes
    draws what they would have drawn from the start. One process alone has a single stream, which
    the checkpoint keeps. Where one goes on for several, or the other way round, what is drawn from
    then on follows from the checkpoint.

    Args:
        model: any module.
        steps: updates in all.
        name: of the run and its checkpoint.
        lr: learning rate of the default optimizer, Adam, fused (one pass over the weights).
        optimizer: another one.
        warmup: over so many steps the learning rate rises from 0.
        cooldown: over this last share of the steps it falls to 0, which settles what a constant one
            keeps shaking.
        seconds: end after so many of training, if `steps` do not end it before; the cool-down falls
            with them. Loading batches counts, what is watched, measured and saved does not.
        clip_norm: the largest norm of all gradients together; longer ones are scaled to it.
        average: keep a moving average of the weights with this decay per step, `trained`.
        watched: what the model returns of these is kept at <= 60 log-spaced steps, and at `marks`:
            images (N, 3, H, W) in [0, 1]; or what a film is predicted from, frames (N, C, 3, H, W)
            as a rule.
        target: what should come of `watched` (default: the same), for a film (N, K, 3, H, W).
        predict: (model, watched) -> results, shaped as the target (default: model(watched)).
        marks: further steps at which to look.
        measure: called with the model (eval mode, no gradient) at the same steps, returns numbers
            to keep.
        explode: how many times the first loss is too much.
        resume: go on from the checkpoint `folder/name.safetensors` if there is one. What
            `training.identity` knows of a training must be the same; until the cool-down begins,
            `steps` and `seconds` may be others. Any number of processes may resume; all of them
            read the checkpoint.
        facts: what else shapes the training, such as {"loss": "huber"}: numbers and texts that are
            compared when it is resumed. "data" in it is compared instead of the batches.
        live: a panel of `live_panel()`, or None.
        folder: of the checkpoint; the default is `runs/checkpoints`, or `$EON_CHECKPOINTS`.
        fabric: for several GPUs, nodes or another precision; the default is one device.
        tensorboard: also log there.

    Raises:
        ValueError: for a checkpoint of something else: of other pictures, another model, optimizer
            or setting of them (noise, learning rate), or of more steps; for one that is damaged;
            where processes find different ones; and when results and target differ in shape.
        ConnectionError: in a step, when another process is lost. From then on SIGTERM does nothing,
            so that a launcher that ends this process, too, does not cut its last words off.
    """

    def __init__(
        self,
        model: nn.Module,
        steps: int,
        *,
        name: str,
        lr: float = 1e-3,
        optimizer: torch.optim.Optimizer | None = None,
        warmup: int = 0,
        cooldown: float = 0.0,
        seconds: float | None = None,
        clip_norm: float | None = None,
        average: float | None = None,
        watched: Tensor | None = None,
        target: Tensor | None = None,
        predict: Callable[[nn.Module, Tensor], Tensor] | None = None,
        marks: tuple[int, ...] = (),
        measure: Callable[[nn.Module], dict[str, float]] | None = None,
        explode: float = 1e4,
        resume: bool = False,
        facts: Mapping[str, Any] | None = None,
        live: Any = None,  # noqa: ANN401  (a LivePanel: a wing further down, so not imported here)
        folder: str | Path | None = None,
        fabric: Fabric | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.steps = steps
        self.name = name
        self.warmup = warmup
        self.cooldown = cooldown
        self.seconds = seconds
        self.clip_norm = clip_norm
        self.explode = explode
        self.measure = measure
        self.live = live
        self.fabric = fabric or Fabric(accelerator=device().type, devices=1)
        self.module = model
        self._optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=lr, fused=True)
        self.wrapped, self.optimizer = self.fabric.setup(model, self._optimizer)
        self.decay = average
        self.average = None if average is None else moving_average(model, average)

        self.history = History()
        self.watched = None if watched is None else self.fabric.to_device(watched)
        self.predict = predict or (lambda model, context: model(context))
        if self.watched is not None:
            self.history.target = to_uint8(self.watched if target is None else target)
            if target is not None and self.watched.ndim == 5:
                self.history.context = to_uint8(self.watched)
        self.snapshot_steps = snapshot_steps(steps, marks)

        folder = Path(folder or os.environ.get("EON_CHECKPOINTS") or RUNS / "checkpoints")
        folder = folder.expanduser()
        self.path = folder / f"{name}.safetensors"
        self.done = 0
        self._began = 0.0  # when the step under way began
        self._saved = 0.0  # when the checkpoint was last written
        self._draws: int | None = None  # seeds what several processes draw
        self._limit = processes.PATIENCE  # seconds that processes wait for each other
        self.status = "new"
        self.stopping = False
        self._good_state: dict[str, Tensor] = {}
        self._good_step = 0
        self._logs = _tensorboard(self.path.with_suffix("")) if tensorboard else None
        for group in self._optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self._facts = dict(facts or {})
        # Now: while it trains, modules may count, and rates fall.
        self._identity = self._describe()
        self._resumed: identity.Described = {}  # the batches of the checkpoint
        if resume:
            self._load()
        if self.fabric.world_size > 1:
            self._begin_together()

    @property
    def trained(self) -> nn.Module:
        """The model to use: with averaged weights where an average is kept, else with the last."""
        return self.module if self.average is None else self.average.module

    def __call__(self, *inputs: Any) -> Any:  # noqa: ANN401
        """The model's forward pass, on the run's device(s) and in its precision."""
        with self._peers():
            return self.wrapped(*inputs)

    def batches(self, stream: Tensor | DataLoader) -> _Batches:
        """(step, batch) for each step to do.

        Args:
            stream: one batch for all steps, or a loader, which begins anew when it is through. The
                order of a loader may depend on its sampler's epoch, so that a resumed run sees what
                it would have seen.

        Raises:
            ValueError: for others than those of the checkpoint that the run goes on from.
        """
        self._check_stream(stream)
        return _Batches(self, stream)

    def step(
        self, loss: Tensor, accuracy: float | Tensor | None = None, logged: Tensor | None = None
    ) -> None:
        """Backward pass, one step of the optimizer, log.

        Args:
            loss: a scalar.
            accuracy: a fraction to log beside it.
            logged: what the loss curve shows instead of the loss, a scalar.
        """
        value = self._healthy(loss if logged is None else logged, loss)
        if value is None:
            return
        right = None if accuracy is None else self._mean(accuracy)
        self.optimizer.zero_grad()
        with self._peers():
            self.fabric.backward(loss)
        if self.clip_norm is not None:
            self.fabric.clip_gradients(
                self.wrapped, self.optimizer, max_norm=self.clip_norm, error_if_nonfinite=False
            )
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.module)
        self._log(value, right)

    def log(self, loss: Tensor, accuracy: float | Tensor | None = None) -> None:
        """Log only: for a loop that writes backward pass and optimizer step out itself."""
        value = self._healthy(loss, loss)
        if value is not None:
            self._log(value, None if accuracy is None else self._mean(accuracy))

    def save(self) -> None:
        """Write the checkpoint. A full disk only warns."""
        self._settle()
        tensors = self._state()
        tensors |= checkpoint.optimizer_state(self._optimizer)
        tensors |= checkpoint.random_state()
        tensors |= checkpoint.history_state(self.history)
        facts = {"step": str(self.done), "watched": self._fingerprint()}
        facts["measures"] = json.dumps(self.history.measures)
        facts["identity"] = json.dumps(self._identity)
        facts["length"] = json.dumps([self.steps, self.seconds])
        if self._draws is not None:
            facts["draws"] = str(self._draws)
        try:
            checkpoint.write(self.path, tensors, facts)
        except OSError as error:  # a full disk must not end a training
            message = f"no checkpoint is written: {error}; the training goes on"
            warnings.warn(message, stacklevel=2)

    # --- the schedule ---

    def _schedule(self) -> LambdaLR:
        return LambdaLR(self._optimizer, self._share_of_lr, last_epoch=self.done - 1)

    def _share_of_lr(self, step: int) -> float:
        """Learning rates rise linearly over the warm-up, and fall so over the cool-down."""
        rise = (step + 1) / (self.warmup + 1)
        fall = _cooled(step, self.history.spent, self.cooldown, self.steps, self.seconds)
        return min(fall, rise)

    # --- several processes ---

    def _over_all(self, value: float | Tensor, operation: str) -> float:
        """A number's mean, minimum or maximum over all processes."""
        if self.fabric.world_size == 1:
            return float(value)
        own = torch.tensor(float(value), dtype=torch.float64, device=self.fabric.device)
        with self._peers():
            result = self.fabric.all_reduce(own, reduce_op=operation)
        assert isinstance(result, Tensor)
        return float(result)

    def _mean(self, value: float | Tensor) -> float:
        return self._over_all(value, "mean")

    def _agreed(self) -> int:
        """What all processes do next: the most that one of them asks for."""
        wish = GO_ON
        if time.monotonic() - self._saved > SAVE_EVERY:
            wish = SAVE
        if self.seconds and self.history.spent >= self.seconds:
            wish = TIME_IS_UP
        if self.stopping:
            wish = STOP
        return int(self._over_all(wish, "max"))

    def _begin_together(self) -> None:
        """The processes begin at one step, with one seed."""
        least, most = (int(self._over_all(self.done, operation)) for operation in ("min", "max"))
        if least != most:
            raise ValueError(
                f"{self.name}: some processes go on from step {most:,}, others from step {least:,};"
                f" all machines need one shared folder of checkpoints, {self.path.parent}"
            )
        if self._draws is None:
            self._draws = self.fabric.broadcast(int(torch.randint(2**62, ())))

    def _seed_draws(self) -> None:
        """Each of several processes draws numbers of its own in a step."""
        if self._draws is not None:
            sequence = np.random.SeedSequence((self._draws, self.done, self.fabric.global_rank))
            torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))

    def _resume_draws(self, facts: dict[str, str], saved: dict[str, Tensor]) -> None:
        """Go on drawing, whether one process or several have drawn before."""
        checkpoint.set_random_state(saved)
        if "draws" in facts:
            self._draws = int(facts["draws"])
            self._seed_draws()
        if self.fabric.world_size == 1:
            self._draws = None

    def _wait_at_most(self, seconds: float) -> None:
        self._limit = seconds
        processes.wait_at_most(seconds)

    @contextmanager
    def _one_alone(self) -> Iterator[None]:
        """Where the others wait for one that works: as long as it takes."""
        before = self._limit
        self._wait_at_most(processes.PATIENCE)
        with self._peers():
            yield
        self._wait_at_most(before)

    @contextmanager
    def _peers(self) -> Iterator[None]:
        """Where processes wait for each other: when one is lost the others save, and end."""
        began = time.monotonic()
        try:
            yield
        except RuntimeError as error:
            ours = self.fabric.world_size == 1 or not processes.is_of_contact(error)
            if ours or self.status in ("new", "lost"):
                raise
            self.status = "lost"
            late = time.monotonic() - began > 0.9 * self._limit
            why = f"one has not answered for {self._limit:.0f} s" if late else "one has ended"
            self._settle()
            if not self._kept_by_another():
                self.save()
            raise ConnectionError(
                f"{self.name}: process {self.fabric.global_rank} of {self.fabric.world_size} lost"
                f" touch with the others after step {self.done}: {why}. The state is kept in"
                f" {self.path}; train with resume=True to go on from it"
            ) from error

    def _kept_by_another(self) -> bool:
        """Whether another process, which was cut off as this one, has written as much or more."""
        there = checkpoint.about(self.path)
        return there.get("draws") == str(self._draws) and int(there["step"]) >= self.done

    # --- the loop around the reader's loop ---

    def _walk(self, stream: Tensor | DataLoader) -> Iterator[tuple[int, Tensor]]:
        """What happens before, between and after the steps."""
        self.status = "running"
        self.stopping = False
        self.scheduler = self._schedule()
        told = False
        self._saved = time.monotonic()
        cores = _CoreWatch(self)
        hidden = bool(self.live) or not sys.stderr.isatty() or not self.fabric.is_global_zero
        bar = tqdm(total=self.steps, initial=self.done, desc=self.name, disable=hidden)
        panel = _PanelClock(self)
        batches = self._feed(stream)
        asked = GO_ON
        try:
            with _interrupt_stops(self):
                while self.done < self.steps and (asked := self._agreed()) < TIME_IS_UP:
                    self._look_and_save(asked)
                    self.wrapped.train()
                    self._began = time.perf_counter()
                    self._seed_draws()
                    step, batch = self.done, next(batches)
                    yield step, batch
                    if self.status == "diverged":
                        break
                    if self.done == step:
                        self._count()
                    self._keep_pace()
                    bar.update()
                    panel.update()
                    told = told or self._tell_time_left()
                    cores.update()
            if self.status == "running":
                self.status = "stopped" if asked == STOP and self.done < self.steps else "finished"
        except GeneratorExit:  # `break`, or an error in the reader's loop
            if self.fabric.world_size == 1 and self.status == "running":
                self.status = "stopped"
            raise
        finally:
            if self.status == "running":
                self.status = "failed"
            bar.close()
            self._finish()

    def _look_and_save(self, asked: int) -> None:
        if asked == SAVE:
            self._save_once()
        if self.done in self.snapshot_steps:
            self._snapshot()

    def _count(self) -> None:
        """A step is done. No other process is asked: one that was just cut off counts it too."""
        self.history.seconds.append(self.history.spent + time.perf_counter() - self._began)
        self.done += 1

    def _settle(self) -> None:
        """Count a step that was done though the body of the reader's loop is not through."""
        if len(self.history.loss) > self.done:
            self._count()

    def _keep_pace(self) -> None:
        """After a step: the time and the learning rate are the same for all processes."""
        self.history.seconds[-1] = self._mean(self.history.spent)
        self.scheduler.step()
        self._wait_at_most(processes.LOST_AFTER)

    def _feed(self, stream: Tensor | DataLoader) -> Iterator[Any]:
        """Batches on the run's device, without end; each process gets its share."""
        if not isinstance(stream, Tensor):
            return self._feed_from(stream)
        if len(stream) % self.fabric.world_size:
            remedy = f"must be a multiple of {self.fabric.world_size}, the processes"
            raise ValueError(f"{self.name}: a batch of {len(stream)} {remedy}")
        share = stream[self.fabric.global_rank :: self.fabric.world_size]
        return repeat(self.fabric.to_device(share))

    def _feed_from(self, stream: DataLoader) -> Iterator[Any]:
        loader: Any = self.fabric.setup_dataloaders(stream, move_to_device=False)
        counted = not isinstance(loader.dataset, IterableDataset)
        if counted and not len(loader):
            raise ValueError(f"{self.name}: the loader has no batch: too few clips for one")
        epoch, skip = divmod(self.done, len(loader)) if counted else (0, 0)
        while True:
            sampler: Any = getattr(loader.batch_sampler, "sampler", None)
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
            with torch.random.fork_rng():  # a loader draws a seed, none of the training's numbers
                batches = iter(_rest(loader, skip))
            given = 0
            for batch in batches:
                yield self.fabric.to_device(batch)
                given += 1
            if not given and not skip:
                raise ValueError(f"{self.name}: the loader has no batch: too few clips for one")
            epoch += 1
            skip = 0

    def _tell_time_left(self) -> bool:
        """Once, where nothing else shows it: how long it will take. True when it is told."""
        if self.live or self.history.spent <= 5:
            return False
        left = self.seconds_left()
        if left > 60:
            self._say(f"{self.name}: about {left / 60:.0f} minutes to go on this machine")
        return True

    def seconds_left(self) -> float:
        """About how long the training still takes, at its mean speed so far."""
        spent = self.history.spent
        left = (self.steps - self.done) * spent / max(len(self.history.seconds), 1)
        return min(left, max(self.seconds - spent, 0.0)) if self.seconds else left

    def _look_at_last(self) -> None:
        """The last snapshot. What the reader's `measure` raises must not cost the training."""
        try:
            self._snapshot()
        except BaseException:
            self._save_what_failed()
            raise

    def _save_what_failed(self) -> None:
        """Save what was trained, though something else went wrong. No other process is asked."""
        if self.fabric.is_global_zero and self.history.loss:
            self._settle()
            self.save()

    def _finish(self) -> None:
        if self.status == "failed":
            self._save_what_failed()
        elif self.status != "lost":
            self._settle()
            self._look_at_last()
            self._save_once()
        self._wait_at_most(processes.PATIENCE)
        of = "" if self.done == self.steps or self.seconds else f" of {self.steps:,}"
        loss = f", loss {self.history.loss[-1]:.3g}" if self.history.loss else ""
        took = f"{self.history.spent:.1f} s"
        summary = f"{self.name}: {self.status} after {self.done:,}{of} steps, {took}{loss}"
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

    def _save_once(self) -> None:
        """Of several processes one writes. The others wait: one that ends may take it with it."""
        if self.fabric.is_global_zero:
            self.save()
        with self._one_alone():
            self.fabric.barrier()
        self._saved = time.monotonic()

    # --- what is logged and kept ---

    def _log(self, value: float, accuracy: float | None) -> None:
        self.history.loss.append(value)
        if accuracy is not None:
            self.history.accuracy.append(accuracy)
        if self._logs is not None:
            self._logs.add_scalar("loss", value, self.done)

    def _healthy(self, logged: Tensor, loss: Tensor) -> float | None:
        """The value to log; None, and back to the last good state, when it is out of bounds."""
        value = self._mean(logged.detach())
        backward = value if loss is logged else self._mean(loss.detach())
        first = self.history.loss[0] if self.history.loss else value
        bound = self.explode * max(first, 1e-12)
        if math.isfinite(backward) and math.isfinite(value) and value <= bound:
            return value
        bad = self.done
        self.status = "diverged"
        self.stopping = True
        if self._good_state:
            self.done = self._good_step
            self._restore(self._good_state)
        self.history.forget_after(self.done)
        self._say(
            f"{self.name} diverged at step {bad}: loss {value:.3g}. The state of step {self.done}"
            " is kept. A lower learning rate is the usual remedy."
        )
        return None

    @torch.no_grad()
    def pictures(self) -> np.ndarray:
        """What the model makes of what is watched, now: uint8, as `History.target`."""
        assert self.watched is not None
        assert self.history.target is not None
        output = to_uint8(self.predict(self.trained.eval(), self.watched))
        target = self.history.target
        if output.shape[:-3] != target.shape[:-3]:
            raise ValueError(
                f"{self.name}: what is watched becomes {output.shape}, the target is {target.shape}"
            )
        return output

    @torch.no_grad()
    def _snapshot(self) -> None:
        """Pictures, measures, a copy of the weights. Draws none of the training's numbers."""
        if self.done in self.history.snapshot_steps:
            return
        seen = self._look() if self.fabric.is_global_zero else (None, {})
        with self._one_alone():
            pictures, measures = self.fabric.broadcast(seen)  # whoever saves has them
        if pictures is not None:
            self.history.snapshots.append(pictures)
        self.history.measures.append(measures)
        self.history.snapshot_steps.append(self.done)
        self._good_step = self.done
        self._good_state = {}
        for key, value in self._state().items():
            self._good_state[key] = value.detach().to("cpu", copy=True)

    def _look(self) -> tuple[np.ndarray | None, dict[str, float]]:
        with torch.random.fork_rng():
            pictures = None if self.watched is None else self.pictures()
            measures = self.measure(self.trained.eval()) if self.measure else {}
        return pictures, measures

    def _state(self) -> dict[str, Tensor]:
        tensors = {f"model.{key}": value for key, value in self.module.state_dict().items()}
        if self.average is not None:
            average = self.average.state_dict()
            tensors |= {f"average.{key}": value for key, value in average.items()}
        return tensors

    def _restore(self, state: dict[str, Tensor]) -> None:
        self.module.load_state_dict(checkpoint.part(state, "model"))
        if self.average is not None:
            self.average.load_state_dict(checkpoint.part(state, "average"))

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        shown = [self.history.target, self.history.context]
        shown = [pictures for pictures in shown if pictures is not None]
        for pictures in shown:
            digest.update(pictures.tobytes())
        return digest.hexdigest() if shown else ""

    # --- what a checkpoint must share with who goes on from it ---

    def _describe(self) -> dict[str, identity.Described]:
        """What is known of this training; the batches are added when they are."""
        schedule = {name: getattr(self, name) for name in ("warmup", "cooldown", "clip_norm")}
        schedule |= {"average": self.decay}
        schedule |= {"precision": self.fabric.strategy.precision.precision}
        return {
            "optimizer": identity.of_optimizer(self._optimizer),
            "schedule": schedule,
            "model": identity.of_model(self.module),
            "parameters": identity.of_parameters(self.module, self._optimizer),
            "facts": identity.of_facts(self._facts),
            "batches": {},
            "seed": identity.of_seed() if self.fabric.is_global_zero else {},
        }

    def _check_stream(self, stream: Tensor | DataLoader) -> None:
        """Describe the batches; refuse others than those of the checkpoint."""
        if "data" in self._facts:
            return
        ours = identity.of_stream(stream, self.fabric.world_size)
        other = identity.first_difference(*identity.known_to_both(self._resumed, ours))
        if other:
            raise ValueError(self._cannot_resume(other))
        self._identity["batches"] = ours

    def _cannot_resume(self, reason: object) -> str:
        remedy = "train with resume=False to start anew (the old file is kept as .previous)"
        return f"cannot resume from {self.path.name}; {remedy}: {reason}"

    def _check_identity(self, facts: dict[str, str]) -> None:
        """Raise a ValueError that names what a checkpoint was trained with, and this run not."""
        if checkpoint.fact(facts, "watched") != self._fingerprint():
            raise ValueError("it was trained on other pictures, or at another size")
        saved = json.loads(checkpoint.fact(facts, "identity"))
        for part in ("optimizer", "schedule", "model", "parameters", "facts"):
            other = identity.first_difference(saved[part], self._identity[part])
            if other:
                raise ValueError(other)
        self._resumed = saved["batches"]
        both = identity.known_to_both(saved["seed"], self._identity["seed"])
        other = identity.first_difference(*both)
        if other:  # no error: somebody may have set a seed for something else since
            message = f"{self.name}: {other}; it goes on with what that seed has drawn"
            warnings.warn(message, stacklevel=4)

    def _check_length(self, facts: dict[str, str], history: History) -> None:
        """Raise a ValueError where the learning rates so far would have been others."""
        done = int(checkpoint.fact(facts, "step"))
        if done > self.steps:
            raise ValueError(f"{done} steps are done, and steps={self.steps}")
        lengths = [json.loads(checkpoint.fact(facts, "length")), [self.steps, self.seconds]]
        before, now = (_cooled(done - 1, history.spent, self.cooldown, *each) for each in lengths)
        if before != now:
            asked = [f"steps={steps}, seconds={seconds}" for steps, seconds in lengths]
            reason = "in whose cool-down it is or would be"
            raise ValueError(f"it was trained with {asked[0]}, not {asked[1]}, {reason}")

    def _load(self) -> None:
        if not self.path.exists():
            self._say(f"{self.name}: no checkpoint to resume, starting anew")
            return
        history = History(target=self.history.target, context=self.history.context)
        try:
            facts, saved = checkpoint.read(self.path)
            self._check_identity(facts)
            checkpoint.set_history_state(history, saved, facts)
            self._check_length(facts, history)
            checkpoint.check_same_tensors(self._state(), saved)
            checkpoint.set_optimizer_state(self._optimizer, saved)
            self.done = int(facts["step"])
            self._resume_draws(facts, saved)
            self._restore(saved)  # the last: what is refused leaves the weights as they were
        except (
            OSError,
            SafetensorError,
            RuntimeError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:
            raise ValueError(self._cannot_resume(error)) from error
        self.history = history
        self._good_step = self.done
        self._good_state = {key: saved[key] for key in self._state()}
        self._say(f"{self.name}: resumed at step {self.done:,} of {self.steps:,}")


class _CoreWatch:
    """Now and then takes fewer threads where other programs keep cores busy, and back again."""

    def __init__(self, run: TrainingRun) -> None:
        self.run = run
        self.alone = run.fabric.world_size == 1 and run.fabric.device.type == "cpu"

    def update(self) -> None:
        changed = core_watch().update() if self.alone else ""
        if changed and not self.run.live:
            self.run._say(changed)


class _PanelClock:
    """Shows a run on its live panel now and then, and hears its Stop button."""

    def __init__(self, run: TrainingRun) -> None:
        self.run = run
        self.shown = 0.0
        self.pause = SHOW_EVERY
        if run.live:
            run.live.start(run.name, run.steps)

    def update(self) -> None:
        run = self.run
        if not run.live:
            return
        run.stopping |= run.live.stop_requested
        now = time.monotonic()
        if now - self.shown <= self.pause:
            return
        speed = run.done / max(run.history.spent, 1e-9)  # steps a second
        image = None if run.watched is None else run.pictures()
        run.live.update(run.done, run.history, image, speed, run.seconds_left())
        self.shown = time.monotonic()
        self.pause = max(SHOW_EVERY, 3 * (self.shown - now))  # a film takes long to predict


class _Batches:
    """The same steps for `for` and for `async for`."""

    def __init__(self, run: TrainingRun, stream: Tensor | DataLoader) -> None:
        self.run = run
        self.stream = stream

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return self.run._walk(self.stream)

    def __aiter__(self) -> _AsyncSteps:
        return _AsyncSteps(iter(self))


class _AsyncSteps:
    """The steps for `async for`.

    No generator: of one that a `break` leaves, the event loop closes the rest some time later, and
    until then the run is not finished.
    """

    def __init__(self, steps: Iterator[tuple[int, Any]]) -> None:
        self.steps = steps
        self.last = time.monotonic()

    def __aiter__(self) -> _AsyncSteps:
        return self

    async def __anext__(self) -> tuple[int, Any]:
        if time.monotonic() - self.last > SHOW_EVERY:
            await asyncio.sleep(0.002)  # long enough for the front end's messages to come in
            self.last = time.monotonic()
        try:
            return next(self.steps)
        except StopIteration:
            raise StopAsyncIteration from None


@contextmanager
def _interrupt_stops(run: TrainingRun) -> Iterator[None]:
    """During a run Ctrl-C, an interrupt or SIGTERM asks it to stop; a second Ctrl-C interrupts.

    After a run that lost other processes SIGTERM stays without effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        # A cluster may send SIGTERM twice: to a process, and through the one that launched it.
        if run.stopping and number == signal.SIGINT:
            raise KeyboardInterrupt
        run.stopping = True

    before = [(number, signal.signal(number, handle)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            if run.status == "lost" and number == signal.SIGTERM:
                continue  # torchrun sends it to those that are left: each has yet to say why
            signal.signal(number, handler)


def _cooled(step: int, spent: float, cooldown: float, steps: int, seconds: float | None) -> float:
    """The share of the learning rate that the cool-down leaves, after so many seconds."""
    if not cooldown:
        return 1.0
    share = (steps - step) / max(cooldown * steps, 1)
    if seconds:
        share = min(share, max(1 - spent / seconds, 0.0) / cooldown)
    return min(share, 1.0)


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of a model whose weights follow it: fast at first, in the end with `decay`."""

    def follow(means: Any, now: Any, seen: Tensor | int) -> None:  # noqa: ANN401
        keep = min(decay, int(seen) / (int(seen) + 9))
        get_ema_multi_avg_fn(keep)(means, now, seen)  # all at once: one by one, a GPU waits

    average = AveragedModel(model, multi_avg_fn=follow)
    average.n_averaged.fill_(1)  # the untrained weights are the first that count
    return average.requires_grad_(False)


class _Rest(Sampler[list[int]]):
    """What a sampler of batches gives after its first ones."""

    def __init__(self, batches: Any, skip: int) -> None:  # noqa: ANN401
        self.batches = batches
        self.skip = skip

    def __iter__(self) -> Iterator[list[int]]:
        return islice(iter(self.batches), self.skip, None)


def _rest(loader: DataLoader, skip: int) -> DataLoader:
    """A loader without its first batches, which are not loaded; a stream is left as it is."""
    if isinstance(loader.dataset, IterableDataset):
        return loader
    return DataLoader(
        loader.dataset,
        batch_sampler=_Rest(loader.batch_sampler, skip),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        prefetch_factor=loader.prefetch_factor,
    )


def _tensorboard(folder: Path) -> Any:  # noqa: ANN401
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("tensorboard=True needs the package: pip install tensorboard") from error
    return SummaryWriter(str(folder))
