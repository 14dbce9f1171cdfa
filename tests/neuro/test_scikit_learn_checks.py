"""scikit-learn's own checks of estimators, all of them, on the smallest of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from neuro.classifier import ParkinsonClassifier
from neuro.model import ModelConfig
from neuro.training.config import OptimizerConfig, TrainingConfig

from .conftest import TINY_BACKBONE

pytestmark = pytest.mark.slow

SMALLEST = ParkinsonClassifier(
    ModelConfig(backbone=TINY_BACKBONE),
    TrainingConfig(epochs=5, batch_size=32, optimizer=OptimizerConfig(learning_rate=1e-2)),
    device="cpu",
)
# None so far. A check that cannot apply would stand here with its reason.
EXPECTED_FAILED_CHECKS: dict[str, str] = {}


@parametrize_with_checks([SMALLEST], expected_failed_checks=lambda _: EXPECTED_FAILED_CHECKS)
def test_it_is_a_classifier_as_scikit_learn_wants_it(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
