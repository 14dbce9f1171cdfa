"""Who is in which group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.caches.cache import Cache
from data.errors import ParameterError
from neuro.fairness.groups import GROUPINGS, NOT_KNOWN, aligned, groups_of, in_words


def table_of(**columns: list[object]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    return pd.DataFrame({"run_id": [f"r{i}" for i in range(count)], **columns})


def test_a_cache_gives_every_grouping(cache: Cache) -> None:
    groups = groups_of(cache.table)
    assert list(groups) == list(GROUPINGS)
    assert list(groups.index) == cache.table["run_id"].tolist()
    assert set(groups["sex"]) <= {"women", "men"}
    assert set(groups["site"]) == set(cache.table["site"])
    assert set(groups["medication"]) == {NOT_KNOWN}
    assert groups["motion"].nunique() == groups["age"].nunique() == 3
    assert (groups["motion"].value_counts()[groups["motion"].unique()] == 4).all()  # of twelve runs


def test_what_is_not_known_is_a_group_of_its_own() -> None:
    table = table_of(
        sex=["F", "M", "n/a", ""],
        age=[60.0, 70.0, np.nan, 80.0],
        site=["A", "unknown", "B", "A"],
        fd_mean=[np.nan] * 4,
        medication=["on", "off", "n/a", "maybe"],
    )
    groups = groups_of(table)
    assert groups["sex"].tolist() == ["women", "men", NOT_KNOWN, NOT_KNOWN]
    assert groups["site"].tolist() == ["A", NOT_KNOWN, "B", "A"]
    assert groups["medication"].tolist() == ["on", "off", NOT_KNOWN, NOT_KNOWN]
    assert (groups["age"] == NOT_KNOWN).tolist() == [False, False, True, False]
    assert set(groups["motion"]) == {NOT_KNOWN}


def test_columns_that_are_not_there_are_not_known() -> None:
    groups = groups_of(table_of(label=[0, 1]))
    assert (groups == NOT_KNOWN).all(axis=None)


@settings(max_examples=60, deadline=None)
@given(ages=st.lists(st.floats(18, 95), min_size=1, max_size=40))
def test_the_name_of_an_age_band_holds_for_everybody_in_it(ages: list[float]) -> None:
    for age, group in zip(ages, groups_of(table_of(age=list(ages)))["age"], strict=True):
        words = str(group).split()
        if words[0] == "under":
            assert age < float(words[1])
        elif words[-1] == "over":
            assert age >= float(words[0])
        elif words[0] != "any":
            low, high = words[0], words[-1]
            assert float(low) <= age < float(high) + 1


def test_thirds_are_of_people_not_of_runs() -> None:
    """One person scanned often does not draw the bounds to their own age."""
    table = table_of(age=[50.0] * 20 + [60.0, 61.0, 70.0, 71.0, 80.0])
    table["person"] = ["often"] * 20 + list("abcde")
    counts = groups_of(table).drop_duplicates("age")["age"].nunique()
    assert counts == 3


def test_bands_keep_their_order_and_the_unknown_comes_last() -> None:
    groups = groups_of(table_of(age=[50.0, 60.0, 70.0, 80.0, 55.0, np.nan]))
    assert str(groups["age"].cat.categories[0]).startswith("under")
    assert groups["age"].cat.categories[-1] == NOT_KNOWN


def test_words_for_a_sentence() -> None:
    assert in_words("sex", "women") == "women"
    assert in_words("age", "61 to 67") == "people of 61 to 67"
    assert in_words("age", "under 61") == "people under 61"
    assert in_words("motion", "below 0.100 mm") == "runs with motion below 0.100 mm"
    assert in_words("medication", "on") == "people on medication"
    assert in_words("site", NOT_KNOWN) == "those whose site is not known"


def test_runs_without_groups_are_refused() -> None:
    groups = groups_of(table_of(sex=["F", "M"]))
    assert aligned(["r1", "r0"], groups)["sex"].tolist() == ["men", "women"]
    with pytest.raises(ParameterError, match="r9"):
        aligned(["r9"], groups)
    with pytest.raises(ParameterError, match="run_id"):
        groups_of(pd.DataFrame({"sex": ["F"]}))
