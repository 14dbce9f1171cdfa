"""Class weights against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from data.errors import ParameterError
from vision.adapt import class_weights


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_weights_equal_scikit_learns_and_have_mean_1(labels: list[int]) -> None:
    weights_K = class_weights(torch.tensor(labels), 6)
    present = np.unique(labels)
    expected = compute_class_weight("balanced", classes=present, y=np.array(labels))
    np.testing.assert_allclose(weights_K[torch.from_numpy(present)].numpy(), expected, rtol=1e-6)
    assert float(weights_K[labels].mean()) == pytest.approx(1, rel=1e-5)
    assert all(float(weights_K[absent]) == 0 for absent in set(range(6)) - set(labels))


@pytest.mark.parametrize(
    ("labels_B", "message"),
    [
        (torch.tensor([0, 2]), "labels must be from 0 to 1, got 0 to 2"),
        (torch.tensor([0, -1]), "labels must be from 0 to 1, got -1 to 0"),
        (torch.tensor([0.0, 1.0]), "whole numbers"),
        (torch.tensor([[0, 1]]), "whole numbers"),
        (torch.tensor([], dtype=torch.long), "whole numbers"),
    ],
)
def test_what_are_no_classes_is_refused(labels_B: torch.Tensor, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        class_weights(labels_B, 2)
