"""A training of the whole of a cohort in a folder: begun or resumed, and saved whole at its end."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.caches.cache import Cache
from data.errors import LeakError, ParameterError
from neuro.calibration.acquisition import acquisition_table
from neuro.calibration.calibration import RESAMPLES
from neuro.calibration.calibration import calibrate as fit_calibration
from neuro.calibration.inner_scores import InnerScores, inner_scores
from neuro.calibration.novelty import FEWEST_PEOPLE, Novelty
from neuro.calibration.saved import write_calibration, write_novelty
from neuro.calibration.scan_embedding import embeddings_of
from neuro.classifier.parkinson import ParkinsonClassifier
from neuro.classifier.run_folder import runs_seen_by, save_run
from neuro.continual.importance import importance_of, save_importance
from neuro.study import StudyConfig, cut_runs, labels_and_people, tokens_for
from neuro.tokens import RunTokens, spec_as_dict
from neuro.training.keeping import Keep
from neuro.training.loop import Listeners
from vision.training.ranks import is_first

FOLDS = 5  # of people, each scored by a model of the others, to calibrate


@dataclass(frozen=True, kw_only=True, eq=False)
class CohortTraining:
    """A cohort, what is done with it, and where.

    Attributes:
        cache: the prepared cohort.
        config: tokens, model, training, seed and device.
        keep: the folder.
        importance: also write how much each weight matters to these runs, for `neuro update` without them;
            as large as the model, and as long as a pass or a few over the runs.
        calibrate: also train on all but each of a few parts of the people, for scores of people whom a model
            had not seen, and write what makes probabilities of them.
    """

    cache: Cache
    config: StudyConfig
    keep: Keep
    importance: bool = False
    calibrate: bool = False

    @property
    def folds(self) -> int:
        """How many more trainings calibrating takes: FOLDS, or fewer where a label has fewer people."""
        return min(FOLDS, _rarest(self.cache))

    def run(self, listeners: Listeners) -> list[float]:
        """Train, and have the first process write the result; the mean loss of each epoch comes back.

        Raises:
            ParameterError: runs that cannot be cut, or a model or training that cannot work.
            StoppedError: a signal asked for it; the run can be resumed.
        """
        labels, people = labels_and_people(self.cache)
        runs = cut_runs(self.cache, tokens_for(self.cache, self.config.tokens), device=self.config.device)
        classifier = self.config.classifier().fit(
            runs,
            labels,
            groups=people,
            sites=self.cache.table["site"].to_numpy(object),
            keep=self.keep,
            listeners=listeners,
        )
        # By all processes of torchrun together, as these are trainings.
        inner = self._inner_scores(runs) if self.calibrate else None
        if is_first():
            if self.importance and self.config.training.adaptation.method != "svm":  # not learned in steps
                save_importance(importance_of(classifier.model_, runs), self.keep.folder)
            if inner is not None:
                method, seed = self.config.calibration, self.config.seed
                found = fit_calibration(inner, method=method, resamples=RESAMPLES, seed=seed)
                write_calibration(found, self.keep.folder)
            self._write_novelty(classifier, runs)
            save_run(classifier, self.cache, self.keep.folder)
            self.keep.finish()
        losses: list[float] = classifier.losses_
        return losses

    def _inner_scores(self, runs: list[RunTokens]) -> InnerScores:
        labels, people = labels_and_people(self.cache)
        return inner_scores(
            self.config.classifier(),
            runs,
            labels,
            people,
            self.folds,
            sites=self.cache.table["site"].to_numpy(object),
            seed=self.config.seed,
        )

    def _write_novelty(self, classifier: ParkinsonClassifier, runs: list[RunTokens]) -> None:
        """What the scans were like; of too few people to tell far from near, nothing."""
        _, people = labels_and_people(self.cache)
        if len(set(people)) >= FEWEST_PEOPLE:
            embeddings = embeddings_of(classifier, runs)
            novelty = Novelty.fit(embeddings, acquisition_table(self.cache), people=people)
            write_novelty(novelty, self.keep.folder)


def open_training(
    cache: str | Path,
    out: str | Path,
    config: StudyConfig,
    *,
    resume: bool = False,
    importance: bool = False,
    calibrate: bool = False,
) -> CohortTraining:
    """Find what is wrong with a training before anything is computed.

    Args:
        cache: the prepared cohort.
        out: the folder.
        config: what is done.
        resume: go on with what was interrupted there.
        importance, calibrate: see `CohortTraining`.

    Raises:
        ParameterError: the folder holds something, or is to be resumed and finished; or there are too few
            people to calibrate.
        BadFileError: there is no cache, or no run to resume.
        LeakError: the encoder to begin with knows the labels that calibration would be fitted to.
    """
    folder = Path(out)
    if not resume and is_first():
        Keep(folder=folder, identity={}).require_ready()
    cohort = Cache.open(cache)
    keep = Keep(folder=folder, identity=_identity(cohort, config), resume=resume)
    if resume:
        keep.require_ready()
    if calibrate:
        _require_calibratable(cohort, config)
    return CohortTraining(cache=cohort, config=config, keep=keep, importance=importance, calibrate=calibrate)


def _rarest(cache: Cache) -> int:
    """How many people the rarer of the two labels has."""
    labels, people = labels_and_people(cache)
    return min(len(set(people[labels == label])) for label in (0, 1))


def _require_calibratable(cache: Cache, config: StudyConfig) -> None:
    do = "train with --no-calibrate: its probabilities are then called uncalibrated"
    if (found := _rarest(cache)) < 2:
        raise ParameterError("people of each label, to calibrate", must_be="at least 2", got=found, do=do)
    if config.init_from is None:
        return
    seen = runs_seen_by(config.init_from, cache)
    if seen:
        raise LeakError(
            "encoder to begin with",
            must_be="trained on other people than those whose scores calibrate",
            got=f"one trained on {len(seen)} of these runs ({', '.join(sorted(seen)[:3])}, …)",
            do=do,
            path=config.init_from,
        )


def _identity(cache: Cache, config: StudyConfig) -> dict[str, Any]:
    """What a training to resume must have in common with the one that was begun, beside its options."""
    table = cache.table[["run_id", "person", "site", "label"]]
    return {
        "cohort": _digest(table.to_csv(index=False).encode()),
        "recipe": cache.identity,
        "tokens": spec_as_dict(tokens_for(cache, config.tokens)),
        "model": None if config.model is None else asdict(config.model),
        "init_from": None if config.init_from is None else _weights_digest(Path(config.init_from)),
    }


def _weights_digest(folder: Path) -> str:
    """Of all weights in a folder, wherever it lies."""
    return _digest(*(path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))))


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
