"""Results of an evaluation that never took place: made-up predictions, a cohort, figures for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from data.interval import Interval
from neuro.protocol.contenders import CONNECTIVITY, MAJORITY, TRANSFORMER
from neuro.protocol.metrics import METRICS
from neuro.protocol.predictions import Predictions
from neuro.protocol.results import ModelResult, Results

from .made_predictions import made

NAMES = (TRANSFORMER, CONNECTIVITY, "age + sex", "head motion", MAJORITY)
FACTS = {
    "recipe_identity": "6p+detrend-0123",
    "coverage": 0.9,
    "excluded": [],
    "protocol": [["Split", "4 folds by person"], ["Cleaning", "6p+detrend-0123"]],
    "command": "neuro evaluate cache --out found",
    "remark": "",
}


def made_results(
    *, people: int = 40, sites: Sequence[str] = ("A", "B"), across: bool = True, **facts: Any
) -> Results:
    """Five models, ours with an effect; sites hold equally many, in turn by pairs."""
    predictions = made(0, [2.5, 0.8, 0.3, 0.0, 0.0], people=people, names=NAMES)
    site_N = np.array(sites, dtype=object)[np.arange(people) // 2 % len(sites)]
    predictions = [_with_sets(replace(one, sites=site_N)) for one in predictions]
    models = [_model(number, one, across) for number, one in enumerate(predictions)]
    return Results(facts={**FACTS, **facts}, table=_table(predictions[0]), models=models)


def _model(number: int, within: Predictions, across: bool) -> ModelResult:
    return ModelResult(
        name=within.model,
        note=f"note of {within.model}",
        sees_scans=number < 2,
        budget=1,
        chosen=[{}],
        within=within,
        across=_across(within) if across else None,
        figures=_figures(number),
        figures_across=_figures(number + len(NAMES)) if across else {},
    )


def _figures(number: int) -> dict[str, Interval]:
    """No two alike, in whatever of their digits are shown."""
    base = 0.1 + 0.07 * number
    return {
        name: Interval(
            estimate=base + 0.0101 * place, low=base - 0.05 + 0.01 * place, high=base + 0.03 + 0.01 * place
        )
        for place, name in enumerate(METRICS)
    }


def _across(within: Predictions) -> Predictions:
    """One deal, a fold a site."""
    numbers = np.unique(within.sites.astype(str), return_inverse=True)[1]
    first = {name: getattr(within, name)[:1] for name in ("scores", "probabilities", "called", "sets")}
    return replace(within, folds=numbers[None], **first)


def _with_sets(one: Predictions) -> Predictions:
    sets = np.stack([one.probabilities < 0.8, one.probabilities > 0.2], axis=-1)
    return replace(one, sets=sets)


def _table(one: Predictions) -> pd.DataFrame:
    rng, count = np.random.default_rng(1), len(one.labels)
    return pd.DataFrame(
        {
            "run_id": one.run_ids,
            "participant_id": one.people,
            "person": one.people,
            "site": one.sites,
            "label": one.labels,
            "age": rng.integers(50, 80, count).astype(float),
            "sex": rng.choice(["F", "M"], count),
            "medication": "n/a",
            "fd_mean": rng.lognormal(-2, 0.5, count),
        }
    )
