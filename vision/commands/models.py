"""`vision models`: the names that `--model` takes."""

from __future__ import annotations

from typing import Annotated

import typer

from data.errors import ParameterError


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
