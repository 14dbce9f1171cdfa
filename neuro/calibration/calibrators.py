"""Scores -> probabilities, by a rising curve fitted to scores of people whom the scoring model had not seen.

With 10 to 60 people the scores often part the labels without an error, and the likeliest curve is then a
step: everybody certain. So every curve is fitted to Platt's targets, (n1 + 1) / (n1 + 2) for positives and
1 / (n0 + 2) for negatives, in place of 1 and 0 (Platt 1999, section 2.2: a uniform prior on each label's
share). No curve ever falls: where the scores of the inner folds point the wrong way, as by chance they often
do when there is nothing to be found, it is flat.

Letters: N runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import ParameterError, UnknownNameError, nearest

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """A rising curve: scores -> probability of label 1.

    Attributes:
        method: a name of METHODS.
        slope, intercept: log odds are slope * score + intercept, where there are no knots.
        knots: (score, probability) between which the curve is straight, and beyond which it is flat.
    """

    method: str
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()

    def probabilities(self, scores: ArrayLike) -> Floats:
        """Probability of label 1 for each score (N,)."""
        from scipy.special import expit

        score_N = np.asarray(scores, dtype=np.float64)
        if self.knots:
            at, height = np.array(self.knots).T
            return np.asarray(np.interp(score_N, at, height), dtype=np.float64)
        # A flat curve stays flat where a score is infinite.
        odds_N = (
            self.slope * score_N + self.intercept if self.slope else np.full_like(score_N, self.intercept)
        )
        return np.asarray(expit(odds_N), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, from which `from_dict` makes the same curve to the bit."""
        return asdict(self) | {"knots": [list(knot) for knot in self.knots]}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Calibrator:
        """The curve that `to_dict` told."""
        return cls(**(dict(given) | {"knots": tuple((float(x), float(p)) for x, p in given["knots"])}))


def fit_calibrator(scores: ArrayLike, labels: ArrayLike, method: str = "platt") -> Calibrator:
    """Fit a curve to scores that their people's models had no part in.

    Args:
        scores: the higher, the more positive (N,); for "temperature" and "none", 0 must mean that either
            label is as likely.
        labels: 0 or 1 (N,).
        method: "platt" (scale and shift), "temperature" (scale alone, Guo et al. 2017), "isotonic" (any
            rising curve; Zadrozny & Elkan 2002; needs hundreds of people before it beats Platt's,
            Niculescu-Mizil & Caruana 2005), or "none" (scores are log odds as they come).

    Raises:
        UnknownNameError: no such method.
        ParameterError: scores and labels do not fit together, a score is not finite, or a label is missing.
    """
    if method not in METHODS:
        raise UnknownNameError(
            "calibration", must_be=f"one of {', '.join(METHODS)}", got=method, do=nearest(method, METHODS)
        )
    score_N, label_N = checked(scores, labels)
    return METHODS[method](score_N, smoothed(label_N))


def smoothed(label_N: NDArray[np.int64]) -> Floats:
    """Platt's targets (N,) in place of 0 and 1."""
    positive = int(label_N.sum())
    negative = len(label_N) - positive
    return np.where(label_N == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))


def checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Scores and labels (N,) that something can be fitted to.

    Raises:
        ParameterError: lengths differ, a score is not finite, labels are not 0 and 1, or one is missing.
    """
    score_N, label_N = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if score_N.ndim != 1 or score_N.shape != label_N.shape:
        raise ParameterError(
            "scores and labels", must_be="of one length", got=f"shapes {score_N.shape} and {label_N.shape}"
        )
    if not np.isfinite(score_N).all():
        bad = np.flatnonzero(~np.isfinite(score_N))
        raise ParameterError("scores", must_be="finite", got=f"{len(bad)} that are not (row {bad[0]})")
    if set(np.unique(label_N).tolist()) != {0, 1}:
        raise ParameterError("labels", must_be="0 and 1, both of them", got=np.unique(label_N).tolist())
    return score_N, label_N.astype(np.int64)


def _platt(score_N: Floats, target_N: Floats) -> Calibrator:
    from scipy.optimize import minimize
    from scipy.special import expit

    base = float(np.log(target_N.mean() / (1 - target_N.mean())))
    centre, spread = float(score_N.mean()), float(score_N.std())
    flat = Calibrator(method="platt", slope=0.0, intercept=base)
    if spread <= 1e-12 * max(1.0, abs(centre)):
        return flat
    z_N = (score_N - centre) / spread

    def loss(slope_and_shift: Floats) -> tuple[float, Floats]:
        odds_N = slope_and_shift[0] * z_N + slope_and_shift[1]
        error_N = expit(odds_N) - target_N
        total = float((np.logaddexp(0, odds_N) - target_N * odds_N).sum())
        return total, np.array([error_N @ z_N, error_N.sum()])

    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}
    found = minimize(
        loss, [0.0, base], jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)], options=options
    )
    slope = float(found.x[0] / spread)
    if not slope > 0:
        return flat
    return Calibrator(method="platt", slope=slope, intercept=float(found.x[1] - slope * centre))


def _temperature(score_N: Floats, target_N: Floats) -> Calibrator:
    from scipy.optimize import brentq
    from scipy.special import expit

    largest = float(np.abs(score_N).max())
    z_N = score_N / largest if largest > 0 else score_N

    def rise(scale: float) -> float:
        """Derivative of the log loss by the scale; it grows, and with smoothed targets it ends above 0."""
        return float(z_N @ (expit(scale * z_N) - target_N))

    if rise(0.0) >= 0:
        return Calibrator(method="temperature", slope=0.0)
    high = 1.0
    while rise(high) < 0:
        high *= 2
    return Calibrator(method="temperature", slope=float(brentq(rise, 0.0, high, xtol=1e-13)) / largest)


def _isotonic(score_N: Floats, target_N: Floats) -> Calibrator:
    from sklearn.isotonic import IsotonicRegression

    curve = IsotonicRegression(increasing=True, out_of_bounds="clip").fit(score_N, target_N)
    knots = zip(curve.X_thresholds_.tolist(), curve.y_thresholds_.tolist(), strict=True)
    return Calibrator(method="isotonic", knots=tuple(knots))


def _none(score_N: Floats, target_N: Floats) -> Calibrator:
    return Calibrator(method="none")


METHODS: dict[str, Callable[[Floats, Floats], Calibrator]] = {
    "platt": _platt,
    "isotonic": _isotonic,
    "temperature": _temperature,
    "none": _none,
}


def logits(probabilities: Floats) -> Floats:
    """Log odds of probabilities, finite at 0 and 1: scores for a model that gives probabilities alone."""
    inside = np.clip(probabilities, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside) - np.log1p(-inside))
