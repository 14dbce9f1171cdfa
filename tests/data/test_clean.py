"""Recipes, confounds and the cleaning operator, against nilearn as the slow independent twin."""

from __future__ import annotations

import warnings

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.maskers import NiftiMasker
from nilearn.signal import clean

from data.cleaning.clean_voxels import clean_blocks
from data.cleaning.confounds import load_confounds
from data.cleaning.operator import cleaning_operator, freedom, smoothed
from data.cleaning.recipe import Recipe
from data.errors import ParameterError
from data.scans.bold import BoldRun, select

OPEN = {"high_pass": None, "low_pass": None}


@settings(deadline=None, max_examples=15)
@given(
    n_frames=st.integers(110, 150),
    tr=st.sampled_from([0.8, 2.0, 3.48]),
    n_confounds=st.integers(0, 6),
    detrend=st.booleans(),
    high_pass=st.sampled_from([None, 0.01]),
    low_pass=st.sampled_from([None, 0.1]),
    seed=st.integers(0, 1000),
)
def test_operator_equals_nilearns_cleaning(n_frames, tr, n_confounds, detrend, high_pass, low_pass, seed):
    rng = np.random.default_rng(seed)
    series_TV = 1000 + 30 * rng.standard_normal((n_frames, 40)).cumsum(axis=0)
    confounds_TK = rng.standard_normal((n_frames, n_confounds)) + np.linspace(0, 3, n_frames)[:, None]
    recipe = Recipe(confounds="none", detrend=detrend, high_pass=high_pass, low_pass=low_pass)
    operator = cleaning_operator(n_frames, tr, confounds_TK, recipe)
    assert operator.shape == (n_frames, n_frames)
    wanted = clean(
        series_TV,
        t_r=tr,
        detrend=detrend,
        high_pass=high_pass,
        low_pass=low_pass,
        confounds=confounds_TK if n_confounds else None,
        standardize=None,
    )
    np.testing.assert_allclose(operator @ series_TV, wanted, atol=1e-11 * np.abs(series_TV).max())


@pytest.mark.parametrize("band", [OPEN, {"high_pass": 0.01, "low_pass": 0.1}])
@pytest.mark.parametrize("dropped", [[0, 1, 2], [5, 6, 40], [99], [0, 50, 51, 98]])
def test_dropped_frames_are_treated_as_nilearn_treats_them(rng, dropped, band):
    series_TV, confounds_TK = rng.standard_normal((100, 20)), rng.standard_normal((100, 5))
    kept = np.setdiff1d(np.arange(100), dropped)
    operator = cleaning_operator(100, 2.0, confounds_TK, Recipe(confounds="none", **band), kept)
    assert operator.shape == (kept.size, 100)
    wanted = clean(series_TV, t_r=2.0, confounds=confounds_TK, sample_mask=kept, standardize=None, **band)
    np.testing.assert_allclose(operator @ series_TV, wanted, atol=1e-10)


@settings(deadline=None, max_examples=25)
@given(st.sets(st.integers(0, 99), max_size=30), st.integers(0, 8), st.booleans())
def test_a_dropped_frame_has_no_influence(dropped, drop_frames, filtered):
    kept = np.setdiff1d(np.arange(100), sorted(dropped))
    recipe = Recipe(confounds="none", drop_frames=drop_frames, **({} if filtered else OPEN))
    operator = cleaning_operator(100, 2.0, None, recipe, kept)
    gone = sorted(dropped | set(range(drop_frames)))
    assert operator.shape == (100 - len(gone), 100)
    assert not operator[:, gone].any()


def test_frames_dropped_at_the_start_are_as_if_never_scanned(rng):
    series_TV, confounds_TK = rng.standard_normal((90, 7)), rng.standard_normal((90, 4))
    dropping = cleaning_operator(90, 2.0, confounds_TK, Recipe(drop_frames=10))
    never = cleaning_operator(80, 2.0, confounds_TK[10:], Recipe())
    np.testing.assert_allclose(dropping @ series_TV, never @ series_TV[10:], atol=1e-12)


def test_the_operator_keeps_the_band_and_kills_trend_and_confounds():
    t = 2.0 * np.arange(300)
    confound_TK = np.sin(2 * np.pi * 0.05 * t)[:, None]
    operator = cleaning_operator(300, 2.0, confound_TK, Recipe(confounds="none"))
    inside, outside, below = (np.sin(2 * np.pi * f * t) for f in (0.03, 0.2, 0.002))
    middle = slice(60, -60)
    np.testing.assert_allclose((operator @ inside)[middle], inside[middle], atol=0.05)
    for killed in (outside, below, confound_TK[:, 0], 3 + 0.1 * t):
        assert np.abs((operator @ killed)[middle]).max() < 0.05 * np.abs(killed).max()


def test_a_recipe_that_leaves_nothing_is_refused(rng):
    """26 confounds in 60 frames of 2 s, of which the band holds some 27 degrees of freedom."""
    with pytest.raises(
        ParameterError, match=r"degrees of freedom .* got \d\.\d from 60 frames .* 26 confounds"
    ):
        cleaning_operator(60, 2.0, rng.standard_normal((60, 26)), Recipe())
    assert freedom(cleaning_operator(60, 2.0, rng.standard_normal((60, 6)), Recipe())) > 15
    assert freedom(np.eye(12)) == 12


@pytest.mark.parametrize(
    ("n_frames", "tr", "options", "message"),
    [
        (100, 5.0, {}, r"low_pass must be below 0.1 Hz, half the sampling rate at a TR of 5 s"),
        (30, 2.0, {}, "frames must be more than the filter's edges"),
        (100, 2.0, {"drop_frames": 98, **OPEN}, "frames must be at least 3 after dropping, got 2 of 100"),
    ],
)
def test_a_recipe_that_does_not_fit_the_run_is_refused(n_frames, tr, options, message):
    with pytest.raises(ParameterError, match=message):
        cleaning_operator(n_frames, tr, None, Recipe(confounds="none", **options))


def test_blocks_equal_the_whole_and_hold_raw_units(rng):
    series_TV = (5000 + 40 * rng.standard_normal((100, 50))).astype(np.float32)
    operator = cleaning_operator(100, 2.0, rng.standard_normal((100, 3)), Recipe())
    cleaned = operator @ series_TV.astype(np.float64)
    blocks = list(clean_blocks(series_TV, operator, block=16))
    assert [b.columns for b in blocks] == [slice(0, 16), slice(16, 32), slice(32, 48), slice(48, 50)]
    z_FV = np.concatenate([b.z_FB for b in blocks], axis=1)
    std_V = np.concatenate([b.std_B for b in blocks])
    mean_V = np.concatenate([b.mean_B for b in blocks])
    np.testing.assert_allclose(std_V, cleaned.std(axis=0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(mean_V, series_TV.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(z_FV, (cleaned - cleaned.mean(0)) / cleaned.std(axis=0, ddof=1), atol=2e-5)


@pytest.mark.parametrize("options", [{}, {"detrend": False, **OPEN}])
def test_constant_and_broken_voxels_become_zero(rng, options):
    series_TV = (5000 + 40 * rng.standard_normal((100, 6))).astype(np.float32)
    series_TV[:, 1] = 4321.7
    series_TV[3, 2] = np.nan
    series_TV[4, 3] = np.inf
    series_TV[:, 4] = 0
    operator = cleaning_operator(100, 2.0, None, Recipe(confounds="none", **options))
    (block,) = clean_blocks(series_TV, operator)
    assert list(block.std_B > 0) == [True, False, False, False, False, True]
    assert list(block.nonfinite_B) == [False, False, True, True, False, False]
    assert not block.z_FB[:, 1:5].any()
    assert np.isfinite(block.z_FB).all()
    np.testing.assert_allclose(block.mean_B[1:5], [4321.7, 0, 0, 0], rtol=1e-6)


def test_a_voxel_that_is_only_a_trend_is_constant_after_cleaning():
    series_TV = (5000 + np.linspace(0, 300, 100)[:, None]).astype(np.float32)
    operator = cleaning_operator(100, 2.0, None, Recipe(confounds="none", **OPEN))
    (block,) = clean_blocks(series_TV, operator)
    assert block.std_B[0] == 0


def test_masker_and_blocks_give_the_same_series(tmp_path, write_run):
    """The whole way of one run: read, smooth, mask, clean, z-score; NiftiMasker is the twin (1e-3 z)."""
    path = write_run(tmp_path, "01", seed=5, n_frames=150)
    mask = path.with_name(path.name.replace("preproc_bold", "brain_mask"))
    table = path.with_name("sub-01_task-rest_desc-confounds_timeseries.tsv")
    run = BoldRun.open(path, mask=mask, confounds=table)
    for recipe in (Recipe(), Recipe(confounds="6p", smooth_mm=6.0, low_pass=None)):
        confounds = load_confounds(table, recipe.confounds, run.n_frames)
        frames = run.frames()
        if recipe.smooth_mm:
            frames = smoothed(frames, run.affine, recipe.smooth_mm)
        series_TV = select(frames, run.mask_volume(), run.n_frames)
        operator = cleaning_operator(run.n_frames, run.tr, confounds.values_TK, recipe)
        z_FV = np.concatenate([block.z_FB for block in clean_blocks(series_TV, operator)], axis=1)
        masker = NiftiMasker(
            mask_img=nib.load(mask),
            t_r=run.tr,
            detrend=True,
            high_pass=recipe.high_pass,
            low_pass=recipe.low_pass,
            smoothing_fwhm=recipe.smooth_mm,
            standardize="zscore_sample",
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = masker.fit_transform(nib.load(path), confounds=confounds.values_TK)
        np.testing.assert_allclose(z_FV, wanted, atol=1e-3)
        assert np.abs(wanted).max() > 2
