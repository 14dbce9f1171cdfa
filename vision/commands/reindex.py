"""`vision reindex`: turn an index over to another model."""

from __future__ import annotations

from typing import Annotated

import typer

from vision.commands.options import BatchOption, DecodeOption, PrecisionOption, StoreOption, WorkersOption


def reindex(
    store: StoreOption,
    model: Annotated[str | None, typer.Option(help="Model name; by default the store's own.")] = None,
    decode: DecodeOption = None,
    precision: PrecisionOption = None,
    batch_size: BatchOption = 16,
    workers: WorkersOption = None,
) -> None:
    """Embed every picture anew, beside the vectors that are there, and swap when all is done.

    Captions, columns and tags stay. Interrupted, it goes on where it stopped; until the swap, searches use
    the old vectors.
    """
    from vision.commands.index import print_summary
    from vision.console import note, progress_bar
    from vision.retrieval import IngestOptions
    from vision.retrieval.decode_pool import start_decoders
    from vision.retrieval.models import load_embedder
    from vision.retrieval.reindex import Reindexing

    options = IngestOptions(batch_size=batch_size, decode_workers=workers)
    with Reindexing.open(store) as work:
        old = work.old
        start_decoders()
        with note("Loading the model"):
            embedder = load_embedder(model or old.name, precision or old.precision, work.roots)
        with progress_bar("Embedding anew") as progress:
            summary = work.run(embedder, decode or old.decode, options, progress)
    print_summary(summary)
    typer.echo(f"{store} now belongs to {embedder.name}, before to {old.name}; took {summary.seconds:.1f} s")
