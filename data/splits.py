"""Splits by person: (labels, groups) -> folds of row indices in which nobody stands on both sides.

Letters: N rows (runs), P persons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import LeakError, ParameterError

Indices = NDArray[np.intp]
Fold = tuple[Indices, Indices]


def subject_folds(
    labels: ArrayLike, groups: ArrayLike, *, n_splits: int = 5, seed: int = 0, strata: ArrayLike | None = None
) -> list[Fold]:
    """Folds over persons, stratified by label and, within it, by stratum.

    Persons are shuffled within each (label, stratum) and dealt out to the folds in turn, so between any two
    folds the number of persons, of persons per label, and of persons per label and stratum differs by one at
    most. (scikit-learn's StratifiedGroupKFold balances rows and promises no such bound.)

    Args:
        labels: (N,), one label a row; a person has one label.
        groups: (N,), the person of each row.
        n_splits: number of folds.
        seed: of the shuffle; the same seed gives the same folds.
        strata: (N,), e.g. sites; a person seen in several counts in that of the first row.

    Returns:
        `n_splits` pairs (train, test) of sorted row indices; every row is tested once.

    Raises:
        ParameterError: lengths differ, a person has two labels, or a label has fewer persons than folds.
    """
    people = _people(labels, groups, strata)
    counts = Counter(label for label, _ in people.values())
    if n_splits < 2:
        raise ParameterError("n_splits", must_be="at least 2", got=n_splits)
    if len(counts) == 0 or min(counts.values()) < n_splits:
        found = ", ".join(f"{count} of label {label}" for label, count in sorted(counts.items(), key=str))
        raise ParameterError(
            "n_splits",
            must_be="no larger than the number of subjects of the rarest label",
            got=f"{n_splits} with {found or 'no subjects'}",
            do="take fewer folds or more subjects",
        )
    shuffled = list(people)
    np.random.default_rng(seed).shuffle(shuffled)
    dealt = sorted(shuffled, key=lambda person: tuple(map(str, people[person])))
    fold_of = {person: position % n_splits for position, person in enumerate(dealt)}
    fold_N = np.array([fold_of[person] for person in _column(groups)])
    return [(np.flatnonzero(fold_N != k), np.flatnonzero(fold_N == k)) for k in range(n_splits)]


def leave_one_site_out(sites: ArrayLike, groups: ArrayLike) -> list[Fold]:
    """One fold a site, in sorted order of the sites' names: test on it, train on the others.

    A person scanned at several sites is taken out of training whenever one of those sites is tested.

    Args:
        sites: (N,), the site of each row.
        groups: (N,), the person of each row.

    Raises:
        ParameterError: lengths differ, there is one site only, or a fold leaves nobody to train on.
    """
    site_N, person_N = _column(sites), _column(groups)
    _same_length(sites=site_N, groups=person_N)
    names = sorted(set(site_N), key=str)
    if len(names) < 2:
        raise ParameterError("sites", must_be="at least two", got=", ".join(map(str, names)) or "none")
    folds = []
    for name in names:
        tested = {person for site, person in zip(site_N, person_N, strict=True) if site == name}
        test = np.flatnonzero([site == name for site in site_N])
        train = np.flatnonzero([person not in tested for person in person_N])
        if train.size == 0:
            raise ParameterError(
                "sites", must_be="such that others remain to train on", got=f"everyone scanned at {name}"
            )
        folds.append((train, test))
    return folds


def assert_no_leak(groups: ArrayLike, train: ArrayLike, test: ArrayLike) -> None:
    """Raise where a person stands on both sides of a split; everything that trains calls it.

    Args:
        groups: (N,), the person of each row.
        train: row indices (or a mask) of the training side.
        test: row indices (or a mask) of the test side.

    Raises:
        LeakError: names the persons (the first ten of them).
    """
    person_N = np.array(_column(groups), dtype=object)
    both = sorted(set(person_N[np.asarray(train)]) & set(person_N[np.asarray(test)]), key=str)
    if both:
        named = ", ".join(map(str, both[:10])) + (f" and {len(both) - 10} more" if len(both) > 10 else "")
        raise LeakError(
            "training and test subjects",
            must_be="different people",
            got=f"{len(both)} on both sides ({named})",
            do="split by participant, with data.splits.subject_folds",
        )


def _people(
    labels: ArrayLike, groups: ArrayLike, strata: ArrayLike | None
) -> dict[Hashable, tuple[Hashable, Hashable]]:
    """Person -> (label, stratum of the first row), in order of appearance."""
    label_N, person_N = _column(labels), _column(groups)
    stratum_N = _column(strata) if strata is not None else [0] * len(person_N)
    _same_length(labels=label_N, groups=person_N, strata=stratum_N)
    people: dict[Hashable, tuple[Hashable, Hashable]] = {}
    for label, person, stratum in zip(label_N, person_N, stratum_N, strict=True):
        known, _ = people.setdefault(person, (label, stratum))
        if known != label:
            raise ParameterError("labels", must_be="one a person", got=f"{known} and {label} for {person}")
    return people


def _column(values: ArrayLike) -> list[Any]:
    # Through a plain list, so that arrays, pandas columns and lists of strings give one kind of key.
    return list(np.asarray(values).ravel().tolist())


def _same_length(**columns: Sequence[object]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ParameterError("labels, groups and strata", must_be="of one length", got=found)
