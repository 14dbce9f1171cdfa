"""All that a contender does with labels, as one number: labels -> AUC; and the same on permuted labels.

Labels deal people into folds, choose settings on inner folds, and train. Calibration and thresholds leave
the order of scores as it is, and with it the AUC, so they are left out here; so are inner folds where there
is one setting, as nothing is chosen.

Letters: D deals, N runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data.errors import ParameterError
from neuro.protocol.contender import Contender
from neuro.protocol.frozen_features import on_frozen_features
from neuro.protocol.intervals import auc_of_deals, mean_of_deals
from neuro.protocol.permutation import Permutations, PermutationTest, permutation_test, permuted_labels
from neuro.protocol.plan import PlanConfig, draw_plan
from neuro.protocol.resampling import Ints
from neuro.protocol.roster import Roster
from neuro.protocol.settling import scores_of_fold


def pipeline_auc(contender: Contender, roster: Roster, config: PlanConfig, labels: Ints) -> float:
    """AUC within folds of a contender, were these the labels.

    People are dealt into folds anew, stratified by these labels and by site.

    Args:
        contender: its seed is that of every training.
        roster: whose runs they are; its own labels do not count.
        config: how people are dealt; sites are not compared.
        labels: 0 or 1 for each run (N,), one a person.

    Raises:
        ParameterError: too few people for the folds, or a person has two labels.
    """
    roster = replace(roster, labels=np.asarray(labels))
    plan = draw_plan(roster, replace(config, across=False))
    shape = len(plan.within), len(roster)
    scores_DN, folds_DN = np.full(shape, np.nan), np.full(shape, -1)
    for deal, folds in enumerate(plan.within):
        for number, fold in enumerate(folds):
            scores_DN[deal, fold.test] = scores_of_fold(contender, roster, fold)
            folds_DN[deal, fold.test] = number
    once_RN = np.ones((1, len(roster)))
    return float(mean_of_deals(auc_of_deals(roster.labels, scores_DN, folds_DN, once_RN))[0])


def require_permutable(roster: Roster, config: PlanConfig) -> None:
    """Raise where labels cannot be permuted within sites, before anything is trained.

    Raises:
        ParameterError: each site holds one label only, a person has two, or too few people for the folds.
    """
    by_site = [set(roster.labels[roster.sites == site].tolist()) for site in set(roster.sites)]
    if all(len(labels) < 2 for labels in by_site):
        raise ParameterError(
            "permutations",
            must_be="left out where each site holds one label only",
            got=f"{len(by_site)} such sites",
            do="nothing can be permuted within them, and a model may read the site",
        )
    permuted_labels(roster.labels, roster.people, strata=roster.sites)
    draw_plan(roster, replace(config, across=False))


def permuted_pipeline(
    contender: Contender,
    roster: Roster,
    config: PlanConfig,
    how: Permutations,
    done: Callable[[], object] = lambda: None,
) -> PermutationTest:
    """Run a contender's whole pipeline on its labels, and on labels permuted between people of a site.

    Args:
        contender: what is tested.
        roster: whose runs they are, and their labels.
        config: how people are dealt into folds, anew for every permutation.
        how: number, time and seed.
        done: called after each permutation.

    Raises:
        ParameterError: as `permutation_test`, or too few people for the folds.
    """
    contender = on_frozen_features(contender)
    return permutation_test(
        lambda labels: pipeline_auc(contender, roster, config, labels),
        roster.labels,
        roster.people,
        strata=roster.sites,
        permutations=how.count,
        seconds=float("inf") if how.minutes is None else 60 * how.minutes,
        seed=how.seed,
        done=done,
    )


def permuted_in_words(test: PermutationTest, *, own_folds: bool = True) -> str:
    """How it was made, for the report.

    Args:
        test: what permuted labels gave.
        own_folds: False where the evaluation took folds from a file.
    """
    words = (
        f"{test.made_in_words}, of labels between people, within sites; each time people were dealt into"
        f" folds, settings chosen and models trained anew, in {test.seconds / 60:.1f} minutes in all."
        f" AUC {test.observed:.3f} by the labels as they are, {min(test.null):.3f} to {max(test.null):.3f}"
        " by permuted ones"
    )
    if own_folds:
        return words
    return (
        f"{words}. The folds of the evaluation are from a file; those of this test, also with the labels as"
        " they are, were drawn anew, so that its AUC need not be that of the table"
    )
