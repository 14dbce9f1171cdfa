"""Resampling to a grid in mm, with nilearn's resample_img as the slow independent twin."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.image import resample_img, smooth_img
from scipy.ndimage import gaussian_filter

from data.cleaning.operator import smoothed
from data.cleaning.resample import FWHM, Grid, grid_in_mm, resampled_frames, resampled_mask
from data.errors import ParameterError
from data.scans.nifti import same_grid

TURN = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])


def affine(matrix_33, origin=(0.0, 0.0, 0.0)):
    full = np.eye(4)
    full[:3, :3], full[:3, 3] = matrix_33, origin
    return full


SOURCES = {
    "straight": Grid(shape=(12, 13, 11), affine=affine(np.diag([2.0, 2, 2]), (-11, -13.4, -9.3))),
    "left-handed": Grid(shape=(12, 13, 11), affine=affine(np.diag([-2.0, 2, 2]), (11, -13, -9))),
    "oblique": Grid(shape=(12, 13, 11), affine=affine(TURN @ np.diag([2.0, 2.5, 3]), (-9, -14, -12))),
    "turned axes": Grid(
        shape=(12, 13, 11), affine=affine(np.array([[0, 0, 3.0], [2, 0, 0], [0, -2, 0]]), (-15, -12, 13))
    ),
}


def blocks(data_XYZT, size=2):
    for start in range(0, data_XYZT.shape[3], size):
        yield start, data_XYZT[..., start : start + size]


def whole(frames):
    parts = list(frames)
    assert [start for start, _ in parts] == list(
        itertools.accumulate((part.shape[3] for _, part in parts[:-1]), initial=0)
    )
    return np.concatenate([part for _, part in parts], axis=3)


def places_mm(grid):
    """Centres of all voxels (X, Y, Z, 3)."""
    return np.moveaxis(np.indices(grid.shape), 0, -1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def hull(source, target):
    """Target voxels between the centres of source voxels, where no way of meeting the edge matters."""
    back = np.linalg.inv(source.affine)
    at = places_mm(target) @ back[:3, :3].T + back[:3, 3]
    return ((at >= 0) & (at <= np.array(source.shape) - 1)).all(axis=-1)


@pytest.mark.parametrize("name", SOURCES)
def test_frames_equal_nilearns_linear_interpolation(rng, name):
    source = SOURCES[name]
    target = grid_in_mm(source, 1.5)
    data_XYZT = rng.standard_normal((*source.shape, 5)).astype(np.float32)
    found = whole(resampled_frames(blocks(data_XYZT), source, target))
    assert found.dtype == np.float32
    wanted = resample_img(
        nib.Nifti1Image(data_XYZT, source.affine),
        target_affine=target.affine,
        target_shape=target.shape,
        interpolation="linear",
    ).get_fdata()
    inner = hull(source, target)
    assert inner.mean() > 0.3
    np.testing.assert_allclose(found[inner], wanted[inner], atol=2e-5)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("voxel_mm", [1.7, 4.0, 6.0])
def test_a_slope_in_mm_stays_that_slope(name, voxel_mm):
    """Whatever the affine: values stand where they stood in the room, finer or coarser."""
    source = SOURCES[name]
    target = grid_in_mm(source, voxel_mm)
    slope = np.array([1.0, -2.0, 0.5])
    volume_XYZ1 = (places_mm(source) @ slope).astype(np.float32)[..., None]
    found = whole(resampled_frames(blocks(volume_XYZ1), source, target))[..., 0]
    back = np.linalg.inv(source.affine)
    at = places_mm(target) @ back[:3, :3].T + back[:3, 3]
    reach = 1.3 * voxel_mm / source.voxel_mm  # of the blur
    inner = ((at >= reach) & (at <= np.array(source.shape) - 1 - reach)).all(axis=-1)
    assert inner.any()
    np.testing.assert_allclose(found[inner], (places_mm(target) @ slope)[inner], atol=0.05)


def test_going_coarser_is_a_blur_to_the_new_voxel_and_then_nilearn(rng):
    """Cardoso et al. 2015: blurs add up in squares, so 2 mm voxels need sqrt(5^2 - 2^2) mm for 5."""
    source = Grid(shape=(24, 22, 20), affine=affine(np.diag([2.0, 2, 2]), (-23, -21, -19)))
    target = grid_in_mm(source, 5.0)
    volume_XYZ = rng.standard_normal(source.shape).astype(np.float32)
    blurred = gaussian_filter(volume_XYZ, np.sqrt(25 - 4) / FWHM / 2, mode="nearest")
    wanted = resample_img(
        nib.Nifti1Image(blurred, source.affine),
        target_affine=target.affine,
        target_shape=target.shape,
        interpolation="linear",
    ).get_fdata()
    found = whole(resampled_frames(blocks(volume_XYZ[..., None]), source, target))[..., 0]
    inner = hull(source, target)
    np.testing.assert_allclose(found[inner], wanted[inner], atol=2e-5)


def test_stripes_too_fine_for_the_new_grid_do_not_become_coarse_ones():
    """2 mm stripes read at every third voxel would be stripes again; blurred before, they are their mean."""
    source = Grid(shape=(40, 8, 8), affine=affine(np.diag([2.0, 2, 2]), (-40, -8, -8)))
    stripes = np.ones((*source.shape, 1), np.float32)
    stripes[1::2] = -1
    target = grid_in_mm(source, 6.0)
    found = whole(resampled_frames(blocks(stripes), source, target))[..., 0]
    assert np.abs(found[2:-2]).max() < 0.1


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*[st.integers(3, 14)] * 3),
    edges=st.tuples(*[st.floats(1, 4)] * 3),
    origin=st.tuples(*[st.floats(-50, 50)] * 3),
    angle=st.floats(-0.6, 0.6),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    voxel_mm=st.floats(0.8, 3.0),
)
def test_grids_hold_the_field_of_view_on_one_lattice(shape, edges, origin, angle, flips, voxel_mm):
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    source = Grid(shape=shape, affine=affine(turn @ np.diag(np.array(edges) * flips), origin))
    target = grid_in_mm(source, voxel_mm)
    np.testing.assert_array_equal(target.affine[:3, :3], np.eye(3) * voxel_mm)
    steps = target.affine[:3, 3] / voxel_mm
    np.testing.assert_allclose(steps, steps.round(), atol=1e-9)
    # Every source voxel's centre lies in some target voxel.
    back = np.linalg.inv(target.affine)
    at = places_mm(source) @ back[:3, :3].T + back[:3, 3]
    assert (at > -1 - 1e-6).all()
    assert (at < np.array(target.shape) + 1e-6).all()


def test_all_runs_of_a_template_space_come_onto_one_grid():
    """Their fields of view differ; 2 mm give fMRIPrep's own grid of MNI152NLin2009cAsym."""
    fmriprep = Grid(shape=(97, 115, 97), affine=affine(np.diag([2.0, 2, 2]), (-96, -132, -78)))
    fsl = Grid(shape=(91, 109, 91), affine=affine(np.diag([-2.0, 2, 2]), (90, -126, -72)))
    for voxel_mm in (2.0, 3.0, 3.5):
        one = grid_in_mm(fmriprep, voxel_mm, "MNI152NLin2009cAsym")
        other = grid_in_mm(fsl, voxel_mm, "MNI152NLin6Asym")
        assert one.shape == other.shape
        np.testing.assert_array_equal(one.affine, other.affine)
        assert not np.array_equal(one.shape, grid_in_mm(fsl, voxel_mm, None).shape)
    own = grid_in_mm(fmriprep, 2.0, "MNI152NLin2009cAsym")
    assert same_grid(own.shape, own.affine, fmriprep.shape, fmriprep.affine)
    assert grid_in_mm(SOURCES["straight"], 2.0, "T1w").shape == grid_in_mm(SOURCES["straight"], 2.0).shape


def test_a_grid_onto_itself_changes_nothing(rng):
    source = grid_in_mm(SOURCES["oblique"], 2.1)
    data_XYZT = rng.standard_normal((*source.shape, 3)).astype(np.float32)
    found = whole(resampled_frames(blocks(data_XYZT), source, grid_in_mm(source, 2.1)))
    np.testing.assert_allclose(found, data_XYZT, atol=1e-5)
    mask = rng.random(source.shape) > 0.5
    np.testing.assert_array_equal(resampled_mask(mask, source, source), mask)


def test_a_mask_keeps_its_volume_and_its_place():
    source = SOURCES["oblique"]
    mask = np.linalg.norm(places_mm(source) - places_mm(source).mean(axis=(0, 1, 2)), axis=-1) < 9
    volume = mask.sum() * np.prod(source.voxel_mm)
    centre = places_mm(source)[mask].mean(axis=0)
    for voxel_mm in (1.5, 3.0):
        target = grid_in_mm(source, voxel_mm)
        found = resampled_mask(mask, source, target)
        assert found.dtype == bool
        assert found.sum() * voxel_mm**3 == pytest.approx(volume, rel=0.12)
        np.testing.assert_allclose(places_mm(target)[found].mean(axis=0), centre, atol=voxel_mm / 6)


def test_outside_the_field_of_view_there_is_nothing():
    source = SOURCES["straight"]
    target = grid_in_mm(source, 4.0, "MNI152NLin6Asym")
    data_XYZT = np.full((*source.shape, 1), 7, np.float32)
    found = whole(resampled_frames(blocks(data_XYZT), source, target))[..., 0]
    mask = resampled_mask(np.ones(source.shape, bool), source, target)
    assert set(np.unique(found.round(4))) == {0.0, 7.0}
    np.testing.assert_array_equal(found > 0, mask)
    assert mask.sum() * 64 == pytest.approx(np.prod(source.shape) * 8, rel=0.2)


def test_voxels_that_are_not_finite_have_no_weight(rng):
    source = SOURCES["straight"]
    target = grid_in_mm(source, 2.0)
    data_XYZT = np.full((*source.shape, 2), 50, np.float32)
    data_XYZT[4, 5, 6, 1] = np.nan
    data_XYZT[8:, :, :, 1] = np.inf
    found = whole(resampled_frames(blocks(data_XYZT), source, target))
    np.testing.assert_allclose(found[..., 0], 50, rtol=1e-5)
    values = found[..., 1]
    assert np.isnan(values).any()
    np.testing.assert_allclose(values[np.isfinite(values)], 50, rtol=1e-5)


def test_smoothing_lets_no_missing_voxel_darken_its_neighbours(rng):
    source = SOURCES["straight"]
    data_XYZT = 50 + rng.standard_normal((*source.shape, 2)).astype(np.float32)
    wanted = smooth_img(nib.Nifti1Image(data_XYZT, source.affine), 5.0).get_fdata()
    found = whole(smoothed(blocks(data_XYZT), source.affine, 5.0))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    holed = data_XYZT.copy()
    holed[6, 6, 6, 1] = np.nan
    found_holed = whole(smoothed(blocks(holed), source.affine, 5.0))
    assert np.argwhere(~np.isfinite(found_holed)).tolist() == [[6, 6, 6, 1]]
    interior = (slice(3, -3), slice(3, -3), slice(3, -3), 1)
    assert np.nanmin(found_holed[interior]) > found[interior].min() - 0.5
    np.testing.assert_array_equal(found_holed[..., 0], found[..., 0])


def test_grids_and_masks_that_vanish_are_refused():
    slice_of_5_mm = Grid(shape=(20, 20, 1), affine=affine(np.diag([3.0, 3, 5]), (-30, -30, 10)))
    with pytest.raises(ParameterError, match=r"voxel_mm must be no more than .* \(5 mm at its thinnest\)"):
        grid_in_mm(slice_of_5_mm, 30.0)
    source = SOURCES["straight"]
    mask = np.zeros(source.shape, bool)
    mask[5, 5, 5] = True
    with pytest.raises(ParameterError, match="small enough for the brain mask, got 8 mm, at which no voxel"):
        resampled_mask(mask, source, grid_in_mm(source, 8.0))


def test_frames_are_streamed():
    """Nothing is read before it is asked for."""
    asked = []

    def lazily():
        for start in range(3):
            asked.append(start)
            yield start, np.ones((12, 13, 11, 1), np.float32)

    frames = resampled_frames(lazily(), SOURCES["straight"], grid_in_mm(SOURCES["straight"], 4.0))
    assert asked == []
    next(frames)
    assert asked == [0]
