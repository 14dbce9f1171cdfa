"""Token embeddings: inflation against explicit convolution, amplitude, regions, what does not fit."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from data.errors import ParameterError
from neuro.model import BrainEncoder
from neuro.model.embedding import AMPLITUDE_GAIN, SIGNAL_GAIN
from neuro.tokens import TokenBatch, TokenLayout
from tests.vision.test_backbone_open_clip import VISION, build
from vision.backbones import Backbone, load_backbone

from .made_batches import LAYOUT, PARCELS, made_batch, made_encoder, stirred

SIZES = (3, 5, 8)


def timm(size: int) -> Backbone:
    options = f"embed_dim=32,depth=2,num_heads=4,patch_size={size},img_size={4 * size}"
    return stirred(load_backbone(f"scratch:vit_tiny_patch16_224/{options}", device="cpu"))


def clip(size: int) -> Backbone:
    return build(VISION | {"patch_size": size, "image_size": 4 * size})


def convolved(backbone: Backbone, grey_HW: np.ndarray) -> torch.Tensor:
    """What the picture model makes of one grey patch (D,), term by term."""
    weight_DCpp, bias_D = backbone.patch_kernel
    weight = weight_DCpp.detach().double().numpy()
    total_D = np.zeros(len(weight))
    for c, i, j in itertools.product(*map(range, weight.shape[1:])):
        total_D += weight[:, c, i, j] * grey_HW[i, j]
    total = torch.from_numpy(total_D).float()
    return total if bias_D is None else total + bias_D.detach()


def cube_batch(layout: TokenLayout, cube: np.ndarray, amplitude: np.ndarray) -> TokenBatch:
    signal_BNV = torch.from_numpy(cube).float().reshape(1, 1, -1)
    return TokenBatch(
        signal_BNV=signal_BNV,
        amplitude_BSP=torch.from_numpy(amplitude).float().reshape(1, 1, -1),
        positions_BN4=torch.zeros(1, 1, 4),
        mask_BN=torch.ones(1, 1, dtype=torch.bool),
    )


@pytest.mark.parametrize("enlarged", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backbone", [timm, clip])
def test_a_cube_constant_in_depth_and_time_embeds_as_its_picture(
    backbone: Callable[[int], Backbone], size: int, enlarged: int
) -> None:
    """The picture lies along y and z; each of its pixels may be several voxels wide."""
    model = backbone(size)
    rng = np.random.default_rng(size)
    signal, amplitude = rng.standard_normal((2, size, size))
    frames, depth, edge = 4, 5, size * enlarged
    layout = TokenLayout(kind="tubelet", signal=(frames, depth, edge, edge), amplitude=(depth, edge, edge))
    embedding = BrainEncoder(model, layout).embedding
    wide_signal, wide_amplitude = (np.kron(x, np.ones((enlarged, enlarged))) for x in (signal, amplitude))
    batch = cube_batch(
        layout,
        np.broadcast_to(wide_signal, layout.signal).copy(),
        np.broadcast_to(wide_amplitude, layout.amplitude).copy(),
    )
    bias_D = convolved(model, np.zeros((size, size)))
    expected = SIGNAL_GAIN * convolved(model, signal)
    expected = expected + AMPLITUDE_GAIN * (convolved(model, amplitude) - bias_D)
    with torch.no_grad():
        torch.testing.assert_close(embedding(batch)[0, 0], expected, atol=2e-5, rtol=1e-4)


def test_embedding_is_a_convolution_with_the_inflated_kernel() -> None:
    """Cutting cubes and a linear map, against sliding the kernel over the whole four-dimensional clip."""
    model = timm(3)
    layout = TokenLayout(kind="tubelet", signal=(2, 3, 3, 3), amplitude=(3, 3, 3))
    embedding = BrainEncoder(model, layout).embedding
    clip_TXYZ = torch.randn(2, 3, 3, 6)
    cubes = torch.stack([clip_TXYZ[..., :3], clip_TXYZ[..., 3:]]).reshape(1, 2, -1)
    batch = TokenBatch(
        signal_BNV=cubes,
        amplitude_BSP=torch.zeros(1, 2, 27),
        positions_BN4=torch.zeros(1, 2, 4),
        mask_BN=torch.ones(1, 2, dtype=torch.bool),
    )
    weight_DCpp, bias_D = model.patch_kernel
    kernel = weight_DCpp.sum(1) / 6  # two frames and three slices share it
    frames = [
        F.conv2d(clip_TXYZ[t, x][None, None], kernel[:, None], stride=3)[0, :, 0]
        for t in range(2)
        for x in range(3)
    ]
    expected = SIGNAL_GAIN * (torch.stack(frames).sum(0).T + bias_D)
    torch.testing.assert_close(embedding(batch)[0], expected, atol=1e-5, rtol=1e-4)


def test_amplitude_is_the_same_in_all_windows() -> None:
    embedding, batch = made_encoder().embedding, made_batch()
    batch.signal_BNV.zero_()
    tokens = embedding(batch).reshape(2, 3, 5, -1)
    assert torch.equal(tokens[:, 0], tokens[:, 2])
    assert (tokens[:, 0, 0] - tokens[:, 0, 1]).abs().max() > 1e-3


def test_regions_are_known_by_their_number() -> None:
    encoder = made_encoder(layout=PARCELS)
    batch = made_batch(PARCELS, clips=2)
    places_BK = torch.tensor([[4, 0], [2, 3]])
    whole = encoder.embedding(batch).reshape(2, 3, 5, -1)
    chosen = encoder.embedding(batch.at_places(places_BK), places_BK).reshape(2, 3, 2, -1)
    for b in range(2):
        torch.testing.assert_close(chosen[b], whole[b][:, places_BK[b]])
    batch.signal_BNV.zero_()
    batch.amplitude_BSP.zero_()
    alike = encoder.embedding(batch)[0]
    assert (alike[0] - alike[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("layout", "given", "message"),
    [
        (LAYOUT, made_batch(PARCELS), "tokens must be of 16 values of signal and 8 of amplitude"),
        (PARCELS, made_batch(PARCELS, places=4), "regions must be all 5 of the model's atlas, got 4"),
    ],
)
def test_batches_that_do_not_fit_are_refused(layout: TokenLayout, given: TokenBatch, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        made_encoder(layout=layout)(given)
