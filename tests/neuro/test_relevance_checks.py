"""What is asked of a map: against slow twins, and of weights that say nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from data.errors import ParameterError
from neuro.classifier import ParkinsonClassifier
from neuro.explain import group_map, relevance
from neuro.explain.checks import randomised, rank_correlation, rank_correlations, voxel_auc
from neuro.tokens import RunTokens

from .toy_runs import toy_classifier, toy_cohort

Cohort = tuple[ParkinsonClassifier, list[RunTokens], np.ndarray]


@pytest.fixture(scope="module")
def fitted() -> Cohort:
    return toy_classifier(), *toy_cohort(8, first=100)


@settings(deadline=None)  # the first call imports scikit-learn's metrics
@given(seed=st.integers(0, 1000), rounded=st.booleans())
def test_the_auc_is_the_share_of_pairs_in_the_right_order(seed: int, rounded: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(4, 4, 3))
    values = values.round() if rounded else values  # with ties
    planted, brain = rng.random((4, 4, 3)) < 0.3, rng.random((4, 4, 3)) < 0.8
    planted[0, 0, 0] = brain[0, 0, 0] = brain[1, 1, 1] = True
    planted[1, 1, 1] = False
    inside, outside = (np.abs(values[brain & where]) for where in (planted, ~planted))
    slow = np.mean([[(a > b) + 0.5 * (a == b) for b in outside] for a in inside])
    assert voxel_auc(values, planted, brain) == pytest.approx(slow)
    assert voxel_auc(-values, planted, brain) == pytest.approx(slow)


def test_nothing_planted_has_no_auc() -> None:
    brain = np.ones((2, 2, 2), bool)
    for planted in (~brain, brain):
        with pytest.raises(ParameterError, match="planted mask must be a part of the brain"):
            voxel_auc(np.ones((2, 2, 2)), planted, brain)


def test_rank_correlations_are_scipys_over_the_brain(rng: np.random.Generator) -> None:
    brain = rng.random((5, 5, 5)) < 0.6
    maps = {name: rng.normal(size=(5, 5, 5)).round(1) for name in "abc"}
    maps["b"][~brain] = 99  # outside the brain nothing counts
    table = rank_correlations(maps, brain)
    for one in maps:
        for other in maps:
            expected = spearmanr(np.abs(maps[one][brain]), np.abs(maps[other][brain])).statistic
            assert table.loc[one, other] == pytest.approx(expected)
    assert np.isnan(rank_correlation(maps["a"], np.ones((5, 5, 5)), brain))


def test_weights_are_drawn_anew_from_the_readout_down(fitted: Cohort) -> None:
    classifier, runs, _ = fitted
    before = {name: value.clone() for name, value in classifier.model_.state_dict().items()}
    stages = dict(randomised(classifier, seed=1))
    assert list(stages) == ["readout", "block 2", "block 1", "embedding"]
    drawn: list[set[str]] = []
    for stage in stages.values():
        state = stage.model_.named_parameters()
        drawn.append({name for name, value in state if not torch.equal(value, before[name])})
    assert all(name.startswith("readout.") for name in drawn[0])
    assert {name.split(".")[4] for name in drawn[1] - drawn[0]} == {"1"}
    assert {name.split(".")[4] for name in drawn[2] - drawn[1]} == {"0"}
    kept = {name for name in before if name not in drawn[3]}
    # A tensor of one number has no spread to draw from.
    assert all(before[name].numel() == 1 or before[name].std() == 0 for name in kept)
    for one, other in pairwise(drawn):
        assert one < other
    assert all(torch.equal(value, before[name]) for name, value in classifier.model_.state_dict().items())
    weight = "encoder.embedding.signal.weight"
    found = stages["embedding"].model_.state_dict()[weight]
    assert found.std() == pytest.approx(float(before[weight].std()), rel=0.1)
    assert classifier.decision_function(runs[:1]) != stages["readout"].decision_function(runs[:1])


def test_random_weights_destroy_the_map(fitted: Cohort) -> None:
    classifier, runs, labels = fitted
    planted, brain = np.zeros((8, 8, 8), bool), np.ones((8, 8, 8), bool)
    planted[4:, 4:, :4] = True

    def auc(model: ParkinsonClassifier, method: str) -> float:
        found = group_map([relevance(model, run, method) for run in runs], labels)
        return voxel_auc(found, planted, brain)

    for method in ("votes", "attention-gradient"):
        assert auc(classifier, method) == 1
        last = [list(randomised(classifier, seed))[-1][1] for seed in range(5)]
        assert np.median([auc(model, method) for model in last]) < 0.85
