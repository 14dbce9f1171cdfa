"""Columns of a table -> centred columns of a design matrix (N, C), coded as the training rows said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.multiclass import type_of_target

MISSING = ("n/a", "")


@dataclass(frozen=True, kw_only=True)
class Covariate:
    """One column, and how its training rows code it.

    Numbers become standard scores; names (sex) become one column for each level but the first. Columns are
    centred, so that 0 means the training rows' average: that is what a missing value (BIDS's n/a too), or a
    level that training did not know, is taken for.

    Attributes:
        name: the column.
        levels: of names, sorted; None for numbers.
        centre, scale: of each design column.
    """

    name: str
    levels: tuple[str, ...] | None
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    @property
    def terms(self) -> list[str]:
        """Names of the design columns."""
        return [self.name] if self.levels is None else [f"{self.name}={level}" for level in self.levels[1:]]

    def columns(self, values: pd.Series) -> NDArray[np.float64]:
        """Design columns (N, C) of these values."""
        raw_NC = _raw(_present(values), self.levels)
        coded_NC = (raw_NC - np.array(self.centre)) / np.array(self.scale)
        return np.where(np.isfinite(coded_NC), coded_NC, 0.0)


def learn_covariate(name: str, values: pd.Series) -> Covariate:
    """How these training rows code a column: numbers as numbers, anything else by its levels."""
    values = _present(values)
    known = values.dropna().infer_objects()
    numeric = pd.api.types.is_numeric_dtype(known) and not pd.api.types.is_bool_dtype(known)
    levels = None if numeric else tuple(sorted({str(value) for value in known}))
    raw_NC = pd.DataFrame(_raw(values, levels))  # its mean and deviation pass over what is missing
    deviation_C = raw_NC.std(ddof=0).to_numpy() if numeric else np.ones(raw_NC.shape[1])
    return Covariate(
        name=name,
        levels=levels,
        centre=tuple(raw_NC.mean().fillna(0.0).tolist()),
        scale=tuple(np.where(deviation_C > 0, deviation_C, 1.0).tolist()),
    )


def label_columns(y: NDArray[Any]) -> NDArray[np.float64]:
    """Labels as centred columns (N, L): classes by name, targets on a scale as one number."""
    labels = pd.Series(y)
    classes = labels.astype(str) if type_of_target(y) in ("binary", "multiclass") else labels
    coded_NL = learn_covariate("label", classes).columns(classes)
    return np.asarray(coded_NL[:, coded_NL.std(axis=0) > 0])


def _present(values: pd.Series) -> pd.Series:
    return values.mask(values.isin(MISSING))


def _raw(values: pd.Series, levels: tuple[str, ...] | None) -> NDArray[np.float64]:
    """(N, C), with NaN where a value is missing or of no known level."""
    if levels is None:
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        return np.where(np.isfinite(numbers), numbers, np.nan)[:, None]
    named = values.map(str, na_action="ignore").to_numpy(object)
    raw_NC = np.array([[float(name == level) for level in levels[1:]] for name in named])
    raw_NC = raw_NC.reshape(len(named), max(len(levels) - 1, 0))
    raw_NC[[name not in levels for name in named]] = np.nan
    return raw_NC
