"""The attentive probe against explicit loops; what padding and order must not change; what fitting finds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ParameterError
from vision.adapt import AttentiveProbe, AttentiveProbeOptions, fit_attentive_probe, fit_linear_probe


def random_probe(dim: int, outputs: int, heads: int, seed: int) -> AttentiveProbe:
    """In double precision, with nothing left at its beginning."""
    probe = AttentiveProbe(dim, outputs, heads=heads).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in probe.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.double))
    return probe


def slow_probe(
    probe: AttentiveProbe, tokens: list[list[list[float]]], mask: list[list[bool]]
) -> tuple[list[list[float]], list[list[float]]]:
    """Logits and attention, number by number."""
    state = {name: tensor.tolist() for name, tensor in probe.state_dict().items()}
    dim = len(state["query_D"])
    width = dim // probe.heads
    logits, attention = [], []
    for sample, real in zip(tokens, mask, strict=True):
        keys, values = [], []
        for token in sample:
            mean = sum(token) / dim
            deviation = math.sqrt(sum((x - mean) ** 2 for x in token) / dim + probe.norm.eps)
            normed = [
                (token[i] - mean) / deviation * state["norm.weight"][i] + state["norm.bias"][i]
                for i in range(dim)
            ]
            keys.append([sum(w * x for w, x in zip(row, normed, strict=True)) for row in state["key.weight"]])
            values.append(
                [
                    sum(w * x for w, x in zip(row, normed, strict=True)) + bias
                    for row, bias in zip(state["value.weight"], state["value.bias"], strict=True)
                ]
            )
        seen, looked = [0.0] * dim, [0.0] * len(sample)
        for head in range(probe.heads):
            part = range(head * width, (head + 1) * width)
            powers = [
                math.exp(sum(state["query_D"][i] * key[i] for i in part) / math.sqrt(width)) if here else 0.0
                for key, here in zip(keys, real, strict=True)
            ]
            for n, power in enumerate(powers):
                looked[n] += power / sum(powers) / probe.heads
                for i in part:
                    seen[i] += power / sum(powers) * values[n][i]
        logits.append(
            [
                sum(w * x for w, x in zip(row, seen, strict=True)) + bias
                for row, bias in zip(state["head.weight"], state["head.bias"], strict=True)
            ]
        )
        attention.append(looked)
    return logits, attention


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_the_probe_equals_its_slow_twin(heads: int) -> None:
    probe = random_probe(6, 4, heads, seed=heads)
    tokens_BND = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(9), dtype=torch.double)
    mask_BN = torch.tensor([[True] * 5, [True, False, True, False, False], [False, False, True, True, True]])
    logits, attention = slow_probe(probe, tokens_BND.tolist(), mask_BN.tolist())
    close = {"atol": 1e-11, "rtol": 1e-11}
    torch.testing.assert_close(probe(tokens_BND, mask_BN), torch.tensor(logits, dtype=torch.double), **close)
    looked_BN = probe.attention(tokens_BND, mask_BN)
    torch.testing.assert_close(looked_BN, torch.tensor(attention, dtype=torch.double), **close)
    everything = torch.ones_like(mask_BN)
    torch.testing.assert_close(probe(tokens_BND), probe(tokens_BND, everything), **close)
    torch.testing.assert_close(probe.attention(tokens_BND), probe.attention(tokens_BND, everything), **close)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_padding_and_order_change_nothing(count: int, padding: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probe = random_probe(8, 3, 2, seed)
    tokens_1ND = torch.randn(1, count, 8, generator=generator, dtype=torch.double)
    padded_1ND = torch.cat([tokens_1ND, torch.full((1, padding, 8), float("nan")).double()], dim=1)
    order = torch.randperm(count + padding, generator=generator)
    mask_1N = (torch.arange(count + padding) < count)[order][None]
    close = {"atol": 1e-11, "rtol": 1e-11}
    torch.testing.assert_close(probe(padded_1ND[:, order], mask_1N), probe(tokens_1ND), **close)
    looked_1N = probe.attention(padded_1ND[:, order], mask_1N).detach()
    assert float(looked_1N.sum()) == pytest.approx(1)
    assert float(looked_1N[~mask_1N].sum()) == 0
    expected_1N = torch.nn.functional.pad(probe.attention(tokens_1ND), (0, padding))[:, order]
    torch.testing.assert_close(looked_1N, expected_1N, **close)


def test_at_first_it_looks_everywhere_alike_and_the_query_learns() -> None:
    probe = AttentiveProbe(8, 2, heads=2)
    tokens_BND = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(probe.attention(tokens_BND), torch.full((2, 4), 0.25))
    probe(tokens_BND).square().sum().backward()
    assert probe.query_D.grad is not None
    assert probe.query_D.grad.abs().max() > 0


def test_a_sample_of_padding_alone_gives_numbers() -> None:
    probe, tokens_1ND, mask_1N = random_probe(8, 2, 2, 0), torch.zeros(1, 3, 8), torch.zeros(1, 3).bool()
    probe = probe.float()
    torch.testing.assert_close(probe(tokens_1ND, mask_1N), probe(tokens_1ND))
    torch.testing.assert_close(probe.attention(tokens_1ND, mask_1N), torch.full((1, 3), 1 / 3))


def test_half_precision_gives_whole_attention() -> None:
    probe = random_probe(8, 2, 2, 0).float()
    tokens_BND = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        looked_BN, logits_BK = probe.attention(tokens_BND), probe(tokens_BND)
    assert (looked_BN.dtype, logits_BK.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(looked_BN.sum(1), torch.ones(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(looked_BN, probe.attention(tokens_BND), atol=0.05, rtol=0)


def hidden_signs(samples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens of noise, one of which, flagged by its first number, tells the class in its second."""
    generator = torch.Generator().manual_seed(seed)
    tokens_BND = torch.randn(samples, 24, 16, generator=generator)
    labels_B = torch.arange(samples) % 2
    place_B = torch.randint(24, (samples,), generator=generator)
    rows_B = torch.arange(samples)
    tokens_BND[rows_B, place_B, 0] = 6
    tokens_BND[rows_B, place_B, 1] = 2.0 * labels_B - 1
    return tokens_BND, labels_B, place_B


def test_it_finds_the_one_token_that_tells_where_the_mean_does_not() -> None:
    tokens_BND, labels_B, _ = hidden_signs(400, 1)
    test_BND, test_B, place_B = hidden_signs(400, 2)
    options = AttentiveProbeOptions(heads=2, epochs=40, learning_rate=5e-3)
    probe = fit_attentive_probe(tokens_BND, labels_B, options=options, seed=3)
    accuracy = float((probe(test_BND).argmax(1) == test_B).float().mean())
    linear = fit_linear_probe(tokens_BND.mean(1), labels_B)
    linear_accuracy = float((linear(test_BND.mean(1)).argmax(1) == test_B).float().mean())
    assert accuracy > 0.9
    assert linear_accuracy < 0.7
    assert float(probe.attention(test_BND)[torch.arange(400), place_B].mean()) > 0.5
    assert not any(p.requires_grad for p in probe.parameters())
    assert not probe.training


QUICK = AttentiveProbeOptions(heads=2, epochs=2, batch_size=16)


def test_a_seed_repeats_and_torchs_own_state_stays() -> None:
    tokens_BND, labels_B, _ = hidden_signs(40, 1)
    before = torch.get_rng_state()
    first, again, other = (
        fit_attentive_probe(tokens_BND, labels_B, options=QUICK, seed=seed).state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["key.weight"], other["key.weight"])


def test_padding_changes_nothing_of_what_is_fitted() -> None:
    tokens_BND, labels_B, _ = hidden_signs(40, 1)
    plain = fit_attentive_probe(tokens_BND, labels_B, options=QUICK)
    padded_BND = torch.cat([tokens_BND, torch.full_like(tokens_BND[:, :3], float("inf"))], dim=1)
    mask_BN = (torch.arange(27) < 24).expand(40, -1)
    padded = fit_attentive_probe(padded_BND, labels_B, mask_BN, options=QUICK)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(padded.state_dict()[name], tensor, atol=1e-4, rtol=1e-4)


def test_classes_weigh_equally() -> None:
    """Where tokens say nothing, a class of one in ten is held for as probable as the other."""
    tokens_BND = torch.ones(100, 2, 8)
    labels_B = (torch.arange(100) % 10 == 0).long()
    options = AttentiveProbeOptions(heads=1, epochs=60, batch_size=100, learning_rate=1e-2)
    probe = fit_attentive_probe(tokens_BND, labels_B, options=options)
    assert float(probe(tokens_BND[:1]).softmax(1)[0, 1]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_tokens_of_a_frozen_model_serve_as_they_come(dtype: torch.dtype) -> None:
    with torch.inference_mode():
        tokens_BND, labels_B, _ = hidden_signs(40, 1)
        tokens_BND = tokens_BND.to(dtype)
    probe = fit_attentive_probe(tokens_BND, labels_B, options=QUICK)
    assert probe(tokens_BND.float()).shape == (40, 2)


def test_what_cannot_be_fitted_is_refused() -> None:
    tokens_BND, labels_B = torch.zeros(4, 3, 8), torch.tensor([0, 1, 0, 1])
    fit = fit_attentive_probe
    with pytest.raises(ParameterError, match=r"tokens must be of shape \(B, N, D\)"):
        fit(tokens_BND[0], labels_B)
    with pytest.raises(ParameterError, match="labels must be one a sample"):
        fit(tokens_BND, labels_B[:3])
    with pytest.raises(ParameterError, match="two classes or more"):
        fit(tokens_BND, torch.ones(4, dtype=torch.long))
    with pytest.raises(ParameterError, match="labels must be whole numbers"):
        fit(tokens_BND, labels_B.float())
    with pytest.raises(ParameterError, match="labels must be from 0"):
        fit(tokens_BND, labels_B - 1)
    with pytest.raises(ParameterError, match=r"mask must be bool of shape \(4, 3\)"):
        fit(tokens_BND, labels_B, torch.ones(4, 3))
    with pytest.raises(ParameterError, match="one real token or more, got 1 without"):
        fit(tokens_BND, labels_B, torch.tensor([[True] * 3] * 3 + [[False] * 3]))
    with pytest.raises(ParameterError, match="tokens must be finite, got 3 that are not"):
        fit(tokens_BND.index_fill(0, torch.tensor([1]), float("nan")), labels_B)
    with pytest.raises(ParameterError, match="heads that divide the width, got width 8, 2 outputs, 3 heads"):
        fit(tokens_BND, labels_B, options=AttentiveProbeOptions(heads=3))
    with pytest.raises(ParameterError, match="epochs must be positive"):
        AttentiveProbeOptions(epochs=0)
    with pytest.raises(ParameterError, match="weight_decay must be 0 or more"):
        AttentiveProbeOptions(weight_decay=-1)
    with pytest.raises(ParameterError, match=r"tokens must be of shape \(B, N, 8\)"):
        AttentiveProbe(8, 2)(torch.zeros(2, 3, 4))
