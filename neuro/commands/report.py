"""`neuro report`: the report, the model card and the checklist of an evaluation, from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder that `neuro evaluate` wrote.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="File to write, .html or .md (with a folder of figures); RUN/report.html."
        ),
    ] = None,
) -> None:
    """Write report.html, and beside it model_card.md and tripod_ai.md, from an evaluation's folder."""
    from neuro.report.write import inputs_of, write_reports, written

    path = out or run / "report.html"
    reading = write_reports(inputs_of(run), path)
    print(reading.findings.verdict.headline)
    for one in written(path):
        print(one)
