"""Readouts: every one of the registry, and what each alone must do."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from data.errors import ParameterError
from neuro.model import BrainTransformer, Encoded, ModelConfig
from neuro.model.config import ReadoutKind
from neuro.model.fields import HIGH_MM, LOW_MM, LatticeField, RegionField
from neuro.model.readouts import READOUTS
from neuro.tokens import TokenBatch

from .made_batches import BACKBONES, FEW, LAYOUT, NO_PREFIX, PARCELS, REGISTERS, made_batch, made_model

VOTING = [kind for kind in READOUTS if kind != "class"]


def test_the_registry_has_what_the_configuration_names() -> None:
    assert set(READOUTS) == set(get_args(ReadoutKind))


def parcels(hidden: bool = False) -> TokenBatch:
    """Regions of an atlas, of two of which nobody knows the place."""
    batch = made_batch(PARCELS)
    batch.positions_BN4.reshape(2, 3, 5, 4)[:, :, 1:3, :3] = float("nan")
    return batch


@pytest.mark.parametrize("layout", [LAYOUT, PARCELS], ids=["cubes", "parcels"])
@pytest.mark.parametrize("kind", READOUTS)
def test_every_readout_gives_a_finite_logit_a_clip_and_gradients(kind: ReadoutKind, layout: object) -> None:
    model = made_model(layout=layout, readout=kind)  # type: ignore[arg-type]
    batch = parcels() if layout is PARCELS else made_batch(hidden=(0, 2))
    logits_B = model(batch)
    assert logits_B.shape == (2,)
    assert logits_B.isfinite().all()
    assert (logits_B[0] - logits_B[1]).abs() > 1e-4
    logits_B.sum().backward()
    for name, parameter in model.readout.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert model.encoder.embedding.gains.grad.abs().min() > 0


@pytest.mark.parametrize("kind", READOUTS)
def test_padding_changes_nothing(kind: ReadoutKind) -> None:
    model, batch = made_model(readout=kind), made_batch(clips=1, places=3)
    padded = widened(batch, 2)
    with torch.no_grad():
        torch.testing.assert_close(model(padded), model(batch), atol=1e-5, rtol=1e-5)
        if kind in VOTING:
            votes = model.votes(padded).reshape(3, 5)
            assert torch.equal(votes[:, 3:], torch.zeros(3, 2))
            torch.testing.assert_close(votes[:, :3].flatten(), model.votes(batch)[0], atol=1e-5, rtol=1e-4)


def widened(batch: TokenBatch, more: int) -> TokenBatch:
    """The same with padding that is anything but zero."""

    def wide(x: torch.Tensor, windows: int, fill: float) -> torch.Tensor:
        cut = x.reshape(len(x), windows, -1, *x.shape[2:])
        filler = torch.full_like(cut[:, :, :1], fill).expand(-1, -1, more, *cut.shape[3:])
        return torch.cat([cut, filler], dim=2).flatten(1, 2)

    return replace(
        batch,
        signal_BNV=wide(batch.signal_BNV, batch.windows, 3.0),
        amplitude_BSP=wide(batch.amplitude_BSP, 1, 3.0),
        positions_BN4=wide(batch.positions_BN4, batch.windows, 3.0),
        mask_BN=wide(batch.mask_BN, batch.windows, False),
        padded=True,
    )


@pytest.mark.parametrize("kind", VOTING)
@pytest.mark.parametrize("hidden", [(), (0, 2)])
def test_votes_and_bias_add_up_to_the_logit(kind: ReadoutKind, hidden: tuple[int, ...]) -> None:
    model, batch = made_model(readout=kind), made_batch(hidden=hidden)
    with torch.no_grad():
        votes_BN = model.votes(batch)
        assert votes_BN.shape == batch.mask_BN.shape
        assert votes_BN[batch.mask_BN].std() > 1e-4
        assert model.readout.bias.abs() > 1e-4
        torch.testing.assert_close(votes_BN.sum(1) + model.readout.bias, model(batch), atol=1e-5, rtol=1e-5)


def test_a_class_token_has_no_votes() -> None:
    with pytest.raises(ParameterError, match="readout must be one whose logit is a sum of votes"):
        made_model(readout="class").votes(made_batch())


def test_the_class_readout_reads_the_first_prefix_token_alone() -> None:
    model, batch = made_model(REGISTERS, readout="class"), made_batch()
    prefix_BPD = torch.randn(2, 3, 32)
    told = Encoded(prefix_BPD=prefix_BPD, tokens_BND=torch.full((2, 15, 32), float("nan")))
    with torch.no_grad():
        expected = prefix_BPD[:, 0] @ model.readout.head.weight[0] + model.readout.bias
        torch.testing.assert_close(model.readout(told, batch), expected)
    with pytest.raises(
        ParameterError, match="regions, places, mean or attention for a backbone without a class token"
    ):
        made_model(NO_PREFIX, readout="class")


def test_the_mean_is_over_real_tokens() -> None:
    model, batch = made_model(readout="mean"), made_batch(hidden=(0, 2))
    tokens_BND = torch.randn(2, 15, 32)
    with torch.no_grad():
        got = model.readout(Encoded(prefix_BPD=tokens_BND[:, :1], tokens_BND=tokens_BND), batch)
        for b in range(2):
            mean = tokens_BND[b, batch.mask_BN[b]].mean(0)
            torch.testing.assert_close(got[b], mean @ model.readout.head.weight[0] + model.readout.bias)


def test_places_are_read_linearly_each_by_weights_of_its_own() -> None:
    """The twin: all tokens of all windows and regions in a row, times one vector as long."""
    model, batch = made_model(layout=PARCELS, readout="places"), made_batch(PARCELS)
    tokens_BND = torch.randn(2, 15, 32)
    with torch.no_grad():
        got = model.readout(Encoded(prefix_BPD=tokens_BND[:, :1], tokens_BND=tokens_BND), batch)
        row = torch.stack([model.readout.weight[place % 5] for place in range(15)])
        for b in range(2):
            wanted = tokens_BND[b].flatten() @ row.flatten() / 15 + model.readout.bias
            torch.testing.assert_close(got[b], wanted)


@pytest.mark.parametrize("layout", [LAYOUT, PARCELS], ids=["cubes", "parcels"])
def test_gradients_by_the_field_are_the_features_that_places_are_read_by(layout: object) -> None:
    model = made_model(layout=layout, readout="places")  # type: ignore[arg-type]
    batch = parcels() if layout is PARCELS else made_batch(hidden=(0, 2))
    for logit in model(batch):
        (features,) = torch.autograd.grad(logit, model.readout.weight, retain_graph=True)
        said = (features * model.readout.weight).sum() + model.readout.bias
        torch.testing.assert_close(said, logit, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in FEW if name != NO_PREFIX])
@pytest.mark.parametrize("kind", [kind for kind in READOUTS if kind != "attention"])
def test_a_fresh_model_takes_no_side(name: str, kind: ReadoutKind) -> None:
    model = BrainTransformer(BACKBONES[name](), LAYOUT, ModelConfig(readout=kind))
    assert torch.equal(model(made_batch()), torch.zeros(2))


# Fields


def at(places: np.ndarray) -> TokenBatch:
    batch = made_batch(clips=1, windows=1, places=len(places))
    return replace(
        batch, positions_BN4=torch.tensor(np.pad(places, ((0, 0), (0, 1))), dtype=torch.float32)[None]
    )


def test_fields_are_interpolated_linearly_in_mm() -> None:
    field = LatticeField(3)
    torch.nn.init.normal_(field.nodes_1RZYX)
    nodes = field.nodes_1RZYX.detach().numpy()[0]
    axes = [
        np.linspace(low, high, n) for low, high, n in zip(LOW_MM, HIGH_MM, nodes.shape[:0:-1], strict=True)
    ]
    places = np.random.default_rng(0).uniform(LOW_MM, HIGH_MM, (40, 3))
    twin = np.stack([RegularGridInterpolator(axes, f.T)(places) for f in nodes], axis=1)
    got = field(at(places))[0].detach()
    torch.testing.assert_close(got, torch.tensor(twin, dtype=torch.float32), atol=1e-4, rtol=1e-4)


def test_beyond_the_lattice_lies_its_face_and_nowhere_is_nothing() -> None:
    field = LatticeField(3)
    torch.nn.init.normal_(field.nodes_1RZYX)
    nan = float("nan")
    outside, face, nowhere, half = field(
        at(np.array([[500.0, 0, 0], [HIGH_MM[0], 0, 0], [nan] * 3, [nan, 0, 0]]))
    )[0]
    torch.testing.assert_close(outside, face)
    assert face.abs().min() > 0
    assert torch.equal(nowhere, torch.zeros(3))
    assert torch.equal(half, torch.zeros(3))


def test_regions_have_fields_of_their_own_whatever_their_place() -> None:
    field = RegionField(2, 5)
    torch.nn.init.normal_(field.region_SR)
    expected = field.region_SR.repeat(3, 1).expand(2, -1, -1)
    assert torch.equal(field(parcels()), expected)
    with pytest.raises(ParameterError, match="regions must be all 5 of them, got 4"):
        field(made_batch(PARCELS, places=4))
    for kind in ("regions", "places"):
        assert isinstance(made_model(layout=PARCELS, readout=kind).readout.matter, RegionField)
        assert isinstance(made_model(readout=kind).readout.matter, LatticeField)
