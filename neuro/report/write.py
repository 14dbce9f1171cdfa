"""An evaluation's folder -> report, model card and checklist, side by side."""

from __future__ import annotations

from pathlib import Path

from data.errors import ParameterError
from data.scans.nifti import open_image
from data.writing import write_whole
from neuro.protocol.results import PLANTED, VOTES, load_results
from neuro.report.findings import Findings
from neuro.report.model_card import model_card
from neuro.report.page import ReportInputs, write_report
from neuro.report.tripod import tripod

CARD, CHECKLIST = "model_card.md", "tripod_ai.md"


def inputs_of(run: str | Path) -> ReportInputs:
    """What `neuro evaluate` left in a folder.

    Raises:
        BadFileError: it holds no finished evaluation, or a damaged map.
    """
    folder = Path(run)
    results = load_results(folder)
    votes, planted = (
        open_image(folder / name) if (folder / name).is_file() else None for name in (VOTES, PLANTED)
    )
    return ReportInputs(results=results, votes=votes, planted=planted)


def write_reports(inputs: ReportInputs, page: str | Path) -> Findings:
    """Write all three, and give back what they say; card and checklist lie beside the page.

    Args:
        inputs: what they are made of.
        page: HTML file.

    Raises:
        ParameterError: the page's folder is not there.
    """
    page = Path(page)
    if not page.parent.is_dir():
        raise ParameterError("--out", must_be="in a folder that is there", got=str(page.parent))
    findings = write_report(inputs, page)
    write_whole(page.with_name(CARD), model_card(inputs.results, findings))
    write_whole(page.with_name(CHECKLIST), tripod(inputs.results, findings))
    return findings
