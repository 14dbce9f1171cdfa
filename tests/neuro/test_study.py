"""Who is one person, and what a study trains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.caches.cache import Cache
from neuro.protocol.plan import draw_plan
from neuro.protocol.roster import Roster
from neuro.study import StudyConfig, labels_and_people


@pytest.fixture
def twice(cache: Cache) -> Cache:
    """The same runs, of half as many people: two of the same label each."""
    place = cache.table.groupby("label").cumcount() // 2
    persons = [f"{label}-{number}" for label, number in zip(cache.table["label"], place, strict=True)]
    return replace(cache, table=cache.table.assign(person=persons))


def test_people_are_persons_where_the_table_says_who_they_are(cache: Cache, twice: Cache) -> None:
    persons = twice.table["person"].tolist()
    assert len(set(persons)) == 6
    assert labels_and_people(twice)[1].tolist() == persons
    roster = Roster.of(twice)
    assert roster.people.tolist() == persons
    assert roster.run_ids.tolist() == cache.table["run_id"].tolist()
    assert roster.sites.tolist() == cache.table["site"].tolist()
    assert roster.labels.tolist() == labels_and_people(cache)[0].tolist()


def test_folds_keep_a_persons_runs_together(twice: Cache, study: StudyConfig) -> None:
    roster = Roster.of(twice)
    plan = draw_plan(roster, replace(study.plan, folds=3, inner=2, across=False))
    sides = [fold for folds in plan.within for fold in folds]
    inner = [pair for fold in sides for pair in fold.inner]
    for train, test in [*((fold.train, fold.test) for fold in sides), *inner]:
        assert not set(roster.people[train]) & set(roster.people[test])


def test_the_classifier_is_that_of_the_configuration(study: StudyConfig) -> None:
    made = replace(study, init_from="a/run", seed=7).classifier()
    assert (made.model, made.training) == (study.model, study.training)
    assert (made.init_from, made.seed, made.device) == ("a/run", 7, "cpu")
    assert not hasattr(made, "model_")
