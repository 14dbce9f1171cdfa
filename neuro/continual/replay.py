"""Old runs among the new ones: which are kept, and how an epoch mixes them.

Replay of what was seen: Robins 1995; Chaudhry et al. 2019 (arXiv 1902.10486) on small memories.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuro.continual.runs import Runs
from neuro.training.clips import LabelledClips


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplayClips(LabelledClips):
    """`config.clips` random clips of each new run an epoch, and old ones up to their share.

    Attributes:
        fresh: the first so many runs are new, the others old.
        share: of the clips that are old ones.
    """

    fresh: int
    share: float

    def __len__(self) -> int:
        return self.fresh * self.config.clips + self.replayed

    @property
    def replayed(self) -> int:
        """Old clips of an epoch."""
        return max(1, round(self.fresh * self.config.clips * self.share / (1 - self.share)))

    def order(self, epoch: int) -> NDArray[np.intp]:
        """The run at each place of an epoch; no old run comes again before all others have come."""
        rng = np.random.default_rng([self.seed, epoch])
        old = len(self.runs) - self.fresh
        rounds = [rng.permutation(old) for _ in range(-(-self.replayed // old))]
        replayed = self.fresh + np.concatenate(rounds)[: self.replayed]
        new = np.tile(np.arange(self.fresh), self.config.clips)
        order: NDArray[np.intp] = rng.permutation(np.concatenate([new, replayed]))
        return order


def remembered(old: Runs, memory: int | None, *, seed: int) -> Runs:
    """The old runs that are kept: in turn one of each site and label, everybody's first before any second."""
    if memory is None or memory >= len(old):
        return old
    rng = np.random.default_rng([seed, 7])
    cells: dict[tuple[str, int], list[int]] = {}
    for row in rng.permutation(len(old)):
        cells.setdefault((str(old.sites[row]), int(old.labels[row])), []).append(int(row))
    queues = [_by_person(rows, old) for _, rows in sorted(cells.items())]
    longest = max(len(queue) for queue in queues)
    in_turn = [queue[k] for k in range(longest) for queue in queues if k < len(queue)]
    return old.rows(np.array(sorted(in_turn[:memory])))


def _by_person(rows: list[int], old: Runs) -> list[int]:
    """Everybody's first run, then everybody's second."""
    seen: dict[str, int] = {}
    turns = []
    for row in rows:
        person = str(old.people[row])
        seen[person] = seen.get(person, 0) + 1
        turns.append(seen[person])
    return [row for _, row in sorted(zip(turns, rows, strict=True), key=lambda pair: pair[0])]
