"""Who is held out of the training people to watch it: whole persons, stratified by label and site."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.splits.folds import Fold, label_of_person, subject_folds


@dataclass(frozen=True, kw_only=True, eq=False)
class Who:
    """Whose each run is.

    Attributes:
        people: (n,) the person of each run.
        sites: (n,) where it was scanned, or None.
    """

    people: NDArray[np.object_]
    sites: NDArray[np.object_] | None = None


def held_out(labels: NDArray[np.int64], who: Who | None, share: float, *, seed: int) -> Fold:
    """Rows to train on, and rows to watch: about `share` of the people, one of 1 / share folds.

    Raises:
        ParameterError: people are not given, or too few of a label to hold any out.
    """
    if who is None:
        raise ParameterError(
            "groups",
            must_be="given where people are held out to watch the training",
            got="none",
            do="give the person of each run, or a validation_share of 0",
        )
    folds = max(round(1 / share), 2)
    counts = Counter(label_of_person(labels, who.people).values())
    rarest = min(counts.values())
    if rarest < folds:
        raise ParameterError(
            "validation_share",
            must_be=f"one that holds out somebody of each label, of which the rarest has {rarest}",
            got=share,
            do="take a larger share, or 0, which watches nobody",
        )
    return subject_folds(labels, who.people, n_splits=folds, seed=seed, strata=who.sites)[0]
