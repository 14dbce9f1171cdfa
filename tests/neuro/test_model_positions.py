"""Sine-cosine codes: a loop, smoothness, unknown places, and one place by several grids and clocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ParameterError
from neuro.model.positions import position_codes
from neuro.tokens import RunTokens, TubeletSpec, collate, cubes

from .made_runs import affine_of, made_run

NAN = float("nan")


def codes_of(*place: float, dim: int = 64) -> torch.Tensor:
    return position_codes(torch.tensor([[place]]), dim)[0, 0]


@pytest.mark.parametrize("dim", [8, 15, 16, 26, 64])
def test_codes_against_a_loop(dim: int) -> None:
    place, count = [12.0, -40.0, 7.0, 9.0], dim // 8
    bands = [(20, 400)] * 3 + [(4, 1200)]
    waves = [[math.sqrt(a * b)] if count == 1 else np.geomspace(a, b, count) for a, b in bands]
    phases = [2 * math.pi * p / w for p, ws in zip(place, waves, strict=True) for w in ws]
    expected = [math.sin(x) for x in phases] + [math.cos(x) for x in phases] + [0.0] * (dim - 8 * count)
    torch.testing.assert_close(codes_of(*place, dim=dim), torch.tensor(expected), atol=1e-5, rtol=0)


def test_codes_depend_on_the_place_alone_and_not_on_the_number() -> None:
    places = torch.randn(2, 9, 4) * 50
    order = torch.randperm(9)
    assert torch.equal(position_codes(places, 64)[:, order], position_codes(places[:, order], 64))


@settings(max_examples=50, deadline=None)
@given(
    place=st.tuples(*[st.floats(-100, 100)] * 3, st.floats(0, 600)),
    step=st.tuples(*[st.floats(-1, 1)] * 4),
)
def test_codes_vary_smoothly(place: tuple[float, ...], step: tuple[float, ...]) -> None:
    """No component changes by more than its slope allows: 2 pi over the shortest wavelength of its axis."""
    there = [p + s for p, s in zip(place, step, strict=True)]
    change = (codes_of(*there) - codes_of(*place)).abs().reshape(2, 4, 8).amax(dim=(0, 2))
    bound = torch.tensor([abs(s) * 2 * math.pi / w for s, w in zip(step, (20, 20, 20, 4), strict=True)])
    assert (change <= bound + 1e-3).all()


def test_places_of_a_brain_have_codes_of_their_own() -> None:
    axes = [torch.arange(-64.0, 65, 16)] * 3 + [torch.arange(0.0, 60, 8)]
    codes = position_codes(torch.cartesian_prod(*axes)[None], 64)[0]
    distances = torch.cdist(codes[::7], codes)
    distances[torch.arange(len(distances)), torch.arange(0, len(codes), 7)] = 9
    assert distances.min() > 0.1


@pytest.mark.parametrize("axes", [(0,), (0, 1, 2), (3,), (0, 1, 2, 3)])
def test_an_unknown_axis_has_zeros_and_the_others_their_codes(axes: tuple[int, ...]) -> None:
    place = [12.0, -40.0, 7.0, 9.0]
    expected = codes_of(*place, dim=66)
    expected[:64].reshape(2, 4, 8)[:, list(axes)] = 0
    unknown = codes_of(*(NAN if axis in axes else p for axis, p in enumerate(place)), dim=66)
    assert torch.equal(unknown, expected)


def test_half_precision_keeps_the_codes() -> None:
    """Places in half precision would be wrong by metres in the angle; the codes are made in float32."""
    assert codes_of(0, 0, 0, 0).dtype == torch.float32
    place = torch.tensor([[[16.0, -64.0, 32.0, 512.0]]])  # exact in bfloat16
    assert torch.equal(position_codes(place.bfloat16(), 64), position_codes(place, 64))


def test_a_width_without_room_is_refused() -> None:
    with pytest.raises(ParameterError, match="width of the tokens must be 8 or more"):
        codes_of(0, 0, 0, 0, dim=7)


# The same brain by other scanners


def cut(voxel: int, field: int, frames: int, tr: float, window_s: float) -> RunTokens:
    """A brain that fills 16 mm to 48 mm of each axis, on a grid of `field` mm; cubes of 8 mm from 0 on."""
    mask = np.zeros([field // voxel] * 3, dtype=bool)
    mask[(slice(16 // voxel, 48 // voxel),) * 3] = True
    affine = affine_of((voxel,) * 3, (voxel / 2,) * 3)  # the corner of the grid lies at 0 mm
    run = made_run(mask, frames=frames, affine=affine, tr=tr)
    return cubes(run, TubeletSpec(patch_mm=8, frames=frames, window=round(window_s / tr)))


@pytest.mark.parametrize(
    "other",
    [
        {"voxel": 2},
        {"field": 96},
        {"tr": 1.0, "frames": 24},
        {"tr": 0.5, "frames": 48, "voxel": 2, "field": 80},
    ],
    ids=["voxel size", "field of view", "repetition time", "all of them"],
)
def test_another_scanner_gives_the_same_codes(other: dict[str, float]) -> None:
    usual = {"voxel": 4, "field": 64, "frames": 12, "tr": 2.0, "window_s": 8.0}
    first, second = (collate(cut(**made).clips()) for made in (usual, usual | other))
    assert first.mask_BN.shape == (1, 3 * 64)
    torch.testing.assert_close(
        position_codes(second.positions_BN4, 64), position_codes(first.positions_BN4, 64), atol=1e-5, rtol=0
    )


def test_a_longer_clip_only_adds_codes() -> None:
    short, long = (
        collate(cut(4, 64, frames, 2.0, 8.0).clips()).positions_BN4.reshape(frames // 4, 64, 4)
        for frames in (12, 20)
    )
    assert torch.equal(position_codes(long, 64)[:3], position_codes(short, 64))
