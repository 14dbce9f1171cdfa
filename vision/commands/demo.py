"""`vision demo`: from nothing to contact sheets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the index and the contact sheets.")] = Path(
        "demo-out"
    ),
    photos: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Also index this folder; may be repeated.")
    ] = None,
) -> None:
    """Index a few real photographs, ask five questions, and write a contact sheet for each."""
    from vision.demo import run

    run(out, photos or [])
