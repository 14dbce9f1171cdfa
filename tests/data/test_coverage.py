"""Shares of regions in a mask: geometry that is known, grids of every kind, and real masks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.quality.coverage import REGIONS, is_mni, region_coverage, region_points, template_dice
from data.simulation.signal import template_brain

SPACE = "MNI152NLin2009cAsym"


@pytest.fixture(scope="module")
def brain() -> tuple[np.ndarray, np.ndarray]:
    made = template_brain(4)
    return made.mask_XYZ, np.asarray(made.affine, np.float64)


def test_every_region_lies_on_both_sides_where_anatomy_has_it() -> None:
    for name in REGIONS:
        points_N3 = region_points(name)
        left, right = points_N3[points_N3[:, 0] < 0], points_N3[points_N3[:, 0] > 0]
        assert 0.8 < len(left) / len(right) < 1.25
        assert len(np.unique(points_N3, axis=0)) == len(points_N3)
    assert region_points("putamen")[:, 0].max() == pytest.approx(33, abs=2)
    assert abs(region_points("putamen")[:, 1].mean()) < 5
    assert region_points("caudate")[:, 2].mean() > region_points("accumbens")[:, 2].mean() + 10
    assert region_points("thalamus")[:, 1].mean() < region_points("caudate")[:, 1].mean() - 15
    assert region_points("midbrain")[:, 2].max() <= -6


def test_a_whole_brain_holds_everything(brain) -> None:
    mask_XYZ, affine = brain
    assert region_coverage(mask_XYZ, affine, SPACE) == dict.fromkeys(REGIONS, 1.0)
    assert template_dice(mask_XYZ, affine, SPACE) > 0.97


def test_other_spaces_are_not_judged(brain) -> None:
    for space in (None, "T1w", "func"):
        assert all(math.isnan(share) for share in region_coverage(*brain, space).values())
        assert math.isnan(template_dice(*brain, space))
    assert is_mni("MNI152NLin6Asym")


@pytest.mark.parametrize("crop", [True, False])
def test_a_field_of_view_that_is_cut_costs_what_lay_beyond(brain, crop) -> None:
    """Whether the slices are missing from the file or only from the mask comes to the same."""
    mask_XYZ, affine = brain
    cut = int(np.ceil((-8 - affine[2, 3]) / affine[2, 2]))  # nothing below z = -8 mm
    if crop:
        mask_XYZ, affine = mask_XYZ[:, :, cut:], affine.copy()
        affine[2, 3] += 4 * cut
    else:
        mask_XYZ = mask_XYZ.copy()
        mask_XYZ[:, :, :cut] = False
    found = region_coverage(mask_XYZ, affine, SPACE)
    lowest = affine[2, 3] - 2 if crop else affine[2, 3] + 4 * cut - 2  # the voxel's lower edge
    for name, share in found.items():
        points_N3 = region_points(name)
        sides = [points_N3[points_N3[:, 0] < 0], points_N3[points_N3[:, 0] >= 0]]
        assert share == pytest.approx(min(_above(side, lowest) for side in sides), abs=0.005)
    assert found["midbrain"] < 0.5
    assert found["caudate"] > 0.99
    assert template_dice(mask_XYZ, affine, SPACE) < 0.9


def _above(points_N3: np.ndarray, lowest: float) -> float:
    """The share of the points' cubic millimetres that lies above a height."""
    return float((points_N3[:, 2] + 0.5 - lowest).clip(0, 1).mean())


def test_the_weaker_side_counts(brain) -> None:
    mask_XYZ, affine = brain
    x_X = np.arange(mask_XYZ.shape[0]) * affine[0, 0] + affine[0, 3]
    one_side_XYZ = mask_XYZ & (x_X > 2)[:, None, None]
    assert region_coverage(one_side_XYZ, affine, SPACE)["putamen"] == 0


def test_the_way_a_grid_is_stored_does_not_matter(brain) -> None:
    mask_XYZ, affine = brain
    mask_XYZ = mask_XYZ.copy()
    mask_XYZ[:, 25:, :] = False
    straight = region_coverage(mask_XYZ, affine, SPACE), template_dice(mask_XYZ, affine, SPACE)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = mask_XYZ.shape[0] - 1
    left_handed = affine @ flip
    turned_ZXY, turn = np.moveaxis(mask_XYZ, 2, 0), np.eye(4)[:, [2, 0, 1, 3]]
    for stored, stored_affine in ((mask_XYZ[::-1], left_handed), (turned_ZXY, affine @ turn)):
        assert region_coverage(stored, stored_affine, SPACE) == pytest.approx(straight[0])
        assert template_dice(stored, stored_affine, SPACE) == pytest.approx(straight[1])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "dice"),
    [
        ("neurocaps_ds000031_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz", 0.895),
        ("xcpd_sub-colornest001_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz", 0.929),
    ],
)
def test_real_masks_of_fmriprep_hold_every_region(shared_data, name, dice) -> None:
    from data.scans.nifti import open_image

    image = open_image(shared_data / "fmriprep" / name)
    mask_XYZ = np.asarray(image.dataobj) > 0
    assert region_coverage(mask_XYZ, image.affine, SPACE) == dict.fromkeys(REGIONS, 1.0)
    assert template_dice(mask_XYZ, image.affine, SPACE) == pytest.approx(dice, abs=0.002)
