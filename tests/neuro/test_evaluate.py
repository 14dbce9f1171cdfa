"""The protocol: nobody on both sides, everything learned inside the fold, figures checked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier

from data.errors import LeakError, ParameterError
from data.splits.folds import Fold, subject_folds
from neuro.baselines import connectivity_svm, majority
from neuro.evaluate import Contender, Evaluation, evaluate, evaluate_steps, results_table, write_results

PEOPLE = np.repeat([f"sub-{i:02d}" for i in range(12)], 2).astype(object)
LABELS = np.repeat(np.arange(12) % 2, 2)
FOLDS = subject_folds(LABELS, PEOPLE, n_splits=3)


class Recorder(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Knows the rows it was fitted on, and answers with the row it is shown: column `column`."""

    log: list[tuple[str, list[float]]] = []  # noqa: RUF012 (clones share it on purpose)

    def __init__(self, column: int = 1):
        self.column = column

    def fit(self, X: Any, y: Any) -> Recorder:
        self.classes_ = np.unique(y)
        self.log.append(("fit", np.asarray(X)[:, 0].tolist()))
        self.labels_ = np.asarray(y)
        return self

    def decision_function(self, X: Any) -> Any:
        self.log.append(("test", np.asarray(X)[:, 0].tolist()))
        return np.asarray(X)[:, self.column]


@pytest.fixture
def record() -> list[tuple[str, list[float]]]:
    Recorder.log.clear()
    return Recorder.log


def rows(*columns: Any) -> np.ndarray:
    return np.column_stack([np.arange(len(LABELS)), *columns]).astype(float)


def test_a_leak_stops_everything_before_anything_is_fitted(record: list[Any]) -> None:
    train, test = FOLDS[0]
    leaky: list[Fold] = [FOLDS[1], (np.append(train, test[0]), test)]
    with pytest.raises(LeakError, match="different people, got 1 on both sides"):
        evaluate([Contender(name="x", estimator=Recorder(), X=rows(LABELS))], LABELS, PEOPLE, leaky)
    assert not record


def test_another_run_of_the_same_person_is_a_leak() -> None:
    half = np.arange(24)[::2], np.arange(24)[1::2]
    with pytest.raises(LeakError, match="12 on both sides"):
        evaluate([Contender(name="x", estimator=Recorder(), X=rows(LABELS))], LABELS, PEOPLE, [half])


def test_an_oracle_a_liar_and_one_who_says_nothing() -> None:
    evaluation = evaluate(
        [
            Contender(name="oracle", estimator=Recorder(), X=rows(LABELS - 0.5)),
            Contender(name="liar", estimator=Recorder(), X=rows(0.5 - LABELS)),
            Contender(name="silent", estimator=Recorder(), X=rows(np.zeros(24))),
            Contender(name="majority", estimator=DummyClassifier(), X=rows()),
        ],
        LABELS,
        PEOPLE,
        FOLDS,
    )
    oracle, liar, silent, majority = evaluation.outcomes
    assert (oracle.auc.estimate, oracle.auc.low, oracle.auc.high) == (1, 1, 1)
    assert (oracle.balanced_accuracy, oracle.sensitivity, oracle.specificity) == (1, 1, 1)
    assert (liar.auc.estimate, liar.balanced_accuracy, liar.sensitivity, liar.specificity) == (0, 0, 0, 0)
    for nothing in (silent, majority):
        assert (nothing.auc.estimate, nothing.auc.low, nothing.auc.high) == (0.5, 0.5, 0.5)
        assert (nothing.balanced_accuracy, nothing.sensitivity, nothing.specificity) == (0.5, 0, 1)


def test_a_score_of_another_scale_in_each_fold_costs_nothing() -> None:
    """What a majority of the training fold would betray of the test fold does not count either."""
    offset = np.zeros(24)
    for number, (_, test) in enumerate(FOLDS):
        offset[test] = 1000.0 * number
    scores = LABELS + offset
    found = evaluate(
        [Contender(name="x", estimator=Recorder(), X=rows(scores))], LABELS, PEOPLE, FOLDS
    ).outcomes[0]
    assert found.auc.estimate == 1
    np.testing.assert_array_equal(found.scores, scores)


def test_nothing_is_fitted_on_what_it_is_tested_on_and_all_get_the_same_folds(record: list[Any]) -> None:
    names = ["one", "two"]
    found = evaluate(
        [Contender(name=name, estimator=Recorder(), X=rows(LABELS)) for name in names], LABELS, PEOPLE, FOLDS
    )
    assert [what for what, _ in record] == ["fit", "test"] * 6
    assert record[:6] == record[6:]
    tested = []
    for (_, fitted), (_, test) in zip(record[::2], record[1::2], strict=True):
        assert not set(PEOPLE[np.array(fitted, int)]) & set(PEOPLE[np.array(test, int)])
        assert sorted(fitted + test) == list(range(24))
        tested += test
    assert sorted(tested[:24]) == list(range(24))
    for outcome in found.outcomes:
        assert len(outcome.fitted) == len(set(map(id, outcome.fitted))) == 3
        for estimator, (train, _) in zip(outcome.fitted, FOLDS, strict=True):
            np.testing.assert_array_equal(estimator.labels_, LABELS[train])
    for number, (_, test) in enumerate(FOLDS):
        assert (found.fold_of[test] == number).all()


def test_scaling_is_learned_inside_the_fold(rng: np.random.Generator) -> None:
    X = rng.normal(size=(24, 4)) + 10 * np.arange(24)[:, None]
    found = evaluate([Contender(name="svm", estimator=connectivity_svm(), X=X)], LABELS, PEOPLE, FOLDS)
    for pipeline, (train, _) in zip(found.outcomes[0].fitted, FOLDS, strict=True):
        np.testing.assert_allclose(pipeline[0].mean_, X[train].mean(0))
        assert not np.allclose(pipeline[0].mean_, X.mean(0))


def test_the_contenders_own_estimator_stays_unfitted() -> None:
    estimator = Recorder()
    evaluate([Contender(name="x", estimator=estimator, X=rows(LABELS))], LABELS, PEOPLE, FOLDS)
    assert not hasattr(estimator, "classes_")


def test_lists_are_as_good_as_arrays() -> None:
    X = rows(LABELS - 0.2)
    array, listed = evaluate(
        [
            Contender(name="a", estimator=Recorder(), X=X),
            Contender(name="b", estimator=Recorder(), X=list(X)),
        ],
        LABELS,
        PEOPLE,
        FOLDS,
    ).outcomes
    np.testing.assert_array_equal(array.scores, listed.scores)


def test_steps_tell_each_fold_of_each_contender() -> None:
    steps = evaluate_steps(
        [Contender(name=name, estimator=Recorder(), X=rows(LABELS)) for name in "ab"], LABELS, PEOPLE, FOLDS
    )
    assert list(steps) == ["a"] * 3 + ["b"] * 3


def test_the_threshold_is_zero_and_rates_are_those_of_a_count_by_hand(rng: np.random.Generator) -> None:
    scores = rng.normal(size=24).round(1)
    found = evaluate(
        [Contender(name="x", estimator=Recorder(), X=rows(scores))], LABELS, PEOPLE, FOLDS
    ).outcomes[0]
    assert found.sensitivity == pytest.approx((scores[LABELS == 1] > 0).mean())
    assert found.specificity == pytest.approx((scores[LABELS == 0] <= 0).mean())
    assert found.balanced_accuracy == pytest.approx((found.sensitivity + found.specificity) / 2)


@pytest.fixture
def evaluation(rng: np.random.Generator) -> Evaluation:
    return evaluate(
        [
            Contender(name="good", estimator=Recorder(), X=rows(LABELS - 0.5), note="an oracle"),
            Contender(name="poor", estimator=Recorder(), X=rows(rng.normal(size=24))),
        ],
        LABELS,
        PEOPLE,
        FOLDS,
    )


def test_the_table_repeats_the_outcomes(evaluation: Evaluation) -> None:
    table = results_table(evaluation)
    assert table["model"].tolist() == ["good", "poor"]
    assert table["note"].tolist() == ["an oracle", ""]
    poor = evaluation.outcomes[1]
    row = table.iloc[1]
    assert (row["auc"], row["auc_low"], row["auc_high"]) == (poor.auc.estimate, poor.auc.low, poor.auc.high)
    for name in ("balanced_accuracy", "sensitivity", "specificity"):
        assert row[name] == getattr(poor, name)


def test_results_json_is_complete(evaluation: Evaluation, tmp_path: Path) -> None:
    runs = [f"run-{i}" for i in range(24)]
    (tmp_path / "results.json").write_text("an earlier one")
    write_results(evaluation, tmp_path / "results.json", {"runs": runs, "command": "neuro evaluate"})
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["runs"] == runs
    assert content["command"] == "neuro evaluate"
    tested = [person for fold in content["folds"] for person in fold["test"]]
    assert sorted(tested) == sorted(set(PEOPLE))
    assert [model["name"] for model in content["models"]] == ["good", "poor"]
    for model, outcome in zip(content["models"], evaluation.outcomes, strict=True):
        assert [model["scores"][run] for run in runs] == outcome.scores.tolist()
        assert model["auc"] == vars(outcome.auc)
        for name in ("note", "balanced_accuracy", "sensitivity", "specificity"):
            assert model[name] == getattr(outcome, name)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_results_json_is_written_whole_or_not_at_all(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    path.write_text("an earlier one")
    with pytest.raises(TypeError):
        write_results(evaluation, path, {"runs": [str(i) for i in range(24)], "odd": object()})
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_results(evaluation, path, {"runs": [str(i) for i in range(24)]})
    assert path.read_text() == "an earlier one"


def test_folds_that_leave_a_run_untested_are_refused() -> None:
    contender = Contender(name="flat", estimator=majority(), X=np.zeros((4, 1)))
    labels, people = np.array([0, 1, 0, 1]), np.array(list("abcd"), dtype=object)
    untested = [(np.array([2, 3]), np.array([0, 1]))]
    twice = [(np.array([2, 3]), np.array([0, 1])), (np.array([0]), np.array([1, 2, 3]))]
    for folds in (untested, twice):
        with pytest.raises(ParameterError, match="every run is tested once"):
            evaluate([contender], labels, people, folds)


class Taker(Recorder):
    """As Recorder, and takes the persons of its rows."""

    def fit(self, X: Any, y: Any, groups: Any = None) -> Taker:
        self.people_ = groups
        return super().fit(X, y)  # type: ignore[return-value]


def test_estimators_that_take_groups_get_those_of_their_training_rows(record: list[Any]) -> None:
    outcome = evaluate([Contender(name="x", estimator=Taker(), X=rows(LABELS))], LABELS, PEOPLE, FOLDS)
    for (train, _), fitted in zip(FOLDS, outcome.outcomes[0].fitted, strict=True):
        assert fitted.people_.tolist() == PEOPLE[train].tolist()


def test_a_frame_is_taken_row_by_row(record: list[Any]) -> None:
    frame = pd.DataFrame(rows(LABELS - 0.5), index=np.arange(24)[::-1])  # its index is not its rows
    evaluate([Contender(name="x", estimator=Recorder(), X=frame)], LABELS, PEOPLE, FOLDS)
    assert [seen for _, seen in record] == [side.tolist() for fold in FOLDS for side in fold]
