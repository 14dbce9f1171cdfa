"""Nested splits: nobody on both sides at any level, training rows validated once, indices of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import LeakError, ParameterError
from data.splits.folds import leave_one_site_out, subject_folds
from data.splits.nested_splits import NestedFold, assert_nested, nest_by_site, nest_by_subject


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """Rows in any order, people with one to three runs at one of three sites each; enough for both levels."""
    n_outer, n_inner = draw(st.integers(2, 4)), draw(st.integers(2, 3))
    least = n_inner + -(-n_inner // (n_outer - 1)) + 1
    rows = [
        (label, f"sub-{label}{i:02d}", "ABC"[draw(st.integers(0, 2))])
        for label in (0, 1)
        for i in range(draw(st.integers(max(least, n_outer), 14)))
        for _ in range(draw(st.integers(1, 3)))
    ]
    labels, groups, sites = zip(*draw(st.permutations(rows)), strict=True)
    return np.array(labels), np.array(groups), np.array(sites), n_outer, n_inner


def people(groups: np.ndarray, rows: np.ndarray) -> set[str]:
    return set(groups[rows])


@settings(deadline=None, max_examples=50)
@given(cohorts(), st.integers(0, 5))
def test_inner_folds_deal_out_the_training_side_by_person(cohort, seed):
    labels, groups, sites, n_outer, n_inner = cohort
    outer = subject_folds(labels, groups, n_splits=n_outer, seed=seed, strata=sites)
    nested = nest_by_subject(outer, labels, groups, n_splits=n_inner, seed=seed, strata=sites)
    label_of = dict(zip(groups, labels, strict=True))
    assert len(nested) == n_outer
    for (train, test), fold in zip(outer, nested, strict=True):
        np.testing.assert_array_equal(fold.train, train)
        np.testing.assert_array_equal(fold.test, test)
        assert len(fold.inner) == n_inner
        assert sorted(np.concatenate([b for _, b in fold.inner])) == sorted(train)
        for a, b in fold.inner:
            assert sorted([*a, *b]) == sorted(train)
            sides = [people(groups, rows) for rows in (a, b, test)]
            assert len(set.union(*sides)) == sum(map(len, sides))
        for label in (0, 1):
            counts = [sum(label_of[person] == label for person in people(groups, b)) for _, b in fold.inner]
            assert max(counts) - min(counts) <= 1


@settings(deadline=None, max_examples=50)
@given(cohorts())
def test_sites_within_sites(cohort):
    _, groups, sites, _, _ = cohort
    home = dict(zip(groups, sites, strict=True))
    sites = np.array([home[person] for person in groups])  # nobody travels here
    if len(set(sites)) < 3:
        return
    nested = nest_by_site(leave_one_site_out(sites, groups), sites, groups)
    for name, fold in zip(sorted(set(sites)), nested, strict=True):
        assert set(sites[fold.test]) == {name}
        inner = sorted(set(sites) - {name})
        for other, (a, b) in zip(inner, fold.inner, strict=True):
            assert set(sites[b]) == {other}
            assert set(sites[a]) == set(inner) - {other}
            assert not people(groups, a) & people(groups, b)


def test_a_traveller_is_in_no_training_side_beside_a_site_of_theirs():
    sites = np.array([*"AABBCC", "A", "B"])
    groups = np.array([*"abcdef", "t", "t"])
    for fold in nest_by_site(leave_one_site_out(sites, groups), sites, groups):
        for a, b in fold.inner:
            assert not people(groups, a) & (people(groups, b) | people(groups, fold.test))
        if "t" in people(groups, fold.test):
            assert "t" not in people(groups, fold.train)


def test_subject_folds_within_a_site_left_out():
    sites, labels = np.repeat(list("AB"), 12), np.tile([0, 1], 12)
    groups = np.array([f"p{i}" for i in range(24)])
    outer = leave_one_site_out(sites, groups)
    for fold in nest_by_subject(outer, labels, groups, n_splits=3):
        assert len(fold.inner) == 3
        assert len(set(sites[fold.train])) == 1
    with pytest.raises(ParameterError, match="inner sites of outer fold 1 of 2 must be at least two, got B"):
        nest_by_site(outer, sites, groups)


def test_too_few_people_for_inner_folds_names_the_outer_fold():
    labels, groups = [0, 1] * 6, [f"p{i}" for i in range(12)]
    outer = subject_folds(labels, groups, n_splits=3)
    with pytest.raises(ParameterError, match="inner n_splits of outer fold 1 of 3 must be no larger"):
        nest_by_subject(outer, labels, groups, n_splits=5)


def test_an_outer_leak_is_found_before_anything_is_nested():
    labels, groups = [0, 1, 0, 1, 0, 1], ["a", "b", "c", "d", "a", "b"]
    with pytest.raises(LeakError, match="2 on both sides"):
        nest_by_subject([(np.arange(4), np.array([4, 5]))], labels, groups, n_splits=2)


@pytest.mark.parametrize(
    ("inner", "error", "message"),
    [
        (([0, 1], [2]), LeakError, r"1 on both sides \(a\)"),  # a's two runs on the two inner sides
        (([1], [3, 6]), LeakError, r"1 on both sides \(e\)"),  # a run of the tested person
        (([1], [3, 5]), ParameterError, r"rows of the outer fold's training side, got 1 others \(row 5\)"),
    ],
)
def test_inner_folds_that_meet_themselves_the_test_or_outsiders(inner, error, message):
    groups = ["a", "b", "a", "c", "e", "f", "e"]
    fold = NestedFold(train=np.array([0, 1, 2, 3]), test=np.array([4]), inner=[tuple(map(np.array, inner))])
    with pytest.raises(error, match=message):
        assert_nested(groups, fold)


def test_columns_of_different_lengths_are_refused():
    outer = subject_folds([0, 1, 0, 1], list("abcd"), n_splits=2)
    with pytest.raises(ParameterError, match="labels and groups and strata must be of one length"):
        nest_by_subject(outer, [0, 1, 0], list("abcd"), n_splits=2)
    with pytest.raises(ParameterError, match="sites and groups must be of one length, got 3 sites, 4 groups"):
        nest_by_site(outer, list("ABA"), list("abcd"))
