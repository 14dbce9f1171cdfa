"""The folds that an estimator cuts its training rows into (`cv=` of a search), held to the rule of persons.

A search that splits a person's runs over both of its sides chooses what recognises people. So inner folds are
made and checked here before anything is fitted, and the estimator is given those very folds.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import check_cv

from data.errors import LeakError
from data.splits.folds import assert_no_leak

CV = "cv"


def check_inner_folds(estimator: Any, X: Any, labels: NDArray[np.int64], people: NDArray[np.object_]) -> None:
    """Check every `cv` in an estimator's parameters, and fix it to the folds that were checked.

    Args:
        estimator: unfitted; changed in place.
        X: its training rows.
        labels: (n,) of these rows.
        people: (n,) of these rows.

    Raises:
        LeakError: a person stands on both sides of an inner fold, or folds that would only be known later
            (a default, a search within a search) could put people with several runs there.
        ParameterError: the splitter refuses these rows.
    """
    parameters = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    found = {name: value for name, value in parameters.items() if name.split("__")[-1] == CV}
    once = len(set(people.tolist())) == len(people)
    for name, value in found.items():
        if isinstance(value, str):  # "prefit": nothing is split
            continue
        if value is None or _within_another(name, found):
            if not once:
                raise _unknown(name)
            continue
        with warnings.catch_warnings():  # that a splitter ignores groups is what is looked for
            warnings.filterwarnings("ignore", "The groups parameter is ignored")
            folds = list(check_cv(value, labels, classifier=True).split(X, labels, people))
        for train, validation in folds:
            assert_no_leak(people, train, validation)
        estimator.set_params(**{name: folds})


def _within_another(name: str, found: dict[str, Any]) -> bool:
    """Whether a search sits inside another, which will show it only a part of these rows."""
    return any(name != outer and name.startswith(outer.removesuffix(CV)) for outer in found)


def _unknown(name: str) -> LeakError:
    return LeakError(
        f"inner folds ({name})",
        must_be="given by person where people have several runs",
        got="folds by row",
        do="set cv=data.splits.splitters.SubjectFolds()",
    )
