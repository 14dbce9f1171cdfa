"""Runs of several cohorts in given shares: epoch and place -> a clip, or two, of a run.

An epoch deals its places out to the cohorts by their weights, as evenly as whole numbers can, and goes
through each cohort's runs in an order of the epoch's own before any comes a second time. So a sample is a
function of (seed, epoch, place).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from neuro.pretrain.pools import Pool
from neuro.tokens import RunTokens


class Drawn(NamedTuple):
    """A sample before it is cut: the run, all runs of the same person, who it is, and its own chance."""

    run: RunTokens
    own_runs: Sequence[RunTokens]
    person: int
    rng: np.random.Generator


class View(Protocol):
    """What an objective sees of the samples drawn."""

    def __call__(self, drawn: Sequence[Drawn]) -> Any:
        """Samples -> a batch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BlendedClips:
    """Samples of several cohorts, for `neuro.training.loop.fit`.

    Attributes:
        pools: the cohorts, all cut alike.
        weights: the share of samples that each gives; any positive scale.
        samples: of an epoch.
        view: what the objective sees of them.
        seed: of all that is drawn.
    """

    pools: Sequence[Pool]
    weights: Sequence[float]
    samples: int
    view: View
    seed: int = 0

    def __post_init__(self) -> None:
        check_weights(self.weights, len(self.pools))
        if self.samples < 1:
            raise ParameterError("samples of an epoch", must_be="1 or more", got=self.samples)

    def __len__(self) -> int:
        return self.samples

    def batch(self, places: Sequence[int], epoch: int) -> Any:
        """The samples at these places of an epoch."""
        order = _order(self._sizes, tuple(self.weights), self.samples, (self.seed, epoch))
        drawn = [self._drawn(int(order[p, 0]), int(order[p, 1]), epoch, p) for p in places]
        return self.view(drawn)

    def _drawn(self, cohort: int, number: int, epoch: int, place: int) -> Drawn:
        pool = self.pools[cohort]
        person = self._people[str(pool.people[number])]
        return Drawn(
            run=pool.runs[number],
            own_runs=self._runs_of[person],
            person=person,
            rng=np.random.default_rng([self.seed, epoch, place]),
        )

    @property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(len(pool) for pool in self.pools)

    @cached_property
    def _people(self) -> dict[str, int]:
        # By name across cohorts: somebody scanned in two of them is one person.
        names = sorted({str(person) for pool in self.pools for person in pool.people})
        return {name: number for number, name in enumerate(names)}

    @cached_property
    def _runs_of(self) -> list[list[RunTokens]]:
        found: list[list[RunTokens]] = [[] for _ in self._people]
        for pool in self.pools:
            for run, person in zip(pool.runs, pool.people, strict=True):
                found[self._people[str(person)]].append(run)
        return found


def check_weights(weights: Sequence[float], cohorts: int) -> None:
    """Say no to weights that are no shares of so many cohorts.

    Raises:
        ParameterError: another number of them, a negative one, or none above 0.
    """
    if len(weights) != cohorts:
        raise ParameterError("weights", must_be=f"one for each of {cohorts} cohorts", got=len(weights))
    if not all(math.isfinite(w) and w >= 0 for w in weights) or not sum(weights) > 0:
        raise ParameterError("weights", must_be="0 or more, and one above 0", got=list(weights))


def allotted(weights: Sequence[float], samples: int) -> list[int]:
    """How many samples each cohort gives: the nearest whole numbers that add up (largest remainders)."""
    exact = np.asarray(weights, dtype=np.float64) / sum(weights) * samples
    counts = np.floor(exact).astype(int)
    # Rounded, so that a remainder which is a rounding error wins no sample; ties go to the first.
    by_remainder = np.argsort(-np.round(exact - counts, 9), kind="stable")
    counts[by_remainder[: samples - counts.sum()]] += 1
    return [int(count) for count in counts]


@lru_cache(maxsize=8)
def _order(
    sizes: tuple[int, ...], weights: tuple[float, ...], samples: int, seed: tuple[int, int]
) -> NDArray[np.intp]:
    """(cohort, run) at each place of an epoch, (samples, 2)."""
    rng = np.random.default_rng([*seed, 0])
    rows = []
    for cohort, (size, count) in enumerate(zip(sizes, allotted(weights, samples), strict=True)):
        rounds = [rng.permutation(size) for _ in range(-(-count // size))]
        runs = np.concatenate(rounds)[:count] if rounds else np.zeros(0, dtype=int)
        rows.append(np.stack([np.full(count, cohort), runs], axis=1))
    order: NDArray[np.intp] = rng.permutation(np.concatenate(rows).astype(np.intp), axis=0)
    return order
