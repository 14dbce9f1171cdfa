"""The support vector machine over frozen tokens: its features, what it leaves, and what it refuses."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from neuro.classifier import ParkinsonClassifier
from neuro.model import BrainTransformer, ModelConfig, run_logit, run_votes
from neuro.model.run_reading import run_batches
from neuro.tokens import ParcelSpec, RunTokens, parcel_tokens_of_array
from neuro.training.augment import AugmentConfig
from neuro.training.config import Adaptation, MachineConfig, TrainingConfig
from neuro.training.keeping import Keep
from neuro.training.loop import Listeners
from neuro.training.supervised import train
from neuro.training.support_vectors import run_features
from vision.training.run_folder import Progress

from .toy_runs import TINY, toy_cohort, toy_model

SVM = TrainingConfig(adaptation=Adaptation(method="svm"))
PLACES = ModelConfig(backbone=TINY, readout="places")


def regional_runs(count: int = 16, first: int = 0) -> tuple[list[RunTokens], np.ndarray]:
    """Five regions over windows of three clips; the first two go together in patients."""
    labels = np.arange(count) % 2
    spec = ParcelSpec(atlas="array", frames=12, window=6)
    runs = []
    for i, label in enumerate(labels):
        series = np.random.default_rng(first + i).standard_normal((36, 5))
        series[:, 1] += 3 * label * series[:, 0]
        runs.append(parcel_tokens_of_array(series, spec, run_id=f"sub-{i}"))
    return runs, labels


def fitted(runs: list[RunTokens], labels: np.ndarray, **options: Any) -> tuple[BrainTransformer, Progress]:
    model = toy_model(runs[0], readout="places")
    return model, train(model, runs, labels, SVM, seed=0, **options)


def test_features_of_regions_are_their_tokens_averaged_and_the_machine_is_scikit_learns() -> None:
    runs, labels = regional_runs()
    model, progress = fitted(runs, labels)
    rows = []
    for run in runs:
        with torch.no_grad():
            tokens = [model.encoder(batch).tokens_BND.reshape(-1, 5, 16) for batch in run_batches(model, run)]
        rows.append(torch.cat(tokens).mean(0).flatten() / 5)  # over clips and windows; a mean over regions
    np.testing.assert_allclose(
        torch.stack([run_features(model, r) for r in runs]), torch.stack(rows), atol=1e-6
    )
    features = torch.stack(rows).double().numpy()
    features -= features.mean(0)
    features /= np.sqrt((features**2).sum(1).mean())
    twin = SVC(kernel="linear", C=100.0, class_weight="balanced", tol=1e-6).fit(features, labels)
    margins = np.array([run_logit(model, run) for run in runs])
    np.testing.assert_allclose(margins, twin.decision_function(features), atol=5e-3)
    hinge = np.maximum(0, 1 - margins * (2 * labels - 1)).mean()
    assert progress.epoch_losses == [pytest.approx(hinge, abs=1e-4)]


@pytest.mark.parametrize("cohort", [toy_cohort, regional_runs], ids=["cubes", "regions"])
def test_it_tells_unseen_people_apart_and_votes_add_up(cohort: Any) -> None:
    runs, labels = cohort(30)
    model, progress = fitted(runs, labels)
    unseen, truth = cohort(30, first=500)
    assert roc_auc_score(truth, [run_logit(model, run) for run in unseen]) > 0.9
    assert progress.epoch_losses[0] < 0.2
    for run in unseen[:4]:
        features = run_features(model, run)
        with torch.no_grad():
            said = features @ model.readout.weight.flatten() + model.readout.bias
        assert said.item() == pytest.approx(run_logit(model, run), abs=1e-4)


def test_c_is_what_errors_cost() -> None:
    runs, labels = toy_cohort(20)
    noise = np.roll(labels, 3) ^ (np.arange(20) % 5 == 0)
    losses = []
    for c in (1e-3, 1e3):
        config = replace(SVM, adaptation=Adaptation(method="svm", svm_c=c))
        losses.append(
            train(toy_model(runs[0], readout="places"), runs, noise, config, seed=0).epoch_losses[0]
        )
    assert losses[0] > 0.9
    assert losses[1] < 0.01


def test_only_the_readout_is_fitted_and_nothing_is_drawn() -> None:
    runs, labels = toy_cohort(12)
    model = toy_model(runs[0], readout="places", drop_path=0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    told: list[tuple[int, float]] = []
    listeners = Listeners(on_epoch=lambda number, loss: told.append((number, loss)))
    progress = train(model, runs, labels, SVM, seed=0, listeners=listeners)
    assert told == [(0, progress.epoch_losses[0])]
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"readout.matter.nodes_1RZYX", "readout.offset"}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    again = toy_model(runs[0], readout="places", drop_path=0.5)
    train(again, runs, labels, SVM, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("readout", ["regions", "mean", "attention", "class"])
def test_it_wants_the_readout_of_places(readout: str) -> None:
    runs, labels = toy_cohort(6)
    with pytest.raises(ParameterError, match=f"readout must be places for the method svm, got {readout}"):
        train(toy_model(runs[0], readout=readout), runs, labels, SVM, seed=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"validation_share": 0.2}, r"validation_share must be left out .* got 0\.2; it is found in one go"),
        ({"mixup": 0.4}, "mixup must be left out for the method svm, got 0.4"),
        ({"ema": 0.0}, "ema must be left out for the method svm, got 0.0"),
        ({"augment": AugmentConfig(noise=0.1)}, r"augment must be left out .*noise=0\.1"),
        ({"machine": MachineConfig(tensorboard=True)}, r"machine\.tensorboard must be .* got True"),
        ({"machine": MachineConfig(compile=True)}, r"machine\.compile must be left out for the method svm"),
        ({"machine": MachineConfig(checkpointing=True)}, r"machine\.checkpointing must be left out"),
        ({"machine": MachineConfig(micro_batch=2)}, r"machine\.micro_batch must be left out .* got 2"),
        ({"machine": MachineConfig(checkpoint_steps=5)}, r"machine\.checkpoint_steps must be .* got 5"),
        ({"machine": MachineConfig(precision="bf16")}, r"machine\.precision must be left out .* got bf16"),
        ({"mixup": 0.4, "ema": 0.9}, r"mixup and ema must be left out for the method svm, got 0\.4, 0\.9"),
    ],
)
def test_what_needs_steps_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        TrainingConfig(adaptation=Adaptation(method="svm"), **given)
    TrainingConfig(adaptation=Adaptation(method="linear"), **given)


@pytest.mark.parametrize("c", [0.0, -1.0, float("inf"), float("nan")])
def test_a_cost_that_cannot_work_is_refused(c: float) -> None:
    with pytest.raises(ParameterError, match="svm_c must be positive and finite"):
        Adaptation(svm_c=c)


def test_a_kept_run_is_begun_and_fitted_again_when_resumed(tmp_path: Path) -> None:
    runs, labels = toy_cohort(8)

    def kept(seed: int = 0, *, resume: bool = False, folder: str = "run") -> BrainTransformer:
        model = toy_model(runs[0], readout="places")
        keep = Keep(folder=tmp_path / folder, identity={"cohort": "toy"}, resume=resume)
        train(model, runs, labels, SVM, seed=seed, keep=keep)
        return model

    first = kept()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["begun.json", "history.csv"]
    with (tmp_path / "run" / "history.csv").open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == []  # a row a step
    again = kept(resume=True)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    with pytest.raises(ParameterError, match="holds a run; go on with --resume"):
        kept()
    with pytest.raises(FingerprintMismatchError, match="seed 0 there, 1 here"):
        kept(1, resume=True)
    with pytest.raises(BadFileError, match="no run"):
        kept(resume=True, folder="none")
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(ParameterError, match="finished; begin from its weights"):
        kept(resume=True)


def test_a_classifier_with_it_is_saved_and_cross_validated(tmp_path: Path) -> None:
    runs, labels = toy_cohort(16)
    classifier = ParkinsonClassifier(PLACES, SVM, device="cpu").fit(runs, labels)
    assert len(classifier.losses_) == 1
    margins = classifier.decision_function(runs)
    np.testing.assert_allclose(classifier.predict_proba(runs)[:, 1], 1 / (1 + np.exp(-margins)))
    assert (classifier.predict(runs) == labels).all()
    for run, margin in zip(runs, margins, strict=True):
        votes = run_votes(classifier.model_, run)
        assert votes.sum() + classifier.model_.readout.bias.item() == pytest.approx(margin, abs=1e-4)
    loaded = ParkinsonClassifier.load(classifier.save(tmp_path / "saved"), "cpu")
    np.testing.assert_array_equal(loaded.decision_function(runs), margins)
    assert loaded.training == SVM
    changed = ParkinsonClassifier(PLACES, device="cpu").set_params(training__adaptation__method="svm")
    assert cross_val_score(changed, runs, labels, cv=2, scoring="roc_auc").mean() > 0.8


def test_series_of_an_array_are_enough(rng: np.random.Generator) -> None:
    series = rng.standard_normal((40, 60, 6))
    labels = np.array(["control", "patient"] * 20)
    series[1::2, :, 1] += 2 * series[1::2, :, 0]
    classifier = ParkinsonClassifier(PLACES, SVM, device="cpu")
    assert cross_val_score(classifier, series, labels, cv=4, scoring="roc_auc").mean() > 0.9


def test_runs_that_are_all_the_same_are_refused() -> None:
    runs, labels = toy_cohort(4)
    with pytest.raises(ParameterError, match="features must be different between samples"):
        train(toy_model(runs[0], readout="places"), runs[:1] * 4, labels, SVM, seed=0)
