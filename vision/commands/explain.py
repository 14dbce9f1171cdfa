"""`vision explain`: what in a picture speaks for a description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from vision.commands.options import DEFAULT_MODEL

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vision.backbones import Backbone
    from vision.explain import Explanation
    from vision.store.place import CollectionModel, DecodeMode


def explain(
    image: Annotated[Path, typer.Argument(help="The picture.")],
    text: Annotated[str, typer.Argument(help="The description, as in a search.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the picture with its heat (.png, .jpg or .webp)."),
    ] = None,
    model: Annotated[str | None, typer.Option(help=f"Model name; {DEFAULT_MODEL} by default.")] = None,
    store: Annotated[
        str | None, typer.Option(help="Instead: the model of this index, and its way of decoding.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="How; by default the best that the model has.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the map.")] = False,
) -> None:
    """Show what in a picture speaks for a description, and so why a search finds it."""
    from vision.console import note

    _check(text, output, model, store)
    made_by = _stored(store) if store is not None else None
    with note(f"Explaining with {made_by.name if made_by else model or DEFAULT_MODEL}"):
        backbone = _load(made_by.name if made_by else model or DEFAULT_MODEL, made_by, store)
        picture_HWC = _pixels(image, backbone, made_by.decode if made_by else "exact")
        from vision.explain import explain as explained

        target_E = backbone.encode_text([text]).cpu().numpy()[0]
        found = explained(backbone, picture_HWC, target_E, method=method)
    if output is not None:
        from data.picture_file import write_picture

        write_picture(found.overlay(picture_HWC), output, "heat map")
    typer.echo(json.dumps(_fields(found), indent=2) if as_json else _line(found, output))


def _check(text: str, output: Path | None, model: str | None, store: str | None) -> None:
    """What can be said before anything is loaded."""
    if not text.strip():
        raise ParameterError("text", must_be="some words", got="an empty text")
    if store is not None and model is not None:
        do = "leave --model out: an index remembers its own"
        raise ParameterError("--model", must_be="without --store", got=model, do=do)
    if output is not None:
        from data.picture_file import picture_format

        picture_format(output, "--output")


def _stored(store: str) -> CollectionModel:
    from vision.store.addresses import stored_model

    made_by = stored_model(store)
    if made_by is None:
        raise BadFileError("store", must_be="a folder with an index", got="nothing there", path=store)
    from vision.retrieval.models import refuse_taken_in

    refuse_taken_in(store, made_by, "an explanation")
    return made_by


def _load(name: str, made_by: CollectionModel | None, store: str | None) -> Backbone:
    """The model in fp32; of an index, only if it is still the one that made it."""
    from vision.backbones import load_backbone

    backbone = load_backbone(name)
    if made_by is not None and made_by.fingerprint.partition("+")[0] != backbone.fingerprint:
        raise FingerprintMismatchError(
            "model",
            must_be=f"the one that made the index ({made_by.fingerprint})",
            got=f"{name} ({backbone.fingerprint})",
            do="run `vision reindex`",
            path=store,
        )
    return backbone


def _pixels(image: Path, backbone: Backbone, decode: DecodeMode) -> npt.NDArray[np.uint8]:
    from vision.retrieval.picture_reader import PictureReader, file_of

    return PictureReader(preprocess=backbone.preprocess, decode=decode).photo(file_of(image)).pixels_HWC


def _line(found: Explanation, output: Path | None) -> str:
    place = found.strongest
    heat = "nothing in it speaks for the text"
    if place is not None:
        heat = f"strongest {place[0]:.0%} from the left, {place[1]:.0%} from the top"
    return f"score {found.score:.3f}, {found.method}: {heat}" + (f"; {output}" if output is not None else "")


def _fields(found: Explanation) -> dict[str, Any]:
    return {
        "score": round(found.score, 6),
        "method": found.method,
        "box": [round(side, 6) for side in found.box],
        "strongest": found.strongest and [round(part, 6) for part in found.strongest],
        "map": [[round(float(value), 4) for value in row] for row in found.map_RC],
    }
