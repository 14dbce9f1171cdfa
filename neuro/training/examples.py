"""What a training is given: samples that are a function of seed, epoch and place, dealt out to processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray


class Batch(Protocol):
    """Samples that can move to a device."""

    def to(self, device: torch.device) -> Any:
        """The same on another device."""


class Examples(Protocol):
    """What is trained on. A sample is a function of (seed, epoch, place): nothing else may decide it."""

    def __len__(self) -> int:
        """Samples of an epoch."""

    def batch(self, places: Sequence[int], epoch: int) -> Batch:
        """The samples at these places, from 0, of the epoch's own order; called from another thread."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Samples that go through the model at a time.

    Attributes:
        batch: of them.
        counted: False where a process has no sample of its own, and only keeps the others company.
    """

    batch: Batch
    counted: bool = True


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which part of each batch is a process's own.

    Attributes:
        rank: of the process.
        processes: of them all.
        most: samples at a time; None is all.
    """

    rank: int = 0
    processes: int = 1
    most: int | None = None

    def parts(self, examples: Examples, places_B: NDArray[np.intp], epoch: int) -> list[Part]:
        """A batch's samples of this process, at least one part."""
        own = places_B[self.rank :: self.processes].tolist()
        if not own:
            return [Part(batch=examples.batch([int(places_B[0])], epoch), counted=False)]
        size = self.most or len(own)
        starts = range(0, len(own), size)
        return [Part(batch=examples.batch(own[start : start + size], epoch)) for start in starts]


def dealt(
    examples: Examples, batches: Sequence[NDArray[np.intp]], epoch: int, share: Share
) -> Iterator[tuple[int, list[Part]]]:
    """The size of each batch in all processes, and the parts of this one."""
    for places_B in batches:
        yield len(places_B), share.parts(examples, places_B, epoch)


def batches_of(samples: int, batch_size: int) -> list[NDArray[np.intp]]:
    """The places of an epoch in batches that are equal to within one."""
    return np.array_split(np.arange(samples), -(-samples // batch_size))
