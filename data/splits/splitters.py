"""The folds of `data.splits` as scikit-learn splitters, for `cross_val_score`, `GridSearchCV` and the like.

scikit-learn hands a splitter X, y and groups, and in nested use rows of them, so whatever else decides the
folds (the site) has to travel in X, as a column of a DataFrame. Every fold is checked before it is given out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data.errors import ParameterError
from data.splits.folds import Indices, assert_no_leak, leave_one_site_out, subject_folds


@dataclass(frozen=True)
class SubjectFolds:
    """`subject_folds` (one repeat) or `repeated_subject_folds` (several) as a splitter.

    Attributes:
        n_splits: folds of each repeat.
        seed: of the shuffle.
        n_repeats: how often people are dealt out.
        site: column of X by which folds are stratified beside the label; None for the label alone.
    """

    n_splits: int = 5
    seed: int = 0
    n_repeats: int = 1
    site: str | None = None

    def split(
        self, X: Any, y: ArrayLike, groups: ArrayLike | None = None
    ) -> Iterator[tuple[Indices, Indices]]:
        """Give (train, test) row indices, fold by fold.

        Raises:
            ParameterError: no groups, no such column, or as `subject_folds`.
        """
        people = _given(groups)
        strata = column_of(X, self.site) if self.site is not None else None
        for repeat in range(self.n_repeats):
            # The seed of one repeat is the plain one, so that these are the folds of `subject_folds`.
            seed = self.seed if self.n_repeats == 1 else (self.seed, repeat)
            for train, test in subject_folds(y, people, n_splits=self.n_splits, seed=seed, strata=strata):
                assert_no_leak(people, train, test)
                yield train, test

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds over all repeats."""
        return self.n_splits * self.n_repeats


@dataclass(frozen=True)
class SiteOut:
    """`leave_one_site_out` as a splitter.

    Attributes:
        site: column of X that holds the site.
    """

    site: str = "site"

    def split(
        self, X: Any, y: Any = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[Indices, Indices]]:
        """Give (train, test) row indices, site by site in sorted order.

        Raises:
            ParameterError: no groups, no such column, or as `leave_one_site_out`.
        """
        people = _given(groups)
        for train, test in leave_one_site_out(column_of(X, self.site), people):
            assert_no_leak(people, train, test)
            yield train, test

    def get_n_splits(self, X: Any, y: Any = None, groups: Any = None) -> int:
        """Number of sites in X."""
        return len(set(column_of(X, self.site).tolist()))


def column_of(X: Any, name: str) -> NDArray[np.object_]:
    """A column of a DataFrame (N,).

    Raises:
        ParameterError: X is no DataFrame, or has no such column.
    """
    if not isinstance(X, pd.DataFrame) or name not in X.columns:
        found = "a DataFrame without it" if isinstance(X, pd.DataFrame) else type(X).__name__
        raise ParameterError("X", must_be=f"a DataFrame with a column {name!r}", got=found)
    return X[name].to_numpy(object)


def _given(groups: ArrayLike | None) -> ArrayLike:
    if groups is None:
        raise ParameterError(
            "groups", must_be="the person of each row", got="none", do="hand groups= over with X and y"
        )
    return groups
