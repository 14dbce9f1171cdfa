"""`neuro report`: the report, the model card and the checklist of an evaluation, from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder that `neuro evaluate` wrote.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="HTML file to write; RUN/report.html by default.")
    ] = None,
) -> None:
    """Write report.html, and beside it model_card.md and tripod_ai.md, from an evaluation's folder."""
    from neuro.report.write import CARD, CHECKLIST, inputs_of, write_reports

    path = out or run / "report.html"
    findings = write_reports(inputs_of(run), path)
    print(findings.verdict.headline)
    for written in (path, path.with_name(CARD), path.with_name(CHECKLIST)):
        print(written)
