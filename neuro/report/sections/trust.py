"""How far it can be trusted: probabilities within folds and elsewhere, and results by group."""

from __future__ import annotations

from dataclasses import replace

from neuro.calibration.figures import reliability_figure
from neuro.calibration.reliability import Reliability
from neuro.fairness.figures import differing_in, group_forest
from neuro.picture import data_uri, house_style
from neuro.report.blocks import Block, Bullets, Pair, Picture, Section, Words, table
from neuro.report.reading import Reading
from neuro.report.worth import WORTH_HEADS, worth_row

READ_IT = (
    "Log loss is worse the higher it is; that of the base rate is of a model that says the share of patients"
    " among those it was trained on to everybody. A slope of 1 is right, below 1 too sure, above 1 too shy."
)


def probabilities(reading: Reading) -> Section:
    """Whether probabilities can be taken at their word, within folds and at a site that was not seen."""
    findings, beyond = reading.findings, reading.elsewhere
    told = [findings.reliability.in_words(), reading.within.in_words()]
    if findings.coverage is not None:
        told.append(findings.coverage.in_words())
    shown: list[Block] = [_drawn(findings.reliability, "calibration", "within folds")]
    rows = [worth_row("within folds", reading.within)]
    if beyond is not None:
        told += beyond.in_words()
        shown.append(_drawn(beyond.overall.reliability, "calibration_new_site", "from site to site"))
        rows.append(worth_row("from site to site", beyond.overall))
        rows += [worth_row(f"{site}, by models of the others", worth) for site, worth in beyond.sites.items()]
    blocks = (Pair(tuple(shown)), table(WORTH_HEADS, rows, narrow=True), Words(READ_IT), Bullets(tuple(told)))
    return Section(title="Are its probabilities true?", blocks=blocks)


def groups(reading: Reading) -> Section:
    """Whether it is the same for everybody."""
    findings = reading.findings
    forest = Picture(
        name="groups",
        uri=group_forest(findings.groups, differing_in(findings.differences)),
        alt="AUC, sensitivity and specificity by sex, age, site, motion and medication, with 95 % intervals",
    )
    further = tuple(notice.words for notice in findings.notices if notice.kind != "differs")
    blocks: tuple[Block, ...] = (forest, Bullets(further)) if further else (forest,)
    return Section(title="Is it the same for everybody?", blocks=blocks)


def _drawn(found: Reliability, name: str, where: str) -> Picture:
    with house_style():
        uri = data_uri(reliability_figure(replace(found, model=where), "patient"))
    return Picture(
        name=name, uri=uri, alt=f"Observed share of patients against the probability that was given, {where}"
    )
