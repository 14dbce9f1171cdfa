"""From words and pictures to vectors, with as little loaded as will do.

Words go through the exported text half where there is one in the cache (no torch, milliseconds); the model
itself is loaded once a picture has to be looked at, or for words that nothing was exported for.

Shape legend: T texts, E components of the joint space.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from data.errors import ParameterError
from vision.optimize.text_tower import load_text_tower
from vision.retrieval.embedder import Embedder, Pixels, embed_pixels, embed_texts
from vision.retrieval.models import check_same_model, describe_model, load_embedder, refuse_taken_in
from vision.retrieval.picture_reader import PictureReader
from vision.retrieval.text_memory import TextMemory
from vision.store.place import CollectionModel
from vision.store.vector_store import Vectors

if TYPE_CHECKING:
    from vision.optimize.text_tower import TextTower


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
        self._tower: TextTower | None = None
        self._looked_for_tower = False
        self._loading = threading.Lock()
        self._memory = TextMemory(self._encode_texts)

    @property
    def backbone(self) -> Embedder:
        """The model that made the index; loaded when it is first asked for.

        Raises:
            FingerprintMismatchError: the model of that name is no longer what it was.
        """
        with self._loading:
            if self._backbone is None:
                backbone = load_embedder(self.model.name, self.model.precision)
                here = describe_model(backbone, self.model.decode, self.model.origin)
                check_same_model(self.address, self.model, here)
                self._backbone = backbone
            return self._backbone

    @property
    def full_backbone(self) -> Any:
        """The same model in full precision: what an 8-bit one was made of."""
        return getattr(self.backbone, "backbone", self.backbone)

    @property
    def has_text(self) -> bool:
        """Whether the model knows words."""
        return self._find_tower() is not None or self.backbone.has_text

    def texts(self, sentences: Sequence[str]) -> Vectors:
        """Sentences -> unit vectors (T, E); those asked for lately are remembered.

        Raises:
            ParameterError: the model knows pictures only.
        """
        return self._memory.vectors(sentences)

    def file(self, source: Path | bytes) -> Vectors:
        """A picture in a file, or a file's bytes -> its unit vector (E,), as indexing would give it.

        Raises:
            BadFileError: it cannot be read, or is no picture.
            ParameterError: the model's pictures and the index's vectors are not comparable.
        """
        refuse_taken_in(self.address, self.model, "a picture as the query")
        reader = PictureReader(preprocess=self.backbone.preprocess, decode=self.model.decode)
        return self._embed(reader.read(source)[1])

    def picture(self, image: Image.Image) -> Vectors:
        """A picture -> its unit vector (E,).

        Raises:
            ParameterError: as `file`.
        """
        refuse_taken_in(self.address, self.model, "a picture as the query")
        return self._embed(self.backbone.preprocess.pixels(np.array(image.convert("RGB"))))

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

    def _encode_texts(self, sentences: Sequence[str]) -> Vectors:
        tower = self._find_tower()
        if tower is not None:
            return tower.encode(sentences)
        if not self.backbone.has_text:
            do = "search with a picture, or index with a clip: model or embedded:lite"
            found = f"a text, which {self.model.name} cannot read"
            raise ParameterError("query", must_be="a picture or a vector", got=found, do=do)
        return embed_texts(self.backbone, sentences)

    def _find_tower(self) -> TextTower | None:
        if not self._looked_for_tower:
            self._tower = load_text_tower(self.model.fingerprint)
            self._looked_for_tower = True
        return self._tower

    def _embed(self, pixels_CHW: Pixels) -> Vectors:
        vector_E: Vectors = embed_pixels(self.backbone, pixels_CHW[None])[0]
        return vector_E
