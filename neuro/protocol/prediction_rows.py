"""Predictions as a table, a row for each model, scheme, deal and run; and back.

Letters: D deals, N runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro.protocol.predictions import Predictions

WITHIN, ACROSS = "within", "across"  # schemes: people dealt into folds; each site by models of the others


def long_table(parts: Iterable[tuple[str, Predictions]]) -> pd.DataFrame:
    """(scheme, predictions) of each model -> rows; where a run was not tested, its fold is -1."""
    rows = [_of_deal(scheme, found, deal) for scheme, found in parts for deal in range(found.deals)]
    return pd.concat(rows, ignore_index=True)


def _of_deal(scheme: str, found: Predictions, deal: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": found.model,
            "scheme": scheme,
            "deal": deal,
            "fold": found.folds[deal],
            "run_id": found.run_ids,
            "label": found.labels,
            "score": found.scores[deal],
            "probability": found.probabilities[deal],
            "called": found.called[deal],
            **_sets(found, deal),
        }
    )


def _sets(found: Predictions, deal: int) -> dict[str, Any]:
    if found.sets is None:
        return {}
    return {f"set_{label}": found.sets[deal, :, label].astype(int) for label in (0, 1)}


def read_rows(path: Path) -> pd.DataFrame:
    """What `long_table` gave, from CSV; names stay words."""
    words = ("model", "scheme", "run_id")
    absent = {name: [""] for name in ("score", "probability")}  # of runs that were not tested
    return pd.read_csv(
        path,
        dtype=dict.fromkeys(words, str),
        keep_default_na=False,
        na_values=absent,
    )


def predictions_of(name: str, rows: pd.DataFrame, table: pd.DataFrame) -> Predictions:
    """Rows of one model and scheme -> predictions, in the order of the cohort's table.

    Raises:
        ValueError, KeyError: rows or columns are missing.
    """
    if len(rows) != rows["deal"].nunique() * len(table):
        raise ValueError(f"{len(rows)} predictions by {name}, not one for each run and deal")

    def deals(column: str, kind: type) -> Any:
        wide = rows.pivot(index="deal", columns="run_id", values=column)
        return wide[table["run_id"]].to_numpy(kind)

    return Predictions(
        model=name,
        run_ids=table["run_id"].to_numpy(object),
        labels=table["label"].to_numpy(np.int64),
        people=table["person"].to_numpy(object),
        sites=table["site"].to_numpy(object),
        folds=deals("fold", np.int64),
        scores=deals("score", np.float64),
        probabilities=deals("probability", np.float64),
        called=deals("called", np.int64),
        sets=np.stack([deals("set_0", bool), deals("set_1", bool)], axis=-1) if "set_0" in rows else None,
    )
