"""How well a model does in each group: predictions and groups -> one row a group, with counts and intervals.

Letters: N runs, C cells (a person in a group), R resamples.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data.errors import ParameterError
from data.interval import Interval, percentile_interval
from neuro.fairness.cells import METRICS, Cells, Floats, cells_of, drawn_people, figures
from neuro.fairness.edges import collapsed, formula
from neuro.fairness.groups import aligned
from neuro.protocol.predictions import Predictions

EVERYONE = "everyone"
FEWEST = 5  # people of a label: of four patients, even four found leave a sensitivity from 0.51 to 1
COUNTS = ("people", "patients", "controls", "runs")
NEEDS = {
    "auc": (True, True),
    "balanced_accuracy": (True, True),
    "sensitivity": (True, False),
    "specificity": (False, True),
}  # whether a figure needs patients, and controls


def by_group(
    predictions: Predictions, groups: pd.DataFrame, *, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Results per group, by fairlearn's `MetricFrame`, with bootstrap intervals over people.

    The AUC compares patients and controls of one group, one fold and one deal. Intervals are percentiles of
    samples of people drawn within their label; see `neuro.fairness.edges` for groups in which all agree.

    Args:
        predictions: of one model.
        groups: one column a grouping, by run_id: see `groups_of`.
        resamples: bootstrap samples.
        seed: of the resampling.

    Returns:
        `grouping`, `group`, `people`, `patients`, `controls`, `runs`; for each of `METRICS` its name, and
        with `_low` and `_high` its 95 % interval, NaN where the group lacks a label; `small` and `note`: of
        which label it has fewer than 5 people, so that its figures say little. The first row is everyone.

    Raises:
        ParameterError: a run has no groups, or a group is neither a word nor a number.
    """
    if not predictions.tested.any():
        raise ParameterError("predictions", must_be="of some run that was tested", got="none")
    there = aligned(predictions.run_ids, groups)
    alone = pd.Series(EVERYONE, index=there.index, name=EVERYONE)
    columns = [alone, *(there[name] for name in there)]
    rows: list[dict[str, Any]] = []
    for values in columns:
        rows += _rows(predictions, values, resamples, seed)
    return pd.DataFrame(rows)


def names_in_order(values: pd.Series) -> list[str]:
    """The groups that there are: as a category orders them, else sorted."""
    there = set(values.astype(str))
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [name for name in map(str, values.cat.categories) if name in there]
    return sorted(there)


def metric_frame(predictions: Predictions, values: pd.Series) -> Any:
    """fairlearn's `MetricFrame` of `COUNTS` and `METRICS` by one grouping, over all tests of all deals."""
    from fairlearn.metrics import MetricFrame

    deal_M, run_M = np.nonzero(predictions.tested)
    fold_M = predictions.folds[deal_M, run_M]
    people_M = predictions.people.astype(str)[run_M]
    by_fold = {
        "scores": predictions.scores[deal_M, run_M],
        "folds": deal_M * (predictions.folds.max() + 1) + fold_M,
    }
    who = {"people": people_M}
    return MetricFrame(
        metrics={
            "people": _people,
            "patients": _patients,
            "controls": _controls,
            "runs": _runs,
            "auc": _auc,
            "balanced_accuracy": _balanced_accuracy,
            "sensitivity": _sensitivity,
            "specificity": _specificity,
        },
        y_true=predictions.labels[run_M],
        y_pred=predictions.called[deal_M, run_M],
        sensitive_features=values.astype(str).to_numpy(object)[run_M],
        sample_params={
            "people": who,
            "patients": who,
            "controls": who,
            "runs": {"runs": run_M},
            "auc": by_fold,
        },
    )


def group_intervals(cells: Cells, group: int, drawn_RC: Floats) -> dict[str, Interval]:
    """`METRICS` of a group with 95 % intervals: of the bootstrap, by a formula where that has collapsed.

    Args:
        cells: of one grouping.
        group: its number in `cells.groups`.
        drawn_RC: from `drawn_people`.
    """
    there, drawn = (figures(cells, weights_RC * cells.of_group(group)) for weights_RC in (1.0, drawn_RC))
    found = {}
    for metric in METRICS:
        interval = percentile_interval(float(there[metric][0]), drawn[metric])
        flat = collapsed(interval)
        found[metric] = formula(cells, group, metric, interval.estimate) if flat else interval
    return found


def _rows(predictions: Predictions, values: pd.Series, resamples: int, seed: int) -> list[dict[str, Any]]:
    tested_N = np.asarray(predictions.tested.any(axis=0))
    order = names_in_order(values[tested_N])
    cells = cells_of(predictions, values.astype(str).to_numpy(object), names_in_order(values))
    drawn_RC = drawn_people(cells, resamples, np.random.default_rng(seed))
    frame = metric_frame(predictions, values)
    rows = []
    for name in order:
        found, group = frame.by_group.loc[name], cells.groups.index(name)
        intervals = group_intervals(cells, group, drawn_RC)
        row: dict[str, Any] = {"grouping": str(values.name), "group": name}
        row |= {count: int(found[count]) for count in COUNTS}
        for metric in METRICS:
            low, high = intervals[metric].low, intervals[metric].high
            row |= {metric: float(found[metric]), f"{metric}_low": low, f"{metric}_high": high}
        note = _note(row["patients"], row["controls"])
        rows.append({**row, "small": bool(note), "note": note})
    return rows


def _note(patients: int, controls: int) -> str:
    few = [
        f"{'no' if not count else f'fewer than {FEWEST}'} {word}"
        for count, word in ((patients, "patients"), (controls, "controls"))
        if count < FEWEST
    ]
    return " and ".join(few)


def _people(y_true: ArrayLike, y_pred: ArrayLike, people: ArrayLike) -> int:
    return len(np.unique(np.asarray(people)))


def _patients(y_true: ArrayLike, y_pred: ArrayLike, people: ArrayLike) -> int:
    return len(np.unique(np.asarray(people)[np.asarray(y_true) == 1]))


def _controls(y_true: ArrayLike, y_pred: ArrayLike, people: ArrayLike) -> int:
    return len(np.unique(np.asarray(people)[np.asarray(y_true) == 0]))


def _runs(y_true: ArrayLike, y_pred: ArrayLike, runs: ArrayLike) -> int:
    return len(np.unique(np.asarray(runs)))


def _sensitivity(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """fairlearn's true positive rate, which is 0 of nobody: NaN here."""
    from fairlearn.metrics import true_positive_rate

    has = np.any(np.asarray(y_true) == 1)
    return float(true_positive_rate(y_true, y_pred, pos_label=1)) if has else math.nan


def _specificity(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    from fairlearn.metrics import true_negative_rate

    has = np.any(np.asarray(y_true) == 0)
    return float(true_negative_rate(y_true, y_pred, pos_label=1)) if has else math.nan


def _balanced_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    return (_sensitivity(y_true, y_pred) + _specificity(y_true, y_pred)) / 2


def _auc(y_true: ArrayLike, y_pred: ArrayLike, scores: ArrayLike, folds: ArrayLike) -> float:
    """The share of pairs of a patient and a control of one fold that stand in the right order."""
    labels, score, fold = np.asarray(y_true), np.asarray(scores, dtype=float), np.asarray(folds)
    ordered, pairs = 0.0, 0
    for number in np.unique(fold):
        positive: NDArray[Any] = score[(fold == number) & (labels == 1)]
        negative: NDArray[Any] = score[(fold == number) & (labels == 0)]
        gap = positive[:, None] - negative[None, :]
        ordered += float((gap > 0).sum() + 0.5 * (gap == 0).sum())
        pairs += gap.size
    return ordered / pairs if pairs else math.nan
