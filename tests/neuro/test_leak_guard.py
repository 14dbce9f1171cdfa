"""A split by slice, frame, run or augmented copy raises; one by person does not, whatever it was cut into."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

from data.errors import LeakError, ParameterError
from data.splits.folds import subject_folds
from neuro.protocol.leak_guard import assert_units_by_person, guarded, people_of_units, plural

PEOPLE = np.array([f"sub-{i:02d}" for i in range(12)], dtype=object)


@pytest.mark.parametrize(
    ("unit", "units"),
    [("slice", "slices"), ("frame", "frames"), ("run", "runs"), ("augmented copy", "augmented copies")],
)
def test_a_split_by_unit_is_refused_in_its_own_words(unit: str, units: str) -> None:
    unit_people = np.repeat(PEOPLE, 5)
    labels = np.repeat(np.arange(12) % 2, 5)
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(labels[:, None], labels):
        with pytest.raises(LeakError) as refused:
            assert_units_by_person(unit_people, train, test, unit)
        assert str(refused.value).startswith(f"training and test {units} must be of different people")
        assert f"split by person, not by {unit}" in str(refused.value)
        assert "sub-0" in str(refused.value)
    assert plural(unit) == units


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), units=st.integers(1, 6))
def test_folds_by_person_always_pass_and_one_shared_unit_never_does(seed: int, units: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.repeat(np.arange(12), units))
    unit_people, labels = PEOPLE[order], order % 2
    for train, test in subject_folds(labels, unit_people, n_splits=3, seed=seed):
        assert_units_by_person(unit_people, train, test)
        with pytest.raises(LeakError, match="1 on both sides"):
            assert_units_by_person(unit_people, np.append(train, test[0]), test)


def test_copies_belong_to_the_person_of_their_original() -> None:
    """Each run once turned round and once with noise: a copy in training gives its original away."""
    originals = np.arange(12)
    copies = people_of_units(PEOPLE, np.concatenate([originals, originals, originals]))
    with pytest.raises(LeakError, match="12 on both sides"):
        assert_units_by_person(copies, np.arange(12, 36), np.arange(12), "augmented copy")
    train = np.flatnonzero(np.tile(originals, 3) < 9)
    assert_units_by_person(copies, train, np.arange(9, 12), "augmented copy")


def test_a_person_scanned_twice_is_a_leak_between_runs() -> None:
    """Two runs under two names: the person is what counts."""
    people = np.array(["ann", "ann", "bo", "cy"], dtype=object)
    with pytest.raises(LeakError, match="runs of the same people: 1 on both sides \\(ann\\)"):
        assert_units_by_person(people, [0, 2], [1, 3], "run")


def test_guarded_gives_what_it_checked_and_stops_at_the_first_leak() -> None:
    unit_people, labels = np.repeat(PEOPLE, 4), np.repeat(np.arange(12) % 2, 4)
    folds = list(guarded(GroupKFold(3), labels, unit_people))
    expected = GroupKFold(3).split(labels, labels, unit_people)
    for (train, test), (wanted_train, wanted_test) in zip(folds, expected, strict=True):
        np.testing.assert_array_equal(train, wanted_train)
        np.testing.assert_array_equal(test, wanted_test)
    with pytest.raises(LeakError, match="frames"):
        next(guarded(KFold(3, shuffle=True, random_state=0), labels, unit_people, "frame"))


def test_units_of_nobody_and_rows_that_are_not_there_are_refused() -> None:
    with pytest.raises(ParameterError, match="a person for every row"):
        assert_units_by_person(np.array(["a", None], dtype=object), [0], [1])
    with pytest.raises(ParameterError, match="from 0 to 11"):
        people_of_units(PEOPLE, [0, 12])
    with pytest.raises(ParameterError, match="from 0 to 11"):
        people_of_units(PEOPLE, [-1, 3])
