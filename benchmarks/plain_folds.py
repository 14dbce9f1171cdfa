"""One cross-validation by person and nothing nested in it: AUC within folds, for figures of scores alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.interval import Interval
from data.splits.folds import Fold, subject_folds
from neuro.calibration.inner_scores import InnerScores, inner_scores
from neuro.protocol.contender import Contender
from neuro.protocol.intervals import fold_auc
from neuro.study import labels_and_people


def person_folds(cache: Cache, seed: int, folds: int = 5) -> list[Fold]:
    """By person, stratified by label and site."""
    sites = cache.table["site"].to_numpy(object)
    return subject_folds(*labels_and_people(cache), n_splits=folds, seed=seed, strata=sites)


def scores_in_folds(
    contenders: Iterable[Contender],
    labels: NDArray[np.int64],
    people: NDArray[np.object_],
    folds: list[Fold],
) -> dict[str, InnerScores]:
    """Of each contender, every run's score by the model of other people."""
    return {one.name: inner_scores(one.estimator, one.X, labels, people, folds) for one in contenders}


def auc_of(found: InnerScores) -> Interval:
    """Within folds, with its 95 % interval over people."""
    return fold_auc(found.labels, found.scores, found.fold_of, found.people)
