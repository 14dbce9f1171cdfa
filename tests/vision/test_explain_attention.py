"""Recorded attention against the ordinary forward, in every configuration, and against plain loops."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from data.errors import ParameterError
from tests.vision.test_backbone_open_clip import TOWERS, build, pixels
from vision.backbones import Backbone, load_backbone
from vision.explain.attention import AttentionRecorder
from vision.explain.attention_gradient import rolled_out

TIMM_TOWERS = {
    "EVA": ("eva02_tiny_patch14_224", 224),
    "ViTamin": ("vitamin_small_224", 224),
    "relative positions": ("vit_relpos_small_patch16_224", 224),
}
SCRATCH = {
    "average": "scratch:test_vit/global_pool=avg",
    "map pooling": "scratch:test_vit/global_pool=map",
    "norm of queries and keys": "scratch:test_vit/qk_norm=true",
    "two prefix tokens": "scratch:deit_tiny_distilled_patch16_224/depth=2",
    "masks for positions": "scratch:beit_base_patch16_224/depth=2,embed_dim=48,num_heads=4",
}


def timm_tower(name: str) -> Backbone:
    model, size = TIMM_TOWERS[name]
    return build({"timm_model_name": model, "timm_pool": "", "timm_proj": "linear", "image_size": size})


MODELS = {
    **{f"clip {name}": (lambda name=name: build(TOWERS[name])) for name in TOWERS},
    **{f"clip {name}": (lambda name=name: timm_tower(name)) for name in TIMM_TOWERS},
    **{name: (lambda name=name: load_backbone(SCRATCH[name], device="cpu", seed=3)) for name in SCRATCH},
}


@pytest.mark.parametrize("name", MODELS)
def test_recording_changes_nothing(name: str) -> None:
    """Vectors within 1e-5 of the ordinary ones; weights that are shares of one."""
    backbone = MODELS[name]()
    pixels_BCHW = pixels(backbone)
    with torch.no_grad():
        expected_BE = backbone.encode_image(pixels_BCHW)
        with AttentionRecorder() as recorder:
            got_BE = backbone.image_vectors(pixels_BCHW)
    assert (got_BE - expected_BE).abs().max() <= 1e-5
    assert recorder.layers
    for layer in recorder.layers:
        assert (layer.weights_BHQK.sum(dim=-1) - 1).abs().max() <= 1e-5
        again = (layer.query_BHQD @ layer.key_BHKD.mT / layer.query_BHQD.shape[-1] ** 0.5).softmax(-1)
        if "positions" not in name:  # these add to the logits
            torch.testing.assert_close(layer.weights_BHQK, again, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_vectors_are_there(name: str) -> None:
    """`image_vectors` is `encode_image` with a graph."""
    backbone = MODELS[name]()
    pixels_BCHW = pixels(backbone, 1).requires_grad_()
    vectors_BE = backbone.image_vectors(pixels_BCHW)
    (gradient,) = torch.autograd.grad(vectors_BE[0, 0], pixels_BCHW)
    assert gradient.abs().sum() > 0
    assert (vectors_BE.detach() - backbone.encode_image(pixels_BCHW)).abs().max() <= 1e-5
    assert not backbone.encode_image(pixels_BCHW).requires_grad


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("widths", [{}, {"kdim": 10, "vdim": 14}])
@pytest.mark.parametrize("mask", ["none", "bool", "added", "for each head"])
@pytest.mark.parametrize("padded", [False, True])
def test_multi_head_attention_with_all_its_masks(
    batch_first: bool, widths: dict[str, int], mask: str, padded: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(12, 3, batch_first=batch_first, **widths).eval()
    queries = torch.randn(2, 4, 12)
    keys, values = torch.randn(2, 5, widths.get("kdim", 12)), torch.randn(2, 5, widths.get("vdim", 12))
    if not batch_first:
        queries, keys, values = queries.mT.permute(2, 0, 1), keys.transpose(0, 1), values.transpose(0, 1)
    hidden = torch.rand(4, 5) < 0.3
    hidden[:, 0] = False
    masks: dict[str, Any] = {
        "none": None,
        "bool": hidden,
        "added": torch.randn(4, 5),
        "for each head": torch.randn(2 * 3, 4, 5),
    }
    options: dict[str, Any] = {"attn_mask": masks[mask]}
    if padded:
        padding = torch.tensor([[False] * 5, [False, False, True, True, False]])
        options["key_padding_mask"] = (
            padding if mask in ("none", "bool") else torch.zeros(2, 5).masked_fill(padding, float("-inf"))
        )
    for averaged in (True, False):
        expected = layer(queries, keys, values, average_attn_weights=averaged, **options)
        with AttentionRecorder() as recorder:
            got = layer(queries, keys, values, average_attn_weights=averaged, **options)
            alone, nothing = layer(queries, keys, values, need_weights=False, **options)
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
        torch.testing.assert_close(alone, expected[0], atol=1e-5, rtol=0)
        assert nothing is None
        assert [tuple(layer.weights_BHQK.shape) for layer in recorder.layers] == [(2, 3, 4, 5)] * 2


@pytest.mark.parametrize("mask", [None, "bool", "added"])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_scaled_dot_product_attention(mask: str | None, scale: float | None) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 6)
    given = {None: None, "bool": torch.rand(4, 5) < 0.8, "added": torch.randn(2, 1, 4, 5)}[mask]
    if mask == "bool":
        given[:, 0] = True
    expected = F.scaled_dot_product_attention(query, key, value, given, scale=scale)
    with AttentionRecorder():
        got = F.scaled_dot_product_attention(query, key, value, given, scale=scale)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_what_cannot_be_recorded_is_one_clear_error() -> None:
    query = torch.randn(1, 2, 4, 8)
    added = nn.MultiheadAttention(8, 2, add_bias_kv=True, batch_first=True).eval()
    with AttentionRecorder():
        with pytest.raises(ParameterError, match="whose attention can be recorded"):
            F.scaled_dot_product_attention(query, query, query, is_causal=True)
        with pytest.raises(ParameterError, match="whose attention can be recorded"):
            added(query[0], query[0], query[0])


def test_other_threads_are_not_recorded() -> None:
    backbone = build(TOWERS["class token"])
    pixels_BCHW = pixels(backbone)
    seen: list[torch.Tensor] = []
    with AttentionRecorder() as recorder:
        other = threading.Thread(target=lambda: seen.append(backbone.encode_image(pixels_BCHW)))
        other.start()
        other.join()
        assert recorder.layers == []
        backbone.encode_image(pixels_BCHW)
    assert len(recorder.layers) == 2
    assert torch.equal(seen[0], backbone.encode_image(pixels_BCHW))
    assert len(recorder.layers) == 2


def test_roll_out_equals_plain_loops() -> None:
    """R <- R + B R, number by number."""
    torch.manual_seed(0)
    helped = [torch.rand(4, 4) for _ in range(3)]
    relevance = [[float(row == column) for column in range(4)] for row in range(4)]
    for layer in helped:
        relevance = [
            [
                relevance[row][column] + sum(float(layer[row, k]) * relevance[k][column] for k in range(4))
                for column in range(4)
            ]
            for row in range(4)
        ]
    torch.testing.assert_close(rolled_out(helped), torch.tensor(relevance), atol=1e-4, rtol=1e-5)
