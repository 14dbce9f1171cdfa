"""Cohorts to learn from without labels: caches -> runs, whose they are, and who is held out.

Who is held out follows from the name of the person and the seed alone, and holds for all cohorts: a person
who stands in two of them, or in both phases, is never trained on in one and measured in the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.errors import ParameterError
from neuro.study import cut_runs
from neuro.tokens import RunTokens, TokenSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """The runs of one cohort.

    Attributes:
        name: of the cohort; its folder.
        runs: all cut alike.
        people: (n,) the person of each run.
        identity: of the recipe that they were cleaned by.
    """

    name: str
    runs: Sequence[RunTokens]
    people: NDArray[np.object_]
    identity: str = ""

    def __len__(self) -> int:
        return len(self.runs)

    def of(self, chosen: NDArray[np.bool_]) -> Pool:
        """The runs that are marked."""
        runs = [run for run, wanted in zip(self.runs, chosen, strict=True) if wanted]
        return replace(self, runs=runs, people=self.people[chosen])


def open_pool(path: str | Path, spec: TokenSpec, *, device: str = "auto") -> Pool:
    """A cache as a pool.

    Raises:
        BadFileError: there is no cache, or it is damaged.
        ParameterError: runs that cannot be cut so.
    """
    cache = Cache.open(path)
    return Pool(
        name=str(path),
        runs=cut_runs(cache, spec, device=device),
        people=cache.table["person"].to_numpy(object),
        identity=cache.identity,
    )


def require_alike(pools: Sequence[Pool]) -> None:
    """Say no to cohorts that one model cannot learn from.

    Raises:
        ParameterError: no run at all, or tokens of two layouts; the message names both cohorts.
    """
    empty = next((pool for pool in pools if not len(pool)), None)
    if not pools or empty is not None:
        raise ParameterError("cohorts", must_be="of at least one run", got=empty.name if empty else "none")
    first = pools[0].runs[0].layout
    for pool in pools:
        other = next((run.layout for run in pool.runs if run.layout != first), None)
        if other is not None:
            raise ParameterError(
                f"tokens of {pool.name}",
                must_be=f"as those of {pools[0].name} ({first})",
                got=other,
                do="prepare the cohorts at one voxel size (or with one atlas), and cut them alike",
            )


def held_out_people(pools: Sequence[Pool], share: float, *, seed: int) -> set[str]:
    """About `share` of the people of each cohort, and at least one.

    Raises:
        ParameterError: the share is none, or a cohort has one person.
    """
    if not 0 < share <= 0.5:
        raise ParameterError("share of people held out", must_be="over 0 and at most 0.5", got=share)
    held: set[str] = set()
    for pool in pools:
        people = sorted({str(person) for person in pool.people}, key=lambda person: _lot(person, seed))
        if len(people) < 2:
            raise ParameterError(f"people of {pool.name}", must_be="two or more", got=len(people))
        held |= set(people[: max(1, round(share * len(people)))])
    for pool in pools:
        if {str(person) for person in pool.people} <= held:
            raise ParameterError(f"people of {pool.name}", must_be="such that some are left", got="none left")
    return held


def parted(pool: Pool, held: set[str]) -> tuple[Pool, Pool]:
    """The runs to learn from, and those of the people held out."""
    out = np.array([str(person) in held for person in pool.people], dtype=bool)
    return pool.of(~out), pool.of(out)


def _lot(person: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{person}".encode()).digest()
