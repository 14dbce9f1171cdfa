"""Features of a frozen encoder, each computed once, give the scores of the whole Transformer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from neuro.classifier import ParkinsonClassifier
from neuro.model import ModelConfig
from neuro.protocol import frozen_features
from neuro.protocol.contender import Contender
from neuro.protocol.evaluation import evaluate
from neuro.protocol.frozen_features import on_frozen_features
from neuro.protocol.permutation import FEWEST, Permutations
from neuro.protocol.pipeline import permuted_pipeline, pipeline_auc
from neuro.protocol.plan import PlanConfig, draw_plan
from neuro.protocol.roster import Roster
from neuro.training.config import Adaptation, TrainingConfig

from .toy_runs import TINY, toy_cohort

C = "training__adaptation__svm_c"


def machine_contender(count: int = 12, **adaptation: Any) -> tuple[Contender, Roster]:
    runs, labels = toy_cohort(count)
    labels = np.random.default_rng(6).permutation(labels)  # what is planted would give 1 in any case
    training = TrainingConfig(adaptation=Adaptation(method="svm", **adaptation))
    classifier = ParkinsonClassifier(
        model=ModelConfig(backbone=TINY, readout="places"), training=training, seed=2, device="cpu"
    )
    return Contender(name="ours", estimator=classifier, X=runs), _roster(labels)


@pytest.mark.parametrize("grid", [({},), ({C: 0.01}, {C: 1.0})], ids=["one", "two"])
def test_features_of_a_frozen_encoder_give_the_same_scores(grid: Any) -> None:
    contender, roster = machine_contender(svm_c=0.1)
    contender = replace(contender, grid=grid)
    frozen = on_frozen_features(contender)
    assert frozen.X.shape[0] == 12
    plan = draw_plan(roster, PlanConfig(folds=2, repeats=1, inner=2, across=False))
    (slow,), (fast,) = (evaluate([one], roster, plan).outcomes for one in (contender, frozen))
    spread = float(np.ptp(slow.within.scores))
    np.testing.assert_allclose(fast.within.scores, slow.within.scores, rtol=0, atol=1e-3 * spread)
    assert [chosen.get("c") for chosen in fast.chosen] == [chosen.get(C) for chosen in slow.chosen]
    assert len(np.unique(slow.within.scores)) == 12
    assert pipeline_auc(frozen, roster, plan.config, roster.labels) == pytest.approx(slow.auc.estimate)


def test_a_frozen_encoder_sees_each_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    contender, roster = machine_contender()
    seen: list[str] = []
    look = frozen_features.run_features
    monkeypatch.setattr(
        frozen_features, "run_features", lambda model, run: seen.append(run.run_id) or look(model, run)
    )
    config = PlanConfig(folds=2, repeats=1, inner=2)
    found = permuted_pipeline(contender, roster, config, Permutations(count=FEWEST))
    assert seen == [run.run_id for run in contender.X]
    assert found.permutations == FEWEST
    assert len(set(found.null)) > 5


def test_what_labels_reach_is_left_as_it_is() -> None:
    contender, _ = machine_contender()
    for other in (
        replace(contender, estimator=LogisticRegression()),
        replace(contender, grid=({C: 1.0}, {"model__readout": "places"})),
        replace(contender, estimator=ParkinsonClassifier(model=ModelConfig(backbone=TINY))),
        replace(contender, estimator=ParkinsonClassifier(training=TrainingConfig())),
    ):
        assert on_frozen_features(other) is other


def _roster(labels: Any) -> Roster:
    names = np.array([f"sub-{number}" for number in range(len(labels))], dtype=object)
    return Roster(run_ids=names, labels=labels, people=names, sites=np.full(len(labels), "A", object))
