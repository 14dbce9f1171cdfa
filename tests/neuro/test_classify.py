"""The Transformer as a scikit-learn classifier: its manners, its seeds, and whether it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.utils.estimator_checks import (
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)

from data.caches.cached_run import CachedRun
from data.errors import ParameterError, UnknownNameError
from neuro.classify import ParkinsonClassifier
from neuro.tokens import RunTokens, TubeletSpec, cubes
from neuro.training.supervised import TrainingConfig, _step

from .conftest import TINY_BACKBONE

SPEC = TubeletSpec(patch_mm=16, frames=4)
QUICK = TrainingConfig(epochs=1)
THOROUGH = TrainingConfig(epochs=8, learning_rate=1e-2)


def toy_run(number: int, loud: float, spec: TubeletSpec = SPEC) -> RunTokens:
    """Noise in eight cubes; the voxels of one of them fluctuate `loud` times as strongly as elsewhere."""
    rng = np.random.default_rng(number)
    std_XYZ = np.exp(rng.normal(0, 0.2, (8, 8, 8)))
    std_XYZ[4:, 4:, :4] *= loud
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = -20, -30, -10
    return cubes(
        CachedRun(
            run_id=f"sub-{number}",
            participant_id=f"sub-{number}",
            series_TV=rng.standard_normal((8, 512)).astype(np.float16),
            mean_V=np.ones(512, np.float32),
            std_V=std_XYZ.ravel().astype(np.float32),
            mask_XYZ=np.ones((8, 8, 8), bool),
            affine=affine,
            tr=2.0,
        ),
        spec,
    )


def toy_cohort(count: int = 40, first: int = 0) -> tuple[list[RunTokens], np.ndarray]:
    labels = np.arange(count) % 2
    return [toy_run(first + i, 0.4 if label else 1.0) for i, label in enumerate(labels)], labels


def tiny(training: TrainingConfig = QUICK, seed: int = 0) -> ParkinsonClassifier:
    return ParkinsonClassifier(TINY_BACKBONE, training, seed, "cpu")


def test_it_learns_a_loss_of_amplitude_in_one_cube() -> None:
    runs, labels = toy_cohort()
    classifier = tiny(THOROUGH).fit(runs, labels)
    unseen, truth = toy_cohort(first=500)
    assert (classifier.predict(runs) == labels).all()
    assert classifier.losses_[-1] < 0.3 * classifier.losses_[0]
    assert roc_auc_score(truth, classifier.decision_function(unseen)) > 0.9


def test_without_a_difference_nothing_carries_over() -> None:
    """The twin of the test above: had labels leaked by any other road, this would be high as well."""
    runs = [toy_run(i, 1.0) for i in range(16)]
    labels = np.arange(16) % 2
    classifier = tiny(THOROUGH).fit(runs, labels)
    scores = classifier.decision_function([toy_run(600 + i, 1.0) for i in range(40)])
    assert 0.25 < roc_auc_score(np.arange(40) % 2, scores) < 0.75


def test_cross_val_score_takes_it_as_it_is() -> None:
    runs, labels = toy_cohort()
    people = np.arange(40) // 2
    classifier = tiny(THOROUGH)
    scores = cross_val_score(
        classifier, runs, labels, groups=people, cv=GroupKFold(2), scoring="roc_auc", error_score="raise"
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


@pytest.mark.parametrize(
    "check",
    [
        check_get_params_invariance,
        check_no_attributes_set_in_init,
        check_parameters_default_constructible,
        check_set_params,
    ],
)
def test_parameters_are_kept_as_scikit_learn_wants_them(check: object) -> None:
    check("ParkinsonClassifier", ParkinsonClassifier())  # type: ignore[operator]


def test_parameters_are_stored_unchanged() -> None:
    training = TrainingConfig(epochs=3)
    classifier = ParkinsonClassifier("some name", training, 5, "cpu")
    assert classifier.get_params() == {
        "backbone": "some name",
        "training": training,
        "seed": 5,
        "device": "cpu",
    }
    assert classifier.get_params()["training"] is training
    assert classifier.set_params(seed=9).seed == 9


def test_words_as_labels_the_later_in_order_is_positive() -> None:
    runs, labels = toy_cohort()
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
    classifier = tiny(TrainingConfig(epochs=3, learning_rate=1e-2)).fit(runs, labels)
    halves = [
        replace(runs[0], signal_TNP=runs[0].signal_TNP[start : start + SPEC.frames]) for start in (0, 4)
    ]
    both = classifier.decision_function(halves)
    assert both[0] != both[1]
    assert classifier.decision_function(runs[:1])[0] == pytest.approx(both.mean(), abs=1e-5)


@pytest.mark.parametrize("positives", [2, 6])
def test_classes_pull_equally_whatever_their_counts(positives: int) -> None:
    """At the start all logits are 0: the two classes' pulls on the bias must cancel over the whole cohort."""
    runs, _ = toy_cohort(8)
    labels = (np.arange(8) < positives).astype(np.int64)
    model = tiny()._build(runs[0])
    weight = torch.tensor((8 - positives) / positives)
    _step(model, runs, labels, weight, np.random.default_rng(0)).backward()  # type: ignore[no-untyped-call]
    assert model.readout.bias.grad is not None
    assert abs(float(model.readout.bias.grad)) < 1e-6
    # … and `fit` uses that weight: its first loss is ln 2 for each run, times the run's weight.
    fit = tiny(TrainingConfig(epochs=1, batch_size=8)).fit(runs, labels)
    assert fit.losses_[0] == pytest.approx(np.log(2) * 2 * (8 - positives) / 8, rel=1e-5)


def test_each_epoch_is_told() -> None:
    runs, labels = toy_cohort(4)
    told: list[tuple[int, float]] = []
    classifier = tiny(TrainingConfig(epochs=3)).fit(runs, labels, on_epoch=lambda *x: told.append(x))
    assert told == list(enumerate(classifier.losses_))


def test_labels_that_cannot_work_are_refused() -> None:
    runs, labels = toy_cohort(4)
    with pytest.raises(ParameterError, match="y must be one label for each of 4 runs, got 3"):
        tiny().fit(runs, labels[:3])
    with pytest.raises(ParameterError, match=r"y must be of two different labels, got 1: \[0\]"):
        tiny().fit(runs, np.zeros(4, int))
    with pytest.raises(ParameterError, match=r"y must be of two different labels, got 3: \[0, 1, 2\]"):
        tiny().fit(runs, [0, 1, 2, 1])
    with pytest.raises(ParameterError, match="two different labels, got 0"):
        tiny().fit([], [])


def test_runs_cut_differently_are_refused() -> None:
    runs, labels = toy_cohort(4)
    runs[2] = toy_run(2, 1.0, TubeletSpec(patch_mm=8, frames=4))
    with pytest.raises(ParameterError, match="X must be runs cut alike, got 2 ways of cutting"):
        tiny().fit(runs, labels)


def test_an_unknown_backbone_is_refused_when_fitting() -> None:
    runs, labels = toy_cohort(2)
    with pytest.raises(UnknownNameError):
        ParkinsonClassifier("no such model").fit(runs, labels)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": -1.0}, {"weight_decay": -0.1}]
)
def test_training_that_cannot_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        TrainingConfig(**wrong)  # type: ignore[arg-type]


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
