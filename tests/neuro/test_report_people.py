"""Who was found, left out and tested; and what is known of the quality of the scans."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from neuro.protocol.results import Results
from neuro.report.blocks import Bullets, Picture, Section, Table, Words
from neuro.report.flow import flow, reasons, why_not_across
from neuro.report.quality_tests import quality_of
from neuro.report.reading import Reading, read
from neuro.report.sections.people import quality, who_was_tested

from .made_results import made_results

LEFT_OUT = [
    ["sub-90_task-rest_bold.nii.gz", "12 frames are left, fewer than 40 (sub-90)"],
    ["sub-91_task-rest_bold.nii.gz", "31 frames are left, fewer than 40 (sub-91)"],
    ["sub-91_run-2_bold.nii.gz", "7 frames are left, fewer than 40 (sub-91)"],
    ["sub-92", "no scan"],
    ["line 4", "no participant_id in people.tsv"],
]


@cache
def base() -> Reading:
    return read(made_results())


def reading_of(results: Results) -> Reading:
    """Predictions are always the same here: only the table and the facts are read anew."""
    return replace(base(), results=results, quality=quality_of(results.table))


def named(results: Results) -> Results:
    """People whose names are as in BIDS; the first is sub-90."""
    names = [f"sub-{90 if i == 0 else i}" for i in range(len(results.table))]
    return replace(results, table=results.table.assign(participant_id=names))


def test_reasons_are_counted_whatever_their_figures() -> None:
    table = named(made_results()).table
    first, *rest = reasons(LEFT_OUT, table)
    assert (first.entries, first.people, first.gone) == (3, {"sub-90", "sub-91"}, {"sub-91"})
    assert first.why == "… frames are left, fewer than …"
    assert {(one.why, one.entries) for one in rest} == {
        ("no scan", 1),
        ("no participant_id in people.tsv", 1),
    }
    assert reasons([], table) == []


def test_the_flow_adds_up() -> None:
    results = named(made_results(excluded=LEFT_OUT))
    steps = {one.what: one for one in flow(results)}
    assert (steps["found"].runs, steps["found"].people) == ("45", "42")
    left_out = [one for what, one in steps.items() if what.startswith("left out: ")]
    assert sum(int(one.runs) for one in left_out) == len(LEFT_OUT)
    assert left_out[0].people == "2 (1 of them in with other runs)"
    for what in ("in the cohort", "tested within folds", "tested from site to site"):
        assert (steps[what].runs, steps[what].people) == ("40", "40")
        assert (steps[what].patients, steps[what].controls) == ("20", "20")


def test_who_was_not_tested_is_told() -> None:
    results = made_results()
    folds = results.ours.within.folds.copy()
    folds[:, :3] = -1
    ours = replace(results.ours, within=replace(results.ours.within, folds=folds))
    steps = {one.what: one for one in flow(replace(results, models=[ours, *results.models[1:]]))}
    assert steps["tested within folds"].runs == "37"
    assert steps["not tested within folds: no fold held them"].runs == "3"
    assert steps["tested from site to site"].runs == "40"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"site": "A"}, "as there is one site only"),
        ({"site": "labels"}, "as there is one group only at 0, 1"),
        ({}, "as every side of a fold must have both groups"),
    ],
)
def test_why_sites_did_not_test_each_other(change: dict[str, Any], words: str) -> None:
    results = made_results(across=False)
    table = results.table
    if change:
        site = table["label"].astype(str) if change["site"] == "labels" else change["site"]
        table = table.assign(site=site)
    results = replace(results, table=table)
    assert why_not_across(results) == words
    last = flow(results)[-1]
    assert last.what == f"tested from site to site: nobody, {words}"
    assert (last.runs, last.people) == ("0", "0")


def test_sites_that_were_not_to_be_compared_are_told_so() -> None:
    results = made_results(across=False, config={"plan": {"across": False}})
    assert why_not_across(results) == "as it was not asked for"


def test_what_was_left_out_is_in_the_section() -> None:
    blocks = who_was_tested(reading_of(named(made_results(excluded=LEFT_OUT)))).blocks
    assert Words("Left out: 5.") in blocks
    assert Words("Nothing was left out.") in who_was_tested(base()).blocks


def moved(by: float) -> Reading:
    """Patients who moved more than controls by so many standard deviations."""
    results = made_results()
    rng = np.random.default_rng(2)
    motion = np.exp(rng.normal(-2 + 0.5 * by * results.table["label"], 0.5))
    table = results.table.assign(fd_mean=motion, n_frames=100, tr=2.0, tsnr=rng.normal(60, 5, len(motion)))
    return reading_of(replace(results, table=table))


def shown(section: Section, kind: type) -> list[Any]:
    return [block for block in section.blocks if isinstance(block, kind)]


def test_motion_that_differs_is_warned_of_on_the_first_screen() -> None:
    reading = moved(3.0)
    assert reading.first_screen[0].startswith("Patients moved more than controls")
    assert "could read motion instead of the disease" in reading.first_screen[0]
    section = quality(reading)
    assert [one.name for one in shown(section, Picture)] == ["motion"]
    assert not any("No difference in motion" in block.text for block in shown(section, Words))


def test_motion_that_does_not_differ_is_told_further_down() -> None:
    reading = moved(0.0)
    assert not any("moved more" in line for line in reading.first_screen)
    section = quality(reading)
    assert any("No difference in motion" in block.text for block in shown(section, Words))


def test_the_table_holds_medians_of_what_is_known_and_no_more() -> None:
    reading = moved(3.0)
    by_site, tests = shown(quality(reading), Table)
    assert by_site.heads[3:] == (
        "mean framewise displacement",
        "temporal SNR",
        "minutes kept",
        "repetition time",
    )
    table = reading.results.table
    for row in by_site.rows:
        site, group, runs, motion, _, minutes, _ = (cell.text for cell in row)
        part = table[(table["site"] == site) & (table["label"] == (group == "patients"))]
        assert runs == str(len(part))
        assert motion == f"{np.median(part['fd_mean']):.2f} mm"
        assert minutes == "3.3"
    # Frames and repetition time never vary within a site: there is nothing to test.
    assert [row[0].text for row in tests.rows] == ["mean framewise displacement", "temporal SNR"]
    assert shown(quality(reading), Bullets)[0].lines[0].startswith("Mean DVARS is not in the table")


def test_what_is_not_known_is_said() -> None:
    table = made_results().table
    found = quality_of(table.assign(fd_mean=np.nan, n_voxels=0))
    assert found.known == ()
    assert found.motion is None
    assert found.warnings == []
    assert "Head motion is known of nobody" in found.missing[0]
    assert "Mean DVARS and temporal SNR are not in the table" in found.missing[1]
    some = table.assign(fd_mean=table["fd_mean"].where(np.arange(len(table)) > 2))
    assert "The mean framewise displacement of 3 of 40 runs is not known." in quality_of(some).missing
