"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

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
Decode = Literal["exact", "fast"]
Precision = Literal["fp32", "int8"]
DecodeOption = Annotated[
    Decode | None,
    typer.Option(
        help="fast scales JPEGs while they are decoded; by default the store's own, exact for a new one."
    ),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        help="int8 is quicker on CPUs (needs chiasm[cpu]); by default the store's own, fp32 for a new one."
    ),
]
BatchOption = Annotated[int, typer.Option(help="Pictures embedded and stored together.")]
WorkersOption = Annotated[
    int | None, typer.Option(help="Processes that decode ahead of the model; by default one per core.")
]
WhereOption = Annotated[
    str | None,
    typer.Option(help="Filter over columns, e.g. \"taken_at > '2024-01-01' and width > 1000\"."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
