"""Mirrored runs: headers of every kind, and asymmetry that gives them away, simulated and real."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from data.quality.laterality import asymmetry_map, flip_correlation, header_flip
from data.simulation.signal import template_brain

MIRROR = np.diag([-1.0, 1, 1, 1])


def header(qform, sform, qcode=1, scode=1):
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), None)
    image.header.set_qform(qform, qcode)
    image.header.set_sform(sform, scode)
    return image.header


def turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 5], [s, c, 0, -3], [0, 0, 1, 2], [0, 0, 0, 1.0]])


@pytest.mark.parametrize(
    ("header", "flipped"),
    [
        (header(np.eye(4), np.eye(4)), False),
        (header(MIRROR, MIRROR), False),  # a left-handed grid is no fault
        (header(np.eye(4), MIRROR), True),
        (header(MIRROR, np.eye(4)), True),
        (header(np.eye(4), turned(170)), False),  # x runs the other way, and so does y: turned, not mirrored
        (header(turned(20), MIRROR @ turned(20)), True),
        (header(np.eye(4), MIRROR, qcode=0), False),
        (header(np.eye(4), MIRROR, scode=0), False),
    ],
)
def test_headers(header, flipped) -> None:
    assert header_flip(header) is flipped


@pytest.fixture(scope="module")
def brain():
    return template_brain(6)


def volume(brain, rng, common: float, seed: int = 5) -> np.ndarray:
    """A mean image: the template, an asymmetry that all share, and one of this person's own."""
    shared = _smooth_field(brain, np.random.default_rng(seed))
    field_XYZ = 1 + 0.05 * (common * shared + _smooth_field(brain, rng))
    image_XYZ = np.zeros(brain.mask_XYZ.shape)
    image_XYZ[brain.mask_XYZ] = 1000 * brain.baseline_V
    return image_XYZ * field_XYZ


def _smooth_field(brain, rng) -> np.ndarray:
    field_XYZ = gaussian_filter(rng.standard_normal(brain.mask_XYZ.shape), 2)
    return field_XYZ / field_XYZ.std()


def maps_of(volumes, brain) -> np.ndarray:
    affine = np.asarray(brain.affine, np.float64)
    return np.stack(
        [asymmetry_map(v[brain.mask_XYZ].astype(np.float32), brain.mask_XYZ, affine) for v in volumes]
    )


def test_mirroring_changes_the_sign_and_storage_does_not(brain, rng) -> None:
    image_XYZ, affine = volume(brain, rng, common=1), np.asarray(brain.affine, np.float64)
    mask_XYZ = brain.mask_XYZ & brain.mask_XYZ[::-1]
    middle = affine[0, 3] + affine[0, 0] * (mask_XYZ.shape[0] - 1) / 2
    moved = affine.copy()
    moved[0, 3] -= middle  # so that the grid is symmetric about x = 0
    plain = asymmetry_map(image_XYZ[mask_XYZ].astype(np.float32), mask_XYZ, moved)
    mirrored = asymmetry_map(image_XYZ[::-1][mask_XYZ].astype(np.float32), mask_XYZ, moved)
    known = np.isfinite(plain) & np.isfinite(mirrored)
    assert known.sum() > 500
    np.testing.assert_allclose(mirrored[known], -plain[known], atol=1e-5)

    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = mask_XYZ.shape[0] - 1
    stored = asymmetry_map(image_XYZ[::-1][mask_XYZ[::-1]].astype(np.float32), mask_XYZ[::-1], moved @ flip)
    np.testing.assert_allclose(stored[known], plain[known], atol=1e-5)
    gained = asymmetry_map(7 * image_XYZ[mask_XYZ].astype(np.float32), mask_XYZ, moved)
    np.testing.assert_allclose(gained[known], plain[known], atol=1e-5)


def test_a_mirrored_run_is_found_among_others_with_an_asymmetry_in_common(brain, rng) -> None:
    volumes = [volume(brain, rng, common=1) for _ in range(10)]
    volumes[3] = volumes[3][::-1]
    found = flip_correlation(maps_of(volumes, brain), np.arange(10))
    assert found.argmin() == 3
    assert found[3] < -0.3
    assert np.delete(found, 3).min() > 0.3


def test_the_correlation_is_that_of_a_slow_twin(brain, rng) -> None:
    maps_NL = maps_of([volume(brain, rng, common=1) for _ in range(6)], brain)
    people = np.array(["a", "a", "b", "c", "d", "e"])
    found = flip_correlation(maps_NL, people)
    for n in range(6):
        names = [name for name in "abcde" if name != people[n]]
        others = np.stack([np.mean(maps_NL[people == name], axis=0) for name in names])
        use = np.isfinite(maps_NL[n]) & np.isfinite(others).all(axis=0)
        rest = others[:, use].mean(axis=0)
        mine = maps_NL[n][use]
        expected = (mine * rest).sum() / np.sqrt((mine**2).sum() * (rest**2).sum())
        assert found[n] == pytest.approx(expected, rel=1e-4)


def test_without_an_asymmetry_in_common_nothing_is_said(brain, rng) -> None:
    volumes = [volume(brain, rng, common=0) for _ in range(10)]
    assert np.isnan(flip_correlation(maps_of(volumes, brain), np.arange(10))).all()


def test_few_people_are_not_compared_and_a_persons_own_runs_do_not_count(brain, rng) -> None:
    maps_NL = maps_of([volume(brain, rng, common=1) for _ in range(3)] * 2, brain)
    assert np.isnan(flip_correlation(maps_NL, np.tile(np.arange(3), 2))).all()
    assert np.isfinite(flip_correlation(maps_NL, np.arange(6))).all()


def test_means_that_are_all_one_have_no_asymmetry(brain, rng) -> None:
    """As in a cache in percent, where what is left is rounding."""
    flat = 100 * brain.mask_XYZ * (1 + 1e-7 * rng.standard_normal(brain.mask_XYZ.shape))
    assert np.isnan(flip_correlation(maps_of([flat] * 6, brain), np.arange(6))).all()


@pytest.mark.shared
def test_a_real_reference_and_its_mirror_image(shared_data, rng) -> None:
    """People like this one with noise of their own: the one that is mirrored stands out."""
    folder = shared_data / "fmriprep"
    stem = "xcpd_sub-colornest001_space-MNI152NLin2009cAsym"
    image = nib.load(folder / f"{stem}_boldref.nii.gz")
    mask_XYZ = np.asarray(nib.load(folder / f"{stem}_desc-brain_mask.nii.gz").dataobj) > 0
    real_XYZ = np.asarray(image.dataobj, np.float32)
    maps = []
    for n in range(8):
        own_XYZ = gaussian_filter(rng.standard_normal(mask_XYZ.shape), 2)
        noisy_XYZ = real_XYZ * (1 + 0.1 * own_XYZ / own_XYZ.std())
        mirror = np.diag([-1.0, 1, 1, 1]) if n == 5 else np.eye(4)
        maps.append(asymmetry_map(noisy_XYZ[mask_XYZ].astype(np.float32), mask_XYZ, mirror @ image.affine))
    found = flip_correlation(np.stack(maps), np.arange(8))
    assert found.argmin() == 5
    assert found[5] < -0.3
    assert np.delete(found, 5).min() > 0.3
