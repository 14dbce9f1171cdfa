"""People, not runs, are what a cohort is drawn of: their labels, and bootstrap samples of them.

Letters: D deals, N runs, P people, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class People:
    """Who the runs are of.

    Attributes:
        person_N: number of each run's person, 0 to P - 1.
        label_P: the label of each.
    """

    person_N: NDArray[np.intp]
    label_P: Ints

    def __len__(self) -> int:
        return len(self.label_P)

    def total(self, values_N: Floats) -> Floats:
        """Sums over each person's runs (P,)."""
        return np.asarray(np.bincount(self.person_N, weights=values_N, minlength=len(self)), np.float64)


def people_of(people: NDArray[np.object_], labels: Ints) -> People:
    """Number the people of runs.

    Raises:
        ParameterError: a person has two labels.
    """
    names, first, person_N = np.unique(np.asarray(people).astype(str), return_index=True, return_inverse=True)
    label_P = np.asarray(labels)[first]
    odd = np.flatnonzero(label_P[person_N] != labels)
    if odd.size:
        raise ParameterError("labels", must_be="one a person", got=f"both for {names[person_N[odd[0]]]}")
    return People(person_N=person_N, label_P=label_P)


def drawn(people: People, folds_DN: Ints, resamples: int, seed: int) -> Floats:
    """How often each run counts in bootstrap samples of people (R, N).

    People are drawn with replacement within each label, all runs of a person with them.

    Args:
        people: who the runs are of.
        folds_DN: the fold that tested each run in each deal, -1 for none; people never tested are not drawn.
        resamples: R.
        seed: of the draws.
    """
    there_P = tested_people(people, folds_DN)
    sides = [np.flatnonzero(there_P & (people.label_P == label)) for label in (1, 0)]
    rng = np.random.default_rng(seed)
    return drawn_within(sides, len(people), resamples, rng)[:, people.person_N]


def drawn_within(
    sides: Iterable[NDArray[np.intp]], people: int, resamples: int, rng: np.random.Generator
) -> Floats:
    """How often each person is drawn (R, P): with replacement within each side, those of no side never.

    Args:
        sides: numbers of the people of each, apart from each other.
        people: P.
        resamples: R.
        rng: draws one side after the other.
    """
    drawn_RP = np.zeros((resamples, people))
    for side in sides:
        if side.size:
            drawn_RP[:, side] = rng.multinomial(side.size, np.full(side.size, 1 / side.size), size=resamples)
    return drawn_RP


def tested_people(people: People, folds_DN: Ints) -> NDArray[np.bool_]:
    """Who was tested at least once (P,)."""
    return people.total((folds_DN >= 0).sum(0).astype(np.float64)) > 0
