"""Stochastic depth: what a sample gets, how often, and that checkpointing replays it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from data.errors import ParameterError
from tests.vision.adaptable import scratch
from vision.adapt import depth_rates, dropped, picture_tower


@settings(deadline=None)
@given(
    st.integers(1, 12),
    st.lists(st.integers(1, 3), max_size=3),
    st.floats(0, 0.99),
    st.integers(0, 2**32 - 1),
)
def test_each_sample_passes_by_the_block_or_goes_through_it_enlarged(
    batch: int, further: list[int], rate: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, *further, generator=generator, dtype=torch.double)
    out = torch.randn(batch, *further, generator=generator, dtype=torch.double)
    got = dropped(out, x, rate, generator=generator)
    for sample in range(batch):
        through = x[sample] + (out[sample] - x[sample]) / (1 - rate)
        passed_by = torch.equal(got[sample], x[sample])
        assert passed_by or torch.allclose(got[sample], through, rtol=1e-12, atol=1e-12)


def test_the_rate_is_kept_and_the_mean_is_the_blocks_own() -> None:
    x_B1, out_B1 = torch.zeros(40_000, 1), torch.ones(40_000, 1)
    got_B1 = dropped(out_B1, x_B1, 0.3, generator=torch.Generator().manual_seed(0))
    # Standard errors are 0.0023 and 0.0033.
    assert float((got_B1 == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(got_B1.mean()) == pytest.approx(1, abs=0.014)


def test_outside_training_and_at_rate_0_it_is_the_block() -> None:
    x, out = torch.zeros(4, 2), torch.ones(4, 2)
    assert dropped(out, x, 0.9, training=False) is out
    assert dropped(out, x, 0.0) is out


def test_a_generator_repeats_and_leaves_torchs_own_state_alone() -> None:
    x, out = torch.zeros(64, 1), torch.ones(64, 1)
    before = torch.get_rng_state()
    first, again, other = (
        dropped(out, x, 0.5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_type_stays(dtype: torch.dtype) -> None:
    x = torch.zeros(3, 2, dtype=dtype)
    assert dropped(x + 1, x, 0.5).dtype == dtype


def through_blocks(blocks: nn.Module, tokens_BND: torch.Tensor, *, replay: bool) -> torch.Tensor:
    children = list(blocks.children())
    for block, rate in zip(children, depth_rates(0.6, len(children)), strict=True):

        def step(x_BND: torch.Tensor, block: nn.Module = block, rate: float = rate) -> torch.Tensor:
            return dropped(block(x_BND), x_BND, rate)

        tokens_BND = checkpoint(step, tokens_BND, use_reentrant=False) if replay else step(tokens_BND)
    return tokens_BND


def test_checkpointing_draws_the_same_again() -> None:
    blocks = picture_tower(scratch()).get_submodule("blocks")
    grads = []
    for replay in (False, True):
        tokens_BND = torch.randn(16, 3, 48, generator=torch.Generator().manual_seed(1)).requires_grad_()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            through_blocks(blocks, tokens_BND, replay=replay).square().sum().backward()
        grads.append(tokens_BND.grad)
    torch.testing.assert_close(grads[0], grads[1], atol=1e-6, rtol=1e-6)


def test_rates_rise_linearly_to_the_last() -> None:
    assert depth_rates(0.4, 4) == pytest.approx((0.1, 0.2, 0.3, 0.4))
    assert depth_rates(0.4, 1) == (0.4,)
    assert depth_rates(0, 3) == (0, 0, 0)


def test_what_cannot_be_dropped_is_refused() -> None:
    x = torch.zeros(2, 3)
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ParameterError, match="drop path rate must be 0 or more and below 1"):
            dropped(x, x, rate)
        with pytest.raises(ParameterError, match="drop path rate"):
            depth_rates(rate, 2)
    with pytest.raises(ParameterError, match="of its input's shape"):
        dropped(torch.zeros(2, 4), x, 0.5)
    with pytest.raises(ParameterError, match="depth must be one block or more"):
        depth_rates(0.1, 0)
