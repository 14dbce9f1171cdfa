"""What stands in a report, in both of its forms, where there is much to say and where there is little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neuro.explain import StudyMap
from neuro.protocol.results import Results
from neuro.report.content import ReportInputs
from neuro.report.reading import read

from .full_report import forms, full
from .made_results import made_results
from .undrawn import leave_undrawn


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_undrawn(monkeypatch)


def test_an_evaluation_of_little_is_reported_in_both_forms() -> None:
    """No other site, no map, no permutations, no model but ours; an old folder, without seeds and digests."""
    made = made_results(sites=["A"], across=False)
    little: Results = replace(
        made, table=made.table.assign(age=np.nan, sex="n/a", fd_mean=np.nan), models=made.models[:1]
    )
    for text in forms(ReportInputs(results=little), read(little)):
        assert "There is no map" in text
        assert "Could it be chance?" not in text
        assert "one site only" in text
        assert "Seeds" not in text
        assert "SHA-256" not in text
        assert "6p+detrend-0123" in text


def test_identity_is_told_as_far_as_it_was_kept() -> None:
    inputs = full(seeds={"plan": 3, "training": 4}, cohort_digest="c0ffee", recipe_identity="6p-1")
    for text in forms(inputs):
        for word in (
            "plan 3, training 4",
            "c0ffee",
            "6p-1",
            "chiasm 0",
            "cohort.csv " + "ab" * 8,
            "neuro evaluate",
        ):
            assert word in text


def test_ten_regions_and_five_clusters_are_shown_and_where_the_rest_is() -> None:
    _, markdown = forms(full())
    assert "The 10 strongest of 12 regions; the others are in regions.tsv." in markdown
    assert "The 5 largest of 6 clusters; the others are in clusters.tsv." in markdown
    assert "Region 9" in markdown
    assert "Region 10" not in markdown
    assert "| -6, 4, 10 |" in markdown
    assert "Between folds: 0.24." in markdown
    assert "relevance.html" in markdown


def test_where_there_can_be_no_map_its_words_say_why() -> None:
    inputs = replace(full(), relevance=StudyMap(words=("There is no map: 0 at every place.",)))
    _, markdown = forms(inputs)
    assert "There is no map: 0 at every place." in markdown
    assert "relevance" not in markdown


def test_permutations_are_counted_in_words() -> None:
    inputs = full()
    _, markdown = forms(inputs)
    assert "none of them did as well as the labels as they are (0.900)" in markdown
    assert "p = 0.017 one-sided" in markdown
    assert "(59 permutations)" in markdown
