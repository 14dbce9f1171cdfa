"""Augmented clips: each change against a slow twin, how it is drawn, and that each can be made again."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ParameterError
from neuro.tokens import (
    CubeTokens,
    ParcelSpec,
    ParcelTokens,
    TubeletSpec,
    VolumeSpec,
    cubes,
    parcel_tokens_of_array,
)
from neuro.training.augment import (
    Augmentation,
    AugmentConfig,
    applied,
    augmented,
    drawn,
    mirrored,
    resampled,
    run_noise,
    with_amplitude,
)

from .made_runs import affine_of, made_run

SPEC = TubeletSpec(frames=6, window=3, patch_mm=8)


def cut(spec: VolumeSpec = SPEC, frames: int = 20, shape=(5, 4, 3), **options: object) -> CubeTokens:
    mask = np.random.default_rng(1).random(shape) > 0.3
    return cubes(made_run(mask, frames=frames, **options), spec)  # type: ignore[arg-type]


def regions(series_TR: np.ndarray, frames: int) -> ParcelTokens:
    return parcel_tokens_of_array(series_TR, ParcelSpec(atlas="array", frames=frames), tr=2.0)


def test_nothing_is_changed_by_default() -> None:
    assert all(getattr(AugmentConfig(), field.name) == 0 for field in fields(AugmentConfig))
    run = cut()
    for seed in range(5):
        draw = drawn(run, np.random.default_rng(seed), AugmentConfig())
        clip = augmented(run, np.random.default_rng(seed), AugmentConfig())
        plain = run.clip(draw.start)
        np.testing.assert_array_equal(clip.signal_WSV, plain.signal_WSV)
        np.testing.assert_array_equal(clip.amplitude_SP, plain.amplitude_SP)
        np.testing.assert_array_equal(clip.centres_S3, plain.centres_S3)
        np.testing.assert_array_equal(clip.seconds_W, plain.seconds_W)


EVERYTHING = AugmentConfig(frame_jitter=0.3, flip=0.5, noise=0.5, amplitude=0.5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), jitter=st.floats(0, 0.9))
def test_a_draw_can_be_made_again(seed: int, jitter: float) -> None:
    run, config = cut(), replace(EVERYTHING, frame_jitter=jitter)
    draw = drawn(run, np.random.default_rng(seed), config)
    first = augmented(run, np.random.default_rng(seed), config)
    again = applied(run, draw)
    np.testing.assert_array_equal(first.signal_WSV, again.signal_WSV)
    np.testing.assert_array_equal(first.amplitude_SP, again.amplitude_SP)
    np.testing.assert_array_equal(first.centres_S3, again.centres_S3)
    assert first.signal_WSV.shape == run.clip(0).signal_WSV.shape
    assert first.signal_WSV.dtype == first.amplitude_SP.dtype == np.float32
    other = augmented(run, np.random.default_rng(seed + 1), config)
    assert np.abs(other.signal_WSV - first.signal_WSV).max() > 0.01


def test_every_start_is_equally_likely() -> None:
    run = cut()
    rng = np.random.default_rng(0)
    starts = [drawn(run, rng, AugmentConfig()).start for _ in range(3000)]
    counts = np.bincount(starts, minlength=15)
    assert len(counts) == 15 == run.last_start() + 1
    assert ((counts - 200) ** 2 / 200).sum() < 36.1  # chi-squared of 14 degrees, p = 0.001


def test_a_start_that_is_given_is_taken() -> None:
    run = cut()
    for seed in range(20):
        draw = drawn(run, np.random.default_rng(seed), EVERYTHING, start=14)
        assert draw.start == 14
        assert draw.rate <= 1  # there are no frames behind the clip
        applied(run, draw)
    with pytest.raises(ParameterError, match="range within"):
        augmented(run, np.random.default_rng(0), AugmentConfig(), start=15)


# --- time -------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(rate=st.floats(0.3, 1.9), start=st.integers(0, 9))
def test_resampling_is_linear_interpolation(rate: float, start: int) -> None:
    run = cut()
    found = resampled(run, start, rate)
    z_TM = run.run.frames()
    for k in range(6):
        expected = [np.interp(start + k * rate, np.arange(20), z_TM[:, m]) for m in range(z_TM.shape[1])]
        np.testing.assert_allclose(found[k], expected, atol=1e-4)


def test_a_ramp_stays_a_ramp_of_another_slope() -> None:
    run = regions(np.arange(30.0)[:, None] * [1, -1], frames=11)
    slopes = np.diff(resampled(run, 3, 1.25), axis=0) / np.diff(run.series(0, 2), axis=0)
    np.testing.assert_allclose(slopes, 1.25, rtol=1e-4)


def test_rates_stay_within_the_jitter_and_the_run() -> None:
    rng = np.random.default_rng(0)
    config = AugmentConfig(frame_jitter=0.2)
    long = [drawn(cut(frames=40), rng, config) for _ in range(500)]
    rates = np.array([draw.rate for draw in long])
    assert 0.8 <= rates.min() < 0.82
    assert 1.18 < rates.max() <= 1.2
    assert rates.mean() == pytest.approx(1, abs=0.02)
    assert min(draw.start for draw in long) == 0
    assert max(draw.start + 5 * draw.rate for draw in long) > 38
    tight = cut(frames=6)
    for _ in range(50):
        draw = drawn(tight, rng, config)
        assert draw.rate <= 1
        applied(tight, draw)
    single = cut(VolumeSpec(frames=1, patch_mm=8), frames=1)
    applied(single, drawn(single, rng, config))


def test_frames_beyond_the_run_are_refused() -> None:
    with pytest.raises(ParameterError, match="range within 0 to 20"):
        resampled(cut(), 14, 1.1)


# --- left and right ---------------------------------------------------------------------------------------


def by_place(run: CubeTokens, clip) -> dict[tuple[float, ...], np.ndarray]:
    """Place of every voxel of every cube in mm -> its amplitude and its signal over the clip, by loops."""
    found = {}
    x, y, z = run.patch_voxels
    signal = clip.signal_WSV.reshape(len(clip.seconds_W), -1, run.spec.window_frames, x, y, z)
    amplitude = clip.amplitude_SP.reshape(-1, x, y, z)
    for s, centre in enumerate(clip.centres_S3):
        for step in np.ndindex(x, y, z):
            offset = run.affine[:3, :3] @ (np.array(step) - (np.array([x, y, z]) - 1) / 2)
            place = tuple(np.round(centre + offset, 2).tolist())
            found[place] = np.append(signal[(slice(None), s, slice(None), *step)].ravel(), amplitude[s][step])
    return found


GRIDS = {
    "along": affine_of((3, 4, 5), (-7, 3, 1)),
    "against": affine_of((-3, 4, 5), (7, 3, 1)),
    "second axis": affine_of((3, 4, 5), (-7, 3, 1))[:, [1, 0, 2, 3]],
    "third axis": affine_of((3, 4, 5), (-7, 3, 1))[:, [1, 2, 0, 3]],
}


@pytest.mark.parametrize("grid", GRIDS)
def test_what_was_at_x_is_at_minus_x(grid: str) -> None:
    run = cut(TubeletSpec(frames=6, window=3, patch_mm=10), affine=GRIDS[grid])
    clip = run.clip(2)
    plain, flipped = by_place(run, clip), by_place(run, mirrored(clip, run))
    assert len(plain) == len(flipped) == clip.amplitude_SP.size
    for (x, y, z), values in plain.items():
        there = min(flipped, key=lambda place: np.linalg.norm(np.subtract(place, (-x, y, z))))
        np.testing.assert_allclose(there, (-x, y, z), atol=0.02)
        np.testing.assert_array_equal(flipped[there], values)
    twice = mirrored(mirrored(clip, run), run)
    np.testing.assert_array_equal(twice.signal_WSV, clip.signal_WSV)
    np.testing.assert_array_equal(twice.centres_S3, clip.centres_S3)


def test_flips_come_as_often_as_asked() -> None:
    run, rng = cut(), np.random.default_rng(0)
    share = np.mean([drawn(run, rng, AugmentConfig(flip=0.3)).mirrored for _ in range(2000)])
    assert share == pytest.approx(0.3, abs=0.04)


def test_what_has_no_mirror_image_is_refused_at_the_first_draw() -> None:
    config, rng = AugmentConfig(flip=1e-9), np.random.default_rng(0)
    with pytest.raises(ParameterError, match="tokens of kind parcel"):
        drawn(regions(rng.standard_normal((9, 3)), 4), rng, config)
    with pytest.raises(ParameterError, match="oblique grid"):
        drawn(cut(affine=affine_of(turn=0.1)), rng, config)


# --- noise ------------------------------------------------------------------------------------------------


def band_passed(frames: int, regions_count: int, seed: int = 0) -> np.ndarray:
    """Series with power between 1/20 and 1/5 of the sampling rate alone, each of its own spread."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal((frames, regions_count)), axis=0)
    frequency = np.fft.rfftfreq(frames)
    spectrum[(frequency < 0.05) | (frequency > 0.2)] = 0
    spectrum *= (1 + 5 * (frequency < 0.1))[:, None]  # not flat within the band
    return np.fft.irfft(spectrum, n=frames, axis=0)


@pytest.mark.parametrize("frames", [200, 201])
def test_noise_has_the_runs_own_spectrum(frames: int) -> None:
    """Against the run's periodogram, frequency by frequency; what the band-pass took out stays out."""
    run = regions(band_passed(frames, 40), frames=frames)
    own_F = (np.abs(np.fft.rfft(run.series(0, frames), axis=0)) ** 2).mean(1)
    draws = np.stack([run_noise(run, seed) for seed in range(40)])
    noise_F = (np.abs(np.fft.rfft(draws, axis=1)) ** 2).mean((0, 2))
    frequency = np.fft.rfftfreq(frames)
    band = (frequency >= 0.05) & (frequency <= 0.2)
    np.testing.assert_allclose(noise_F[band], own_F[band], rtol=0.15)
    assert noise_F[~band].max() < 1e-6 * own_F.max()


def test_the_highest_frequency_of_an_even_count_keeps_its_power() -> None:
    run = regions(np.random.default_rng(0).standard_normal((10, 300)), frames=10)
    draws = np.stack([run_noise(run, seed) for seed in range(100)])
    noise_F = (np.abs(np.fft.rfft(draws, axis=1)) ** 2).mean((0, 2))
    np.testing.assert_allclose(noise_F[1:], run.fluctuation[0][1:], rtol=0.15)


def test_noise_is_as_strong_as_each_series() -> None:
    series = band_passed(120, 30)
    run = replace(regions(series, 60), series_TR=(series * np.geomspace(0.1, 10, 30)).astype(np.float32))
    spread = run.series(0, 120).std(0)
    draws = np.stack([run_noise(run, seed) for seed in range(60)])
    np.testing.assert_allclose(draws.std((0, 1)), spread, rtol=0.2)
    np.testing.assert_allclose(draws.mean((0, 1)) / spread, 0, atol=0.1)


def test_a_silent_series_stays_silent() -> None:
    series = band_passed(60, 5)
    series[:, 2] = 0
    assert not run_noise(regions(series, 20), 0)[:, 2].any()
    assert not run_noise(regions(np.zeros((20, 3)), 10), 0).any()


def test_noise_knows_nothing_of_a_confound_that_was_removed() -> None:
    """Correlations with a time course of the band are those of chance, for one that the data is free of."""
    series = band_passed(200, 40)
    confound = band_passed(200, 1, seed=9)[:, 0]
    confound /= np.linalg.norm(confound)
    free = series - np.outer(confound, confound @ series)
    run = regions(free, frames=200)
    draws = np.stack([run_noise(run, seed) for seed in range(100)])
    along = np.einsum("t,stm->sm", confound, draws)
    assert along.mean() == pytest.approx(0, abs=4 * along.std() / np.sqrt(100))
    degrees = 2 * 31  # sines and cosines of the band
    assert (along**2).mean() < 3 * (draws**2).sum(1).mean() / degrees


def test_noise_is_added_to_the_signal_alone_and_by_its_share() -> None:
    run = cut()
    noise = run.clip_of(run_noise(run, 7)).signal_WSV
    clip = applied(run, Augmentation(start=2, noise=0.3, seed=7))
    np.testing.assert_allclose(clip.signal_WSV, run.clip(2).signal_WSV + 0.3 * noise, atol=1e-5)
    outside = ~np.tile(run.inside_SP, 3)
    assert not clip.signal_WSV[:, outside].any()
    np.testing.assert_array_equal(clip.amplitude_SP, run.amplitude_SP)
    shares = [drawn(run, np.random.default_rng(n), AugmentConfig(noise=0.4)).noise for n in range(300)]
    assert 0 <= min(shares) < 0.02
    assert 0.38 < max(shares) <= 0.4


def test_a_run_of_many_voxels_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    series = band_passed(100, 500)
    whole = regions(series, 20).fluctuation
    monkeypatch.setattr("neuro.tokens.run_tokens.MOST_SERIES", 100)
    some = regions(series, 20).fluctuation
    np.testing.assert_array_equal(some[1], whole[1])
    assert np.abs(some[0] - whole[0]).sum() / whole[0].sum() < 0.2
    assert np.abs(some[0] - whole[0]).max() > 0


# --- amplitude --------------------------------------------------------------------------------------------


def test_amplitudes_shift_place_by_place_within_the_brain() -> None:
    run = cut()
    clip = run.clip(0)
    gain = np.arange(1, len(clip.amplitude_SP) + 1, dtype=np.float32)
    found = with_amplitude(clip, gain).amplitude_SP
    for s, p in np.ndindex(found.shape):
        amplitude = clip.amplitude_SP[s, p]
        expected = amplitude + gain[s] if run.inside_SP[s, p] else 0
        assert found[s, p] == pytest.approx(expected, abs=1e-6)


def test_amplitude_jitter_is_as_large_as_asked() -> None:
    run = cut(shape=(12, 12, 12))
    plain = run.clip(0).amplitude_SP
    inside = plain != 0
    shifts = [
        applied(run, Augmentation(start=0, amplitude=0.5, seed=n)).amplitude_SP - plain for n in range(50)
    ]
    assert np.std([shift[inside] for shift in shifts]) == pytest.approx(0.5, rel=0.1)
    assert not np.stack(shifts)[:, ~inside].any()
    one = shifts[0][:, 0]
    assert len(np.unique(one.round(4))) > len(one) / 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"frame_jitter": 1.0},
        {"frame_jitter": -0.1},
        {"flip": 1.1},
        {"flip": float("nan")},
        {"noise": -1.0},
        {"noise": float("inf")},
        {"amplitude": float("nan")},
    ],
)
def test_what_cannot_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        AugmentConfig(**wrong)  # type: ignore[arg-type]
