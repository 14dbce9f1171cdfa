"""`vision evaluate`: how good models are on your own pictures, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import ParameterError
from vision.commands.options import DEFAULT_MODEL, JsonOption

if TYPE_CHECKING:
    from vision.retrieval.evaluate import Comparison

STEM = "evaluation"


def evaluate(
    pairs: Annotated[
        Path | None,
        typer.Argument(metavar="[PAIRS]", help="Pictures and captions: .csv, .tsv, .json or .jsonl."),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Instead: a folder of classes, DIR/CLASS/pictures."),
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Model name; may be repeated.")] = None,
    templates: Annotated[
        str, typer.Option(help="With --classes: imagenet, simple, or a file of sentences with {}.")
    ] = "simple",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help=f"Write {STEM}.md and {STEM}.json there.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare models on pictures with captions (retrieval), or on a folder of classes (zero-shot).

    Retrieval is measured both ways: share of queries whose right answer is among the first 1, 5 and 10, mean
    average precision, median rank. Classification: right at once, among the first five, mean over classes,
    and how honest the probabilities are. All with 95 % intervals.
    """
    if (pairs is None) == (classes is None):
        found = "both" if pairs is not None else "neither"
        raise ParameterError("evaluation", must_be="of either PAIRS or --classes DIR", got=found)
    names = list(dict.fromkeys(model or [DEFAULT_MODEL]))
    if out is not None and out.exists() and not out.is_dir():
        raise ParameterError("--out", must_be="a folder", got=f"{out}, a file")
    result = _measured(pairs, classes, names, templates)
    if out is not None:
        from data.writing import write_whole

        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / f"{STEM}.md", result.to_markdown())
        write_whole(out / f"{STEM}.json", json.dumps(result.to_dict(), indent=2) + "\n")
    _print(result, as_json)


def _measured(pairs: Path | None, classes: Path | None, names: list[str], templates: str) -> Comparison:
    from vision.console import note, progress_bar
    from vision.retrieval.evaluate import evaluate_classes, evaluate_pairs, read_classes
    from vision.retrieval.templates import load_templates

    if pairs is not None:
        from data.captions import read_pairs

        known = read_pairs(pairs)
    else:
        sentences = load_templates(templates)
        read_classes(classes or "")  # what is wrong with the folder is said before a model is loaded
    with note(f"Loading {', '.join(names)}"):
        from vision.backbones import load_backbone
    with progress_bar("Embedding") as progress:
        if pairs is not None:
            return evaluate_pairs(names, known, load_backbone, progress)
        return evaluate_classes(names, classes or "", load_backbone, templates=sentences, progress=progress)


def _print(result: Comparison, as_json: bool) -> None:
    from vision.console import plain_table, print_table, printable

    if as_json:
        typer.echo(json.dumps(result.to_dict(), indent=2))
        return
    typer.echo(result.title)
    heading, *rows = result.rows()
    table = plain_table(*heading)
    for row in rows:
        table.add_row(*row)
    print_table(table)
    if result.failed:
        left_out = plain_table("reason", "left out")
        for failure in result.failed:
            left_out.add_row(failure.reason, printable(failure.path))
        print_table(left_out)
