"""Resampling to a common TR: sines of known frequency, scipy's splines as the twin, and the operator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.signal import clean
from scipy.interpolate import CubicSpline

from data.cleaning.operator import cleaning_operator, freedom, kept_times, output_tr
from data.cleaning.recipe import Recipe
from data.cleaning.time_grid import new_times, resampled_in_time, same_tr, still_kept
from data.errors import ParameterError

OPEN = {"high_pass": None, "low_pass": None, "detrend": False}
PAIRS = [(0.8, 2.0), (2.0, 0.8), (2.0, 1.0), (3.48, 2.0), (2.5, 2.0), (2.0, 3.48), (0.72, 3.0)]


def fitted(signal_T, times_T, frequency):
    """Amplitude and phase of a sine by least squares."""
    angles_T = 2 * np.pi * frequency * times_T
    waves_T2 = np.column_stack([np.sin(angles_T), np.cos(angles_T), np.ones_like(angles_T)])
    (a, b, _), *_ = np.linalg.lstsq(waves_T2, signal_T, rcond=None)
    return np.hypot(a, b), np.arctan2(b, a)


@pytest.mark.parametrize("phase", [0.0, 0.7, 1.5])
@pytest.mark.parametrize("frequency", [0.01, 0.05, 0.09])
@pytest.mark.parametrize(("tr", "new_tr"), PAIRS)
def test_a_sine_keeps_its_amplitude_and_phase(tr, new_tr, frequency, phase):
    """Eight minutes: amplitude to 2 %, phase to 0.02 rad, and, 15 s from the ends, every value to 0.04."""
    n_frames = round(480 / tr)
    times_T = np.arange(n_frames) * tr
    sine_T1 = np.sin(2 * np.pi * frequency * times_T + phase)[:, None]
    out_S = resampled_in_time(sine_T1, tr, new_tr)[:, 0]
    times_S = np.arange(len(out_S)) * new_tr
    assert times_T[-1] - new_tr < times_S[-1] <= times_T[-1] + 1e-9
    amplitude, angle = fitted(out_S, times_S, frequency)
    assert amplitude == pytest.approx(1, abs=0.02)
    assert angle == pytest.approx(phase, abs=0.02)
    middle = (times_S > 15) & (times_S < times_T[-1] - 15)
    wanted_S = np.sin(2 * np.pi * frequency * times_S + phase)
    np.testing.assert_allclose(out_S[middle], wanted_S[middle], atol=0.04)


def test_it_is_nearer_the_truth_than_a_cubic_spline():
    """At a TR of 3.48 s a spline loses 8 % of 0.1 Hz, which would make sites look different."""
    times_T = np.arange(140) * 3.48
    sine_T = np.sin(2 * np.pi * 0.1 * times_T + 0.3)
    out_S = resampled_in_time(sine_T[:, None], 3.48, 2.0)[:, 0]
    times_S = np.arange(len(out_S)) * 2.0
    middle = slice(15, -15)
    wanted_S = np.sin(2 * np.pi * 0.1 * times_S + 0.3)
    ours = np.abs(out_S - wanted_S)[middle].max()
    spline = np.abs(CubicSpline(times_T, sine_T)(times_S) - wanted_S)[middle].max()
    assert ours < 0.02 < 0.1 < spline


def test_slow_signals_equal_a_cubic_spline(rng):
    """A second way to the same numbers, where both must be right: far below the Nyquist frequency."""
    times_T = np.arange(200) * 2.0
    slow_TN = np.column_stack([np.sin(2 * np.pi * f * times_T + rng.uniform(0, 6)) for f in (0.004, 0.013)])
    for new_tr in (0.7, 1.0, 2.6):
        out_SN = resampled_in_time(slow_TN, 2.0, new_tr)
        wanted_SN = CubicSpline(times_T, slow_TN)(np.arange(len(out_SN)) * new_tr)
        np.testing.assert_allclose(out_SN, wanted_SN, atol=3e-3)


@pytest.mark.parametrize("frequency", [0.3, 0.42, 0.6])
def test_what_a_slower_rate_cannot_carry_does_not_fold_back(frequency):
    """Taken as every fifth frame, 0.42 Hz would come back as 0.08 Hz, in the middle of the band."""
    sine_T1 = np.sin(2 * np.pi * frequency * 0.4 * np.arange(1200))[:, None]
    out_S = resampled_in_time(sine_T1, 0.4, 2.0)[:, 0]
    assert np.abs(out_S[10:-10]).max() < 0.02
    assert np.abs(sine_T1[::5]).max() > 0.5


@settings(deadline=None, max_examples=30)
@given(tr=st.floats(0.5, 4), new_tr=st.floats(0.5, 4), n_frames=st.integers(3, 80), seed=st.integers(0, 1000))
def test_it_is_linear_within_the_run_and_keeps_lines(tr, new_tr, n_frames, seed):
    rng = np.random.default_rng(seed)
    a_TN, b_TN = rng.standard_normal((2, n_frames, 3))
    out_SN = resampled_in_time(a_TN - 2.5 * b_TN, tr, new_tr)
    one_SN, other_SN = (resampled_in_time(x, tr, new_tr) for x in (a_TN, b_TN))
    np.testing.assert_allclose(out_SN, one_SN - 2.5 * other_SN, atol=1e-9)
    times_S = new_times(n_frames, tr, new_tr)
    assert times_S[0] == 0
    assert times_S[-1] <= n_frames - 1 < times_S[-1] + new_tr / tr + 1e-5
    line_T1 = 3 + 0.7 * np.arange(n_frames)[:, None]
    np.testing.assert_allclose(resampled_in_time(line_T1, tr, new_tr)[:, 0], 3 + 0.7 * times_S, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(
    tr=st.sampled_from([1.0, 2.0, 3.48]), ratio=st.sampled_from([2, 3, 4]), n=st.integers(3, 60),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_going_faster_passes_through_every_frame_and_back(tr, ratio, n, seed):
    signal_TN = np.random.default_rng(seed).standard_normal((n, 2))
    faster_SN = resampled_in_time(signal_TN, tr, tr / ratio)
    np.testing.assert_allclose(faster_SN[::ratio], signal_TN, atol=1e-9)
    assert len(faster_SN) == (n - 1) * ratio + 1


def test_headers_that_round_differently_are_the_same_tr():
    assert same_tr(3.48, float(np.float32(3.48)))
    assert not same_tr(2.0, 2.01)
    assert output_tr(float(np.float32(3.48)), Recipe(tr=3.48)) == float(np.float32(3.48))
    rounded = cleaning_operator(100, 2.0 + 1e-7, None, Recipe(tr=2.0, **OPEN))
    np.testing.assert_array_equal(rounded, np.eye(100))


def test_a_new_frame_is_kept_when_its_neighbours_are():
    kept_T = np.array([1, 1, 0, 1, 1, 1], dtype=bool)
    assert list(still_kept(kept_T, np.array([0, 0.5, 1, 1.5, 2, 2.5, 3, 4.9999999]))) == [
        *(True, True, True, False, False, False, True, True)
    ]


@pytest.mark.parametrize("tr", [0.8, 2.0, 3.48])
def test_a_whole_cleaning_at_another_tr_keeps_what_lies_in_the_band(tr):
    """Trend, band, confound and resampling at once: 0.03 Hz comes through, the rest does not."""
    n_frames = round(480 / tr)
    times_T = np.arange(n_frames) * tr
    inside_T, confound_T = (np.sin(2 * np.pi * f * times_T + 0.4) for f in (0.03, 0.05))
    series_T = inside_T + 3 * confound_T + 100 + 0.02 * times_T
    recipe = Recipe(tr=2.5)
    operator = cleaning_operator(n_frames, tr, confound_T[:, None], recipe)
    times_F = kept_times(n_frames, tr, recipe)
    assert operator.shape == (times_F.size, n_frames)
    assert output_tr(tr, recipe) == 2.5
    np.testing.assert_allclose(np.diff(times_F), 2.5, atol=1e-9)
    cleaned_F = operator @ series_T
    amplitude, phase = fitted(cleaned_F, times_F, 0.03)
    assert (amplitude, phase) == (pytest.approx(1, abs=0.03), pytest.approx(0.4, abs=0.03))
    assert fitted(cleaned_F, times_F, 0.05)[0] < 0.03


def test_two_sites_scans_of_one_signal_come_out_alike(rng):
    """Ten sines between 0.015 and 0.08 Hz, scanned every 2 s here and every 3.48 s there."""
    waves = [(f, rng.uniform(0.5, 1), rng.uniform(0, 6)) for f in np.linspace(0.015, 0.08, 10)]
    cleaned = []
    for tr in (2.0, 3.48):
        times_T = np.arange(round(480 / tr)) * tr
        scan_T = sum(a * np.sin(2 * np.pi * f * times_T + phase) for f, a, phase in waves)
        cleaned.append(cleaning_operator(times_T.size, tr, None, Recipe(tr=2.5)) @ scan_T)
    here, there = (series[8:180] for series in cleaned)
    assert np.corrcoef(here, there)[0, 1] > 0.995
    assert there.std() == pytest.approx(here.std(), rel=0.02)


def test_it_is_nilearns_cleaning_then_resampling_then_nilearns_regression(rng):
    series_TV, confounds_TK = rng.standard_normal((120, 6)), rng.standard_normal((120, 3))
    recipe = Recipe(tr=2.0)
    filtered = [
        clean(x, t_r=1.5, detrend=True, high_pass=0.01, low_pass=0.1, standardize=None)
        for x in (series_TV, confounds_TK)
    ]
    series_SV, confounds_SK = (resampled_in_time(x, 1.5, 2.0) for x in filtered)
    wanted = clean(series_SV, confounds=confounds_SK, detrend=False, filter=False, standardize=None)
    operator = cleaning_operator(120, 1.5, confounds_TK, recipe)
    np.testing.assert_allclose(operator @ series_TV, wanted, atol=1e-10)
    np.testing.assert_allclose((operator @ confounds_TK).std(axis=0), 0, atol=1e-10)


@settings(deadline=None, max_examples=25)
@given(
    st.sets(st.integers(0, 99), max_size=25),
    st.sampled_from([1.3, 2.0, 3.1]),
    st.integers(0, 6),
    st.booleans(),
)
def test_a_dropped_frame_has_no_influence_at_another_tr(dropped, new_tr, drop_frames, filtered):
    kept = np.setdiff1d(np.arange(100), sorted(dropped))
    recipe = Recipe(confounds="none", tr=new_tr, drop_frames=drop_frames, **({} if filtered else OPEN))
    operator = cleaning_operator(100, 2.0, None, recipe, kept)
    gone = sorted(dropped | set(range(drop_frames)))
    assert not operator[:, gone].any()
    times_F = kept_times(100, 2.0, recipe, kept)
    assert len(operator) == times_F.size
    start = min(set(range(100)) - set(gone)) * 2.0
    if new_tr != 2.0:
        steps = (times_F - start) / new_tr
        np.testing.assert_allclose(steps, steps.round(), atol=1e-6)
    inside = [t for t in times_F if int(t / 2 + 1e-6) in gone or int(np.ceil(t / 2 - 1e-6)) in gone]
    assert not inside
    assert times_F[-1] <= kept.max() * 2.0 + 1e-6


@pytest.mark.parametrize("band", [{"low_pass": 0.1}, {"low_pass": None}])
@pytest.mark.parametrize("new_tr", [0.5, 1.0, 1.5])
def test_more_frames_are_not_more_freedom(rng, new_tr, band):
    confounds_TK = rng.standard_normal((150, 6))
    native = freedom(cleaning_operator(150, 2.0, confounds_TK, Recipe(**band)))
    faster = cleaning_operator(150, 2.0, confounds_TK, Recipe(tr=new_tr, **band))
    assert freedom(faster, new_tr / 2.0) == pytest.approx(native, rel=0.03)
    assert len(faster) > 190


def test_a_run_that_leaves_nothing_is_refused_at_any_rate(rng):
    """26 confounds in 60 frames: four times the frames must not make it look possible."""
    with pytest.raises(ParameterError, match=r"degrees of freedom .* got \d\.\d from 60 frames"):
        cleaning_operator(60, 2.0, rng.standard_normal((60, 26)), Recipe(tr=0.5))


def test_a_run_of_too_few_new_frames_is_refused():
    with pytest.raises(ParameterError, match="frames must be at least 3 after dropping, got 2 of 40"):
        cleaning_operator(40, 1.0, None, Recipe(confounds="none", tr=30.0, **OPEN))
