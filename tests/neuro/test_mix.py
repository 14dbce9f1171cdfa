"""Mixed token batches against a slow twin: the same places are blended, whatever their numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ParameterError
from neuro.tokens import ParcelSpec, TokenBatch, TubeletSpec, collate, cubes, parcel_tokens_of_array
from neuro.training.mix import mixed

from .made_runs import affine_of, made_run

SPEC = TubeletSpec(patch_mm=8, frames=4, window=2)
# A cube's centre lies at (0, 0, 0) mm, where the places of padding lie, too.
ORIGIN = affine_of((4, 4, 4), (-10, -10, -10))


def batch_of(seeds: list[int], density: float = 0.12, affine: np.ndarray = ORIGIN) -> TokenBatch:
    clips = []
    for seed in seeds:
        mask = np.random.default_rng(seed).random((8, 8, 8)) < density
        mask[2:4, 2:4, 2:4] |= seed % 2 == 0  # the cube about (0, 0, 0), in every other run
        mask[0, 0, 0] = True
        clips.append(cubes(made_run(mask, seed=seed, affine=affine), SPEC).clip(1))
    return collate(clips)


def slow_mixed(batch: TokenBatch, partner: list[int], share: float) -> tuple[np.ndarray, np.ndarray]:
    signal, amplitude, positions, mask = (
        x.numpy() for x in (batch.signal_BNV, batch.amplitude_BSP, batch.positions_BN4, batch.mask_BN)
    )
    mixed_signal, mixed_amplitude, places = signal.copy(), amplitude.copy(), batch.places
    for b, p in enumerate(partner):
        for s in range(places):
            near = np.abs(positions[p, :places, :3] - positions[b, s, :3]).max(1) < 0.01
            same = np.flatnonzero((np.arange(places) == s if batch.numbered else near) & mask[p, :places])
            found = len(same) == 1 and mask[b, s]
            assert len(same) <= 1
            for w in range(batch.windows):
                other = signal[p, w * places + same[0]] if found else 0
                n = w * places + s
                mixed_signal[b, n] = share * signal[b, n] + (1 - share) * other
            other = amplitude[p, same[0]] if found else 0
            mixed_amplitude[b, s] = share * amplitude[b, s] + (1 - share) * other
    return mixed_signal, mixed_amplitude


def assert_as_slow(batch: TokenBatch, partner: list[int], share: float) -> None:
    found = mixed(batch, torch.tensor(partner), share)
    signal, amplitude = slow_mixed(batch, partner, share)
    np.testing.assert_allclose(found.signal_BNV, signal, atol=1e-6)
    np.testing.assert_allclose(found.amplitude_BSP, amplitude, atol=1e-6)
    np.testing.assert_array_equal(found.positions_BN4, batch.positions_BN4)
    np.testing.assert_array_equal(found.mask_BN, batch.mask_BN)


@settings(max_examples=15, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 50), min_size=2, max_size=4),
    share=st.floats(0, 1),
    density=st.sampled_from([0.01, 0.05, 0.2]),
    data=st.data(),
)
def test_cubes_are_mixed_as_the_slow_twin_does(
    seeds: list[int], share: float, density: float, data: st.DataObject
) -> None:
    partner = data.draw(st.permutations(range(len(seeds))))
    assert_as_slow(batch_of(seeds, density), list(partner), share)


def test_padding_at_the_origin_is_no_place() -> None:
    batch = batch_of([0, 1, 3], density=0.02)
    at_origin = (batch.positions_BN4[..., :3] == 0).all(-1)
    assert (at_origin & batch.mask_BN)[0].any()
    assert (at_origin & ~batch.mask_BN).any()
    assert not (at_origin & batch.mask_BN)[1:].any()
    assert_as_slow(batch, [1, 2, 0], 0.25)
    assert_as_slow(batch, [2, 0, 1], 0.25)


def test_a_whole_share_changes_nothing_and_none_gives_the_partner() -> None:
    batch = batch_of([2, 2, 4])
    torch.testing.assert_close(mixed(batch, torch.tensor([2, 0, 1]), 1.0).signal_BNV, batch.signal_BNV)
    gone = mixed(batch, torch.tensor([1, 0, 2]), 0.0)
    torch.testing.assert_close(gone.signal_BNV, batch.signal_BNV)  # equal runs, and itself


def test_regions_are_mixed_by_number() -> None:
    rng = np.random.default_rng(0)
    spec = ParcelSpec(atlas="a", frames=6, window=3)
    clips = [parcel_tokens_of_array(rng.standard_normal((9, 4)), spec).clip(n) for n in range(3)]
    batch = collate(clips)
    assert torch.isnan(batch.positions_BN4[..., :3]).all()
    assert_as_slow(batch, [1, 2, 0], 0.3)
    moved = replace(batch, positions_BN4=torch.rand_like(batch.positions_BN4))  # slices of other brains
    torch.testing.assert_close(
        mixed(moved, torch.tensor([1, 2, 0]), 0.3).signal_BNV,
        mixed(batch, torch.tensor([1, 2, 0]), 0.3).signal_BNV,
    )


def test_gradients_flow_to_both() -> None:
    batch = batch_of([2, 4])
    signal = batch.signal_BNV.clone().requires_grad_()
    mixed(replace(batch, signal_BNV=signal), torch.tensor([1, 0]), 0.25).signal_BNV.sum().backward()
    assert signal.grad is not None
    shared = signal.grad[batch.mask_BN]
    assert set(shared.unique().tolist()) == {0.25, 1.0}  # alone in its clip; or also the partner's


def test_what_cannot_be_mixed_is_refused() -> None:
    batch = batch_of([2, 4])
    with pytest.raises(ParameterError, match="one for each clip"):
        mixed(batch, torch.tensor([1]), 0.5)
    with pytest.raises(ParameterError, match="share must be from 0 to 1"):
        mixed(batch, torch.tensor([1, 0]), 1.5)
    mask = np.ones((4, 4, 4), bool)
    clips = [cubes(made_run(mask, affine=affine_of(origin_mm=(x, 0, 0))), SPEC).clip(0) for x in (0.0, 3.0)]
    with pytest.raises(ParameterError, match="no place in common"):
        mixed(collate(clips), torch.tensor([1, 0]), 0.5)
