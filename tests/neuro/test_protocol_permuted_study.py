"""Permutations from the command line to the folder of an evaluation, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress
from sklearn.linear_model import LogisticRegression

from data.caches.cache import Cache
from neuro.cli import main
from neuro.conduct import _with_permuted
from neuro.protocol.contender import Contender
from neuro.protocol.evaluation import Evaluation, evaluate
from neuro.protocol.permutation import FEWEST
from neuro.protocol.plan import PlanConfig, draw_plan, save_plan
from neuro.protocol.results import load_results, results_of, write_results
from neuro.protocol.roster import Roster
from neuro.protocol.verdict import VerdictConfig, verdict
from neuro.report.findings import find
from neuro.study import StudyConfig

from .conftest import TINY_BACKBONE
from .made_results import made_results

FACTS: dict[str, Any] = {"protocol": [["Split", "2 folds"]], "coverage": None}


def logistic(labels: Any, effect: float) -> Contender:
    X = np.random.default_rng(3).normal(size=(len(labels), 3)) + effect * np.asarray(labels)[:, None]
    return Contender(name="ours", estimator=LogisticRegression(), X=X)


@pytest.fixture
def evaluation() -> Evaluation:
    table = made_results(people=40).table
    columns = {name: table[column].to_numpy() for name, column in (("people", "person"), ("sites", "site"))}
    roster = Roster(run_ids=table["run_id"].to_numpy(), labels=table["label"].to_numpy(np.int64), **columns)
    return evaluate(
        [logistic(roster.labels, 1.5), replace(logistic(roster.labels, 0.0), name="other")],
        roster,
        draw_plan(roster, PlanConfig(folds=2, repeats=2, inner=2)),
    )


@pytest.mark.parametrize("own_folds", [True, False])
def test_permutations_stand_beside_what_was_found(
    evaluation: Evaluation, tmp_path: Path, own_folds: bool
) -> None:
    table, config = made_results(people=40).table, StudyConfig(permutations=FEWEST, seed=3)
    plain = results_of(evaluation, table, FACTS)
    with Progress(disable=True) as progress:
        results = _with_permuted(plain, evaluation, config, progress, own_folds=own_folds)
        (bar,) = progress.tasks
    assert (bar.description, bar.completed, bar.total) == ("Permutations", FEWEST, FEWEST)
    write_results(results, evaluation, tmp_path)
    read = load_results(tmp_path)
    assert read.permuted is not None
    assert read.permuted == results.permuted
    assert read.permuted.observed == pytest.approx(read.ours.figures["auc"].estimate, abs=1e-12)
    assert len(read.permuted.null) == FEWEST
    assert np.mean(read.permuted.null) == pytest.approx(0.5, abs=0.1)
    first, (term, words) = read.facts["protocol"]
    assert (first, term) == (FACTS["protocol"][0], "Permutation test")
    assert words.startswith("39 permutations, of labels between people, within sites;")
    assert ("from a file" in words) is not own_folds


def test_a_verdict_goes_by_the_permuted_pipeline_where_there_is_one(evaluation: Evaluation) -> None:
    plain = results_of(evaluation, made_results(people=40).table, FACTS)
    with Progress(disable=True) as progress:
        permuted = _with_permuted(
            plain, evaluation, StudyConfig(permutations=FEWEST), progress, own_folds=True
        )
    chance = find(permuted).verdict.chance
    assert chance.permuted is permuted.permuted
    assert permuted.permuted is not None
    assert (chance.p_value, chance.answer) == (permuted.permuted.two_sided, "above")
    assert chance.p_value == pytest.approx(2 / 40)
    assert chance.test.endswith("two-sided; 39 permutations")
    cut = replace(permuted.permuted, null=permuted.permuted.null[:9], p_value=1 / 10)
    short = verdict(permuted.ours.within, [], [], chance=cut, config=VerdictConfig(resamples=200)).chance
    assert short.answer == "not shown"
    assert "cannot be said: so few permutations can show no p below 0.2" in short.words
    assert short.test.endswith("9 permutations, as time allowed no more of the 39 that were asked for")


def test_the_command_refuses_permutations_that_can_show_nothing(
    run_command: Callable[..., Any], cache: Cache, tmp_path: Path
) -> None:
    new = ("evaluate", cache.root, "--out", tmp_path / "new", "--backbone", TINY_BACKBONE)
    for options, words in (
        (("--permutations", FEWEST - 1), "permutations must be 0, for none, or at least 39, got 38"),
        (
            ("--permutations", FEWEST, "--permutation-minutes", 0),
            "permutation minutes must be positive and finite, got 0.0",
        ),
    ):
        told = run_command(main, "neuro", *new, *options)
        assert (told.code, told.out) == (2, "")
        assert words in told.err.strip().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_permutes(run_command: Callable[..., Any], cache: Cache, tmp_path: Path) -> None:
    roster, out = Roster.of(cache), tmp_path / "out"
    config = PlanConfig(folds=2, repeats=1, inner=2, across=False, seed=9)
    splits = save_plan(draw_plan(roster, config), roster, tmp_path / "splits.json")
    told = run_command(
        main,
        "neuro",
        *("evaluate", cache.root, "--out", out, "--splits", splits, "--permutations", FEWEST),
        *("--preset", "places", "--set", "tokens.kind=tubelet", "--backbone", TINY_BACKBONE),
        *("--no-tangent", "--device", "cpu", "--seed", 4),
    )
    assert told.code == 0, told.err
    assert "Permutations" in told.err
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert content["facts"]["seeds"] == {"plan": 9, "training": 4, "permutations": 4}
    assert content["facts"]["cohort_digest"] == roster.digest(cache.identity)
    assert content["facts"]["code"]["chiasm"]
    found = load_results(out)
    assert found.permuted is not None
    assert found.permuted.permutations == FEWEST
    assert found.permuted.observed == pytest.approx(found.ours.figures["auc"].estimate, abs=1e-9)
    assert (
        "The folds of the evaluation are from a file"
        in dict(content["facts"]["protocol"])["Permutation test"]
    )
    assert "39 permutations" in (out / "report.html").read_text(encoding="utf-8")
