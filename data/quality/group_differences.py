"""Do patients and controls differ in motion, or another figure of quality? One value a person -> tests.

Motion is the classic confound: patients move more, motion changes connectivity (Power et al. 2012, doi
10.1016/j.neuroimage.2011.10.018), and a classifier may read it instead of the disease. The effect is the
probability that a patient has more than a control of the same site (AUC, ties count half): what a classifier
would reach that saw this figure and nothing else. Letters: N people, P permutations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PERMUTATIONS = 9_999
LEAST_PEOPLE = 3  # of each group at a site, for a test there


@dataclass(frozen=True, kw_only=True)
class SiteTest:
    """Mann-Whitney's test at one site.

    Attributes:
        site: its name.
        patients, controls: people.
        patient_median, control_median: of the measure.
        auc, low, high: probability that a patient has more than a control, and its 95 % interval.
        p: two-sided.
    """

    site: str
    patients: int
    controls: int
    patient_median: float
    control_median: float
    auc: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, kw_only=True)
class GroupTest:
    """A measure's difference between groups, over all sites.

    Attributes:
        measure: its name.
        patients, controls: people of sites that have both.
        auc, low, high: mean of the sites' AUC by van Elteren's weights, and its 95 % interval.
        p: van Elteren's statistic, permuted within sites, two-sided.
        p_corrected: after Holm's correction over all measures that were tested together.
        sites: the test at each site that has at least 3 of each group.
        unknown: people without a value, or of a site that has one group only.
    """

    measure: str
    patients: int
    controls: int
    auc: float
    low: float
    high: float
    p: float
    p_corrected: float
    sites: tuple[SiteTest, ...]
    unknown: int

    @property
    def cliffs_delta(self) -> float:
        """Cliff's delta, -1 to 1: twice the AUC, less one."""
        return 2 * self.auc - 1

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out 0.5."""
        return self.low > 0.5 or self.high < 0.5


def one_row_a_person(table: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Mean of each measure over a person's runs at a site: `person`, `site`, `label` and the measures."""
    person = table["person"] if "person" in table else table["participant_id"]
    rows = table.assign(person=person).groupby(["person", "site", "label"], as_index=False, sort=True)
    return rows[list(measures)].mean()


def group_tests(table: pd.DataFrame, measures: Sequence[str], seed: int = 0) -> list[GroupTest]:
    """Test each measure between patients (label 1) and controls (label 0), stratified by site.

    Args:
        table: one row a run: `participant_id` (or `person`), `site`, `label` and the measures.
        measures: its columns; those without a single value in either group, or that never vary, are left out.
        seed: of the permutations.
    """
    people = one_row_a_person(table, measures)
    found = [_test(people, measure, seed) for measure in measures if _varies(people, measure)]
    tested = [test for test in found if test is not None]
    corrected = holm([test.p for test in tested])
    return [
        GroupTest(**{**test.__dict__, "p_corrected": p}) for test, p in zip(tested, corrected, strict=True)
    ]


def _varies(people: pd.DataFrame, measure: str) -> bool:
    values = people[measure].dropna()
    return len(values) > 0 and bool(values.max() > values.min())


def _test(people: pd.DataFrame, measure: str, seed: int) -> GroupTest | None:
    strata = []
    for site, part in people.dropna(subset=[measure]).groupby("site", sort=True):
        values, patient = part[measure].to_numpy(float), part["label"].to_numpy() == 1
        if 0 < patient.sum() < len(patient):
            strata.append((str(site), values, patient))
    if not strata:
        return None
    arms = [(values[patient], values[~patient]) for _, values, patient in strata]
    auc, (low, high) = stratified_auc(arms)
    patients, controls = (sum(len(arm[i]) for arm in arms) for i in (0, 1))
    return GroupTest(
        measure=measure,
        patients=patients,
        controls=controls,
        auc=auc,
        low=low,
        high=high,
        p=van_elteren([(values, patient) for _, values, patient in strata], seed=seed),
        p_corrected=float("nan"),
        sites=tuple(
            _at_site(site, *arm)
            for (site, *_), arm in zip(strata, arms, strict=True)
            if min(map(len, arm)) >= LEAST_PEOPLE
        ),
        unknown=len(people) - patients - controls,
    )


def _at_site(site: str, patients: NDArray[np.float64], controls: NDArray[np.float64]) -> SiteTest:
    from scipy.stats import mannwhitneyu

    auc, (low, high) = stratified_auc([(patients, controls)])
    return SiteTest(
        site=site,
        patients=len(patients),
        controls=len(controls),
        patient_median=float(np.median(patients)),
        control_median=float(np.median(controls)),
        auc=auc,
        low=low,
        high=high,
        p=float(mannwhitneyu(patients, controls).pvalue),
    )


def stratified_auc(
    arms: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], z: float = 1.959964
) -> tuple[float, tuple[float, float]]:
    """P(patient > control) + P(equal) / 2, the mean over strata by van Elteren's weights, and its interval.

    The interval holds every value that the estimate is within `z` standard errors of, where the standard
    error is taken at that value (Newcombe 2006, doi 10.1002/sim.2324, method 5); the strata's variances add
    up. It keeps its coverage in small groups and never collapses at 0 or 1.

    Args:
        arms: for each stratum the values of patients and of controls.
        z: standard errors; 1.96 for 95 %.
    """
    from scipy.optimize import brentq

    sizes = np.array([[len(a), len(b)] for a, b in arms], dtype=float)
    weights = sizes.prod(axis=1) / (sizes.sum(axis=1) + 1)
    weights /= weights.sum()
    each = [((a[:, None] > b).mean() + (a[:, None] == b).mean() / 2) for a, b in arms]
    estimate = float(np.dot(weights, each))

    def excess(truth: float) -> float:
        return float((estimate - truth) ** 2 - z**2 * np.dot(weights**2, _newcombe_variance(truth, sizes)))

    # At 0 and at 1 the variance is none, and an estimate there would be its own trivial solution.
    low = 0.0 if excess(0.0) <= 0 else brentq(excess, 0.0, min(estimate, 1 - 1e-9))
    high = 1.0 if excess(1.0) <= 0 else brentq(excess, max(estimate, 1e-9), 1.0)
    return estimate, (float(low), float(high))


def _newcombe_variance(truth: float, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hanley & McNeil's variance of an AUC, made symmetric in the two groups by Newcombe."""
    middle = sizes.sum(axis=1) / 2 - 1
    factor = 1 + middle * ((1 - truth) / (2 - truth) + truth / (1 + truth))
    return np.asarray(truth * (1 - truth) * factor / sizes.prod(axis=1))


def van_elteren(
    strata: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]],
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> float:
    """Two-sided p of van Elteren's stratified rank sum (1960), labels permuted within strata.

    Args:
        strata: for each the values (N,) and who is a patient (N,).
        permutations: drawn; the labels as they are count as one more.
        seed: of the draw.
    """
    from scipy.stats import rankdata

    rng = np.random.default_rng(seed)
    observed, drawn_P = 0.0, np.zeros(permutations)
    for values_N, patient_N in strata:
        centred_N = rankdata(values_N)
        centred_N = (centred_N - centred_N.mean()) / (len(values_N) + 1)
        observed += float(centred_N[patient_N].sum())
        labels_PN = rng.permuted(np.tile(patient_N, (permutations, 1)), axis=1)
        drawn_P += labels_PN @ centred_N
    beyond = np.count_nonzero(np.abs(drawn_P) >= abs(observed) - 1e-9)
    return (beyond + 1) / (permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): the chance of one false alarm in all stays at the nominal level."""
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected.tolist()
