"""Which of the processes that torchrun started this one is; alone, it is the first of one."""

from __future__ import annotations

import os


def under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def process_count() -> int:
    """All processes of the training, on all machines."""
    return int(os.environ["WORLD_SIZE"]) if under_torchrun() else 1


def processes_here() -> int:
    """Those on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if under_torchrun() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return not under_torchrun() or os.environ["RANK"] == "0"


def own_device(device: str) -> str:
    """The CUDA card of this process where "auto" or "cuda" leaves it open and there are several processes."""
    import torch

    open_choice = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return f"cuda:{os.environ['LOCAL_RANK']}" if under_torchrun() and open_choice else device
