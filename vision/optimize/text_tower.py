"""The text half of a model with no torch: what `vision.optimize.text_export` wrote, in numpy.

A tower is a folder in the cache folder, named by the fingerprint of the model:

    text-towers/FINGERPRINT/record.json           what it is, and the digests of the other two
    text-towers/FINGERPRINT/weights.safetensors   fp32, mapped into memory: only what is used is read
    text-towers/FINGERPRINT/tokenizer.txt         CLIP's merges, or the JSON of a Hugging Face tokenizer

Shape suffixes: B sentences, L tokens, D width, E joint space.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.cache_folder import cache_folder
from vision.optimize.clip_tokens import CLEANERS, ClipTokens
from vision.optimize.sealed_folder import read_sealed
from vision.optimize.text_layers import ACTIVATIONS, Array, Mask, Weights, attention, layer_norm, linear

# Raise it whenever the files or what is made of them change.
FORMAT = 1
WEIGHTS, TOKENIZER = "weights.safetensors", "tokenizer.txt"
BATCH = 64
Ids = npt.NDArray[np.int64]
Tokenize = Callable[[Sequence[str]], list[list[int]]]


@dataclass(frozen=True, kw_only=True)
class TowerSpec:
    """How a tower computes; its weights are in the names of `TextTower`.

    Args:
        layers: how many blocks.
        heads: of attention.
        eps: of all norms.
        activation: key of `vision.optimize.text_layers.ACTIVATIONS`.
        norm_first: norms before attention and MLP (CLIP), or after the sums (BERT).
        causal: a token sees itself and those before it.
        masked: which tokens nobody sees: "none", "padding" (what fills a batch up) or "pad_id" (equal to it).
        pad_id: see `masked`.
        pool: the vector's token: "argmax" (first highest id), "eos" (first `eos_id`), "first", "last",
            "class" (a learned one behind all others, as in CoCa), or "mean" of all seen ones.
        eos_id: see `pool`.
        class_masked_first: with "class", pad masks are shifted by one, as the published CoCa weights want it.
        tokenizer: "clip", or "hub" for the JSON of a Hugging Face tokenizer, which cuts and pads by itself.
        clean: key of `vision.optimize.clip_tokens.CLEANERS`, or "none".
        blank_id: token that a tokenizer's output has 0 in place of; -1 for none.
        context: most tokens of a sentence.
        pads_to_context: whether sentences are filled up with zeros to `context`.
    """

    layers: int
    heads: int
    eps: float
    activation: str
    norm_first: bool = True
    causal: bool = True
    masked: str = "none"
    pad_id: int = 0
    pool: str = "argmax"
    eos_id: int = 0
    class_masked_first: bool = False
    tokenizer: str = "clip"
    clean: str = "lower"
    blank_id: int = -1
    context: int = 77
    pads_to_context: bool = True


class TextTower:
    """Sentences -> unit vectors, as the model that it was exported from gives them, within 1e-5.

    Weights by name: words (V, D), positions (L, D), class_token (D,); for each block I blocks.I.qkv,
    blocks.I.out, blocks.I.up, blocks.I.down (weight (K', K), bias (K',)) and the norms blocks.I.norm1 and
    blocks.I.norm2; embedding_norm, final_norm, projection where there are such.
    """

    def __init__(self, spec: TowerSpec, weights: Weights, tokenize: Tokenize):
        self.spec = spec
        self._weights, self._tokenize = weights, tokenize

    @property
    def output_dim(self) -> int:
        """E, the length of a vector."""
        last = self._weights.get("projection.weight")
        return int(self._weights["words"].shape[1] if last is None else last.shape[0])

    def encode(self, sentences: Sequence[str]) -> Array:
        """Sentences -> unit vectors (B, E), fp32; longer sentences are cut at the tower's length."""
        rows = self._tokenize(list(sentences))
        parts = [self._encode_batch(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
        return np.concatenate([np.zeros((0, self.output_dim), np.float32), *parts])

    def _encode_batch(self, rows: list[list[int]]) -> Array:
        spec, weights = self.spec, self._weights
        ids_BL, real_BL = self._filled(rows)
        pooled_B = self._pooled_places(ids_BL)
        if spec.causal and pooled_B is not None:
            # Nothing that comes after the pooled token has any say in it.
            ids_BL = ids_BL[:, : pooled_B.max() + 1]
            real_BL = real_BL[:, : pooled_B.max() + 1]
        x_BLD = weights["words"][ids_BL]
        if spec.pool == "class":
            token_BLD = np.broadcast_to(weights["class_token"], (len(rows), 1, x_BLD.shape[2]))
            x_BLD = np.concatenate([x_BLD, token_BLD], axis=1)
        x_BLD = x_BLD + weights["positions"][: x_BLD.shape[1]]
        if "embedding_norm.weight" in weights:
            x_BLD = layer_norm(x_BLD, weights, "embedding_norm", spec.eps)
        mask = self._mask(ids_BL, real_BL)
        for block in range(spec.layers):
            x_BLD = self._block(x_BLD, mask, f"blocks.{block}")
        return self._head(self._pool(x_BLD, real_BL, pooled_B))

    def _filled(self, rows: list[list[int]]) -> tuple[Ids, Mask]:
        """Token ids (B, L), zeros behind each row, and which of them are real."""
        length = self.spec.context if self.spec.pads_to_context else max(map(len, rows))
        ids_BL = np.zeros((len(rows), length), np.int64)
        real_BL = np.zeros(ids_BL.shape, np.bool_)
        for place, row in enumerate(rows):
            ids_BL[place, : len(row)], real_BL[place, : len(row)] = row, True
        ids_BL[ids_BL == self.spec.blank_id] = 0
        return ids_BL, real_BL

    def _pooled_places(self, ids_BL: Ids) -> Ids | None:
        """The place of each sentence's pooled token (B,); None where no single one of its own is pooled."""
        places: dict[str, Callable[[], Ids]] = {
            "argmax": lambda: np.asarray(ids_BL.argmax(1)),
            "eos": lambda: np.asarray((ids_BL == self.spec.eos_id).argmax(1)),
            "first": lambda: np.zeros(len(ids_BL), np.int64),
            "last": lambda: np.full(len(ids_BL), ids_BL.shape[1] - 1),
        }
        return places[self.spec.pool]() if self.spec.pool in places else None

    def _mask(self, ids_BL: Ids, real_BL: Mask) -> Mask | None:
        """Who sees whom, broadcastable to (B, L, L)."""
        seen_BL = real_BL if self.spec.masked == "padding" else ids_BL != self.spec.pad_id
        if self.spec.pool == "class":
            always_B1 = np.ones((len(ids_BL), 1), np.bool_)
            parts = [always_B1, seen_BL] if self.spec.class_masked_first else [seen_BL, always_B1]
            seen_BL = np.concatenate(parts, axis=1)
        length = seen_BL.shape[1]
        mask = np.tri(length, dtype=np.bool_)[None] if self.spec.causal else None
        if self.spec.masked == "none":
            return mask
        return seen_BL[:, None] if mask is None else mask & seen_BL[:, None]

    def _block(self, x_BLD: Array, mask: Mask | None, name: str) -> Array:
        if self.spec.norm_first:
            x_BLD = x_BLD + self._attend(self._norm(x_BLD, f"{name}.norm1"), mask, name)
            return x_BLD + self._mlp(self._norm(x_BLD, f"{name}.norm2"), name)
        x_BLD = self._norm(x_BLD + self._attend(x_BLD, mask, name), f"{name}.norm1")
        return self._norm(x_BLD + self._mlp(x_BLD, name), f"{name}.norm2")

    def _attend(self, x_BLD: Array, mask: Mask | None, name: str) -> Array:
        return attention(x_BLD, mask, self.spec.heads, self._weights, name)

    def _mlp(self, x_BLD: Array, name: str) -> Array:
        wide = ACTIVATIONS[self.spec.activation](linear(x_BLD, self._weights, f"{name}.up"))
        return linear(wide, self._weights, f"{name}.down")

    def _norm(self, x: Array, name: str) -> Array:
        return layer_norm(x, self._weights, name, self.spec.eps)

    def _pool(self, x_BLD: Array, real_BL: Mask, pooled_B: Ids | None) -> Array:
        if self.spec.pool == "mean":
            shares_BL1 = real_BL[:, :, None] / real_BL.sum(1).astype(np.float32)[:, None, None]
            return np.asarray((x_BLD * shares_BL1.astype(np.float32)).sum(1))
        if pooled_B is None:
            return x_BLD[:, -1]
        return x_BLD[np.arange(len(x_BLD)), pooled_B]

    def _head(self, x_BD: Array) -> Array:
        if "final_norm.weight" in self._weights:
            x_BD = self._norm(x_BD, "final_norm")
        if "projection.weight" in self._weights:
            x_BD = linear(x_BD, self._weights, "projection")
        lengths_B1 = np.linalg.norm(x_BD, axis=1, keepdims=True)
        return np.asarray(x_BD / np.maximum(lengths_B1, 1e-12), np.float32)


def load_text_tower(fingerprint: str) -> TextTower | None:
    """The tower of the model with that fingerprint; None where none was exported, or it is not whole.

    What follows a "+" in a fingerprint is about pictures: the text half is that of the model before it.
    """
    folder = tower_folder(fingerprint)
    record = read_sealed(folder)
    if record is None or record.get("made_for") != made_for(fingerprint):
        return None
    return _open(TowerSpec(**record["spec"]), folder)


def tower_folder(fingerprint: str) -> Path:
    """Where the tower of a model is, or would be."""
    return cache_folder() / "text-towers" / re.sub(r"[^\w.-]", "_", _model(fingerprint))


def made_for(fingerprint: str) -> list[Any]:
    """What a tower's record must say for it to be of this model, and of this version of Chiasm."""
    return [FORMAT, _model(fingerprint)]


def _model(fingerprint: str) -> str:
    return fingerprint.partition("+")[0]


def _open(spec: TowerSpec, folder: Path) -> TextTower:
    text = (folder / TOKENIZER).read_text(encoding="utf-8")
    if spec.tokenizer == "clip":
        tokenize: Tokenize = ClipTokens(text, context=spec.context, clean=spec.clean)
    else:
        tokenize = _hub_tokens(text, CLEANERS.get(spec.clean))
    return TextTower(spec, _mapped(folder / WEIGHTS), tokenize)


def _hub_tokens(description: str, clean: Callable[[str], str] | None) -> Tokenize:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(description)

    def tokenize(sentences: Sequence[str]) -> list[list[int]]:
        cleaned = sentences if clean is None else [clean(sentence) for sentence in sentences]
        return [encoded.ids for encoded in tokenizer.encode_batch(cleaned)]

    return tokenize


def _mapped(path: Path) -> Weights:
    """The tensors of a safetensors file, mapped into memory: `safetensors` itself would copy each of them."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    tensors: dict[str, Array] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            flat = np.asarray(data[start + first : start + last]).view(np.float32)
            tensors[name] = flat.reshape(entry["shape"])
    return tensors
