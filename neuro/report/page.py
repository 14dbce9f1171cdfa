"""The report of an evaluation: one self-contained HTML file, pictures inside, nothing fetched."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from data.writing import write_whole
from neuro.calibration.figures import reliability_figure
from neuro.fairness.figures import differing_in, group_forest
from neuro.picture import data_uri, house_style
from neuro.protocol.metrics import METRICS
from neuro.protocol.results import ModelResult, Results
from neuro.report.cohort_words import cohort_in_words, cohort_rows
from neuro.report.figures import auc_forest, brain_map, roc_curves, score_strips
from neuro.report.findings import Findings, find

TITLE = "Parkinson's disease or control, from resting-state fMRI"


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportInputs:
    """What a report is made of.

    Attributes:
        results: of the evaluation.
        votes: NIfTI image of the vote map, or None.
        planted: NIfTI image of the region where a simulation planted its effect, or None.
    """

    results: Results
    votes: Any | None = None
    planted: Any | None = None


def write_report(inputs: ReportInputs, path: str | Path) -> Findings:
    """Write the HTML file, whole or not at all; what it says is given back."""
    from jinja2 import Environment, StrictUndefined

    findings = find(inputs.results)
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    source = resources.files("neuro.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    write_whole(path, environment.from_string(source).render(**_content(inputs, findings)))
    return findings


def _content(inputs: ReportInputs, findings: Findings) -> dict[str, Any]:
    results, facts = inputs.results, inputs.results.facts
    return {
        "title": facts.get("title") or TITLE,
        "lead": f"{cohort_in_words(results.table)} {facts['remark']}".strip(),
        "verdict": findings.verdict,
        "first_screen": findings.first_screen,
        "metrics": [metric.title for metric in METRICS.values()],
        "results": [_row(model, model.figures) for model in results.models],
        "across": [_row(model, model.figures_across) for model in results.models if model.figures_across],
        "sites": sorted(set(results.table["site"])),
        "focus": results.ours.name,
        "figures": _figures(inputs, findings),
        "planted": inputs.planted is not None,
        "reliability": findings.reliability.in_words(),
        "coverage": findings.coverage.in_words() if findings.coverage is not None else "",
        "notices": [notice.words for notice in findings.notices if notice.kind != "differs"],
        "cohort": cohort_rows(results.table),
        "excluded": facts["excluded"],
        "protocol": [*facts["protocol"], ("Tests", findings.verdict.tests)],
        "command": facts["command"],
    }


def _row(model: ModelResult, figures: dict[str, Any]) -> dict[str, Any]:
    return {"model": model.name, "note": model.note, "figures": [figures[name] for name in METRICS]}


def _figures(inputs: ReportInputs, findings: Findings) -> dict[str, str | None]:
    results = inputs.results
    compared = {results.ours.name, *(one.against for one in findings.verdict.comparisons)}
    with house_style():
        reliable = data_uri(reliability_figure(findings.reliability, "patient"))
    return {
        "forest": auc_forest(results.models),
        "roc": roc_curves([model for model in results.models if model.name in compared]),
        "strips": score_strips(results.ours.within),
        "reliability": reliable,
        "groups": group_forest(findings.groups, differing_in(findings.differences)),
        "map": brain_map(inputs.votes, inputs.planted) if inputs.votes is not None else None,
    }
