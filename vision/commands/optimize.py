"""`vision optimize`: a graph over the pictures, for collections that have outgrown looking at each."""

from __future__ import annotations

import time

import typer

from vision.commands.options import StoreOption

WORTH_IT = 200_000


def optimize(store: StoreOption) -> None:
    """Build a graph (HNSW) over the pictures: searches look at a few of them instead of all.

    Below about 200,000 pictures an exact search takes milliseconds anyway, and finds all there is. The share
    of true neighbours that the graph finds is measured, shown, and kept with the index.
    """
    from vision.console import progress_bar
    from vision.retrieval import ImageIndex

    with ImageIndex.open(store) as pictures:
        before = pictures.facts()
        if before.rows < WORTH_IT:
            typer.echo(f"{before.rows:,} pictures: an exact search does up to about {WORTH_IT:,}.", err=True)
        began = time.monotonic()
        with progress_bar("Building the graph") as progress:
            recall = pictures.optimize(progress)
        seconds, after = time.monotonic() - began, pictures.facts()
    typer.echo(f"graph over {after.graph_rows:,} of {after.rows:,} pictures; took {seconds:.1f} s")
    if before.disk_bytes is not None and after.disk_bytes is not None:
        typer.echo(f"disk {after.disk_bytes / 1e6:,.1f} MB, before {before.disk_bytes / 1e6:,.1f} MB")
    if recall is not None:
        typer.echo(recall)
