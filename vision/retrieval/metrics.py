"""How well pictures and captions find one another, from their unit vectors: ranks, R@k, median rank, mAP.

Scores are made in blocks: memory holds one block of rows and never the whole matrix. Ties count against the
model: what scores the same as the right answer, to within TIE, stands before it. So a model that gives one
vector to everything is last everywhere, and not first by luck of the order.

Shape legend: N pictures, M captions, Q queries, B rows of a block, R resamples, E components.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import ParameterError
from data.interval import Interval

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

DEPTHS = (1, 5, 10)
TIE = 1e-6  # rounding of a product of unit vectors in fp32
BLOCK = 1 << 22  # scores made at once
RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """What each query of one direction found.

    Args:
        rank_Q: place of the first right answer, from 1.
        precision_Q: average precision over all right answers.
        picture_Q: the picture that a query belongs to, which is what is resampled.
    """

    rank_Q: Indices
    precision_Q: Floats
    picture_Q: Indices

    def figures(self, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Interval]:
        """R@1, R@5, R@10, mAP, median rank, with percentile bootstrap intervals over pictures.

        Pictures are drawn with replacement, each with all of its captions, as five captions of one picture
        are no five independent trials (Davison and Hinkley, Bootstrap Methods, 1997, ch. 3.8). The collection
        that is searched stays as it is.
        """
        values_KQ = np.array(
            [*(self.rank_Q <= depth for depth in DEPTHS), self.precision_Q], dtype=np.float64
        )
        order = np.argsort(self.rank_Q, kind="stable")
        means, medians = [], []
        for weights_RQ in self._drawn(resamples, seed):
            total_R1 = weights_RQ.sum(axis=1, keepdims=True)
            means.append(weights_RQ @ values_KQ.T / total_R1)
            medians.append(self.rank_Q[order][_middle(weights_RQ[:, order])])
        drawn_RK = np.column_stack([np.concatenate(means), np.concatenate(medians)])
        lows, highs = np.percentile(drawn_RK, [2.5, 97.5], axis=0)
        whole = [*values_KQ.mean(axis=1), self.rank_Q[order][_middle(np.ones((1, len(order))))[0]]]
        names = [*(f"R@{depth}" for depth in DEPTHS), "mAP", "median rank"]
        return {
            name: Interval(estimate=float(value), low=float(low), high=float(high))
            for name, value, low, high in zip(names, whole, lows, highs, strict=True)
        }

    def _drawn(self, resamples: int, seed: int) -> Iterator[Floats]:
        """Weights (R, Q) of the queries in bootstrap samples, some samples at a time."""
        rng = np.random.default_rng(seed)
        _, place_Q = np.unique(self.picture_Q, return_inverse=True)
        pictures = int(place_Q.max()) + 1
        at_once = max(1, BLOCK // max(len(place_Q), pictures))
        for start in range(0, resamples, at_once):
            count = min(at_once, resamples - start)
            drawn_RN = rng.multinomial(pictures, np.full(pictures, 1 / pictures), size=count)
            yield drawn_RN[:, place_Q].astype(np.float64)


def rank_both_ways(
    images_NE: Vectors, texts_ME: Vectors, picture_M: npt.ArrayLike, *, block: int = BLOCK
) -> tuple[Ranking, Ranking]:
    """Text to picture, and picture to text.

    A caption has one right picture. A picture has all of its captions: its rank is that of the best placed,
    and its average precision is over all of them. Pictures without captions are searched among, and ask
    nothing.

    Args:
        images_NE, texts_ME: unit vectors.
        picture_M: the row of the picture that each caption is of.
        block: how many scores to make at once.

    Raises:
        ParameterError: shapes that do not fit, vectors that are not finite, or no caption at all.
    """
    owner_M = np.asarray(picture_M, dtype=np.intp)
    _check(images_NE, texts_ME, owner_M)
    return (
        _text_to_picture(images_NE, texts_ME, owner_M, block),
        _picture_to_text(images_NE, texts_ME, owner_M, block),
    )


def _text_to_picture(images_NE: Vectors, texts_ME: Vectors, owner_M: Indices, block: int) -> Ranking:
    ranks = []
    for rows in _blocks(len(texts_ME), len(images_NE), block):
        scores_BN = texts_ME[rows] @ images_NE.T
        own_B1 = np.take_along_axis(scores_BN, owner_M[rows][:, None], axis=1)
        ranks.append((scores_BN >= own_B1 - TIE).sum(axis=1))  # counts the right picture itself
    rank_M = np.concatenate(ranks)
    return Ranking(rank_Q=rank_M, precision_Q=1 / rank_M, picture_Q=owner_M)


def _picture_to_text(images_NE: Vectors, texts_ME: Vectors, owner_M: Indices, block: int) -> Ranking:
    asked = np.unique(owner_M)
    ranks, precisions = [], []
    for rows in _blocks(len(asked), len(texts_ME), block):
        scores_BM = images_NE[asked[rows]] @ texts_ME.T
        for picture, scores_M in zip(asked[rows], scores_BM, strict=True):
            rank, precision = _caption_ranks(scores_M, owner_M == picture)
            ranks.append(rank)
            precisions.append(precision)
    return Ranking(rank_Q=np.array(ranks), precision_Q=np.array(precisions), picture_Q=asked)


def _caption_ranks(scores_M: Vectors, own_M: npt.NDArray[np.bool_]) -> tuple[int, float]:
    """Rank of the best placed own caption, and average precision over all own captions."""
    own, others = np.sort(scores_M[own_M])[::-1], np.sort(scores_M[~own_M])
    before = len(others) - np.searchsorted(others, own - np.float32(TIE), side="left")
    places = np.arange(1, len(own) + 1)
    return int(before[0]) + 1, float(np.mean(places / (places + before)))


def _middle(weights_RQ: Floats) -> Any:
    """Index of the weighted lower median in each row, for queries in the order of their ranks."""
    running_RQ = weights_RQ.cumsum(axis=1)
    return (running_RQ >= running_RQ[:, -1:] / 2).argmax(axis=1)


def _blocks(rows: int, columns: int, block: int) -> Iterator[slice]:
    step = max(1, block // max(columns, 1))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _check(images_NE: Vectors, texts_ME: Vectors, owner_M: Indices) -> None:
    fits = images_NE.ndim == texts_ME.ndim == 2 and images_NE.shape[1] == texts_ME.shape[1]
    if not fits or owner_M.shape != (len(texts_ME),) or not len(owner_M):
        raise ParameterError(
            "vectors",
            must_be="(N, E) of pictures and (M, E) of captions, with M rows of pictures, M at least 1",
            got=f"{images_NE.shape}, {texts_ME.shape} and {owner_M.shape}",
        )
    if owner_M.min() < 0 or owner_M.max() >= len(images_NE):
        raise ParameterError(
            "pictures of the captions", must_be=f"from 0 to {len(images_NE) - 1}", got=owner_M
        )
    if not (np.isfinite(images_NE).all() and np.isfinite(texts_ME).all()):
        raise ParameterError("vectors", must_be="finite", got="some that are not")


# --- accuracy ---


def accuracy_figures(
    right_NK: npt.NDArray[np.bool_], class_N: npt.ArrayLike, names: list[str], *, seed: int = 0
) -> dict[str, Interval]:
    """Share of right answers by each of K criteria, and of the first one the mean over classes ("per class").

    Intervals resample pictures within their class: of a class with p of n right, that is Binomial(n, p / n).

    Args:
        right_NK: whether each picture is right by each criterion (top-1, top-5).
        class_N: the true class of each picture.
        names: of the criteria.
    """
    _, place_N, size_C = np.unique(np.asarray(class_N), return_inverse=True, return_counts=True)
    share_KC = np.array([np.bincount(place_N, right_N) / size_C for right_N in right_NK.T])
    rng = np.random.default_rng(seed)
    drawn_RKC = rng.binomial(size_C, share_KC, size=(RESAMPLES, *share_KC.shape)) / size_C
    weight_C = size_C / size_C.sum()
    found = {
        name: _interval(float(share_KC[k] @ weight_C), drawn_RKC[:, k] @ weight_C)
        for k, name in enumerate(names)
    }
    return found | {"per class": _interval(float(share_KC[0].mean()), drawn_RKC[:, 0].mean(axis=1))}


def _interval(estimate: float, drawn_R: Floats) -> Interval:
    low, high = np.percentile(drawn_R, [2.5, 97.5])
    return Interval(estimate=estimate, low=float(low), high=float(high))
