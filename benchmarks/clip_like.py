"""Vectors that look like CLIP's, without a model: for timings and recalls that depend on how vectors lie.

What matters to a search is kept, from what is known of CLIP's joint space: pictures come in clusters of
uneven size, components are correlated (a power-law spectrum), all pictures share a direction, and texts share
another (the cones and the modality gap of Liang et al. 2022, arXiv 2203.02053), so that even a text's best
cosine is low. Measured at 100k: best hit 0.47, tenth 0.44, median picture 0.02; two pictures 0.42.

Shape legend: N rows, Q queries, E components, C clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

BLOCK = 50_000
PER_CLUSTER = 100
CONE = 0.8  # length of what all pictures (or all texts) share, against a content of length 1
SAME_CLUSTER = 0.6  # share of a picture's content that is its cluster's
TEXT_NOISE = 0.5  # share of a text's content that is no picture's


@dataclass(frozen=True, kw_only=True)
class ClipLike:
    """Unit vectors of pictures (N, E) and of text queries (Q, E)."""

    pictures_NE: Array
    queries_QE: Array


def clip_like(rows: int, queries: int, dim: int = 512, seed: int = 0) -> ClipLike:
    """Seeded: the same numbers make the same vectors."""
    rng = np.random.default_rng(seed)
    spectrum_E = np.arange(1, dim + 1, dtype=np.float32) ** -0.5
    spectrum_E /= np.linalg.norm(spectrum_E)
    cones_2E = _normal(rng, 2, dim) / np.sqrt(dim)
    count = max(2, rows // PER_CLUSTER)
    centres_CE = _normal(rng, count, dim) * spectrum_E
    popularity_C = rng.pareto(1.5, count) + 0.2
    popularity_C /= popularity_C.sum()
    pictures_NE = np.empty((rows, dim), np.float32)
    for start in range(0, rows, BLOCK):
        block = pictures_NE[start : start + BLOCK]
        own = _normal(rng, len(block), dim) * spectrum_E
        centres = centres_CE[rng.choice(count, len(block), p=popularity_C)]
        block[:] = _unit(
            CONE * cones_2E[0] + np.sqrt(SAME_CLUSTER) * centres + np.sqrt(1 - SAME_CLUSTER) * own
        )
    noise = _normal(rng, queries, dim) * spectrum_E
    meant = centres_CE[rng.choice(count, queries, p=popularity_C)]
    content = np.sqrt(1 - TEXT_NOISE) * meant + np.sqrt(TEXT_NOISE) * noise
    return ClipLike(pictures_NE=pictures_NE, queries_QE=_unit(CONE * cones_2E[1] + content))


def _normal(rng: np.random.Generator, rows: int, dim: int) -> Array:
    return rng.standard_normal((rows, dim), dtype=np.float32)


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
