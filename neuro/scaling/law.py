"""The loss of a model by its size and what it saw: finished runs -> L(N, D) = E + A / N^alpha + B / D^beta.

Hoffmann et al. 2022, arXiv 2203.15556, equation 2; the fit is told in `neuro.scaling.power_sum`.

N counts parameters of the encoder without embeddings, D what training went through. Where every cell makes
the same number of passes over its people, D is also proportional to the data there is, and the law says
nothing about passing over the same people more often (Muennighoff et al. 2023, arXiv 2305.16264).

Letters: M runs, P coefficients in the order log E, log A, log B, alpha, beta, G points asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import ParameterError
from neuro.scaling.finished import Finished, cells, column
from neuro.scaling.power_sum import DELTA, fit_power_sum, log_values

Floats = NDArray[np.float64]

NAMES = ("E", "A", "B", "alpha", "beta")
FEWEST_SIZES, FEWEST_CELLS = 3, 6  # a floor, a scale and an exponent go through any two sizes
LEAST_SPAN = 1.5  # largest over smallest size: less bends no curve
MOST_CORRELATION = 0.98  # of log N and log D: beyond, growing models and growing data are one thing
HUBER_K = 1.345  # deviations from which on Huber's loss is 95 % as efficient as least squares


@dataclass(frozen=True, kw_only=True, eq=False)
class LossLaw:
    """A fitted law of loss.

    Attributes:
        theta_P: log E, log A, log B, alpha, beta, unrounded.
        objective: sum of the Huber losses of log L.
        delta: of the Huber loss.
        undetermined: exponents that ended at a bound of the fit, since the runs do not tell them.
    """

    theta_P: Floats
    objective: float
    delta: float
    undetermined: tuple[str, ...]

    @property
    def coefficients(self) -> dict[str, float]:
        """E, A, B, alpha, beta by name."""
        values = [*np.exp(self.theta_P[:3]), *self.theta_P[3:]]
        return {name: float(value) for name, value in zip(NAMES, values, strict=True)}

    def loss(self, params: ArrayLike, seen: ArrayLike) -> Floats:
        """Loss at sizes and data seen, which broadcast (G,)."""
        return np.asarray(np.exp(log_values(self.theta_P, log_sizes(params, seen))))


def log_sizes(params: ArrayLike, seen: ArrayLike) -> Floats:
    """Logs of N and D (G, 2)."""
    params_G, seen_G = np.broadcast_arrays(np.atleast_1d(np.asarray(params, float)), np.asarray(seen, float))
    return np.asarray(np.log(np.stack([params_G.ravel(), seen_G.ravel()], axis=1)))


def fit_law(runs: Sequence[Finished], *, delta: float | None = None) -> LossLaw:
    """Fit the law of loss to finished runs; diverged ones are left out.

    Args:
        runs: of several sizes and amounts of data, crossed.
        delta: of the Huber loss on log L; None fits it to the noise (`noise_delta`).

    Raises:
        ParameterError: too few runs, sizes or amounts of data, or sizes that grow with the data only.
    """
    kept = converged(runs)
    require_grid(kept)
    delta = noise_delta(kept) if delta is None else delta
    if not delta > 0:
        raise ParameterError("delta", must_be="positive", got=delta)
    fit = fit_power_sum(log_grid(kept), column(kept, "loss"), delta=delta)
    return LossLaw(
        theta_P=fit.theta_P,
        objective=fit.objective,
        delta=delta,
        undetermined=tuple(NAMES[3 + j] for j in fit.at_bound),
    )


def converged(runs: Sequence[Finished]) -> list[Finished]:
    """The runs whose training ended with a loss."""
    return [run for run in runs if not run.diverged]


def log_grid(runs: Sequence[Finished]) -> Floats:
    """Logs of N and D of runs (M, 2)."""
    return log_sizes(column(runs, "params"), column(runs, "seen"))


def noise_delta(runs: Sequence[Finished]) -> float:
    """Where Huber's loss should bend: at 1.345 deviations between seeds, and no lower than Hoffmann's 0.001.

    With their constant the fit to noisier runs is one to medians, which wastes a third of what few small runs
    say (it is 64 % as efficient as least squares where noise is normal).
    """
    log_loss_M = np.log(column(runs, "loss"))
    deviations = [
        (log_loss_M[places] - log_loss_M[places].mean()) * np.sqrt(len(places) / (len(places) - 1))
        for places in cells(runs).values()
        if len(places) > 1
    ]
    if not deviations:
        return DELTA
    return max(DELTA, HUBER_K * float(np.sqrt(np.mean(np.concatenate(deviations) ** 2))))


def require_grid(runs: Sequence[Finished]) -> None:
    """Say no to runs that cannot tell the five coefficients.

    Raises:
        ParameterError: names what is missing.
    """
    for name, words in (("params", "model sizes"), ("seen", "amounts of data")):
        sizes = np.unique(column(runs, name))
        if len(sizes) < FEWEST_SIZES or sizes[-1] < LEAST_SPAN * sizes[0]:
            listed = ", ".join(f"{size:g}" for size in sizes[:6])
            raise _too_little(
                words,
                f"at least {FEWEST_SIZES}, the largest {LEAST_SPAN} times the smallest",
                listed or "none",
            )
    found = cells(runs)
    if len(found) < FEWEST_CELLS:
        raise _too_little("cells of size and data", f"at least {FEWEST_CELLS}", len(found))
    log_cells = np.log(np.array(list(found)))
    together = abs(float(np.corrcoef(log_cells.T)[0, 1]))
    if together > MOST_CORRELATION:
        raise ParameterError(
            "model sizes and amounts of data",
            must_be=f"crossed (correlation of their logs {MOST_CORRELATION} at most)",
            got=f"ones that go together ({together:.3f})",
            do="train large models on little data too, and small ones on much",
        )


def _too_little(what: str, must_be: str, got: object) -> ParameterError:
    return ParameterError(what, must_be=must_be, got=got, do="train more cells; diverged runs do not count")
