"""Zero-shot classification of runs: each label in sentences, and a run takes the label it lies nearest to.

As for pictures (`vision.retrieval.zero_shot`), with the same ensembles (`vision.prompts`). The templates are
not those of the training sentences; the words of the diagnosis are. What a model was never told in any
sentence, such a classifier does not know.
Letters: N runs, E components of the text space.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuro.align.sentences import DiagnosisWords
from neuro.protocol.predictions import Predictions
from vision.prompts import EncodeText, Vectors, ensemble, unit_rows

PROMPTS = ("an fMRI scan of {}", "a picture of the brain of {}", "an MRI of {}", "a scan of the brain of {}")
NAME = "zero-shot by prompts"


def class_vectors(encode_text: EncodeText, words: DiagnosisWords) -> Vectors:
    """Unit vectors (2, E) of label 0 and label 1: the mean of everything that the label can be called."""
    means = [ensemble(encode_text, words.people(label), PROMPTS).mean(axis=0) for label in (0, 1)]
    return unit_rows(means)


def zero_shot_scores(vectors_NE: Vectors, classes_2E: Vectors) -> NDArray[np.float64]:
    """Cosine with label 1 less cosine with label 0 (N,)."""
    cosines_N2 = vectors_NE.astype(np.float64) @ classes_2E.T.astype(np.float64)
    return np.asarray(cosines_N2[:, 1] - cosines_N2[:, 0], dtype=np.float64)


def zero_shot_predictions(
    vectors_NE: Vectors,
    classes_2E: Vectors,
    scale_N: NDArray[np.float64],
    *,
    run_ids: NDArray[np.object_],
    labels: NDArray[np.int64],
    people: NDArray[np.object_],
    sites: NDArray[np.object_],
    fold_of: NDArray[np.int64],
) -> Predictions:
    """Predictions of one deal; each run by a model that had not seen its person.

    A run is called by the label that lies nearer, and its probability is the softmax at the scale that the
    model learned: nothing is fitted to labels beyond the alignment, so they are not calibrated.

    Args:
        vectors_NE: of the runs, unit.
        classes_2E: of `class_vectors`.
        scale_N: the learned scale of the model that saw each run.
        run_ids, labels, people, sites: of the runs.
        fold_of: the fold that tested each.
    """
    scores_N = zero_shot_scores(vectors_NE, classes_2E)
    return Predictions(
        model=NAME,
        run_ids=run_ids,
        labels=labels,
        people=people,
        sites=sites,
        folds=fold_of[None],
        scores=scores_N[None],
        probabilities=(1 / (1 + np.exp(-scale_N * scores_N)))[None],
        called=(scores_N > 0).astype(np.int64)[None],
    )
