"""scikit-learn gets the same folds, through its own searches and validations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score

from data.errors import ParameterError
from data.splits.folds import leave_one_site_out, repeated_subject_folds, subject_folds
from data.splits.splitters import SiteOut, SubjectFolds

GROUPS = np.repeat([f"p{i:02d}" for i in range(24)], 2)
LABELS = np.repeat(np.arange(24) % 2, 2)
X = pd.DataFrame({"row": np.arange(48), "site": np.repeat(list("ABC"), 16)})


class Recorder(ClassifierMixin, BaseEstimator):
    """Writes down the rows it was fitted on and those it was asked about."""

    log: list[tuple[str, set[int]]] = []  # noqa: RUF012 (clones share it on purpose)

    def __init__(self, offset: float = 0.0):
        self.offset = offset

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.log.append(("fit", set(X["row"])))
        return self

    def predict(self, X):
        self.log.append(("test", set(X["row"])))
        return np.full(len(X), self.classes_[0])


@pytest.fixture
def record():
    Recorder.log.clear()
    return Recorder.log


def rows_tested(folds):
    return [test.tolist() for _, test in folds]


@pytest.mark.parametrize("site", [None, "site"])
def test_folds_are_those_of_subject_folds(site):
    strata = X["site"] if site else None
    splitter = SubjectFolds(4, seed=3, site=site)
    assert rows_tested(splitter.split(X, LABELS, GROUPS)) == rows_tested(
        subject_folds(LABELS, GROUPS, n_splits=4, seed=3, strata=strata)
    )
    assert splitter.get_n_splits() == 4
    repeated = SubjectFolds(4, seed=3, n_repeats=3, site=site)
    expected = repeated_subject_folds(LABELS, GROUPS, n_splits=4, n_repeats=3, seed=3, strata=strata)
    assert rows_tested(repeated.split(X, LABELS, GROUPS)) == [
        test for folds in expected for test in rows_tested(folds)
    ]
    assert repeated.get_n_splits(X, LABELS, GROUPS) == 12


def test_sites_out_are_those_of_leave_one_site_out():
    assert rows_tested(SiteOut().split(X, LABELS, GROUPS)) == rows_tested(
        leave_one_site_out(X["site"], GROUPS)
    )
    assert SiteOut().get_n_splits(X) == 3


def test_cross_validation_takes_them(record):
    scores = cross_val_score(Recorder(), X, LABELS, groups=GROUPS, cv=SubjectFolds(4, site="site"))
    assert len(scores) == 4
    shown = [rows for what, rows in record if what == "test"]
    assert set.union(*shown) == set(range(48))
    predicted = cross_val_predict(Recorder(), X, LABELS, groups=GROUPS, cv=SiteOut())
    assert len(predicted) == 48


def test_a_search_within_a_validation_keeps_people_together_at_both_levels(record):
    for train, test in SubjectFolds(3, seed=1, site="site").split(X, LABELS, GROUPS):
        record.clear()
        search = GridSearchCV(Recorder(), {"offset": [0.0, 1.0]}, cv=SubjectFolds(3, site="site"))
        search.fit(X.iloc[train], LABELS[train], groups=GROUPS[train])
        assert len(record) == 2 * 3 * 2 + 1  # two values, three folds, fit and test; the last fit on all
        for (_, fitted), (_, validated) in zip(record[:-1:2], record[1:-1:2], strict=True):
            sides = [set(GROUPS[list(rows)]) for rows in (fitted, validated, test)]
            assert len(set.union(*sides)) == sum(map(len, sides))


def test_a_search_over_sites():
    search = GridSearchCV(
        LogisticRegression(), {"C": [0.1, 1.0]}, cv=list(SiteOut().split(X, LABELS, GROUPS))
    )
    assert search.fit(X[["row"]], LABELS).n_splits_ == 3


@pytest.mark.parametrize(
    ("splitter", "arguments", "message"),
    [
        (SubjectFolds(), (X, LABELS), "groups must be the person of each row, got none"),
        (SiteOut(), (X, LABELS), "groups must be the person of each row"),
        (
            SubjectFolds(site="scanner"),
            (X, LABELS, GROUPS),
            "a DataFrame with a column 'scanner', got a Data",
        ),
        (SiteOut(), (X.to_numpy(), LABELS, GROUPS), "a DataFrame with a column 'site', got ndarray"),
        (SubjectFolds(13), (X, LABELS, GROUPS), "n_splits must be no larger"),
    ],
)
def test_what_cannot_be_split(splitter, arguments, message):
    with pytest.raises(ParameterError, match=message):
        list(splitter.split(*arguments))
