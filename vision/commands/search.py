"""`vision search`: words and pictures in, pictures out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vision.commands.options import JsonOption, StoreOption, WhereOption
from vision.commands.query_options import KINDS, read_query, read_weights

if TYPE_CHECKING:
    from vision.retrieval import Hit
    from vision.store.recall import Recall

STANDARD_INPUT = Path("-")
PREVIEWS = ("auto", "kitty", "iterm2", "sixel", "none")


def search(
    store: StoreOption,
    query: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    plus: Annotated[list[str] | None, typer.Option(help="Words to add; may be repeated.")] = None,
    minus: Annotated[list[str] | None, typer.Option(help="Words to take away; may be repeated.")] = None,
    like: Annotated[
        list[Path] | None,
        typer.Option(help="A picture that the found ones should resemble, - for standard input."),
    ] = None,
    more_like: Annotated[
        list[Path] | None, typer.Option(help="An earlier result to find more of; may be repeated.")
    ] = None,
    less_like: Annotated[
        list[Path] | None, typer.Option(help="An earlier result to find less of; may be repeated.")
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=W[,W...]",
            help=f"Weights, 1 by default, of {', '.join(KINDS)}: --weight minus=0.5 --weight plus=1,0.3",
        ),
    ] = None,
    where: WhereOption = None,
    k: Annotated[int, typer.Option("-k", help="How many pictures to show at most.")] = 10,
    cut: Annotated[
        float, typer.Option(help="Leave out what is relevant with a probability below this.")
    ] = 0.5,
    show_all: Annotated[bool, typer.Option("--all", help="Leave nothing out.")] = False,
    texts: Annotated[
        Path | None,
        typer.Option(
            help="Rank the lines of this file for the query, instead of the pictures: picture to text."
        ),
    ] = None,
    as_json: JsonOption = False,
    paths: Annotated[bool, typer.Option("--paths", help="Print paths alone, one a line.")] = False,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="With --paths: end each with a NUL, for xargs -0.")
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a contact sheet too (.jpg, .png or .webp).")
    ] = None,
    preview: Annotated[
        str, typer.Option(help=f"Show the pictures in the terminal: {', '.join(PREVIEWS)}.")
    ] = "auto",
) -> None:
    """Show the pictures of an index that fit a description best.

    A description is words, pictures, or both, added and taken away. What is not relevant is left out.
    """
    from vision.console import note, preview_protocol
    from vision.retrieval import ImageIndex
    from vision.retrieval.hits import passes
    from vision.retrieval.templates import read_lines

    protocol = preview_protocol(preview) if not (as_json or paths) else None
    if sheet is not None:
        from data.picture_file import picture_format
        from vision.retrieval.sheet import SHEET

        picture_format(sheet, SHEET)
    weights = read_weights(weight or [])
    examples = [sys.stdin.buffer.read() if path == STANDARD_INPUT else path for path in like or []]
    wanted = read_query(query, plus or [], minus or [], examples, weights)
    wanted = wanted.feedback(more_like or [], less_like or [])
    with ImageIndex.open(store) as pictures:
        with note(f"Searching with {pictures.model.name}"):
            if texts is not None:
                ranked = pictures.rank_texts(wanted, read_lines(texts, "texts", comment=""))[:k]
            else:
                captions = weights.get("captions", (1.0,))[0]
                found = pictures.search(wanted, k, where=where, captions=captions)
        count, recall = len(pictures), pictures.recall
    if texts is not None:
        _print_texts(ranked, as_json)
        return
    hits = [hit for hit in found if show_all or passes(hit, cut)]
    _print_hits(hits, as_json, paths, "\0" if null else "\n")
    _print_footer(count, hits, found, cut, recall)
    title = query or "pictures like these"
    if sheet is not None:
        from vision.retrieval.sheet import contact_sheet, save_sheet

        save_sheet(contact_sheet(title, hits), sheet)
        typer.echo(f"contact sheet: {sheet}", err=True)
    if protocol is not None and hits:
        from vision.console import show_pictures

        show_pictures(title, hits, protocol)


def _print_texts(ranked: list[tuple[str, float]], as_json: bool) -> None:
    import json

    from vision.console import plain_table, print_table

    if as_json:
        typer.echo(json.dumps([{"text": text, "score": round(score, 6)} for text, score in ranked], indent=2))
        return
    table = plain_table("rank", "score", "text")
    for rank, (text, score) in enumerate(ranked, start=1):
        table.add_row(f"{rank}", f"{score:.3f}", text)
    print_table(table)


def _print_hits(hits: list[Hit], as_json: bool, paths: bool, end: str) -> None:
    import json

    from vision.console import hits_table, print_table

    if as_json:
        typer.echo(json.dumps([{"rank": rank} | hit.to_dict() for rank, hit in enumerate(hits, 1)], indent=2))
    elif paths:
        for hit in hits:
            typer.echo(os.fsencode(hit.path) + end.encode(), nl=False)
    elif hits:
        print_table(hits_table(hits))


def _print_footer(count: int, hits: list[Hit], found: list[Hit], cut: float, recall: Recall | None) -> None:
    """On standard error: what was left out, and how far the ranking can be trusted."""
    if not count:
        typer.echo("The index holds no pictures.", err=True)
    elif not found:
        typer.echo("No picture fits the filter.", err=True)
    elif not hits:
        best = max(hit.relevance or 0.0 for hit in found)
        why = "nothing fits, or much of the collection does"
        typer.echo(
            f"No picture stands out (the best: {best:.0%}): {why}. --all ranks them all the same.", err=True
        )
    elif len(hits) < len(found):
        typer.echo(
            f"{len(found) - len(hits)} more are relevant at less than {cut:.0%}; --all shows them.", err=True
        )
    elif found[0].relevance is None:
        typer.echo("Too few pictures to tell what is relevant: all are ranked.", err=True)
    if recall is not None:
        typer.echo(f"Searched through the graph: {recall}", err=True)
