"""Nested splits by person: outer folds, and inner folds over the training side of each.

Whatever is chosen by looking at results (a penalty, an epoch, a threshold) is chosen on inner folds; the
outer test side is looked at once. All indices are rows of the whole table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import ParameterError
from data.splits.folds import Fold, Indices, Seed, assert_no_leak, leave_one_site_out, subject_folds
from data.splits.split_columns import column, persons, require_same_length


@dataclass(frozen=True, kw_only=True, eq=False)
class NestedFold:
    """An outer fold, and the folds of its training side by which choices are made.

    Attributes:
        train, test: rows of the outer fold.
        inner: (train, validation) pairs; rows of the whole table, all of them out of `train`.
    """

    train: Indices
    test: Indices
    inner: list[Fold]


def nest_by_subject(
    outer: Sequence[Fold],
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    n_splits: int = 4,
    seed: Seed = 0,
    strata: ArrayLike | None = None,
) -> list[NestedFold]:
    """Inner folds by person, stratified, over the training side of each outer fold (of any kind).

    Raises:
        LeakError: an outer fold has a person on both sides.
        ParameterError: a training side has too few persons of a label, named with its outer fold.
    """
    label_N, person_N = np.array(column(labels), object), np.array(persons(groups), object)
    stratum_N = np.array(column(strata), object) if strata is not None else np.zeros(len(person_N), int)
    require_same_length(labels=label_N, groups=person_N, strata=stratum_N)

    def inner(rows: Indices) -> list[Fold]:
        return subject_folds(
            label_N[rows], person_N[rows], n_splits=n_splits, seed=seed, strata=stratum_N[rows]
        )

    return _nest(outer, person_N, inner)


def nest_by_site(outer: Sequence[Fold], sites: ArrayLike, groups: ArrayLike) -> list[NestedFold]:
    """Inner folds that leave one site out, over the training side of each outer fold (of any kind).

    Raises:
        LeakError: an outer fold has a person on both sides.
        ParameterError: a training side holds one site only, named with its outer fold: with two sites,
            leave-one-site-out can be nested by subject alone.
    """
    site_N, person_N = np.array(column(sites), object), np.array(persons(groups), object)
    require_same_length(sites=site_N, groups=person_N)
    return _nest(outer, person_N, lambda rows: leave_one_site_out(site_N[rows], person_N[rows]))


def assert_nested(groups: ArrayLike, fold: NestedFold) -> None:
    """Raise where a person stands on both sides of the outer fold or of an inner one, or inner meets test.

    Raises:
        LeakError: names the persons.
        ParameterError: as `assert_no_leak`, or an inner fold has rows from outside the training side.
    """
    assert_no_leak(groups, fold.train, fold.test)
    for train, validation in fold.inner:
        assert_no_leak(groups, train, validation)
        both = np.concatenate([train, validation])
        assert_no_leak(groups, both, fold.test)
        foreign = np.setdiff1d(both, fold.train)
        if foreign.size:
            raise ParameterError(
                "inner folds",
                must_be="of rows of the outer fold's training side",
                got=f"{foreign.size} others (row {foreign[0]})",
            )


def _nest(
    outer: Sequence[Fold], person_N: NDArray[np.object_], inner: Callable[[Indices], list[Fold]]
) -> list[NestedFold]:
    nested = []
    for number, (train, test) in enumerate(outer):
        assert_no_leak(person_N, train, test)
        try:
            folds = inner(train)
        except ParameterError as error:
            where = f"inner {error.what} of outer fold {number + 1} of {len(outer)}"
            raise ParameterError(where, must_be=error.must_be, got=error.got, do=error.do) from error
        fold = NestedFold(train=train, test=test, inner=[(train[a], train[b]) for a, b in folds])
        assert_nested(person_N, fold)
        nested.append(fold)
    return nested
