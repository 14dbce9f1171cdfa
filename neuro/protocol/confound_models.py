"""What is known of a person beside the scan, as rivals: age and sex, head motion, the site.

A model of scans that does no better than these has not been shown to read disease from the brain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted

from neuro.protocol.contender import Contender
from neuro.sites.covariates import MISSING, learn_covariate

# Name -> columns of a cache's table.
CONFOUNDS = {"age + sex": ("age", "sex"), "head motion": ("fd_mean",), "site": ("site",)}


class CodedCovariates(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Columns of a DataFrame -> design columns, coded as the training rows say (`neuro.sites.covariates`).

    A missing value, and a level that training did not know, count as the training average.

    Attributes:
        covariates_: one a column, as coded.
    """

    def fit(self, X: pd.DataFrame, y: ArrayLike | None = None) -> CodedCovariates:
        """Learn the coding."""
        self.covariates_ = [learn_covariate(str(name), X[name]) for name in X.columns]
        return self

    def transform(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Design columns (N, C); a column of zeros where there would be none."""
        check_is_fitted(self)
        columns = [covariate.columns(X[covariate.name]) for covariate in self.covariates_]
        return np.hstack([np.zeros((len(X), 1)), *columns])


def confound_model() -> Pipeline:
    """Logistic regression on coded covariates; classes weigh equally."""
    return make_pipeline(CodedCovariates(), LogisticRegression(class_weight="balanced", max_iter=1000))


def confound_contenders(table: pd.DataFrame) -> list[Contender]:
    """One for each confound that this cohort knows and in which it varies."""
    return [
        Contender(
            name=name,
            estimator=confound_model(),
            X=table[list(known)],
            note=f"{' and '.join(_words(known))} alone, logistic regression; no scan",
            sees_scans=False,
        )
        for name, columns in CONFOUNDS.items()
        if (known := [column for column in columns if _varies(table, column)])
    ]


def _varies(table: pd.DataFrame, column: str) -> bool:
    return column in table and table[column][~table[column].isin(MISSING)].nunique() > 1


def _words(columns: Sequence[str]) -> list[str]:
    told = {"fd_mean": "mean framewise displacement", "site": "the site"}
    return [told.get(column, column) for column in columns]
