"""The token path of timm's and open_clip's towers against the towers' own forward passes."""

from __future__ import annotations

import pytest
import torch

from data.errors import ParameterError
from vision.backbones import Backbone, PatchEmbedNd, load_backbone
from vision.backbones.trunk import Block

TINY = "embed_dim=32,depth=2,num_heads=4,img_size=32"
TIMM_NAMES = {
    "class token": f"scratch:vit_tiny_patch16_224/{TINY}",
    "registers, no code on the prefix": f"scratch:vit_tiny_patch16_224/{TINY},reg_tokens=3,no_embed_class=1",
    "registers, codes on the prefix": f"scratch:vit_tiny_patch16_224/{TINY},reg_tokens=2",
    "no class token, average": f"scratch:vit_tiny_patch16_224/{TINY},class_token=false,global_pool=avg",
    "pre-norm, layer scale, qk-norm": (
        f"scratch:vit_base_patch16_clip_224/{TINY},init_values=0.1,qk_norm=true"
    ),
    "no position codes": f"scratch:vit_tiny_patch16_224/{TINY},pos_embed=none",
    "parallel blocks": f"scratch:vit_small_patch16_18x2_224/{TINY}",
    "attention pooling": f"scratch:vit_base_patch16_siglip_224/{TINY}",
    "differential attention": f"scratch:vit_dlittle_patch16_reg1_gap_256/{TINY}",
}


@pytest.fixture(params=TIMM_NAMES.values(), ids=TIMM_NAMES.keys())
def timm_vit(request: pytest.FixtureRequest) -> Backbone:
    backbone = load_backbone(request.param, device="cpu", seed=1)
    torch.manual_seed(2)
    with torch.no_grad():  # fresh class tokens and biases are nearly zero, and would hide mistakes
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return backbone


def pixels(size: int = 32, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(3))


def tokens_by_hand(backbone: Backbone, pixels_BCHW: torch.Tensor) -> torch.Tensor:
    """Cut a picture into patches, embed them, put position codes on and the prefix in front."""
    weight_DCpp, bias_D = backbone.patch_kernel
    assert backbone.patch_size is not None
    embed = PatchEmbedNd.from_kernel(weight_DCpp, bias_D, patch_size=backbone.patch_size, in_channels=3)
    grid = tuple(s // p for s, p in zip(pixels_BCHW.shape[-2:], backbone.patch_size, strict=True))
    tokens_BND = embed(pixels_BCHW) + backbone.picture_positions((grid[0], grid[1]))
    return torch.cat([backbone.prefix_1PD.expand(len(tokens_BND), -1, -1), tokens_BND], dim=1)


def test_token_path_equals_timm_forward_features(timm_vit: Backbone) -> None:
    with torch.no_grad():
        expected = timm_vit.model.forward_features(pixels())
        got = timm_vit.embed(tokens_by_hand(timm_vit, pixels()))
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-5
    assert expected.std() > 0.1


def test_image_features_equal_timm_pooling(timm_vit: Backbone) -> None:
    with torch.no_grad():
        expected = timm_vit.model(pixels())
    got = timm_vit.image_features(pixels())
    assert (got - expected).abs().max() <= 1e-5
    assert not got.requires_grad
    unit = timm_vit.encode_image(pixels())
    torch.testing.assert_close(unit, torch.nn.functional.normalize(expected, dim=-1), atol=1e-5, rtol=0)


def test_other_picture_sizes_equal_timm_dynamic_sizes() -> None:
    name = TIMM_NAMES["class token"]
    backbone = load_backbone(name, device="cpu")
    dynamic = load_backbone(f"{name},dynamic_img_size=true", device="cpu")
    with torch.no_grad():
        expected = dynamic.model(pixels(64))
    assert (backbone.image_features(pixels(64)) - expected).abs().max() <= 1e-5
    with pytest.raises(ParameterError, match="picture size must be a multiple of the patch size"):
        backbone.image_features(pixels(40))


def test_padded_and_masked_equals_unpadded(timm_vit: Backbone) -> None:
    assert_padding_changes_nothing(timm_vit)


def assert_padding_changes_nothing(backbone: Backbone) -> None:
    width = backbone.embed_dim
    generator = torch.Generator().manual_seed(4)
    tokens_BND = torch.randn(3, 7, width, generator=generator)
    mask_BN = torch.tensor([[True] * 7, [True] * 4 + [False] * 3, [False] * 2 + [True] * 5])
    tokens_BND[~mask_BN] = 50.0  # what stands in the padding must not matter
    with torch.no_grad():
        got = backbone.embed(tokens_BND, mask_BN=mask_BN)
        for sample in range(3):
            alone = backbone.embed(tokens_BND[sample : sample + 1, mask_BN[sample]])
            assert (got[sample, mask_BN[sample]] - alone[0]).abs().max() <= 1e-5
        unmasked = backbone.embed(tokens_BND)
    assert (got[1] - unmasked[1]).abs().max() > 1e-3
    assert (got[0] - unmasked[0]).abs().max() <= 1e-5


def test_embed_is_differentiable_with_a_mask(timm_vit: Backbone) -> None:
    tokens_BND = torch.randn(2, 5, timm_vit.embed_dim, requires_grad=True)
    mask_BN = torch.tensor([[True] * 5, [True, True, False, False, False]])
    out = timm_vit.embed(tokens_BND, mask_BN=mask_BN)
    (out * mask_BN[..., None]).square().sum().backward()
    assert tokens_BND.grad is not None
    assert tokens_BND.grad.isfinite().all()
    assert tokens_BND.grad[mask_BN].abs().amin(dim=-1).gt(0).any()
    assert tokens_BND.grad[~mask_BN].eq(0).all()
    block_weights = [p for n, p in timm_vit.named_parameters() if "blocks" in n and p.grad is not None]
    assert block_weights


def test_a_sample_of_nothing_but_padding_stays_finite() -> None:
    backbone = load_backbone(TIMM_NAMES["class token"], device="cpu")
    out = backbone.embed(torch.randn(1, 3, 32), mask_BN=torch.zeros(1, 3, dtype=torch.bool))
    assert out.isfinite().all()


def test_positions_are_added_and_broadcast() -> None:
    backbone = load_backbone(TIMM_NAMES["class token"], device="cpu")
    tokens_BND, positions_1ND = torch.randn(2, 5, 32), torch.randn(1, 5, 32)
    assert torch.equal(backbone.embed(tokens_BND, positions_1ND), backbone.embed(tokens_BND + positions_1ND))


def test_blocks_can_be_run_in_the_callers_way(timm_vit: Backbone) -> None:
    """Each in its turn, by its number, with the padding's bias; what the caller makes of it goes on."""
    tokens_BND = torch.randn(2, 5, timm_vit.embed_dim)
    mask_BN = torch.tensor([[True] * 5, [True, True, True, False, False]])
    seen: list[int] = []

    def as_it_is(
        number: int, block: Block, tokens_BND: torch.Tensor, bias_B11N: torch.Tensor | None
    ) -> torch.Tensor:
        seen.append(number)
        assert bias_B11N is not None
        assert torch.equal(bias_B11N[:, 0, 0] == 0, mask_BN)
        return block(tokens_BND, bias_B11N)

    with torch.no_grad():
        assert torch.equal(
            timm_vit.embed(tokens_BND, mask_BN=mask_BN, around=as_it_is),
            timm_vit.embed(tokens_BND, mask_BN=mask_BN),
        )
        assert seen == list(range(timm_vit.depth))
        passed_by = timm_vit.embed(tokens_BND, around=lambda number, block, tokens, bias: tokens)
        trunk = timm_vit._trunk
        assert trunk is not None
        assert torch.equal(passed_by, trunk.leave(trunk.enter(tokens_BND)))


def test_depth_is_the_number_of_blocks(timm_vit: Backbone) -> None:
    assert timm_vit.depth == 2
    assert load_backbone("scratch:resnet18", device="cpu").depth == 0


def test_shapes_that_do_not_fit_are_refused() -> None:
    backbone = load_backbone(TIMM_NAMES["class token"], device="cpu")
    with pytest.raises(ParameterError, match=r"tokens must be of shape \(B, N, 32\), got \(2, 5, 31\)"):
        backbone.embed(torch.zeros(2, 5, 31))
    for mask in (torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 5)):
        with pytest.raises(ParameterError, match="mask must be bool"):
            backbone.embed(torch.zeros(2, 5, 32), mask_BN=mask)
    with pytest.raises(ParameterError, match="pixels must be"):
        backbone.image_features(torch.zeros(3, 32, 32))
