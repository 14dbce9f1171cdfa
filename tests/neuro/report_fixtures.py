"""What tests of the page share: made-up results, what they say, figures left out (`pytest_plugins`)."""

from __future__ import annotations

import pytest

from neuro.protocol.results import Results
from neuro.report.content import ReportInputs
from neuro.report.findings import Findings, find

from .made_results import made_results
from .undrawn import leave_undrawn


@pytest.fixture(scope="module")
def results() -> Results:
    return made_results()


@pytest.fixture(scope="module")
def findings(results: Results) -> Findings:
    return find(results)


@pytest.fixture
def inputs(results: Results, findings: Findings, monkeypatch: pytest.MonkeyPatch) -> ReportInputs:
    """What is found is found once: only tests that say so look for it anew."""
    monkeypatch.setattr("neuro.report.reading.find", lambda _: findings)
    return ReportInputs(results=results)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_undrawn(monkeypatch)
