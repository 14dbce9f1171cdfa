"""Recipes, confounds and the cleaning operator, against nilearn as the slow independent twin."""

from __future__ import annotations

import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.interfaces.fmriprep import load_confounds_strategy
from nilearn.interfaces.fmriprep.load_confounds_scrub import optimize_scrub
from nilearn.maskers import NiftiMasker
from nilearn.signal import clean

from data.bold import BoldRun, select
from data.clean import cleaning_operator, freedom, smoothed
from data.clean_voxels import clean_blocks
from data.confounds import STRATEGIES, load_confounds, read_table, without_short_segments
from data.errors import BadFileError, ParameterError, UnknownNameError
from data.recipe import Recipe

OPEN = {"high_pass": None, "low_pass": None}


def test_identity_is_readable_stable_and_tells_recipes_apart():
    assert Recipe().identity == "simple+detrend+0.01-0.1Hz-c7ded52c"
    assert Recipe(high_pass=None).identity.startswith("simple+detrend+below0.1Hz-")
    assert Recipe(low_pass=None, confounds="6p", detrend=False).identity.startswith("6p+above0.01Hz-")
    full = Recipe(confounds="none", smooth_mm=6, drop_frames=4, **OPEN)
    assert full.identity.startswith("none+detrend+smooth6mm+drop4-")
    assert full.identity == Recipe(confounds="none", smooth_mm=6.0, drop_frames=4, **OPEN).identity
    # Numbers that print alike are still told apart.
    assert Recipe(low_pass=0.1).identity != Recipe(low_pass=0.1 + 1e-9).identity


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"high_pass": 0}, "high_pass must be a positive number or None, got 0"),
        ({"low_pass": np.nan}, "low_pass must be"),
        ({"smooth_mm": -1}, "smooth_mm must be"),
        ({"high_pass": 0.2}, "high_pass must be below low_pass"),
        ({"drop_frames": -1}, "drop_frames must be zero or more"),
    ],
)
def test_impossible_recipes_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        Recipe(**options)


def test_an_unknown_strategy_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"one of none, 6p, .* got simpel; did you mean simple"):
        Recipe(confounds="simpel")


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


@pytest.mark.parametrize("strategy", ["simple", "scrubbing", "compcor"])
def test_confounds_equal_nilearns(tmp_path, write_run, strategy):
    path = write_run(tmp_path, "01", seed=3)
    table = path.with_name("sub-01_task-rest_desc-confounds_timeseries.tsv")
    frame = pd.read_csv(table, sep="\t", na_values="n/a")
    frame.loc[[20, 23, 60], "framewise_displacement"] = 0.9
    frame.loc[40, "std_dvars"] = 1.9
    for k in range(2):
        frame[f"non_steady_state_outlier{k:02d}"] = (np.arange(len(frame)) == k).astype(float)
    frame.to_csv(table, sep="\t", index=False, na_rep="n/a")
    wanted, kept = load_confounds_strategy(str(path), denoise_strategy=strategy)
    found = load_confounds(table, strategy, len(frame))
    assert sorted(found.names) == sorted(wanted.columns)
    order = [found.names.index(name) for name in wanted.columns]
    np.testing.assert_allclose(found.values_TK[:, order], wanted.to_numpy(), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(found.kept_F, kept)
    assert found.fd_mean == pytest.approx(frame["framewise_displacement"].mean())
    assert {0, 1}.isdisjoint(found.kept_F)


@given(st.lists(st.booleans(), min_size=12, max_size=60))
def test_short_segments_are_those_of_nilearn(moved):
    moved_T = np.array(moved)
    flagged = np.flatnonzero(without_short_segments(moved_T))
    outliers = np.flatnonzero(moved_T)
    wanted = optimize_scrub(outliers, len(moved), 5) if outliers.size else outliers
    np.testing.assert_array_equal(flagged, wanted)


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


def old_table(path, n_frames: int = 50) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = ["CSF", "WhiteMatter", "GlobalSignal", "X", "Y", "Z", "RotX", "RotY", "RotZ"]
    frame = pd.DataFrame(rng.standard_normal((n_frames, 9)), columns=names)
    frame["FramewiseDisplacement"] = np.r_[np.nan, np.full(n_frames - 1, 0.2)]
    frame["NonSteadyStateOutlier00"] = np.r_[1.0, np.zeros(n_frames - 1)]
    frame.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return frame


def test_tables_of_the_first_fmriprep_versions_are_understood(tmp_path):
    path = tmp_path / "old.tsv"
    frame = old_table(path)
    found = load_confounds(path, "simple", 50)
    assert len(found.names) == 26
    assert list(found.kept_F) == list(range(1, 50))
    assert found.fd_mean == pytest.approx(0.2)
    x = frame["X"].to_numpy()
    step = found.values_TK[:, found.names.index("trans_x_derivative1")]
    np.testing.assert_allclose(np.diff(step[1:]), np.diff(np.diff(x)), atol=1e-6)
    assert step[0] == step[1]
    square = found.values_TK[:, found.names.index("trans_x_derivative1_power2")]
    np.testing.assert_allclose(np.diff(square[1:]), np.diff(np.diff(x) ** 2), atol=1e-6)


def test_none_needs_no_table_and_keeps_every_frame(tmp_path):
    bare = load_confounds(None, "none", 50)
    assert bare.values_TK.shape == (50, 0)
    assert np.isnan(bare.fd_mean)
    path = tmp_path / "old.tsv"
    old_table(path)
    found = load_confounds(path, "none", 50)
    assert found.values_TK.shape == (50, 0)
    assert len(found.kept_F) == 50
    assert found.fd_mean == pytest.approx(0.2)


def test_bad_tables_are_named(tmp_path):
    with pytest.raises(BadFileError, match="confounds table must be there for the strategy 'simple'"):
        load_confounds(None, "simple", 50)
    path = tmp_path / "c.tsv"
    frame = old_table(path)
    with pytest.raises(BadFileError, match=r"c.tsv: confounds table must be of 60 rows.* got 50"):
        load_confounds(path, "simple", 60)
    frame.drop(columns="RotX").to_csv(path, sep="\t", index=False)
    with pytest.raises(BadFileError, match=r"a column 'rot_x'"):
        load_confounds(path, "6p", 50)
    frame.loc[7, "Y"] = np.nan
    frame.to_csv(path, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(BadFileError, match=r"confound 'trans_y' must be finite .* the first in frame 7"):
        load_confounds(path, "6p", 50)
    with pytest.raises(BadFileError, match=r"one with 'std_dvars'"):
        load_confounds(path, "scrubbing", 50)
    with pytest.raises(BadFileError, match=r"c.json: confounds sidecar must be JSON"):
        load_confounds(path, "compcor", 50)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(BadFileError, match=r"combined aCompCor components .* got 0 of 0"):
        load_confounds(path, "compcor", 50)
    path.write_text("a\tb\n1\tword\n")
    with pytest.raises(BadFileError, match=r"c.tsv: confounds table must be tab-separated numbers"):
        read_table(path)
    frame.assign(NonSteadyStateOutlier00=1).to_csv(path, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(BadFileError, match="every frame flagged"):
        load_confounds(path, "9p", 50)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "rows", "counts"),
    [
        # How many regressors and kept frames a strategy finds (nilearn's own counts, where it reads the
        # table); None where the table cannot serve it.
        (
            "fmriprep/neurocaps_ds000031_task-rest_desc-confounds_timeseries.tsv",
            40,
            {"6p": (6, 40), "9p": None, "simple": None, "scrubbing": None, "compcor": None},
        ),
        (
            "fmriprep/nilearn_test-v21_desc-confounds_timeseries.tsv",
            30,
            {"6p": (6, 27), "9p": (9, 27), "simple": (27, 27), "scrubbing": None, "compcor": None},
        ),
        (
            "fmriprep/nilearn_test_desc-confounds_regressors.tsv",
            30,
            {"6p": (6, 29), "9p": (9, 29), "simple": (30, 29), "scrubbing": (36, 29), "compcor": (85, 29)},
        ),
        (
            "pybids_truncated_ds005/ds005/derivatives/fmriprep/sub-01/func/"
            "sub-01_task-mixedgamblestask_run-01_bold_confounds.tsv",
            16,
            {"6p": (6, 15), "9p": (9, 15), "simple": (26, 15), "scrubbing": (32, 15), "compcor": None},
        ),
    ],
)
def test_real_tables(shared_data, name, rows, counts):
    path = shared_data / name
    assert set(counts) == set(STRATEGIES) - {"none"}
    for strategy, wanted in counts.items():
        if wanted is None:
            with pytest.raises(BadFileError):
                load_confounds(path, strategy, rows)
        else:
            found = load_confounds(path, strategy, rows)
            assert (found.values_TK.shape[1], found.kept_F.size) == wanted
            assert np.isfinite(found.values_TK).all()
