"""The plan: nobody on both sides, inner folds out of the training side, the same when read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import BadFileError, FingerprintMismatchError, LeakError, ParameterError
from data.splits.nested_splits import NestedFold
from neuro.protocol.plan import Plan, PlanConfig, draw_plan, load_plan, require_tested_once, save_plan
from neuro.protocol.roster import Roster

CONFIG = PlanConfig(folds=3, repeats=2, inner=2)


def roster(people: int = 24, sites: int = 2, runs: int = 2) -> Roster:
    """Half of them patients, `runs` runs each, sites in turn."""
    person = np.repeat(np.arange(people), runs)
    return Roster(
        run_ids=np.array([f"run-{i}" for i in range(people * runs)], dtype=object),
        labels=person % 2,
        people=np.array([f"sub-{i}" for i in person], dtype=object),
        sites=np.array([f"site-{i // 2 % sites}" for i in person], dtype=object),
    )


def all_folds(plan: Plan) -> list[NestedFold]:
    return [fold for _, _, folds in plan.deals() for fold in folds]


@given(st.integers(18, 40), st.integers(1, 3), st.integers(1, 3), st.integers(0, 9))
def test_nobody_stands_on_both_sides(people: int, sites: int, runs: int, seed: int) -> None:
    found = roster(people, sites, runs)
    plan = draw_plan(found, replace(CONFIG, seed=seed))
    for fold in all_folds(plan):
        assert not set(found.people[fold.train]) & set(found.people[fold.test])
        for train, validation in fold.inner:
            assert not set(found.people[train]) & set(found.people[validation])
            assert set(train) | set(validation) == set(fold.train)
    for folds in plan.within:
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(found)))


def test_deals_differ_and_seeds_repeat() -> None:
    plan = draw_plan(roster(), CONFIG)
    tests = [[fold.test.tolist() for fold in folds] for folds in plan.within]
    assert tests[0] != tests[1]
    again = draw_plan(roster(), CONFIG)
    assert tests == [[fold.test.tolist() for fold in folds] for folds in again.within]
    assert plan.models == 3 * 2 + 2


def test_each_site_is_tested_by_models_of_the_others() -> None:
    found = roster(sites=3)
    plan = draw_plan(found, CONFIG)
    assert [set(found.sites[fold.test]) for fold in plan.across] == [{"site-0"}, {"site-1"}, {"site-2"}]
    for fold in plan.across:
        assert not set(found.sites[fold.train]) & set(found.sites[fold.test])


@pytest.mark.parametrize("case", ["one site", "a site of patients alone", "not asked for"])
def test_sites_are_not_compared_where_it_cannot_be_asked(case: str) -> None:
    found = roster(sites=1 if case == "one site" else 2)
    if case == "a site of patients alone":
        found = replace(found, sites=np.where(found.labels == 1, "A", "B").astype(object))
    plan = draw_plan(found, replace(CONFIG, across=case != "not asked for"))
    assert plan.across == []
    assert [scheme for scheme, _, _ in plan.deals()] == ["within", "within"]


def test_a_plan_is_the_same_when_read_again_whatever_the_order_of_runs(tmp_path: Path) -> None:
    found = roster()
    plan = draw_plan(found, CONFIG)
    path = save_plan(plan, found, tmp_path / "splits.json")
    order = np.random.default_rng(0).permutation(len(found))
    shuffled = Roster(**{name: values[order] for name, values in vars(found).items()})
    again = load_plan(path, shuffled)
    assert again.config == plan.config
    assert again.models == plan.models
    for one, other in zip(all_folds(plan), all_folds(again), strict=True):
        assert set(found.run_ids[one.train]) == set(shuffled.run_ids[other.train])
        assert set(found.run_ids[one.test]) == set(shuffled.run_ids[other.test])
        for (train, test), (train_again, test_again) in zip(one.inner, other.inner, strict=True):
            assert set(found.run_ids[train]) == set(shuffled.run_ids[train_again])
            assert set(found.run_ids[test]) == set(shuffled.run_ids[test_again])


def test_a_plan_of_other_runs_is_refused(tmp_path: Path) -> None:
    path = save_plan(draw_plan(roster(), CONFIG), roster(), tmp_path / "splits.json")
    with pytest.raises(
        FingerprintMismatchError, match="of the runs that are evaluated, got 4 runs that only"
    ):
        load_plan(path, roster(people=26))


def test_a_plan_with_a_leak_is_refused(tmp_path: Path) -> None:
    path = save_plan(draw_plan(roster(), CONFIG), roster(), tmp_path / "splits.json")
    content = json.loads(path.read_text())
    fold = content["within"][0][0]
    fold["train"].append(fold["test"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(LeakError, match="different people"):
        load_plan(path, roster())


@pytest.mark.parametrize("text", ["", "[]", '{"format": 9}', '{"format": 1, "runs": null}', "{}"])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "splits.json"
    path.write_text(text)
    with pytest.raises(BadFileError, match="splits must be a file that `neuro evaluate` wrote"):
        load_plan(path, roster())


def test_too_few_people_are_refused() -> None:
    with pytest.raises(ParameterError, match="inner n_splits of outer fold 1 of 3"):
        draw_plan(roster(people=8), replace(CONFIG, inner=4))


def test_a_run_tested_twice_is_refused() -> None:
    fold = draw_plan(roster(), CONFIG).within[0][0]
    with pytest.raises(ParameterError, match="no run is tested twice"):
        require_tested_once([fold, fold], 48)


def test_a_roster_is_checked() -> None:
    found = roster()
    with pytest.raises(ParameterError, match="labels must be one a run"):
        replace(found, labels=found.labels[:-1])
    with pytest.raises(ParameterError, match="run_ids must be all different"):
        replace(found, run_ids=np.array(["a"] * len(found), dtype=object))
