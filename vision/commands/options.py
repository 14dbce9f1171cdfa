"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_MODEL = "embedded:lite"

StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        help="Folder that the index lives in, or qdrant://HOST:PORT/NAME.",
        envvar="CHIASM_STORE",
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option(help="Filter over columns, e.g. \"taken_at > '2024-01-01' and width > 1000\"."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
