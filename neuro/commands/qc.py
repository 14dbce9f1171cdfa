"""`neuro qc`: the quality of a cache's runs, and whether patients and controls differ in motion."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from neuro.commands.options import CacheFolder


def qc(
    cache: CacheFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write; a table and JSON come beside it.")],
    pictures: Annotated[int, typer.Option(min=0, help="The most flagged runs to show pictures of.")] = 12,
) -> None:
    """Show each run's quality, what is worth a look and why, and motion of patients against controls."""
    from data.caches.cache import Cache
    from data.errors import ParameterError
    from neuro.quality.report import write_quality_report

    if out.suffix.lower() not in (".html", ".htm"):
        raise ParameterError("--out", must_be="a page ending in .html", got=out, do="try -o qc.html")
    command = shlex.join(["neuro", *sys.argv[1:]])
    report = write_quality_report(Cache.open(cache), out, pictured=pictures, command=command)
    for line in report.words:
        print(line)
    print(f"page: {report.page}, table: {report.table}, limits and tests: {report.facts}")
