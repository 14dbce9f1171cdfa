"""One row a person: predictions and a cache's table -> label, one score, age, sex, motion and site.

Letters: D deals, N runs, G people, P and Q patients and controls among them, C columns of a design.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import ParameterError
from neuro.fairness.groups import ABSENT, aligned
from neuro.fairness.person_effects import person_effects
from neuro.protocol.predictions import Predictions
from neuro.sites.covariates import learn_covariate

Floats = NDArray[np.float64]
COVARIATES = {"age": "age", "sex": "sex", "motion": "fd_mean", "site": "site"}
NUMBERS = ("age", "motion")
SMALLEST_FOLD = 4  # people, to be a fold with an offset of its own
DEPENDENT = 1e-8  # of a column's length: what is left of it beside others, if it says nothing new


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonRows:
    """People who were tested.

    Attributes:
        labels_G: 0 or 1.
        score_G: out-of-fold, one a person, folds' offsets taken out: see `person_effects`.
        component_G: people of one number can be compared.
        together_PQ: in how many deals a patient and a control were tested by the same fold.
        covariates: `age`, `sex`, `motion` (log of the mean displacement) and `site`, one row a person; what
            is not known is missing.
    """

    labels_G: NDArray[np.int64]
    score_G: Floats
    component_G: NDArray[np.intp]
    together_PQ: Floats
    covariates: pd.DataFrame

    @property
    def known(self) -> list[str]:
        """Covariates that differ between people: the others cannot be partialled out, or need not be."""
        return [str(name) for name in self.covariates if self.covariates[name].dropna().nunique() > 1]


def person_rows(predictions: Predictions, table: pd.DataFrame) -> PersonRows:
    """Bring runs and deals together by person.

    Scores and numbers are averaged over a person's runs; of words the commonest is taken.

    Args:
        predictions: of one model.
        table: of the cache: `run_id` and what it has of `age`, `sex`, `fd_mean`, `site`.

    Raises:
        ParameterError: a run is not in the table, a person has two labels or two folds in one deal, or all
            people have one label.
    """
    by_run = aligned(predictions.run_ids, table.set_index(table["run_id"].astype(str)))
    tested_N = np.asarray(predictions.tested.any(axis=0))
    rows = pd.DataFrame({name: _column(by_run, name) for name in COVARIATES})
    rows["label"] = predictions.labels
    rows["person"] = predictions.people.astype(str)
    there = pd.DataFrame(rows[tested_N])
    people = there.groupby("person", sort=True)
    if (people["label"].nunique() > 1).any() or there["label"].nunique() < 2:
        raise ParameterError("labels", must_be="one a person, and both there", got="otherwise")
    labels_G = people["label"].first().to_numpy(np.int64)
    score_DG, fold_DG = _by_person(predictions, tested_N)
    effects = person_effects(score_DG, fold_DG)
    return PersonRows(
        labels_G=labels_G,
        score_G=effects.effect_G,
        component_G=effects.component_G,
        together_PQ=_together(fold_DG, labels_G),
        covariates=pd.DataFrame(
            {name: people[name].mean() if name in NUMBERS else _commonest(there, name) for name in COVARIATES}
        ),
    )


def design(people: PersonRows, *, squares: bool, components: bool) -> tuple[Floats, list[str]]:
    """Columns (G, C) of the covariates and their names, ones first; none that follows from those before it.

    Who lacks a value gets the average, and a column of the lacking.

    Args:
        people: and what is known of them.
        squares: numbers stand with their square too, so that what grows unevenly with age is taken out.
        components: each component has a level of its own.
    """
    columns, names = [np.ones(len(people.labels_G))], ["intercept"]
    if components:
        for component in range(1, int(people.component_G.max()) + 1):
            columns.append(np.where(people.component_G == component, 1.0, 0.0))
            names.append(f"fold {component}")
    for name in people.known:
        values = people.covariates[name]
        coded_GC, terms = terms_of(people, name)
        columns += list(coded_GC.T)
        names += terms
        if squares and name in NUMBERS:
            columns.append(coded_GC[:, 0] ** 2)
            names.append(f"{name} squared")
        if values.isna().any():
            columns.append(np.where(values.isna().to_numpy(), 1.0, 0.0))
            names.append(f"{name} not known")
    kept = _independent(columns)
    return np.stack([columns[i] for i in kept], axis=1), [names[i] for i in kept]


def terms_of(people: PersonRows, name: str) -> tuple[Floats, list[str]]:
    """A covariate's own columns (G, C), in standard scores or one a level but the first, and their names."""
    covariate = learn_covariate(name, people.covariates[name])
    return covariate.columns(people.covariates[name]), covariate.terms


def _by_person(predictions: Predictions, tested_N: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int64]]:
    """Scores (D, G), the mean of a person's runs, and folds (D, G); small folds of a deal become one."""
    names, person_N = np.unique(predictions.people[tested_N].astype(str), return_inverse=True)
    score_DG = np.full((predictions.deals, len(names)), np.nan)
    fold_DG = np.full(score_DG.shape, -1, dtype=np.int64)
    rest = int(predictions.folds.max()) + 1
    for deal, (score_N, fold_N) in enumerate(
        zip(predictions.scores[:, tested_N], predictions.folds[:, tested_N], strict=True)
    ):
        here = np.flatnonzero(fold_N >= 0)
        who, count = person_N[here], np.bincount(person_N[here], minlength=len(names))
        there_G = count > 0
        sums_G = np.bincount(who, score_N[here], len(names))
        score_DG[deal, there_G] = sums_G[there_G] / count[there_G]
        fold_DG[deal, who] = fold_N[here]
        if (fold_DG[deal, who] != fold_N[here]).any():
            raise ParameterError("folds", must_be="one a person in each deal", got="two for somebody")
        sizes = np.bincount(fold_DG[deal, there_G], minlength=rest)
        small_G = there_G & (sizes[np.maximum(fold_DG[deal], 0)] < SMALLEST_FOLD)
        fold_DG[deal, small_G] = rest
    return score_DG, fold_DG


def _together(fold_DG: NDArray[np.int64], labels_G: NDArray[np.int64]) -> Floats:
    together_PQ = np.zeros((int((labels_G == 1).sum()), int((labels_G == 0).sum())))
    for fold_G in fold_DG:
        patients, controls = fold_G[labels_G == 1][:, None], fold_G[labels_G == 0][None, :]
        together_PQ += (patients == controls) & (patients >= 0)
    return together_PQ


def _independent(columns: list[Floats]) -> list[int]:
    """Which columns are no combination of those before them."""
    kept: list[int] = []
    for i, column in enumerate(columns):
        rest = column
        if kept:
            before = np.stack([columns[k] for k in kept], axis=1)
            rest = column - before @ np.linalg.lstsq(before, column, rcond=None)[0]
        if np.linalg.norm(rest) > DEPENDENT * max(float(np.linalg.norm(column)), 1.0):
            kept.append(i)
    return kept


def _column(by_run: pd.DataFrame, name: str) -> pd.Series:
    source = COVARIATES[name]
    if source not in by_run:
        return pd.Series(np.nan, index=by_run.index, dtype=float if name in NUMBERS else object)
    if name not in NUMBERS:
        words = by_run[source].map(lambda value: "" if pd.isna(value) else str(value).strip()).astype(object)
        return words.mask(words.map(lambda word: word.casefold() in ABSENT).astype(bool), None)
    values = pd.to_numeric(by_run[source], errors="coerce").astype(float)
    # Displacements are skewed to the right.
    return values.where(values > 0).map(np.log) if name == "motion" else values


def _commonest(rows: pd.DataFrame, name: str) -> pd.Series:
    """Each person's commonest word, of equally common ones the first in the alphabet; None of none."""
    counts: dict[str, Counter[str]] = {person: Counter() for person in sorted(set(rows["person"]))}
    for person, word in zip(rows["person"], rows[name], strict=True):
        if isinstance(word, str):
            counts[person][word] += 1
    chosen = [min(of, key=lambda word: (-of[word], word), default=None) for of in counts.values()]
    return pd.Series(chosen, index=list(counts), dtype=object)
