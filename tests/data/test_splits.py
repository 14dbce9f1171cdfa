"""Splits by person: every row tested once, nobody on both sides, labels balanced to within one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import LeakError, ParameterError
from data.splits.folds import (
    assert_no_leak,
    label_of_person,
    leave_one_site_out,
    repeated_subject_folds,
    subject_folds,
)


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
        ([0, 1, 0], ["a", None, "c"], r"a person for every row, got none for 1 of 3 \(row 1\)"),
        ([0, 1, 0], ["a", float("nan"), "c"], "a person for every row"),
        ([0, 1, 0], ["a", "b", " "], r"got none for 1 of 3 \(row 2\)"),
        ([0, 1, None], ["a", "b", "c"], "labels must be a label for every row"),
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


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, "", "  "])
def test_a_row_without_a_person_could_hide_a_leak(missing):
    """NaN equals nothing, itself included, so the same nameless person on both sides would go unseen."""
    with pytest.raises(ParameterError, match="a person for every row, got none for 2 of 4"):
        assert_no_leak([missing, "b", "c", missing], [0, 1], [2, 3])


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1], [-1], "test rows must be from 0 to 3, got -1"),
        ([0, 4], [1], "train rows must be from 0 to 3, got 0 to 4"),
        ([], [1], "train side of a split must be of at least one row"),
        ([True, False], [2], r"train mask must be of 4 rows, got shape \(2,\)"),
    ],
)
def test_sides_that_are_no_rows_are_refused(train, test, message):
    with pytest.raises(ParameterError, match=message):
        assert_no_leak(["a", "b", "c", "d"], train, test)


@settings(deadline=None, max_examples=25)
@given(cohorts(), st.integers(0, 5), st.integers(1, 3))
def test_every_repeat_is_a_whole_cross_validation(cohort, seed, n_repeats):
    labels, groups, sites, n_splits = cohort
    repeats = repeated_subject_folds(
        labels, groups, n_splits=n_splits, n_repeats=n_repeats, seed=seed, strata=sites
    )
    assert len(repeats) == n_repeats
    for folds in repeats:
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(labels)))
        for train, test in folds:
            assert_no_leak(groups, train, test)


def test_five_folds_times_ten_differ_from_each_other_and_repeat_with_the_seed():
    labels, groups = [0, 1] * 20, [f"s{i}" for i in range(40)]
    first, again, other = (repeated_subject_folds(labels, groups, seed=seed) for seed in (0, 0, 1))
    assert [len(folds) for folds in first] == [5] * 10
    dealt = lambda repeats: [tuple(tuple(test) for _, test in folds) for folds in repeats]  # noqa: E731
    assert len(set(dealt(first))) == 10
    assert dealt(first) == dealt(again)
    assert not set(dealt(first)) & set(dealt(other))
    with pytest.raises(ParameterError, match="n_repeats must be at least 1, got 0"):
        repeated_subject_folds(labels, groups, n_repeats=0)


def test_a_missing_site_is_no_site():
    with pytest.raises(ParameterError, match="sites must be a site for every row, got none for 1 of 3"):
        leave_one_site_out(["A", None, "B"], ["a", "b", "c"])


def test_labels_of_people():
    assert label_of_person([1, 0, 1], ["a", "b", "a"]) == {"a": 1, "b": 0}
    with pytest.raises(ParameterError, match="1 and 0 for a"):
        label_of_person([1, 0], ["a", "a"])


@pytest.fixture
def travellers() -> pd.DataFrame:
    """A table as cohorts have: p01 under two ids at two sites, p02 in two sessions, p03 in three runs."""
    rows = [
        ("sub-01", "p01", "A", "1", 1),
        ("sub-B07", "p01", "B", "1", 1),
        ("sub-02", "p02", "A", "1", 0),
        ("sub-02", "p02", "A", "2", 0),
        *[("sub-03", "p03", "B", "1", 1)] * 3,
        *[(f"sub-{i:02d}", f"p{i:02d}", "AB"[i % 2], "1", i // 2 % 2) for i in range(4, 20)],
    ]
    return pd.DataFrame(rows, columns=["participant_id", "person", "site", "session", "label"])


def test_one_person_under_two_names_is_one_group(travellers):
    for seed in range(20):
        for train, test in subject_folds(
            travellers["label"], travellers["person"], seed=seed, strata=travellers["site"]
        ):
            assert not set(travellers["person"].iloc[train]) & set(travellers["person"].iloc[test])


def test_folds_by_participant_id_would_leak_people_with_two_ids(travellers):
    def leaks(seed: int) -> bool:
        folds = subject_folds(travellers["label"], travellers["participant_id"], seed=seed)
        train, test = next(fold for fold in folds if 0 in fold[1])  # where sub-01 is tested
        try:
            assert_no_leak(travellers["person"], train, test)
        except LeakError as error:
            return "1 on both sides (p01)" in str(error)
        return False

    assert sum(map(leaks, range(20))) > 10


def test_who_was_scanned_at_two_sites_is_in_training_for_neither(travellers):
    folds = leave_one_site_out(travellers["site"], travellers["person"])
    for name, (train, test) in zip("AB", folds, strict=True):
        assert set(travellers["site"].iloc[test]) == {name}
        assert "p01" not in set(travellers["person"].iloc[train])
        assert "p01" in set(travellers["person"].iloc[test])


def test_a_person_who_changes_diagnosis_between_sessions_is_refused(travellers):
    travellers.loc[3, "label"] = 1
    with pytest.raises(ParameterError, match="labels must be one a person, got 0 and 1 for p02"):
        subject_folds(travellers["label"], travellers["person"])


def test_columns_of_pandas_numpy_and_lists_give_the_same_folds(travellers):
    label, person, site = (travellers[name] for name in ("label", "person", "site"))
    forms = [
        (label, person, site),
        (label.to_numpy(), person.to_numpy(object), site.to_numpy(object)),
        (label.tolist(), person.tolist(), site.tolist()),
        (label.astype("category"), person.astype("category"), site.astype("category")),
    ]
    found = [
        [test.tolist() for _, test in subject_folds(y, groups, strata=strata)] for y, groups, strata in forms
    ]
    assert all(folds == found[0] for folds in found)


@pytest.mark.shared
def test_taowu_and_neurocon_with_people_scanned_twice(shared_data):
    """The real tables, each tenth person once more, at the other place under another id."""
    tables = []
    for site in ("taowu", "neurocon"):
        with np.load(shared_data / "pd" / f"{site}.npz") as file:
            tables.append(pd.DataFrame({"participant_id": file["subject"], "label": file["y"], "site": site}))
    table = pd.concat(tables, ignore_index=True)
    table["person"] = table["site"] + "-" + table["participant_id"].astype(str)
    again = table.iloc[::10].assign(participant_id=lambda t: "again" + t["participant_id"].astype(str))
    again["site"] = again["site"].map({"taowu": "neurocon", "neurocon": "taowu"})
    table = pd.concat([table, again], ignore_index=True)
    assert len(table) == 81 + 9
    folds = subject_folds(table["label"], table["person"], strata=table["site"])
    first = table.drop_duplicates("person")
    for train, test in folds:
        assert_no_leak(table["person"], train, test)
        tested = first[first["person"].isin(table["person"].iloc[test])]
        counts = tested.groupby(["site", "label"]).size()
        expected = first.groupby(["site", "label"]).size() / 5
        assert (counts - expected).abs().max() < 1
    for train, test in leave_one_site_out(table["site"], table["person"]):
        assert_no_leak(table["person"], train, test)
        assert set(again["person"]) <= set(table["person"].iloc[test])
