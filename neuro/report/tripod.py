"""TRIPOD+AI's checklist (Collins et al. 2024, BMJ 385:e078378) in Markdown, filled in from a run.

What a run knows stands there; what only its authors know is left to them, and said to be. Items are named in
few words of our own: the checklist itself is at tripod-statement.org.
"""

from __future__ import annotations

import pandas as pd

from neuro.fairness.groups import NOT_KNOWN, groups_of
from neuro.fairness.notices import beyond_in_words
from neuro.protocol.results import Results
from neuro.report.cohort_words import cohort_in_words
from neuro.report.flow import flow
from neuro.report.markdown import markdown_table
from neuro.report.reading import Reading

AUTHORS = "*for the authors*"
REASONS = 10  # for leaving something out that are told here; all are in the report


def tripod(reading: Reading) -> str:
    """The checklist of an evaluation."""
    known = {**_data(reading), **_model(reading), **_findings(reading)}
    rows = [(number, item, known.get(number, AUTHORS)) for number, item in ITEMS]
    filled = sum(number in known for number, _ in ITEMS)
    return "\n".join(
        [
            "# TRIPOD+AI checklist",
            "",
            f"Filled in from the run: {filled} of {len(ITEMS)} items. For research, not for diagnosis.",
            "",
            *markdown_table(("item", "about", "in this study"), rows),
            "",
        ]
    )


ITEMS = (
    ("1", "title: development or evaluation, population, outcome"),
    ("2", "abstract"),
    ("3a", "the health context and the reason for the model"),
    ("3b", "target population, intended purpose and users"),
    ("3c", "known inequalities between groups"),
    ("4", "objectives"),
    ("5a", "sources of data for development and evaluation"),
    ("5b", "dates of data collection"),
    ("6a", "setting and number of centres"),
    ("6b", "who was eligible"),
    ("6c", "treatments received"),
    ("7", "preparation and quality of data"),
    ("8a", "outcome, and how it was assessed"),
    ("8b", "who assessed a subjective outcome"),
    ("8c", "blinding of the outcome"),
    ("9a", "choice of predictors before modelling"),
    ("9b", "predictors, and how they were measured"),
    ("9c", "who assessed subjective predictors"),
    ("10", "sample size"),
    ("11", "missing data"),
    ("12a", "how data were used and partitioned"),
    ("12b", "how predictors were handled"),
    ("12c", "kind of model, building, tuning, internal validation"),
    ("12d", "heterogeneity between clusters"),
    ("12e", "measures of performance, and comparison of models"),
    ("12f", "updating of the model after evaluation"),
    ("12g", "how predictions are calculated"),
    ("13", "class imbalance"),
    ("14", "fairness"),
    ("15", "output of the model, and thresholds"),
    ("16", "differences between training and evaluation data"),
    ("17", "ethical approval and consent"),
    ("18a", "funding"),
    ("18b", "conflicts of interest"),
    ("18c", "protocol"),
    ("18d", "registration"),
    ("18e", "sharing of data"),
    ("18f", "sharing of code"),
    ("19", "involvement of patients and the public"),
    ("20a", "flow of participants"),
    ("20b", "characteristics of participants, by group"),
    ("20c", "predictors in training and evaluation data"),
    ("21", "participants and events in each analysis"),
    ("22", "the full model, so that others can use it"),
    ("23a", "performance with intervals, and in subgroups"),
    ("23b", "performance between clusters"),
    ("24", "results of updating"),
    ("25", "interpretation, with fairness"),
    ("26", "limitations"),
    ("27a", "input of poor quality or missing"),
    ("27b", "interaction with users, expertise that they need"),
    ("27c", "next steps, generalizability"),
)


def _data(reading: Reading) -> dict[str, str]:
    """What is known of people and scans."""
    results, verdict = reading.results, reading.findings.verdict
    table, steps = results.table, flow(results)
    cohort = cohort_in_words(table)
    sites = sorted(map(str, set(table["site"])))
    protocol = _protocol(results)
    left_out = [
        f"{one.what.removeprefix('left out: ')}: {one.runs}" for one in steps if "left out: " in one.what
    ]
    measured = ", ".join(one.name for one in reading.quality.known) or "nothing was measured"
    return {
        "3b": "people of whom a diagnosis and a resting-state scan are known; research alone; researchers",
        "5a": f"one cohort for both; {cohort}",
        "6a": f"{len(sites)}: {', '.join(sites)}",
        "6c": _medication(table),
        "7": f"cleaned by {protocol.get('Cleaning', 'a recipe of its own')}; quality known: {measured}."
        f" {' '.join(reading.quality.missing)} See `neuro qc`",
        "10": f"{verdict.people} people, {verdict.positive} with the disease: all that there were",
        "11": f"runs that could not be used were left out; covariates that are missing ({_missing(table)})"
        " count as the average",
        "16": "none within folds; from site to site scanner, protocol and people differ, see the cohort and"
        " the quality by site in the report",
        "18c": "the run's own: splits.json holds the folds, results.json all settings; cohort "
        f"{results.facts.get('cohort_digest', 'without a digest')}",
        "20a": f"{steps[0].runs} runs or images of {steps[0].people} people found; left out"
        f" {len(results.facts['excluded'])}" + "".join(f"; {line}" for line in left_out[:REASONS]),
        "20b": f"{cohort} The table of the cohort is in the report.",
        "20c": "the same people by cross-validation; by site in the report",
        "21": "; ".join(
            f"{one.what}: {one.people} people, {one.patients} events"
            for one in steps
            if one.what.startswith("tested") and one.runs != "0"
        ),
    }


def _model(reading: Reading) -> dict[str, str]:
    """How it was built and tested."""
    results, findings = reading.results, reading.findings
    protocol = _protocol(results)
    permuted = protocol.get("Permutation test")
    coverage = f" {findings.coverage.in_words()}" if findings.coverage is not None else ""
    return {
        "1": f"cross-validation of {results.ours.name}; Parkinson's disease or control",
        "9b": protocol.get("Tokens", "tokens of the scan"),
        "12a": protocol["Split"],
        "12b": f"{protocol.get('Tokens', 'tokens of the scan')}; learned in the training fold alone:"
        f" {protocol['Inside the training fold']}",
        "12c": f"{protocol.get('Transformer', '')}; {protocol['Settings to choose among']}",
        "12e": f"{findings.verdict.tests}" + (f" Permutation test: {permuted}" if permuted else ""),
        "12f": "none in this run",
        "12g": f"{protocol.get('Training', '')}; {protocol['Inside the training fold']}",
        "13": "classes weigh equally in training; figures that depend on their shares are told beside AUC",
        "14": "results by sex, age, site, motion and medication; confounds partialled out",
        "15": f"probability, threshold and set of labels, all chosen within training folds.{coverage}",
        "18f": protocol["Versions"],
        "22": "`neuro train` leaves a folder that `neuro predict` works from alone",
        "24": "none: it was not updated in this run",
        "27a": "`neuro predict` refuses scans that do not fit, and warns of those unlike training",
    }


def _findings(reading: Reading) -> dict[str, str]:
    """What came out."""
    findings, ours, verdict = reading.findings, reading.results.ours, reading.findings.verdict
    notices = (
        " ".join(notice.words for notice in findings.notices) or "No difference between groups is shown."
    )
    across = f"AUC {ours.figures_across['auc']}" if ours.figures_across else "not tested: no other site"
    beyond = reading.elsewhere.in_words() if reading.elsewhere is not None else []
    unknown = " ".join([*reading.quality.warnings, *reading.quality.missing])
    return {
        "12d": f"sites left out in turn: {across}",
        "23a": f"AUC {ours.figures['auc']}. {verdict.headline} {findings.reliability.in_words()} {notices}",
        "23b": " ".join([f"{across}.", *beyond]),
        "25": f"{verdict.headline} {beyond_in_words(findings.beyond)}",
        "26": f"{verdict.people} people; intervals of figures take the trained models as given."
        f" {unknown}".rstrip(),
        "27c": "another site, and another disease of movement: neither can be told from this run"
        if reading.elsewhere is None
        else f"from site to site: {across}; another disease of movement cannot be told from this run",
    }


def _protocol(results: Results) -> dict[str, str]:
    return {str(term): str(text) for term, text in results.facts["protocol"]}


def _medication(table: pd.DataFrame) -> str:
    """Scanned on or off medication, as far as the table tells."""
    words = table["medication"].astype(str).str.lower() if "medication" in table else pd.Series(dtype=str)
    known = [f"{int((words == state).sum())} runs {state} medication" for state in ("on", "off")]
    return (
        ", ".join(known) if words.isin(["on", "off"]).any() else "medication at the scan is known of nobody"
    )


def _missing(table: pd.DataFrame) -> str:
    """Of how many runs age, sex and motion are not known."""
    groups = groups_of(table)
    return ", ".join(
        f"{name} of {int((groups[name] == NOT_KNOWN).sum())} of {len(table)} runs"
        for name in ("age", "sex", "motion")
    )
