"""Group tests against other ways to the same figures: scipy's, enumeration, and simulated coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, rankdata

from data.quality.group_differences import group_tests, holm, one_row_a_person, stratified_auc, van_elteren


def cohort(rng, shift: float = 0.0, people: int = 48, gap: float = 5.0) -> pd.DataFrame:
    """Two sites whose levels are far apart, and that have unlike shares of patients."""
    site = np.array(["A", "B"])[(np.arange(people) >= people // 2).astype(int)]
    patient = np.where(site == "A", np.arange(people) % 4 != 0, np.arange(people) % 4 == 0)
    value = rng.standard_normal(people) + gap * (site == "B") + shift * patient
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i}" for i in range(people)],
            "site": site,
            "label": patient.astype(int),
            "fd_mean": value,
        }
    )


def test_auc_is_the_share_of_pairs(rng) -> None:
    patients, controls = rng.integers(0, 6, 11).astype(float), rng.integers(0, 6, 9).astype(float)
    pairs = [(p > c) + (p == c) / 2 for p in patients for c in controls]
    estimate, (low, high) = stratified_auc([(patients, controls)])
    assert estimate == pytest.approx(np.mean(pairs))
    assert estimate == pytest.approx(mannwhitneyu(patients, controls).statistic / 99)
    assert low < estimate < high


@given(seed=st.integers(0, 10_000), m=st.integers(1, 9), n=st.integers(1, 9))
def test_swapping_the_groups_mirrors_the_interval(seed, m, n) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 5, m).astype(float), rng.integers(0, 5, n).astype(float)
    one, (low, high) = stratified_auc([(a, b)])
    other, (low_2, high_2) = stratified_auc([(b, a)])
    assert other == pytest.approx(1 - one)
    assert (low_2, high_2) == pytest.approx((1 - high, 1 - low), abs=1e-6)
    assert 0 <= low <= one <= high <= 1


def test_complete_separation_of_few_is_not_certainty() -> None:
    estimate, (low, high) = stratified_auc([(np.array([4.0, 5, 6]), np.array([1.0, 2, 3]))])
    assert (estimate, high) == (1, 1)
    assert 0.2 < low < 0.75


@pytest.mark.parametrize("strata", [1, 3])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(rng, strata) -> None:
    from scipy.stats import norm

    truth, held, runs = norm.cdf(0.8 / np.sqrt(2)), 0, 400
    for _ in range(runs):
        arms = [(rng.standard_normal(12) + 0.8, rng.standard_normal(15)) for _ in range(strata)]
        low, high = stratified_auc(arms)[1]
        held += low <= truth <= high
    assert 0.92 <= held / runs <= 0.99


def test_van_elteren_equals_the_enumeration_of_all_labellings(rng) -> None:
    strata = [(rng.standard_normal(6), np.arange(6) < 3), (rng.standard_normal(5), np.arange(5) < 2)]
    observed, every = _statistic(strata, [p for _, p in strata]), []
    for first in itertools.combinations(range(6), 3):
        for second in itertools.combinations(range(5), 2):
            labels = [np.isin(np.arange(6), first), np.isin(np.arange(5), second)]
            every.append(_statistic(strata, labels))
    exact = np.mean(np.abs(every) >= abs(observed) - 1e-9)
    assert van_elteren(strata) == pytest.approx(exact, abs=0.015)


def _statistic(strata, labels) -> float:
    return sum(
        (rankdata(values)[patient].sum() - patient.sum() * (len(values) + 1) / 2) / (len(values) + 1)
        for (values, _), patient in zip(strata, labels, strict=True)
    )


def test_one_stratum_agrees_with_mann_whitney(rng) -> None:
    values, patient = rng.standard_normal(8), np.arange(8) < 4
    values[patient] += 1
    exact = mannwhitneyu(values[patient], values[~patient], method="exact").pvalue
    assert van_elteren([(values, patient)]) == pytest.approx(exact, abs=0.015)


def test_a_difference_between_sites_is_none_between_groups(rng) -> None:
    """Unstratified, the site with more patients would make a difference where there is none."""
    table = cohort(rng)
    patient = table["label"] == 1
    assert mannwhitneyu(table["fd_mean"][patient], table["fd_mean"][~patient]).pvalue < 0.05
    (test,) = group_tests(table, ["fd_mean"])
    assert test.p > 0.05
    assert not test.shown


def test_a_planted_difference_is_found_with_its_sign(rng) -> None:
    (test,) = group_tests(cohort(rng, shift=2.5), ["fd_mean"])
    assert test.p < 0.01
    assert test.auc > 0.8
    assert test.shown
    assert test.cliffs_delta == pytest.approx(2 * test.auc - 1)
    assert [site.site for site in test.sites] == ["A", "B"]
    assert (test.patients, test.controls, test.unknown) == (24, 24, 0)
    (mirrored,) = group_tests(cohort(rng, shift=-2.5), ["fd_mean"])
    assert mirrored.auc < 0.2


def test_under_no_difference_p_is_spread_evenly(rng) -> None:
    found = []
    for seed in range(120):
        values, patient = rng.standard_normal(20), np.arange(20) < 10
        found.append(van_elteren([(values, patient)], permutations=199, seed=seed))
    assert 0.35 < np.mean(found) < 0.65
    assert np.mean(np.array(found) < 0.05) < 0.12


def test_a_persons_runs_are_one_value_and_sites_of_one_group_say_nothing(rng) -> None:
    table = cohort(rng)
    double = pd.concat([table, table.assign(fd_mean=table["fd_mean"] + 1)])
    people = one_row_a_person(double, ["fd_mean"])
    assert len(people) == len(table)
    np.testing.assert_allclose(
        people.set_index("person")["fd_mean"], table.set_index("participant_id")["fd_mean"].sort_index() + 0.5
    )
    lonely = pd.DataFrame({"participant_id": ["sub-x"], "site": ["C"], "label": [1], "fd_mean": [99.0]})
    (test,) = group_tests(pd.concat([table, lonely]), ["fd_mean"])
    assert (test.patients + test.controls, test.unknown) == (48, 1)
    assert test.p == group_tests(table, ["fd_mean"])[0].p


def test_measures_without_values_or_without_spread_are_left_out(rng) -> None:
    table = cohort(rng).assign(flat=1.0, absent=np.nan)
    assert [test.measure for test in group_tests(table, ["flat", "absent", "fd_mean"])] == ["fd_mean"]
    assert group_tests(table.assign(label=1), ["fd_mean"]) == []


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_sites_weigh_as_in_van_elterens_test() -> None:
    """By m n / (m + n + 1): a site of two people hardly counts beside one of twenty."""
    large = (np.arange(10) + 0.5, np.arange(10.0))  # AUC 0.55
    small = (np.array([0.0]), np.array([1.0]))  # AUC 0
    weights = 100 / 21, 1 / 3
    expected = 0.55 * weights[0] / sum(weights)
    assert stratified_auc([large, small])[0] == pytest.approx(expected)
