"""The brain Transformer as a scikit-learn classifier over runs as tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from data.errors import ParameterError
from data.splits.folds import label_of_person
from neuro.model import DEFAULT_BACKBONE, BrainTransformer
from neuro.tokens import RunTokens
from neuro.training.supervised import TrainingConfig, run_logit, train
from vision.backbones import load_backbone


class ParkinsonClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Runs as tubelets -> probability of the positive class.

    X is a sequence of `RunTokens`; scikit-learn's splitters and `cross_val_score` take it as it is.

    Args:
        backbone: name of any model that takes tokens (see `vision models`); a private copy is trained.
        training: how to train.
        seed: of the initialisation, the order and the clips.
        device: "auto" takes cuda, then mps, then cpu.

    Attributes:
        classes_: the two labels, the positive one last.
        model_: the trained `BrainTransformer`.
        people_: who was trained on, sorted, where `fit` was told; else None.
        losses_: mean training loss of each epoch.
    """

    def __init__(
        self,
        backbone: str = DEFAULT_BACKBONE,
        training: TrainingConfig | None = None,
        seed: int = 0,
        device: str = "auto",
    ):
        self.backbone = backbone
        self.training = training
        self.seed = seed
        self.device = device

    def fit(
        self,
        X: Sequence[RunTokens],
        y: ArrayLike,
        groups: ArrayLike | None = None,
        on_epoch: Callable[[int, float], None] | None = None,
    ) -> ParkinsonClassifier:
        """Train on runs and their labels.

        Args:
            X: runs, all cut in the same way.
            y: two different labels.
            groups: the person of each run. All of them are trained on, none is held out: the split is the
                caller's, and `neuro.evaluate` checks it.
            on_epoch: called with each epoch's number and loss.

        Raises:
            ParameterError: runs, labels and groups do not fit together, there are not two labels, or a
                person has both.
        """
        labels = np.asarray(y)
        self.classes_ = np.unique(labels)
        _check(X, labels, self.classes_)
        self.people_ = sorted(label_of_person(labels, groups), key=str) if groups is not None else None
        self.model_ = self._build(X[0])
        self.losses_ = train(
            self.model_,
            X,
            (labels == self.classes_[1]).astype(np.int64),
            self.training or TrainingConfig(),
            seed=self.seed,
            on_epoch=on_epoch,
        )
        return self

    def _build(self, run: RunTokens) -> BrainTransformer:
        backbone = load_backbone(self.backbone, device=self.device, shared=False, seed=self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = BrainTransformer(backbone, run.layout)
        return model.to(backbone.device)

    def decision_function(self, X: Sequence[RunTokens]) -> NDArray[np.float64]:
        """Logit of the positive class (n,), averaged over the clips of each run."""
        return np.array([run_logit(self.model_, run) for run in X])

    def predict_proba(self, X: Sequence[RunTokens]) -> NDArray[np.float64]:
        """Probabilities (n, 2) in the order of `classes_`."""
        positive = 1 / (1 + np.exp(-self.decision_function(X)))
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, X: Sequence[RunTokens]) -> NDArray[Any]:
        """The likelier label (n,)."""
        return np.asarray(self.classes_[(self.decision_function(X) > 0).astype(int)])


def _check(X: Sequence[RunTokens], labels: NDArray[Any], classes: NDArray[Any]) -> None:
    if len(X) != len(labels):
        raise ParameterError("y", must_be=f"one label for each of {len(X)} runs", got=len(labels))
    if len(classes) != 2:
        raise ParameterError(
            "y", must_be="of two different labels", got=f"{len(classes)}: {classes.tolist()}"
        )
    cuts = {(run.spec, run.layout) for run in X}
    if len(cuts) != 1:
        raise ParameterError("X", must_be="runs cut alike", got=f"{len(cuts)} ways of cutting")
