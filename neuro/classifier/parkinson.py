"""The brain Transformer as a scikit-learn classifier: runs as tokens, or arrays of series -> labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from data.splits.folds import label_of_person
from neuro.classifier.begun_from import begun_from
from neuro.classifier.nested_options import changed, flattened
from neuro.classifier.samples import labels_of, samples
from neuro.model import BrainTransformer, ModelConfig, run_logit
from neuro.tokens import RunTokens, TokenLayout
from neuro.training.config import TrainingConfig
from neuro.training.held_out import Who
from neuro.training.keeping import Keep
from neuro.training.loop import Listeners
from neuro.training.supervised import train
from vision.backbones import load_backbone

OPTIONS = {"model": ModelConfig, "training": TrainingConfig}


class ParkinsonClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Runs -> probability of the positive class.

    X is a sequence of `RunTokens` of any kind, all cut alike; or a numeric array of parcel series (n, T, R),
    or (n, R), one value a region. Of series, a region's correlations with all regions over the whole run are
    its token. scikit-learn's splitters, searches and `cross_val_score` take it as it is. Options within
    `model` and `training` have names for them: `set_params(training__epochs=3)`.

    Args:
        model: what the Transformer is like; None takes the defaults.
        training: how to train; None takes the defaults.
        init_from: folder that `neuro pretrain`, `neuro train` or `save` wrote, whose encoder training starts
            from; backbone, positions and attention are then its own (see `neuro.classifier.begun_from`).
        seed: of the initialisation, the order and the clips. torch's global state is left as it was.
        device: "auto" takes cuda, then mps, then cpu.

    Attributes:
        classes_: the two labels, the positive one last.
        model_: the trained `BrainTransformer`, a plain one whatever was adapted in training.
        spec_, layout_: how its runs are cut.
        people_: who was trained on, sorted, where `fit` was told; else None.
        losses_: mean training loss of each epoch.
        n_features_in_, feature_names_in_: regions, where it was fitted to an array.
    """

    def __init__(
        self,
        model: ModelConfig | None = None,
        training: TrainingConfig | None = None,
        init_from: str | None = None,
        seed: int = 0,
        device: str = "auto",
    ):
        self.model = model
        self.training = training
        self.init_from = init_from
        self.seed = seed
        self.device = device

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.three_d_array = True
        return tags

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters; with `deep`, options within `model` and `training` too (`training__epochs`)."""
        found: dict[str, Any] = super().get_params(deep=False)
        for name in OPTIONS if deep else ():
            found |= flattened(name, found[name])
        return found

    def set_params(self, **given: Any) -> ParkinsonClassifier:
        """Set parameters, or options within them; where `model` or `training` is None, in the defaults.

        Raises:
            ValueError: no such parameter or option, or a value that it does not take.
        """
        nested = {name: given.pop(name) for name in list(given) if name.partition("__")[0] in OPTIONS}
        whole = {name: nested.pop(name) for name in list(nested) if name in OPTIONS}
        super().set_params(**given, **whole)
        for path, value in nested.items():
            name, _, rest = path.partition("__")
            options = getattr(self, name)
            setattr(self, name, changed(OPTIONS[name]() if options is None else options, rest, value))
        return self

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        sites: ArrayLike | None = None,
        keep: Keep | None = None,
        listeners: Listeners | None = None,
    ) -> ParkinsonClassifier:
        """Train on runs and their labels.

        Args:
            X: runs, all cut in the same way, or an array.
            y: two different labels.
            groups: the person of each run; needed where `training` holds some of them out to watch it. The
                split into training and test is the caller's, and `neuro.protocol` checks it.
            sites: where each run was scanned, to hold people of all sites out alike.
            keep: where to keep the training while it runs, and whether to go on with one.
            listeners: who is told of steps and epochs.

        Raises:
            ParameterError: runs, labels and groups do not fit together, there are not two labels, a person
                has both, or the model or training cannot work.
            ValueError, TypeError: an array or labels that scikit-learn refuses.
        """
        runs = samples(self, X, reset=True)
        labels = labels_of(self, y, len(runs))
        self.classes_ = np.unique(labels)
        self.people_ = sorted(label_of_person(labels, groups), key=str) if groups is not None else None
        self.spec_, self.layout_ = runs[0].spec, runs[0].layout
        with _own_randomness(self.seed):
            self.model_ = self._fresh(self.layout_)
            progress = train(
                self.model_,
                runs,
                (labels == self.classes_[1]).astype(np.int64),
                self.training or TrainingConfig(),
                seed=self.seed,
                who=_who(groups, sites),
                keep=keep,
                listeners=listeners,
            )
        self.losses_ = [float(epoch["train_loss"]) for epoch in progress.epochs]
        return self

    def _fresh(self, layout: TokenLayout) -> BrainTransformer:
        if self.init_from is not None:
            return begun_from(self.init_from, layout, self.model, device=self.device)
        config = self.model or ModelConfig()
        backbone = load_backbone(config.backbone, device=self.device, shared=False, seed=self.seed)
        torch.manual_seed(self.seed)  # whatever loading the backbone drew
        return BrainTransformer(backbone, layout, config).to(backbone.device)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Logit of the positive class (n,), averaged over the clips of each run."""
        check_is_fitted(self)
        return np.array([run_logit(self.model_, run) for run in self.tokens(X)], dtype=np.float64)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (n, 2) in the order of `classes_`."""
        positive = 1 / (1 + np.exp(-self.decision_function(X)))
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, X: Any) -> NDArray[Any]:
        """The likelier label (n,)."""
        positive = self.decision_function(X) > 0
        return np.asarray(self.classes_[positive.astype(int)])

    def tokens(self, X: Any) -> list[RunTokens]:
        """What the fitted model sees of X: runs as they are, arrays as runs of parcels."""
        return samples(self, X, reset=False)

    def save(self, folder: str | Path) -> Path:
        """Write the fitted classifier into a new or empty folder, whole or not at all: safetensors and JSON.

        Raises:
            ParameterError: the folder holds something.
        """
        from neuro.classifier.folder import save_classifier

        return save_classifier(self, folder)

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> ParkinsonClassifier:
        """Read what `save` wrote; nothing in it is executed.

        Raises:
            BadFileError: it is no such folder, or a file of it is damaged.
            ParameterError: there is no such device.
        """
        from neuro.classifier.folder import load_classifier

        return load_classifier(folder, device)


def _who(groups: ArrayLike | None, sites: ArrayLike | None) -> Who | None:
    if groups is None:
        return None
    return Who(
        people=np.asarray(groups, dtype=object),
        sites=np.asarray(sites, dtype=object) if sites is not None else None,
    )


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, and leave torch's global generators as they were."""
    cards = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cards):
        torch.manual_seed(seed)
        yield
