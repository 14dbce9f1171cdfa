"""LoRA on every kind of block, and the linear probe, against independent twins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from data.errors import ParameterError
from vision.adapt import LoraOptions, add_lora, fit_linear_probe, merge_lora, picture_tower
from vision.backbones import Backbone, load_backbone
from vision.backbones.open_clip_build import build_open_clip

VISION: dict[str, Any] = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 2, "head_width": 16}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}


def clip(vision: dict[str, Any]) -> Backbone:
    config = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": TEXT, "quick_gelu": False}
    return build_open_clip({"model_cfg": config}, name="clip:tiny", preprocess={}, weights=None, seed=1)


def scratch() -> Backbone:
    return load_backbone("scratch:vit_tiny_patch16_224/img_size=32,embed_dim=48,depth=2", device="cpu")


MODELS = {
    "open_clip": lambda: clip(VISION),
    "open_clip's own attention": lambda: clip(VISION | {"qk_norm": True, "scale_heads": True}),
    "timm tower": lambda: clip({"timm_model_name": "test_vit", "timm_proj": "linear", "image_size": 160}),
    "timm": scratch,
}


def disturb(updates: list[nn.Parameter]) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for update in updates:
            update.add_(0.2 * torch.randn(update.shape, generator=generator))


@pytest.mark.parametrize("name", MODELS)
def test_updates_begin_at_nothing_learn_alone_and_merge_exactly(name: str) -> None:
    backbone, plain = MODELS[name](), MODELS[name]()
    pixels = torch.randn(2, 3, *backbone.image_size, generator=torch.Generator().manual_seed(1))
    names = set(backbone.state_dict())
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    updates = add_lora(backbone, LoraOptions(rank=3, alpha=6), seed=2)
    torch.testing.assert_close(backbone.encode_image(pixels), plain.encode_image(pixels), atol=0, rtol=0)
    assert {id(p) for p in backbone.parameters() if p.requires_grad} == {id(p) for p in updates}
    disturb(updates)
    changed_BE = backbone.encode_image(pixels)
    assert (changed_BE - plain.encode_image(pixels)).abs().max() > 1e-3
    merge_lora(backbone)
    assert set(backbone.state_dict()) == names
    torch.testing.assert_close(backbone.encode_image(pixels), changed_BE, atol=0, rtol=0)
    changed = {key for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    for key in changed:
        difference_OI = (backbone.state_dict()[key] - before[key]).double()
        assert torch.linalg.matrix_rank(difference_OI, rtol=1e-4) <= 3
    plain.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(plain.encode_image(pixels), changed_BE, atol=0, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_every_attention_and_mlp_weight_of_the_blocks_is_updated(name: str) -> None:
    tower = picture_tower(MODELS[name]())
    # Two blocks or six, each with joint queries, keys and values, their way out, and two layers of the MLP.
    blocks = len({key.split("blocks.")[1].split(".")[0] for key in tower.state_dict() if "blocks." in key})
    assert len(add_lora(tower)) == 2 * 4 * blocks


def test_the_trunk_alone_learns_through_tokens() -> None:
    backbone = scratch()
    updates = add_lora(picture_tower(backbone))
    tokens_BND = torch.randn(2, 5, backbone.embed_dim)
    mask_BN = torch.tensor([[True] * 5, [True, True, True, False, False]])
    backbone.embed(tokens_BND, mask_BN=mask_BN).square().sum().backward()
    assert all(update.grad is not None for update in updates)
    assert backbone.patch_kernel[0].grad is None


def test_the_text_half_stays_as_it_was_where_only_pictures_learn() -> None:
    backbone = clip(VISION)
    before_BE = backbone.encode_text(["a cat"])
    disturb(add_lora(picture_tower(backbone)))
    assert torch.equal(backbone.encode_text(["a cat"]), before_BE)


def test_what_cannot_be_updated_is_refused() -> None:
    resnet = clip({"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8})
    with pytest.raises(ParameterError, match="Transformer blocks, for LoRA, got ModifiedResNet"):
        add_lora(picture_tower(resnet))
    with pytest.raises(ParameterError, match="rank must be a positive integer"):
        LoraOptions(rank=0)
    with pytest.raises(ParameterError, match="alpha must be positive"):
        LoraOptions(alpha=float("nan"))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("c", [0.1, 10.0])
def test_linear_probe_equals_scikit_learns(classes: int, c: float) -> None:
    rng = np.random.default_rng(classes)
    labels = np.arange(120) % classes
    features = rng.normal(size=(120, 6)) + rng.normal(size=(classes, 6))[labels]
    # With two classes scikit-learn has one row of weights, and the difference of our two rows is penalised
    # half as much: the same optimum needs twice its C.
    twin = LogisticRegression(
        C=2 * c if classes == 2 else c, tol=1e-10, max_iter=10_000, solver="newton-cg"
    ).fit(features, labels)
    probe = fit_linear_probe(torch.from_numpy(features).float(), torch.from_numpy(labels), c=c)
    got = torch.softmax(probe(torch.from_numpy(features).float()), dim=1).detach().numpy()
    np.testing.assert_allclose(got, twin.predict_proba(features), atol=2e-5)


def test_linear_probe_refuses_what_it_cannot_fit() -> None:
    features = torch.zeros(3, 2)
    with pytest.raises(ParameterError, match="two classes or more"):
        fit_linear_probe(features, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ParameterError, match=r"\(B, F\) and \(B,\)"):
        fit_linear_probe(features, torch.tensor([0, 1]))
    with pytest.raises(ParameterError, match="c must be positive"):
        fit_linear_probe(features, torch.tensor([0, 1, 1]), c=0)
