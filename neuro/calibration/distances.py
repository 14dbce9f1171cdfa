"""How far an embedding lies from those of training, two ways: with the cloud's shape, or to its neighbours.

Letters: N embeddings of training, E their width, M embeddings to be judged, R directions that vary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NEIGHBOURS = 3


class Distance(Protocol):
    """Distances of embeddings from those that it was fitted to."""

    @property
    def width(self) -> int:
        """E."""

    def of(self, embeddings_ME: Floats) -> Floats:
        """(M,), the higher the stranger."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mahalanobis:
    """Distance from the mean in units of a covariance shrunk towards a sphere (Ledoit & Wolf 2004).

    The covariance is kept as what varies in it, so that 40 embeddings of width 768 need 40 directions and no
    matrix of 768 by 768.

    Attributes:
        mean_E: of training.
        axes_RE: unit vectors.
        variances_R: shrunk, along the axes.
        floor: shrunk variance in all other directions.
    """

    mean_E: Floats
    axes_RE: Floats
    variances_R: Floats
    floor: float

    @classmethod
    def fit(cls, embeddings_NE: Floats) -> Mahalanobis:
        """Fit to at least two embeddings that are not all alike."""
        from sklearn.covariance import ledoit_wolf_shrinkage

        mean_E = embeddings_NE.mean(0)
        centred_NE = embeddings_NE - mean_E
        shrinkage = float(ledoit_wolf_shrinkage(centred_NE, assume_centered=True))
        _, singular, axes_RE = np.linalg.svd(centred_NE, full_matrices=False)
        variances = singular**2 / len(centred_NE)
        floor = shrinkage * float(variances.sum()) / centred_NE.shape[1]
        return cls(
            mean_E=mean_E,
            axes_RE=axes_RE,
            # A cloud that fills its space needs no shrinkage, and one of equal points has no size.
            variances_R=np.maximum((1 - shrinkage) * variances + floor, np.finfo(float).tiny),
            floor=max(floor, np.finfo(float).tiny),
        )

    @property
    def width(self) -> int:
        """E."""
        return len(self.mean_E)

    def of(self, embeddings_ME: Floats) -> Floats:
        """Mahalanobis distances (M,)."""
        centred_ME = embeddings_ME - self.mean_E
        along_MR = centred_ME @ self.axes_RE.T
        rest_M = np.maximum((centred_ME**2).sum(1) - (along_MR**2).sum(1), 0)
        if len(self.axes_RE) == len(self.mean_E):  # nothing is left beside the axes but rounding
            rest_M = np.zeros_like(rest_M)
        return np.asarray(np.sqrt((along_MR**2 / self.variances_R).sum(1) + rest_M / self.floor))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "mean": self.mean_E.tolist(),
            "axes": self.axes_RE.tolist(),
            "variances": self.variances_R.tolist(),
            "floor": self.floor,
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Mahalanobis:
        """What `to_dict` told."""
        return cls(
            mean_E=np.array(given["mean"]),
            axes_RE=np.array(given["axes"]),
            variances_R=np.array(given["variances"]),
            floor=float(given["floor"]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
    """Mean Euclidean distance to the nearest few embeddings of training, which it has to keep.

    Attributes:
        embeddings_NE: of training.
    """

    embeddings_NE: Floats

    @classmethod
    def fit(cls, embeddings_NE: Floats) -> Neighbours:
        """Keep them."""
        return cls(embeddings_NE=embeddings_NE)

    @property
    def width(self) -> int:
        """E."""
        return int(self.embeddings_NE.shape[1])

    def of(self, embeddings_ME: Floats) -> Floats:
        """Mean distance to the nearest three, or fewer where there are fewer (M,)."""
        apart_MN = np.linalg.norm(embeddings_ME[:, None, :] - self.embeddings_NE[None], axis=-1)
        return np.asarray(np.sort(apart_MN, axis=1)[:, :NEIGHBOURS].mean(1))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"embeddings": self.embeddings_NE.tolist()}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Neighbours:
        """What `to_dict` told."""
        return cls(embeddings_NE=np.array(given["embeddings"]))


FITS: dict[str, Callable[[Floats], Distance]] = {"mahalanobis": Mahalanobis.fit, "neighbours": Neighbours.fit}
READS: dict[str, Callable[[Mapping[str, Any]], Distance]] = {
    "mahalanobis": Mahalanobis.from_dict,
    "neighbours": Neighbours.from_dict,
}
