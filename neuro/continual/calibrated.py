"""What an accepted update says of one person: calibrated on the scores of its trial, at no training's cost.

Every score of the trial is by an update that had not seen the person, as calibration asks (see
`neuro.continual.trials`): where old scans are kept, of old and new people by the recipe in folds; where there
were people to check with, of these by the very update, and of new people by the recipe in folds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.caches.cache import Cache
from neuro.calibration.acquisition import acquisition_table
from neuro.calibration.calibration import RESAMPLES, Calibration, calibrate
from neuro.calibration.inner_scores import InnerScores
from neuro.calibration.novelty import FEWEST_PEOPLE, Novelty
from neuro.calibration.scan_embedding import embeddings_of
from neuro.classifier import ParkinsonClassifier
from neuro.continual.runs import Runs
from neuro.continual.trials import Trials


def calibration_of(
    trials: Trials, scores: NDArray[np.float64], like: Calibration | None, *, seed: int
) -> Calibration:
    """Curve, threshold and sets of an update.

    Args:
        trials: who was tested in which deal.
        scores: of the strategy that was taken, of everybody (N,).
        like: the parent's, whose curve and coverage are asked for again; None takes the defaults.
        seed: of the resampling.
    """
    everybody = trials.everybody
    inner = InnerScores(
        scores=scores, labels=everybody.labels, people=everybody.people, fold_of=trials.fold_of
    )
    if like is None:
        return calibrate(inner, resamples=RESAMPLES, seed=seed)
    return calibrate(
        inner,
        method=like.calibrator.method,
        coverage=like.conformal.coverage,
        by_label=like.conformal.by_label,
        resamples=RESAMPLES,
        seed=seed,
    )


def novelty_of(
    classifier: ParkinsonClassifier, runs: Runs, caches: Sequence[Cache], parent: Novelty | None
) -> Novelty | None:
    """What scans must be like; of too few people to tell far from near, nothing.

    The weights have changed, and with them every embedding: the parent's distances say nothing more. How its
    runs were acquired does.

    Args:
        classifier: the update.
        runs: all of `caches`, in their order: trained on, or of the same sites.
        caches: one or more.
        parent: what the scans of its training were like, where that is known.
    """
    if len(set(runs.people)) < FEWEST_PEOPLE:
        return None
    acquired = pd.concat([acquisition_table(cache) for cache in caches], ignore_index=True)
    found = Novelty.fit(embeddings_of(classifier, runs.tokens), acquired, people=runs.people)
    return found if parent is None else found.also_acquired(parent.fingerprint)
