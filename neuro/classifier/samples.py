"""What a classifier is given, checked as scikit-learn checks it: X -> runs as tokens, y -> labels.

X is a sequence of `RunTokens`, or a numeric array of parcel series (n, T, R), or (n, R): one value a region,
which is a run of one frame. Letters: n samples, T frames, R regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import assert_all_finite, check_array, column_or_1d, validate_data

from data.errors import ParameterError
from neuro.tokens import RunTokens, TokenLayout, TokenSpec
from neuro.tokens.parcels import ParcelSpec, parcel_tokens_of_array

Floats = NDArray[np.float32]

ARRAY = "array"  # stands for the atlas of series that come without one
LEAST_PROFILE = 3  # frames, to correlate


def samples(estimator: BaseEstimator, X: Any, *, reset: bool) -> list[RunTokens]:
    """Runs as they are, arrays as runs of parcels.

    Args:
        estimator: whose samples they are; `n_features_in_`, the number of regions, and `feature_names_in_`
            are set or compared.
        X: what it was given.
        reset: True when fitting.

    Raises:
        ParameterError: no run, runs that are cut in different ways, or in another way than when fitted.
        ValueError: an array that is not numeric, finite, dense and 2-D or 3-D, or has other features than
            when fitted, in scikit-learn's words.
        TypeError: a sparse matrix, in scikit-learn's words.
    """
    if not _is_runs(X):
        return _runs_of_array(estimator, X, None if reset else estimator.spec_, reset=reset)
    if reset:
        _forget_features(estimator)
    _check_cuts(X, None if reset else (estimator.spec_, estimator.layout_))
    return list(X)


def _check_cuts(runs: Sequence[RunTokens], fitted: tuple[TokenSpec, TokenLayout] | None) -> None:
    cuts = {(run.spec, run.layout) for run in runs}
    if len(cuts) != 1:
        raise ParameterError("X", must_be="runs cut alike", got=f"{len(cuts)} ways of cutting")
    if fitted is not None and cuts != {fitted}:
        raise ParameterError("X", must_be=f"runs cut as when fitted, {fitted}", got=cuts.pop())


def labels_of(estimator: BaseEstimator, y: Any, count: int) -> NDArray[Any]:
    """y -> labels (n,), of any type, of two classes.

    Raises:
        ParameterError: not one label a sample, or not two classes.
        ValueError: no y, or no labels, in scikit-learn's words.
    """
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"This {name} estimator requires y to be passed, but the target y is None.")
    labels: NDArray[Any] = column_or_1d(_dense(y), warn=True)
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    if len(labels) != count:
        raise ParameterError("y", must_be=f"one label for each of {count} runs", got=len(labels))
    classes = np.unique(labels)
    if len(classes) != 2:
        kind = type_of_target(labels)
        raise ParameterError(
            "y",
            must_be="of two different labels",
            got=f"{len(classes)} class{'es' * (len(classes) != 1)}: {classes.tolist()}",
            # The second half is what scikit-learn's own checks look for.
            do=f"Only binary classification is supported. The type of the target is {kind}",
        )
    return labels


def _dense(y: Any) -> NDArray[Any]:
    return np.asarray(check_array(y, ensure_2d=False, dtype=None, input_name="y", ensure_all_finite=False))


def _is_runs(X: Any) -> bool:
    kinds = isinstance(X, list | tuple) or (isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1)
    return bool(kinds and len(X) and all(isinstance(x, RunTokens) for x in X))


def _forget_features(estimator: BaseEstimator) -> None:
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(estimator, name):
            delattr(estimator, name)


def _runs_of_array(
    estimator: BaseEstimator, X: Any, fitted: TokenSpec | None, *, reset: bool
) -> list[RunTokens]:
    if not reset and not hasattr(estimator, "n_features_in_"):
        raise ParameterError("X", must_be="runs as tokens, as when fitted", got="an array")
    series_nTR = _three_axes(estimator, X, reset=reset)
    spec = fitted if isinstance(fitted, ParcelSpec) else spec_of_array(series_nTR.shape[1])
    numbered = enumerate(series_nTR)
    return [parcel_tokens_of_array(series_TR, spec, run_id=f"row {i}") for i, series_TR in numbered]


def spec_of_array(frames: int) -> ParcelSpec:
    """How arrays are cut: all frames in one clip; a token is a region's correlations with all regions, where
    there are frames enough, else its values.
    """
    return ParcelSpec(
        atlas=ARRAY, frames=frames, profile="correlation" if frames >= LEAST_PROFILE else "none"
    )


def _three_axes(estimator: BaseEstimator, X: Any, *, reset: bool) -> Floats:
    """(n, R) or (n, T, R), checked -> float32 (n, T, R)."""
    given = np.asarray(X) if isinstance(X, list | tuple) and np.ndim(X[:1]) == 3 else X
    if getattr(given, "ndim", None) != 3:
        flat = validate_data(estimator, given, reset=reset, dtype=np.float32)
        return np.asarray(flat, dtype=np.float32)[:, None, :]
    # scikit-learn would take the second axis for the features, and those are the regions here.
    rows = np.reshape(given, (-1, given.shape[2]))
    flat = validate_data(estimator, rows, reset=reset, dtype=np.float32)
    return np.asarray(flat, dtype=np.float32).reshape(given.shape)
