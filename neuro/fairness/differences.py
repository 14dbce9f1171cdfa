"""The largest difference between groups: predictions and groups -> one row a grouping and figure, tested.

Compared are groups with five people or more of the label that a figure needs, those that are not known left
out. Letters: C cells (a person in a group), R resamples, P permutations.
"""

from __future__ import annotations

import math
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from data.interval import NOTHING, Interval, percentile_interval
from data.quality.group_differences import holm
from neuro.fairness.by_group import FEWEST, NEEDS, names_in_order
from neuro.fairness.cells import METRICS, Cells, Floats, cells_of, drawn_people, figures
from neuro.fairness.edges import collapsed, difference_of, formula
from neuro.fairness.groups import NOT_KNOWN, aligned
from neuro.protocol.predictions import Predictions

ALPHA = 0.05
FAIRLEARN = {
    "equalized_odds_difference": ("sensitivity", "specificity"),
    "demographic_parity_difference": ("selection_rate",),
}  # and the rates whose largest difference each is


def largest_differences(
    predictions: Predictions,
    groups: pd.DataFrame,
    *,
    resamples: int = 2000,
    permutations: int = 4999,
    seed: int = 0,
) -> pd.DataFrame:
    """The two groups furthest apart in each figure, for each grouping.

    The p value is of the range over all compared groups, who is in which group permuted among people of one
    label: it knows that the furthest two were picked. It is conservative where a person's runs stand in
    several groups. Holm's correction is over all groupings and figures. The interval of the difference is at
    95 % for all pairs of a grouping together (Bonferroni); of the bootstrap over people, or by Newcombe's
    method 10 where one of the groups agrees on everything.

    fairlearn's equalized-odds and demographic-parity differences stand beside them as descriptions, untested,
    their interval from those of all pairs together (a range itself is biased upwards in resamples). A cohort
    whose groups differ in the share of patients has a demographic-parity difference without any fault of the
    model.

    Returns:
        `grouping`, `metric`, `lowest`, `lowest_value`, `highest`, `highest_value`, `difference`, `low`,
        `high`, `p`, `p_corrected`, `shown` (corrected p below 0.05), `compared` (number of groups) and
        `note`: why nothing could be compared.

    Raises:
        ParameterError: a run has no groups.
    """
    there = aligned(predictions.run_ids, groups)
    rows: list[dict[str, Any]] = []
    for name in there:
        values = there[name]
        cells = cells_of(predictions, values.astype(str).to_numpy(object), names_in_order(values))
        rng = np.random.default_rng(seed)
        drawn_RC = drawn_people(cells, resamples, rng)
        rows += [
            {"grouping": str(name), **_tested(cells, metric, drawn_RC, permutations, rng)}
            for metric in METRICS
        ]
        rows += [
            {"grouping": str(name), **row} for row in _by_fairlearn(predictions, values, cells, drawn_RC)
        ]
    table = pd.DataFrame(rows)
    known = table["p"].notna()
    table["p_corrected"] = np.nan
    table.loc[known, "p_corrected"] = holm(table.loc[known, "p"].tolist())
    table["shown"] = table["p_corrected"] < ALPHA
    return table


def compared_groups(cells: Cells, metric: str) -> list[int]:
    """Groups with enough people for a figure; those of whom it is not known are none that can be named."""
    needed = [label for label, needs in zip((True, False), NEEDS[metric], strict=True) if needs]
    return [
        code
        for code, name in enumerate(cells.groups)
        if name != NOT_KNOWN and all(cells.people(code, patients=label) >= FEWEST for label in needed)
    ]


def _tested(
    cells: Cells, metric: str, drawn_RC: Floats, permutations: int, rng: np.random.Generator
) -> dict[str, Any]:
    compared = compared_groups(cells, metric)
    values = {code: float(figures(cells, cells.of_group(code))[metric][0]) for code in compared}
    compared = [code for code in compared if not math.isnan(values[code])]
    if len(compared) < 2:
        return _row(cells, metric, compared, values, NOTHING, p=math.nan)
    lowest, highest = min(compared, key=values.__getitem__), max(compared, key=values.__getitem__)
    tail = 0.025 / len(list(combinations(compared, 2)))
    interval = _difference(cells, metric, (highest, lowest), drawn_RC, tail)
    p = _permuted(cells, metric, compared, values[highest] - values[lowest], permutations, rng)
    return _row(cells, metric, compared, values, interval, p=p)


def _row(
    cells: Cells, metric: str, compared: list[int], values: dict[int, float], interval: Interval, *, p: float
) -> dict[str, Any]:
    enough = len(compared) >= 2
    lowest = min(compared, key=values.__getitem__) if enough else None
    highest = max(compared, key=values.__getitem__) if enough else None
    return {
        "metric": metric,
        "lowest": "" if lowest is None else cells.groups[lowest],
        "lowest_value": math.nan if lowest is None else values[lowest],
        "highest": "" if highest is None else cells.groups[highest],
        "highest_value": math.nan if highest is None else values[highest],
        "difference": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "p": p,
        "compared": len(compared),
        "note": "" if enough else _too_few(metric),
    }


def _too_few(metric: str) -> str:
    needed = NEEDS.get(metric, (True, True))
    words = [word for word, needs in zip(("patients", "controls"), needed, strict=True) if needs]
    return f"no two groups that are known and have {FEWEST} {' and '.join(words)} each"


def _difference(cells: Cells, metric: str, pair: tuple[int, int], drawn_RC: Floats, tail: float) -> Interval:
    """Highest less lowest, with both tails of this size."""
    values = [float(figures(cells, cells.of_group(code))[metric][0]) for code in pair]
    drawn = [figures(cells, drawn_RC * cells.of_group(code))[metric] for code in pair]
    each = [
        percentile_interval(value, drawn_R, tail=tail) for value, drawn_R in zip(values, drawn, strict=True)
    ]
    if not any(collapsed(interval) for interval in each):
        return percentile_interval(values[0] - values[1], drawn[0] - drawn[1], tail=tail)
    z = NormalDist().inv_cdf(1 - tail)
    sure = [
        formula(cells, code, metric, value, z=z) if collapsed(interval) else interval
        for code, value, interval in zip(pair, values, each, strict=True)
    ]
    return difference_of(*sure)


def _permuted(
    cells: Cells,
    metric: str,
    compared: list[int],
    observed: float,
    permutations: int,
    rng: np.random.Generator,
) -> float:
    """p of the range over groups, permuted among people of one label; the groups as they are count too."""
    group_PC = np.tile(cells.group_C, (permutations, 1))
    in_play_C = np.isin(cells.group_C, compared)
    for side_C in (cells.patient_C & in_play_C, ~cells.patient_C & in_play_C):
        group_PC[:, side_C] = rng.permuted(group_PC[:, side_C], axis=1)
    values_KP = np.stack([figures(cells, (group_PC == code).astype(float))[metric] for code in compared])
    ranges_P = np.nanmax(values_KP, axis=0) - np.nanmin(values_KP, axis=0)
    return float((np.count_nonzero(ranges_P >= observed - 1e-9) + 1) / (permutations + 1))


def _by_fairlearn(
    predictions: Predictions, values: pd.Series, cells: Cells, drawn_RC: Floats
) -> list[dict[str, Any]]:
    """`FAIRLEARN`'s two figures over the groups that have enough patients and controls."""
    compared = compared_groups(cells, "balanced_accuracy")
    if len(compared) < 2:
        return [_row(cells, name, [], {}, NOTHING, p=math.nan) for name in FAIRLEARN]
    estimates = _estimates(predictions, values, [cells.groups[code] for code in compared])
    rates = {code: float(figures(cells, cells.of_group(code))["selection_rate"][0]) for code in compared}
    rows = []
    for name, metrics in FAIRLEARN.items():
        low, high = _range_bounds(cells, metrics, compared, drawn_RC)
        interval = Interval(estimate=estimates[name], low=low, high=high)
        row = _row(cells, name, compared, rates, interval, p=math.nan)
        if len(metrics) > 1:  # of two rates at once: no one pair
            row |= {"lowest": "", "highest": "", "lowest_value": math.nan, "highest_value": math.nan}
        rows.append(row)
    return rows


def _range_bounds(
    cells: Cells, metrics: tuple[str, ...], compared: list[int], drawn_RC: Floats
) -> tuple[float, float]:
    """What the largest difference must be and can be, by the intervals of all pairs together."""
    pairs = list(combinations(compared, 2))
    tail = 0.025 / (len(pairs) * len(metrics))
    each = [_difference(cells, metric, pair, drawn_RC, tail) for metric in metrics for pair in pairs]
    return (
        max(0.0, *(max(interval.low, -interval.high) for interval in each)),
        max(max(-interval.low, interval.high) for interval in each),
    )


def _estimates(predictions: Predictions, values: pd.Series, names: list[str]) -> dict[str, float]:
    from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

    words_N = values.astype(str).to_numpy(object)
    deal_M, run_M = np.nonzero(predictions.tested & np.isin(words_N, names))
    said = predictions.labels[run_M], predictions.called[deal_M, run_M]
    who = words_N[run_M]
    return {
        "equalized_odds_difference": float(equalized_odds_difference(*said, sensitive_features=who)),
        "demographic_parity_difference": float(demographic_parity_difference(*said, sensitive_features=who)),
    }
