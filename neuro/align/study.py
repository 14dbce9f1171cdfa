"""A cohort aligned with words: out of fold for what may be said of it, and whole for what comes after.

Letters: N runs, S meanings, E components of the text space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.errors import FingerprintMismatchError
from data.splits.folds import assert_no_leak, subject_folds
from neuro.align.aligned_folder import AlignedModel, origin_of
from neuro.align.aligning import Indices, Vectors, align, run_vectors
from neuro.align.bank import SentenceBank, bank_of, text_tower
from neuro.align.config import AlignConfig
from neuro.align.objective import BrainText
from neuro.align.retrieval import Collection, Found, by_label, by_own_sentence, holds_between
from neuro.align.sentences import DiagnosisWords, SentenceConfig
from neuro.align.zero_shot import class_vectors, zero_shot_predictions
from neuro.classifier.run_folder import assert_unseen
from neuro.protocol.metrics import metric_intervals
from neuro.protocol.predictions import Predictions
from neuro.study import cut_runs, labels_and_people, tokens_for
from neuro.tokens import RunTokens, TokenSpec
from neuro.training.held_out import Who
from neuro.training.loop import Listeners
from vision.backbones import Backbone

Told = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """What came of a cohort.

    Attributes:
        predictions: zero-shot, each run by a model that had not seen its person.
        vectors_NE: of the runs, by these models.
        origin: what made these vectors, in a plain word.
        tower: whose text half was taken.
        bank: what was said of the runs.
        found: whether words find the scans.
        model: trained on everybody; None where there is none.
        tokens: how the runs are cut.
    """

    predictions: Predictions
    vectors_NE: Vectors
    origin: str
    tower: Backbone
    bank: SentenceBank
    found: tuple[Found, ...]
    model: BrainText | None
    tokens: TokenSpec

    def figures(self, seed: int = 0) -> dict[str, Any]:
        """Every figure with its interval, JSON-ready."""
        intervals = metric_intervals(self.predictions, seed=seed)
        return {
            "zero_shot": {name: asdict(interval) for name, interval in intervals.items()},
            "retrieval": [found.to_dict() for found in self.found],
        }


def align_cohort(
    cache: Cache,
    config: AlignConfig,
    *,
    whole: bool = True,
    listeners: Listeners | None = None,
    told: Told | None = None,
) -> Alignment:
    """Align a model in each fold, look at the people it has not seen, and align one with everybody.

    Args:
        cache: the prepared cohort.
        config: how.
        whole: whether to train the last one; benchmarks do without.
        listeners: who is told of steps.
        told: called with what comes next, in words.

    Raises:
        LeakError: the encoder to begin with was trained on labels of this cohort.
        ParameterError: too few people for the folds, or a model or training that cannot work.
    """
    told = told or (lambda words: None)
    if config.init_from is not None:
        assert_unseen(config.init_from, cache)
    labels, people = labels_and_people(cache)
    who = Who(people=people, sites=cache.table["site"].to_numpy(object))
    folds = subject_folds(labels, people, n_splits=config.folds, seed=config.seed, strata=who.sites)
    runs = cut_runs(cache, tokens_for(cache, config.tokens), device=config.device)
    told("sentences")
    words = _Words.of(cache, config.text, config.sentences, config.device)

    def fitted(train: Indices) -> BrainText:
        return align(runs, words.bank, config, train=train, labels=labels, who=who, listeners=listeners)

    models, seen = [], _Seen.of(runs, words)
    for number, (train, test) in enumerate(folds):
        told(f"fold {number + 1} of {len(folds)}")
        assert_no_leak(people, train, test)
        models.append(fitted(train))
        seen.add(models[-1], runs, test, number)
    if whole:
        told("everybody")
    last = fitted(np.arange(len(labels))) if whole else None
    return seen.judged(cache, words, origin_of(models), last, seed=config.seed)


def apply_aligned(cache: Cache, aligned: AlignedModel, folder: str | Path, *, device: str) -> Alignment:
    """Put the runs of another cohort among the words of a model that is aligned already.

    Args:
        cache: the other cohort, prepared by the same recipe.
        aligned: the model.
        folder: where it lies.
        device: for what looks at slices, and for the text tower.

    Raises:
        LeakError: the model was trained on runs of this cohort.
        FingerprintMismatchError: the runs were cleaned in another way, or the text tower is another one now.
    """
    assert_unseen(folder, cache)
    _require_same("recipe", aligned.facts["recipe_identity"], cache.identity, folder)
    runs = cut_runs(cache, aligned.tokens, device=device)
    words = _Words.of(cache, aligned.text, aligned.sentences, device)
    _require_same("text model", aligned.text_fingerprint, words.tower.fingerprint, folder)
    seen = _Seen.of(runs, words)
    seen.add(aligned.model, runs, np.arange(len(runs)), 0)
    return seen.judged(cache, words, origin_of([aligned.model]), aligned.model, seed=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Words:
    """A text tower, and what it makes of a cohort's sentences and of the labels."""

    tower: Backbone
    bank: SentenceBank
    classes_2E: Vectors
    diagnosis: DiagnosisWords

    @classmethod
    def of(cls, cache: Cache, text: str, config: SentenceConfig, device: str) -> _Words:
        tower, encode = text_tower(text, device)
        return cls(
            tower=tower,
            bank=bank_of(cache.table, encode, config),
            classes_2E=class_vectors(encode, config.words),
            diagnosis=config.words,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """Runs through models that had not seen their people, filled in fold by fold."""

    tokens: TokenSpec
    vectors_NE: Vectors
    fold_of: NDArray[np.int64]
    scale_N: NDArray[np.float64]

    @classmethod
    def of(cls, runs: Sequence[RunTokens], words: _Words) -> _Seen:
        count, width = len(runs), words.classes_2E.shape[1]
        return cls(
            tokens=runs[0].spec,
            vectors_NE=np.zeros((count, width), np.float32),
            fold_of=np.full(count, -1),
            scale_N=np.zeros(count),
        )

    def add(self, model: BrainText, runs: Sequence[RunTokens], test: Indices, fold: int) -> None:
        self.vectors_NE[test] = run_vectors(model, [runs[i] for i in test])
        self.fold_of[test], self.scale_N[test] = fold, float(model.scale.detach())

    def judged(
        self, cache: Cache, words: _Words, origin: str, model: BrainText | None, *, seed: int
    ) -> Alignment:
        labels, people = labels_and_people(cache)
        predictions = zero_shot_predictions(
            self.vectors_NE,
            words.classes_2E,
            self.scale_N,
            run_ids=cache.table["run_id"].to_numpy(object),
            labels=labels,
            people=people,
            sites=cache.table["site"].to_numpy(object),
            fold_of=self.fold_of,
        )
        collection = Collection(
            vectors_NE=self.vectors_NE, labels=labels, people=people, fold_of=self.fold_of
        )
        return Alignment(
            predictions=predictions,
            vectors_NE=self.vectors_NE,
            origin=origin,
            tower=words.tower,
            bank=words.bank,
            found=_found(collection, words, seed),
            model=model,
            tokens=self.tokens,
        )


def _found(collection: Collection, words: _Words, seed: int) -> tuple[Found, ...]:
    """The labels by their prompts, and each person by all that is told of it."""
    told = [
        by_label(collection, words.classes_2E[label], label, words.diagnosis.people(label)[0], seed)
        for label in (1, 0)
    ]
    fullest = words.bank.fullest
    own = by_own_sentence(
        collection,
        words.bank.vectors_SE[fullest],
        holds_between(words.bank.truth_RS, fullest),
        "all that is told of one person",
        seed,
    )
    return (*told, own)


def _require_same(what: str, there: str, here: str, folder: str | Path) -> None:
    if there != here:
        raise FingerprintMismatchError(
            what, must_be=f"that of the alignment, {there}", got=here, do="align again", path=folder
        )
