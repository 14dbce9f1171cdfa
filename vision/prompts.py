"""Labels as sentences, and as one vector each: a prompt ensemble, for pictures and brains alike.

Each label is said in several sentences, whose unit vectors are averaged (Radford et al. 2021, arXiv
2103.00020, section 3.1.4). Letters: L labels, T sentences, E components of the joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
EncodeText = Callable[[list[str]], Vectors]

GAP = "{}"
SENTENCES = 256


def fill(templates: Sequence[str], label: str) -> list[str]:
    """The label in every template. A brace in a label is only a brace."""
    return [template.replace(GAP, label) for template in templates]


def ensemble(encode_text: EncodeText, labels: Sequence[str], templates: Sequence[str]) -> Vectors:
    """Labels -> unit vectors (L, E): the mean of each label's sentences, at unit length.

    Args:
        encode_text: sentences -> unit vectors (T, E), fp32.
        labels: in words.
        templates: sentences with a gap, `{}`.
    """
    sentences = [sentence for label in labels for sentence in fill(templates, label)]
    parts = [encode_text(sentences[at : at + SENTENCES]) for at in range(0, len(sentences), SENTENCES)]
    mean_LE = np.concatenate(parts).reshape(len(labels), len(templates), -1).mean(axis=1)
    return unit_rows(mean_LE)


def unit_rows(vectors_NE: npt.ArrayLike) -> Vectors:
    """Rows (N, E) at unit length, fp32."""
    rows_NE = np.asarray(vectors_NE)
    return np.asarray(rows_NE / np.linalg.norm(rows_NE, axis=1, keepdims=True), dtype=np.float32)
