"""Zero-shot classification: labels become text vectors, pictures take the label they lie nearest to.

Each label is said in several sentences, whose unit vectors are averaged (`vision.prompts`). Probabilities are
the softmax over the labels at the model's own scale, divided by a temperature; `fit_temperature` finds the
one at which they are honest (Guo et al. 2017, arXiv 1706.04599).

A softmax always adds up to 1, however little any label fits. Whether one fits at all is another question, and
`fits` answers it as `vision.retrieval.relevance` does for searches, the other way round: a label's score must
stand out from what the same picture scores on some hundred class names from all over. Those most like the
label are left out, as a flamingo is a bird, though "flamingo" says it better.

Shape legend: N pictures, L labels, T sentences, G background labels, E components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import ParameterError
from vision.prompts import EncodeText, ensemble
from vision.retrieval.relevance import tail_relevance
from vision.store.vector_store import Vectors

Floats = npt.NDArray[np.float64]

CLIP_SCALE = 100.0  # where the training of CLIP and its kin holds it
LITE_SCALE = 20.0  # embedded:lite was never trained to tell sentences apart; best on the 250 photographs
BACKGROUND_LABELS = 200
ALIKE = 0.2  # share of the background labels, those most like a label, that do not count against it
TEMPERATURES = (0.01, 100.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """Labels and their unit vectors (L, E).

    Args:
        scale: what cosines are multiplied by before the softmax.
        temperature: what they are divided by then; above 1 less sure, below 1 surer.
    """

    labels: tuple[str, ...]
    vectors_LE: Vectors
    scale: float = CLIP_SCALE
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ParameterError("temperature", must_be="a number above 0", got=self.temperature)

    def logits(self, vectors_NE: Vectors) -> Floats:
        """Unit vectors of pictures (N, E) -> logits (N, L) at temperature 1."""
        return np.asarray(self.scale * (vectors_NE @ self.vectors_LE.T), dtype=np.float64)

    def probabilities(self, vectors_NE: Vectors) -> Floats:
        """Unit vectors of pictures (N, E) -> probabilities (N, L) that add up to 1."""
        return np.exp(log_softmax(self.logits(vectors_NE) / self.temperature))


def build_classifier(
    encode_text: EncodeText,
    labels: Sequence[str],
    templates: Sequence[str],
    *,
    scale: float = CLIP_SCALE,
    temperature: float = 1.0,
) -> Classifier:
    """A classifier from labels in words.

    Args:
        encode_text: sentences -> unit vectors (T, E), fp32.
        labels: at least two, all different.
        templates: sentences with a gap, `{}`.

    Raises:
        ParameterError: fewer labels, an empty one, or one twice.
    """
    names = [label.strip() for label in labels]
    if len(names) < 2 or not all(names):
        raise ParameterError("labels", must_be="at least two, none empty", got=list(labels))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ParameterError("labels", must_be="all different", got=f"{twice[0]!r} twice")
    vectors_LE = ensemble(encode_text, names, templates)
    return Classifier(labels=tuple(names), vectors_LE=vectors_LE, scale=scale, temperature=temperature)


def model_scale(name: str, backbone: Any = None) -> float:
    """The scale at which a model compares pictures with sentences: its own where it is loaded and has one."""
    learned = getattr(getattr(backbone, "model", None), "logit_scale", None)
    if learned is not None:
        return float(learned.exp())
    return LITE_SCALE if name.startswith("embedded:") else CLIP_SCALE


# --- none of these ---


def background_labels(count: int = BACKGROUND_LABELS) -> list[str]:
    """Class names from all over ImageNet."""
    from vision.backbones.open_clip_data import imagenet_class_names

    names = imagenet_class_names()
    return list(names[:: max(1, len(names) // count)][:count])


def fits(classifier: Classifier, vectors_NE: Vectors, background_GE: Vectors) -> Floats:
    """Probability (N,) that the best label fits the picture at all; below 0.5: none of these.

    Args:
        background_GE: unit vectors of other labels, made with the same templates.
    """
    scores_NL, scores_NG = vectors_NE @ classifier.vectors_LE.T, vectors_NE @ background_GE.T
    nearness_LG = classifier.vectors_LE @ background_GE.T
    others_LG = np.argsort(nearness_LG, axis=1)[:, : round(len(background_GE) * (1 - ALIKE))]
    chances = [
        tail_relevance([scores_L.max()], scores_G[others_LG[scores_L.argmax()]], len(scores_L))[0]
        for scores_L, scores_G in zip(scores_NL, scores_NG, strict=True)
    ]
    return np.array(chances, dtype=np.float64)


# --- calibration ---


def log_softmax(logits_NL: npt.ArrayLike) -> Floats:
    """Logits (N, L) -> log-probabilities (N, L)."""
    logits = np.asarray(logits_NL, dtype=np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def fit_temperature(logits_NL: npt.ArrayLike, labels_N: npt.ArrayLike) -> float:
    """The temperature, from 0.01 to 100, at which the true labels are most probable.

    Raises:
        ParameterError: shapes that do not fit, or no picture.
    """
    logits, labels = np.asarray(logits_NL, dtype=np.float64), np.asarray(labels_N, dtype=np.intp)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ParameterError(
            "logits", must_be="(N, L) with N labels", got=f"{logits.shape} and {labels.shape}"
        )

    def slope(inverse: float) -> float:
        """Derivative of the negative log-likelihood, which is convex in the inverse temperature."""
        chances = np.exp(log_softmax(logits * inverse))
        return float(((chances * logits).sum(axis=1) - logits[np.arange(len(labels)), labels]).mean())

    low, high = (float(np.log(1 / t)) for t in TEMPERATURES[::-1])
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(np.exp(middle)) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def expected_calibration_error(
    probabilities_NL: npt.ArrayLike, labels_N: npt.ArrayLike, bins: int = 15
) -> float:
    """Mean gap between how sure the best label is and how often it is right, over bins of equal width."""
    chances = np.asarray(probabilities_NL)
    sure, right = chances.max(axis=1), chances.argmax(axis=1) == np.asarray(labels_N)
    bin_N = np.minimum((sure * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(bin_N, sure - right, minlength=bins)).sum() / len(sure))
