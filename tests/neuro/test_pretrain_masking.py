"""Masks: real places alone, equal counts, each clip's own chance, blocks; against a loop over places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ParameterError
from neuro.pretrain.masking import MaskConfig, draw_mask
from neuro.tokens import TokenBatch

from .made_batches import made_batch


def rngs(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, b]) for b in range(count)]


@settings(max_examples=60, deadline=None)
@given(
    places=st.integers(3, 40),
    hidden=st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)),
    ratio=st.floats(0.01, 0.99),
    block_mm=st.none() | st.floats(1, 200),
    seed=st.integers(0, 99),
)
def test_places_are_dealt_out(
    places: int, hidden: tuple[int, ...], ratio: float, block_mm: float | None, seed: int
) -> None:
    """Every real place is seen or hidden, once; padding is neither; all clips show equally many."""
    padding = tuple(min(count, places - 2) for count in hidden)
    batch = made_batch(clips=3, places=places, hidden=padding, seed=seed)
    config = MaskConfig(ratio=ratio, block_mm=block_mm)
    visible = config.visible(places - max(padding))
    mask = draw_mask(batch, config, visible=visible, rngs=rngs(3, seed))
    assert mask.visible_BK.shape == (3, visible)
    for b in range(3):
        seen = mask.visible_BK[b].tolist()
        guessed = mask.hidden_BH[b][mask.real_BH[b]].tolist()
        assert sorted(seen + guessed) == list(range(places - padding[b]))
        assert seen == sorted(seen)
        assert guessed == sorted(guessed)


def test_the_share_is_that_asked_for() -> None:
    assert MaskConfig(ratio=0.75).visible(100) == 25
    assert MaskConfig(ratio=0.9).visible(669) == 67
    assert MaskConfig(ratio=0.99).visible(5) == 1  # something is seen
    assert MaskConfig(ratio=0.01).visible(5) == 4  # something is hidden
    batch = made_batch(clips=2, places=100)
    drawn = [draw_mask(batch, MaskConfig(), visible=25, rngs=rngs(2, seed)) for seed in range(200)]
    often = torch.bincount(torch.cat([mask.visible_BK.flatten() for mask in drawn]), minlength=100)
    assert often.min() > 60  # 400 clips at 0.25: 100 expected, 9 the standard deviation
    assert often.max() < 140


def test_a_mask_is_its_own_clips() -> None:
    """Neither the other clips of a batch nor their padding decide it."""
    batch = made_batch(clips=3, places=20, hidden=(0, 5, 0))
    whole = draw_mask(batch, MaskConfig(), visible=4, rngs=rngs(3))
    alone = draw_mask(batch.rows(1, 2), MaskConfig(), visible=4, rngs=rngs(3)[1:2])
    torch.testing.assert_close(alone.visible_BK[0], whole.visible_BK[1])
    other = draw_mask(batch, MaskConfig(), visible=4, rngs=rngs(3, seed=1))
    assert not torch.equal(other.visible_BK, whole.visible_BK)


def slow_blocks(centres: np.ndarray, radius: float, count: int, rng: np.random.Generator) -> set[int]:
    """Place by place."""
    hidden: list[int] = []
    for middle in rng.permutation(len(centres)):
        if len(hidden) == count:
            break
        if middle in hidden:
            continue
        near = []
        for place in range(len(centres)):
            distance = float(np.sqrt(((centres[place] - centres[middle]) ** 2).sum()))
            if place not in hidden and distance <= radius:
                near.append((distance, place))
        hidden += [place for _, place in sorted(near)][: count - len(hidden)]
    return set(hidden)


@pytest.mark.parametrize("diameter", [10.0, 40.0, 90.0])
@pytest.mark.parametrize("seed", range(4))
def test_blocks_against_a_loop(diameter: float, seed: int) -> None:
    batch = made_batch(clips=1, places=60, seed=seed)
    config = MaskConfig(ratio=0.6, block_mm=diameter)
    mask = draw_mask(batch, config, visible=24, rngs=[np.random.default_rng(seed)])
    centres = batch.positions_BN4[0, :60, :3].double().numpy()
    expected = slow_blocks(centres, diameter / 2, 36, np.random.default_rng(seed))
    assert set(mask.hidden_BH[0].tolist()) == expected


def test_blocks_leave_fewer_neighbours() -> None:
    """On a grid of 10 mm, a hidden place has fewer visible neighbours in blocks than alone."""
    axes = np.meshgrid(*[np.arange(8) * 10.0] * 3, indexing="ij")
    centres = torch.tensor(np.stack(axes, -1).reshape(1, -1, 3), dtype=torch.float32)
    batch = made_batch(clips=1, windows=1, places=512)
    batch = replace(batch, positions_BN4=torch.cat([centres, torch.zeros(1, 512, 1)], dim=-1))

    def neighbours(block_mm: float | None) -> float:
        config = MaskConfig(ratio=0.5, block_mm=block_mm)
        mask = draw_mask(batch, config, visible=256, rngs=rngs(1))
        far = torch.cdist(centres[0, mask.hidden_BH[0]], centres[0, mask.visible_BK[0]])
        return float((far < 10.5).sum(1).float().mean())

    assert neighbours(50.0) < 0.6 * neighbours(None)


def _unplaced() -> TokenBatch:
    batch = made_batch()
    return replace(batch, positions_BN4=torch.full_like(batch.positions_BN4, float("nan")))


def test_what_cannot_be_masked_is_refused() -> None:
    for ratio in (0.0, 1.0, float("nan")):
        with pytest.raises(ParameterError, match="mask ratio must be over 0 and below 1"):
            MaskConfig(ratio=ratio)
    with pytest.raises(ParameterError, match="block_mm must be positive"):
        MaskConfig(block_mm=0)
    with pytest.raises(ParameterError, match="two or more, got 1"):
        MaskConfig().visible(1)
    with pytest.raises(ParameterError, match="more than the 5 that are to be seen"):
        draw_mask(made_batch(places=5), MaskConfig(), visible=5, rngs=rngs(2))
    with pytest.raises(ParameterError, match="places known in mm"):
        draw_mask(_unplaced(), MaskConfig(block_mm=30), visible=2, rngs=rngs(2))
    draw_mask(_unplaced(), MaskConfig(), visible=2, rngs=rngs(2))
