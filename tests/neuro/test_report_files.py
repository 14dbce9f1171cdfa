"""`neuro report`, the model card and TRIPOD+AI's checklist: from a folder alone, and nothing made up."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.errors import ParameterError
from neuro.cli import main
from neuro.protocol.metrics import METRICS
from neuro.report.content import ReportInputs
from neuro.report.findings import find
from neuro.report.markdown import markdown_table
from neuro.report.model_card import model_card
from neuro.report.reading import Reading, read
from neuro.report.tripod import AUTHORS, ITEMS, tripod
from neuro.report.write import CARD, CHECKLIST, write_reports

from .made_results import made_results

PROTOCOL = [
    ["Split", "4 folds by person"],
    ["Inside the training fold", "scaling"],
    ["Settings to choose among", "1"],
    ["Versions", "chiasm 0"],
    ["Cleaning", "6p"],
]
RESULTS = made_results(protocol=PROTOCOL, excluded=[["sub-99", "no | mask"]])


@pytest.fixture(scope="module")
def reading() -> Reading:
    return read(RESULTS)


def test_the_card_has_every_section_and_every_figure(reading: Reading) -> None:
    card, findings = model_card(reading), reading.findings
    headings = re.findall(r"^## (.*)$", card, re.M)
    assert headings == [
        *("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data"),
        *("Quantitative analyses", "Ethical considerations", "Caveats and recommendations"),
    ]
    for figures in (RESULTS.ours.figures, RESULTS.ours.figures_across):
        for name in METRICS:
            assert str(figures[name]) in card
    for line in (*findings.verdict.words, findings.reliability.in_words()):
        assert line in card
    assert "For research, not for diagnosis" in card
    assert "not tested on a site" not in card


def test_a_card_without_other_sites_says_so() -> None:
    alone = made_results(sites=("A",), across=False, protocol=PROTOCOL)
    card = model_card(read(alone))
    assert "It was not tested on a site that it had not seen." in card
    assert "site to site" not in card


def test_the_checklist_fills_in_what_a_run_knows_and_leaves_the_rest(reading: Reading) -> None:
    text = tripod(reading)
    rows = dict(re.findall(r"^\| (\d+[a-g]?) \| [^|]* \| (.*) \|$", text, re.M))
    assert list(rows) == [number for number, _ in ITEMS]
    for number in ("2", "3a", "5b", "8a", "17", "18a", "18b", "19"):  # what no run can know
        assert rows[number] == AUTHORS
    assert str(RESULTS.ours.figures["auc"]) in rows["23a"]
    assert str(RESULTS.ours.figures_across["auc"]) in rows["23b"]
    assert rows["20a"] == "41 runs or images of 41 people found; left out 1; no / mask: 1"
    filled = sum(told != AUTHORS for told in rows.values())
    assert f"Filled in from the run: {filled} of {len(ITEMS)} items" in text


def test_a_table_keeps_its_columns() -> None:
    assert markdown_table(("a", "b"), [["1|2", 3]]) == ["| a | b |", "| --- | --- |", "| 1/2 | 3 |"]  # type: ignore[list-item]


def test_all_three_lie_side_by_side(tmp_path: Path, reading: Reading) -> None:
    found = write_reports(ReportInputs(results=RESULTS), tmp_path / "page.html")
    assert found.findings.verdict == reading.findings.verdict
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["page.html", CARD, CHECKLIST])
    with pytest.raises(ParameterError, match="--out must be in a folder that is there"):
        write_reports(ReportInputs(results=RESULTS), tmp_path / "none" / "page.html")


def test_findings_are_the_same_twice_and_know_whom_to_compare(reading: Reading) -> None:
    again, findings = find(RESULTS), reading.findings
    assert again.verdict == findings.verdict
    assert again.first_screen == findings.first_screen
    assert [(one.kind, one.against) for one in findings.verdict.comparisons] == [
        ("confound", "age + sex"),
        ("confound", "head motion"),
        ("baseline", "connectivity + SVM"),
    ]
    assert find(replace(RESULTS, facts={**RESULTS.facts, "coverage": None})).coverage is None


def test_what_is_no_evaluation_is_refused(tmp_path: Path, run_command: Any) -> None:
    done = run_command(main, "neuro", "report", tmp_path)
    assert done.code == 2
    assert "evaluation must be a folder that `neuro evaluate` wrote" in done.err
    assert not list(tmp_path.iterdir())
