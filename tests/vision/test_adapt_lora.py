"""LoRA on every kind of block, and on models that hold a backbone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from data.errors import ParameterError
from tests.vision.adaptable import MODELS, VISION, Brain, clip, disturb, scratch
from vision.adapt import LoraOptions, add_lora, merge_lora, picture_tower


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


@pytest.mark.parametrize("name", MODELS)
def test_the_blocks_inside_a_larger_model_learn_beside_its_own_head(name: str) -> None:
    brain = Brain(MODELS[name]()).eval()
    patches_BNV = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def logits() -> torch.Tensor:
        # torch takes other kernels where gradients flow, equal to rounding only.
        logits_B2: torch.Tensor = brain(patches_BNV)
        return logits_B2

    before_B2 = logits()
    names = set(brain.state_dict())
    own = {id(p) for part in (brain.head, brain.embed_signal) for p in part.parameters()}
    updates = add_lora(picture_tower(brain.backbone), LoraOptions(rank=2), seed=2)
    learning = {id(p) for p in brain.parameters() if p.requires_grad}
    assert learning >= own | {id(p) for p in updates}
    torch.testing.assert_close(logits(), before_B2, atol=0, rtol=0)
    brain(patches_BNV).square().sum().backward()
    assert all(update.grad is not None for update in updates)
    disturb(updates)
    changed_B2 = logits()
    assert (changed_B2 - before_B2).abs().max() > 1e-3
    merge_lora(brain)
    assert set(brain.state_dict()) == names
    torch.testing.assert_close(logits(), changed_B2, atol=0, rtol=0)


def test_a_whole_brain_model_gets_updates_in_its_blocks_and_none_in_its_head() -> None:
    brain = Brain(scratch())
    updates = add_lora(brain, LoraOptions(rank=2))
    # Two blocks of four weights, and the joint weight and the way out of its own attention.
    assert len(updates) == 2 * (2 * 4 + 2)
    assert not any("parametrizations" in name for name, _ in brain.head.named_parameters())
    merge_lora(brain)
    assert not any("parametrizations" in name for name in brain.state_dict())


def test_a_row_of_blocks_alone_can_be_adapted() -> None:
    backbone = scratch()
    blocks = picture_tower(backbone).get_submodule("blocks")
    assert len(add_lora(blocks)) == 2 * 4 * 2
    assert backbone.patch_kernel[0].requires_grad


def test_a_head_is_no_block() -> None:
    with pytest.raises(ParameterError, match="Transformer blocks, for LoRA, got Sequential"):
        add_lora(nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2)))
