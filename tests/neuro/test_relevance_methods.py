"""Ways of explaining: sums that must come out, slow twins, and the planted cube found by each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.errors import ParameterError, UnknownNameError
from neuro.classifier import ParkinsonClassifier
from neuro.explain import METHODS, Options, relevance
from neuro.explain.attention_gradient import attention_gradient
from neuro.explain.integrated_gradients import integrated_gradients
from neuro.explain.neutral import neutral
from neuro.explain.occlusion import occluded_places
from neuro.explain.votes import votes
from neuro.model import BrainTransformer, run_logit
from neuro.tokens import RunTokens, TubeletSpec, collate
from vision.explain.attention import AttentionRecorder

from .toy_runs import WINDOWED, parcel_run, slice_run, stirred, toy_classifier, toy_cohort, toy_run

KINDS = [
    {},
    {"readout": "mean"},
    {"readout": "attention"},
    {"readout": "class"},
    {"positions": "rotary"},
    {"attention": "factorised"},
    {"attention": "factorised", "readout": "class"},
]


@pytest.fixture(scope="module")
def fitted() -> tuple[ParkinsonClassifier, list[RunTokens], np.ndarray]:
    return toy_classifier(), *toy_cohort(8, first=100)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_finds_the_cube_in_which_patients_differ(
    method: str, fitted: tuple[ParkinsonClassifier, list[RunTokens], np.ndarray]
) -> None:
    classifier, runs, labels = fitted
    found = [relevance(classifier, run, method) for run in runs]
    for one, run in zip(found, runs, strict=True):
        assert one.values_S.shape == (len(run.centres_S3),)
        assert one.values_S.dtype == np.float32
        assert one.logit == pytest.approx(classifier.decision_function([run])[0], abs=1e-6)
    volumes = np.stack([one.volume() for one in found])
    difference = volumes[labels == 1].mean(0) - volumes[labels == 0].mean(0)
    inside = np.zeros((8, 8, 8), bool)
    inside[4:, 4:, :4] = True
    assert difference[inside].min() > 1.2 * np.abs(difference[~inside]).max()


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("spec", [TubeletSpec(patch_mm=16, frames=4), WINDOWED], ids=["whole", "windows"])
def test_integrated_gradients_add_up_to_the_difference_of_logits(
    options: dict[str, object], spec: TubeletSpec
) -> None:
    run = toy_run(1, 0.5, spec)
    model = stirred(run, **options)
    with torch.inference_mode():
        start = float(np.mean([float(model(neutral(collate([clip]), "tubelet"))) for clip in run.clips()]))
    wanted = run_logit(model, run) - start
    found = integrated_gradients(model, run, steps=100)
    size = float(np.abs(found).sum())
    assert size > 0.01
    assert found.sum() == pytest.approx(wanted, abs=2e-3 * size)


def test_integrated_gradients_equal_a_slow_sum_along_the_way() -> None:
    """Midpoints of many short steps, one gradient at a time."""
    run = toy_run(1, 0.5, WINDOWED)
    model = stirred(run)
    slow = np.zeros(len(run.centres_S3))
    for clip in run.clips():
        batch = collate([clip])
        for alpha in (np.arange(60) + 0.5) / 60:
            signal = (batch.signal_BNV * alpha).requires_grad_()
            amplitude = (batch.amplitude_BSP * alpha).requires_grad_()
            model(replace(batch, signal_BNV=signal, amplitude_BSP=amplitude)).sum().backward()
            by_token = (signal.grad * batch.signal_BNV)[0].sum(-1).numpy()
            for token, value in enumerate(by_token):
                slow[token % batch.places] += value / 60 / 3
            slow += (amplitude.grad * batch.amplitude_BSP)[0].sum(-1).numpy() / 60 / 3
    np.testing.assert_allclose(integrated_gradients(model, run, steps=64), slow, atol=2e-3)


def test_explaining_leaves_no_gradients_behind() -> None:
    run = toy_run(1, 0.5)
    model = stirred(run)
    integrated_gradients(model, run, steps=4)
    attention_gradient(model, run)
    assert all(parameter.grad is None for parameter in model.parameters())


def slow_rollout(model: BrainTransformer, run: RunTokens) -> np.ndarray:
    """Chefer's equations 5 and 6 with loops over heads and tokens, joint attention, a readout of votes."""
    total = np.zeros(len(run.centres_S3))
    for clip in run.clips():
        batch = collate([clip])
        with AttentionRecorder() as recorder:
            encoded = model.encoder(batch)
        logit = model.readout(encoded, batch).sum()
        weights = [layer.weights_BHQK for layer in recorder.layers]
        gradients = torch.autograd.grad(logit, weights, retain_graph=True)
        vote = model.readout.votes(encoded, batch)[0].detach().numpy()
        prefix = encoded.prefix_BPD.shape[1]
        count = prefix + len(vote)
        for sign in (1, -1):
            relevance_of = np.eye(count)
            for weight, gradient in zip(weights, gradients, strict=True):
                helped = np.zeros((count, count))
                for head in range(weight.shape[1]):
                    product = (sign * gradient[0, head] * weight[0, head]).detach().numpy()
                    helped += np.maximum(product, 0) / weight.shape[1]
                relevance_of = relevance_of + helped @ relevance_of
            for token, value in enumerate(vote):
                for other in range(len(vote)):
                    share = max(sign * value, 0) * relevance_of[prefix + token, prefix + other]
                    total[other % batch.places] += sign * share / len(run.clip_starts())
    return total


@pytest.mark.parametrize("options", [{}, {"readout": "mean"}, {"positions": "rotary"}], ids=str)
def test_attention_gradient_equals_a_slow_rollout(options: dict[str, object]) -> None:
    run = toy_run(1, 0.5, WINDOWED)
    model = stirred(run, **options)
    found, slow = attention_gradient(model, run), slow_rollout(model, run)
    np.testing.assert_allclose(found, slow, atol=1e-5 * np.abs(slow).max() + 1e-7)
    # Attention counts: the votes alone are something else.
    assert np.abs(found - votes(model, run)).max() > 1e-3 * np.abs(found).max()


def test_attention_in_turns_is_joint_attention_where_the_others_get_no_weight() -> None:
    """Attention among all tokens that is masked to the turns' sequences gives the same relevance."""
    run = toy_run(1, 0.5, WINDOWED)
    model = stirred(run, attention="factorised")
    found = attention_gradient(model, run)
    slow = np.zeros(len(found))
    for clip in run.clips():
        batch = collate([clip])
        places, windows, prefix = batch.places, batch.windows, 1
        count = prefix + windows * places
        with AttentionRecorder() as recorder:
            encoded = model.encoder(batch)
        logit = model.readout(encoded, batch).sum()
        weights = [layer.weights_BHQK for layer in recorder.layers]
        gradients = torch.autograd.grad(logit, weights, retain_graph=True, allow_unused=True)
        vote = model.readout.votes(encoded, batch)[0].detach().numpy()
        for sign in (1, -1):
            relevance_of = np.eye(count)
            for number, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
                product = (sign * gradient * weight).detach().relu().mean(1).numpy()
                helped = np.zeros((count, count))
                if number == 0:  # over time: the sequence of a place is its windows
                    for place in range(places):
                        tokens = [prefix + window * places + place for window in range(windows)]
                        helped[np.ix_(tokens, tokens)] += product[place]
                else:  # among the places of a window, with a copy of the class token
                    for window in range(windows):
                        tokens = [0, *(prefix + window * places + place for place in range(places))]
                        helped[np.ix_(tokens, tokens)] += product[window]
                    helped[0] /= windows
                relevance_of = relevance_of + helped @ relevance_of
            shares = np.maximum(sign * vote, 0) @ relevance_of[prefix:, prefix:]
            slow += sign * shares.reshape(windows, places).sum(0) / len(run.clip_starts())
    np.testing.assert_allclose(found, slow, atol=1e-5 * np.abs(slow).max())


def test_votes_add_up_to_the_logit() -> None:
    run = toy_run(1, 0.5, WINDOWED)
    model = stirred(run)
    total = votes(model, run).sum() + float(model.readout.bias.detach())
    assert total == pytest.approx(run_logit(model, run), abs=1e-4)


def test_a_class_token_has_no_votes_but_the_other_methods_explain_it() -> None:
    run = toy_run(1, 0.5)
    model = stirred(run, readout="class")
    with pytest.raises(ParameterError, match="readout must be one whose logit is a sum of votes"):
        votes(model, run)
    for method in (attention_gradient, integrated_gradients, occluded_places):
        assert method(model, run).std() > 1e-6


def test_features_of_slices_have_the_mean_token_as_their_neutral() -> None:
    batch = collate(toy_run(1, 0.5).clips()[:1])
    middle = neutral(batch, "slice")
    torch.testing.assert_close(middle.signal_BNV[0, 3], batch.signal_BNV[0].mean(0))
    assert not neutral(batch, "tubelet").signal_BNV.any()
    assert not middle.amplitude_BSP.any()
    assert middle.positions_BN4 is batch.positions_BN4


@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_token_is_explained(method: str) -> None:
    explain = METHODS[method].explain
    for run in (parcel_run("none"), parcel_run("correlation"), slice_run()):
        model = stirred(run)
        values, voxels = explain(model, run, Options(steps=100))
        assert values.shape == (len(run.centres_S3),)
        assert values.std() > 1e-6
        assert voxels is None
        if method == "integrated-gradients":
            with torch.inference_mode():
                starts = [float(model(neutral(collate([clip]), run.spec.kind))) for clip in run.clips()]
            wanted = run_logit(model, run) - float(np.mean(starts))
            assert values.sum() == pytest.approx(wanted, abs=2e-3 * float(np.abs(values).sum()))


def test_what_cannot_be_explained_is_said(
    fitted: tuple[ParkinsonClassifier, list[RunTokens], np.ndarray],
) -> None:
    classifier, runs, _ = fitted
    with pytest.raises(UnknownNameError, match=r"got vote; did you mean votes\?"):
        relevance(classifier, runs[0], "vote")
    with pytest.raises(ParameterError, match="X must be runs cut as when fitted"):
        relevance(classifier, toy_run(0, 1.0, WINDOWED))
    with pytest.raises(ParameterError, match="steps must be positive, got 0"):
        Options(steps=0)
