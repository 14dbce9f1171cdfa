"""`vision index`: bring an index up to date with folders of photographs, once or from now on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vision.commands.options import (
    DEFAULT_MODEL,
    BatchOption,
    Decode,
    DecodeOption,
    PrecisionOption,
    StoreOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from vision.retrieval import ImageIndex, IndexSummary, IngestOptions


def index(
    store: StoreOption,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR...]", help="Folders of photographs; by default those of the last time."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help=f"Model name; by default the store's own, {DEFAULT_MODEL} for a new store."),
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="Only files that match, e.g. '2024/**'; may be repeated.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Not files that match, e.g. '**/screenshots/**'; may be repeated."),
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="Table (.csv, .tsv, .json, .jsonl) of pictures and their captions.")
    ] = None,
    from_embeddings: Annotated[
        Path | None,
        typer.Option(help="Instead of photographs: take in vectors made elsewhere, as `neuro align` writes."),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Forget files that are gone or excluded.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until Ctrl-C, and take in changes as they happen.")
    ] = False,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Read files again whose size and time are as before.")
    ] = False,
    decode: DecodeOption = None,
    precision: PrecisionOption = None,
    batch_size: BatchOption = 16,
    workers: WorkersOption = None,
) -> None:
    """Bring an index up to date with the photographs under some folders.

    Only new and changed pictures are embedded. Interrupt it at any time: the next run goes on from there.
    """
    if from_embeddings is not None:
        _take_in(store, from_embeddings, alone=not (folders or model or captions or watch))
        return
    from vision.console import note, progress_bar
    from vision.retrieval import IngestOptions
    from vision.retrieval.decode_pool import start_decoders

    options = IngestOptions(
        batch_size=batch_size,
        decode_workers=workers,
        rehash=rehash,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
    )
    start_decoders()  # side by side with the model: both have to load PyTorch
    with note("Loading the model"):
        pictures = _index_to_extend(store, folders or [], model, decode, precision)
    with pictures:
        roots = folders or [Path(root) for root in pictures.notes.roots]
        with progress_bar("Indexing") as progress:
            summary = pictures.add_folder(roots, options=options, prune=prune, progress=progress)
        print_summary(summary)
        if captions is not None:
            _add_captions(pictures, captions)
        pictures.get_ready()
        count, name = len(pictures), pictures.model.name
        typer.echo(f"{count:,} pictures in {store}, embedded by {name}; took {summary.seconds:.1f} s")
        if watch:
            _watch(pictures, roots, options, prune)


def print_summary(summary: IndexSummary) -> None:
    """What could not be read, each with its reason, and the counts."""
    from vision.console import plain_table, print_table, printable

    if summary.failed:
        table = plain_table("reason", "not indexed")
        for failure in summary.failed:
            table.add_row(failure.reason, printable(failure.path))
        print_table(table)
    typer.echo(summary)


def _take_in(store: str, folder: Path, *, alone: bool) -> None:
    from data.errors import ParameterError
    from vision.console import note
    from vision.retrieval import ImageIndex
    from vision.retrieval.taking_in import take_in

    if not alone:
        do = "leave DIR, --model, --captions and --watch out"
        raise ParameterError("--from-embeddings", must_be="alone with --store", got="more", do=do)
    with note("Taking in vectors"):
        count = take_in(store, folder)
        with ImageIndex.open(store) as pictures:
            pictures.get_ready()
            words = f"{pictures.model.name}; vectors of {pictures.model.origin}"
    typer.echo(f"{count:,} taken in to {store}, searched by the words of {words}")


def _index_to_extend(
    store: str, folders: list[Path], model: str | None, decode: Decode | None, precision: str | None
) -> ImageIndex:
    """The index that is there, with its own model, or a new one; nothing is made before all is checked."""
    from data.errors import ParameterError
    from data.photo_walk import photo_folder
    from vision.retrieval import ImageIndex
    from vision.store.addresses import stored_model

    known = stored_model(store)
    if known is None and not folders:
        raise ParameterError("DIR", must_be="given for a new index", got="no folder", do="name one or more")
    for folder in folders:
        photo_folder(folder)
    name = model or (known.name if known else DEFAULT_MODEL)
    decode = decode or (known.decode if known else "exact")
    precision = precision or (known.precision if known else "fp32")
    from vision.retrieval.models import load_embedder

    return ImageIndex.create(store, load_embedder(name, precision, folders), decode=decode)


def _add_captions(pictures: ImageIndex, table: Path) -> None:
    from data.captions import captions_by_path

    found, unknown = pictures.set_captions(captions_by_path(table))
    typer.echo(
        f"captions for {found:,} pictures" + (f"; {unknown:,} are not in the index" if unknown else "")
    )


def _watch(pictures: ImageIndex, roots: list[Path], options: IngestOptions, prune: bool) -> None:
    from data.photo_watch import watch_photos

    typer.echo("Watching; Ctrl-C ends it.", err=True)
    try:
        for batch in watch_photos(roots, include=options.include, exclude=options.exclude):
            if batch.gone and prune:
                summary = pictures.add_folder(roots, options=options, prune=True)
            else:
                summary = pictures.add_files(sorted(batch.present), options=options)
            if summary.has_news:
                print_summary(summary)
    except KeyboardInterrupt:
        return
