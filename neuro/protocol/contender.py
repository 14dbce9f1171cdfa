"""What stands in the table: a classifier, what it looks at, and what its inner folds may choose among."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuro.calibration.calibrators import logits


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A classifier and what it looks at.

    Attributes:
        name: how it is called in tables.
        estimator: any scikit-learn classifier; clones of it are fitted.
        X: one item a run, a list, an array or a DataFrame; nothing in it was learned from labels or from
            other runs.
        note: what a reader should know of it.
        grid: settings (`set_params`) that the inner folds choose among; its length is the budget.
        sees_scans: False for those that look at what is known beside the scan.
    """

    name: str
    estimator: Any
    X: Any
    note: str = ""
    grid: Sequence[Mapping[str, Any]] = ({},)
    sees_scans: bool = True


def taken(X: Any, rows: NDArray[np.intp]) -> Any:
    """Items of X at these rows, in its own kind."""
    if isinstance(X, pd.DataFrame):
        return X.iloc[rows]
    return X[rows] if isinstance(X, np.ndarray) else [X[i] for i in rows]


def decided(estimator: Any, X: Any) -> NDArray[np.float64]:
    """Decision values (n,), above 0 for the positive label."""
    if hasattr(estimator, "decision_function"):
        return np.asarray(estimator.decision_function(X), dtype=float)
    return logits(estimator.predict_proba(X)[:, 1])
