"""Results by group against fairlearn on resampled rows, scikit-learn and known truths."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from sklearn.metrics import recall_score, roc_auc_score

from data.interval import wilson
from neuro.fairness.by_group import EVERYONE, by_group, group_intervals, metric_frame
from neuro.fairness.cells import METRICS, cells_of, drawn_people, figures
from neuro.fairness.differences import largest_differences
from neuro.fairness.figures import differing_in, group_forest
from neuro.fairness.groups import NOT_KNOWN, groups_of
from neuro.fairness.notices import warnings
from neuro.protocol.predictions import Predictions

from .fairness_cohorts import even, made_predictions, made_table


def cohort(seed: int, *, people: int = 60, blind_to: str = "") -> tuple[pd.DataFrame, Predictions]:
    """A model that sees the label, but not of people of one sex."""
    rng = np.random.default_rng(seed)
    table = made_table(people, rng, even)
    score = 2.5 * table["label"] * (table["sex"] != blind_to) + rng.normal(0, 0.8, people)
    return table, made_predictions(table, score, rng)


def taken(predictions: Predictions, rows: np.ndarray) -> Predictions:
    by_run = {name: getattr(predictions, name)[rows] for name in ("run_ids", "labels", "people", "sites")}
    by_deal = {
        name: getattr(predictions, name)[:, rows] for name in ("folds", "scores", "probabilities", "called")
    }
    return replace(predictions, **by_run, **by_deal)


def test_figures_are_those_of_scikit_learn() -> None:
    table, predictions = cohort(1)
    results = by_group(predictions, groups_of(table), resamples=20).set_index(["grouping", "group"])
    women = (table["sex"] == "F").to_numpy()
    labels, called = np.tile(predictions.labels[women], 3), predictions.called[:, women].ravel()
    row = results.loc[("sex", "women")]
    assert row["sensitivity"] == pytest.approx(recall_score(labels, called))
    assert row["specificity"] == pytest.approx(recall_score(labels, called, pos_label=0))
    assert row["people"] == women.sum()
    assert row["patients"] == predictions.labels[women].sum()
    ordered = pairs = 0.0
    for deal, fold in np.ndindex(3, 5):
        here = women & (predictions.folds[deal] == fold)
        sides = [int((predictions.labels[here] == label).sum()) for label in (0, 1)]
        if all(sides):
            auc = roc_auc_score(predictions.labels[here], predictions.scores[deal, here])
            ordered, pairs = ordered + auc * np.prod(sides), pairs + np.prod(sides)
    assert row["auc"] == pytest.approx(ordered / pairs)


def test_a_bootstrap_is_fairlearn_on_the_people_drawn() -> None:
    """The sums over cells give what `MetricFrame` gives where the rows themselves are repeated."""
    table, predictions = cohort(2)
    values = groups_of(table)["site"]
    cells = cells_of(predictions, values.astype(str).to_numpy(object), ["A", "B"])
    weights_RC = drawn_people(cells, 5, np.random.default_rng(0))
    person_N = np.unique(predictions.people.astype(str), return_inverse=True)[1]
    for weights_C in weights_RC:
        weight_of = dict(zip(cells.person_C, weights_C, strict=True))
        rows = np.repeat(np.arange(len(table)), [int(weight_of[person]) for person in person_N])
        slow = metric_frame(taken(predictions, rows), values.iloc[rows]).by_group
        for code, name in enumerate(cells.groups):
            quick = figures(cells, weights_C[None, :] * cells.of_group(code))
            for metric in METRICS:
                assert quick[metric][0] == pytest.approx(slow.loc[name, metric], nan_ok=True)


def test_fairlearns_differences_stand_in_the_table() -> None:
    table, predictions = cohort(3)
    found = largest_differences(predictions, groups_of(table)[["sex"]], resamples=200, permutations=99)
    found = found.set_index("metric")
    said = np.tile(predictions.labels, 3), predictions.called.ravel()
    who = np.tile(table["sex"].to_numpy(object), 3)
    odds = equalized_odds_difference(*said, sensitive_features=who)
    parity = demographic_parity_difference(*said, sensitive_features=who)
    assert found.loc["equalized_odds_difference", "difference"] == pytest.approx(odds)
    assert found.loc["demographic_parity_difference", "difference"] == pytest.approx(parity)
    for name in ("equalized_odds_difference", "demographic_parity_difference"):
        row = found.loc[name]
        assert 0 <= row["low"] <= row["difference"] <= row["high"] <= 1
        assert np.isnan(row["p"])


def test_a_model_that_fails_women_is_told_in_the_first_sentence() -> None:
    table, predictions = cohort(4, people=90, blind_to="F")
    groups = groups_of(table)
    results, differences = by_group(predictions, groups), largest_differences(predictions, groups)
    first = next(n for n in warnings(results, differences) if n.words.startswith("sensitivity"))
    row = differences.set_index(["grouping", "metric"]).loc[("sex", "sensitivity")]
    assert (row["lowest"], row["highest"]) == ("women", "men")
    assert row["low"] > 0.2
    assert first.kind == "differs"
    said = f"sensitivity is {row['lowest_value']:.2f} for women and {row['highest_value']:.2f} for men"
    assert first.words.startswith(f"{said} (difference {row['difference']:.2f} [{row['low']:.2f}, ")
    assert {n.grouping for n in warnings(results, differences) if n.kind == "untested"} == {"medication"}


def test_groups_that_are_alike_are_rarely_told_apart() -> None:
    """Family-wise: of 40 cohorts without a difference few give a corrected p below 0.05 anywhere."""
    shown = 0
    for seed in range(40):
        table, predictions = cohort(1000 + seed)
        groups = groups_of(table)[["sex", "site"]]
        shown += largest_differences(predictions, groups, resamples=20, permutations=299)["shown"].any()
    assert shown <= 6  # 2 expected; more than 6 of 40 happens once in 300 at 5 %


def test_intervals_of_groups_cover_the_truth() -> None:
    """A man who is a patient is called so with P(N(2.5, 0.8^2 + 0.2^2) > 2) = 0.728."""
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        table = made_table(60, rng, even)
        score = 2.5 * table["label"] + rng.normal(0, 0.8, 60)
        predictions = made_predictions(table, score, rng, threshold=2.0)
        cells = cells_of(predictions, table["sex"].to_numpy(object), ["F", "M"])
        interval = group_intervals(cells, 1, drawn_people(cells, 300, rng))["sensitivity"]
        hits += interval.low <= 0.728 <= interval.high
    assert 0.89 <= hits / 200 <= 0.985


def test_who_agrees_on_everything_still_has_an_interval() -> None:
    table, predictions = cohort(5, people=40)
    perfect = replace(
        predictions,
        scores=np.tile(predictions.labels.astype(float), (3, 1)),
        called=np.tile(predictions.labels, (3, 1)),
    )
    groups = groups_of(table)[["sex"]]
    results = by_group(perfect, groups, resamples=100).set_index("group")
    women = results.loc["women"]
    assert women["sensitivity"] == women["auc"] == women["balanced_accuracy"] == 1
    assert women["sensitivity_low"] == pytest.approx(wilson(1.0, women["patients"]).low)
    assert 0.5 < women["auc_low"] < 1
    differences = largest_differences(perfect, groups, resamples=100, permutations=99).set_index("metric")
    assert differences.loc["sensitivity", "low"] < 0 < differences.loc["sensitivity", "high"]
    assert differences.loc["sensitivity", "p"] == 1


def test_small_groups_are_marked_and_compared_with_none() -> None:
    table, predictions = cohort(6)
    few = np.flatnonzero(table["label"] == 1)[:3]
    table.loc[few, "site"] = "C"
    table.loc[few[0], "age"] = np.nan
    groups = groups_of(table)
    results = by_group(predictions, groups, resamples=50).set_index(["grouping", "group"])
    row = results.loc[("site", "C")]
    assert row["small"]
    assert row["note"] == "fewer than 5 patients and no controls"
    assert np.isfinite(row["sensitivity"])
    assert np.isnan(row[["auc", "specificity", "balanced_accuracy"]].to_numpy(float)).all()
    assert results.loc[("age", NOT_KNOWN), "people"] == 1
    differences = largest_differences(predictions, groups, resamples=50, permutations=99)
    assert "C" not in set(differences["lowest"]) | set(differences["highest"])
    assert NOT_KNOWN not in set(differences["lowest"]) | set(differences["highest"])
    told = [n.words for n in warnings(results.reset_index(), differences) if n.kind == "small"]
    assert any("C (3 patients, 0 controls)" in words for words in told)


def test_people_are_resampled_not_runs() -> None:
    """Ten copies of every run tell nothing new."""
    table, predictions = cohort(7)
    rows = np.repeat(np.arange(len(table)), 10)
    tenfold = replace(
        taken(predictions, rows), run_ids=np.array([f"run{i}" for i in range(len(rows))], dtype=object)
    )
    copies = table.iloc[rows].assign(run_id=tenfold.run_ids)
    once = by_group(predictions, groups_of(table)[["sex"]], resamples=400).set_index("group")
    often = by_group(tenfold, groups_of(copies)[["sex"]], resamples=400).set_index("group")
    assert often.loc["men", "runs"] == 10 * once.loc["men", "runs"]
    for name in ("people", "auc", "auc_low", "auc_high", "sensitivity", "sensitivity_low"):
        assert often.loc["men", name] == pytest.approx(once.loc["men", name])


def test_runs_that_were_never_tested_do_not_count() -> None:
    table, predictions = cohort(8)
    folds = predictions.folds.copy()
    folds[:, :10] = -1
    results = by_group(replace(predictions, folds=folds), groups_of(table), resamples=20)
    assert results.loc[0, "group"] == EVERYONE
    assert results.loc[0, "runs"] == len(table) - 10
    assert results.groupby("grouping")["runs"].sum().eq(len(table) - 10).all()


def test_the_forest_shows_every_group() -> None:
    table, predictions = cohort(9, people=90, blind_to="F")
    groups = groups_of(table)[["sex", "medication"]]
    results = by_group(predictions, groups, resamples=50)
    differing = differing_in(largest_differences(predictions, groups, resamples=50, permutations=999))
    assert ("sex", "sensitivity") in differing
    drawing = base64.b64decode(group_forest(results, differing).split(",", 1)[1]).decode()
    for words in ("everyone", "women", "men", NOT_KNOWN):
        assert f"<!-- {words}" in drawing
