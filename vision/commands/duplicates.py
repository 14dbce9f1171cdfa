"""`vision duplicates`: pictures that an index holds more than once."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vision.commands.options import JsonOption, StoreOption


def duplicates(
    store: StoreOption,
    near: Annotated[
        float | None,
        typer.Option(help="Also pictures that merely look alike: least cosine, e.g. 0.97."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List files with the very same bytes and, with --near, pictures that look alike. Nothing is deleted."""
    from vision.console import note, plain_table, print_table, printable
    from vision.retrieval import ImageIndex

    with ImageIndex.open(store) as pictures, note("Comparing"):
        groups = list(pictures.duplicates(near=near))
    if as_json:
        typer.echo(json.dumps([group.to_dict() for group in groups], indent=2))
        return
    if groups:
        table = plain_table("group", "cosine", "picture")
        for number, group in enumerate(groups, start=1):
            for place, path in enumerate(group.paths):
                table.add_row(
                    f"{number}" if place == 0 else "", group.label if place == 0 else "", printable(path)
                )
        print_table(table)
    spare = sum(len(group.paths) - 1 for group in groups)
    typer.echo(f"groups: {len(groups):,}; files beyond one for each: {spare:,}", err=True)
