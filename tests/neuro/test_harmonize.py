"""Harmonization: fitted on training rows alone, right on rows never seen, careful with what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from data.errors import ParameterError
from data.splits.splitters import SiteOut, SubjectFolds
from neuro.protocol.contender import Contender
from neuro.protocol.evaluation import Outcome, evaluate
from neuro.protocol.plan import Plan, PlanConfig, draw_plan
from neuro.protocol.roster import Roster
from neuro.sites.harmonize import Combat, after_combat, sites_tell_labels, with_sites

from .simulated_sites import AGE_SEX, FEATURES, features_of, simulated


def site_auc(train: np.ndarray, train_site: np.ndarray, test: np.ndarray, test_site: np.ndarray) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(train, train_site == "A")
    return float(roc_auc_score(test_site == "A", model.decision_function(test)))


@parametrize_with_checks([Combat(site=None)])
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    if check.func.__name__ == "check_array_api_input":  # type: ignore[attr-defined]
        pytest.skip("needs SCIPY_ARRAY_API")
    check(estimator)


def test_effects_of_sites_are_taken_from_people_never_seen() -> None:
    train, y = simulated(160, seed=1, covariates=AGE_SEX)
    test, _ = simulated(160, seed=2, covariates=AGE_SEX)
    combat = Combat(covariates=AGE_SEX).fit(train, y)
    known, new = combat.transform(train), combat.transform(test)
    a, b = (test["site"] == "A").to_numpy(), (test["site"] == "B").to_numpy()
    before, after = features_of(test), new
    gap = lambda x: np.abs(x[a].mean(0) - x[b].mean(0)).mean()  # noqa: E731
    ratio = lambda x: np.abs(np.log(x[a].std(0) / x[b].std(0))).mean()  # noqa: E731
    assert gap(before) > 1.2
    assert gap(after) < 0.25  # 80 rows a site: chance alone gives about 0.2
    assert ratio(before) > 0.4
    assert ratio(after) < 0.2  # and here 0.13
    train_site, test_site = train["site"].to_numpy(object), test["site"].to_numpy(object)
    assert site_auc(features_of(train), train_site, before, test_site) > 0.99
    assert abs(site_auc(known, train_site, after, test_site) - 0.5) < 0.12


def test_what_disease_and_age_do_is_kept() -> None:
    train, y = simulated(400, seed=1, covariates=AGE_SEX)
    test, labels = simulated(400, seed=2, covariates=AGE_SEX)
    combat = Combat(covariates=AGE_SEX).fit(train, y)
    new = combat.transform(test)
    effect = new[labels == 1].mean(0) - new[labels == 0].mean(0)
    # A label nobody may look at is rescaled with the rest of what its site's rows vary by.
    rescaled = np.mean([1 / np.sqrt(effect.variance_F) for effect in combat.effects_.values()], axis=0)
    np.testing.assert_allclose(effect[:5], 1.5 * rescaled[:5], atol=0.35)
    assert np.abs(effect[5:]).mean() < 0.2
    age = test["age"].to_numpy() - test["age"].mean()
    slope = age @ (new - new.mean(0)) / (age @ age)
    truth = np.random.default_rng(99)
    truth.normal(0, 1.5, (26, FEATURES)), truth.uniform(0.5, 2.0, (26, FEATURES))
    assert np.corrcoef(slope, truth.normal(0, 0.05, FEATURES))[0, 1] > 0.95


def test_a_site_of_patients_is_no_shifted_scanner_when_training_labels_are_accounted_for() -> None:
    share = {"A": 0.85, "B": 0.15}
    train, y = simulated(400, seed=1, sick_share=share)
    test, labels = simulated(400, seed=2, sick_share=share)

    def kept(use_labels: bool) -> float:
        new = Combat(use_labels=use_labels, empirical_bayes=False).fit(train, y).transform(test)
        return float((new[labels == 1] - new[labels == 0].mean(0))[:, :5].mean())

    assert kept(True) == pytest.approx(1.5, abs=0.25)
    assert kept(False) < 1.0  # it took the share of patients for the scanner's shift


TESTED, _ = simulated(24, seed=4, sites="ABCX", covariates=AGE_SEX)  # X is unseen
FITTED = Combat(covariates=AGE_SEX).fit(*simulated(40, seed=3, sites="ABC", covariates=AGE_SEX))


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_nothing_depends_on_the_other_rows_that_are_transformed(data: st.DataObject) -> None:
    test = TESTED
    whole = FITTED.transform(test)
    chosen = data.draw(st.lists(st.integers(0, 23), min_size=1, max_size=24))
    np.testing.assert_allclose(FITTED.transform(test.iloc[chosen]), whole[chosen], atol=1e-12)
    changed = test.copy()
    changed.iloc[chosen, 0] = data.draw(st.floats(-1e3, 1e3))
    rest = np.setdiff1d(np.arange(24), chosen)
    np.testing.assert_allclose(FITTED.transform(changed)[rest], whole[rest], atol=1e-12)


def test_an_unseen_site_leaves_as_it_came_adapts_or_is_refused() -> None:
    train, y = simulated(120, seed=1, sites="AB")
    test, _ = simulated(120, seed=2, sites="ABC")
    new = (test["site"] == "C").to_numpy()
    pooled = Combat().fit(train, y).transform(test)
    np.testing.assert_array_equal(pooled[new], features_of(test)[new])
    assert np.abs(pooled[~new] - features_of(test)[~new]).max() > 0.5
    adapted = Combat(unseen="adapt").fit(train, y).transform(test)
    np.testing.assert_array_equal(adapted[~new], pooled[~new])
    centre = Combat().fit(train, y).mean_
    assert np.abs(features_of(test)[new].mean(0) - centre).mean() > 1
    assert np.abs(adapted[new].mean(0) - centre).mean() < 0.25
    few = test[new].iloc[:2]  # too few to estimate anything by
    np.testing.assert_array_equal(Combat(unseen="adapt").fit(train, y).transform(few), features_of(few))
    with pytest.raises(ParameterError, match=r"site must be one that was fitted \(A, B\), got C"):
        Combat(unseen="refuse").fit(train, y).transform(test)


def test_adapting_works_from_one_training_site_which_itself_stays() -> None:
    train, y = simulated(80, seed=1, sites="A")
    test, _ = simulated(80, seed=2, sites="C")
    combat = Combat(unseen="adapt").fit(train, y)
    np.testing.assert_array_equal(combat.transform(train), features_of(train))
    assert np.abs(combat.transform(test).mean(0) - combat.mean_).mean() < 0.2


def test_a_site_of_too_few_rows_is_left_out_of_the_fit_and_left_alone() -> None:
    train, y = simulated(60, seed=1, sites="AB")
    lonely, label = simulated(26, seed=2, sites="ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    both = pd.concat([train, lonely.iloc[25:]], ignore_index=True)
    both.iloc[60, 0] = 1e6
    for unseen in ("pooled", "adapt", "refuse"):
        combat = Combat(unseen=unseen).fit(both, np.append(y, label[25]))
        assert combat.small_sites_ == ["Z"]
        np.testing.assert_array_equal(combat.transform(both)[60], features_of(both)[60])
        np.testing.assert_array_equal(combat.transform(train), Combat().fit(train, y).transform(train))


def test_constant_features_stay_as_they_are_and_disturb_nothing() -> None:
    X, y = simulated(60, seed=1)
    values = X.copy()
    values.insert(0, "zero", 0.0)
    values.insert(1, "third", 1 / 3)
    found = Combat().fit(values, y).transform(values)
    np.testing.assert_array_equal(found[:, :2], features_of(values)[:, :2])
    np.testing.assert_allclose(found[:, 2:], Combat().fit(X, y).transform(X), atol=1e-9)
    still = with_sites(np.ones((6, 2)), pd.DataFrame({"site": list("ABABAB")}))
    np.testing.assert_array_equal(Combat().fit_transform(still), np.ones((6, 2)))


def test_a_feature_that_one_site_does_not_have_stays_finite() -> None:
    X, y = simulated(60, seed=1)
    X.loc[X["site"] == "A", "7"] = 0.0
    found = Combat().fit(X, y).transform(X)
    assert np.isfinite(found).all()
    assert np.abs(found[:, 7]).max() < 20


def test_missing_ages_and_unknown_sexes_count_as_the_average() -> None:
    X, y = simulated(60, seed=1, covariates=AGE_SEX)
    combat = Combat(covariates=AGE_SEX).fit(X, y)
    strange = X.iloc[:2].copy()
    strange["sex"] = ["diverse", "n/a"]
    strange["age"] = np.nan
    with_average = combat.mean_ + 0 * combat.coef_[0]
    effect = combat.effects_[strange["site"].iloc[0]]
    z = (features_of(strange)[0] - with_average) / combat.scale_
    expected = (z - effect.location_F) / np.sqrt(effect.variance_F) * combat.scale_ + with_average
    np.testing.assert_allclose(combat.transform(strange)[0], expected)
    gaps = X.copy()
    gaps.loc[3:8, "age"] = np.nan
    assert np.isfinite(Combat(covariates=AGE_SEX).fit(gaps, y).transform(gaps)).all()


def test_a_covariate_that_sites_already_tell_is_left_out() -> None:
    X, y = simulated(60, seed=1, covariates=AGE_SEX)
    X["sex"] = np.where(X["site"] == "A", "F", "M")
    combat = Combat(covariates=AGE_SEX).fit(X, y)
    assert [covariate.name for covariate in combat.covariates_] == ["age"]


def test_sites_that_tell_the_label_are_refused() -> None:
    X, _ = simulated(60, seed=1)
    y = (X["site"] == "A").astype(int)
    with pytest.raises(ParameterError, match="one site at least with both labels"):
        Combat().fit(X, y)
    assert sites_tell_labels(X["site"], y)
    y[0] = 1 - y[0]
    assert not sites_tell_labels(X["site"], y)
    assert np.isfinite(Combat().fit(X, y).transform(X)).all()
    assert sites_tell_labels(["A", "B"] * 2, [0, 0, 1, 1])  # two rows each: nothing can be said of either


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.drop(columns="site"), "X must be a DataFrame with 'site', got DataFrame"),
        (lambda X: X.to_numpy(), "got ndarray; make it with neuro.sites.harmonize.with_sites"),
        (lambda X: X.assign(site=[None, *X["site"][1:]]), "site must be known for every row, got none for 1"),
        (lambda X: X.assign(**{"4": np.nan}), r"NaN or infinite in 1 of 40 \(column 4\)"),
        (lambda X: X.assign(**{"4": np.inf}), "NaN or infinite"),
        (lambda X: X.assign(site=[f"site-{i}" for i in range(len(X))]), "at least one of 3 rows"),
        (lambda X: X.iloc[[0, 1, 2, 4]].assign(site="A"), "training rows must be more than the 4 columns"),
    ],
)
def test_input_that_cannot_be_harmonized(change: Callable[[Any], Any], message: str) -> None:
    X, y = simulated(20, seed=1, covariates=AGE_SEX)
    changed = change(X)
    y = np.array([0, 1, 0, 1]) if len(changed) == 4 else y
    with pytest.raises(ParameterError, match=message):
        Combat(covariates=AGE_SEX).fit(changed, y)


def test_a_gap_in_a_row_to_transform_is_refused_too() -> None:
    X, y = simulated(20, seed=1, covariates=AGE_SEX)
    with pytest.raises(ParameterError, match="NaN or infinite"):
        Combat(covariates=AGE_SEX).fit(X, y).transform(X.assign(**{"4": np.nan}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unseen": "guess"}, "unseen must be pooled or adapt or refuse, got guess"),
        ({"min_rows": 1}, "min_rows must be at least 2, got 1"),
        ({"covariates": "age"}, "a sequence of names"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], message: str) -> None:
    X, y = simulated(20)
    with pytest.raises(ParameterError, match=message):
        Combat(**options).fit(X, y)


def test_a_table_of_another_length_is_refused() -> None:
    with pytest.raises(ParameterError, match="of 3 rows, as the table, got 2"):
        with_sites(np.zeros((2, 4)), pd.DataFrame({"site": list("ABA")}))


def test_parameters_names_and_precision_are_kept() -> None:
    X, y = simulated(20, seed=1, covariates=AGE_SEX)
    combat = Combat(covariates=AGE_SEX, unseen="adapt", min_rows=4)
    assert clone(combat).get_params() == combat.get_params()
    single = X.astype({str(i): np.float32 for i in range(FEATURES)})
    found = combat.fit(single, y).transform(single)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, combat.fit(X, y).transform(X), atol=1e-3)
    assert list(combat.get_feature_names_out()) == [str(i) for i in range(FEATURES)]
    assert combat.n_features_in_ == FEATURES


def roster(X: pd.DataFrame, y: np.ndarray) -> Roster:
    """One run a person."""
    people = np.array([f"sub-{i:03d}" for i in range(len(y))], dtype=object)
    return Roster(run_ids=people, labels=y, people=people, sites=X["site"].to_numpy(object))


def outcome_of(model: Any, X: pd.DataFrame, known: Roster, plan: Plan) -> Outcome:
    return evaluate([Contender(name="c", estimator=model, X=X)], known, plan).outcomes[0]


def test_it_goes_through_pipelines_splitters_and_the_protocol() -> None:
    X, y = simulated(120, seed=1, covariates=AGE_SEX)
    known = roster(X, y)
    model = after_combat(LogisticRegression(C=0.1), ("age", "sex"))
    by_subject = cross_val_score(
        model, X, y, groups=known.people, cv=SubjectFolds(4, site="site"), scoring="roc_auc"
    )
    assert by_subject.mean() > 0.9
    assert len(cross_val_score(model, X, y, groups=known.people, cv=SiteOut(), scoring="roc_auc")) == 2
    outcome = outcome_of(model, X, known, draw_plan(known, PlanConfig(folds=4, repeats=1, inner=2)))
    assert outcome.auc.estimate == pytest.approx(by_subject.mean(), abs=0.02)
    assert [list(ready.estimator[0].effects_) for ready in outcome.settled] == [["A", "B"]] * 4
    assert outcome.figures_across["auc"].estimate > 0.9  # of models that know the other site alone


def test_what_is_tested_never_reaches_what_is_learned() -> None:
    """Rows of the test side are turned into nonsense, and the fold that tests them learns the same."""
    X, y = simulated(60, seed=1)
    known = roster(X, y)
    plan = draw_plan(known, PlanConfig(folds=3, repeats=1, inner=2, across=False))
    fold = plan.within[0][0]
    spoiled = X.copy()
    spoiled.iloc[fold.test, :FEATURES] = 1e9 * np.sign(features_of(X)[fold.test])
    model = after_combat(LogisticRegression(C=0.1))
    honest, other = (
        outcome_of(model, x, known, replace(plan, within=[[fold]])).settled[0] for x in (X, spoiled)
    )
    np.testing.assert_array_equal(honest.estimator[0].mean_, other.estimator[0].mean_)
    train = X.iloc[fold.train]
    np.testing.assert_array_equal(
        honest.estimator.decision_function(train), other.estimator.decision_function(train)
    )
    np.testing.assert_array_equal(honest.inner.scores, other.inner.scores)
    assert honest.calibration.to_dict() == other.calibration.to_dict()
