"""What is said about a cohort, each thing embedded once, and whom each of it holds of.

One thing (a meaning) can be said in several sentences, and which of them was chosen no brain can tell: their
mean stands for all of them, as in a prompt ensemble. Letters: R runs, S meanings, E components of the text
space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import ParameterError
from neuro.align.sentences import Sentence, SentenceConfig, Value, facts_of, sentences_of
from vision.backbones import Backbone, load_backbone
from vision.prompts import EncodeText, unit_rows

RIGHT, WRONG, UNKNOWN = 1, 0, -1
Vectors = NDArray[np.float32]
Meaning = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class SentenceBank:
    """What is said about the runs of a cohort.

    Attributes:
        texts: the sentences of each meaning (S,).
        vectors_SE: the mean of their unit vectors, at unit length, float32.
        truth_RS: int8, whether a meaning holds of a run's person: `RIGHT`, `WRONG` or `UNKNOWN`.
        of_run: the meanings that were written about each run, those that tell least first.
    """

    texts: tuple[tuple[str, ...], ...]
    vectors_SE: Vectors
    truth_RS: NDArray[np.int8]
    of_run: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def fullest(self) -> NDArray[np.intp]:
        """The meaning that tells most of each run (R,)."""
        return np.array([own[-1] for own in self.of_run], dtype=np.intp)

    def written_of(self, runs: NDArray[np.intp]) -> NDArray[np.intp]:
        """Numbers of the meanings that were written about any of these runs, sorted."""
        return np.array(sorted({at for run in runs for at in self.of_run[run]}), dtype=np.intp)


def bank_of(
    table: pd.DataFrame, encode_text: EncodeText, config: SentenceConfig | None = None
) -> SentenceBank:
    """Sentences of every row, embedded and compared with every row.

    Args:
        table: of a cohort, one row a run.
        encode_text: sentences -> unit vectors.
        config: what is told.

    Raises:
        ParameterError: of some run nothing is known that is to be told.
    """
    config = config or SentenceConfig()
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    written = [_by_meaning(sentences_of(row, config)) for row in rows]
    said: dict[Meaning, tuple[str, ...]] = {}
    for own in written:
        said |= own
    place = {meaning: at for at, meaning in enumerate(said)}
    return SentenceBank(
        texts=tuple(said.values()),
        vectors_SE=_means(encode_text, list(said.values())),
        truth_RS=_truth(rows, list(said), config),
        of_run=tuple(tuple(place[meaning] for meaning in own) for own in written),
    )


def text_tower(name: str, device: str = "auto") -> tuple[Backbone, EncodeText]:
    """A model by name, and its sentences as numpy vectors.

    Raises:
        ParameterError: it knows no words.
    """
    backbone = load_backbone(name, device=device)
    if not backbone.has_text:
        do = "take embedded:lite or a clip: model"
        raise ParameterError("text", must_be="a model that knows words", got=name, do=do)

    def encode(sentences: list[str]) -> Vectors:
        vectors: Vectors = backbone.encode_text(sentences).float().cpu().numpy()
        return vectors

    return backbone, encode


def _by_meaning(sentences: list[Sentence]) -> dict[Meaning, tuple[str, ...]]:
    found: dict[Meaning, tuple[str, ...]] = {}
    for sentence in sentences:
        found[sentence.facts] = (*found.get(sentence.facts, ()), sentence.text)
    return found


def _means(encode_text: EncodeText, said: list[tuple[str, ...]]) -> Vectors:
    """The mean vector of each meaning's sentences at unit length; every sentence is embedded once."""
    texts = list(dict.fromkeys(text for own in said for text in own))
    vectors_TE = encode_text(texts)
    place = {text: at for at, text in enumerate(texts)}
    return unit_rows([vectors_TE[[place[text] for text in own]].mean(axis=0) for own in said])


def _truth(rows: list[dict[str, Any]], said: list[Meaning], config: SentenceConfig) -> NDArray[np.int8]:
    """Whom each meaning holds of (R, S)."""
    people = [facts_of(row, config.told) for row in rows]
    sentences = [Sentence(text="", facts=meaning) for meaning in said]
    codes = [[_code(sentence.holds_of(person)) for sentence in sentences] for person in people]
    return np.array(codes, dtype=np.int8)


def _code(held: bool | None) -> int:
    return UNKNOWN if held is None else RIGHT if held else WRONG
