"""Could this AUC come about without any tie between labels and scans? A whole pipeline, on permuted labels.

The only test here that counts everything: folds, scaling, choice of settings, training. It costs as many
evaluations as it has permutations, so it has a budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from neuro.protocol.resampling import Ints, people_of

TIE = 1e-12  # the same pairs, added up in another order
FEWEST = 39  # 2 / (1 + 39) = 0.05: fewer can show no two-sided p that a verdict would go by


@dataclass(frozen=True, kw_only=True)
class Permutations:
    """How often labels are permuted.

    Attributes:
        count: at most; 0 for not at all.
        minutes: no permutation is begun after so long; None for no limit.
        seed: of the permutations.
    """

    count: int = 0
    minutes: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 0 or 0 < self.count < FEWEST:
            raise ParameterError(
                "permutations",
                must_be=f"0, for none, or at least {FEWEST}",
                got=self.count,
                do="fewer can show no two-sided p of 0.05 or below",
            )
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise ParameterError("permutation minutes", must_be="positive and finite", got=self.minutes)


@dataclass(frozen=True, kw_only=True)
class PermutationTest:
    """What permuted labels gave.

    Attributes:
        observed: with the labels as they are.
        null: with permuted ones, in the order in which they were drawn.
        p_value: one-sided, (1 + permutations that did as well or better) / (1 + permutations).
        asked: permutations that were asked for; time may have allowed fewer.
        seconds: that all of it took.
    """

    observed: float
    null: tuple[float, ...]
    p_value: float
    asked: int
    seconds: float

    @property
    def made_in_words(self) -> str:
        """How many were made, and of how many where time ran out."""
        made = f"{len(self.null)} permutation{'s' * (len(self.null) != 1)}"
        if len(self.null) == self.asked:
            return made
        return f"{made}, as time allowed no more of the {self.asked} that were asked for"

    @property
    def permutations(self) -> int:
        """How many were made."""
        return len(self.null)

    @property
    def two_sided(self) -> float:
        """Twice the smaller of both sides' p, 1 at most."""
        below = (1 + sum(value <= self.observed + TIE for value in self.null)) / (1 + len(self.null))
        return min(1.0, 2 * min(self.p_value, below))

    @property
    def least(self) -> float:
        """The smallest two-sided p that so many permutations can show."""
        return min(1.0, 2 / (1 + len(self.null)))


def permutation_test(
    auc_of: Callable[[Ints], float],
    labels: Ints,
    people: NDArray[np.object_],
    *,
    strata: NDArray[np.object_] | None = None,
    permutations: int = 1000,
    seconds: float = float("inf"),
    seed: int = 0,
    done: Callable[[], object] = lambda: None,
) -> PermutationTest:
    """Run a pipeline on its labels, and on labels permuted between people.

    Args:
        auc_of: the whole pipeline, labels (N,) -> AUC. Whatever it does by looking at labels, folds
            stratified by them included, it must do anew with the labels it is given.
        labels: 0 or 1 for each run (N,), one a person.
        people: the person of each run (N,); all of a person's runs change their label together.
        strata: site of each run (N,); labels move within a site, so that a difference between sites in how
            many are ill stays what it is. A person of several counts in that of the first run.
        permutations: at most.
        seconds: no permutation is begun after so long; one is always made.
        seed: of the permutations.
        done: called after each permutation.

    Raises:
        ParameterError: a person has two labels, no site holds both, or fewer than one permutation.
    """
    if permutations < 1:
        raise ParameterError("permutations", must_be="at least 1", got=permutations)
    begun = time.monotonic()
    draws = permuted_labels(labels, people, strata=strata, seed=seed)
    observed = float(auc_of(np.array(labels)))
    null: list[float] = []
    while len(null) < permutations and (not null or time.monotonic() - begun < seconds):
        null.append(float(auc_of(next(draws))))
        done()
    return PermutationTest(
        observed=observed,
        null=tuple(null),
        p_value=(1 + sum(value >= observed - TIE for value in null)) / (1 + len(null)),
        asked=permutations,
        seconds=time.monotonic() - begun,
    )


def permuted_labels(
    labels: Ints, people: NDArray[np.object_], *, strata: NDArray[np.object_] | None = None, seed: int = 0
) -> Iterator[Ints]:
    """Labels (N,) permuted between people of the same stratum, again and again without end.

    Raises:
        ParameterError: a person has two labels, or no stratum holds both: nothing could be permuted.
    """
    found = people_of(people, np.asarray(labels))
    stratum_P = np.zeros(len(found), dtype=np.intp)
    if strata is not None:
        _, code_N = np.unique(np.asarray(strata).astype(str), return_inverse=True)
        stratum_P[found.person_N[::-1]] = code_N[::-1]  # of the first run, written last
    groups = [np.flatnonzero(stratum_P == stratum) for stratum in np.unique(stratum_P)]
    if all(len(set(found.label_P[group].tolist())) < 2 for group in groups):
        raise ParameterError(
            "labels to permute",
            must_be="both within a site",
            got="one label only at each",
            do="leave out strata",
        )
    return _permuted(found.label_P, found.person_N, groups, seed)


def _permuted(
    label_P: Ints, person_N: NDArray[np.intp], groups: list[NDArray[np.intp]], seed: int
) -> Iterator[Ints]:
    rng = np.random.default_rng(seed)
    while True:
        shuffled_P = label_P.copy()
        for group in groups:
            shuffled_P[group] = rng.permutation(label_P[group])
        yield shuffled_P[person_N]
