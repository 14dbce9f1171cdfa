"""torch's random state, on the CPU and on every CUDA device: taken, put back, and replayed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


def random_state() -> list[torch.Tensor]:
    """The CPU's state, and each CUDA device's where CUDA is in use."""
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if in_use else [])]


def set_random_state(state: Sequence[torch.Tensor]) -> None:
    """Put a state back; that of CUDA devices only where there are as many as then."""
    on_cpu, *on_devices = state
    torch.set_rng_state(on_cpu)
    if on_devices and len(on_devices) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(on_devices)


@contextmanager
def aside() -> Iterator[None]:
    """Whatever is drawn inside leaves the state outside as it was."""
    outside = random_state()
    try:
        yield
    finally:
        set_random_state(outside)


@contextmanager
def replayed(state: Sequence[torch.Tensor]) -> Iterator[None]:
    """The state of an earlier moment, and afterwards again the present one."""
    with aside():
        set_random_state(state)
        yield
