"""An evaluation's folder -> report, model card and checklist, side by side."""

from __future__ import annotations

import json
from pathlib import Path

from data.errors import ParameterError
from data.scans.nifti import open_image
from data.writing import write_whole
from neuro.explain import read_study_map
from neuro.protocol.results import PLANTED, RESULTS, load_results
from neuro.report.content import ReportInputs, document_of
from neuro.report.markdown import FIGURES
from neuro.report.model_card import model_card
from neuro.report.page import MARKDOWN, write_document
from neuro.report.reading import Reading, read
from neuro.report.tripod import tripod

CARD, CHECKLIST = "model_card.md", "tripod_ai.md"
ENDINGS = (".html", ".htm", *MARKDOWN)


def inputs_of(run: str | Path) -> ReportInputs:
    """What `neuro evaluate` left in a folder.

    Raises:
        BadFileError: it holds no finished evaluation, or a damaged map.
    """
    folder = Path(run)
    results = load_results(folder)
    planted = open_image(folder / PLANTED) if (folder / PLANTED).is_file() else None
    return ReportInputs(
        results=results, relevance=read_study_map(folder), planted=planted, files=file_digests(folder)
    )


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that results.json belongs to, as it tells them; none in folders of old."""
    told = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    return {str(name): str(digest) for name, digest in told.get("sha256", {}).items()}


def write_reports(inputs: ReportInputs, page: str | Path) -> Reading:
    """Write all three, and give back what they say; card and checklist lie beside the page.

    Args:
        inputs: what they are made of.
        page: an HTML file, or one of Markdown, which has a folder of figures beside it.

    Raises:
        ParameterError: the page's folder is not there, or its name ends in neither.
    """
    page = Path(page)
    if page.suffix.lower() not in ENDINGS:
        raise ParameterError("--out", must_be="a file that ends in .html or .md", got=page.name)
    if not page.parent.is_dir():
        raise ParameterError("--out", must_be="in a folder that is there", got=str(page.parent))
    if page.name in (CARD, CHECKLIST):
        raise ParameterError(
            "--out", must_be="another name", got=page.name, do="that is written beside the report"
        )
    reading = read(inputs.results)
    write_document(document_of(inputs, reading), page)
    write_whole(page.with_name(CARD), model_card(reading))
    write_whole(page.with_name(CHECKLIST), tripod(reading))
    return reading


def written(page: Path) -> list[Path]:
    """What `write_reports` writes for a page."""
    figures = [page.with_name(page.stem + FIGURES)] if page.suffix.lower() in MARKDOWN else []
    return [page, *figures, page.with_name(CARD), page.with_name(CHECKLIST)]
