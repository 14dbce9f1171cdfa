"""Who is learned from and who is tested, and what every strategy then says of them.

Two ways, by what is there:

* Old scans are (`nested_trials`): people of both cohorts are dealt out into folds together. In each fold the
  parent's recipe is trained afresh on the old people of the training side, and updated with the new ones of
  it; those held out are old and new people whom neither training saw. It is the recipe that is tested: the
  parent itself has seen every old person, and cannot be.
* People of the old sites whom the parent never saw are (`checked_trials`): then it is the parent itself, and
  the very update that would be saved, which are tested on them; new people are tested in folds.

Letters: N runs tested, in one order for all.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import LeakError, ParameterError
from data.splits.folds import assert_no_leak, subject_folds
from neuro.classifier import ParkinsonClassifier
from neuro.continual.config import OF_IMPORTANCE, Strategy, UpdateConfig
from neuro.continual.importance import importance_of
from neuro.continual.learning import Learned, afresh, updated
from neuro.continual.runs import Runs


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One deal.

    Attributes:
        before: old runs to train the parent's recipe on; None where the parent itself is taken.
        new: runs to update with.
        tested: rows of everybody who is tested.
    """

    before: Runs | None
    new: Runs
    tested: NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trials:
    """All deals, which test everybody once.

    Attributes:
        everybody: who is tested.
        is_new: of each run, whether it is of the new cohort (N,).
        deals: one or more.
        of_the_parent: whether the parent itself was tested on old people, or its recipe.
    """

    everybody: Runs
    is_new: NDArray[np.bool_]
    deals: Sequence[Trial]
    of_the_parent: bool

    @property
    def fold_of(self) -> NDArray[np.int64]:
        """The deal that tests each run (N,)."""
        folds = np.full(len(self.everybody), -1, dtype=np.int64)
        for number, deal in enumerate(self.deals):
            folds[deal.tested] = number
        return folds


@dataclass(frozen=True, kw_only=True, eq=False)
class Said:
    """Logits of everybody (N,), each from models that have not seen the person.

    Attributes:
        before: before the update.
        after: after it, by strategy.
        kept: models that were updated with all new people, by strategy; none of nested trials.
    """

    before: NDArray[np.float64]
    after: dict[Strategy, NDArray[np.float64]]
    kept: dict[Strategy, ParkinsonClassifier]


def nested_trials(old: Runs, new: Runs, *, folds: int, seed: int) -> Trials:
    """Deal old and new people out into folds, stratified by label and site.

    Raises:
        ParameterError: too few people of a label, or one name with two labels.
    """
    both = old + new
    is_new = np.arange(len(both)) >= len(old)
    deals = []
    for train, test in subject_folds(both.labels, both.people, n_splits=folds, seed=seed, strata=both.sites):
        assert_no_leak(both.people, train, test)
        before, added = both.rows(train[~is_new[train]]), both.rows(train[is_new[train]])
        deals.append(Trial(before=before, new=_some(added), tested=test))
    return Trials(everybody=both, is_new=is_new, deals=deals, of_the_parent=False)


def checked_trials(check: Runs, new: Runs, seen: Sequence[str], *, folds: int, seed: int) -> Trials:
    """Test the parent and its updates on old people whom neither saw, and on new people in folds.

    Args:
        check: runs of the old sites.
        new: runs of the new site.
        seen: whom the parent was trained on; those of them who come to the new site too are never tested.
        folds: of the new people.
        seed: of the deal.

    Raises:
        LeakError: people to check with are known to the parent, or are among the new ones.
        ParameterError: too few new people of a label.
    """
    _require_unseen(check, {*seen, *map(str, new.people)})
    known = np.isin(new.people.astype(str), list(seen))
    fresh, familiar = new.rows(np.flatnonzero(~known)), new.rows(np.flatnonzero(known))
    everybody, first = check + fresh, len(check)
    deals = [Trial(before=None, new=new, tested=np.arange(first))]
    for train, test in subject_folds(
        fresh.labels, fresh.people, n_splits=folds, seed=seed, strata=fresh.sites
    ):
        assert_no_leak(fresh.people, train, test)
        deals.append(Trial(before=None, new=fresh.rows(train) + familiar, tested=first + test))
    is_new = np.arange(len(everybody)) >= first
    return Trials(everybody=everybody, is_new=is_new, deals=deals, of_the_parent=True)


def run_trials(
    trials: Trials, parent: Learned, strategies: Sequence[Strategy], config: UpdateConfig
) -> Generator[str, None, Said]:
    """Train and test; gives what has just been done, and `Said` is the generator's value."""
    count = len(trials.everybody)
    before = np.full(count, np.nan)
    after = {strategy: np.full(count, np.nan) for strategy in strategies}
    kept: dict[Strategy, ParkinsonClassifier] = {}
    for deal in trials.deals:
        known = parent if deal.before is None else learned_afresh(parent.classifier, deal.before, strategies)
        yield "before"
        tested = trials.everybody.rows(deal.tested)
        before[deal.tested] = known.classifier.decision_function(tested.tokens)
        for strategy in strategies:
            model = updated(known, deal.new, strategy, config)
            after[strategy][deal.tested] = model.decision_function(tested.tokens)
            if trials.of_the_parent and not trials.is_new[deal.tested].any():
                kept[strategy] = model
            yield strategy
    return Said(before=before, after=after, kept=kept)


def learned_afresh(classifier: ParkinsonClassifier, runs: Runs, strategies: Sequence[Strategy]) -> Learned:
    """A recipe trained on runs, with the importance of its weights where a strategy asks for it."""
    fitted = afresh(classifier, runs)
    wanted = any(strategy in OF_IMPORTANCE for strategy in strategies)
    importance = importance_of(fitted.model_, runs.tokens) if wanted else None
    return Learned(classifier=fitted, runs=runs, importance=importance)


def _require_unseen(check: Runs, known: set[str]) -> None:
    both = sorted({str(person) for person in check.people} & known)
    if both:
        raise LeakError(
            "people to check with",
            must_be="neither in the parent's training nor in the added cohort",
            got=f"{len(both)} of them ({', '.join(both[:5])})",
            do="leave them out; if they only share a name, give the cohort a column `person`",
        )


def _some(added: Runs) -> Runs:
    if not len(added):
        got, do = "a fold that has none to train on", "take fewer folds, or add more people"
        raise ParameterError("new people", must_be="in every fold's training side", got=got, do=do)
    return added
