"""TRIPOD+AI's checklist (Collins et al. 2024, BMJ 385:e078378) in Markdown, filled in from a run.

What a run knows stands there; what only its authors know is left to them, and said to be. Items are named in
few words of our own: the checklist itself is at tripod-statement.org.
"""

from __future__ import annotations

from neuro.fairness.notices import beyond_in_words
from neuro.protocol.results import Results
from neuro.report.cohort_words import cohort_in_words
from neuro.report.findings import Findings
from neuro.report.model_card import markdown_table

AUTHORS = "*for the authors*"


def tripod(results: Results, findings: Findings) -> str:
    """The checklist.

    Args:
        results: of an evaluation.
        findings: what they say.
    """
    known = _known(results, findings)
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


def _known(results: Results, findings: Findings) -> dict[str, str]:
    facts, ours, verdict = results.facts, results.ours, findings.verdict
    protocol = {str(term): str(text) for term, text in facts["protocol"]}
    sites = sorted(set(results.table["site"]))
    notices = (
        " ".join(notice.words for notice in findings.notices) or "No difference between groups is shown."
    )
    across = f"AUC {ours.figures_across['auc']}" if ours.figures_across else "not tested: no other site"
    coverage = f" {findings.coverage.in_words()}" if findings.coverage is not None else ""
    return {
        "1": f"cross-validation of {ours.name}; Parkinson's disease or control",
        "5a": f"one cohort for both; {cohort_in_words(results.table)}",
        "6a": f"{len(sites)}: {', '.join(map(str, sites))}",
        "7": f"cleaned by {protocol.get('Cleaning', 'a recipe of its own')}; see `neuro qc`",
        "9b": protocol.get("Tokens", "tokens of the scan"),
        "10": f"{verdict.people} people, {verdict.positive} with the disease: all that there were",
        "11": "runs that could not be used were left out; covariates that are missing count as the average",
        "12a": protocol["Split"],
        "12c": f"{protocol.get('Transformer', '')}; {protocol['Settings to choose among']}",
        "12d": f"sites left out in turn: {across}",
        "12e": verdict.tests,
        "12f": "none in this run",
        "12g": f"{protocol.get('Training', '')}; {protocol['Inside the training fold']}",
        "13": "classes weigh equally in training; figures that depend on their shares are told beside AUC",
        "14": "results by sex, age, site, motion and medication; confounds partialled out",
        "15": f"probability, threshold and set of labels, all chosen within training folds.{coverage}",
        "16": "none within folds; from site to site scanner, protocol and people differ",
        "18f": protocol["Versions"],
        "20a": f"left out: {len(facts['excluded'])}"
        + "".join(f"; {what}: {why}" for what, why in facts["excluded"][:10]),
        "20b": f"{cohort_in_words(results.table)} The table of the cohort is in the report.",
        "21": f"{verdict.people} people, {verdict.positive} events, in each of {ours.within.deals} deals",
        "22": "`neuro train` leaves a folder that `neuro predict` works from alone",
        "23a": f"AUC {ours.figures['auc']}. {verdict.headline} {notices}",
        "23b": across,
        "25": f"{verdict.headline} {beyond_in_words(findings.beyond)}",
        "26": f"{verdict.people} people; intervals of figures take the trained models as given",
        "27a": "`neuro predict` refuses scans that do not fit, and warns of those unlike training",
    }
