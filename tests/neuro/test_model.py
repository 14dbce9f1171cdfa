"""Position codes, readout and the whole model: places in mm, padding, votes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from data.caches.cache import Cache
from data.errors import ParameterError
from neuro.model import BrainTransformer
from neuro.model.positions import position_codes
from neuro.model.readout import HIGH_MM, LOW_MM, RegionalReadout
from neuro.tokens import TokenBatch, TubeletSpec, collate, tubelets
from vision.backbones import load_backbone

from .conftest import TINY_BACKBONE

SPEC = TubeletSpec(patch_mm=16, frames=10)


@pytest.fixture(scope="module")
def batch(cache: Cache) -> TokenBatch:
    return collate([cubes(cache.run(i), SPEC) for i in range(3)], [0, 5, 9])


@pytest.fixture
def model(cache: Cache) -> BrainTransformer:
    torch.manual_seed(0)
    backbone = load_backbone(TINY_BACKBONE, shared=False)
    model = BrainTransformer(backbone, patch_voxels=(2, 2, 2), frames=10).eval()
    torch.nn.init.normal_(model.readout.field_1RZYX)
    return model


def test_codes_depend_on_the_place_alone() -> None:
    places = torch.tensor([[[10.0, -20.0, 30.0, 4.0], [0.0, 0.0, 0.0, 0.0]]])
    codes = position_codes(places, 64)
    torch.testing.assert_close(position_codes(places.flip(1), 64), codes.flip(1))
    assert codes.shape == (1, 2, 64)
    assert codes.abs().max() <= 1


def test_codes_against_a_loop() -> None:
    place = [12.0, -40.0, 7.0, 9.0]
    lengths = [np.geomspace(20, 400, 3)] * 3 + [np.geomspace(4, 1200, 3)]
    phases = [2 * math.pi * p / w for p, waves in zip(place, lengths, strict=True) for w in waves]
    expected = [math.sin(x) for x in phases] + [math.cos(x) for x in phases] + [0.0, 0.0]
    codes = position_codes(torch.tensor([[place]]), 26)
    torch.testing.assert_close(codes[0, 0], torch.tensor(expected), atol=1e-4, rtol=0)


def test_fields_are_interpolated_linearly_in_mm() -> None:
    readout = RegionalReadout(8, rank=3)
    torch.nn.init.normal_(readout.field_1RZYX)
    field = readout.field_1RZYX.detach().numpy()[0]
    axes = [
        np.linspace(low, high, n) for low, high, n in zip(LOW_MM, HIGH_MM, field.shape[:0:-1], strict=True)
    ]
    places = np.random.default_rng(0).uniform(LOW_MM, HIGH_MM, (40, 3))
    twin = np.stack([RegularGridInterpolator(axes, f.T)(places) for f in field], axis=1)
    padded = torch.tensor(np.pad(places, ((0, 0), (0, 1))), dtype=torch.float32)[None]
    torch.testing.assert_close(
        readout.matter(padded)[0].detach(), torch.tensor(twin, dtype=torch.float32), atol=1e-4, rtol=1e-4
    )


def test_votes_and_bias_add_up_to_the_logit(model: BrainTransformer, batch: TokenBatch) -> None:
    with torch.no_grad():
        torch.testing.assert_close(model.votes(batch).sum(1) + model.readout.bias, model(batch))


def test_padding_changes_nothing(model: BrainTransformer, batch: TokenBatch) -> None:
    def pad(x: torch.Tensor) -> torch.Tensor:
        filler = torch.full((x.shape[0], 7, *x.shape[2:]), 3.0).to(x.dtype)
        return torch.cat([x, filler], dim=1)

    padded = TokenBatch(
        signal_BNV=pad(batch.signal_BNV),
        amplitude_BNP=pad(batch.amplitude_BNP),
        positions_BN4=pad(batch.positions_BN4),
        mask_BN=torch.nn.functional.pad(batch.mask_BN, (0, 7)),
    )
    with torch.no_grad():
        torch.testing.assert_close(model(padded), model(batch), atol=1e-5, rtol=1e-5)


def test_the_order_of_tokens_does_not_matter(model: BrainTransformer, batch: TokenBatch) -> None:
    shuffled = torch.randperm(batch.mask_BN.shape[1], generator=torch.Generator().manual_seed(0))
    mixed = TokenBatch(**{name: value[:, shuffled] for name, value in vars(batch).items()})
    with torch.no_grad():
        torch.testing.assert_close(model(mixed), model(batch), atol=1e-5, rtol=1e-5)


def test_patch_embeddings_are_inflated_from_the_backbone(model: BrainTransformer) -> None:
    """A cube of one value over space and time embeds as a grey picture of that value does."""
    weight_DCpp, bias_D = model.backbone.patch_kernel
    picture = weight_DCpp.sum((1, 2, 3)) * 0.7
    torch.testing.assert_close(
        model.embed_signal.embed_patches(torch.full((1, 1, 80), 0.7))[0, 0],
        picture + bias_D,
        atol=1e-5,
        rtol=1e-4,
    )
    torch.testing.assert_close(
        model.embed_amplitude.embed_patches(torch.full((1, 1, 8), 0.7))[0, 0], picture, atol=1e-5, rtol=1e-4
    )


def test_amplitude_reaches_the_logit(model: BrainTransformer, batch: TokenBatch) -> None:
    lowered = replace(batch, amplitude_BNP=batch.amplitude_BNP - 1)
    with torch.no_grad():
        assert (model(lowered) - model(batch)).abs().min() > 1e-4


def test_a_model_without_tokens_is_refused() -> None:
    with pytest.raises(ParameterError, match="Vision Transformer that takes tokens"):
        BrainTransformer(load_backbone("scratch:resnet18", shared=False), patch_voxels=(2, 2, 2), frames=4)
