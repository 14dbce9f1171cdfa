"""From words and pictures to vectors, with as little loaded as will do.

Words go through the exported text half where there is one in the cache (no torch, milliseconds); the model
itself is loaded once a picture has to be looked at, or for words that nothing was exported for.

Shape legend: T texts, E components of the joint space.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from data.errors import FingerprintMismatchError, ParameterError
from vision.retrieval.embedder import Embedder, embed_pixels
from vision.retrieval.place import CollectionModel
from vision.retrieval.store import Vectors


class QueryEncoder:
    """Vectors of queries in the space of one collection.

    Args:
        model: what made the collection.
        address: of the index, for errors.
        backbone: the model itself, where the caller has it.
    """

    def __init__(self, model: CollectionModel, address: str, backbone: Embedder | None = None):
        self.model, self.address = model, address
        self._backbone = backbone

    @property
    def backbone(self) -> Embedder:
        """The model that made the index; loaded when it is first asked for.

        Raises:
            FingerprintMismatchError: the model of that name is no longer what it was.
        """
        if self._backbone is None:
            from vision.backbones import load_backbone

            backbone = load_backbone(self.model.name)
            check_same_model(self.address, self.model, backbone)
            self._backbone = backbone
        return self._backbone

    def texts(self, sentences: Sequence[str]) -> Vectors:
        """Sentences -> unit vectors (T, E).

        Raises:
            ParameterError: the model knows pictures only.
        """
        if not self.backbone.has_text:
            do = "search with a picture, or index with a clip: model or embedded:lite"
            found = f"a text, which {self.model.name} cannot read"
            raise ParameterError("query", must_be="a picture or a vector", got=found, do=do)
        vectors_TE: Vectors = self.backbone.encode_text(list(sentences)).cpu().numpy()
        return vectors_TE

    def picture(self, image: Image.Image) -> Vectors:
        """A picture -> its unit vector (E,)."""
        pixels_CHW = self.backbone.preprocess.pixels(np.array(image.convert("RGB")))
        vector_E: Vectors = embed_pixels(self.backbone, pixels_CHW[None])[0]
        return vector_E

    def given(self, vector: object) -> Vectors:
        """A vector that the caller has (E,), checked, at unit length.

        Raises:
            ParameterError: of another length, not finite, or all zero.
        """
        vector_E = np.asarray(vector, dtype=np.float32)
        if vector_E.shape != (self.model.dim,) or not np.isfinite(vector_E).all() or not vector_E.any():
            raise ParameterError(
                "query",
                must_be=f"a text, a picture, or a finite vector of {self.model.dim} numbers, not all zero",
                got=f"an array of shape {vector_E.shape}",
            )
        unit_E: Vectors = vector_E / np.float32(np.linalg.norm(vector_E))
        return unit_E


def check_same_model(address: str, model: CollectionModel, backbone: Embedder) -> None:
    """Refuse to mix the vectors of two models.

    Raises:
        FingerprintMismatchError: with both named.
    """
    if model.fingerprint == backbone.fingerprint:
        return
    if model.name == backbone.name:
        do = "its weights, preprocessing or libraries have changed since: run `vision reindex`"
    else:
        do = f"use {model.name} here, or turn the index over to the other with `vision reindex`"
    raise FingerprintMismatchError(
        "model",
        must_be=f"the one that made the index, {model.name} ({model.fingerprint})",
        got=f"{backbone.name} ({backbone.fingerprint})",
        do=do,
        path=address,
    )
