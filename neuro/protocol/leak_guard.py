"""No split by slice, frame, run or augmented copy: what comes of one person stands on one side.

`data.splits.folds.assert_no_leak` speaks of rows; who cuts runs into smaller units asks here, and is told
which units went wrong. A unit belongs to the person of its run, a copy to the person of its original.
Letters: U units.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import LeakError, ParameterError
from data.splits.folds import Fold, assert_no_leak


def assert_units_by_person(
    unit_people: ArrayLike, train: ArrayLike, test: ArrayLike, unit: str = "slice"
) -> None:
    """Raise where units of one person stand on both sides of a split.

    Args:
        unit_people: the person of each unit (U,).
        train: unit indices (or a mask) of the training side.
        test: unit indices (or a mask) of the test side.
        unit: what they are, in the singular: "slice", "frame", "run", "window", "augmented copy".

    Raises:
        LeakError: names the people (the first ten of them).
        ParameterError: a unit has no person, an index is not one of a unit, or a side is empty.
    """
    try:
        assert_no_leak(unit_people, train, test)
    except LeakError as error:
        raise LeakError(
            f"training and test {plural(unit)}",
            must_be="of different people",
            got=f"{plural(unit)} of the same people: {error.got}",
            do=f"split by person, not by {unit}: subject_folds(labels, groups=the person of each {unit})",
        ) from error


def guarded(splitter: Any, labels: ArrayLike, unit_people: ArrayLike, unit: str = "slice") -> Iterator[Fold]:
    """Folds of any scikit-learn splitter over units, each checked before it is given out.

    Raises:
        LeakError: at the first fold with a person on both sides.
        ParameterError: as `assert_units_by_person`.
    """
    labels_U = np.asarray(labels)
    with warnings.catch_warnings():  # that a splitter ignores groups is what is looked for
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        folds = list(splitter.split(np.zeros((len(labels_U), 1)), labels_U, np.asarray(unit_people)))
    for train, test in folds:
        assert_units_by_person(unit_people, train, test, unit)
        yield train, test


def people_of_units(run_people: ArrayLike, run_of_unit: ArrayLike) -> NDArray[np.object_]:
    """The person of each unit (U,), from the row of the run (or of the original) that it was made from.

    Raises:
        ParameterError: a row that there is not.
    """
    people, row_U = np.asarray(run_people, dtype=object), np.asarray(run_of_unit)
    if row_U.size and not (row_U.min() >= 0 and row_U.max() < len(people)):
        raise ParameterError(
            "rows of runs", must_be=f"from 0 to {len(people) - 1}", got=f"{row_U.min()} to {row_U.max()}"
        )
    found_U: NDArray[np.object_] = people[row_U]
    return found_U


def plural(unit: str) -> str:
    """Of a unit's name."""
    return f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}s"
