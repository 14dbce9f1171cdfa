"""The Transformer as a scikit-learn classifier: its manners, its seeds, and whether it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score

from data.caches.cache import Cache
from data.errors import BadFileError, ParameterError, UnknownNameError
from data.splits.splitters import SubjectFolds
from neuro.classifier import ParkinsonClassifier
from neuro.model import ModelConfig
from neuro.study import StudyConfig, cut_runs, labels_and_people
from neuro.tokens import ParcelSpec, TubeletSpec
from neuro.training.config import Adaptation, OptimizerConfig, TrainingConfig
from neuro.training.loop import Listeners

from .conftest import TINY_BACKBONE
from .toy_runs import toy_cohort, toy_run

FAST = OptimizerConfig(learning_rate=1e-2)
QUICK = TrainingConfig(epochs=1)
THOROUGH = TrainingConfig(epochs=8, optimizer=FAST)


def people_of(labels: np.ndarray) -> list[str]:
    """Two runs a person."""
    return [f"{label}-{i // 4}" for i, label in enumerate(labels)]


def tiny(training: TrainingConfig = QUICK, seed: int = 0) -> ParkinsonClassifier:
    model = ModelConfig(backbone=TINY_BACKBONE)
    return ParkinsonClassifier(model, training, seed=seed, device="cpu")


def test_it_learns_a_loss_of_amplitude_in_one_cube() -> None:
    runs, labels = toy_cohort(40)
    classifier = tiny(THOROUGH).fit(runs, labels)
    unseen, truth = toy_cohort(40, first=500)
    assert (classifier.predict(runs) == labels).all()
    assert classifier.losses_[-1] < 0.3 * classifier.losses_[0]
    assert roc_auc_score(truth, classifier.decision_function(unseen)) > 0.9


def test_without_a_difference_nothing_carries_over() -> None:
    """The twin of the test above: had labels leaked by any other road, this would be high as well."""
    runs = [toy_run(i, 1.0) for i in range(16)]
    labels = np.arange(16) % 2
    classifier = tiny(THOROUGH).fit(runs, labels)
    scores = classifier.decision_function([toy_run(600 + i, 1.0) for i in range(120)])
    assert 0.35 < roc_auc_score(np.arange(120) % 2, scores) < 0.65


def test_cross_val_score_takes_it_as_it_is() -> None:
    runs, labels = toy_cohort(40)
    classifier = tiny(THOROUGH)
    scores = cross_val_score(
        classifier,
        runs,
        labels,
        groups=people_of(labels),
        cv=SubjectFolds(n_splits=2),
        scoring="roc_auc",
        error_score="raise",
    )
    assert scores.shape == (2,)
    assert scores.min() > 0.8
    assert not hasattr(classifier, "model_")


def test_the_seed_decides_everything() -> None:
    runs, labels = toy_cohort(8)
    first, again, other = (tiny(seed=seed).fit(runs, labels).decision_function(runs) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_fitting_leaves_the_global_generator_alone() -> None:
    runs, labels = toy_cohort(4)
    torch.manual_seed(11)
    state = torch.get_rng_state()
    tiny().fit(runs, labels)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_clone_is_unfitted_and_fits_alike() -> None:
    runs, labels = toy_cohort(4)
    classifier = tiny(seed=2).fit(runs, labels)
    copy = clone(classifier)
    assert copy.get_params() == classifier.get_params()
    assert not hasattr(copy, "model_")
    np.testing.assert_array_equal(
        copy.fit(runs, labels).decision_function(runs), classifier.decision_function(runs)
    )


def test_parameters_are_stored_unchanged() -> None:
    model, training = ModelConfig(backbone="some name"), TrainingConfig(epochs=3)
    classifier = ParkinsonClassifier(model, training, "some folder", 5, "cpu")
    assert classifier.get_params(deep=False) == {
        "model": model,
        "training": training,
        "init_from": "some folder",
        "seed": 5,
        "device": "cpu",
    }
    assert classifier.get_params()["training"] is training
    assert classifier.set_params(seed=9).seed == 9


def test_options_within_options_have_names() -> None:
    classifier = ParkinsonClassifier(ModelConfig(drop_path=0.1))
    found = classifier.set_params(
        training__epochs=3, training__optimizer__learning_rate=0.5, model__readout="mean", seed=4
    )
    assert found is classifier
    assert classifier.model == ModelConfig(drop_path=0.1, readout="mean")
    assert classifier.training == TrainingConfig(epochs=3, optimizer=OptimizerConfig(learning_rate=0.5))
    deep = classifier.get_params()
    assert deep["training__optimizer__learning_rate"] == 0.5
    assert deep["training__optimizer"] == classifier.training.optimizer
    assert (
        set(deep)
        > set(classifier.get_params(deep=False))
        == {"model", "training", "init_from", "seed", "device"}
    )
    # A whole one first, then what is changed in it, in whatever order they are given.
    classifier.set_params(model__drop_path=0.2, model=ModelConfig(readout="class"))
    assert classifier.model == ModelConfig(readout="class", drop_path=0.2)
    for wrong, words in (
        ({"training__epoch": 3}, "option must be one of epochs, .* got epoch; did you mean epochs?"),
        ({"training__epochs__many": 3}, "got epochs__many"),
        ({"model__drop_path": 2}, "drop_path must be"),
        ({"epochs": 3}, "Invalid parameter 'epochs'"),
    ):
        with pytest.raises(ValueError, match=words):
            classifier.set_params(**wrong)


def test_a_search_goes_over_nested_options() -> None:
    runs, labels = toy_cohort(12)
    search = GridSearchCV(
        tiny(THOROUGH),
        {"training__optimizer__learning_rate": [1e-2, 1e-9], "model__readout": ["regions"]},
        cv=SubjectFolds(n_splits=2),
        scoring="neg_log_loss",
        error_score="raise",
    )
    search.fit(runs, labels, groups=people_of(labels))
    assert search.best_params_["training__optimizer__learning_rate"] == 1e-2
    assert search.best_estimator_.training == THOROUGH
    # Without a step worth the name, all logits are 0.
    assert search.cv_results_["mean_test_score"][1] == pytest.approx(-np.log(2), abs=1e-3)
    assert search.best_score_ > -0.66


def test_words_as_labels_the_later_in_order_is_positive() -> None:
    runs, labels = toy_cohort(40)
    words = np.where(labels == 1, "patient", "control")
    named, numbered = (tiny(THOROUGH).fit(runs, y) for y in (list(words), labels))
    assert named.classes_.tolist() == ["control", "patient"]
    assert named.predict(runs).tolist() == words.tolist()
    np.testing.assert_array_equal(named.decision_function(runs), numbered.decision_function(runs))


def test_probabilities_agree_with_logits_and_with_the_order_of_classes() -> None:
    runs, labels = toy_cohort(6)
    classifier = tiny().fit(runs, labels + 5)
    logits, chances = classifier.decision_function(runs), classifier.predict_proba(runs)
    assert classifier.classes_.tolist() == [5, 6]
    np.testing.assert_allclose(chances.sum(1), 1)
    np.testing.assert_allclose(np.log(chances[:, 1] / chances[:, 0]), logits, atol=1e-6)
    assert classifier.predict(runs).tolist() == [6 if logit > 0 else 5 for logit in logits]


def test_a_logit_is_the_mean_over_consecutive_clips() -> None:
    runs, labels = toy_cohort(4)
    classifier = tiny(replace(THOROUGH, epochs=3)).fit(runs, labels)
    thirds = [
        replace(
            runs[0], run=replace(runs[0].run, series_TV=runs[0].run.series_TV[start : start + 4]), n_frames=4
        )
        for start in (0, 4, 8)
    ]
    alone = classifier.decision_function(thirds)
    assert len(set(alone.tolist())) == 3
    assert classifier.decision_function(runs[:1])[0] == pytest.approx(alone.mean(), abs=1e-5)


@pytest.mark.parametrize("positives", [2, 6])
def test_classes_pull_equally_whatever_their_counts(positives: int) -> None:
    """At the start all logits are 0: the two classes' pulls on the bias must cancel over the whole cohort."""
    runs, _ = toy_cohort(8)
    labels = (np.arange(8) < positives).astype(np.int64)
    # The first loss is ln 2 for each run, times its weight; and the bias gets no gradient, so no step.
    fit = tiny(TrainingConfig(epochs=1, batch_size=8)).fit(runs, labels)
    assert fit.losses_[0] == pytest.approx(np.log(2) * 2 * (8 - positives) / 8, rel=1e-5)


def test_each_epoch_is_told() -> None:
    runs, labels = toy_cohort(4)
    told: list[tuple[int, float]] = []
    listeners = Listeners(on_epoch=lambda *x: told.append(x))
    classifier = tiny(TrainingConfig(epochs=3)).fit(runs, labels, listeners=listeners)
    assert told == list(enumerate(classifier.losses_))


def test_labels_that_cannot_work_are_refused() -> None:
    runs, labels = toy_cohort(4)
    with pytest.raises(ParameterError, match="y must be one label for each of 4 runs, got 3"):
        tiny().fit(runs, labels[:3])
    with pytest.raises(ParameterError, match=r"y must be of two different labels, got 1 class: \[0\]"):
        tiny().fit(runs, np.zeros(4, int))
    with pytest.raises(
        ParameterError, match=r"y must be of two different labels, got 3 classes: \[0, 1, 2\]"
    ):
        tiny().fit(runs, [0, 1, 2, 1])
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        tiny().fit(runs, None)
    with pytest.raises(ValueError, match="y should be a 1d array"):
        tiny().fit(runs, np.zeros((4, 2)))
    with pytest.raises(ValueError, match="Input y contains NaN"):
        tiny().fit(runs, [0, 1, np.nan, 1])
    with pytest.raises(ValueError, match="Unknown label type"):
        tiny().fit(runs, [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ValueError, match="Expected 2D array"):
        tiny().fit([], [])


def test_runs_cut_differently_are_refused() -> None:
    runs, labels = toy_cohort(4)
    runs[2] = toy_run(2, 1.0, TubeletSpec(patch_mm=8, frames=4))
    with pytest.raises(ParameterError, match="X must be runs cut alike, got 2 ways of cutting"):
        tiny().fit(runs, labels)


def test_an_unknown_backbone_is_refused_when_fitting() -> None:
    runs, labels = toy_cohort(2)
    with pytest.raises(UnknownNameError):
        ParkinsonClassifier(ModelConfig(backbone="no such model")).fit(runs, labels)


def test_the_people_trained_on_are_kept_and_have_one_label_each() -> None:
    runs, labels = toy_cohort(4)
    assert tiny().fit(runs, labels).people_ is None
    assert tiny().fit(runs, labels, groups=["d", "c", "d", "a"]).people_ == ["a", "c", "d"]
    with pytest.raises(ParameterError, match="labels must be one a person, got 0 and 1 for a"):
        tiny().fit(runs, labels, groups=["a", "a", "b", "c"])
    with pytest.raises(ParameterError, match="got 4 labels, 3 groups"):
        tiny().fit(runs, labels, groups=["a", "b", "c"])
    with pytest.raises(ParameterError, match="a person for every row"):
        tiny().fit(runs, labels, groups=["a", "b", "c", None])


def test_people_are_held_out_to_watch_only_where_they_are_known() -> None:
    runs, labels = toy_cohort(16)
    watched = tiny(TrainingConfig(epochs=2, validation_share=0.5))
    with pytest.raises(ParameterError, match="groups must be given where people are held out"):
        watched.fit(runs, labels)
    fitted = watched.fit(runs, labels, groups=people_of(labels), sites=["A", "B"] * 8)
    assert len(fitted.losses_) == 2
    assert fitted.people_ == sorted(set(people_of(labels)))


@pytest.mark.parametrize("X", ["runs", "array"])
def test_the_order_of_samples_changes_no_answer(X: str) -> None:
    runs, labels = toy_cohort(8)
    samples: Any = runs if X == "runs" else np.random.default_rng(0).normal(size=(8, 12, 5))
    classifier = tiny().fit(samples, labels)
    whole, order = classifier.decision_function(samples), [5, 2, 7, 0]
    few = classifier.decision_function([samples[i] for i in order])
    np.testing.assert_array_equal(few, whole[order])
    assert len(set(whole.tolist())) == 8


def test_runs_cut_otherwise_than_when_fitted_are_refused() -> None:
    runs, labels = toy_cohort(4)
    classifier = tiny().fit(runs, labels)
    for spec in (TubeletSpec(patch_mm=8, frames=4), TubeletSpec(patch_mm=16, frames=2)):
        with pytest.raises(ParameterError, match="X must be runs cut as when fitted"):
            classifier.predict([toy_run(9, 1.0, spec)])
    with pytest.raises(ParameterError, match="X must be runs as tokens, as when fitted, got an array"):
        classifier.predict(np.zeros((2, 8, 3)))


def test_refitting_forgets_the_array_before() -> None:
    runs, labels = toy_cohort(4)
    classifier = tiny().fit(np.random.default_rng(0).normal(size=(4, 3)), labels)
    assert classifier.n_features_in_ == 3
    assert not hasattr(classifier.fit(runs, labels), "n_features_in_")


def planted_series(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Series of six regions (n, T, R); in positives the first two go together."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    series_nTR = rng.normal(size=(count, 60, 6))
    series_nTR[labels == 1, :, 0] += 2 * series_nTR[labels == 1, :, 1]
    return series_nTR, labels


def test_series_of_parcels_are_told_apart_by_what_goes_together() -> None:
    series, labels = planted_series(40, 0)
    unseen, truth = planted_series(40, 1)
    classifier = tiny(THOROUGH).fit(series, labels)
    assert classifier.n_features_in_ == 6
    assert classifier.spec_ == ParcelSpec(atlas="array", frames=60, profile="correlation")
    assert roc_auc_score(truth, classifier.decision_function(unseen)) > 0.9
    # A run of twice the length is two clips.
    twice = classifier.decision_function(np.concatenate([unseen, unseen], axis=1))
    np.testing.assert_allclose(twice, classifier.decision_function(unseen), atol=0.05)
    with pytest.raises(ParameterError, match="at least one clip of 60 frames, got 59 frames"):
        classifier.predict(unseen[:, :59])
    with pytest.raises(ValueError, match="X has 5 features, but ParkinsonClassifier is expecting 6"):
        classifier.predict(unseen[:, :, :5])


def test_lists_of_series_are_as_good_as_an_array() -> None:
    series, labels = planted_series(4, 0)
    array, listed = (tiny().fit(X, labels) for X in (series, list(series)))
    np.testing.assert_array_equal(array.decision_function(series), listed.decision_function(list(series)))


def test_frames_with_names_are_held_to_them() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(4, 2)), columns=["putamen", "caudate"])
    classifier = tiny().fit(frame, [0, 1, 0, 1])
    assert classifier.feature_names_in_.tolist() == ["putamen", "caudate"]
    with pytest.raises(ValueError, match="feature names should match"):
        classifier.predict(frame[["caudate", "putamen"]])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.nan, "Input X contains NaN"),
        (np.inf, "Input X contains infinity"),
        (1j, "Complex data not supported"),
    ],
)
def test_series_that_are_no_numbers_are_refused_in_scikit_learns_words(wrong: complex, words: str) -> None:
    series, labels = planted_series(4, 0)
    spoilt = series.astype(type(wrong))
    spoilt[2, 7, 3] = wrong
    with pytest.raises(ValueError, match=words):
        tiny().fit(spoilt, labels)


@pytest.mark.parametrize("method", ["lora", "linear"])
def test_whatever_was_adapted_the_model_is_plain_afterwards(method: Any, tmp_path: Path) -> None:
    runs, labels = toy_cohort(8)
    training = TrainingConfig(epochs=2, optimizer=FAST, adaptation=Adaptation(method=method))
    classifier = tiny(training).fit(runs, labels)
    before, after = tiny()._fresh(runs[0].layout).state_dict(), classifier.model_.state_dict()
    assert after.keys() == before.keys()
    trunk = [key for key in after if ".blocks." in key and key.endswith("weight")]
    moved = [not torch.equal(before[key], after[key]) for key in trunk]
    assert any(moved) is (method == "lora")
    loaded = ParkinsonClassifier.load(classifier.save(tmp_path / "saved"), "cpu")
    np.testing.assert_array_equal(loaded.decision_function(runs), classifier.decision_function(runs))


def test_an_attentive_probe_needs_a_readout_that_attends() -> None:
    runs, labels = toy_cohort(8)
    training = TrainingConfig(epochs=1, adaptation=Adaptation(method="attentive"))
    with pytest.raises(ParameterError, match="readout must be attention for the method attentive"):
        tiny(training).fit(runs, labels)
    fitted = tiny(training).set_params(model__readout="attention").fit(runs, labels)
    assert np.isfinite(fitted.decision_function(runs)).all()


@pytest.mark.slow
def test_two_processes_read_memory_mapped_runs(cache: Cache, study: StudyConfig) -> None:
    runs, (labels, people) = cut_runs(cache, study.tokens), labels_and_people(cache)
    assert isinstance(runs[0].run.series_TV, np.memmap)
    alone, together = (
        cross_val_predict(
            study.classifier(),
            runs,
            labels,
            groups=people,
            cv=SubjectFolds(n_splits=2),
            method="decision_function",
            n_jobs=jobs,
        )
        for jobs in (1, 2)
    )
    np.testing.assert_array_equal(alone, together)


def test_training_begins_with_an_encoder_of_before(tmp_path: Path) -> None:
    runs, labels = toy_cohort(8)
    before = tiny(replace(THOROUGH, epochs=2)).fit(runs, labels)
    folder = str(before.save(tmp_path / "before"))
    still = TrainingConfig(epochs=1, optimizer=OptimizerConfig(learning_rate=1e-12))
    begun = ParkinsonClassifier(None, still, folder, device="cpu").fit(runs, labels)
    assert begun.model_.encoder.config == before.model_.encoder.config
    for (name, old), new in zip(
        before.model_.encoder.state_dict().items(), begun.model_.encoder.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(new, old, msg=name)
    np.testing.assert_allclose(begun.decision_function(runs), 0, atol=1e-6)  # its readout is new
    mean = clone(begun).set_params(model__readout="mean", training=THOROUGH).fit(runs, labels)
    assert mean.model_.encoder.config == replace(before.model_.encoder.config, readout="mean")
    assert not np.array_equal(mean.decision_function(runs), before.decision_function(runs))
    again = ParkinsonClassifier.load(mean.save(tmp_path / "after"), "cpu")
    np.testing.assert_array_equal(again.decision_function(runs), mean.decision_function(runs))


def test_another_encoder_than_the_one_begun_with_is_refused(tmp_path: Path) -> None:
    runs, labels = toy_cohort(4)
    folder = str(tiny().fit(runs, labels).save(tmp_path / "before"))
    begun = ParkinsonClassifier(init_from=folder, training=QUICK, device="cpu")
    with pytest.raises(ParameterError, match="positions must be sincos, as that of the encoder in"):
        clone(begun).set_params(model__positions="rotary").fit(runs, labels)
    other = [toy_run(i, 1.0, TubeletSpec(patch_mm=8, frames=4)) for i in range(4)]
    with pytest.raises(ParameterError, match="tokens must be as those that the encoder in"):
        clone(begun).fit(other, labels)
    with pytest.raises(BadFileError, match="encoder must be a folder"):
        clone(begun).set_params(init_from=str(tmp_path)).fit(runs, labels)
