"""Splits by person: (labels, groups) -> folds of row indices in which nobody stands on both sides.

A group is a person, not a participant_id: who was scanned at two sites or in two sessions is one group under
whatever names (`Cohort.table["person"]`). `data.splits.nested_splits` nests these
folds, `data.splits.splitters` gives them to scikit-learn.

Letters: N rows (runs), P persons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import LeakError, ParameterError
from data.splits.split_columns import column, complete, persons, require_same_length

Indices = NDArray[np.intp]
Fold = tuple[Indices, Indices]
Seed = int | Sequence[int]


def subject_folds(
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    n_splits: int = 5,
    seed: Seed = 0,
    strata: ArrayLike | None = None,
) -> list[Fold]:
    """Folds over persons, stratified by label and, within it, by stratum.

    Persons are shuffled within each (label, stratum) and dealt out to the folds in turn, so between any two
    folds the number of persons, of persons per label, and of persons per label and stratum differs by one at
    most. (scikit-learn's StratifiedGroupKFold balances rows and promises no such bound.)

    Args:
        labels: (N,), one label a row; a person has one label.
        groups: (N,), the person of each row.
        n_splits: number of folds.
        seed: of the shuffle, a number or several; the same seed gives the same folds.
        strata: (N,), e.g. sites; a person seen in several counts in that of the first row.

    Returns:
        `n_splits` pairs (train, test) of sorted row indices; every row is tested once.

    Raises:
        ParameterError: lengths differ, a row has no person or no label, a person has two labels, or a label
            has fewer persons than folds.
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
    fold_N = np.array([fold_of[person] for person in column(groups)])
    return [(np.flatnonzero(fold_N != k), np.flatnonzero(fold_N == k)) for k in range(n_splits)]


def repeated_subject_folds(
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    n_splits: int = 5,
    n_repeats: int = 10,
    seed: int = 0,
    strata: ArrayLike | None = None,
) -> list[list[Fold]]:
    """`subject_folds`, dealt out anew `n_repeats` times: how far does a figure depend on the folds?

    Every repeat tests every row once. Repeats share people, so their spread is no standard error.

    Raises:
        ParameterError: fewer than one repeat, or as `subject_folds`.
    """
    if n_repeats < 1:
        raise ParameterError("n_repeats", must_be="at least 1", got=n_repeats)
    return [
        subject_folds(labels, groups, n_splits=n_splits, seed=(seed, repeat), strata=strata)
        for repeat in range(n_repeats)
    ]


def leave_one_site_out(sites: ArrayLike, groups: ArrayLike) -> list[Fold]:
    """One fold a site, in sorted order of the sites' names: test on it, train on the others.

    A person scanned at several sites is taken out of training whenever one of those sites is tested.

    Args:
        sites: (N,), the site of each row.
        groups: (N,), the person of each row.

    Raises:
        ParameterError: lengths differ, a row has no site, there is one site only, or a fold leaves nobody to
            train on.
    """
    site_N, person_N = complete("sites", sites, must_be="a site for every row"), persons(groups)
    require_same_length(sites=site_N, groups=person_N)
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
        ParameterError: a row has no person (nobody could say then on which side it belongs), an index is not
            one of a row, or a side is empty.
    """
    person_N = np.array(persons(groups), dtype=object)
    both = set(person_N[_rows(train, len(person_N), "train")]) & set(
        person_N[_rows(test, len(person_N), "test")]
    )
    if both:
        raise _leak(both)


def label_of_person(labels: ArrayLike, groups: ArrayLike) -> dict[Hashable, Hashable]:
    """Person -> label, in order of appearance.

    Raises:
        ParameterError: lengths differ, a row has no person or no label, or a person has two labels.
    """
    return {person: label for person, (label, _) in _people(labels, groups, None).items()}


def _leak(people: set[Hashable]) -> LeakError:
    both = sorted(people, key=str)
    named = ", ".join(map(str, both[:10])) + (f" and {len(both) - 10} more" if len(both) > 10 else "")
    return LeakError(
        "training and test subjects",
        must_be="different people",
        got=f"{len(both)} on both sides ({named})",
        do="split by person, with data.splits.folds.subject_folds",
    )


def _rows(side: ArrayLike, n_rows: int, name: str) -> Indices:
    """A mask or indices as indices, each of which is one of a row (-1 would silently mean the last)."""
    given = np.asarray(side)
    if given.dtype == bool and given.shape != (n_rows,):
        raise ParameterError(f"{name} mask", must_be=f"of {n_rows} rows", got=f"shape {given.shape}")
    rows = np.flatnonzero(given) if given.dtype == bool else given
    if rows.size == 0:
        raise ParameterError(f"{name} side of a split", must_be="of at least one row", got="none")
    if rows.min() < 0 or rows.max() >= n_rows:
        raise ParameterError(
            f"{name} rows", must_be=f"from 0 to {n_rows - 1}", got=f"{rows.min()} to {rows.max()}"
        )
    return rows.astype(np.intp)


def _people(
    labels: ArrayLike, groups: ArrayLike, strata: ArrayLike | None
) -> dict[Hashable, tuple[Hashable, Hashable]]:
    """Person -> (label, stratum of the first row), in order of appearance."""
    label_N, person_N = complete("labels", labels, must_be="a label for every row"), persons(groups)
    stratum_N = column(strata) if strata is not None else [0] * len(person_N)
    require_same_length(labels=label_N, groups=person_N, strata=stratum_N)
    people: dict[Hashable, tuple[Hashable, Hashable]] = {}
    for label, person, stratum in zip(label_N, person_N, stratum_N, strict=True):
        known, _ = people.setdefault(person, (label, stratum))
        if known != label:
            raise ParameterError("labels", must_be="one a person", got=f"{known} and {label} for {person}")
    return people
