"""`vision classify`: pictures into labels of your own, without examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import ParameterError
from vision.commands.options import DEFAULT_MODEL, JsonOption

if TYPE_CHECKING:
    from vision.retrieval import ImageIndex
    from vision.retrieval.classify import Labelling, Verdict
    from vision.retrieval.summary import Failure


def classify(
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGES]...", help="Files or folders; without any, all of --store."),
    ] = None,
    labels: Annotated[str | None, typer.Option(metavar="A,B,C", help="Labels, with commas between.")] = None,
    labels_file: Annotated[Path | None, typer.Option(help="Instead: a file of one label a line.")] = None,
    templates: Annotated[
        str, typer.Option(help="imagenet, simple, or a file of sentences with {} for the label.")
    ] = "simple",
    model: Annotated[str | None, typer.Option(help=f"Model name; {DEFAULT_MODEL} by default.")] = None,
    store: Annotated[
        str | None,
        typer.Option(help="Classify what this index holds, from its vectors; nothing is decoded."),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Above 1: less sure. `vision evaluate --classes` finds the honest one.")
    ] = 1.0,
    none_below: Annotated[
        float | None,
        typer.Option(help="None of these, where the best label is less probable than this."),
    ] = None,
    none: Annotated[
        bool,
        typer.Option("--none", help="None of these, where no label stands out from 200 unrelated ones."),
    ] = False,
    column: Annotated[
        str | None, typer.Option(help="With --store: write label and probability into this column.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give each picture the label that fits it best, and how probable that is among the labels.

    A probability is among the given labels, and some label always comes first: --none and --none-below say
    when it is none of them.
    """
    names = _labels(labels, labels_file)
    _check(images, model, store, column)
    from vision.retrieval.classify import Labelling
    from vision.retrieval.templates import load_templates

    sentences = load_templates(templates)
    options = Labelling(
        labels=names, templates=sentences, temperature=temperature, none_below=none_below, none=none
    )
    if store is not None:
        verdicts, failed = _in_store(store, images, options, column)
    else:
        verdicts, failed = _in_files(images or [], model or DEFAULT_MODEL, options)
    _print(verdicts, failed, as_json)


def _labels(labels: str | None, labels_file: Path | None) -> list[str]:
    if (labels is None) == (labels_file is None):
        raise ParameterError(
            "labels", must_be="given by --labels A,B,C or --labels-file", got="both" if labels else "neither"
        )
    if labels is not None:
        return [label.strip() for label in labels.split(",")]
    from vision.retrieval.templates import read_lines

    return read_lines(labels_file or Path(), "labels")


def _check(images: list[Path] | None, model: str | None, store: str | None, column: str | None) -> None:
    if not images and store is None:
        raise ParameterError("pictures", must_be="files, folders, or a --store", got="none of them")
    if store is not None and model is not None:
        do = "leave --model out: an index remembers its own"
        raise ParameterError("--model", must_be="without --store", got=model, do=do)
    if column is not None and store is None:
        raise ParameterError("--column", must_be="used with --store", got=f"{column!r} without it")
    if column is not None and not column.isidentifier():
        raise ParameterError("--column", must_be="letters, digits and _", got=repr(column))


def _in_store(
    store: str, images: list[Path] | None, options: Labelling, column: str | None
) -> tuple[list[Verdict], list[Failure]]:
    from vision.console import note
    from vision.retrieval import ImageIndex
    from vision.retrieval.classify import classify_store
    from vision.retrieval.summary import Failure
    from vision.retrieval.zero_shot import model_scale

    with ImageIndex.open(store) as index:
        with note(f"Classifying with {index.model.name}"):
            classifier, rule = options.build(index.encode_texts, model_scale(index.model.name))
            only, missed = _files(images or [])
            found = classify_store(classifier, index.store, rule, set(only) if images else None)
            verdicts = list(found)
        if column is not None:
            _write(index, verdicts, column)
    known = {verdict.path for verdict in verdicts}
    return verdicts, missed + [Failure(path, "not in the index") for path in only if path not in known]


def _write(index: ImageIndex, verdicts: list[Verdict], column: str) -> None:
    index.set_columns((verdict.id, verdict.columns(column)) for verdict in verdicts if verdict.id)
    typer.echo(f"wrote {column} and {column}_probability of {len(verdicts):,} pictures", err=True)


def _in_files(images: list[Path], name: str, options: Labelling) -> tuple[list[Verdict], list[Failure]]:
    import numpy as np

    from vision.console import note, progress_bar
    from vision.retrieval.classify import classify_vectors
    from vision.retrieval.embed_files import embed_files
    from vision.retrieval.embedder import embed_texts
    from vision.retrieval.zero_shot import model_scale

    paths, missed = _files(images)
    with note(f"Loading {name}"):
        from vision.backbones import load_backbone

        backbone = load_backbone(name)
        classifier, rule = options.build(
            lambda texts: embed_texts(backbone, texts), model_scale(name, backbone)
        )
    with progress_bar("Embedding") as progress:
        vectors_NE, failed = embed_files(backbone, paths, progress)
    good = np.flatnonzero(np.isfinite(vectors_NE).all(axis=1))
    pictures = [(paths[at], None) for at in good]
    return classify_vectors(classifier, vectors_NE[good], pictures, rule), missed + failed


def _files(images: list[Path]) -> tuple[list[Path], list[Failure]]:
    """The files that are named, and those below the folders that are named."""
    from data.photo_walk import absolute_path, walk_photos
    from vision.retrieval.summary import Failure

    missed: list[Failure] = []
    paths: list[Path] = []
    for image in images:
        if image.is_dir():
            paths += walk_photos([image], on_error=lambda path, reason: missed.append(Failure(path, reason)))
        else:
            paths.append(absolute_path(image))
    return list(dict.fromkeys(paths)), missed


def _print(verdicts: list[Verdict], failed: list[Failure], as_json: bool) -> None:
    from vision.console import plain_table, print_table, printable

    if as_json:
        typer.echo(json.dumps([verdict.to_dict() for verdict in verdicts], indent=2))
    elif verdicts:
        table = plain_table("label", "probability", "picture")
        for verdict in verdicts:
            table.add_row(verdict.label or "-", f"{verdict.probability:.3f}", printable(verdict.path))
        print_table(table)
    for failure in failed:
        typer.echo(f"not classified: {printable(failure.path)}: {failure.reason}", err=True)
    if any(verdict.label is None for verdict in verdicts):
        count = sum(verdict.label is None for verdict in verdicts)
        typer.echo(f"{count:,} of {len(verdicts):,} are none of these (-)", err=True)
