"""A new scan -> how strange it is beside those of training: where its embedding lies, how it was acquired.

A probability says nothing of a scan that is unlike all that the model has seen. The distance of its embedding
is judged by what the same measurement gave for people of training, each left out of the cloud in turn.

Letters: N runs of training, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data.errors import ParameterError, UnknownNameError, nearest
from neuro.calibration.acquisition import Fingerprint
from neuro.calibration.distances import FITS, READS, Distance, Floats

FAR = 0.05  # of people of training, one in twenty at most lies so far out
FEWEST_PEOPLE = 4
GROUPS = 100  # people are left out one by one up to so many, and beyond that in so many groups


@dataclass(frozen=True, kw_only=True)
class NoveltyScore:
    """How strange a scan is.

    Attributes:
        distance: of its embedding.
        percentile: the share of training people, 0 to 100, whose scans lie nearer, each left out in turn.
        p_value: share of people, this one counted, who lie at least as far out.
        far: whether that is 1 in 20 or fewer; of fewer than 19 people, whether it lies beyond them all.
        people: of training.
        mismatches: sentences on the acquisition.
        unknown: what is known of the acquisition of training and not of this one.
    """

    distance: float
    percentile: float
    p_value: float
    far: bool
    people: int
    mismatches: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def strange(self) -> bool:
        """Whether anything speaks against it."""
        return self.far or bool(self.mismatches)

    def in_words(self) -> tuple[str, ...]:
        """Warnings, one sentence each; none where nothing speaks against the scan."""
        beyond = "all" if self.percentile >= 100 else f"{self.percentile:.0f} % of"
        far = (
            f"the scan looks unlike those of training: further out than {beyond} the {self.people} people"
            " there, so its probability says little",
        )
        return (*(far if self.far else ()), *self.mismatches)


@dataclass(frozen=True, kw_only=True, eq=False)
class Novelty:
    """What scans of training were like.

    Attributes:
        method: a name of `neuro.calibration.distances.FITS`.
        cloud: the distance, fitted to all of training.
        distances: of each run of training from the other people's (N,).
        weights: of each of these (N,); those of a person add up to 1.
        fingerprint: how training was acquired.
    """

    method: str
    cloud: Distance
    distances: Floats
    weights: Floats
    fingerprint: Fingerprint

    @classmethod
    def fit(
        cls,
        embeddings: ArrayLike,
        acquisition: pd.DataFrame,
        *,
        people: ArrayLike | None = None,
        method: str = "mahalanobis",
    ) -> Novelty:
        """Measure a training cohort.

        Args:
            embeddings: (N, E), of one encoder, such as `neuro.calibration.scan_embedding` gives.
            acquisition: one row a run, columns of `neuro.calibration.acquisition`.
            people: of each run (N,); None where everybody has one.
            method: "mahalanobis" or "neighbours".

        Raises:
            UnknownNameError: no such method.
            ParameterError: fewer than four people, lengths that differ, embeddings that are not finite or all
                alike.
        """
        if method not in FITS:
            raise UnknownNameError(
                "distance", must_be=f"one of {', '.join(FITS)}", got=method, do=nearest(method, FITS)
            )
        embedding_NE = _checked(embeddings)
        person_N = _numbered(people, len(embedding_NE))
        if len(acquisition) != len(embedding_NE):
            raise ParameterError(
                "acquisition", must_be=f"one row for each of {len(embedding_NE)} runs", got=len(acquisition)
            )
        return cls(
            method=method,
            cloud=FITS[method](embedding_NE),
            distances=_each_left_out(embedding_NE, person_N, method),
            weights=1 / np.bincount(person_N)[person_N],
            fingerprint=Fingerprint.of(acquisition),
        )

    @property
    def people(self) -> int:
        """Of training."""
        return round(float(self.weights.sum()))

    def score(self, embedding: ArrayLike, acquisition: Mapping[str, Any]) -> NoveltyScore:
        """Judge one scan.

        Args:
            embedding: (E,), of the same encoder.
            acquisition: its own, such as `acquisition_of` gives.

        Raises:
            ParameterError: an embedding of another width, or not finite.
        """
        embedding_1E = _checked(np.asarray(embedding)[None])
        if embedding_1E.shape[1] != self.cloud.width:
            raise ParameterError(
                "embedding",
                must_be=f"of width {self.cloud.width}",
                got=embedding_1E.shape[1],
                do="take the encoder of training",
            )
        distance = float(self.cloud.of(embedding_1E)[0])
        total = float(self.weights.sum())
        beyond = float(self.weights[self.distances >= distance].sum())
        p_value = (1 + beyond) / (1 + total)
        return NoveltyScore(
            distance=distance,
            percentile=100 * (1 - beyond / total),
            p_value=p_value,
            far=p_value <= max(FAR, 1 / (1 + total)) + 1e-9,
            people=self.people,
            mismatches=self.fingerprint.mismatches(acquisition),
            unknown=self.fingerprint.unknown(acquisition),
        )

    def also_acquired(self, other: Fingerprint) -> Novelty:
        """The same distances, with runs acquired as others were held to be familiar too."""
        return replace(self, fingerprint=self.fingerprint | other)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, from which `from_dict` makes the same judge to the bit."""
        return {
            "method": self.method,
            "cloud": self.cloud.to_dict(),
            "distances": self.distances.tolist(),
            "weights": self.weights.tolist(),
            "fingerprint": self.fingerprint.to_dict(),
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Novelty:
        """What `to_dict` told."""
        return cls(
            method=str(given["method"]),
            cloud=READS[given["method"]](given["cloud"]),
            distances=np.array(given["distances"], dtype=np.float64),
            weights=np.array(given["weights"], dtype=np.float64),
            fingerprint=Fingerprint.from_dict(given["fingerprint"]),
        )


def _each_left_out(embedding_NE: Floats, person_N: NDArray[np.intp], method: str) -> Floats:
    """Distance of each run from the cloud of the other people (N,)."""
    distance_N = np.zeros(len(person_N))
    group_N = person_N % GROUPS
    for group in np.unique(group_N):
        out = group_N == group
        distance_N[out] = FITS[method](embedding_NE[~out]).of(embedding_NE[out])
    return distance_N


def _numbered(people: ArrayLike | None, runs: int) -> NDArray[np.intp]:
    """The number of the person of each run (N,)."""
    given = np.arange(runs) if people is None else np.asarray(people).astype(str)
    if given.shape != (runs,):
        raise ParameterError("people", must_be=f"one for each of {runs} runs", got=given.shape)
    names, number_N = np.unique(given, return_inverse=True)
    if len(names) < FEWEST_PEOPLE:
        raise ParameterError(
            "people", must_be=f"at least {FEWEST_PEOPLE}, to tell far from near", got=len(names)
        )
    return np.asarray(number_N)


def _checked(embeddings: ArrayLike) -> Floats:
    embedding_NE = np.asarray(embeddings, dtype=np.float64)
    if embedding_NE.ndim != 2 or not np.isfinite(embedding_NE).all():
        raise ParameterError(
            "embeddings", must_be="finite, one row a run", got=f"shape {embedding_NE.shape}, or not finite"
        )
    return embedding_NE
