"""Whether words find scans: figures against slow loops, chance where nothing is, and who is left out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from neuro.align.bank import RIGHT, UNKNOWN, WRONG
from neuro.align.retrieval import (
    DEPTH,
    Collection,
    average_precision,
    by_label,
    by_own_sentence,
    holds_between,
    random_precision,
)
from neuro.align.sentences import DiagnosisWords
from neuro.align.zero_shot import NAME, class_vectors, zero_shot_predictions

E = 8


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def collection(count: int = 40, seed: int = 0, *, twice: bool = False, shift: float = 0.0) -> Collection:
    """People in two folds, every one scanned twice or not; label 1 is shifted along the first axis."""
    rng = np.random.default_rng(seed)
    person = np.arange(count) // 2 if twice else np.arange(count)
    labels = person % 2
    rows = rng.standard_normal((count, E))
    rows[:, 0] += shift * labels
    return Collection(
        vectors_NE=unit(rows),
        labels=labels,
        people=np.array([f"p{number}" for number in person], dtype=object),
        fold_of=person // 2 % 2,
    )


def test_a_label_is_found_as_scikit_learn_counts_it() -> None:
    runs, query_E = collection(shift=1.0), unit(np.eye(E)[0])
    found = by_label(runs, query_E, 1, "patients", 0)
    scores = runs.vectors_NE @ query_E
    aucs, precisions = [], []
    for fold in (0, 1):
        here = runs.fold_of == fold
        aucs.append(roc_auc_score(runs.labels[here], scores[here]))
        precisions.append(average_precision_score(runs.labels[here], scores[here]))
    assert found.above.estimate == pytest.approx(np.mean(aucs))  # folds of equal size
    assert found.precision == pytest.approx(np.mean(precisions))
    assert found.above.low < found.above.estimate < found.above.high
    other = by_label(runs, -query_E, 0, "controls", 0)
    assert other.above.estimate == pytest.approx(found.above.estimate)


@given(count=st.integers(1, 6), data=st.data())
def test_random_precision_is_the_mean_over_all_orders(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(1, count))
    truth = np.array([1] * right + [0] * (count - right))
    found = [
        average_precision(np.array(order, float), truth) for order in itertools.permutations(range(count))
    ]
    assert random_precision(count, right) == pytest.approx(np.mean(found))


def slow_own(runs: Collection, queries: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Share of pairs in order, and recall, by loops."""
    ordered, total, hits = 0.0, 0, []
    for i, query in enumerate(queries):
        others = [
            j
            for j in range(len(queries))
            if runs.fold_of[i] == runs.fold_of[j]
            and runs.people[i] != runs.people[j]
            and truth[i, j] == WRONG
        ]
        own = query @ runs.vectors_NE[i]
        ordered += sum(own > query @ runs.vectors_NE[j] for j in others)
        total += len(others)
        hits.append(sum(own <= query @ runs.vectors_NE[j] for j in others) < DEPTH)
    return ordered / total, float(np.mean(hits))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), twice=st.booleans())
def test_own_sentences_against_loops(seed: int, twice: bool) -> None:
    runs = collection(24, seed, twice=twice)
    rng = np.random.default_rng(seed + 1)
    queries = unit(rng.standard_normal((24, E)))
    truth = rng.choice([RIGHT, WRONG, WRONG, UNKNOWN], (24, 24)).astype(np.int8)
    found = by_own_sentence(runs, queries, truth, "", 0)
    share, recall = slow_own(runs, queries, truth)
    assert found.above.estimate == pytest.approx(share)
    assert found.recall is not None
    assert found.recall.estimate == pytest.approx(recall)


def test_chance_is_chance() -> None:
    """Random vectors: shares about one half, recall about its chance, intervals that hold them, mostly."""
    held = 0
    for seed in range(20):
        runs = collection(40, seed)
        queries = unit(np.random.default_rng(seed + 100).standard_normal((40, E)))
        truth = np.where(np.eye(40) > 0, RIGHT, WRONG).astype(np.int8)
        found = by_own_sentence(runs, queries, truth, "", seed)
        assert found.recall_chance == pytest.approx(DEPTH / 20)
        held += found.above.low <= 0.5 <= found.above.high
    assert held >= 16


def test_a_scan_that_lies_at_its_sentence_is_found() -> None:
    runs = collection(40)
    truth = np.where(np.eye(40) > 0, RIGHT, WRONG).astype(np.int8)
    found = by_own_sentence(runs, runs.vectors_NE, truth, "", 0)
    assert found.recall is not None
    assert found.recall_gain is not None
    assert (found.above.estimate, found.above.low, found.recall.estimate) == (1.0, 1.0, 1.0)
    assert found.recall_gain.estimate == pytest.approx(1 - DEPTH / 20)
    told = found.to_dict()
    assert "precision" not in told
    assert told["recall_chance"] == found.recall_chance


def test_what_is_told_of_one_run_may_hold_of_another() -> None:
    truth_NS = np.array([[1, 0, -1], [0, 1, 1]], dtype=np.int8)
    assert holds_between(truth_NS, np.array([0, 2])).tolist() == [[1, 0], [-1, 1]]


def test_zero_shot_is_the_nearer_of_two_ensembles() -> None:
    def encode(texts: list[str]) -> np.ndarray:
        return unit(np.array([[1, 0, 0] if "healthy" in text else [0.6, 0.8, 0] for text in texts], float))

    classes = class_vectors(encode, DiagnosisWords())
    np.testing.assert_allclose(classes, [[1, 0, 0], [0.6, 0.8, 0]], atol=1e-6)
    vectors = unit(np.array([[1, 0, 0], [0, 1, 0], [0.8, 0.4, 0.1]]))
    names = np.array(["a", "b", "c"], dtype=object)
    found = zero_shot_predictions(
        vectors,
        classes,
        np.array([10.0, 10.0, 20.0]),
        run_ids=names,
        labels=np.array([0, 1, 1]),
        people=names,
        sites=names,
        fold_of=np.array([0, 0, 1]),
    )
    assert (found.model, found.deals) == (NAME, 1)
    np.testing.assert_allclose(found.scores[0, :2], [-0.4, 0.8], atol=1e-6)
    assert found.called.tolist() == [[0, 1, int(found.scores[0, 2] > 0)]]
    odds = np.exp(20 * vectors[2] @ classes.T)
    assert found.probabilities[0, 2] == pytest.approx(odds[1] / odds.sum(), rel=1e-5)
