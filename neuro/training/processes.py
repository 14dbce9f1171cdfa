"""Lightning Fabric, set up for this process: its device, its precision, and those it shares the work with.

Fabric brings distributed data-parallel training, automatic mixed precision with its gradient scaler, and the
care for both in accumulation and clipping. It is told everything, and looks for nothing by itself.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from data.errors import ParameterError
from neuro.training.config import MachineConfig
from vision.training.precision import resolve_precision
from vision.training.ranks import process_count, processes_here, under_torchrun

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import Precision

HALVES = {"bf16": "bf16-mixed", "fp16": "16-mixed"}


def launch(machine: MachineConfig, device: torch.device) -> tuple[Fabric, Precision]:
    """Fabric on a device, and its precision, whose state belongs into a checkpoint.

    Raises:
        ParameterError: a precision that the device has not, or several processes on a device for one.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision, Precision
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # each process would introduce itself
    half: Any = HALVES.get(resolve_precision(machine.precision, device))
    precision = MixedPrecision(half, device.type) if half is not None else Precision()
    if under_torchrun():
        fabric = _shared(device, precision)
    else:
        devices: Any = [device.index or 0] if device.type == "cuda" else 1
        plugins: list[Any] = [precision, LightningEnvironment()]
        fabric = Fabric(accelerator=device.type, devices=devices, plugins=plugins)
    fabric.launch()
    return fabric, precision


def _shared(device: torch.device, precision: Precision) -> Fabric:
    """As one of the processes that torchrun started."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    if device.type not in ("cpu", "cuda"):
        raise ParameterError("device", must_be="cpu or cuda under torchrun", got=device.type)
    # Parts of a trunk lie idle where it takes tokens: its own patch embedding, say.
    strategy = DDPStrategy(find_unused_parameters=True)
    # Of weights with an axis of one, as a class token: nothing that could be done better.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    plugins: list[Any] = [precision, TorchElasticEnvironment()]
    here = processes_here()
    machines = process_count() // here
    return Fabric(
        accelerator=device.type, devices=here, num_nodes=machines, strategy=strategy, plugins=plugins
    )


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Inside, only operations that give the same bits each time, if wanted."""
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
