"""One contract for every kind of tokens, by the registry; specs as plain data and back."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun
from data.errors import BadFileError, ParameterError, UnknownNameError
from data.parcels.series import Parcels
from neuro.tokens import (
    KINDS,
    ParcelSpec,
    RunTokens,
    SliceSpec,
    TokenSpec,
    TubeletSpec,
    VolumeSpec,
    collate,
    cut,
    cut_run,
    spec_as_dict,
    spec_from,
    untokenize,
)
from neuro.training.augment import AugmentConfig, augmented
from neuro.training.mix import mixed

from .conftest import TINY_BACKBONE

PICTURES = f"{TINY_BACKBONE},img_size=64"
# At least one of every kind; a new kind without an example fails below.
EXAMPLES: list[TokenSpec] = [
    TubeletSpec(frames=6, window=3, patch_mm=24),
    VolumeSpec(frames=3, patch_mm=24),
    SliceSpec(frames=5, backbone=PICTURES, per_axis=1),
    ParcelSpec(frames=6, window=2, atlas="made"),
    ParcelSpec(frames=6, atlas="made", profile="correlation"),
    ParcelSpec(frames=6, atlas="made", profile="partial"),
]
every = pytest.mark.parametrize("spec", EXAMPLES, ids=lambda spec: spec.kind)


@pytest.fixture(scope="module")
def both(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Voxels and parcels: those of the made atlas are written beside two runs of a copy."""
    root = tmp_path_factory.mktemp("both") / "cache"
    shutil.copytree(cache.root, root)
    cache = Cache.open(root)
    rng = np.random.default_rng(0)
    for i in range(2):
        frames = cache.run(i).n_frames
        made = Parcels(
            atlas="made",
            digest="0",
            regions=("a", "b", "c", "d"),
            z_FR=rng.standard_normal((frames, 4)).astype(np.float32),
            mean_R=np.ones(4, np.float32),
            std_R=np.array([1, 2, 3, 4], np.float32),
            coverage_R=np.ones(4, np.float32),
        )
        made.write(cache.root / "runs" / str(cache.table.iloc[i]["run_id"]))
    return Cache.open(cache.root)


@pytest.fixture
def cut_of(both: Cache):
    def cut_example(spec: TokenSpec, i: int = 0) -> RunTokens:
        return cut(both, i, spec)

    return cut_example


def test_every_kind_has_an_example() -> None:
    assert {spec.kind for spec in EXAMPLES} == set(KINDS) == {"tubelet", "volume", "slice", "parcel"}
    assert all(KINDS[kind].kind == kind for kind in KINDS)
    assert all(isinstance(KINDS[kind](), TokenSpec) for kind in KINDS)


@every
def test_clips_keep_the_contract(spec: TokenSpec, cut_of) -> None:
    run = cut_of(spec)
    places, values, parts = len(run.centres_S3), np.prod(run.layout.signal), np.prod(run.layout.amplitude)
    assert run.layout.kind == spec.kind
    assert run.layout.regions in (0, places)
    assert run.clip_starts()[:2] == [0, spec.frames]
    assert run.last_start() == run.n_frames - spec.frames
    for start in (*run.clip_starts(), run.last_start()):
        clip = run.clip(start)
        windows = len(clip.seconds_W)
        assert clip.signal_WSV.shape == (windows, places, values)
        assert clip.amplitude_SP.shape == (places, parts)
        assert clip.centres_S3.shape == (places, 3)
        assert clip.numbered == (run.layout.regions > 0)
        arrays = (clip.signal_WSV, clip.amplitude_SP, clip.centres_S3, clip.seconds_W)
        assert all(array.dtype == np.float32 for array in arrays)
        assert np.isfinite(clip.signal_WSV).all()
        assert np.isfinite(clip.amplitude_SP).all()
        nowhere = np.isnan(clip.centres_S3)
        assert nowhere.all() if spec.kind == "parcel" else not nowhere.any()
        assert (np.diff(clip.seconds_W) > 0).all()
        assert 0 < clip.seconds_W[0] <= clip.seconds_W[-1] < spec.frames * run.tr
    for start in (-1, run.last_start() + 1):
        with pytest.raises(ParameterError, match="range within"):
            run.clip(start)


@every
def test_a_clip_is_cut_from_its_series(spec: TokenSpec, cut_of) -> None:
    run = cut_of(spec)
    series = run.series(2, 2 + spec.frames)
    assert series.dtype == np.float32
    assert series.flags.writeable
    np.testing.assert_array_equal(run.clip_of(series).signal_WSV, run.clip(2).signal_WSV)
    series += 1  # the caller's own
    assert np.abs(run.series(2, 2 + spec.frames) - series).min() > 0.9


@every
def test_runs_go_into_one_batch(spec: TokenSpec, cut_of) -> None:
    runs = [cut_of(spec, i) for i in range(2)]
    assert runs[0].layout == runs[1].layout
    clips = [run.clip(1) for run in runs]
    batch = collate(clips)
    windows, places = len(clips[0].seconds_W), max(len(clip.centres_S3) for clip in clips)
    assert batch.signal_BNV.shape == (2, windows * places, np.prod(runs[0].layout.signal))
    assert batch.mask_BN.sum(1).tolist() == [windows * len(clip.centres_S3) for clip in clips]
    for b, clip in enumerate(clips):
        count = len(clip.centres_S3)
        found = batch.signal_BNV[b].reshape(windows, places, -1)[:, :count]
        np.testing.assert_array_equal(found, clip.signal_WSV)
    chosen = batch.at_places(torch.tensor([[1, 0], [0, 2]]))
    assert chosen.signal_BNV.shape[1] == 2 * windows
    np.testing.assert_array_equal(chosen.signal_BNV[1, 1], clips[1].signal_WSV[0, 2])
    np.testing.assert_array_equal(chosen.amplitude_BSP[0, 0], clips[0].amplitude_SP[1])


@every
def test_values_of_places_go_back(spec: TokenSpec, cut_of) -> None:
    run = cut_of(spec)
    values = np.arange(1.0, len(run.centres_S3) + 1)
    back = untokenize(run, values)
    assert back.dtype == np.float32
    assert back.shape == ((4,) if spec.kind == "parcel" else run.shape)
    assert set(np.unique(back)) <= {0, *values} or spec.kind == "slice"
    assert back.max() > 0
    with pytest.raises(ParameterError, match="values must be of shape"):
        untokenize(run, values[:-1])


@every
def test_runs_go_to_other_processes(spec: TokenSpec, cut_of) -> None:
    run = cut_of(spec)
    by_joblib = io.BytesIO()
    joblib.dump(run, by_joblib)
    by_joblib.seek(0)
    for again in (pickle.loads(pickle.dumps(run)), joblib.load(by_joblib)):
        assert (again.spec, again.layout, again.run_id) == (run.spec, run.layout, run.run_id)
        np.testing.assert_array_equal(again.clip(1).signal_WSV, run.clip(1).signal_WSV)


@every
def test_every_kind_can_be_augmented_and_mixed(spec: TokenSpec, cut_of) -> None:
    config = AugmentConfig(frame_jitter=0.2, noise=0.3, amplitude=0.5)
    runs = [cut_of(spec, i) for i in range(2)]
    clips = [augmented(run, np.random.default_rng(i), config) for i, run in enumerate(runs)]
    for clip, run in zip(clips, runs, strict=True):
        assert clip.signal_WSV.shape == run.clip(0).signal_WSV.shape
        assert clip.signal_WSV.dtype == clip.amplitude_SP.dtype == np.float32
        assert np.isfinite(clip.signal_WSV).all()
    batch = collate(clips)
    found = mixed(batch, torch.tensor([1, 0]), 0.7)
    assert found.signal_BNV.shape == batch.signal_BNV.shape
    assert found.amplitude_BSP.shape == batch.amplitude_BSP.shape


@every
def test_a_short_run_is_refused(spec: TokenSpec, cut_of) -> None:
    changed = {"window": None} if spec.kind in ("tubelet", "parcel") else {}
    with pytest.raises(ParameterError, match="at least one clip of 500 frames"):
        cut_of(replace(spec, frames=500, **changed))


@every
def test_one_run_is_cut_as_in_its_cache(spec: TokenSpec, both: Cache) -> None:
    from_cache, alone = cut(both, 0, spec), cut_run(both.run(0), spec)
    assert alone.layout == from_cache.layout
    assert (alone.run_id, alone.tr) == (from_cache.run_id, from_cache.tr)
    np.testing.assert_array_equal(alone.clip(1).signal_WSV, from_cache.clip(1).signal_WSV)


def test_what_a_cache_lacks_is_told(both: Cache) -> None:
    with pytest.raises(ParameterError, match=r"one of the cache's .*made.*got aal"):
        cut(both, 0, ParcelSpec(frames=6))
    run: CachedRun = both.run(0)

    class Odd(TokenSpec):
        kind = "odd"

    with pytest.raises(ParameterError, match="tubelet, volume, slice, parcel, got Odd"):
        cut_run(run, Odd())


def test_a_cache_without_voxels_gives_parcels(tmp_path: Path) -> None:
    from data.exchange.parcel_cohort import ParcelCohort, prepare_parcels

    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "siteA.npz",
        subject=np.array(["a", "b"]),
        y=np.array([0, 1]),
        ts_AAL116=rng.standard_normal((2, 30, 6)).astype(np.float32),
        tr=np.array(2.5),
    )
    published = prepare_parcels(ParcelCohort.from_npz([tmp_path / "siteA.npz"]), tmp_path / "cache")
    spec = ParcelSpec(atlas="AAL116", frames=30)
    run = cut(published, 1, spec)
    assert (run.tr, run.layout.regions) == (2.5, 6)
    assert np.isnan(run.centres_S3).all()
    np.testing.assert_array_equal(run.clip(0).signal_WSV[0].T, published.parcels(1, "AAL116").z_FR)
    with pytest.raises(BadFileError, match="parcel series only"):
        cut(published, 0, TubeletSpec())


# --- specs as data ----------------------------------------------------------------------------------------


@every
def test_specs_survive_json(spec: TokenSpec) -> None:
    data = spec_as_dict(spec)
    assert data["kind"] == spec.kind
    assert None not in data.values()
    assert spec_from(json.loads(json.dumps(data))) == spec


def test_a_preset_in_toml_is_a_spec() -> None:
    preset = tomllib.loads('kind = "tubelet"\nframes = 40\nwindow = 10\npatch_mm = 6\n')
    spec = spec_from(preset)
    assert spec == TubeletSpec(frames=40, window=10, patch_mm=6.0)
    assert type(spec.patch_mm) is float
    assert preset["kind"] == "tubelet"  # the mapping is left as it was
    assert spec_from({"kind": "volume"}) == VolumeSpec()


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"kind": "tubelt"}, "got tubelt; did you mean tubelet?"),
        ({}, "kind of tokens must be one of tubelet, volume, slice, parcel, got none"),
        ({"kind": "tubelet", "patch": 3}, "got patch; did you mean patch_mm"),
        ({"kind": "volume", "window": 3}, "field of volume tokens must be one of"),
    ],
)
def test_unknown_kinds_and_fields_are_told_with_the_nearest(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(UnknownNameError) as told:
        spec_from(mapping)
    assert message in str(told.value)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"kind": "tubelet", "frames": "20"}, "frames must be of type int, got '20'"),
        ({"kind": "tubelet", "frames": 20.0}, "frames must be of type int, got 20.0"),
        ({"kind": "tubelet", "frames": True}, "frames must be of type int, got True"),
        ({"kind": "tubelet", "window": [1]}, "window must be of type int or nothing"),
        ({"kind": "parcel", "atlas": 3}, "atlas must be of type str"),
        ({"kind": "parcel", "profile": True}, "profile must be one of none, correlation, partial, got True"),
        ({"kind": "parcel", "profile": ["none"]}, "profile must be one of none, correlation, partial"),
        ({"kind": "tubelet", "whole_grid": 1}, "whole_grid must be of type bool"),
        ({"kind": "tubelet", "frames": -1}, "frames must be positive"),
    ],
)
def test_values_that_cannot_work_are_told(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match="must be") as told:
        spec_from(mapping)
    assert message in str(told.value)


def test_every_field_is_of_a_type_that_toml_knows() -> None:
    for spec in EXAMPLES:
        for field in fields(spec):
            assert type(getattr(spec, field.name)) in (int, float, str, bool, type(None))
