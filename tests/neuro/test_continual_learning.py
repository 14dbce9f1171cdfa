"""What each strategy does to a site that was learned before, and who is tested on what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from data.errors import LeakError, ParameterError, UnknownNameError
from neuro.continual import trials as trials_module
from neuro.continual.config import STRATEGIES, Margins, Strategy, UpdateConfig, known, training_of_update
from neuro.continual.learning import Learned, missing, updated
from neuro.continual.runs import Runs
from neuro.continual.trials import (
    Said,
    Trials,
    checked_trials,
    learned_afresh,
    nested_trials,
    run_trials,
)
from neuro.training.config import Adaptation, TrainingConfig

from .toy_sites import classifier, site


@pytest.fixture(scope="module")
def parent() -> Learned:
    """Of site A, where one pair of regions tells; it is told well, and the other pair says nothing yet."""
    return learned_afresh(classifier(), site("A", 24), STRATEGIES)


@pytest.fixture(scope="module")
def config(parent: Learned) -> UpdateConfig:
    return UpdateConfig(training=training_of_update(parent.classifier.training))


def log_loss(model: Any, runs: Runs) -> float:
    logits = model.decision_function(runs.tokens)
    return float(np.logaddexp(0, np.where(runs.labels == 1, -logits, logits)).mean())


OLD = site("unseen A", 40)


def test_going_on_alone_forgets_what_replay_and_ewc_hold_on_to(parent: Learned, config: UpdateConfig) -> None:
    new, new_unseen = site("B", 24, pair=(3, 4)), site("unseen B", 40, pair=(3, 4))
    before = log_loss(parent.classifier, new_unseen)
    weights = {name: p.clone() for name, p in parent.classifier.model_.state_dict().items()}
    names: list[Strategy] = ["naive", "replay", "ewc", "replay+ewc"]
    models = {name: updated(parent, new, name, config) for name in names}
    old = {name: log_loss(model, OLD) for name, model in models.items()}
    assert all(log_loss(model, new_unseen) < before / 2 for model in models.values())
    assert all(old[name] < 0.7 * old["naive"] for name in ("replay", "ewc", "replay+ewc"))
    assert parent.classifier.model_.state_dict().keys() == weights.keys()
    assert all(torch.equal(p, weights[name]) for name, p in parent.classifier.model_.state_dict().items())
    assert all(p.requires_grad for p in models["ewc"].model_.parameters())
    people = models["naive"].people_
    assert people is not None
    assert set(people) == set(site("A", 24).people) | set(new.people)


def test_an_update_is_the_same_each_time(parent: Learned, config: UpdateConfig) -> None:
    new, short = site("B", 6), replace(config, training=replace(config.training, epochs=1), memory=4)
    first, second = (updated(parent, new, "replay+ewc", short) for _ in range(2))
    pairs = zip(first.model_.parameters(), second.model_.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_new_site_of_patients_alone_can_be_learned(parent: Learned, config: UpdateConfig) -> None:
    new = site("B", 8)
    sick = new.rows(np.flatnonzero(new.labels == 1))
    short = replace(config, training=replace(config.training, epochs=1))
    assert np.isfinite(updated(parent, sick, "replay", short).decision_function(sick.tokens)).all()


def test_a_strategy_says_what_it_lacks(parent: Learned, config: UpdateConfig) -> None:
    without = replace(parent, runs=None)
    lacking = {name for name in STRATEGIES if missing(name, without, config)}
    assert lacking == {"replay", "replay+ewc", "cumulative"}
    nothing = replace(without, importance=None)
    assert {name for name in STRATEGIES if not missing(name, nothing, config)} == {"naive"}
    with pytest.raises(
        ParameterError, match=r"strategy must be one that can do without the old scans \(--old"
    ):
        updated(without, site("B", 4), "replay", config)
    lora = replace(config, training=replace(config.training, adaptation=Adaptation(method="lora")))
    assert "lora" in missing("ewc", parent, lora)
    assert not missing("naive", parent, lora)
    at_once = replace(config, training=replace(config.training, adaptation=Adaptation(method="svm")))
    assert [name for name in STRATEGIES if not missing(name, parent, at_once)] == ["cumulative"]
    with pytest.raises(UnknownNameError, match="replay"):
        known("reply")


def test_options_that_cannot_work_are_refused() -> None:
    for wrong in ({"memory": 1}, {"share": 0.0}, {"share": 1.0}, {"strength": -1.0}):
        with pytest.raises(ParameterError):
            UpdateConfig(**wrong)
    for wrong in ({"auc": -0.1}, {"log_loss": -0.1}):
        with pytest.raises(ParameterError):
            Margins(**wrong)


def test_an_update_watches_nobody_and_learns_more_slowly() -> None:
    watched = TrainingConfig(validation_share=0.2, patience=2)
    found = training_of_update(watched)
    assert (found.validation_share, found.patience) == (0.0, None)
    assert found.optimizer.learning_rate < watched.optimizer.learning_rate
    assert found.epochs == watched.epochs


class Spy:
    """Stands for a classifier: says how often it was trained, and notes whom it saw and tests."""

    def __init__(self, seen: set[str]):
        self.seen = seen

    def decision_function(self, tokens: Sequence[Any]) -> np.ndarray:
        assert not {run.run_id for run in tokens} & self.seen  # in these sites a person's name, too
        return np.full(len(tokens), float(len(self.seen)))


def spied(monkeypatch: pytest.MonkeyPatch, trials: Trials, parent: Any) -> Said:
    """The trials with spies instead of trainings, which are told whom they see."""

    def afresh(_classifier: Any, runs: Runs, _strategies: Any) -> Learned:
        made: Any = Spy(set(runs.people))
        return Learned(classifier=made, runs=runs, importance=None)

    def update(known: Any, new: Runs, _strategy: Any, _config: Any) -> Any:
        return Spy(known.classifier.seen | set(new.people))

    monkeypatch.setattr(trials_module, "learned_afresh", afresh)
    monkeypatch.setattr(trials_module, "updated", update)
    steps = run_trials(trials, parent, ["naive", "replay"], UpdateConfig())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            said: Said = end.value
            return said


def test_old_and_new_people_are_tested_by_models_that_saw_them_at_no_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = site("A", 16) + site("C", 8), site("B", 12)
    trials = nested_trials(old, new, folds=4, seed=0)
    said = spied(monkeypatch, trials, Learned(classifier=classifier(), runs=old, importance=None))
    assert not trials.of_the_parent
    assert trials.is_new.sum() == 12
    assert sorted(np.concatenate([deal.tested for deal in trials.deals])) == list(range(36))
    assert set(trials.fold_of) == {0, 1, 2, 3}
    assert (said.before == 18).all()  # three quarters of the old people
    assert (said.after["replay"] == 27).all()  # and of the new ones
    assert not said.kept


def test_who_came_to_both_sites_is_on_one_side() -> None:
    old, new = site("A", 16), site("B", 12)
    new = replace(new, people=np.array([*old.people[:4], *new.people[4:]], dtype=object))
    trials = nested_trials(old, new, folds=3, seed=1)
    people = trials.everybody.people
    for deal in trials.deals:
        assert deal.before is not None
        assert not (set(deal.before.people) | set(deal.new.people)) & set(people[deal.tested])
    other = replace(new, labels=1 - new.labels)
    with pytest.raises(ParameterError, match="one a person"):
        nested_trials(old, other, folds=3, seed=1)
    with pytest.raises(ParameterError, match="take fewer folds"):
        nested_trials(old, site("B", 4), folds=11, seed=0)


def test_the_parent_itself_is_tested_on_people_it_has_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    check, new = site("unseen A", 10), site("B", 12)
    new = replace(new, people=np.array(["A-0", "A-1", *new.people[2:]], dtype=object))
    seen = [f"A-{number}" for number in range(24)]
    trials = checked_trials(check, new, seen, folds=5, seed=0)
    spy: Any = Learned(classifier=Spy(set(seen)), runs=None, importance=None)  # type: ignore[arg-type]
    said = spied(monkeypatch, trials, spy)
    assert trials.of_the_parent
    assert len(trials.everybody) == 10 + 10  # two of the new ones are known to the parent
    assert (said.before == 24).all()
    old = ~trials.is_new
    assert (said.after["naive"][old] == 24 + 10).all()  # the very update: all new people, two known before
    assert (said.after["naive"][~old] == 24 + 8).all()
    assert set(said.kept) == {"naive", "replay"}
    with pytest.raises(LeakError, match=r"got 1 of them \(A-3\)"):
        checked_trials(
            replace(check, people=np.array(["A-3", *check.people[1:]], object)), new, seen, folds=5, seed=0
        )
    with pytest.raises(LeakError, match="B-5"):
        checked_trials(check + new.rows([5]), new, seen, folds=5, seed=0)
