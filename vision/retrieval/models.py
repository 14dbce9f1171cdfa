"""The model behind an index: loaded as the index remembers it, and never taken for another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from data.photo_walk import walk_photos
from vision.retrieval.embedder import Embedder
from vision.retrieval.picture_reader import PictureReader
from vision.store.place import CollectionModel, DecodeMode

if TYPE_CHECKING:
    from vision.backbones import Backbone
    from vision.retrieval.embedder import Pixels

PRECISIONS = ("fp32", "int8")


def load_embedder(name: str, precision: str = "fp32", roots: Sequence[str | Path] = ()) -> Embedder:
    """The model of that name, as it is or in 8-bit integers.

    Args:
        precision: "fp32" or "int8".
        roots: folders with pictures to calibrate "int8" on, where that has not been done on this machine yet.

    Raises:
        ParameterError: another precision.
        MissingDependencyError: "int8" without OpenVINO.
    """
    if precision not in PRECISIONS:
        raise ParameterError("precision", must_be=f"one of {', '.join(PRECISIONS)}", got=repr(precision))
    from vision.backbones import load_backbone

    backbone = load_backbone(name)
    if precision == "fp32":
        return backbone
    from vision.optimize.int8 import load_int8, quantize

    return load_int8(backbone) or quantize(backbone, _some_pictures(backbone, roots))


def _some_pictures(backbone: Backbone, roots: Sequence[str | Path]) -> Iterator[Pixels]:
    """Pixels of the pictures under the roots that can be read, one by one as they are asked for."""
    reader = PictureReader(preprocess=backbone.preprocess)
    for path in walk_photos(roots):
        try:
            yield reader.read(path)[1]
        except BadFileError:
            continue


def describe_model(embedder: Embedder, decode: DecodeMode, origin: str = "") -> CollectionModel:
    """What a collection remembers of the model that makes its vectors, and of the way pictures get to it.

    In the fingerprint, what follows a "+" is about pictures alone: the text half is that of the model before.

    Args:
        embedder: the model.
        decode: how its pictures are decoded.
        origin: what made the vectors instead, where they were taken in.
    """
    return CollectionModel(
        name=embedder.name,
        fingerprint=f"{embedder.fingerprint}+{origin or decode}",
        dim=embedder.output_dim,
        decode=decode,
        precision="int8" if "+int8" in embedder.fingerprint else "fp32",
        origin=origin,
    )


def check_same_model(address: str, there: CollectionModel, given: CollectionModel) -> None:
    """Refuse to mix the vectors of two models.

    Raises:
        FingerprintMismatchError: with both named.
    """
    if there.fingerprint == given.fingerprint:
        return
    if there.origin or given.origin:
        do = "give what was taken in, and pictures, a store each"
    elif (there.name, there.decode, there.precision) == (given.name, given.decode, given.precision):
        do = "its weights, preprocessing or libraries have changed since: run `vision reindex`"
    else:
        do = f"use {_words(there)} here, or turn the index over to the other with `vision reindex`"
    raise FingerprintMismatchError(
        "model",
        must_be=f"the one that made the index, {_words(there)} ({there.fingerprint})",
        got=f"{_words(given)} ({given.fingerprint})",
        do=do,
        path=address,
    )


def _words(model: CollectionModel) -> str:
    ways = [way for way, usual in ((model.decode, "exact"), (model.precision, "fp32")) if way != usual]
    taken_in = [f"with vectors of {model.origin}"] if model.origin else []
    return " ".join([model.name, *ways, *taken_in])


def refuse_taken_in(address: str, model: CollectionModel, what: str) -> None:
    """Say no to the picture half where the vectors are not its own.

    Raises:
        ParameterError: they were taken in.
    """
    if model.origin:
        raise ParameterError(
            what,
            must_be="left out for an index whose vectors were taken in",
            got=f"{address}, with vectors of {model.origin}",
            do="ask it in words; pictures get a store of their own",
        )
