"""A model card in Markdown, filled in from a run, after Mitchell et al. 2019 (10.1145/3287560.3287596)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from neuro.fairness.notices import beyond_in_words
from neuro.protocol.metrics import METRICS
from neuro.protocol.results import Results
from neuro.report.cohort_words import cohort_in_words, cohort_rows
from neuro.report.markdown import markdown_table
from neuro.report.reading import Reading
from neuro.report.sections.method import VERSIONS, identity_rows

USE = (
    "- **Meant for** research on resting-state fMRI: to ask whether, and how well, scans of this cohort tell"
    " Parkinson's disease from controls.\n"
    "- **Users**: researchers who know the cohort and how it was scanned.\n"
    "- **Not meant for** diagnosis, screening, treatment, or any decision about a person. It is not a medical"
    " device, and was not tested on people with other diseases of movement."
)
CARE = (
    "- A label is a clinical diagnosis, with its errors; a prediction cannot be better than that.\n"
    "- A false alarm may frighten, a miss may reassure; neither may be acted upon.\n"
    "- Scans and phenotypes are personal data; this card holds figures of groups alone, and the report beside"
    " them the names of what was left out, but `predictions.csv` and `cohort.csv` are of persons."
)


def model_card(reading: Reading) -> str:
    """The card of an evaluation's first model."""
    results, findings = reading.results, reading.findings
    ours = results.ours
    sections = [
        ("Model details", _listed(_details(results.facts))),
        ("Intended use", USE),
        (
            "Factors",
            "Sex, age, site, head motion and medication, as far as they are known; see below.",
        ),
        ("Metrics", f"{_METRICS} {findings.verdict.tests}"),
        ("Evaluation data", _cohort(results)),
        ("Training data", "The same people, by cross-validation: whoever is tested was not trained on."),
        ("Quantitative analyses", _quantities(reading)),
        ("Ethical considerations", CARE),
        ("Caveats and recommendations", _caveats(reading)),
    ]
    text = [f"# Model card: {ours.name}", "", "**For research, not for diagnosis.**", ""]
    for heading, body in sections:
        text += [f"## {heading}", "", body, ""]
    return "\n".join(text)


_METRICS = (
    f"{', '.join(metric.title for metric in METRICS.values())}, each with a 95 % interval over people;"
    " AUC within folds."
)


def _listed(rows: Iterable[Iterable[str]]) -> str:
    return "\n".join(f"- **{term}**: {text}" for term, text in rows)


def _details(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(str(term), str(text)) for term, text in facts["protocol"] if term != VERSIONS]
    return [*rows, *identity_rows(facts)]


def _cohort(results: Results) -> str:
    heads = ("site", "group", "people", "runs", "age", "female", "fd")
    rows = [[str(row[name]) for name in heads] for row in cohort_rows(results.table)]
    left_out = len(results.facts["excluded"])
    remark = f" {results.facts['remark']}" if results.facts["remark"] else ""
    return "\n".join(
        [
            f"{cohort_in_words(results.table)}{remark} Left out: {left_out}.",
            "",
            *markdown_table(("site", "group", "people", "runs", "age", "female", "displacement"), rows),
        ]
    )


def _quantities(reading: Reading) -> str:
    ours, findings = reading.results.ours, reading.findings
    schemes = [("within folds", ours.figures), ("site to site", ours.figures_across)]
    rows = [[name, *(str(figures[metric]) for metric in METRICS)] for name, figures in schemes if figures]
    coverage = [findings.coverage.in_words()] if findings.coverage is not None else []
    return "\n\n".join(
        [
            "\n".join(markdown_table(("", *(metric.title for metric in METRICS.values())), rows)),
            *findings.verdict.words,
            findings.reliability.in_words(),
            reading.within.in_words(),
            *coverage,
            *(reading.elsewhere.in_words() if reading.elsewhere is not None else []),
            beyond_in_words(findings.beyond),
            *(notice.words for notice in findings.notices),
        ]
    )


def _caveats(reading: Reading) -> str:
    people = reading.findings.verdict.people
    told = [
        f'{people} people: intervals are wide, and what is "not shown" is not shown to be absent either.',
        "What it reads is not known; maps are pointers. Test it on another cohort before believing it.",
    ]
    told += [*reading.quality.warnings, *reading.quality.missing]
    if reading.elsewhere is None:
        told.append("It was not tested on a site that it had not seen.")
    else:
        told += reading.elsewhere.warnings
    return "\n".join(f"- {line}" for line in told)
