"""Which contenders a cohort gets, and whom its folds keep together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data.caches.cache import Cache
from neuro.evaluate import Contender, evaluate
from neuro.harmonize import Combat
from neuro.model import ModelConfig
from neuro.study import StudyConfig, contenders, labels_and_people, study_folds
from neuro.tokens import SliceSpec

COMBAT = "connectivity + ComBat + SVM"


def named(cache: Cache, study: StudyConfig) -> dict[str, Contender]:
    return {contender.name: contender for contender in contenders(cache, study)}


def with_table(cache: Cache, **columns: object) -> Cache:
    return replace(cache, table=cache.table.assign(**columns))


def test_sites_bring_combat_which_is_fitted_in_every_fold(cache: Cache, study: StudyConfig) -> None:
    contender = named(cache, study)[COMBAT]
    labels, people = labels_and_people(cache)
    outcome = evaluate([contender], labels, people, study_folds(cache, study)).outcomes[0]
    sites = set(cache.table["site"])
    for (train, _), fitted in zip(study_folds(cache, study), outcome.fitted, strict=True):
        combat = fitted[0]
        assert isinstance(combat, Combat)
        assert set(combat.effects_) | set(combat.small_sites_) == sites
        train = train[contender.X["site"].iloc[train].isin(list(combat.effects_))]
        np.testing.assert_allclose(
            combat.mean_[combat.varying_].mean(),
            contender.X.iloc[train].drop(columns="site").to_numpy()[:, combat.varying_].mean(),
            atol=1e-5,
        )


@pytest.mark.parametrize("sites", ["one", "label", "each"])
def test_no_combat_where_it_could_do_nothing_or_harm(cache: Cache, study: StudyConfig, sites: str) -> None:
    column = {
        "one": "A",
        "label": cache.table["label"].map({0: "A", 1: "B"}),
        "each": cache.table["run_id"],
    }[sites]
    assert COMBAT not in named(with_table(cache, site=column), study)


def test_age_and_sex_are_preserved_where_there_are_runs_enough(cache: Cache, study: StudyConfig) -> None:
    assert named(cache, study)[COMBAT].X.columns[-1] == "site"
    many = replace(cache, table=pd.concat([cache.table] * 9, ignore_index=True))
    many.table["person"] = [f"sub-{i}" for i in range(len(many.table))]
    contender = named(many, study)[COMBAT]
    assert list(contender.X.columns[-3:]) == ["site", "age", "sex"]
    assert contender.note.endswith("within each training fold, age and sex preserved")


def test_people_are_persons_where_the_table_says_who_they_are(cache: Cache) -> None:
    persons = [f"p{i // 2}" for i in range(len(cache))]
    assert labels_and_people(with_table(cache, person=persons))[1].tolist() == persons


def test_slices_are_cut_and_seen_by_the_transformer(cache: Cache, study: StudyConfig) -> None:
    name = "scratch:vit_tiny_patch16_224/embed_dim=16,depth=1,num_heads=2,img_size=64"
    found = contenders(cache, replace(study, tokens=SliceSpec(backbone=name, frames=4)))
    assert found[0].note.endswith("slice tokens")
    assert {run.layout.kind for run in found[0].X} == {"slice"}
    assert {run.layout.regions for run in found[0].X} == {9}


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"model": None}, "small ViT, initialised from scratch; tubelet tokens"),
        ({"model": ModelConfig(backbone="timm:vit_x")}, "timm:vit_x, fine-tuned; tubelet tokens"),
        ({"init_from": "a/run"}, "started from a/run; tubelet tokens"),
    ],
)
def test_a_reader_is_told_what_the_transformer_begins_with(
    cache: Cache, study: StudyConfig, change: dict[str, object], note: str
) -> None:
    assert contenders(cache, replace(study, **change))[0].note == note


def test_progress_is_told_of_every_loop_over_runs(cache: Cache, study: StudyConfig) -> None:
    told: list[tuple[str, int]] = []

    def track(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
        told.append((what, total))
        return items

    contenders(cache, study, track)
    assert told == [("Tokens", 12), ("Connectivity", 12)]
