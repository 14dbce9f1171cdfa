"""Made-up cohorts and what a model said of them, with known effects of label, age, sex, motion and site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from neuro.protocol.predictions import Predictions

Effect = Callable[[pd.DataFrame], Any]


def made_table(people: int, rng: np.random.Generator, patient_share: Effect) -> pd.DataFrame:
    """A cache's table, one run a person; `patient_share` gives each row's chance of being a patient."""
    table = pd.DataFrame(
        {
            "run_id": [f"sub-{i:03d}" for i in range(people)],
            "person": [f"sub-{i:03d}" for i in range(people)],
            "age": rng.normal(64, 8, people),
            "sex": rng.choice(["F", "M"], people),
            "site": rng.choice(["A", "B"], people),
            "fd_mean": rng.lognormal(-2, 0.5, people),
            "medication": "n/a",
        }
    )
    return table.assign(label=(rng.random(people) < patient_share(table)).astype(int))


def made_predictions(
    table: pd.DataFrame,
    score: Any,
    rng: np.random.Generator,
    *,
    deals: int = 3,
    folds: int = 5,
    noise: float = 0.2,
    offsets: float = 1.0,
    threshold: float = 0.5,
) -> Predictions:
    """Folds stratified by label and dealt by person, an offset for each fold, a little noise in each deal."""
    label_N = table["label"].to_numpy()
    names, person_N = np.unique(table["person"], return_inverse=True)
    label_G = np.zeros(len(names), dtype=int)
    label_G[person_N] = label_N
    fold_DG = np.zeros((deals, len(names)), dtype=int)
    for deal in range(deals):
        for label in (0, 1):
            side = rng.permutation(np.flatnonzero(label_G == label))
            fold_DG[deal, side] = np.arange(len(side)) % folds
    fold_DN = fold_DG[:, person_N]
    raw_DN = np.asarray(score, dtype=float) + noise * rng.normal(size=fold_DN.shape)
    offset_DF = offsets * rng.normal(size=(deals, folds))
    return Predictions(
        model="made up",
        run_ids=table["run_id"].to_numpy(object),
        labels=label_N.astype(np.int64),
        people=table["person"].to_numpy(object),
        sites=table["site"].to_numpy(object),
        folds=fold_DN,
        scores=raw_DN + np.take_along_axis(offset_DF, fold_DN, axis=1),
        probabilities=1 / (1 + np.exp(-raw_DN)),
        called=(raw_DN > threshold).astype(np.int64),
    )


def even(table: pd.DataFrame) -> float:
    return 0.5
