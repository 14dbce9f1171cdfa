"""Which contenders a cohort gets, what each looks at, and what it must not have learned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

from data.caches.cache import Cache
from neuro.baselines.tangent import tangent_logistic, without_flat
from neuro.model import ModelConfig
from neuro.protocol import contenders as module
from neuro.protocol.confound_models import CodedCovariates, confound_contenders, confound_model
from neuro.protocol.contender import Contender
from neuro.protocol.contenders import CONNECTIVITY, MAJORITY, TANGENT, TRANSFORMER, contenders
from neuro.protocol.evaluation import Outcome, evaluate
from neuro.protocol.plan import Plan, PlanConfig, draw_plan
from neuro.protocol.roster import Roster
from neuro.sites.harmonize import Combat
from neuro.study import StudyConfig
from neuro.tokens import SliceSpec

COMBAT = "connectivity + ComBat + SVM"
CONFOUNDS = ["age + sex", "head motion", "site"]


def roster_of(table: pd.DataFrame) -> Roster:
    """As if every row were a run of its own."""
    return Roster(
        run_ids=np.array([f"run-{i}" for i in range(len(table))], dtype=object),
        labels=table["label"].to_numpy(np.int64),
        people=table["person"].to_numpy(object),
        sites=table["site"].to_numpy(object),
    )


def planned(cache: Cache, study: StudyConfig) -> Plan:
    return draw_plan(roster_of(cache.table), study.plan)


def named(cache: Cache, study: StudyConfig) -> dict[str, Contender]:
    found = contenders(cache, study, planned(cache, study))
    return {contender.name: contender for contender in found}


def with_table(cache: Cache, **columns: object) -> Cache:
    return replace(cache, table=cache.table.assign(**columns))


def repeated(cache: Cache, times: int) -> Cache:
    """As many times the people, who share the runs."""
    many = replace(cache, table=pd.concat([cache.table] * times, ignore_index=True))
    many.table["person"] = [f"sub-{i}" for i in range(len(many.table))]
    return many


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few features and no tokens, where it is not they that are tested."""

    def features(runs: Iterable[Any]) -> np.ndarray:
        return np.random.default_rng(0).normal(size=(len(list(runs)), 20)).astype(np.float32)

    def cut(cache: Cache, *_: object) -> list[Any]:
        return [None] * len(cache)

    monkeypatch.setattr(module, "connectivity_features", features)
    monkeypatch.setattr(module, "cut_runs", cut)


def test_a_cohort_of_voxels_gets_these(cache: Cache, study: StudyConfig) -> None:
    found = named(cache, study)
    assert list(found) == [TRANSFORMER, CONNECTIVITY, *CONFOUNDS, MAJORITY]
    assert [name for name, one in found.items() if not one.sees_scans] == [*CONFOUNDS, MAJORITY]
    assert all(len(one.X) == len(cache) for one in found.values())
    assert not any(hasattr(one.estimator, "classes_") for one in found.values())


def test_settings_to_choose_among_are_the_transformers(cache: Cache, study: StudyConfig, quick: None) -> None:
    grid = ({"seed": 0}, {"seed": 1})
    found = named(cache, replace(study, grid=grid))
    assert {name: tuple(one.grid) for name, one in found.items() if len(one.grid) > 1} == {TRANSFORMER: grid}


def test_sites_bring_combat_which_is_fitted_in_every_fold(
    cache: Cache, study: StudyConfig, quick: None
) -> None:
    many = repeated(cache, 3)
    contender, plan = named(many, study)[COMBAT], planned(many, study)
    outcome = evaluate([contender], roster_of(many.table), plan).outcomes[0]
    for fold, ready in zip(plan.within[0], outcome.settled, strict=True):
        combat = ready.estimator[0]
        assert isinstance(combat, Combat)
        assert set(combat.effects_) == set(many.table["site"])
        np.testing.assert_allclose(
            combat.mean_, contender.X.iloc[fold.train].drop(columns="site").to_numpy().mean(0), atol=0.2
        )
        train = contender.X.iloc[fold.train]
        again = Combat().fit(train, many.table["label"].to_numpy()[fold.train])
        np.testing.assert_array_equal(combat.mean_, again.mean_)


@pytest.mark.parametrize("sites", ["as they are", "one", "label", "each"])
def test_no_combat_where_it_could_do_nothing_or_harm(
    cache: Cache, study: StudyConfig, quick: None, sites: str
) -> None:
    many = repeated(cache, 3)
    column = {
        "as they are": many.table["site"],
        "one": "A",
        "label": many.table["label"].map({0: "A", 1: "B"}),
        "each": many.table["person"],
    }[sites]
    study = replace(study, plan=replace(study.plan, across=sites == "as they are"))
    assert (COMBAT in named(with_table(many, site=column), study)) == (sites == "as they are")


def test_no_combat_where_inner_folds_have_too_few_runs_of_a_site(
    cache: Cache, study: StudyConfig, quick: None
) -> None:
    """Six people train, three of whom train on an inner fold: no site has three."""
    assert COMBAT not in named(cache, study)
    assert COMBAT in named(repeated(cache, 3), study)


def test_age_and_sex_are_preserved_where_there_are_runs_enough(
    cache: Cache, study: StudyConfig, quick: None
) -> None:
    assert named(repeated(cache, 3), study)[COMBAT].X.columns[-1] == "site"
    contender = named(repeated(cache, 9), study)[COMBAT]
    assert list(contender.X.columns[-3:]) == ["site", "age", "sex"]
    assert contender.note.endswith("within each training fold, age and sex preserved")


def test_slices_are_cut_and_seen_by_the_transformer(cache: Cache, study: StudyConfig) -> None:
    name = "scratch:vit_tiny_patch16_224/embed_dim=16,depth=1,num_heads=2,img_size=64"
    found = named(cache, replace(study, tokens=SliceSpec(backbone=name, frames=4)))[TRANSFORMER]
    assert found.note.endswith("slice tokens")
    assert {run.layout.kind for run in found.X} == {"slice"}
    assert {run.layout.regions for run in found.X} == {9}


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"model": None}, "small ViT, initialised from scratch; tubelet tokens"),
        ({"model": ModelConfig(backbone="timm:vit_x")}, "timm:vit_x, fine-tuned; tubelet tokens"),
        ({"init_from": "a/run"}, "started from a/run; tubelet tokens"),
    ],
)
def test_a_reader_is_told_what_the_transformer_begins_with(
    cache: Cache, study: StudyConfig, quick: None, change: dict[str, Any], note: str
) -> None:
    assert named(cache, replace(study, **change))[TRANSFORMER].note == note


def test_progress_is_told_of_every_loop_over_runs(cache: Cache, study: StudyConfig) -> None:
    told: list[tuple[str, int]] = []

    def track(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
        told.append((what, total))
        return items

    contenders(cache, replace(study, tangent=True), planned(cache, study), track)
    assert told == [("Tokens", 12), ("Connectivity", 12), ("Tangent space", 12)]


# What is known beside the scan

PEOPLE = 60
KNOWN = pd.DataFrame(
    {
        "age": np.random.default_rng(0).integers(50, 80, PEOPLE).astype(float),
        "sex": np.random.default_rng(1).choice(["F", "M"], PEOPLE),
        "fd_mean": np.random.default_rng(2).lognormal(-2, 0.5, PEOPLE),
        "site": np.array(["A", "B"])[np.arange(PEOPLE) // 2 % 2],
        "label": np.arange(PEOPLE) % 2,
        "person": [f"sub-{i:02d}" for i in range(PEOPLE)],
    }
)


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        ({}, [["age", "sex"], ["fd_mean"], ["site"]]),
        ({"age": 60.0}, [["sex"], ["fd_mean"], ["site"]]),
        ({"age": np.nan}, [["sex"], ["fd_mean"], ["site"]]),
        ({"age": 60.0, "sex": "n/a"}, [["fd_mean"], ["site"]]),
        ({"sex": ["F", "n/a"] * (PEOPLE // 2)}, [["age"], ["fd_mean"], ["site"]]),
        ({"fd_mean": 0.1}, [["age", "sex"], ["site"]]),
        ({"fd_mean": np.nan}, [["age", "sex"], ["site"]]),
        ({"site": "A"}, [["age", "sex"], ["fd_mean"]]),
        ({"age": 1.0, "sex": "F", "fd_mean": 0.1, "site": "A"}, []),
    ],
)
def test_confounds_take_part_where_they_vary(change: dict[str, Any], columns: list[list[str]]) -> None:
    found = confound_contenders(KNOWN.assign(**change))
    assert [list(one.X.columns) for one in found] == columns
    assert not any(one.sees_scans for one in found)
    assert all(one.note.endswith("alone, logistic regression; no scan") for one in found)


def test_confounds_that_the_table_does_not_have_take_no_part() -> None:
    found = confound_contenders(KNOWN.drop(columns=["sex", "fd_mean"]))
    assert [(one.name, list(one.X.columns)) for one in found] == [("age + sex", ["age"]), ("site", ["site"])]
    assert found[0].note == "age alone, logistic regression; no scan"


def test_covariates_are_standard_scores_and_levels_of_the_training_rows() -> None:
    train, test = KNOWN.iloc[:40][["age", "sex"]], KNOWN.iloc[40:][["age", "sex"]]
    found = CodedCovariates().fit(train).transform(test)
    male = (train["sex"] == "M").mean()
    expected = [(test["age"] - train["age"].mean()) / train["age"].std(ddof=0), (test["sex"] == "M") - male]
    np.testing.assert_allclose(found, np.column_stack([np.zeros(20), *expected]))


def test_what_is_missing_or_unknown_counts_as_the_training_average() -> None:
    columns = KNOWN[["age", "sex", "site"]].astype(object)
    columns.loc[::9, "age"] = np.nan
    columns.loc[1::9, "sex"] = "n/a"
    y = ((KNOWN["age"] > 65) ^ (KNOWN["fd_mean"] > 0.25)).to_numpy(int)
    model = confound_model().fit(columns, y)
    assert np.abs(model[-1].coef_).max() > 0.1
    strange = pd.DataFrame(
        {"age": [np.nan, "n/a", None], "sex": ["diverse", "n/a", None], "site": ["C", "", np.nan]}
    )
    np.testing.assert_allclose(model.decision_function(strange), model[-1].intercept_[0])
    known = columns.iloc[2:5]
    assert np.ptp(model.decision_function(known)) > 0


def test_of_nothing_that_varies_the_model_says_one_thing() -> None:
    same = pd.DataFrame({"sex": ["F"] * 10})
    model = confound_model().fit(same, np.arange(10) % 2)
    assert np.ptp(model.decision_function(pd.DataFrame({"sex": ["F", "M", "n/a"]}))) == 0


def outcomes_of(table: pd.DataFrame) -> dict[str, Outcome]:
    roster = roster_of(table)
    plan = draw_plan(roster, PlanConfig(folds=3, repeats=1, inner=2))
    return {one.name: one for one in evaluate(confound_contenders(table), roster, plan).outcomes}


def test_a_label_that_age_tells_is_found_and_motion_that_tells_nothing_is_not() -> None:
    rng = np.random.default_rng(3)
    table = KNOWN.assign(age=60 + 20 * KNOWN["label"] + rng.normal(0, 2, PEOPLE), sex="F")
    found = outcomes_of(table)
    assert found["age + sex"].auc.estimate > 0.95
    assert 0.25 < found["head motion"].auc.estimate < 0.75


def test_at_a_site_that_it_does_not_know_the_site_says_nothing() -> None:
    label = (KNOWN["site"] == "A") == (np.arange(PEOPLE) % 10 < 7)
    table = KNOWN.assign(label=label.astype(int))
    found = outcomes_of(table)["site"]
    assert found.auc.estimate > 0.6
    assert found.figures_across["auc"].estimate == 0.5


# Tangent space


def series(count: int = 36, regions: int = 4) -> tuple[list[np.ndarray], np.ndarray]:
    """Noise; in patients the first two regions go together."""
    rng, labels = np.random.default_rng(5), np.arange(count) % 2
    runs = [rng.normal(size=(60 + i % 3, regions)) for i in range(count)]
    for run, label in zip(runs, labels, strict=True):
        run[:, 0] += 1.5 * label * run[:, 1]
    return runs, labels


def test_regions_that_are_flat_in_any_run_are_left_out_of_all() -> None:
    runs, _ = series(3, regions=5)
    runs[1][:, 2] = 7.0
    runs[2][:, 4] = 0.0
    found = without_flat(runs)
    for run, kept in zip(runs, found, strict=True):
        np.testing.assert_array_equal(kept, run[:, [0, 1, 3]])
        assert kept.flags["C_CONTIGUOUS"]


def test_the_tangent_space_is_that_of_the_training_side_alone() -> None:
    from nilearn.connectome import ConnectivityMeasure

    runs, labels = series()
    table = pd.DataFrame({"label": labels, "person": [f"p{i}" for i in range(len(runs))], "site": "A"})
    roster = roster_of(table)
    plan = draw_plan(roster, PlanConfig(folds=3, repeats=1, inner=2))
    contender = Contender(name=TANGENT, estimator=tangent_logistic(), X=runs)
    outcome = evaluate([contender], roster, plan).outcomes[0]
    assert outcome.auc.estimate > 0.95
    everybody = ConnectivityMeasure(kind="tangent", standardize="zscore_sample").fit(runs)
    for fold, ready in zip(plan.within[0], outcome.settled, strict=True):
        alone = ConnectivityMeasure(kind="tangent", standardize="zscore_sample")
        alone.fit([runs[i] for i in fold.train])
        measure, scaler = ready.estimator[0], ready.estimator[1]
        np.testing.assert_allclose(measure.mean_, alone.mean_)
        assert np.abs(measure.mean_ - everybody.mean_).max() > 1e-3
        assert isinstance(scaler, StandardScaler)
        assert scaler.n_samples_seen_ == len(fold.train)


def test_tangent_space_of_a_cohort_of_voxels_is_that_of_published_places(
    cache: Cache, study: StudyConfig
) -> None:
    found = named(cache, replace(study, tangent=True))
    assert list(found) == [TRANSFORMER, CONNECTIVITY, TANGENT, *CONFOUNDS, MAJORITY]
    contender = found[TANGENT]
    (regions,) = {run.shape[1] for run in contender.X}
    assert 100 < regions <= 160
    assert contender.note.startswith(f"{regions} regions, covariances at the training group's mean")
    assert [len(run) for run in contender.X] == cache.table["n_frames"].tolist()
    assert all(run.std(0).min() > 1e-6 for run in contender.X)
