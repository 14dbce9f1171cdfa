"""Whom it is about: cohort, who was left out, and the quality of the scans."""

from __future__ import annotations

from neuro.quality.figures import motion_forest
from neuro.quality.words import motion_in_words, p_in_words
from neuro.report.blocks import Block, Bullets, Folded, Picture, Section, Table, Words, table
from neuro.report.cohort_words import cohort_rows, group_name
from neuro.report.flow import flow
from neuro.report.quality_tests import Quality, name_of
from neuro.report.reading import Reading


def cohort(reading: Reading) -> Section:
    """Who was in it."""
    heads = ("Site", "Group", "People", "Runs", "Age", "Female", "Framewise displacement")
    names = ("site", "group", "people", "runs", "age", "female", "fd")
    rows = [[str(row[name]) for name in names] for row in cohort_rows(reading.results.table)]
    return Section(title="Cohort", blocks=(table(heads, rows, words=2),))


def who_was_tested(reading: Reading) -> Section:
    """From what was found to what was tested, and what was left out by reason."""
    found, excluded = reading.results, reading.results.facts["excluded"]
    heads = ("step", "runs or images", "people", "patients", "controls")
    steps = [[one.what, one.runs, one.people, one.patients, one.controls] for one in flow(found)]
    blocks: list[Block] = [table(heads, steps)]
    if excluded:
        lines = tuple(f"{what}: {why}" for what, why in excluded)
        blocks += [Words(f"Left out: {len(excluded)}."), Folded("Each that was left out", (Bullets(lines),))]
    else:
        blocks.append(Words("Nothing was left out."))
    return Section(title="From what was found to what was tested", blocks=tuple(blocks))


def quality(reading: Reading) -> Section:
    """What is known of the scans by site and group, whether groups differ, and what is not known."""
    found = reading.quality
    blocks: list[Block] = [Words("Medians of runs."), _by_site(found)] if found.known else []
    if found.tests:
        blocks += [_tests(found), Words(TESTS)]
    if found.motion is not None:
        told = motion_in_words(found.motion)
        blocks += [] if found.motion.shown else [Words(" ".join(told))]  # shown, it is on the first screen
        blocks.append(
            Picture(
                name="motion",
                uri=motion_forest(found.motion),
                alt="Probability that a patient moved more than a control, by site, with 95 % intervals",
            )
        )
    if found.missing:
        blocks.append(Bullets(found.missing))
    return Section(title="Quality of the scans", blocks=tuple(blocks))


TESTS = (
    "One value a person and site. AUC is the probability that a patient has more of it than a control of the"
    " same site; p by van Elteren's rank sum with labels permuted within sites, corrected after Holm."
)


def _by_site(found: Quality) -> Table:
    heads = ["Site", "Group", "Runs", *(one.name for one in found.known)]
    rows = []
    for (site, label), part in found.runs.groupby(["site", "label"], sort=True):
        medians = [
            one.form.format(part[one.column].median()) if part[one.column].notna().any() else "unknown"
            for one in found.known
        ]
        rows.append([str(site), group_name(label), str(len(part)), *medians])
    return table(heads, rows, words=2, narrow=True)


def _tests(found: Quality) -> Table:
    heads = ("Patients against controls", "people", "AUC", "95 % interval", "p", "p corrected")
    rows = [
        [
            name_of(test.measure),
            f"{test.patients} / {test.controls}",
            f"{test.auc:.2f}",
            f"{test.low:.2f} – {test.high:.2f}",
            p_in_words(test.p),
            p_in_words(test.p_corrected),
        ]
        for test in found.tests
    ]
    return table(heads, rows)
