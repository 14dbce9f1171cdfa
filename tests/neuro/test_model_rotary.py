"""Rotary codes: a slow twin in complex numbers, differences alone, and every backbone that takes tokens."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from data.errors import ParameterError
from neuro.model import BrainEncoder
from neuro.model.rotary import Rotary
from tests.vision.test_backbone_open_clip import VISION, build
from tests.vision.test_backbone_tokens import TIMM_NAMES
from vision.backbones import load_backbone
from vision.backbones.attention_calls import AttentionCall, AttentionCalls
from vision.explain.attention import AttentionRecorder

from .made_batches import BACKBONES, CLIP, FEW, LAYOUT, NO_PREFIX, made_batch, made_encoder

NAN = float("nan")


def twin_turned(x_BHTD: torch.Tensor, positions_BT4: torch.Tensor) -> torch.Tensor:
    """Number i and number A + i as one complex number, times exp(i angle); in double precision."""
    x, positions = x_BHTD.detach().double().numpy(), positions_BT4.double().numpy()
    count, out = x.shape[-1] // 8, x.copy()
    for axis, (shortest, longest) in enumerate([(40, 800)] * 3 + [(8, 2400)]):
        waves = [math.sqrt(shortest * longest)] if count == 1 else np.geomspace(shortest, longest, count)
        for f, wave in enumerate(waves):
            i, j = axis * count + f, 4 * count + axis * count + f
            for b, t in np.ndindex(*positions.shape[:2]):
                place = positions[b, t, axis]
                if not math.isnan(place):
                    z = (x[b, :, t, i] + 1j * x[b, :, t, j]) * np.exp(2j * math.pi * place / wave)
                    out[b, :, t, i], out[b, :, t, j] = z.real, z.imag
    return torch.from_numpy(out).to(x_BHTD)


class SlowRotary(AttentionCalls):
    def __init__(self, positions_BT4: torch.Tensor):
        super().__init__()
        self.positions_BT4, self.calls = positions_BT4, 0

    def attend(self, call: AttentionCall) -> torch.Tensor:
        self.calls += 1
        query, key = (twin_turned(x, self.positions_BT4) for x in (call.query_BHQD, call.key_BHKD))
        logits = query @ key.mT * (call.scale or query.shape[-1] ** -0.5)
        return (logits if call.mask is None else logits + call.mask).softmax(-1) @ call.value_BHKD

    def unknown(self, found: str) -> ParameterError:
        return ParameterError("twin", must_be="known", got=found)


def outputs(encoder: BrainEncoder, batch: Any) -> torch.Tensor:
    with torch.no_grad():
        encoded = encoder(batch)
    real = batch.mask_BN
    return torch.cat([encoded.prefix_BPD.flatten(), encoded.tokens_BND[real].flatten()])


@pytest.mark.parametrize("attention", ["joint", "factorised"])
@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_equals_the_slow_twin(
    name: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = made_encoder(name, positions="rotary", attention=attention)
    batch = made_batch(hidden=(0, 2))
    batch.positions_BN4.reshape(2, 3, 5, 4)[:, :, 1, :3] = NAN  # where one place lies is not known
    got = outputs(encoder, batch)
    monkeypatch.setattr("neuro.model.block_running.Rotary", SlowRotary)
    torch.testing.assert_close(got, outputs(encoder, batch), atol=2e-4, rtol=1e-4)
    monkeypatch.undo()
    unturned = replace(batch, positions_BN4=torch.full_like(batch.positions_BN4, NAN))
    assert (got - outputs(encoder, unturned)).abs().max() > 1e-3


@settings(max_examples=25, deadline=None)
@given(
    width=st.sampled_from([8, 9, 12, 16, 20, 32, 64]),
    shift=st.tuples(*[st.floats(-150, 150)] * 3, st.floats(-600, 600)),
    seed=st.integers(0, 99),
)
def test_attention_depends_on_differences_of_places_alone(
    width: int, shift: tuple[float, ...], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    query, key, value = torch.randn(3, 1, 2, 6, width, generator=generator).unbind()
    places = torch.randn(1, 6, 4, generator=generator) * 50
    outputs, logits = [], []
    for moved in (places, places + torch.tensor(shift)):
        with AttentionRecorder() as recorder, Rotary(moved):
            outputs.append(F.scaled_dot_product_attention(query, key, value))
        layer = recorder.layers[0]
        logits.append(layer.query_BHQD @ layer.key_BHKD.mT)
    torch.testing.assert_close(logits[1], logits[0], atol=5e-3, rtol=1e-3)
    torch.testing.assert_close(outputs[1], outputs[0], atol=5e-3, rtol=1e-3)
    plain = F.scaled_dot_product_attention(query, key, value)
    assert (outputs[0] - plain).abs().max() > 1e-3
    rest = layer.query_BHQD[..., width // 8 * 8 :]
    assert torch.equal(rest, query[..., width // 8 * 8 :])
    torch.testing.assert_close(layer.query_BHQD.norm(dim=-1), query.norm(dim=-1))


def test_a_whole_encoder_does_not_see_where_the_brain_lies() -> None:
    batch = made_batch()
    moved = replace(batch, positions_BN4=batch.positions_BN4 + torch.tensor([30.0, -50, 20, 70]))
    turning, adding = (made_encoder(NO_PREFIX, positions=positions) for positions in ("rotary", "sincos"))
    torch.testing.assert_close(outputs(turning, moved), outputs(turning, batch), atol=1e-4, rtol=1e-3)
    assert (outputs(adding, moved) - outputs(adding, batch)).abs().max() > 1e-2
    spread = replace(batch, positions_BN4=batch.positions_BN4 * 1.5)
    assert (outputs(turning, spread) - outputs(turning, batch)).abs().max() > 1e-3
    assert turning.position_gain is None


@pytest.mark.parametrize("name", FEW)
def test_prefix_tokens_and_unknown_places_are_not_turned(name: str) -> None:
    """The first layer sees the same embeddings whatever the places are."""
    encoder, batch = made_encoder(name, positions="rotary"), made_batch()
    prefix = encoder.prefix
    batch.positions_BN4[:, 4] = NAN
    queries = []
    for positions in (batch.positions_BN4, batch.positions_BN4 + 11):
        with AttentionRecorder() as recorder, torch.no_grad():
            encoder(replace(batch, positions_BN4=positions))
        queries.append(recorder.layers[0].query_BHQD)
    unturning = made_encoder(name)
    with AttentionRecorder() as recorder, torch.no_grad():
        unturning.position_gain.zero_()
        unturning(replace(batch, positions_BN4=torch.zeros_like(batch.positions_BN4)))
    still = [*range(prefix), prefix + 4]
    for turned in queries:
        assert torch.equal(turned[:, :, still], recorder.layers[0].query_BHQD[:, :, still])
    others = [t for t in range(prefix, queries[0].shape[2]) if t not in still]
    assert (queries[0] - queries[1])[:, :, others].abs().amax(dim=(1, 3)).min() > 1e-3


@pytest.mark.parametrize("attention", ["joint", "factorised"])
@pytest.mark.parametrize("name", FEW)
def test_gradients_flow_and_checkpointing_changes_none(name: str, attention: str) -> None:
    batch, gradients = made_batch(hidden=(0, 2)), []
    for checkpointing in (False, True):
        encoder = made_encoder(name, positions="rotary", attention=attention).train()
        encoder.checkpointing = checkpointing
        encoded = encoder(batch)
        weight = torch.randn(encoded.tokens_BND.shape, generator=torch.Generator().manual_seed(0))
        (encoded.tokens_BND * weight * batch.mask_BN[..., None]).sum().backward()
        gradients.append({n: p.grad for n, p in encoder.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert any("attn" in n and g.abs().max() > 0 for n, g in gradients[0].items())
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, atol=1e-6, rtol=1e-6, msg=key)


def test_the_fast_path_of_multi_head_attention_does_not_pass_by() -> None:
    """In evaluation without gradients `nn.MultiheadAttention` would compute it all in one kernel."""
    torch.manual_seed(0)
    layer, x_BTE = nn.MultiheadAttention(32, 2, batch_first=True).eval(), torch.randn(2, 5, 32)
    places = torch.randn(2, 5, 4) * 50
    results = []
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients), Rotary(places) as rotary:
            results.append(layer(x_BTE, x_BTE, x_BTE, need_weights=False)[0].detach())
        assert rotary.calls == 1
    torch.testing.assert_close(*results)
    assert (results[0] - layer(x_BTE, x_BTE, x_BTE)[0]).abs().max() > 1e-3


def test_dropout_of_attention_stays() -> None:
    torch.manual_seed(0)
    layer, x_BTE = nn.MultiheadAttention(16, 2, dropout=0.5, batch_first=True), torch.randn(1, 5, 16)
    with Rotary(torch.zeros(1, 5, 4)):
        first, second = (layer(x_BTE, x_BTE, x_BTE, need_weights=False)[0] for _ in range(2))
        assert (first - second).abs().max() > 1e-3
        layer.eval()
        first, second = (layer(x_BTE, x_BTE, x_BTE, need_weights=False)[0] for _ in range(2))
        assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["timm, class token", CLIP])
@pytest.mark.parametrize("attention", ["joint", "factorised"])
@pytest.mark.parametrize("positions", ["sincos", "rotary"])
def test_half_precision_is_near(name: str, attention: str, positions: str) -> None:
    encoder, batch = made_encoder(name, positions=positions, attention=attention), made_batch(hidden=(0, 2))
    expected = outputs(encoder, batch)
    with torch.autocast("cpu", torch.bfloat16):
        automatic = outputs(encoder, batch)
    half = outputs(
        encoder.bfloat16(),
        replace(batch, signal_BNV=batch.signal_BNV.bfloat16(), amplitude_BSP=batch.amplitude_BSP.bfloat16()),
    )
    for got in (automatic, half):
        assert (got.float() - expected).abs().mean() < 0.03 * expected.abs().mean()


@pytest.mark.parametrize(
    ("backbone", "found"),
    [
        (lambda: load_backbone(TIMM_NAMES["differential attention"], device="cpu"), "heads of 4 numbers"),
        (lambda: build(VISION | {"head_width": 4}), "heads of 4 numbers"),
        (lambda: unfused(load_backbone(TIMM_NAMES["class token"], device="cpu")), "calls no function"),
    ],
    ids=["differential", "narrow heads", "written out"],
)
def test_what_cannot_be_turned_is_refused(backbone: Any, found: str) -> None:
    encoder = made_encoder(positions="rotary")
    encoder.backbone = backbone()
    encoder.embedding = type(encoder.embedding)(encoder.backbone, LAYOUT)
    with pytest.raises(ParameterError, match=f"positions must be sincos for this backbone.*{found}"):
        encoder(made_batch())


def unfused(backbone: Any) -> Any:
    for block in backbone.model.blocks:
        block.attn.fused_attn = False
    return backbone
