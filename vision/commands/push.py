"""`vision push`: move an index on to where there is more room."""

from __future__ import annotations

from typing import Annotated

import typer

from vision.commands.options import StoreOption


def push(
    store: StoreOption,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="qdrant://HOST:PORT/NAME, or a folder.")],
) -> None:
    """Copy an index, vectors and all, to a Qdrant server or a folder; nothing is embedded again."""
    from vision.console import progress_bar
    from vision.retrieval import ImageIndex

    with ImageIndex.open(store) as pictures, progress_bar("Copying") as progress:
        count = pictures.push(target, progress=progress)
    typer.echo(f"{count:,} pictures copied to {target}")
