"""Several processes that share a training: who starts them, and what they agree on."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any, NamedTuple, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from eon_utils.config import device
from eon_utils.data.clips import check_whole
from eon_utils.threads import usable_cores

PRECISIONS = ("32-true", "bf16-mixed")
HANDED_ON = ("accelerator", "strategy", "devices", "num_nodes", "precision")  # by `fabric run`
T = TypeVar("T")


class Started(NamedTuple):
    """Processes that a launcher started, of which this is one."""

    launcher: str
    devices: int  # processes of each machine
    num_nodes: int  # machines


def started() -> Started | None:
    """What torchrun, which `fabric run` uses, or srun has started; None: nothing."""
    settings = os.environ
    if TorchElasticEnvironment.detect():
        nodes = int(settings["GROUP_WORLD_SIZE"])
        return Started("torchrun", int(settings["LOCAL_WORLD_SIZE"]), nodes)
    if "SLURM_STEP_NUM_TASKS" in settings and SLURMEnvironment.detect():
        nodes = int(settings["SLURM_STEP_NUM_NODES"])
        return Started("srun", int(settings["SLURM_STEP_NUM_TASKS"]) // nodes, nodes)
    return None


def _lacks_bfloat16() -> bool:
    """Whether this CPU emulates half precision, operation by operation."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


class WholeInputs(MixedPrecision):
    """Convolutions in half precision; what comes in stays as it is.

    Fabric's own rounds clips to eight bits of mantissa, and least squares with them.
    """

    def convert_input(self, data: Any) -> Any:  # noqa: ANN401
        """As they are."""
        return data


def several_processes(
    devices: int | None = None, num_nodes: int | None = None, precision: str | None = None
) -> Fabric:
    """What runs a training on several devices or nodes, or in another precision; not yet launched.

    A launcher knows how many processes there are: what is None here is taken from torchrun, from
    `fabric run` (its precision, too) or from srun, and what is not None must agree with it.

    Args:
        devices: of each node: GPUs or, where there are none, processes on the CPU. None: the
            launcher's, or 1.
        num_nodes: machines; None: the launcher's, or 1.
        precision: "32-true" or "bf16-mixed"; None: that of `fabric run`, or "32-true".

    Raises:
        ValueError: for another precision, a number below 1 or of more GPUs than there are, and for
            what contradicts the launcher.
    """
    if handed_on := _of_fabric_run():
        precision = _agreed("precision", precision, "fabric run", handed_on)
    precision = "32-true" if precision is None else precision
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} must be one of {', '.join(PRECISIONS)}")
    if there := started():
        devices = _agreed("devices", devices, there.launcher, there.devices)
        num_nodes = _agreed("num_nodes", num_nodes, there.launcher, there.num_nodes)
    devices = 1 if devices is None else devices
    num_nodes = 1 if num_nodes is None else num_nodes
    check_whole("devices", devices, 1)
    check_whole("num_nodes", num_nodes, 1)
    on_gpu = device().type == "cuda"
    if on_gpu and devices > torch.cuda.device_count():
        raise ValueError(f"devices={devices}, but this machine has {torch.cuda.device_count()}")
    if not on_gpu and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(usable_cores() // devices, 1))
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    settings: dict[str, Any] = {"precision": precision}
    if precision != "32-true":
        settings = {"plugins": WholeInputs(precision, device().type)}
    if devices * num_nodes > 1:
        warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")  # newer names are newer
        settings["strategy"] = DDPStrategy(broadcast_buffers=False)  # theirs are the same
        # Without, a GPU's process is aborted when another is lost, and can't save. It waits for the
        # GPU at each step anyway, to log the loss.
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    fabric = Fabric(accelerator=device().type, devices=devices, num_nodes=num_nodes, **settings)
    emulated = not on_gpu and precision != "32-true" and _lacks_bfloat16()
    if emulated and fabric.is_global_zero:
        slow = "this CPU (AVX2) has no instructions for it, and a step takes several times as long"
        warnings.warn(f"precision={precision!r}: {slow}; leave it out", stacklevel=2)
    return fabric


def _agreed(name: str, asked: T | None, launcher: str, there: T) -> T:
    """What a launcher has; what is asked for must be the same."""
    if asked not in (None, there):
        raise ValueError(f"{name}={asked!r}, but {launcher} has {there!r}; leave one of them out")
    return there


def _of_fabric_run() -> str | None:
    """The precision that `fabric run` was given; None: none.

    The variables in which it hands on its options are taken away. With them, each `Fabric` of this
    process would want to be of all devices, also one that trains alone.
    """
    if os.environ.pop("LT_CLI_USED", None) is None:
        return None
    given = {name: os.environ.pop(f"LT_{name.upper()}", None) for name in HANDED_ON}
    kind = device().type
    usable = {
        "accelerator": (None, "auto", kind, *(["gpu"] if kind != "cpu" else [])),
        "strategy": (None, "ddp"),
    }
    for name, values in usable.items():
        if given[name] not in values:
            wanted = " or ".join(map(repr, values[1:]))
            raise ValueError(f"{name}={given[name]!r} of fabric run must be {wanted}, or left out")
    devices = given["devices"] or "auto"
    if devices != "auto" and not devices.lstrip("-").isdigit():
        remedy = "give a number, and choose GPUs by CUDA_VISIBLE_DEVICES"
        raise ValueError(f"devices={devices!r} of fabric run names single devices; {remedy}")
    return given["precision"]


def precision_of(fabric: Fabric) -> str:
    """One of `PRECISIONS`."""
    return str(fabric.strategy.precision.precision)


def machine(fabric: Fabric) -> str:
    """What trains, for a card."""
    on_gpu = fabric.device.type == "cuda"
    name = torch.cuda.get_device_name(fabric.device) if on_gpu else "CPU"
    processes = fabric.world_size
    return name if processes == 1 else f"{processes} x {name}"


def launch(fabric: Fabric) -> None:
    """Begin with all processes, where they have not begun: a command may train several models."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        fabric.launch()
