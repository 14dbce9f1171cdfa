"""`neuro update`: a trained run + the cohort of a new site -> an updated run, or a refusal; and a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from data.caches.cache import Cache
from data.errors import ParameterError
from data.writing import require_new_or_empty
from neuro.calibration.novelty import Novelty
from neuro.classifier import ParkinsonClassifier
from neuro.classifier.run_folder import TrainedRun, assert_unseen, load_run
from neuro.continual.calibrated import calibration_of, novelty_of
from neuro.continual.config import STRATEGIES, Margins, Strategy, UpdateConfig, as_facts
from neuro.continual.fitting import require_cut_alike, require_fit, require_new, require_own
from neuro.continual.folder import Accepted, digest_of_cohort, write_update
from neuro.continual.importance import Importance, importance_of, load_importance
from neuro.continual.learning import Learned, gone_on, missing, require, updated
from neuro.continual.matrix import Matrix, Panel, matrix_of
from neuro.continual.outcome import Outcome
from neuro.continual.runs import Runs, runs_of
from neuro.continual.trials import Said, Trials, checked_trials, nested_trials, run_trials

Done = Callable[[str, int], None]  # what has just been done, and how much there is in all


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How an update is judged.

    Attributes:
        margins: how much worse an old site may get.
        folds: of people.
        strategies: to show beside the chosen one, where they can be taken.
    """

    margins: Margins = field(default_factory=Margins)
    folds: int = 4
    strategies: Sequence[Strategy] = STRATEGIES


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What an update is accepted with: the parent, whom it was tested on, and what was said of them."""

    known: Learned
    check: Runs | None
    new: Runs
    trials: Trials
    said: Said


@dataclass(frozen=True, kw_only=True, eq=False)
class Update:
    """All that an update needs, opened and checked; make one with `open_update`.

    Attributes:
        parent: the trained run.
        parent_folder: where it lies.
        added: the cohort of the new site.
        old: the cohorts that the parent was trained on, where they are kept.
        check: people of the old sites whom the parent has not seen, where there are some.
        config: how to go on.
        protocol: how it is judged.
        strategy: named beforehand; None takes "replay" where old scans are there, else "ewc"; of a run that
            was not learned in steps, "cumulative".
    """

    parent: TrainedRun
    parent_folder: Path
    added: Cache
    old: Sequence[Cache]
    check: Cache | None
    config: UpdateConfig
    protocol: Protocol
    strategy: Strategy | None = None

    @property
    def chosen(self) -> Strategy:
        """The strategy that the decision is about."""
        if self.strategy is None and self.config.training.adaptation.method == "svm":
            return "cumulative"
        return self.strategy or ("replay" if self.old else "ewc")

    def run(self, out: str | Path, done: Done | None = None) -> Outcome:
        """Try every strategy, decide about the chosen one, and write what was found.

        Raises:
            ParameterError: runs that cannot be cut or trained on, too few people, a strategy that lacks what
                it needs.
            LeakError: people to check with are known.
        """
        old = self._runs(self.old) if self.old else None
        check = self._runs([self.check]) if self.check is not None else None
        new = _at_new_sites(self._runs([self.added]), old, check)
        known = Learned(classifier=self.parent.classifier, runs=old, importance=self._importance(old))
        require(self.chosen, known, self.config)
        lacks = {s: missing(s, known, self.config) for s in self.protocol.strategies if s != self.chosen}
        strategies = [self.chosen, *(s for s, why in lacks.items() if not why)]
        trials = self._trials(old, check, new)
        said = self._tried(trials, known, strategies, done or (lambda _what, _all: None))
        outcome = Outcome(
            chosen=self.chosen,
            matrices=_matrices(trials, said, self.config.seed),
            left_out={s: why for s, why in lacks.items() if why},
            of_the_parent=trials.of_the_parent,
            folds=self.protocol.folds,
            margins=self.protocol.margins,
            facts=self._facts(),
        )
        found = Found(known=known, check=check, new=new, trials=trials, said=said)
        write_update(outcome, self._accepted(found) if outcome.decision().accepted else None, out)
        return outcome

    def _runs(self, caches: Sequence[Cache]) -> Runs:
        runs = runs_of(caches, self.parent.tokens, self.parent.classifier.device)
        require_cut_alike(self.parent, runs, str(caches[0].root))
        return runs

    def _importance(self, old: Runs | None) -> Importance | None:
        """What lies beside the run; else, of the old runs themselves."""
        model = self.parent.classifier.model_
        if self.config.training.adaptation.method == "svm":
            return None
        stored = load_importance(self.parent_folder, model)
        return importance_of(model, old.tokens) if stored is None and old is not None else stored

    def _trials(self, old: Runs | None, check: Runs | None, new: Runs) -> Trials:
        folds, seed = self.protocol.folds, self.config.seed
        if check is not None:
            seen = [str(person) for person in self.parent.facts["people"]]
            return checked_trials(check, new, seen, folds=folds, seed=seed)
        assert old is not None
        return nested_trials(old, new, folds=folds, seed=seed)

    def _tried(self, trials: Trials, known: Learned, strategies: Sequence[Strategy], done: Done) -> Said:
        steps = run_trials(trials, known, strategies, self.config)
        total = len(trials.deals) * (1 + len(strategies))
        while True:
            try:
                done(next(steps), total)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    def _accepted(self, found: Found) -> Accepted:
        known, new = found.known, found.new
        kept = found.said.kept.get(self.chosen)
        classifier = kept or updated(known, new, self.chosen, self.config)
        learned = gone_on(known, new, self.chosen, classifier)
        scores, seed = found.said.after[self.chosen], self.config.seed
        return Accepted(
            classifier=classifier,
            importance=learned.importance,
            calibration=calibration_of(found.trials, scores, self.parent.calibration, seed=seed),
            novelty=self._novelty(classifier, found),
            parent=self.parent.facts,
            added=self.added,
        )

    def _novelty(self, classifier: ParkinsonClassifier, found: Found) -> Novelty | None:
        """Of old and new scans; where the old ones are not kept, of those of the same sites."""
        caches, runs = self.old, found.known.runs
        if runs is None:
            assert self.check is not None
            assert found.check is not None
            caches, runs = [self.check], found.check
        return novelty_of(classifier, runs + found.new, [*caches, self.added], self.parent.novelty)

    def _facts(self) -> dict[str, object]:
        added, parent = self.added, self.parent
        return {
            "parent": {
                "digest": parent.digest,
                "fingerprint": parent.facts["fingerprint"],
                "updated": parent.facts.get("updated"),
            },
            "added": {
                "digest": digest_of_cohort(added),
                "recipe": added.identity,
                "sites": sorted(set(map(str, added.table["site"]))),
                "runs": len(added),
                "people": int(added.table["person"].nunique()),
            },
            "old_scans_kept": bool(self.old),
            "update": as_facts(self.config),
            "version": version("chiasm"),
        }


def open_update(
    run: str | Path,
    added: str | Path,
    out: str | Path,
    *,
    old: Sequence[str | Path] = (),
    check: str | Path | None = None,
    config: Callable[[TrainedRun], UpdateConfig],
    protocol: Protocol | None = None,
    strategy: Strategy | None = None,
    device: str = "auto",
) -> Update:
    """Find what is wrong with an update before anything is computed.

    Raises:
        ParameterError: the folder holds something, cohorts that do not fit, or nobody to test old sites on.
        BadFileError: there is no run or no cache.
        FingerprintMismatchError: cohorts cleaned in another way; old ones that are not the run's.
        LeakError: the added cohort or the people to check with were trained on.
    """
    if not old and check is None:
        raise ParameterError(
            "--old or --check",
            must_be="given",
            got="neither",
            do="without people of the old sites nobody could say whether they got worse: give the scans that"
            " the run was trained on, or some of people at its sites whom it has not seen",
        )
    require_new_or_empty(Path(out))
    trained = load_run(run, device)
    kept, new = [Cache.open(path) for path in old], Cache.open(added)
    unseen = Cache.open(check) if check is not None else None
    for cache in (*kept, new, *([unseen] if unseen is not None else [])):
        require_fit(trained, cache)
    fresh = [new, *([unseen] if unseen is not None else [])]
    for cache in fresh:
        require_new(trained, cache)
    start = trained.classifier.init_from
    for cache in [*fresh, *(kept if unseen is None else [])] if start is not None else []:
        assert_unseen(str(start), cache)
    if kept:
        require_own(trained, kept)
    return Update(
        parent=trained,
        parent_folder=Path(run),
        added=new,
        old=kept,
        check=unseen,
        config=config(trained),
        protocol=protocol or Protocol(),
        strategy=strategy,
    )


def _at_new_sites(new: Runs, *others: Runs | None) -> Runs:
    """Runs of a site that is known by name already are told apart from those that were there before."""
    known = {str(site) for runs in others if runs is not None for site in runs.sites}
    named = [f"{site} (added)" if str(site) in known else str(site) for site in new.sites]
    return replace(new, sites=np.array(named, dtype=object))


def _matrices(trials: Trials, said: Said, seed: int) -> dict[Strategy, Matrix]:
    everybody = trials.everybody
    sites = [sorted(set(map(str, everybody.sites[trials.is_new == new]))) for new in (False, True)]
    panel = Panel(
        labels=everybody.labels,
        people=everybody.people,
        sites=everybody.sites,
        folds=trials.fold_of,
        learned={site: step for step in (0, 1) for site in sites[step]},
        seed=seed,
    )
    return {name: matrix_of(panel, np.stack([said.before, after])) for name, after in said.after.items()}
