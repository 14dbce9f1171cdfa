"""FLOP of training against formulas, and the size of models without embeddings."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from data.errors import ParameterError
from neuro.scaling.flops import forward_flops, training_flops
from neuro.scaling.parameters import encoder_params

WIDTH, DEPTH, TOKENS, PATCH = 64, 3, 50, 3 * 16 * 16


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=112, embed_dim=WIDTH, depth=DEPTH, num_heads=2, num_classes=0
    ).eval()


def pixels(count: int = 2) -> torch.Tensor:
    return torch.zeros(count, 3, 112, 112)


def test_six_n_t_holds_with_attention_and_patches_added(vit: nn.Module) -> None:
    """6 N T (Kaplan et al. 2020, arXiv 2001.08361) is of weights alone; the rest has formulas of its own."""
    found = training_flops(lambda: vit(pixels()), times=10)
    tokens = 2 * 10 * TOKENS
    weights = 6 * 12 * WIDTH**2 * DEPTH * tokens
    attention = 3 * 4 * TOKENS * WIDTH * DEPTH * tokens
    patches = 6 * PATCH * WIDTH * (tokens - 20)
    assert found == weights + attention + patches
    assert weights == pytest.approx(6 * encoder_params(vit) * tokens, rel=0.02)  # biases and norms
    # By itself the rule misses what so small a model spends on attention and patches: two fifths.
    assert 1 < found / weights < 1.5


def test_six_n_t_alone_is_close_for_a_wider_model() -> None:
    wide = timm.create_model("vit_small_patch16_224", depth=2, num_classes=0).eval()
    found = training_flops(lambda: wide(torch.zeros(1, 3, 224, 224)), times=1)
    assert found == pytest.approx(6 * encoder_params(wide) * 197, rel=0.2)


def test_every_kind_of_attention_is_counted_alike(vit: nn.Module) -> None:
    """torch's counter takes the CPU's fused attention as free."""
    with sdpa_kernel(SDPBackend.MATH):
        spelled_out = forward_flops(lambda: vit(pixels()))
    assert forward_flops(lambda: vit(pixels())) == spelled_out


@pytest.mark.parametrize("masked", [False, True])
def test_attention_costs_two_products_of_matrices(masked: bool) -> None:
    q, k, v = (torch.rand(2, 3, n, 8) for n in (5, 7, 7))
    mask = torch.ones(5, 7, dtype=torch.bool) if masked else None
    found = forward_flops(lambda: nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    assert found == 2 * 3 * 2 * (5 * 7 * 8 + 5 * 7 * 8)


def test_a_linear_layer_costs_two_a_weight_and_the_call_is_made_once() -> None:
    layer, calls = nn.Linear(8, 4, bias=False), []

    def forward() -> torch.Tensor:
        calls.append(torch.is_grad_enabled())
        return layer(torch.zeros(5, 8))

    assert training_flops(forward, times=2.5) == 3 * 2.5 * 2 * 5 * 8 * 4
    assert calls == [False]


def test_backward_costs_twice_the_forward_but_for_the_pixels(vit: nn.Module) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        vit(pixels()).sum().backward()
    no_gradient = 2 * PATCH * WIDTH * 2 * (TOKENS - 1)
    assert counter.get_total_flops() == training_flops(lambda: vit(pixels()), times=1) - no_gradient


def test_what_costs_nothing_or_happens_never_is_refused(vit: nn.Module) -> None:
    with pytest.raises(ParameterError, match="forward pass"):
        forward_flops(lambda: torch.zeros(3) + 1)
    for times in (0, -1, float("nan")):
        with pytest.raises(ParameterError, match="times"):
            training_flops(lambda: vit(pixels()), times=times)


def test_params_are_those_of_blocks_and_norm(vit: nn.Module) -> None:
    block = 2 * 2 * WIDTH + WIDTH * 3 * WIDTH + 3 * WIDTH + WIDTH * WIDTH + WIDTH
    block += WIDTH * 4 * WIDTH + 4 * WIDTH + 4 * WIDTH * WIDTH + WIDTH
    assert encoder_params(vit) == DEPTH * block + 2 * WIDTH


def test_a_model_of_embeddings_alone_is_refused() -> None:
    with pytest.raises(ParameterError, match="Transformer with blocks"):
        encoder_params(nn.Module())
