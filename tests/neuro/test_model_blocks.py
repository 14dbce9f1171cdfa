"""How blocks are run: factorised attention against loops, drop path, computing again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from data.errors import ParameterError
from neuro.model import BrainEncoder
from neuro.model.block_running import BlockRunning, Pass
from neuro.model.grouping import AmongPlaces, Joint, OverTime, groupings
from neuro.model.positions import position_codes
from neuro.model.rotary import Rotary
from neuro.tokens import TokenBatch
from vision.backbones import load_backbone

from .made_batches import BACKBONES, CLASS_TOKEN, CLIP, FEW, LAYOUT, made_batch, made_encoder


def irregular(seed: int = 0) -> TokenBatch:
    """Tokens missing here and there, one whole window, and one place in all windows."""
    batch = made_batch(clips=3, windows=4, places=5, hidden=(0, 0, 0), seed=seed)
    mask_BWS = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(seed)) < 0.7
    mask_BWS[:, 0, 0] = True
    mask_BWS[1, 2] = False
    mask_BWS[2, :, 3] = False
    return replace(batch, mask_BN=mask_BWS.flatten(1))


def looped(encoder: BrainEncoder, batch: TokenBatch, clip: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One clip by loops over windows and places that hold real tokens only: prefix (P, D), tokens (N, D)."""
    trunk, windows, depth = encoder.backbone._trunk, batch.windows, encoder.backbone.depth
    assert trunk is not None
    rotary = encoder.config.positions == "rotary"
    tokens = encoder.embedding(batch)
    if encoder.position_gain is not None:
        tokens = tokens + encoder.position_gain * position_codes(batch.positions_BN4, encoder.width)
    mask = batch.mask_BN[clip].reshape(windows, -1)
    places = batch.positions_BN4[clip].reshape(*mask.shape, 4)
    count = encoder.prefix
    entered = trunk.enter(torch.cat([encoder.backbone.prefix_1PD[0], tokens[clip]])[None])[0]
    prefix, grid = entered[:count], entered[count:].reshape(*mask.shape, -1)
    unknown = torch.full((count, 4), float("nan"))

    def run(number: int, sequence: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        if not rotary:
            return trunk.blocks[number](sequence[None], None)[0]
        with Rotary(where[None]):
            return trunk.blocks[number](sequence[None], None)[0]

    for number in range(depth):
        new, copies = grid.clone(), []
        if (depth - number) % 2:  # the last, the last but two, ...
            for w in range(windows):
                real = mask[w]
                if real.any():
                    out = run(
                        number, torch.cat([prefix, grid[w, real]]), torch.cat([unknown, places[w, real]])
                    )
                    copies.append(out[:count])
                    new[w, real] = out[count:]
            prefix = torch.stack(copies).mean(0)
        else:
            for s in range(mask.shape[1]):
                real = mask[:, s]
                if real.any():
                    new[real, s] = run(number, grid[real, s], places[real, s])
        grid = new
    left = trunk.leave(torch.cat([prefix, grid.flatten(0, 1)])[None])[0]
    return left[:count], left[count:]


@pytest.mark.parametrize("positions", ["sincos", "rotary"])
@pytest.mark.parametrize("name", BACKBONES)
def test_factorised_attention_equals_loops_over_windows_and_places(name: str, positions: str) -> None:
    encoder, batch = made_encoder(name, positions=positions, attention="factorised"), irregular()
    with torch.no_grad():
        encoded = encoder(batch)
        for clip in range(len(batch)):
            prefix, tokens = looped(encoder, batch, clip)
            torch.testing.assert_close(encoded.prefix_BPD[clip], prefix, atol=2e-5, rtol=1e-4)
            real = batch.mask_BN[clip]
            torch.testing.assert_close(encoded.tokens_BND[clip, real], tokens[real], atol=2e-5, rtol=1e-4)
        joint = made_encoder(name, positions=positions)(batch)
    assert (joint.tokens_BND - encoded.tokens_BND)[batch.mask_BN].abs().max() > 1e-3


@pytest.mark.parametrize("name", FEW)
def test_without_padding_no_mask_is_needed(name: str) -> None:
    encoder, batch = made_encoder(name, attention="factorised"), made_batch()
    with torch.no_grad():
        plain, masked = encoder(batch), encoder(replace(batch, padded=True))
    torch.testing.assert_close(masked.tokens_BND, plain.tokens_BND, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(masked.prefix_BPD, plain.prefix_BPD, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("rotary", [False, True])
def test_among_the_places_of_one_window_is_joint(name: str, rotary: bool) -> None:
    backbone, batch = BACKBONES[name](), made_batch(windows=1, hidden=(0, 2))
    prefix = backbone.prefix_1PD.shape[1]
    tokens_BTD = torch.randn(2, prefix + 5, backbone.embed_dim)
    mask_BT = torch.nn.functional.pad(batch.mask_BN, (prefix, 0), value=True)
    positions = torch.nn.functional.pad(batch.positions_BN4, (0, 0, prefix, 0), value=float("nan"))
    told = Pass(mask_BT=mask_BT, positions_BT4=positions if rotary else None)
    results = []
    for grouping in (Joint(), AmongPlaces(1, prefix)):
        running = BlockRunning(told, [grouping] * 2, drop_rates=[0, 0])
        with torch.no_grad():
            results.append(backbone.embed(tokens_BTD, mask_BN=mask_BT, around=running)[mask_BT])
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [AmongPlaces, OverTime])
@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_splitting_and_joining_is_the_identity(kind: type[AmongPlaces | OverTime], prefix: int) -> None:
    values = torch.randn(2, prefix + 12, 7)
    grouping = kind(3, prefix)
    torch.testing.assert_close(grouping.join(grouping.split(values), values, None), values)
    mask = torch.ones(2, prefix + 12, dtype=torch.bool)
    torch.testing.assert_close(grouping.join(grouping.split(values), values, mask), values)


def test_blocks_take_turns_and_the_last_is_among_places() -> None:
    for depth in (2, 3, 12):
        kinds = [type(g) for g in groupings("factorised", depth=depth, windows=3, prefix=1)]
        assert kinds == [AmongPlaces if n % 2 == (depth - 1) % 2 else OverTime for n in range(depth)]
    assert {type(g) for g in groupings("joint", depth=3, windows=3, prefix=1)} == {Joint}


def test_one_block_cannot_take_turns() -> None:
    backbone = load_backbone("scratch:vit_tiny_patch16_224/embed_dim=16,depth=1,num_heads=2", device="cpu")
    with pytest.raises(ParameterError, match="attention must be joint for a backbone of one block"):
        BrainEncoder(backbone, LAYOUT, made_encoder(attention="factorised").config)


# Computing again


@pytest.mark.parametrize("name", [CLASS_TOKEN, CLIP])
@pytest.mark.parametrize("attention", ["joint", "factorised"])
def test_checkpointing_computes_again_and_changes_no_number(name: str, attention: str) -> None:
    """Not even where blocks are dropped at random: the second time the same ones are."""
    batch, results = made_batch(clips=4), []
    for checkpointing in (False, True):
        encoder = made_encoder(name, attention=attention, drop_path=0.5).train()
        encoder.checkpointing = checkpointing
        calls: list[object] = []
        encoder.backbone._trunk.blocks[0].args[0].register_forward_hook(partial(_noted, calls))
        torch.manual_seed(5)
        encoded = encoder(batch)
        (encoded.tokens_BND * torch.linspace(-1, 1, encoder.width)).square().sum().backward()
        gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
        results.append((encoded.tokens_BND.detach(), gradients))
        assert len(calls) == 1 + checkpointing
    assert torch.equal(results[0][0], results[1][0])
    for one, other in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-5)


def _noted(calls: list[object], module: object, *_: object) -> None:
    calls.append(module)


def test_checkpointing_rests_where_there_are_no_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = made_encoder()
    encoder.checkpointing = True
    monkeypatch.setattr("neuro.model.block_running.checkpoint", None)
    with torch.no_grad():
        encoder(made_batch())


# Drop path


def test_blocks_are_dropped_from_clips_in_training_alone() -> None:
    batch = made_batch(clips=64, places=2)
    plain, dropping = made_encoder(), made_encoder(drop_path=0.8)
    with torch.no_grad():
        expected = plain(batch).tokens_BND
        assert torch.equal(dropping(batch).tokens_BND, expected)
        torch.manual_seed(0)
        changed_B = (dropping.train()(batch).tokens_BND - expected).abs().amax(dim=(1, 2)) > 1e-4
        assert torch.equal(made_encoder().train()(batch).tokens_BND, expected)
    assert changed_B.any()


@pytest.mark.parametrize("attention", ["joint", "factorised"])
def test_a_dropped_block_is_passed_by_and_a_kept_one_counts_double(attention: str) -> None:
    """By clip, prefix and tokens together: x, or x + 2 (block(x) - x)."""
    backbone, tokens_BTD = BACKBONES[CLASS_TOKEN](), torch.randn(40, 1 + 6, 32)
    groups = groupings(attention, depth=2, windows=3, prefix=1)
    block = backbone._trunk.blocks[1]
    with torch.no_grad():
        whole = BlockRunning(Pass(), groups, drop_rates=[0, 0])(1, block, tokens_BTD, None)
        torch.manual_seed(0)
        some = BlockRunning(Pass(), groups, drop_rates=[0, 0.5])(1, block, tokens_BTD, None)
        assert torch.equal(
            BlockRunning(Pass(), groups, drop_rates=[0.5, 0])(1, block, tokens_BTD, None), whole
        )
    double = tokens_BTD + 2 * (whole - tokens_BTD)
    dropped_B = (some == tokens_BTD).all(dim=(1, 2))
    assert 5 < dropped_B.sum() < 35
    torch.testing.assert_close(some[~dropped_B], double[~dropped_B], atol=1e-5, rtol=1e-5)


def test_rates_rise_with_the_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr("neuro.model.block_running.dropped", lambda out, _, rate: seen.append(rate) or out)
    encoder = made_encoder(drop_path=0.3)
    encoder.train()(made_batch())
    assert seen == pytest.approx([0.15, 0.3])
    encoder.eval()(made_batch())
    assert seen[2:] == [0, 0]
