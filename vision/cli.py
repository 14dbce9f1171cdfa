"""The `vision` command: a thin shell over `vision.retrieval`; heavy imports wait until they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data import command_line
from data.errors import ParameterError

if TYPE_CHECKING:
    from vision.retrieval import Failure, Hit, ImageIndex

DEFAULT_MODEL = "embedded:lite"

app = typer.Typer(
    help="Search your photographs by what is in them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)

StoreOption = Annotated[
    Path, typer.Option("--store", help="Folder that the index lives in.", envvar="CHIASM_STORE")
]


@app.command()
def index(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of photographs.")],
    store: StoreOption,
    model: Annotated[
        str | None,
        typer.Option(help=f"Model name; by default the store's own, {DEFAULT_MODEL} for a new store."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures embedded and stored together.")] = 16,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Read files again whose size and time are as before.")
    ] = False,
) -> None:
    """Bring an index up to date with the photographs under some folders.

    Only new and changed pictures are embedded. Interrupt it at any time: the next run goes on from there.
    """
    from data.photos import photo_folder
    from vision.console import progress_bar
    from vision.retrieval import IngestOptions

    roots = [photo_folder(folder) for folder in folders]
    options = IngestOptions(batch_size=batch_size, rehash=rehash)
    with _index_to_extend(store, model) as pictures:
        with progress_bar("Indexing") as progress:
            summary = pictures.add_folder(roots, options=options, progress=progress)
        count, name = len(pictures), pictures.model.name
    _print_failures(summary.failed)
    typer.echo(summary)
    typer.echo(f"{count:,} pictures in {store}, embedded by {name}; took {summary.seconds:.1f} s")


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for, in words.")],
    store: StoreOption,
    k: Annotated[int, typer.Option("-k", help="How many pictures to show.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a contact sheet too (.jpg, .png or .webp).")
    ] = None,
) -> None:
    """Show the pictures of an index that fit a description best."""
    from vision.console import note
    from vision.retrieval import ImageIndex
    from vision.retrieval.sheet import contact_sheet, save_sheet, sheet_format

    if sheet is not None:
        sheet_format(sheet)
    with ImageIndex.open(store) as pictures, note(f"Searching with {pictures.model.name}"):
        hits = pictures.search(query, k)
    if sheet is not None:
        save_sheet(contact_sheet(query, hits), sheet)
    _print_hits(hits, as_json)
    if sheet is not None:
        typer.echo(f"contact sheet: {sheet}", err=True)


@app.command()
def models(
    containing: Annotated[str, typer.Argument(metavar="[TEXT]", help="Only names with this in them.")] = "",
) -> None:
    """List the models that pictures can be indexed with: what finds them, and where the weights come from."""
    from vision.backbones import known_models
    from vision.console import note, plain_table, print_table

    with note("Listing models"):
        known = [model for model in known_models() if containing.lower() in model.name.lower()]
    if not known:
        raise ParameterError("TEXT", must_be="part of a model's name", got=repr(containing))
    table = plain_table("searched by", "numbers", "weights", "model")
    for model in known:
        place = "installed" if not model.needs_hub else "in the cache" if model.cached else "from the hub"
        query = "words, pictures" if model.has_text else "pictures"
        table.add_row(query, f"{model.output_dim or ''}", place, model.name)
    print_table(table)
    typer.echo(
        "Also: local:PATH, a folder of weights of your own, and timm: with any of timm's models.", err=True
    )


@app.command()
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


def main() -> None:
    """Entry point of the console command."""
    command_line.run(app)


def _index_to_extend(store: Path, model: str | None) -> ImageIndex:
    from vision.console import note
    from vision.retrieval import ImageIndex
    from vision.retrieval.store_folder import stored_model

    known = stored_model(store)
    name = model or (known.name if known is not None else DEFAULT_MODEL)
    with note(f"Loading {name}"):
        from vision.backbones import load_backbone

        return ImageIndex.create(store, load_backbone(name))


def _print_failures(failed: list[Failure]) -> None:
    from vision.console import plain_table, print_table, printable

    if failed:
        table = plain_table("reason", "not indexed")
        for failure in failed:
            table.add_row(failure.reason, printable(failure.path))
        print_table(table)


def _print_hits(hits: list[Hit], as_json: bool) -> None:
    import json

    from vision.console import hits_table, print_table

    if as_json:
        found = [
            {
                "rank": rank,
                "score": round(hit.score, 6),
                "path": str(hit.path),
                "copies": [str(copy) for copy in hit.copies],
                "width": hit.width,
                "height": hit.height,
            }
            for rank, hit in enumerate(hits, start=1)
        ]
        typer.echo(json.dumps(found, indent=2))
    elif hits:
        print_table(hits_table(hits))
    else:
        typer.echo("The index holds no pictures.", err=True)


if __name__ == "__main__":
    main()
