"""Regions as tokens: windows, profiles, amplitude, where regions lie, and arrays without a cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.caches.cache import Cache, prepare
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.errors import HubUnreachableError, ParameterError, UnknownNameError
from data.parcels.atlases import load_atlas
from data.parcels.series import Parcels
from neuro.tokens import (
    ParcelSpec,
    collate,
    cut,
    cut_run,
    parcel_tokens,
    parcel_tokens_of_array,
    parcels_of_run,
    region_places,
    relative_amplitude,
    untokenize,
)
from neuro.tokens.parcels import Profile


def parcels(frames: int = 24, regions: int = 5, seed: int = 0, **changed: object) -> Parcels:
    rng = np.random.default_rng(seed)
    values = {
        "atlas": "made",
        "digest": "0",
        "regions": tuple(map(str, range(regions))),
        "z_FR": rng.standard_normal((frames, regions)).astype(np.float32),
        "mean_R": np.ones(regions, np.float32),
        "std_R": rng.uniform(1, 2, regions).astype(np.float32),
        "coverage_R": np.ones(regions, np.float32),
    }
    return Parcels(**{**values, **changed})  # type: ignore[arg-type]


def tokens(spec: ParcelSpec, **options: object):
    return parcel_tokens(parcels(), spec, run_id="a", tr=2.0, **options)  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 4), windows=st.integers(1, 3), start=st.integers(0, 12))
def test_windows_equal_a_loop_and_go_back(width: int, windows: int, start: int) -> None:
    frames = width * windows
    cut_run = tokens(ParcelSpec(atlas="made", frames=frames, window=width))
    clip = cut_run.clip(start)
    z_FR = parcels().z_FR
    assert clip.signal_WSV.shape == (windows, 5, width)
    assert cut_run.layout.signal == (width,)
    assert (cut_run.layout.amplitude, cut_run.layout.regions) == ((1,), 5)
    for w in range(windows):
        assert clip.seconds_W[w] == pytest.approx(2.0 * width * (w + 0.5))
        for r in range(5):
            for f in range(width):
                assert clip.signal_WSV[w, r, f] == z_FR[start + w * width + f, r]
    np.testing.assert_array_equal(untokenize(cut_run, clip.signal_WSV), z_FR[start : start + frames])
    np.testing.assert_array_equal(untokenize(cut_run, np.arange(5)), np.arange(5))
    np.testing.assert_array_equal(untokenize(cut_run, np.arange(5)[:, None]), np.arange(5))


def test_amplitudes_are_relative_to_the_other_regions() -> None:
    clip = tokens(ParcelSpec(atlas="made", frames=6)).clip(0)
    np.testing.assert_array_equal(clip.amplitude_SP[:, 0], relative_amplitude(parcels().std_R))
    assert np.abs(clip.amplitude_SP).max() > 0.1


def test_profiles_are_fishers_z_of_the_clips_correlations() -> None:
    spec = ParcelSpec(atlas="made", frames=9, profile="correlation")
    cut_run = tokens(spec)
    clip = cut_run.clip(4)
    assert clip.signal_WSV.shape == (1, 5, 5)
    assert cut_run.layout.signal == (5,)
    expected = np.arctanh(np.corrcoef(parcels().z_FR[4:13].T) - np.eye(5))
    np.testing.assert_allclose(clip.signal_WSV[0], expected, atol=1e-5)
    assert clip.seconds_W.tolist() == [9.0]


def shrunk(z_LR: np.ndarray) -> np.ndarray:
    """Ledoit and Wolf's covariance, frame by frame as in their paper."""
    frames, regions = z_LR.shape
    sample = z_LR.T @ z_LR / frames
    target = np.trace(sample) / regions * np.eye(regions)
    scatter = sum(((np.outer(z, z) - sample) ** 2).sum() for z in z_LR) / frames**2
    share = min(1.0, scatter / ((sample - target) ** 2).sum())
    return share * target + (1 - share) * sample


@pytest.mark.parametrize("frames", [4, 24])  # fewer frames than regions, and more
def test_partial_profiles_are_what_two_regions_share_beyond_all_others(frames: int) -> None:
    """The twin regresses both on all the others, within the shrunk covariance, pair by pair."""
    z_FR = np.cumsum(parcels().z_FR, axis=1)  # each region goes with its neighbours
    spec = ParcelSpec(atlas="made", frames=frames, profile="partial")
    clip = parcel_tokens(parcels(z_FR=z_FR), spec, run_id="a", tr=1.0).clip(0)
    z_FR = z_FR[:frames].astype(float)
    covariance = shrunk((z_FR - z_FR.mean(0)) / z_FR.std(0))
    expected = np.zeros((5, 5))
    for a in range(5):
        for b in set(range(5)) - {a}:
            pair, others = [a, b], [r for r in range(5) if r not in (a, b)]
            slopes = np.linalg.solve(covariance[np.ix_(others, others)], covariance[np.ix_(others, pair)])
            left = covariance[np.ix_(pair, pair)] - covariance[np.ix_(pair, others)] @ slopes
            expected[a, b] = np.arctanh(left[0, 1] / np.sqrt(left[0, 0] * left[1, 1]))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(clip.signal_WSV[0], expected, atol=1e-4)


def test_what_goes_through_a_third_region_is_no_partial_correlation(rng: np.random.Generator) -> None:
    first, second, third = rng.standard_normal((3, 4000))
    second += first
    third += second
    series = np.stack([first, second, third], axis=1)
    kinds = ("correlation", "partial")
    plain, partial = (
        parcel_tokens_of_array(series, ParcelSpec(frames=4000, atlas="array", profile=kind)).clip(0)
        for kind in kinds
    )
    assert plain.signal_WSV[0, 0, 2] > 0.5
    assert abs(partial.signal_WSV[0, 0, 2]) < 0.05
    assert partial.signal_WSV[0, 0, 1] > 0.5


@pytest.mark.parametrize("kind", ["correlation", "partial"])
def test_profiles_of_still_and_of_equal_regions_are_finite(kind: Profile) -> None:
    z_FR = parcels().z_FR.copy()
    z_FR[:, 1] = z_FR[:, 0]
    z_FR[:, 2] = 0
    clip = parcel_tokens(
        parcels(z_FR=z_FR), ParcelSpec(atlas="made", frames=20, profile=kind), run_id="a", tr=1.0
    ).clip(0)
    assert np.isfinite(clip.signal_WSV).all()
    assert not clip.signal_WSV[0, 2].any()
    assert not clip.signal_WSV[0, :, 2].any()
    assert clip.signal_WSV[0, 0, 1] > (6 if kind == "correlation" else 0.5)


def test_two_regions_of_one_signal_and_a_run_without_any_have_partial_profiles() -> None:
    """Signs alone: their covariance is not shrunk, and has no inverse."""
    signs = np.where(np.arange(24) % 2, 1, -1).astype(np.float32)
    spec = ParcelSpec(atlas="made", frames=24, profile="partial")
    for z_FR, least in ((np.stack([signs] * 2, axis=1), 6.0), (np.zeros((24, 2), np.float32), 0.0)):
        clip = parcel_tokens(parcels(regions=2, z_FR=z_FR), spec, run_id="a", tr=1.0).clip(0)
        assert np.isfinite(clip.signal_WSV).all()
        assert clip.signal_WSV[0, 0, 1] >= least


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": 10, "window": 3}, "divisor of 10"),
        ({"frames": 10, "window": 0}, "divisor of 10"),
        ({"frames": 10, "window": 5, "profile": "correlation"}, "whole clip"),
        ({"frames": 2, "profile": "partial"}, "3 or more"),
        ({"frames": 0}, "positive"),
        ({"frames": 10, "profile": True}, "profile must be one of none, correlation, partial, got True"),
        ({"frames": 10, "profile": False}, "profile must be one of none, correlation, partial, got False"),
        (
            {"frames": 10, "profile": "partly"},
            "profile must be one of none, correlation, partial, got 'partly'",
        ),
    ],
)
def test_specs_that_cannot_work_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        ParcelSpec(**wrong)  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused() -> None:
    spec = ParcelSpec(atlas="made", frames=6)
    with pytest.raises(ParameterError, match="atlas must be other, got made"):
        tokens(replace(spec, atlas="other"))
    with pytest.raises(ParameterError, match=r"centres must be of shape \(5, 3\)"):
        tokens(spec, centres_R3=np.zeros((4, 3)))
    with pytest.raises(ParameterError, match="at least one clip of 60 frames, got 24"):
        tokens(replace(spec, frames=60))
    for shape in [(4,), (5, 2), (1, 5, 3), (2, 4, 6)]:
        with pytest.raises(ParameterError, match="values must be of shape"):
            untokenize(tokens(spec), np.zeros(shape))
    profile = tokens(replace(spec, profile="correlation"))
    with pytest.raises(ParameterError, match=r"of shape \(5,\), \(5, 1\), got"):
        untokenize(profile, profile.clip(0).signal_WSV)
    with pytest.raises(ParameterError, match="range within 0 to 24"):
        tokens(spec).clip(19)


def test_centres_are_passed_on_or_left_out() -> None:
    centres = np.arange(15.0).reshape(5, 3)
    spec = ParcelSpec(atlas="made", frames=6)
    np.testing.assert_array_equal(tokens(spec, centres_R3=centres).clip(0).centres_S3, centres)
    assert np.isnan(tokens(spec).clip(0).centres_S3).all()
    assert np.isnan(tokens(replace(spec, centres=False), centres_R3=centres).clip(0).centres_S3).all()


# --- arrays -----------------------------------------------------------------------------------------------


def test_an_array_is_scored_and_its_amplitudes_are_its_own(rng: np.random.Generator) -> None:
    raw = rng.normal([5, -3, 100, 0], [1, 2, 4, 8], size=(30, 4))
    cut_run = parcel_tokens_of_array(raw)
    clip = cut_run.clip(0)
    assert cut_run.spec.frames == 30
    z = (raw - raw.mean(0)) / raw.std(0, ddof=1)
    np.testing.assert_allclose(clip.signal_WSV[0], z.T, atol=1e-5)
    np.testing.assert_allclose(
        clip.amplitude_SP[:, 0], relative_amplitude(raw.std(0, ddof=1).astype(np.float32))
    )
    scored = parcel_tokens_of_array(z).clip(0)
    np.testing.assert_allclose(scored.signal_WSV, clip.signal_WSV, atol=1e-5)
    np.testing.assert_allclose(scored.amplitude_SP, 0, atol=1e-2)


def test_an_array_is_cut_as_the_cache_is(rng: np.random.Generator) -> None:
    spec = ParcelSpec(atlas="made", frames=8, window=4)
    from_array = parcel_tokens_of_array(parcels().raw(), spec, tr=2.0).clip(3)
    z_FR = (parcels().z_FR - parcels().z_FR.mean(0)) / parcels().z_FR.std(0, ddof=1)
    scored = parcels(z_FR=z_FR.astype(np.float32))
    from_cache = parcel_tokens(scored, spec, run_id="a", tr=2.0).clip(3)
    np.testing.assert_allclose(from_array.signal_WSV, from_cache.signal_WSV, atol=1e-4)
    np.testing.assert_array_equal(from_array.seconds_W, from_cache.seconds_W)


def test_one_value_a_region_is_taken_as_it_is() -> None:
    clip = parcel_tokens_of_array(np.array([3.0, -2, 0, 1e3])).clip(0)
    np.testing.assert_array_equal(clip.signal_WSV[0, :, 0], [3, -2, 0, 1000])
    np.testing.assert_array_equal(clip.amplitude_SP, 0)


def test_a_constant_region_is_silent_but_for_rounding() -> None:
    raw = np.full((6, 2), 1e6)
    raw[::2, 0] += 1e-4  # what rounding leaves of a constant
    raw[:, 1] += np.arange(6)
    clip = parcel_tokens_of_array(raw).clip(0)
    assert not clip.signal_WSV[0, 0].any()
    assert clip.signal_WSV[0, 1].any()


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((2, 2, 2)), np.zeros((0, 3)), np.array([1, np.nan]), np.array(3.0), np.array([[np.inf]])],
)
def test_arrays_that_are_no_series_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ParameterError, match="series must be finite, of shape"):
        parcel_tokens_of_array(wrong)


# --- where regions lie ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_parcels(derivative: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cohort = Cohort.from_derivatives(derivative)
    few = replace(cohort, table=cohort.table.head(2), runs=cohort.runs[:2])
    folder = tmp_path_factory.mktemp("with_parcels")
    return prepare(few, Recipe(confounds="6p"), folder, progress=False, atlases=["aal"])


def test_a_named_atlas_of_the_same_digest_tells_the_places(with_parcels: Cache) -> None:
    found = with_parcels.parcels(0, "aal")
    atlas = load_atlas("aal")
    centres = region_places(found)
    np.testing.assert_array_equal(centres, atlas.centres())
    for r, centre in enumerate(centres):  # each lies in its own region
        ijk = np.rint(np.linalg.inv(atlas.affine) @ [*centre, 1])[:3].astype(int)
        assert atlas.labels_XYZ[tuple(ijk)] == r + 1
    left = np.array([name.endswith("_L") for name in atlas.regions])
    assert (centres[left, 0] < 5).all()
    clip = cut(with_parcels, 0, ParcelSpec(atlas="aal", frames=20)).clip(0)
    np.testing.assert_array_equal(clip.centres_S3, centres.astype(np.float32))
    assert np.isfinite(collate([clip]).positions_BN4.numpy()).all()


def test_an_atlas_that_cannot_be_verified_tells_none(with_parcels: Cache) -> None:
    found = with_parcels.parcels(0, "aal")
    assert np.isnan(region_places(replace(found, digest="another"))).all()
    assert np.isnan(region_places(replace(found, atlas="my_own"))).all()


def test_published_series_are_not_placed_by_their_atlas_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """TaoWu's `schaefer100` carries a name that nilearn would fetch: nothing is fetched for it."""

    def never(name: str) -> None:
        raise AssertionError(f"asked for {name}")

    monkeypatch.setattr("neuro.tokens.regions.load_atlas", never)
    given = parcels(atlas="schaefer100", coverage_R=np.full(5, np.nan, np.float32))
    assert np.isnan(region_places(given)).all()


def test_an_atlas_that_cannot_be_fetched_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence would train one model with places, and predict with another without them."""

    def unreachable(name: str) -> None:
        raise HubUnreachableError(f"atlas {name}", must_be="fetched", got="no network")

    monkeypatch.setattr("neuro.tokens.regions.load_atlas", unreachable)
    with pytest.raises(HubUnreachableError, match="schaefer200"):
        region_places(parcels(atlas="schaefer200"))


def test_a_run_outside_a_cache_gets_the_parcels_that_preparing_gives(with_parcels: Cache) -> None:
    kept = with_parcels.parcels(0, "aal")
    made = parcels_of_run(with_parcels.run(0), "aal")
    assert (made.regions, made.digest) == (kept.regions, kept.digest)
    np.testing.assert_allclose(made.z_FR, kept.z_FR, atol=5e-3)  # voxels were kept in float16
    np.testing.assert_allclose(made.std_R, kept.std_R, rtol=2e-3)
    np.testing.assert_allclose(made.mean_R, kept.mean_R, rtol=1e-4)
    np.testing.assert_allclose(made.coverage_R, kept.coverage_R)
    spec = ParcelSpec(atlas="aal", frames=20)
    run = with_parcels.run(0)
    in_memory = replace(run, series_TV=np.array(run.series_TV))
    for one in (run, in_memory):
        np.testing.assert_allclose(
            cut_run(one, spec).clip(0).signal_WSV, cut(with_parcels, 0, spec).clip(0).signal_WSV, atol=5e-3
        )
    with pytest.raises(UnknownNameError):
        cut_run(in_memory, replace(spec, atlas="nothing"))
