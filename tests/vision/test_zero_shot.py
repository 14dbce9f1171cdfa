"""Zero-shot classification: prompt ensembles, probabilities, temperature, and none of these."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.errors import BadFileError, ParameterError
from vision.prompts import ensemble, fill
from vision.retrieval.templates import load_templates
from vision.retrieval.zero_shot import (
    CLIP_SCALE,
    LITE_SCALE,
    Classifier,
    background_labels,
    build_classifier,
    expected_calibration_error,
    fit_temperature,
    fits,
    log_softmax,
    model_scale,
)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def encode(sentences: list[str]) -> np.ndarray:
    """Each sentence its own random direction, the same every time."""
    seeds = [int.from_bytes(sentence.encode(), "big") % 2**32 for sentence in sentences]
    return unit(np.array([np.random.default_rng(seed).normal(size=32) for seed in seeds]))


# --- templates ---


@pytest.mark.parametrize(
    ("name", "count", "first"), [("imagenet", 80, "a bad photo of a {}."), ("simple", 7, "itap of a {}.")]
)
def test_named_templates_are_open_clips(name: str, count: int, first: str) -> None:
    templates = load_templates(name)
    assert (len(templates), templates[0]) == (count, first)
    assert all(template.count("{}") == 1 for template in templates)
    assert fill(templates, "old {cat}")[0] == first.replace("{}", "old {cat}")


def test_templates_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("# mine\n\na drawing of {}\n  {} in the snow  \n")
    assert load_templates(file) == ("a drawing of {}", "{} in the snow")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a photo\n", "a sentence with one gap, written {}, got 'a photo'"),
        ("{} and {}\n", "one gap"),
        ("# nothing\n", "at least one line"),
        (None, "No such file or directory; name a file, or one of the sets imagenet, simple"),
    ],
)
def test_bad_templates(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "mine.txt"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadFileError, match=message):
        load_templates(file)


# --- the classifier ---


def test_ensemble_is_the_mean_of_unit_vectors_at_unit_length() -> None:
    templates, labels = ("a {}", "the {} here", "{}"), [f"thing {n}" for n in range(200)]  # several batches
    found = ensemble(encode, labels, templates)
    for row in (0, 100, 199):
        mean = np.mean([encode([template.format(labels[row])])[0] for template in templates], axis=0)
        np.testing.assert_allclose(found[row], mean / np.linalg.norm(mean), rtol=1e-5, atol=1e-6)
    assert found.dtype == np.float32


def test_probabilities_are_the_softmax_at_the_models_scale() -> None:
    classifier = build_classifier(encode, ["cat", "dog", "cow"], ("a {}",), scale=30.0, temperature=2.0)
    pictures = unit(np.random.default_rng(0).normal(size=(5, 32)))
    expected = torch.softmax(torch.from_numpy(pictures @ classifier.vectors_LE.T) * 30 / 2, dim=1)
    np.testing.assert_allclose(classifier.probabilities(pictures), expected.numpy(), rtol=1e-4)


@pytest.mark.parametrize("labels", [[], ["one"], ["one", " "], ["one", "two", "one "]])
def test_labels_that_cannot_be_told_apart_are_refused(labels: list[str]) -> None:
    with pytest.raises(ParameterError, match="labels must be"):
        build_classifier(encode, labels, ("{}",))


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_temperature_is_above_zero(temperature: float) -> None:
    with pytest.raises(ParameterError, match="temperature must be a number above 0"):
        build_classifier(encode, ["a", "b"], ("{}",), temperature=temperature)


def test_scale_is_the_models_own_where_it_has_one() -> None:
    clip = SimpleNamespace(model=SimpleNamespace(logit_scale=torch.tensor(4.0)))
    assert model_scale("clip:x", clip) == pytest.approx(np.exp(4.0))
    assert model_scale("clip:x") == CLIP_SCALE
    assert model_scale("embedded:lite") == LITE_SCALE


@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-1e4, 1e4))
def test_log_softmax_does_not_overflow_and_ignores_a_shift(seed: int, shift: float) -> None:
    logits = np.random.default_rng(seed).normal(size=(4, 6)) * 1e3
    np.testing.assert_allclose(log_softmax(logits + shift), log_softmax(logits), rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(np.exp(log_softmax(logits)).sum(axis=1), 1.0)


# --- temperature ---


@pytest.mark.parametrize("true_temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_labels_is_found(true_temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 5)) * 3
    chances = np.exp(log_softmax(logits / true_temperature))
    labels = (rng.random((len(logits), 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(max=4)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(true_temperature, rel=0.05)
    assert expected_calibration_error(np.exp(log_softmax(logits / found)), labels) < 0.015


@given(seed=st.integers(0, 2**32 - 1))
def test_fitted_temperature_is_no_worse_than_any_of_a_grid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(30, 4)) * rng.uniform(0.1, 50), rng.integers(0, 4, 30)

    def loss(temperature: float) -> float:
        return float(-log_softmax(logits / temperature)[np.arange(30), labels].mean())

    best = min(loss(temperature) for temperature in np.geomspace(0.01, 100, 100))
    assert loss(fit_temperature(logits, labels)) <= best + 1e-9


def test_temperature_needs_a_label_for_each_picture() -> None:
    with pytest.raises(ParameterError, match="logits must be"):
        fit_temperature(np.zeros((3, 2)), [0, 1])


def test_calibration_error_of_known_cases() -> None:
    sure = np.tile([0.8, 0.2], (10, 1))
    assert expected_calibration_error(sure, [0] * 8 + [1] * 2) == pytest.approx(0.0, abs=1e-12)
    assert expected_calibration_error(sure, [1] * 10) == pytest.approx(0.8)
    assert expected_calibration_error(np.array([[1.0, 0.0]]), [0]) == 0


# --- none of these ---


def test_a_label_that_fits_stands_out_from_other_labels() -> None:
    rng = np.random.default_rng(0)
    labels, others = unit(rng.normal(size=(3, 64))), unit(rng.normal(size=(200, 64)))
    classifier = Classifier(labels=("a", "b", "c"), vectors_LE=labels)
    near = unit(labels + 0.5 * unit(rng.normal(size=(3, 64))))
    assert (fits(classifier, near, others) > 0.8).all()
    far = unit(rng.normal(size=(50, 64)))
    assert (fits(classifier, far, others) < 0.5).mean() > 0.9


def test_a_narrower_word_does_not_speak_against_a_wider_one() -> None:
    """A fifth of the background are kinds of the label, one of them better said: "flamingo" for "bird"."""
    rng = np.random.default_rng(0)
    labels, others = unit(rng.normal(size=(3, 64))), unit(rng.normal(size=(160, 64)))
    kinds = unit(labels[0] + 1.3 * unit(rng.normal(size=(40, 64))))
    classifier = Classifier(labels=("a", "b", "c"), vectors_LE=labels)
    assert (fits(classifier, kinds, np.r_[others, kinds]) > 0.5).mean() > 0.9


def test_background_labels_come_from_all_over() -> None:
    names = background_labels()
    assert len(names) == len(set(names)) == 200
    assert names[0] == "tench"


def test_no_torch_is_imported() -> None:
    modules = "vision.retrieval.zero_shot, vision.retrieval.templates"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
