"""Who a report is about: cohorts counted, unknown, hostile."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape

from neuro.report.cohort_words import cohort_in_words, cohort_rows
from neuro.report.content import ReportInputs

from .full_report import pictures, render, write_page
from .made_results import made_results

pytest_plugins = ("tests.neuro.report_fixtures",)

HOSTILE = ("<script>alert(1)</script>", "\"'&", r"$\frac{$", "a $5 and $6 site")


@pytest.mark.usefixtures("undrawn")
def test_the_cohort_is_counted_by_people(inputs: ReportInputs, tmp_path: Path) -> None:
    html = render(inputs, tmp_path)
    rows = re.findall(r"<tr><td>(\w)</td><td>(\w+)</td><td class=\"n\">(\d+)</td>", html)
    expected = inputs.results.table.groupby(["site", "label"])["person"].nunique()
    assert {(s, g): int(n) for s, g, n in rows} == {
        (site, "patients" if label else "controls"): count for (site, label), count in expected.items()
    }


@pytest.mark.usefixtures("undrawn")
def test_a_person_of_two_participant_ids_is_counted_once(inputs: ReportInputs, tmp_path: Path) -> None:
    table = inputs.results.table.copy()
    assert "20 patients and 20 controls from 2 sites." in render(inputs, tmp_path)
    first, second = table.index[table["label"] == 1][:2]
    table.loc[second, ["person", "site"]] = table.loc[first, ["person", "site"]]
    html = render(replace(inputs, results=replace(inputs.results, table=table)), tmp_path)
    assert "19 patients and 20 controls from 2 sites." in html
    site = table.loc[first, "site"]
    row = next(row for row in cohort_rows(table) if (row["site"], row["group"]) == (site, "patients"))
    runs = int(((table["site"] == site) & (table["label"] == 1)).sum())
    assert (row["people"], row["runs"]) == (runs - 1, runs)


@pytest.mark.usefixtures("undrawn")
def test_what_was_left_out_is_listed(inputs: ReportInputs, tmp_path: Path) -> None:
    facts = {**inputs.results.facts, "excluded": [["sub-99", "no mask <here>"]]}
    html = render(replace(inputs, results=replace(inputs.results, facts=facts)), tmp_path)
    assert "<li>sub-99: no mask &lt;here&gt;</li>" in html
    assert "Left out: 1" in html


def test_a_hostile_site_name_is_only_a_name(tmp_path: Path) -> None:
    """In the table, in every picture, and in what is found of groups."""
    command = " ".join(HOSTILE)
    made = made_results(sites=HOSTILE, command=command, remark=command, excluded=[[command, command]])
    html = render(ReportInputs(results=made), tmp_path)
    assert "<script" not in html
    assert all(b"<script" not in content for _, content in pictures(html).values())
    for name in HOSTILE:
        assert f"<td>{escape(name)}</td>" in html
    assert f"<code>{escape(command)}</code>" in html


@pytest.mark.parametrize("sex", ["n/a", np.nan, None])
def test_unknown_ages_and_sexes_are_told_as_unknown(sex: object) -> None:
    table = made_results().table.assign(age=np.nan, sex=sex, fd_mean=np.nan)
    rows = cohort_rows(table)
    assert len(rows) == 4
    for row in rows:
        assert (row["age"], row["female"], row["fd"]) == ("unknown",) * 3
    assert cohort_in_words(table) == "20 patients and 20 controls from 2 sites."


@pytest.mark.usefixtures("undrawn")
def test_a_cohort_of_which_nothing_is_known_is_reported(tmp_path: Path) -> None:
    """One site, no age, no sex, no motion; and no model but ours: found anew."""
    made = made_results(sites=["A"], across=False)
    table = made.table.assign(age=np.nan, sex="n/a", fd_mean=np.nan)
    made = replace(made, table=table, models=made.models[:1])
    found = write_page(ReportInputs(results=made), tmp_path / "report.html")
    assert found.verdict.comparisons == ()
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "It was not compared with models of confounds alone" in html
    assert "was not tested: none is known" in html
    assert "Whether results differ by medication was not tested" in html
    assert "It was not tested on a site that it had not seen, as there is one site only." in html
    assert "Head motion is known of nobody" in html
