"""Who the runs of a study are of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.errors import ParameterError


@dataclass(frozen=True, kw_only=True, eq=False)
class Roster:
    """One entry a run (N,), in the order of the cache.

    Attributes:
        run_ids: names, no two alike.
        labels: 0 or 1.
        people: who was scanned; at two sites or in two sessions is one person.
        sites: where.
    """

    run_ids: NDArray[np.object_]
    labels: NDArray[np.int64]
    people: NDArray[np.object_]
    sites: NDArray[np.object_]

    def __post_init__(self) -> None:
        for name in ("labels", "people", "sites"):
            if len(getattr(self, name)) != len(self):
                raise ParameterError(name, must_be=f"one a run ({len(self)})", got=len(getattr(self, name)))
        if len(set(self.run_ids)) != len(self):
            raise ParameterError("run_ids", must_be="all different", got=f"{len(set(self.run_ids))} names")

    @classmethod
    def of(cls, cache: Cache) -> Roster:
        """The runs of a cache."""
        table = cache.table
        return cls(
            run_ids=table["run_id"].to_numpy(object),
            labels=table["label"].to_numpy(np.int64),
            people=table["person"].to_numpy(object),
            sites=table["site"].to_numpy(object),
        )

    def digest(self, recipe: str) -> str:
        """SHA-256 of who was scanned where, under which label and cleaned by which recipe, in any order."""
        rows = zip(self.run_ids, self.labels, self.people, self.sites, strict=True)
        told = sorted([str(run), int(label), str(person), str(site)] for run, label, person, site in rows)
        return hashlib.sha256(json.dumps([recipe, told]).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.run_ids)
