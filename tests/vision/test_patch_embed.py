from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from data.errors import ParameterError
from vision.backbones.patch_embed import PatchEmbedNd, inflate, patchify, unpatchify

# No shrinking deadlines: two cores are shared and a first call of a kernel can be slow.
quick = settings(max_examples=30, deadline=None)
sizes = st.integers(1, 5)


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@quick
@given(
    axes=st.lists(st.tuples(sizes, st.integers(1, 3)), min_size=1, max_size=4),
    batch=st.integers(1, 2),
    channels=st.integers(1, 3),
)
def test_unpatchify_is_the_exact_inverse(axes: list[tuple[int, int]], batch: int, channels: int) -> None:
    patch_size = tuple(p for p, _ in axes)
    grid_size = tuple(g for _, g in axes)
    grid = seeded(batch, channels, *(p * g for p, g in axes))
    patches_BNV = patchify(grid, patch_size)
    assert patches_BNV.shape == (batch, math.prod(grid_size), channels * math.prod(patch_size))
    assert torch.equal(unpatchify(patches_BNV, patch_size, grid_size), grid)


def test_patchify_equals_cutting_by_hand_row_major() -> None:
    grid = seeded(2, 3, 4, 6, 8)
    patch_size = (2, 3, 4)
    cut = [
        grid[:, :, z : z + 2, y : y + 3, x : x + 4].flatten(1)
        for z, y, x in itertools.product(range(0, 4, 2), range(0, 6, 3), range(0, 8, 4))
    ]
    assert torch.equal(patchify(grid, patch_size), torch.stack(cut, dim=1))


@pytest.mark.parametrize("patch_size", [(4, 4), (2, 3, 4)])
def test_dense_equals_convolution_and_cut_patches(patch_size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    embed = PatchEmbedNd(patch_size, in_channels=2, embed_dim=8)
    grid = seeded(2, 2, *(2 * p for p in patch_size))
    convolve = F.conv2d if len(patch_size) == 2 else F.conv3d
    kernel = embed.proj.weight.reshape(8, 2, *patch_size)
    expected = convolve(grid, kernel, embed.proj.bias, stride=patch_size).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embed(grid), expected, atol=1e-5, rtol=0)
    assert torch.equal(embed(grid), embed.embed_patches(patchify(grid, patch_size)))


@quick
@given(
    old=st.integers(1, 8),
    depth=st.integers(1, 6),
    plane=st.tuples(sizes, sizes),
    channels=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_a_volume_constant_in_depth_embeds_as_its_picture(
    old: int, depth: int, plane: tuple[int, int], channels: int, seed: int
) -> None:
    weight_DCpp = seeded(6, 3, old, old, seed=seed).double()
    bias_D = seeded(6, seed=seed + 1).double()
    in_2d = PatchEmbedNd.from_kernel(weight_DCpp, bias_D, patch_size=plane, in_channels=channels).double()
    in_3d = PatchEmbedNd.from_kernel(
        weight_DCpp, bias_D, patch_size=(depth, *plane), in_channels=channels
    ).double()
    picture = seeded(2, channels, 2 * plane[0], 3 * plane[1], seed=seed).double()
    volume = picture.unsqueeze(2).expand(-1, -1, depth, -1, -1)
    torch.testing.assert_close(in_3d(volume), in_2d(picture), atol=1e-5, rtol=0)


@quick
@given(channels=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_grey_picture_embeds_the_same_over_any_channels(channels: int, seed: int) -> None:
    weight_DCpp = seeded(6, 3, 4, 4, seed=seed).double()
    grey = seeded(2, 1, 4, 4, seed=seed + 1).double()
    rgb = F.conv2d(grey.expand(-1, 3, -1, -1), weight_DCpp)
    got = F.conv2d(grey.expand(-1, channels, -1, -1), inflate(weight_DCpp, (4, 4), channels))
    torch.testing.assert_close(got, rgb, atol=1e-10, rtol=0)


@quick
@given(old=st.integers(1, 8), more=st.tuples(st.integers(0, 8), st.integers(0, 8)), seed=st.integers(0, 99))
def test_an_enlarged_patch_embeds_as_the_original(old: int, more: tuple[int, int], seed: int) -> None:
    height, width = old + more[0], old + more[1]
    weight_DCpp = seeded(5, 3, old, old, seed=seed).double()
    patch = seeded(1, 3, old, old, seed=seed + 1).double()
    # Independent twin of the area resize: repeat every pixel, then average whole blocks.
    fine = patch.repeat_interleave(height, 2).repeat_interleave(width, 3)
    larger = F.avg_pool2d(fine, old)
    expected = F.conv2d(patch, weight_DCpp)
    got = F.conv2d(larger, inflate(weight_DCpp, (height, width), 3))
    torch.testing.assert_close(got, expected, atol=1e-7, rtol=0)


@quick
@given(old=st.integers(1, 16), new=st.tuples(st.integers(1, 16), st.integers(1, 16)))
def test_a_constant_patch_embeds_the_same_at_every_size(old: int, new: tuple[int, int]) -> None:
    weight_DCpp = seeded(5, 3, old, old).double()
    got = inflate(weight_DCpp, new, 3).sum((2, 3))
    torch.testing.assert_close(got, weight_DCpp.sum((2, 3)), atol=1e-7, rtol=0)


def test_the_same_size_keeps_the_kernel_and_its_type() -> None:
    weight_DCpp = seeded(5, 3, 16, 16)
    torch.testing.assert_close(inflate(weight_DCpp, (16, 16), 3), weight_DCpp, atol=1e-6, rtol=0)
    assert inflate(weight_DCpp.half(), (2, 4, 4), 1).dtype == torch.float16


def test_inflated_weights_are_trainable_copies() -> None:
    weight_DCpp = seeded(5, 3, 4, 4).requires_grad_()
    embed = PatchEmbedNd.from_kernel(weight_DCpp, None, patch_size=(2, 4, 4), in_channels=1)
    assert embed.proj.bias is None
    embed(seeded(1, 1, 2, 4, 4)).sum().backward()
    assert embed.proj.weight.grad is not None
    assert weight_DCpp.grad is None


@pytest.mark.parametrize("shape", [(1, 1, 5, 4), (1, 1, 4), (1, 1, 4, 4, 4)])
def test_no_whole_number_of_patches_is_one_clear_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match="whole number of patches"):
        patchify(torch.zeros(shape), (4, 4))


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ParameterError, match="patch_size must be positive"):
        PatchEmbedNd((4, 0), 1, 8)
    with pytest.raises(ParameterError, match="two or more axes"):
        inflate(torch.zeros(2, 3, 4, 4), (4,), 1)
    with pytest.raises(ParameterError, match="a patch must be"):
        PatchEmbedNd((2, 2), 1, 8).embed_patches(torch.zeros(1, 3, 5))
    with pytest.raises(ParameterError, match="patches must be"):
        unpatchify(torch.zeros(1, 3, 4), (2, 2), (2, 2))
