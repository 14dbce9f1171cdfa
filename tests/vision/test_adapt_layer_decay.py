"""Layer-wise learning rates against tables written by hand; each weight in one group, whatever learns."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from data.errors import ParameterError
from tests.vision.adaptable import MODELS, Brain, clip, scratch
from vision.adapt import LoraOptions, add_lora, layer_groups, picture_tower

DECAY = 0.7
# Of each model: (pattern of a parameter's name, its layer, the number of blocks of its row). The first that
# fits counts; {n} is the number of a block from 0. Names that no pattern fits learn at the full rate.
Table = list[tuple[str, int | None, int]]
TEXT_HALF: Table = [
    (r"model\.transformer\.resblocks\.(\d+)\.", None, 1),
    (r"model\.(positional_embedding|token_embedding)", 0, 1),
]
OPEN_CLIP: Table = [
    (r"model\.visual\.transformer\.resblocks\.(\d+)\.", None, 2),
    (r"model\.visual\.(class_embedding|positional_embedding|conv1|ln_pre)", 0, 2),
    *TEXT_HALF,
]
TABLES: dict[str, Table] = {
    "open_clip": OPEN_CLIP,
    "open_clip's own attention": OPEN_CLIP,
    "timm tower": [
        (r"model\.visual\.trunk\.blocks\.(\d+)\.", None, 6),
        (r"model\.visual\.trunk\.(cls_token|pos_embed|patch_embed)", 0, 6),
        *TEXT_HALF,
    ],
    "timm": [
        (r"model\.blocks\.(\d+)\.", None, 2),
        (r"model\.(cls_token|pos_embed|patch_embed)", 0, 2),
    ],
}
UNDECAYED = ("cls_token", "class_embedding", "pos_embed", "positional_embedding", "mask_token")


def slow_scale(name: str, table: Table) -> float:
    for pattern, layer, depth in table:
        match = re.match(pattern, name)
        if match:
            number = layer if layer is not None else 1 + int(match.group(1))
            return float(DECAY ** (depth + 1 - number))
    return 1.0


def settings_of(module: nn.Module, groups: list[dict[str, Any]]) -> dict[str, tuple[float, float, float]]:
    """(scale, lr, weight decay) by the parameters' names; a parameter in two groups is an error."""
    names = {id(p): name for name, p in module.named_parameters()}
    found: dict[str, tuple[float, float, float]] = {}
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert name not in found
            found[name] = (group["scale"], group["lr"], group["weight_decay"])
    return found


def check(module: nn.Module, table: Table, prefix: str = "") -> None:
    groups = layer_groups(module, learning_rate=2e-3, weight_decay=0.05, layer_decay=DECAY)
    found = settings_of(module, groups)
    expected = {}
    for name, parameter in module.named_parameters():
        scale = slow_scale(prefix + name, table)
        decays = parameter.ndim >= 2 and not any(part in name for part in UNDECAYED)
        expected[name] = pytest.approx((scale, 2e-3 * scale, 0.05 if decays else 0.0), rel=1e-12)
    assert found == expected
    scales = [group["scale"] for group in groups]
    assert scales == sorted(scales)
    assert all(group["params"] for group in groups)


@pytest.mark.parametrize("name", MODELS)
def test_rates_of_a_backbone_follow_the_formula(name: str) -> None:
    check(MODELS[name](), TABLES[name])


@pytest.mark.parametrize("name", MODELS)
def test_rates_of_a_picture_half_follow_the_formula(name: str) -> None:
    check(picture_tower(MODELS[name]()), TABLES[name], prefix="model." if name == "timm" else "model.visual.")


@pytest.mark.parametrize("name", MODELS)
def test_rates_of_a_brain_that_holds_a_backbone_follow_the_formula(name: str) -> None:
    inside: Table = [(rf"backbone\.{pattern}", layer, depth) for pattern, layer, depth in TABLES[name]]
    depth = TABLES[name][0][2]
    # What is inflated is layer 0 of the picture half; the brain's own layers, mask token and head are new.
    check(Brain(MODELS[name]()), [*inside, (r"embed_signal\.", 0, depth)])


@pytest.mark.parametrize("name", MODELS)
def test_updates_of_weights_learn_as_their_blocks_would(name: str) -> None:
    brain = Brain(MODELS[name]())
    updates = add_lora(picture_tower(brain.backbone), LoraOptions(rank=2))
    found = settings_of(brain, layer_groups(brain, learning_rate=1, weight_decay=0.1, layer_decay=DECAY))
    inside = {key: value for key, value in found.items() if key.endswith(("down_RI", "up_OR"))}
    assert len(inside) == len(updates)
    table: Table = [(rf"backbone\.{pattern}", layer, depth) for pattern, layer, depth in TABLES[name]]
    for key, value in inside.items():
        assert value == pytest.approx((slow_scale(key, table), slow_scale(key, table), 0.1))


def test_a_model_without_its_backbone_is_counted_by_itself() -> None:
    """A hierarchy of stages: what each stage holds learns alike."""
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=56, embed_dim=12, depths=(1, 1, 1, 1), num_classes=2
    )
    found = settings_of(swin, layer_groups(swin, learning_rate=1, weight_decay=0.1, layer_decay=0.5))
    assert found["layers.3.blocks.0.mlp.fc1.weight"] == (0.5, 0.5, 0.1)
    assert found["layers.0.blocks.0.mlp.fc1.weight"] == (0.0625, 0.0625, 0.1)
    assert found["layers.0.blocks.0.attn.relative_position_bias_table"] == (0.0625, 0.0625, 0.0)
    assert found["patch_embed.proj.weight"] == (0.03125, 0.03125, 0.1)
    assert found["head.fc.weight"] == (1, 1, 0.1)


@functools.cache
def kept_brain(name: str) -> Brain:
    return Brain(MODELS[name]())


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(MODELS)), st.floats(0.1, 1), st.floats(1e-6, 10), st.floats(0, 1), st.randoms())
def test_whatever_learns_stands_in_exactly_one_group(
    name: str, layer_decay: float, rate: float, weight_decay: float, random: Any
) -> None:
    brain = kept_brain(name)
    for parameter in brain.parameters():
        parameter.requires_grad_(random.random() < 0.5)
    brain.head[1].bias.requires_grad_(True)
    groups = layer_groups(brain, learning_rate=rate, weight_decay=weight_decay, layer_decay=layer_decay)
    learning = [id(p) for p in brain.parameters() if p.requires_grad]
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(learning)
    for group in groups:
        assert 0 < group["scale"] <= 1
        assert group["lr"] == rate * group["scale"]
        assert group["weight_decay"] in (0.0, weight_decay)
        assert group["weight_decay"] == 0 or all(p.ndim >= 2 for p in group["params"])


def test_without_layer_decay_all_learn_alike_and_any_model_will_do() -> None:
    groups = layer_groups(nn.Linear(3, 2), learning_rate=0.1, weight_decay=0.2)
    assert [(g["lr"], g["scale"], g["weight_decay"], len(g["params"])) for g in groups] == [
        (0.1, 1.0, 0.2, 1),
        (0.1, 1.0, 0.0, 1),
    ]
    groups = layer_groups(Brain(scratch()), learning_rate=0.1, weight_decay=0.2)
    assert [(g["scale"], g["weight_decay"]) for g in groups] == [(1.0, 0.2), (1.0, 0.0)]


def test_an_optimiser_steps_at_these_rates() -> None:
    """AdamW's first step is its learning rate, whatever the gradient, where nothing decays."""
    backbone = scratch()
    groups = layer_groups(backbone, learning_rate=1e-3, weight_decay=0.0, layer_decay=0.5)
    optimizer = torch.optim.AdamW(groups, eps=1e-20)
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    for parameter in backbone.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = {name: float((p.detach() - before[name]).abs().mean()) for name, p in backbone.named_parameters()}
    assert moved["model.norm.bias"] == pytest.approx(1e-3, rel=1e-3)
    assert moved["model.blocks.1.norm1.bias"] == pytest.approx(5e-4, rel=1e-3)
    assert moved["model.blocks.0.norm1.bias"] == pytest.approx(2.5e-4, rel=1e-3)
    assert moved["model.cls_token"] == pytest.approx(1.25e-4, rel=1e-3)


def test_what_cannot_be_grouped_is_refused() -> None:
    resnet = clip({"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8})
    with pytest.raises(ParameterError, match="Transformer blocks, for a layer-wise learning rate, got Mod"):
        layer_groups(picture_tower(resnet), learning_rate=1, weight_decay=0, layer_decay=0.9)
    with pytest.raises(ParameterError, match="one with weights that learn, got none"):
        layer_groups(scratch().requires_grad_(False), learning_rate=1, weight_decay=0)
    for decay in (0, 1.1, float("nan")):
        with pytest.raises(ParameterError, match="layer_decay must be above 0 and at most 1"):
            layer_groups(scratch(), learning_rate=1, weight_decay=0, layer_decay=decay)
    with pytest.raises(ParameterError, match="learning_rate must be positive"):
        layer_groups(scratch(), learning_rate=0, weight_decay=0)
    with pytest.raises(ParameterError, match="weight_decay must be 0 or more"):
        layer_groups(scratch(), learning_rate=1, weight_decay=-0.1)
