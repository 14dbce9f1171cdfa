"""Splits by person: every row tested once, nobody on both sides, labels balanced to within one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import LeakError, ParameterError
from data.splits import assert_no_leak, leave_one_site_out, subject_folds


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[list[int], list[str], list[str], int]:
    """Rows in any order: persons with one to three runs, a label each, sites that may differ between runs."""
    n_splits = draw(st.integers(2, 6))
    patients = draw(st.integers(n_splits, 15))
    controls = draw(st.integers(n_splits, 15))
    rows = [
        (label, f"sub-{label}{i}", draw(st.sampled_from("ABC")))
        for label, count in ((1, patients), (0, controls))
        for i in range(count)
        for _ in range(draw(st.integers(1, 3)))
    ]
    rows = draw(st.permutations(rows))
    labels, groups, sites = zip(*rows, strict=True)
    return list(labels), list(groups), list(sites), n_splits


@settings(deadline=None)
@given(cohorts(), st.integers(0, 5), st.booleans())
def test_folds_test_every_row_once_and_never_share_a_person(cohort, seed, by_site):
    labels, groups, sites, n_splits = cohort
    folds = subject_folds(labels, groups, n_splits=n_splits, seed=seed, strata=sites if by_site else None)
    assert len(folds) == n_splits
    tested = np.concatenate([test for _, test in folds])
    assert sorted(tested) == list(range(len(labels)))
    for train, test in folds:
        assert sorted([*train, *test]) == list(range(len(labels)))
        assert not {groups[i] for i in train} & {groups[i] for i in test}
        assert_no_leak(groups, train, test)


@settings(deadline=None)
@given(cohorts(), st.integers(0, 5))
def test_persons_per_fold_label_and_stratum_differ_by_one_at_most(cohort, seed):
    labels, groups, sites, n_splits = cohort
    label_of = dict(zip(groups, labels, strict=True))
    first_site = dict(reversed(list(zip(groups, sites, strict=True))))
    folds = subject_folds(labels, groups, n_splits=n_splits, seed=seed, strata=sites)
    tested = [{groups[i] for i in test} for _, test in folds]
    for kind in (lambda p: None, label_of.get, lambda p: (label_of[p], first_site[p])):
        for value in {kind(person) for person in label_of}:
            counts = [sum(kind(person) == value for person in people) for people in tested]
            assert max(counts) - min(counts) <= 1


def test_folds_follow_the_seed_and_not_the_order_of_the_columns_type():
    labels, groups = [0, 1] * 20, [f"s{i}" for i in range(40)]
    first = subject_folds(labels, groups, seed=3)
    again = subject_folds(np.array(labels), np.array(groups), seed=3)
    other = subject_folds(labels, groups, seed=4)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(first, other, strict=True))


def test_too_few_subjects_are_refused_however_many_runs_they_have():
    labels, groups = [1] * 12 + [0] * 12, ["a", "b", "c"] * 4 + [f"h{i}" for i in range(12)]
    with pytest.raises(ParameterError, match=r"n_splits must be .* got 5 with 12 of label 0, 3 of label 1"):
        subject_folds(labels, groups, n_splits=5)
    assert len(subject_folds(labels, groups, n_splits=3)) == 3


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        ([0, 1, 0, 1], ["a", "a", "b", "c"], "0 and 1 for a"),
        ([0, 1, 0], ["a", "b"], "3 labels, 2 groups"),
        ([], [], "no subjects"),
    ],
)
def test_impossible_tables_are_refused(labels, groups, message):
    with pytest.raises(ParameterError, match=message):
        subject_folds(labels, groups, n_splits=2)


def test_one_fold_is_no_split():
    with pytest.raises(ParameterError, match="at least 2"):
        subject_folds([0, 1], ["a", "b"], n_splits=1)


@settings(deadline=None)
@given(cohorts())
def test_a_site_left_out_takes_its_people_with_it(cohort):
    _, groups, sites, _ = cohort
    if len(set(sites)) < 2:
        with pytest.raises(ParameterError, match="at least two"):
            leave_one_site_out(sites, groups)
        return
    seen = {name: {p for p, s in zip(groups, sites, strict=True) if s == name} for name in set(sites)}
    if any(people == set(groups) for people in seen.values()):
        with pytest.raises(ParameterError, match="remain to train on"):
            leave_one_site_out(sites, groups)
        return
    folds = leave_one_site_out(sites, groups)
    for name, (train, test) in zip(sorted(set(sites)), folds, strict=True):
        assert {sites[i] for i in test} == {name}
        assert name not in {sites[i] for i in train}
        assert_no_leak(groups, train, test)
    assert Counter(i for _, test in folds for i in test) == Counter(range(len(sites)))


def test_a_leak_names_the_people():
    groups = ["sub-01", "sub-02", "sub-03", "sub-02", "sub-01"]
    with pytest.raises(LeakError, match=r"2 on both sides \(sub-01, sub-02\)"):
        assert_no_leak(groups, [0, 1, 2], [3, 4])
    with pytest.raises(LeakError, match=r"sub-01"):
        assert_no_leak(groups, np.array([1, 0, 0, 0, 0], bool), np.array([0, 0, 0, 0, 1], bool))
    assert_no_leak(groups, [0, 4, 1, 3], [2])
