"""A training of the whole of a cohort in a folder: begun or resumed, and saved whole at its end."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.caches.cache import Cache
from neuro.continual.importance import importance_of, save_importance
from neuro.run_folder import save_run
from neuro.study import StudyConfig, cut_runs, labels_and_people, tokens_for
from neuro.tokens import spec_as_dict
from neuro.training.keeping import Keep
from neuro.training.loop import Listeners
from vision.training.ranks import is_first


@dataclass(frozen=True, kw_only=True, eq=False)
class CohortTraining:
    """A cohort, what is done with it, and where.

    Attributes:
        cache: the prepared cohort.
        config: tokens, model, training, seed and device.
        keep: the folder.
        importance: also write how much each weight matters to these runs, for `neuro update` without them;
            as large as the model, and as long as a pass or a few over the runs.
    """

    cache: Cache
    config: StudyConfig
    keep: Keep
    importance: bool = False

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
        if is_first():
            if self.importance:
                save_importance(importance_of(classifier.model_, runs), self.keep.folder)
            save_run(classifier, self.cache, self.keep.folder)
            self.keep.finish()
        losses: list[float] = classifier.losses_
        return losses


def open_training(
    cache: str | Path,
    out: str | Path,
    config: StudyConfig,
    *,
    resume: bool = False,
    importance: bool = False,
) -> CohortTraining:
    """Find what is wrong with a training before anything is computed.

    Args:
        cache: the prepared cohort.
        out: the folder.
        config: what is done.
        resume: go on with what was interrupted there.
        importance: see `CohortTraining`.

    Raises:
        ParameterError: the folder holds something, or is to be resumed and finished.
        BadFileError: there is no cache, or no run to resume.
    """
    folder = Path(out)
    if not resume and is_first():
        Keep(folder=folder, identity={}).require_ready()
    cohort = Cache.open(cache)
    keep = Keep(folder=folder, identity=_identity(cohort, config), resume=resume)
    if resume:
        keep.require_ready()
    return CohortTraining(cache=cohort, config=config, keep=keep, importance=importance)


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
