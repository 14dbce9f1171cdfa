"""The brain Transformer whose encoder is frozen, on what the encoder makes of each run, computed once.

Labels do not reach a frozen encoder: where the readout is a support vector machine (the method "svm"), a
run's features are the same in every fold and for any labels, and only the machine is fitted anew.

Letters: n runs, F features.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from neuro.classifier import ParkinsonClassifier
from neuro.protocol.contender import Contender
from neuro.training.support_vectors import run_features
from vision.adapt import fit_linear_svm

COST = "training__adaptation__svm_c"  # the one setting that does not reach the features


class PlaceMachine(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Features (n, F) -> margin, as the method "svm" fits it.

    Args:
        c: what a run on the wrong side of its margin costs.
    """

    def __init__(self, c: float = 100.0):
        self.c = c

    def fit(self, X: NDArray[np.float32], y: ArrayLike) -> PlaceMachine:
        """Fit to features and labels 0 and 1."""
        self.classes_ = np.unique(y)
        self.machine_ = fit_linear_svm(torch.from_numpy(X), torch.as_tensor(np.asarray(y)), c=self.c)
        return self

    def decision_function(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Margins (n,)."""
        with torch.no_grad():
            margin_n1 = self.machine_(torch.from_numpy(X))
        return np.asarray(margin_n1[:, 0].numpy(), dtype=np.float64)


def on_frozen_features(contender: Contender) -> Contender:
    """The same contender to rounding, on features computed once; or as it is, where labels reach them."""
    classifier = contender.estimator
    if not _is_frozen(classifier) or any(set(settings) - {COST} for settings in contender.grid):
        return contender
    fitted = clone(classifier).fit(contender.X[:2], [0, 1])  # any labels leave the encoder as it is
    features_nF = torch.stack(
        [run_features(fitted.model_, run) for run in fitted.tokens(contender.X)]
    ).numpy()
    return replace(
        contender,
        estimator=PlaceMachine(c=classifier.get_params()[COST]),
        X=features_nF,
        grid=[{"c": settings[COST]} if settings else {} for settings in contender.grid],
    )


def _is_frozen(classifier: Any) -> bool:
    training = classifier.training if isinstance(classifier, ParkinsonClassifier) else None
    return training is not None and training.adaptation.method == "svm"
