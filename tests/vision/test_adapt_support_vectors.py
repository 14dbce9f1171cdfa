"""The linear support vector machine against scikit-learn's on features that are standardized by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from data.errors import ParameterError
from vision.adapt import fit_linear_svm


def samples(
    seed: int, count: int = 30, features: int = 50, gap: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 3 == 0).astype(np.int64)  # twice as many of one
    features_BF = rng.normal(size=(count, features)) * rng.uniform(0.2, 2, features)
    return features_BF + gap * labels[:, None], labels


def margins(features: np.ndarray, labels: np.ndarray, c: float = 100.0) -> np.ndarray:
    inputs = torch.from_numpy(features).float()
    return fit_linear_svm(inputs, torch.from_numpy(labels), c=c)(inputs)[:, 0].detach().numpy()


@pytest.mark.parametrize("count", [30, 200])  # fewer samples than features, and more
@pytest.mark.parametrize("c", [0.1, 1.0, 100.0])
def test_it_is_scikit_learns_on_features_of_mean_square_1(count: int, c: float) -> None:
    features, labels = samples(0, count, gap=0.2)
    features = features + 3
    centred = features - features.mean(0)
    scaled = centred / np.sqrt((centred**2).sum() / count)
    assert (scaled**2).sum(1).mean() == pytest.approx(1)
    twin = SVC(kernel="linear", C=c, class_weight="balanced", tol=1e-6).fit(scaled, labels)
    np.testing.assert_allclose(margins(features, labels, c), twin.decision_function(scaled), atol=2e-3)


def test_where_they_can_be_divided_none_is_within_the_margin() -> None:
    """And the nearest of both classes lie on it, as far from the plane as 1 and -1."""
    features, labels = samples(1)
    signed = margins(features, labels, c=1e6) * (2 * labels - 1)
    assert signed[labels == 1].min() == pytest.approx(1, abs=1e-3)
    assert signed[labels == 0].min() == pytest.approx(1, abs=1e-3)


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(-30, 30), scale=st.floats(1e-3, 1e3))
def test_where_features_lie_and_their_unit_change_nothing(shift: float, scale: float) -> None:
    features, labels = samples(2)
    np.testing.assert_allclose(
        margins((features + shift) * scale, labels), margins(features, labels), atol=2e-3
    )


def test_classes_weigh_equally() -> None:
    """Each sample of the rarer one twice is the same machine: what all of it may cost is the same."""
    features, labels = samples(3, count=90, features=3, gap=0.3)
    inputs = torch.from_numpy(features).float()
    rare = np.flatnonzero(labels)
    twice = np.concatenate([features, features[rare]]), np.concatenate([labels, labels[rare]])
    centred = features - features.mean(0)
    again = twice[0] - twice[0].mean(0)
    # The scale follows from who is there, and c is in its unit squared; the weight of a class from n / 2.
    unit = (again**2).sum(1).mean() / (centred**2).sum(1).mean()
    found = fit_linear_svm(*map(torch.from_numpy, twice), c=1.0 * unit * 90 / 120)
    expected = fit_linear_svm(inputs, torch.from_numpy(labels), c=1.0)
    torch.testing.assert_close(found(inputs), expected(inputs), atol=5e-3, rtol=0)


def test_what_cannot_be_fitted_is_refused() -> None:
    features, labels = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
    for wrong in ([0, 0, 0, 0], [1, 2, 1, 2], [0, 1, 2, 1]):
        with pytest.raises(ParameterError, match="labels must be 0 and 1, both of them, got"):
            fit_linear_svm(features, torch.tensor(wrong))
    with pytest.raises(ParameterError, match=r"\(B, F\) and \(B,\)"):
        fit_linear_svm(features, torch.tensor([0, 1]))
    for c in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ParameterError, match="c must be positive"):
            fit_linear_svm(features, labels, c=c)
    with pytest.raises(ParameterError, match="features must be finite"):
        fit_linear_svm(features / torch.tensor([0.0, 1.0]), labels)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_features_that_tell_nothing_are_refused(value: float) -> None:
    features = torch.full((4, 3), value)
    with pytest.raises(ParameterError, match="features must be different between samples"):
        fit_linear_svm(features, torch.tensor([0, 1, 0, 1]))
    fit_linear_svm(features + torch.eye(4, 3) * (1 + value) * 1e-3, torch.tensor([0, 1, 0, 1]))
