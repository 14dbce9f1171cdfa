"""Columns that splits are made by, as lists of keys: one kind of key, whatever array or frame held them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data.errors import ParameterError


def complete(name: str, values: ArrayLike, must_be: str) -> list[Any]:
    """The column's values as plain Python ones; a missing value equals nothing, not even itself elsewhere.

    Raises:
        ParameterError: a row has none (None, NaN, NA or blank).
    """
    missing = pd.isna(np.asarray(values, dtype=object).ravel())
    found = column(values)
    missing |= np.array([isinstance(value, str) and not value.strip() for value in found], dtype=bool)
    if missing.any():
        raise ParameterError(
            name,
            must_be=must_be,
            got=f"none for {missing.sum()} of {len(found)} (row {np.flatnonzero(missing)[0]})",
            do="leave these rows out, or fill them in",
        )
    return found


def persons(groups: ArrayLike) -> list[Any]:
    """The person of each row; a ParameterError where a row has none."""
    return complete("groups", groups, must_be="a person for every row")


def column(values: ArrayLike) -> list[Any]:
    """Values as plain Python ones: arrays, pandas columns and lists then give one kind of key."""
    return list(np.asarray(values).ravel().tolist())


def require_same_length(**columns: Sequence[object] | NDArray[Any]) -> None:
    """Raise a ParameterError where columns differ in length."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ParameterError(" and ".join(columns), must_be="of one length", got=found)
