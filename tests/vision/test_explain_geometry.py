"""Where a map lies on its picture: whatever the picture's size, and however the model crops or pads it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vision.backbones import Preprocess
from vision.backbones.preprocess import RESIZE_MODES
from vision.explain import Explanation

SIDES = st.integers(20, 120)


def explanation(map_RC: np.ndarray, box: tuple[float, float, float, float]) -> Explanation:
    return Explanation(map_RC=map_RC.astype(np.float32), box=box, score=0.5, method="made up")


@given(
    SIDES, SIDES, st.sampled_from(RESIZE_MODES), st.sampled_from([(32, 32), (40, 32), (36, 36)]), st.data()
)
@settings(max_examples=150, deadline=None)
def test_a_bright_patch_is_found_where_it_is(
    height: int, width: int, mode: str, box: tuple[int, int], data: st.DataObject
) -> None:
    """Planted in the picture, looked up in the model's pixels, and led back to the picture."""
    preprocess = Preprocess(size=(32, 32), resize_to=box, resize_mode=mode, interpolation="bilinear")
    left, top, right, bottom = preprocess.seen_box(height, width)
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    across, down = (column + 0.5) / width, (row + 0.5) / height
    assume(left < across < right and top < down < bottom)
    picture_HWC = np.zeros((height, width, 3), np.uint8)
    size_y, size_x = max(1, height // 12), max(1, width // 12)
    picture_HWC[max(0, row - size_y) : row + size_y + 1, max(0, column - size_x) : column + size_x + 1] = 255
    lit_HW = preprocess.pixels(picture_HWC)[0].astype(np.float32)
    assume(lit_HW.max() > 0)
    found = explanation(lit_HW / 255, (left, top, right, bottom)).on_picture(height, width)
    y, x = np.unravel_index(np.nanargmax(found), found.shape)
    # Within the patch, and a pixel of the model more.
    assert abs(y - row) <= size_y + 1.5 * max(1, height / 32 * max(1, bottom - top))
    assert abs(x - column) <= size_x + 1.5 * max(1, width / 32 * max(1, right - left))


@given(SIDES, SIDES, st.sampled_from(RESIZE_MODES), st.integers(28, 44))
@settings(max_examples=150, deadline=None)
def test_the_box_is_what_reaches_the_model(height: int, width: int, mode: str, resized: int) -> None:
    """Pixels of the model that are padding are those that lie outside of the picture, to one pixel."""
    preprocess = Preprocess(
        size=(32, 36), resize_to=(resized, resized), resize_mode=mode, interpolation="nearest", fill=(9, 9, 9)
    )
    pixels_CHW = preprocess.pixels(np.full((height, width, 3), 200, np.uint8))
    left, top, right, bottom = preprocess.seen_box(height, width)
    for start, end, lit in (
        (top, bottom, (pixels_CHW[0] == 200).any(axis=1)),
        (left, right, (pixels_CHW[0] == 200).any(axis=0)),
    ):
        middles = start + (np.arange(len(lit)) + 0.5) / len(lit) * (end - start)
        assert np.array_equal((middles > 0) & (middles < 1), lit)


def test_where_the_ways_of_resizing_look() -> None:
    def box(mode: str, resize_to: int = 32) -> tuple[float, ...]:
        preprocess = Preprocess(size=(32, 32), resize_to=(resize_to, resize_to), resize_mode=mode)
        return preprocess.seen_box(60, 120)

    assert box("squash") == (0, 0, 1, 1)
    assert box("shortest") == (0.25, 0, 0.75, 1)
    assert box("longest") == (0, -0.5, 1, 1.5)
    assert box("shortest", 64) == (0.375, 0.25, 0.625, 0.75)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_heat_on_the_picture(rows: int, columns: int, height: int, width: int, seed: int) -> None:
    map_RC = np.random.default_rng(seed).random((rows, columns))
    whole = explanation(map_RC, (0, 0, 1, 1)).on_picture(height, width)
    assert (whole.shape, whole.dtype) == ((height, width), np.float32)
    assert np.isfinite(whole).all()
    assert whole.min() >= 0
    assert whole.max() <= 1
    exact = explanation(map_RC, (0, 0, 1, 1)).on_picture(rows, columns)
    np.testing.assert_allclose(exact, map_RC, atol=1e-6)
    flat = explanation(np.full((rows, columns), 0.25), (0, 0, 1, 1)).on_picture(height, width)
    np.testing.assert_allclose(flat, 0.25, atol=1e-6)


def test_what_the_model_did_not_see_is_nan() -> None:
    heat_HW = explanation(np.ones((2, 2)), (0.25, 0.0, 0.75, 1.0)).on_picture(10, 8)
    assert np.isnan(heat_HW[:, [0, 1, 6, 7]]).all()
    assert (heat_HW[:, 2:6] == 1).all()
    padded_HW = explanation(np.eye(2), (-0.5, -0.5, 1.5, 1.5)).on_picture(10, 10)
    assert np.isfinite(padded_HW).all()


def test_the_strongest_place() -> None:
    map_RC = np.zeros((4, 4))
    assert explanation(map_RC, (0, 0, 1, 1)).strongest is None
    map_RC[0, 3] = 1
    assert explanation(map_RC, (0.25, 0, 0.75, 1)).strongest == (0.6875, 0.125)


@pytest.mark.parametrize("base", [10, 245])
def test_the_overlay_lights_up_where_the_heat_is(base: int) -> None:
    """On dark and light pictures alike; what was not seen is grey; nothing is larger than asked for."""
    picture_HWC = np.full((120, 200, 3), (base, base // 2, base), np.uint8)
    map_RC = np.zeros((4, 4))
    map_RC[1, 2] = 1
    page = explanation(map_RC, (0.2, 0, 0.8, 1)).overlay(picture_HWC)
    assert (page.size, page.mode) == ((200, 120), "RGB")
    shown_HWC = np.asarray(page).astype(int)
    hot, cold, unseen = shown_HWC[45, 115], shown_HWC[110, 50], shown_HWC[60, 10]
    assert hot[0] - cold[0] > 60 or hot[2] - cold[2] < -60
    assert hot[0] - hot[2] > 60  # warm
    assert unseen.max() - unseen.min() == 0
    small = explanation(map_RC, (0.2, 0, 0.8, 1)).overlay(picture_HWC, max_side=50)
    assert small.size == (50, 30)
    assert explanation(np.zeros((4, 4)), (0, 0, 1, 1)).overlay(picture_HWC).size == (200, 120)
