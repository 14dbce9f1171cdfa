"""open_clip towers, own and timm's: tokens against their own forward, text, activation, preprocessing."""

from __future__ import annotations

from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from data.errors import UnknownNameError
from vision.backbones import Backbone, PatchEmbedNd, load_backbone, open_clip_data
from vision.backbones.open_clip_build import build_open_clip, clip_preprocess, describe_clip
from vision.backbones.open_clip_tower import OpenClipBackbone

VISION: dict[str, Any] = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2, "head_width": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
TOWERS: dict[str, dict[str, Any]] = {
    "class token": VISION,
    "average, norm after pooling": VISION | {"pool_type": "avg", "final_ln_after_pool": True},
    "average, no pre-norm": VISION | {"pool_type": "avg", "no_ln_pre": True, "ls_init_value": 0.1},
    "attention pooling": VISION | {"attentional_pool": True, "attn_pooler_heads": 4},
    "custom blocks": VISION | {"qk_norm": True, "scale_heads": True, "scale_attn": True, "scale_fc": True},
    "timm tower": {
        "timm_model_name": "test_vit",
        "timm_pool": "token",
        "timm_proj": "linear",
        "image_size": 160,
    },
    "timm tower, map pooling": {
        "timm_model_name": "test_vit",
        "timm_pool": "map",
        "timm_proj": "none",
        "image_size": 160,
    },
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
}


def build(vision: dict[str, Any], **extra: Any) -> OpenClipBackbone:
    # A timm tower without a projection gives its own width, which is 64 for the one used here.
    config = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": TEXT, "quick_gelu": False} | extra
    backbone = build_open_clip({"model_cfg": config}, name="clip:tiny", preprocess={}, weights=None, seed=1)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return backbone


@pytest.fixture(scope="module", params=TOWERS.keys())
def clip(request: pytest.FixtureRequest) -> OpenClipBackbone:
    return build(TOWERS[request.param])


@pytest.fixture(scope="module", params=[k for k in TOWERS if k != "resnet"])
def clip_vit(request: pytest.FixtureRequest) -> OpenClipBackbone:
    return build(TOWERS[request.param])


def pixels(backbone: Backbone, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, *backbone.image_size, generator=generator)


def tokens_before_pooling(backbone: OpenClipBackbone, pixels_BCHW: torch.Tensor) -> torch.Tensor:
    """The tower's own tokens: what goes into its `_pool`, or what timm's forward_features gives."""
    tower = backbone.model.visual
    if hasattr(tower, "trunk"):
        return tower.trunk.forward_features(pixels_BCHW)
    tokens_BND = tower.transformer(tower._embeds(pixels_BCHW))
    if tower.attn_pool is None and not tower.final_ln_after_pool:
        tokens_BND = tower.ln_post(tokens_BND)
    return tokens_BND


def test_token_path_equals_the_towers_own(clip_vit: OpenClipBackbone) -> None:
    assert clip_vit.has_tokens
    assert clip_vit.patch_size is not None
    weight_DCpp, bias_D = clip_vit.patch_kernel
    embed = PatchEmbedNd.from_kernel(weight_DCpp, bias_D, patch_size=clip_vit.patch_size, in_channels=3)
    rows, columns = (s // p for s, p in zip(clip_vit.image_size, clip_vit.patch_size, strict=True))
    with torch.no_grad():
        expected = tokens_before_pooling(clip_vit, pixels(clip_vit))
        tokens_BND = embed(pixels(clip_vit)) + clip_vit.picture_positions((rows, columns))
        prefix_BPD = clip_vit.prefix_1PD.expand(len(tokens_BND), -1, -1)
        got = clip_vit.embed(torch.cat([prefix_BPD, tokens_BND], dim=1))
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-5
    assert expected.std() > 0.1


def test_encodings_equal_open_clips_own(clip: OpenClipBackbone) -> None:
    sentences = ["a photo of a cat", "two dogs", ""]
    with torch.no_grad():
        image_BE = clip.model.encode_image(pixels(clip), normalize=True)
        text_BE = clip.model.encode_text(open_clip.tokenize(sentences), normalize=True)
    got_image_BE, got_text_BE = clip.encode_image(pixels(clip)), clip.encode_text(sentences)
    assert (got_image_BE - image_BE).abs().max() <= 1e-5
    assert (got_text_BE - text_BE).abs().max() <= 1e-5
    assert got_image_BE.shape == (2, clip.output_dim)
    assert got_text_BE.shape == (3, clip.output_dim)
    assert clip.image_features(pixels(clip)).shape == (2, clip.feature_dim)
    assert clip.encode_text([]).shape == (0, clip.output_dim)


def test_long_and_many_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = build(VISION)
    sentences = [f"a photo of {n} cats" for n in range(7)] + ["cat " * 200]
    whole_BE = clip.encode_text(sentences)
    monkeypatch.setattr("vision.backbones.open_clip_tower.TEXT_BATCH", 3)
    torch.testing.assert_close(clip.encode_text(sentences), whole_BE, atol=1e-5, rtol=0)


def test_padded_and_masked_equals_unpadded(clip_vit: OpenClipBackbone) -> None:
    tokens_BND = torch.randn(2, 6, clip_vit.embed_dim, generator=torch.Generator().manual_seed(4))
    mask_BN = torch.tensor([[True] * 6, [True, False, True, True, False, False]])
    tokens_BND[~mask_BN] = 50.0
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            got = clip_vit.embed(tokens_BND, mask_BN=mask_BN)
            for sample in range(2):
                alone = clip_vit.embed(tokens_BND[sample : sample + 1, mask_BN[sample]])
                assert (got[sample, mask_BN[sample]] - alone[0]).abs().max() <= 1e-5
            assert (got[1, mask_BN[1]] - clip_vit.embed(tokens_BND)[1, mask_BN[1]]).abs().max() > 1e-3


def test_embed_is_differentiable(clip_vit: OpenClipBackbone) -> None:
    tokens_BND = torch.randn(2, 5, clip_vit.embed_dim, requires_grad=True)
    mask_BN = torch.tensor([[True] * 5, [True, True, False, False, False]])
    (clip_vit.embed(tokens_BND, mask_BN=mask_BN) * mask_BN[..., None]).square().sum().backward()
    assert tokens_BND.grad is not None
    assert tokens_BND.grad[mask_BN].abs().sum() > 0
    assert tokens_BND.grad[~mask_BN].eq(0).all()


def test_half_precision_hardly_turns_the_vectors() -> None:
    full, half = build(VISION), build(VISION).to(torch.bfloat16)
    sentences = ["a photo of a cat", "two dogs"]
    assert (full.encode_image(pixels(full)) * half.encode_image(pixels(full))).sum(1).min() > 0.999
    assert (full.encode_text(sentences) * half.encode_text(sentences)).sum(1).min() > 0.999
    assert half.encode_text(sentences).dtype == torch.float32


def test_other_picture_sizes() -> None:
    clip = build(VISION)
    assert clip.image_features(torch.randn(1, 3, 64, 48)).shape == (1, 64)


def test_quick_gelu_is_as_the_tag_asks() -> None:
    def activation(model: str) -> bool:
        return describe_clip(model)[0]["model_cfg"]["quick_gelu"]

    assert activation("ViT-B-32/openai")  # the architecture's own description says GELU
    assert not activation("ViT-B-32/laion2b_s34b_b79k")
    assert activation("ViT-B-32-quickgelu")
    tokens_BND = torch.randn(1, 4, 64)
    one, other = build(VISION, quick_gelu=True), build(VISION, quick_gelu=False)
    assert (one.embed(tokens_BND) - other.embed(tokens_BND)).abs().max() > 1e-3
    assert one.fingerprint != other.fingerprint
    for name in open_clip_data.tagged_names():
        stated = open_clip_data.tag_config(*name.split("/"))
        own = open_clip.get_model_config(name.split("/")[0]).get("quick_gelu", False)
        assert activation(name) == stated.get("quick_gelu", own)


def test_preprocessing_travels_with_the_tag() -> None:
    """Equal to the bit to open_clip's own transform, for every way of preparing that its tags use."""
    ways = {}
    for name in open_clip_data.tagged_names():
        config = open_clip_data.tag_config(*name.split("/"))
        ways[(config["resize_mode"], config["interpolation"], config["mean"], config["std"])] = config
    assert len(ways) > 3
    rng = np.random.default_rng(0)
    for config in ways.values():
        for shape, size in (((60, 91, 3), 32), ((33, 20, 3), (48, 40)), ((32, 32, 3), 32)):
            if size == (48, 40) and config["interpolation"] != "bicubic":
                continue  # open_clip resizes to oblong sizes bicubically, whatever the configuration says
            picture = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
            reference = open_clip.transform.image_transform_v2(
                open_clip.transform.PreprocessCfg(
                    size=size,
                    mean=config["mean"],
                    std=config["std"],
                    interpolation=config["interpolation"],
                    resize_mode=config["resize_mode"],
                ),
                is_train=False,
            )
            got = clip_preprocess(size, config)(picture)
            torch.testing.assert_close(got, reference(picture), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("clip:ViT-B-33/laion2b_s34b_b79k", "ViT-B-32"),
        ("clip:ViT-B-32/laion2b_s34b_b78k", "ViT-B-32/laion2b_s34b_b79k"),
        ("clip:ViT-B-32", "clip:ARCH/TAG"),
    ],
)
def test_unknown_clip_names_offer_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UnknownNameError, match=hint):
        load_backbone(name, device="cpu")


def test_data_only_agrees_with_open_clip() -> None:
    assert set(open_clip_data.architecture_names()) == set(open_clip.list_models())
    assert open_clip_data.tagged_names() == tuple(f"{a}/{t}" for a, t in open_clip.list_pretrained())
    assert open_clip_data.imagenet_class_names() == tuple(open_clip.IMAGENET_CLASSNAMES)
    assert open_clip_data.architecture("ViT-B-32") == open_clip.get_model_config("ViT-B-32")
