"""Predictions of models that were never trained: scores drawn around labels, in folds by person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.splits.folds import repeated_subject_folds
from neuro.protocol.predictions import Predictions


def made(
    seed: int,
    effects: Sequence[float],
    *,
    people: int = 40,
    runs: int = 1,
    deals: int = 2,
    splits: int = 4,
    ties: bool = False,
    names: Sequence[str] = ("ours", "age + sex", "head motion", "connectivity + SVM"),
) -> list[Predictions]:
    """One model an effect (the distance between labels in standard deviations), all on the same people."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.array([f"p{i:03d}" for i in range(people)], dtype=object), runs)
    labels = np.repeat(np.arange(people) % 2, runs)
    sites = np.repeat(np.array(["A", "B"], dtype=object)[(np.arange(people) // 2) % 2], runs)
    folds = np.full((deals, len(labels)), -1)
    dealt = repeated_subject_folds(labels, person, n_splits=splits, n_repeats=deals, seed=seed, strata=sites)
    for deal, cut in enumerate(dealt):
        for number, (_, test) in enumerate(cut):
            folds[deal, test] = number
    found = []
    for effect, name in zip(effects, names, strict=False):
        own = np.repeat(rng.normal(size=people), runs) + effect * labels
        scores = own + 0.3 * rng.normal(size=(deals, len(labels)))
        scores = np.round(scores) if ties else scores
        probabilities = 1 / (1 + np.exp(-(scores - effect / 2)))
        found.append(
            Predictions(
                model=name,
                run_ids=np.array([f"r{i}" for i in range(len(labels))], dtype=object),
                labels=labels,
                people=person,
                sites=sites,
                folds=folds,
                scores=scores,
                probabilities=probabilities,
                called=(probabilities > 0.5).astype(np.int64),
            )
        )
    return found
