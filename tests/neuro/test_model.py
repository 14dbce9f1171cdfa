"""The whole model: padding, order, other scanners, many clips, recorded attention, one program of it."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from data.caches.cached_run import CachedRun
from data.errors import ParameterError
from neuro.model import BrainEncoder, BrainTransformer, ModelConfig, clip_logits, run_logit, run_votes
from neuro.tokens import RunTokens, TubeletSpec, collate, cubes
from vision.backbones import load_backbone
from vision.explain.attention import AttentionRecorder

from .made_batches import (
    CLASS_TOKEN,
    CLIP,
    FEW,
    LAYOUT,
    made_batch,
    made_encoder,
    made_model,
    stirred,
)
from .made_runs import affine_of, made_run

WAYS = [(p, a) for p in ("sincos", "rotary") for a in ("joint", "factorised")]


@pytest.mark.parametrize(("positions", "attention"), WAYS)
@pytest.mark.parametrize("name", FEW)
def test_what_stands_in_the_padding_changes_nothing(name: str, positions: str, attention: str) -> None:
    model = made_model(name, positions=positions, attention=attention)
    batch = made_batch(hidden=(0, 2))
    hidden = ~batch.mask_BN
    other = replace(
        batch,
        signal_BNV=batch.signal_BNV.masked_fill(hidden[..., None], 9.0),
        positions_BN4=batch.positions_BN4.masked_fill(hidden[..., None], -70.0),
    )
    alone = replace(batch.rows(1, 2).at_places(torch.tensor([[0, 1, 2]])), padded=False)
    with torch.no_grad():
        expected = model(batch)
        torch.testing.assert_close(model(other), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(alone), expected[1:], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("positions", "attention"), WAYS)
def test_the_order_of_places_does_not_matter(positions: str, attention: str) -> None:
    model, batch = made_model(positions=positions, attention=attention), made_batch(hidden=(0, 2))
    order = torch.tensor([[3, 1, 4, 0, 2]]).expand(2, -1)
    with torch.no_grad():
        torch.testing.assert_close(model(batch.at_places(order)), model(batch), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("change", ["signal_BNV", "amplitude_BSP", "positions_BN4"])
@pytest.mark.parametrize(("positions", "attention"), WAYS)
def test_signal_amplitude_and_place_reach_the_tokens(change: str, positions: str, attention: str) -> None:
    encoder, batch = made_encoder(positions=positions, attention=attention), made_batch()
    values = getattr(batch, change).clone()
    values[:, 0] += 5
    with torch.no_grad():
        moved = encoder(replace(batch, **{change: values})).tokens_BND - encoder(batch).tokens_BND
    assert moved.abs().amax(dim=(1, 2)).min() > 1e-3
    if attention == "joint":
        assert moved[:, 4].abs().max() > 1e-5  # by way of attention


@pytest.mark.parametrize("given", ["scratch:resnet18"])
def test_a_model_without_tokens_is_refused(given: str) -> None:
    with pytest.raises(ParameterError, match="Vision Transformer that takes tokens"):
        BrainTransformer(load_backbone(given, shared=False), LAYOUT)


@pytest.mark.parametrize(
    "wrong", [{"positions": "none"}, {"attention": "some"}, {"readout": "max"}, {"drop_path": 1.0}]
)
def test_configurations_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        ModelConfig(**wrong)  # type: ignore[arg-type]


# The same brain by other scanners


def scanned(finer: int, faster: int, beyond: int) -> CachedRun:
    """One brain of 12^3 voxels of 4 mm and 8 frames of 2 s, each cut up, in a field wider on all sides."""
    rng = np.random.default_rng(0)
    whole = rng.standard_normal((8, 12, 12, 12)).astype(np.float16)
    std = rng.uniform(1, 2, (12, 12, 12)).astype(np.float32)
    for axis in (1, 2, 3):
        whole, std = whole.repeat(finer, axis), std.repeat(finer, axis - 1)
    whole = whole.repeat(faster, 0)
    mask = np.zeros([12 * finer + 2 * beyond] * 3, dtype=bool)
    mask[(slice(beyond, -beyond or None),) * 3] = True
    voxel = 4 / finer
    run = made_run(
        mask, frames=8 * faster, affine=affine_of((voxel,) * 3, (voxel / 2 - beyond * voxel - 20,) * 3)
    )
    return replace(run, series_TV=whole.reshape(8 * faster, -1), std_V=std.ravel(), tr=2 / faster)


@pytest.mark.parametrize(("positions", "attention"), WAYS)
@pytest.mark.parametrize("other", [(2, 1, 0), (1, 2, 0), (1, 1, 2), (2, 2, 4)])
def test_another_scanner_gives_the_same_tokens(
    positions: str, attention: str, other: tuple[int, int, int]
) -> None:
    """Voxels of half the size, frames twice as often, a wider field: the same cubes of 8 mm over 8 s."""
    name = "scratch:vit_tiny_patch16_224/embed_dim=32,depth=2,num_heads=4,patch_size=2,img_size=8"
    backbone = stirred(load_backbone(name, device="cpu"))
    results = []
    for finer, faster, beyond in ((1, 1, 0), other):
        spec = TubeletSpec(patch_mm=8, frames=8 * faster, window=4 * faster)
        run = cubes(scanned(finer, faster, beyond), spec)
        torch.manual_seed(0)
        encoder = BrainEncoder(
            backbone,
            run.layout,
            ModelConfig(positions=positions, attention=attention),  # type: ignore[arg-type]
        )
        with torch.no_grad():
            results.append(encoder.eval()(collate(run.clips())).tokens_BND)
    assert results[0].shape == (1, 2 * 6**3, 32)
    torch.testing.assert_close(results[1], results[0], atol=1e-4, rtol=1e-3)


# Runs


def made_tokens(frames: int = 26) -> RunTokens:
    mask = np.zeros((4, 4, 6), dtype=bool)
    mask[1:, :3, 1:] = True
    return cubes(made_run(mask, frames=frames), TubeletSpec(patch_mm=8, frames=4, window=2))


@pytest.mark.parametrize("limit", [1, 30, 1 << 14])
def test_a_run_is_the_mean_logit_of_its_clips_however_many_at_a_time(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuro.model.run_reading.TOKENS_A_BATCH", limit)
    model, run = made_model(), made_tokens()
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, args: sizes.append(args[0].mask_BN.numel()))
    logits = clip_logits(model, run)
    assert sum(sizes) == 6 * len(run.centres_S3) * 2
    assert max(sizes) <= max(limit, len(run.centres_S3) * 2)
    with torch.no_grad():
        expected = torch.cat([model(collate([run.clip(start)])) for start in range(0, 24, 4)])
    assert expected.std() > 1e-3
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    assert run_logit(model, run) == pytest.approx(expected.mean().item(), abs=1e-5)
    votes_S = run_votes(model, run)
    assert votes_S.shape == (len(run.centres_S3),)
    assert votes_S.std() > 1e-4
    assert votes_S.sum().item() + model.readout.bias.item() == pytest.approx(run_logit(model, run), abs=1e-4)


# Attention, recorded


@pytest.mark.parametrize(("positions", "attention"), WAYS)
@pytest.mark.parametrize("name", FEW)
def test_attention_of_a_pass_can_be_recorded(name: str, positions: str, attention: str) -> None:
    """The recorder outside, the rotary mode inside: what is noted has been turned."""
    encoder = made_encoder(name, positions=positions, attention=attention)
    batch = made_batch(hidden=(0, 2))
    with torch.no_grad():
        expected = encoder(batch)
        with AttentionRecorder() as recorder:
            got = encoder(batch)
    torch.testing.assert_close(got.tokens_BND, expected.tokens_BND, atol=1e-5, rtol=1e-4)
    shapes = [tuple(layer.weights_BHQK.shape) for layer in recorder.layers]
    heads, prefix = encoder.backbone.num_heads, encoder.prefix
    whole, within = prefix + 15, prefix + 5
    assert shapes == (
        [(2, heads, whole, whole)] * 2
        if attention == "joint"
        else [(2 * 5, heads, 3, 3), (2 * 3, heads, within, within)]
    )
    for layer in recorder.layers:
        torch.testing.assert_close(layer.weights_BHQK.sum(-1), torch.ones(layer.weights_BHQK.shape[:3]))
    last = (
        recorder.layers[-1]
        .weights_BHQK[-1, :, :, prefix:]
        .reshape(heads, -1, 5 if attention != "joint" else 15)
    )
    hidden = ~batch.mask_BN[1].reshape(3, 5)
    assert last[..., hidden[-1] if attention != "joint" else hidden.flatten()].eq(0).all()


# One program


@pytest.mark.parametrize(("positions", "attention"), WAYS)
@pytest.mark.parametrize("name", [CLASS_TOKEN, CLIP])
def test_the_whole_model_is_one_graph(name: str, positions: str, attention: str) -> None:
    """Nothing in a pass waits for a tensor's value, or falls back to Python between two halves."""
    torch._dynamo.reset()
    model, batch = made_model(name, positions=positions, attention=attention), made_batch(hidden=(0, 2))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(batch), model(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("positions", ["sincos", "rotary"])
def test_compiled_it_computes_and_learns_the_same(positions: str) -> None:
    torch._dynamo.reset()
    batch, results = made_batch(hidden=(0, 2)), []
    for compiled in (False, True):
        model = made_model(positions=positions).train()
        run = torch.compile(model) if compiled else model
        logits_B = run(batch)
        logits_B.square().sum().backward()
        results.append([logits_B.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-3)
