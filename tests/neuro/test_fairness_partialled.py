"""Whether a prediction holds beside age, sex, motion and site: false alarms, power, and slow twins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from data.errors import ParameterError
from neuro.fairness import firth
from neuro.fairness.notices import beyond_in_words
from neuro.fairness.partialled import TRAINING, left, pair_auc, partialled, permuted, score_statistic
from neuro.fairness.person_effects import person_effects
from neuro.fairness.person_rows import PersonRows, design, person_rows
from neuro.fairness.relations import relations
from neuro.protocol.predictions import Predictions

from .fairness_cohorts import made_predictions, made_table


def driven(table: pd.DataFrame, by: str) -> np.ndarray:
    """A covariate in standard units."""
    values = {
        "age": (table["age"] - 64) / 8,
        "motion": (np.log(table["fd_mean"]) + 2) / 0.5,
        "site": 2.0 * (table["site"] == "B") - 1,
    }
    return values[by].to_numpy(float)


def cohort(
    seed: int, by: str, *, signal: float, noise: float = 0.5, people: int = 40, deals: int = 3
) -> tuple[pd.DataFrame, Predictions]:
    """Labels follow a covariate, the score follows it too, and the label itself as much as `signal`."""
    rng = np.random.default_rng([seed, people])
    table = made_table(people, rng, lambda t: 1 / (1 + np.exp(-1.5 * driven(t, by))))
    z = driven(table, by)
    curved = np.exp(z) if by == "motion" else z  # of displacement itself, not its logarithm
    score = curved + noise * rng.normal(size=people) + signal * table["label"]
    return table, made_predictions(table, score, rng, deals=deals)


def p_values(
    table: pd.DataFrame, predictions: Predictions, permutations: int = 199, training: float = 1.0
) -> tuple[float, float]:
    """Of made-up scores, which nobody trained, unless `training` says otherwise."""
    people = person_rows(predictions, table)
    X_GC, _ = design(people, squares=True, components=True)
    return permuted(people, X_GC, permutations, 0, training)


def cross_validated(seed: int, people: int = 60) -> tuple[pd.DataFrame, Predictions]:
    """A model of noise that is a sum over its training people, and a table that says nothing either."""
    rng = np.random.default_rng([seed, 5])
    table = made_table(people, rng, lambda t: np.full(len(t), 0.5))
    made = made_predictions(table, np.zeros(people), rng)
    X = rng.normal(size=(people, 200))
    signs = 2 * table["label"].to_numpy() - 1
    scores = made.scores.copy()
    for deal, fold in np.ndindex(3, 5):
        test = made.folds[deal] == fold
        scores[deal, test] = X[test] @ X[~test].T @ signs[~test]
    return table, replace(made, scores=scores)


@pytest.mark.parametrize("deals", [1, 3])
def test_a_score_that_is_a_covariate_seldom_holds(deals: int) -> None:
    """Not above 5 % within the bounds of 200 draws: age, motion and site in turns, with and without noise."""
    alarms = np.zeros(2)
    for seed in range(200):
        by, noise = ("age", "motion", "site")[seed % 3], (0.0, 0.5)[seed % 2]
        table, predictions = cohort(seed, by, signal=0, noise=noise, deals=deals)
        alarms += np.array(p_values(table, predictions)) < 0.05
    assert alarms[0] <= binom.ppf(0.99, 200, 0.05)
    assert alarms[1] <= binom.ppf(0.99, 200, 0.05)


def test_a_model_that_learned_nothing_seldom_holds_once_training_is_counted() -> None:
    """Who is tested in one fold trains the others: models taken as given find something twice too often."""
    cohorts = [cross_validated(seed) for seed in range(150)]
    given, counted = (
        sum(p_values(*one, training=training)[0] < 0.05 for one in cohorts) for training in (1.0, TRAINING)
    )
    assert given > binom.ppf(0.99, 150, 0.05)
    assert counted <= binom.ppf(0.99, 150, 0.05)


def test_taking_each_folds_mean_away_would_have_raised_false_alarms() -> None:
    """The trap that `person_effects` is for: in stratified folds the others tell whose label it is."""
    alarms = {"means": 0, "offsets": 0}
    for seed in range(60):
        table, predictions = cohort(seed, "age", signal=0, noise=0.0)
        people = person_rows(predictions, table)
        X_GC, _ = design(people, squares=True, components=True)
        centred_DN = predictions.scores.copy()
        for deal, fold in np.ndindex(3, 5):
            here = predictions.folds[deal] == fold
            centred_DN[deal, here] -= centred_DN[deal, here].mean()
        order = np.argsort(predictions.people)
        naive = replace(people, score_G=centred_DN.mean(axis=0)[order])
        alarms["means"] += permuted(naive, X_GC, 199, 0, training=1.0)[0] < 0.05
        alarms["offsets"] += permuted(people, X_GC, 199, 0, training=1.0)[0] < 0.05
    assert alarms["means"] > binom.ppf(0.999, 60, 0.05)
    assert alarms["offsets"] <= binom.ppf(0.995, 60, 0.05)


def test_a_signal_of_its_own_holds() -> None:
    """Two standard deviations of the noise beside age: found in nearly every cohort of forty."""
    found = np.zeros(2)
    for seed in range(30):
        table, predictions = cohort(seed, "age", signal=1.2, noise=0.6)
        found += np.array(p_values(table, predictions)) < 0.05
    assert found.min() >= 26


def test_everything_that_is_told_of_one_cohort() -> None:
    table, predictions = cohort(3, "age", signal=2.0, people=60)
    found = partialled(predictions, table, permutations=499, resamples=200)
    assert found.holds
    assert found.people == 60
    assert found.taken_out == ("age", "sex", "motion", "site")
    assert found.not_taken_out == ()
    assert found.columns == ("age", "age squared", "sex=M", "motion", "motion squared", "site=B")
    assert found.likelihood_p < 0.001
    assert found.odds_ratio.low > 1
    assert found.auc.low <= found.auc.estimate <= found.auc.high
    assert 0.5 < found.residual_auc.estimate < found.auc.estimate
    assert not found.separated
    assert beyond_in_words(found).startswith(
        "The prediction still holds with age, sex, motion and site taken"
    )
    age = next(relation for relation in found.relations if relation.term == "age")
    assert age.auc.low > 0.5
    assert age.spearman.low > 0
    assert found == partialled(predictions, table, permutations=499, resamples=200)  # seeded


def test_one_deal_compares_people_within_folds_only() -> None:
    """However far apart the folds' scales lie."""
    table, predictions = cohort(4, "age", signal=1.0, deals=1)
    scale_N = 10.0 ** predictions.folds[0]
    far = replace(predictions, scores=predictions.scores * scale_N + 1000 * predictions.folds)
    near, moved = (partialled(p, table, permutations=99, resamples=20) for p in (predictions, far))
    assert near.p == moved.p
    assert near.auc.estimate == pytest.approx(moved.auc.estimate)
    assert near.residual_auc.estimate == pytest.approx(moved.residual_auc.estimate)


def test_what_is_not_known_is_said_and_not_taken_out() -> None:
    table, predictions = cohort(5, "age", signal=1.0)
    table = table.drop(columns="fd_mean").assign(site="A")
    table.loc[:2, "age"] = np.nan
    found = partialled(predictions, table, permutations=99, resamples=20)
    assert found.taken_out == ("age", "sex")
    assert found.not_taken_out == ("motion", "site")
    assert beyond_in_words(found).endswith("Motion and site could not be taken out.")
    assert "age not known" in found.columns
    assert next(r for r in found.relations if r.covariate == "age").people == 37


def test_a_score_that_never_varies_holds_nothing() -> None:
    table, predictions = cohort(6, "age", signal=1.0)
    same = replace(predictions, scores=np.full_like(predictions.scores, 0.1))
    found = partialled(same, table, permutations=99, resamples=20)
    assert found.p == found.residual_auc_p == found.likelihood_p == 1
    assert found.auc.estimate == found.residual_auc.estimate == 0.5


def test_sites_that_give_the_label_away_leave_nothing_to_test() -> None:
    table, predictions = cohort(7, "age", signal=3.0)
    table["site"] = np.where(table["label"] == 1, "clinic", "volunteers")
    found = partialled(predictions, table, permutations=199, resamples=20)
    assert found.separated
    assert not found.holds
    assert "cannot be known" in beyond_in_words(found)


def test_two_runs_of_a_person_are_one_row() -> None:
    table, predictions = cohort(8, "age", signal=1.0)
    twice = np.repeat(np.arange(len(table)), 2)
    names = np.array([f"run{i}" for i in range(len(twice))], dtype=object)
    by_run = {name: getattr(predictions, name)[twice] for name in ("labels", "people", "sites")}
    by_deal = {
        name: getattr(predictions, name)[:, twice] for name in ("folds", "scores", "probabilities", "called")
    }
    doubled = replace(predictions, run_ids=names, **by_run, **by_deal)
    once = partialled(predictions, table, permutations=99, resamples=20)
    found = partialled(doubled, table.iloc[twice].assign(run_id=names), permutations=99, resamples=20)
    assert found.people == 40
    assert found.p == once.p
    assert found.residual_auc.estimate == pytest.approx(once.residual_auc.estimate)


def test_people_of_two_labels_or_two_folds_are_refused() -> None:
    table, predictions = cohort(9, "age", signal=1.0)
    one = np.full(len(table), "somebody", dtype=object)
    with pytest.raises(ParameterError, match="one a person"):
        person_rows(replace(predictions, people=one), table)
    pairs = np.array([f"{label}{i // 2}" for i, label in enumerate(predictions.labels)], dtype=object)
    with pytest.raises(ParameterError, match="two for somebody"):
        person_rows(replace(predictions, people=pairs), table)


def test_effects_are_found_through_offsets_and_scales_of_folds(rng: np.random.Generator) -> None:
    truth_G = rng.normal(size=40)
    folds_DG = np.stack([rng.permutation(40) % 5 for _ in range(4)])
    offset, scale = 5 * rng.normal(size=(4, 5)), np.exp(0.5 * rng.normal(size=(4, 5)))
    scores_DG = np.take_along_axis(offset, folds_DG, 1) + np.take_along_axis(scale, folds_DG, 1) * truth_G
    found = person_effects(scores_DG, folds_DG)
    assert (found.component_G == 0).all()
    assert np.corrcoef(found.effect_G, truth_G)[0, 1] > 0.9999


def test_offsets_are_those_of_least_squares(rng: np.random.Generator) -> None:
    """Against a regression on a column for every person and every fold; here no fold has a scale."""
    folds_DG = np.stack([rng.permutation(20) % 4 for _ in range(3)])
    truth_G = rng.normal(size=20)
    scores_DG = truth_G + np.take_along_axis(rng.normal(size=(3, 4)), folds_DG, 1)
    deal_M, person_M = np.nonzero(folds_DG >= 0)
    whole = np.zeros((60, 32))
    whole[np.arange(60), person_M] = 1
    whole[np.arange(60), 20 + 4 * deal_M + folds_DG[deal_M, person_M]] = 1
    slow = np.linalg.lstsq(whole, scores_DG[deal_M, person_M], rcond=None)[0][:20]
    slow = (slow - slow.mean()) / slow.std()
    np.testing.assert_allclose(person_effects(scores_DG, folds_DG).effect_G, slow, atol=1e-6)


def penalized(b_C: np.ndarray, X_NC: np.ndarray, y_N: np.ndarray) -> float:
    p_N = 1 / (1 + np.exp(-X_NC @ b_C))
    information = X_NC.T @ ((p_N * (1 - p_N))[:, None] * X_NC)
    likelihood = np.sum(np.where(y_N == 1, np.log(p_N), np.log1p(-p_N)))
    return float(-likelihood - np.linalg.slogdet(information)[1] / 2)


@pytest.mark.parametrize("separable", [False, True])
def test_firth_is_the_maximum_of_the_penalized_likelihood(rng: np.random.Generator, separable: bool) -> None:
    X_NC = np.column_stack([np.ones(30), rng.normal(size=(30, 2))])
    y_N = (X_NC[:, 1] + (0 if separable else 1) * rng.normal(size=30) > 0).astype(int)
    slow = minimize(penalized, np.zeros(3), args=(X_NC, y_N), method="BFGS", options={"gtol": 1e-8})
    held = minimize(lambda b: penalized(np.array([b[0], 0.0, b[1]]), X_NC, y_N), np.zeros(2), method="BFGS")
    found = firth.fit(X_NC, y_N)
    np.testing.assert_allclose(found.coefficients_C, slow.x, atol=1e-4)
    assert found.log_likelihood == pytest.approx(-slow.fun, abs=1e-8)
    assert firth.likelihood_ratio(X_NC, y_N, 1) == pytest.approx(2 * (held.fun - slow.fun), abs=1e-6)
    interval = firth.coefficient(X_NC, y_N, 1)
    assert interval.low < interval.estimate < interval.high
    if not separable:
        end = firth.fit(X_NC, y_N, held={1: interval.high})
        assert 2 * (found.log_likelihood - end.log_likelihood) == pytest.approx(firth.CHI2_95, abs=1e-2)


def test_with_many_people_firth_is_logistic_regression(rng: np.random.Generator) -> None:
    X_NC = np.column_stack([np.ones(4000), rng.normal(size=(4000, 2))])
    y_N = (rng.random(4000) < 1 / (1 + np.exp(-X_NC @ [0.2, 1.0, -0.5]))).astype(int)
    plain = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(X_NC, y_N)
    np.testing.assert_allclose(firth.fit(X_NC, y_N).coefficients_C, plain.coef_[0], atol=5e-3)


def people_of(rng: np.random.Generator, count: int = 200) -> PersonRows:
    labels_G = np.tile([0, 1], count // 2)
    covariates = pd.DataFrame(
        {"age": rng.normal(size=count), "sex": None, "motion": np.nan, "site": rng.choice(["A", "B"], count)}
    )
    return PersonRows(
        labels_G=labels_G,
        score_G=rng.normal(size=count) + 0.3 * labels_G,
        component_G=np.zeros(count, dtype=np.intp),
        together_PQ=np.ones((count // 2, count // 2)),
        covariates=covariates,
    )


def test_the_score_statistic_agrees_with_the_likelihood_ratio(rng: np.random.Generator) -> None:
    """Its square, where there are many people: both are chi-squared with one degree."""
    people = people_of(rng)
    X_GC, _ = design(people, squares=False, components=False)
    residual_G = left(X_GC, people.score_G)
    ratio = firth.likelihood_ratio(np.column_stack([X_GC, residual_G]), people.labels_G, X_GC.shape[1])
    assert score_statistic(people, residual_G[None, :])[0] ** 2 == pytest.approx(ratio, rel=0.1)


def test_the_auc_counts_pairs_as_often_as_they_were_tested_together(rng: np.random.Generator) -> None:
    people = replace(people_of(rng, 20), together_PQ=rng.integers(0, 3, (10, 10)).astype(float))
    weights = rng.integers(0, 3, 20)
    ordered = total = 0.0
    for i, patient in enumerate(np.flatnonzero(people.labels_G == 1)):
        for j, control in enumerate(np.flatnonzero(people.labels_G == 0)):
            weight = people.together_PQ[i, j] * weights[patient] * weights[control]
            ordered += weight * (people.score_G[patient] > people.score_G[control])
            total += weight
    assert pair_auc(people, people.score_G[None, :], weights)[0] == pytest.approx(ordered / total)


def test_relations_are_scipys(rng: np.random.Generator) -> None:
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    people = people_of(rng)
    found = {relation.term: relation for relation in relations(people, resamples=200)}
    assert set(found) == {"age", "site=B"}
    age = people.covariates["age"].to_numpy()
    assert found["age"].auc.estimate == pytest.approx(roc_auc_score(people.labels_G, age))
    assert found["age"].spearman.estimate == pytest.approx(spearmanr(age, people.score_G).statistic)
    site = (people.covariates["site"] == "B").to_numpy()
    assert found["site=B"].auc.estimate == pytest.approx(roc_auc_score(people.labels_G, site))
    assert found["site=B"].spearman.low <= found["site=B"].spearman.estimate <= found["site=B"].spearman.high
