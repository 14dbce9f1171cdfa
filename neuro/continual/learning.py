"""A trained classifier + runs of a new site -> the classifier that has learned these too, by one strategy."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone
from torch import nn

from data.errors import ParameterError
from data.splits.folds import label_of_person
from neuro.classifier import ParkinsonClassifier
from neuro.continual.anchor import Anchor, Anchored, factor
from neuro.continual.config import OF_IMPORTANCE, OF_OLD_RUNS, Strategy, UpdateConfig
from neuro.continual.importance import Importance, importance_of
from neuro.continual.replay import ReplayClips, remembered
from neuro.continual.runs import Runs
from neuro.training.clips import LabelledClips
from neuro.training.supervised import positive_weight, train_on


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """A classifier, and what is left of what it has learned from.

    Attributes:
        classifier: fitted.
        runs: that it was trained on, where they are still there.
        importance: of its weights to these runs, where it is known.
    """

    classifier: ParkinsonClassifier
    runs: Runs | None
    importance: Importance | None


def afresh(classifier: ParkinsonClassifier, runs: Runs) -> ParkinsonClassifier:
    """The same recipe, trained from its beginning on these runs; for runs that are cut as its own were."""
    fresh: ParkinsonClassifier = clone(classifier)
    return fresh.fit(runs.tokens, runs.labels, groups=runs.people, sites=runs.sites)


def updated(known: Learned, new: Runs, strategy: Strategy, config: UpdateConfig) -> ParkinsonClassifier:
    """Go on with a classifier; the one given stays as it is.

    Args:
        known: what it is, and what is left of the old runs.
        new: runs of the new site.
        strategy: how.
        config: how in detail.

    Raises:
        ParameterError: the strategy needs what is not left, or what `train_on` refuses.
    """
    require(strategy, known, config)
    if strategy == "cumulative":
        assert known.runs is not None
        return afresh(known.classifier, known.runs + new)
    changed = copy(known.classifier)
    changed.model_ = deepcopy(known.classifier.model_)
    changed.training = config.training
    changed.people_ = _people(known.classifier, new)
    clips = _clips(known, new, strategy, config)
    # The runs of the first epoch are those of all: each has its share of the clips.
    shown = clips.labels[clips.order(0)]
    around = _pull(changed.model_, known, len(new), config) if strategy in OF_IMPORTANCE else None
    progress = train_on(changed.model_, clips, positive_weight(shown), around=around)
    changed.losses_ = [float(epoch["train_loss"]) for epoch in progress.epochs]
    return changed


def gone_on(known: Learned, new: Runs, strategy: Strategy, classifier: ParkinsonClassifier) -> Learned:
    """What an updated classifier has learned from: old runs and new, and what both need of its weights."""
    runs = None if known.runs is None else known.runs + new
    if known.importance is None:
        return Learned(classifier=classifier, runs=runs, importance=None)
    if strategy == "cumulative":  # other weights: what the old ones were worth says nothing of them
        assert runs is not None
        return Learned(
            classifier=classifier, runs=runs, importance=importance_of(classifier.model_, runs.tokens)
        )
    both = known.importance + importance_of(classifier.model_, new.tokens)
    return Learned(classifier=classifier, runs=runs, importance=both)


def require(strategy: Strategy, known: Learned, config: UpdateConfig) -> None:
    """Say no to a strategy that needs what is not left.

    Raises:
        ParameterError: old runs or the importance of weights are missing, or weights are not what learns.
    """
    why = missing(strategy, known, config)
    if why:
        raise ParameterError("strategy", must_be=f"one that can do without {why}", got=strategy)


def missing(strategy: Strategy, known: Learned, config: UpdateConfig) -> str:
    """What a strategy lacks, in words; nothing where it can be taken."""
    if strategy != "cumulative" and config.training.adaptation.method == "svm":
        return "going on: the method svm is fitted to everybody at once (cumulative)"
    if strategy in OF_OLD_RUNS and known.runs is None:
        return "the old scans (--old)"
    if strategy in OF_IMPORTANCE and known.importance is None:
        return "the importance of the old weights (fisher.safetensors, which `neuro train` writes, or --old)"
    if strategy in OF_IMPORTANCE and config.training.adaptation.method == "lora":
        return "the method lora, whose updates are no weights of the old model"
    return ""


def _clips(known: Learned, new: Runs, strategy: Strategy, config: UpdateConfig) -> LabelledClips:
    plain: dict[str, Any] = {"config": config.training, "seed": config.seed}
    if strategy not in OF_OLD_RUNS:
        return LabelledClips(runs=new.tokens, labels=new.labels, **plain)
    assert known.runs is not None
    shown = new + remembered(known.runs, config.memory, seed=config.seed)
    return ReplayClips(runs=shown.tokens, labels=shown.labels, fresh=len(new), share=config.share, **plain)


def _pull(
    model: nn.Module, known: Learned, new: int, config: UpdateConfig
) -> Callable[[nn.Module], nn.Module]:
    assert known.importance is not None
    by = factor(config.strength, old=known.importance.runs, new=new)
    anchor = Anchor(model, known.importance, by)
    return lambda objective: Anchored(objective, anchor)


def _people(classifier: ParkinsonClassifier, new: Runs) -> list[Any] | None:
    if classifier.people_ is None:
        return None
    return sorted({*classifier.people_, *label_of_person(new.labels, new.people)}, key=str)
