"""What is measured of one run, against figures worked out another way."""

from __future__ import annotations

import json

import numpy as np
import pytest

from data.cleaning.confounds import Confounds
from data.quality.limits import judge
from data.quality.run_quality import FACTS, measure
from data.simulation.signal import template_brain

SPACE = "MNI152NLin2009aSym"


@pytest.fixture(scope="module")
def brain():
    return template_brain(8)


def confounds(n_frames: int, kept=None, fd=None) -> Confounds:
    kept = np.arange(n_frames) if kept is None else np.asarray(kept)
    fd = np.full(n_frames, np.nan) if fd is None else fd
    return Confounds(values_TK=np.empty((n_frames, 0)), names=(), kept_F=kept, fd_T=fd)


def measured(brain, series_TV, own: Confounds, space=SPACE, header=None):
    return measure(series_TV, brain.mask_XYZ, np.asarray(brain.affine), 2.0, space, own, header)


@pytest.fixture
def raw(brain, rng) -> np.ndarray:
    return (1000 + 20 * rng.standard_normal((50, brain.mask_XYZ.sum()))).astype(np.float32)


def test_the_facts_of_a_sound_run(brain, raw, rng) -> None:
    fd_T = np.r_[np.nan, rng.uniform(0.05, 0.4, 49)]
    quality = measured(brain, raw, confounds(50, kept=np.arange(5, 50), fd=fd_T))
    facts = quality.facts
    assert tuple(facts) == FACTS
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["fd_mean"] == pytest.approx(np.nanmean(fd_T), abs=1e-5)
    assert facts["fd_max"] == pytest.approx(np.nanmax(fd_T), abs=1e-5)
    assert facts["censored_share"] == pytest.approx(0.1)
    assert facts["minutes_kept"] == pytest.approx(45 * 2 / 60)
    assert facts["tsnr"] == pytest.approx(50, rel=0.03)
    assert facts["dvars"] == pytest.approx(1, abs=0.06)
    assert facts["cover_midbrain"] == facts["cover_putamen"] == 1
    assert facts["template_dice"] > 0.95
    assert (facts["left_handed"], facts["header_flip"]) == (0, None)


def test_the_trace_has_a_row_for_every_raw_frame(brain, raw, rng) -> None:
    fd_T = np.r_[np.nan, rng.uniform(0, 1, 49)]
    kept = np.flatnonzero(np.nan_to_num(fd_T) < 0.5)
    trace = measured(brain, raw, confounds(50, kept=kept, fd=fd_T)).trace
    assert list(trace) == ["time", "fd", "dvars", "kept"]
    np.testing.assert_array_equal(trace["time"], 2.0 * np.arange(50))
    np.testing.assert_array_equal(np.flatnonzero(trace["kept"]), kept)
    np.testing.assert_array_equal(trace["fd"], fd_T)
    steps_T = np.sqrt((np.diff(raw, axis=0) ** 2).mean(axis=1))
    ratio_T = trace["dvars"].to_numpy()[1:] / steps_T
    np.testing.assert_allclose(ratio_T, ratio_T[0], rtol=1e-4)


def test_what_is_unknown_is_none(brain, raw) -> None:
    facts = measured(brain, raw, confounds(50), space="T1w").facts
    unknown = {name for name, value in facts.items() if value is None}
    coverage = {name for name in FACTS if name.startswith("cover_")}
    assert unknown == {"fd_mean", "fd_max", "template_dice", "header_flip", *coverage}


def test_a_region_inside_the_mask_without_a_signal_is_not_covered(brain, raw) -> None:
    """fMRIPrep's masks follow the anatomy, also where the field of view was cut."""
    below_V = brain.coords_V3[:, 2] < -10
    raw[:, below_V] = 0
    facts = measured(brain, raw, confounds(50)).facts
    assert facts["constant_share"] == pytest.approx(below_V.mean(), abs=1e-5)
    assert facts["cover_midbrain"] < 0.6
    assert facts["cover_caudate"] == 1
    assert facts["template_dice"] > 0.95  # the mask itself is whole


def test_left_handed_grids_and_headers_of_two_minds(brain, raw) -> None:
    import nibabel as nib

    mirror = np.asarray(brain.affine) @ np.diag([-1.0, 1, 1, 1])
    facts = measure(raw, brain.mask_XYZ, mirror, 2.0, None, confounds(50)).facts
    assert facts["left_handed"] == 1
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    image.header.set_qform(np.diag([-1.0, 1, 1, 1]), 1)
    assert measured(brain, raw, confounds(50), header=image.header).facts["header_flip"] == 1


def test_a_single_bad_voxel_of_many_is_not_rounded_away() -> None:
    mask_XYZ = np.ones((60, 60, 60), bool)
    series_TV = np.random.default_rng(0).standard_normal((4, mask_XYZ.size), dtype=np.float32) + 100
    series_TV[1, 5] = np.nan
    facts = measure(series_TV, mask_XYZ, np.eye(4), 2.0, None, confounds(4)).facts
    assert facts["nonfinite_share"] == pytest.approx(1 / mask_XYZ.size, rel=1e-4)
    assert judge({"nonfinite_share": facts["nonfinite_share"]})[0] == "look at it"
