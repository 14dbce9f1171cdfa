"""The linear probe against scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from data.errors import ParameterError
from vision.adapt import fit_linear_probe


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("c", [0.1, 10.0])
def test_linear_probe_equals_scikit_learns(classes: int, c: float) -> None:
    rng = np.random.default_rng(classes)
    labels = np.arange(120) % classes
    features = rng.normal(size=(120, 6)) + rng.normal(size=(classes, 6))[labels]
    # With two classes scikit-learn has one row of weights, and the difference of our two rows is penalised
    # half as much: the same optimum needs twice its C.
    twin = LogisticRegression(
        C=2 * c if classes == 2 else c, tol=1e-10, max_iter=10_000, solver="newton-cg"
    ).fit(features, labels)
    probe = fit_linear_probe(torch.from_numpy(features).float(), torch.from_numpy(labels), c=c)
    got = torch.softmax(probe(torch.from_numpy(features).float()), dim=1).detach().numpy()
    np.testing.assert_allclose(got, twin.predict_proba(features), atol=2e-5)


def test_linear_probe_refuses_what_it_cannot_fit() -> None:
    features = torch.zeros(3, 2)
    with pytest.raises(ParameterError, match="two classes or more"):
        fit_linear_probe(features, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ParameterError, match=r"\(B, F\) and \(B,\)"):
        fit_linear_probe(features, torch.tensor([0, 1]))
    with pytest.raises(ParameterError, match="c must be positive"):
        fit_linear_probe(features, torch.tensor([0, 1, 1]), c=0)
