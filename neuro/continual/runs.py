"""Runs of one cohort or several, cut alike, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.caches.cache import Cache
from neuro.study import cut_runs, labels_and_people
from neuro.tokens import RunTokens, TokenSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class Runs:
    """Labelled runs.

    Attributes:
        tokens: of each run.
        labels: 0 or 1 (N,).
        people: who it is (N,); a name in two cohorts is one person.
        sites: where (N,).
        run_ids: what it is called (N,).
    """

    tokens: Sequence[RunTokens]
    labels: NDArray[np.int64]
    people: NDArray[np.object_]
    sites: NDArray[np.object_]
    run_ids: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.tokens)

    def __add__(self, other: Runs) -> Runs:
        return Runs(
            tokens=[*self.tokens, *other.tokens],
            labels=np.concatenate([self.labels, other.labels]),
            people=np.concatenate([self.people, other.people]),
            sites=np.concatenate([self.sites, other.sites]),
            run_ids=np.concatenate([self.run_ids, other.run_ids]),
        )

    def rows(self, chosen: ArrayLike) -> Runs:
        """Some of them, by number."""
        rows = np.asarray(chosen, dtype=np.intp)
        return Runs(
            tokens=[self.tokens[int(i)] for i in rows],
            labels=self.labels[rows],
            people=self.people[rows],
            sites=self.sites[rows],
            run_ids=self.run_ids[rows],
        )


def runs_of(caches: Sequence[Cache], spec: TokenSpec, device: str = "auto") -> Runs:
    """All runs of one or more caches."""
    return reduce(Runs.__add__, [_of(cache, spec, device) for cache in caches])


def _of(cache: Cache, spec: TokenSpec, device: str) -> Runs:
    labels, people = labels_and_people(cache)
    return Runs(
        tokens=cut_runs(cache, spec, device=device),
        labels=labels,
        people=people,
        sites=cache.table["site"].to_numpy(object),
        run_ids=cache.table["run_id"].to_numpy(object),
    )
