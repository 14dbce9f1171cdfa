"""Slices as tokens: frozen features kept beside the run, places in mm, and maps of slices."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun, open_run
from data.errors import ParameterError
from neuro.tokens import (
    SliceSpec,
    SliceTokens,
    VolumeSpec,
    collate,
    cubes,
    frozen_features,
    slices,
    temporal_summary,
    untokenize,
)
from vision.backbones import Backbone, load_backbone

from .conftest import TINY_BACKBONE
from .made_runs import affine_of, ball, made_run

PICTURES = f"{TINY_BACKBONE},img_size=64"
SPEC = SliceSpec(frames=4, backbone=PICTURES, per_axis=2)


class Looks:
    """How often the model looked."""

    def __init__(self, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        look = backbone.image_features

        def counted(pixels):
            self.count += 1
            return look(pixels)

        monkeypatch.setattr(backbone, "image_features", counted)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(PICTURES, device="cpu", shared=False)


@pytest.fixture
def looks(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(backbone, monkeypatch)


@pytest.fixture
def run(cache: Cache, tmp_path: Path) -> CachedRun:
    """A cached run of its own folder."""
    first = cache.run(0)
    folder = tmp_path / first.run_id
    shutil.copytree(cache.root / "runs" / first.run_id, folder)
    shutil.rmtree(folder / "slices", ignore_errors=True)
    return open_run(folder, first.participant_id)


def kept(run: CachedRun) -> list[Path]:
    folder = Path(run.series_TV.filename).parent / "slices"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def test_a_token_is_a_slice_at_a_sampled_frame(run: CachedRun, backbone: Backbone) -> None:
    cut = slices(run, SPEC, backbone)
    features_TSF = frozen_features(run, SPEC, backbone)
    assert features_TSF.shape == (16, 6, backbone.feature_dim)
    assert (cut.n_frames, cut.tr) == (16, 6.0)
    clip = cut.clip(3)
    np.testing.assert_array_equal(clip.signal_WSV, features_TSF[3:7])
    np.testing.assert_allclose(clip.seconds_W, [1, 7, 13, 19])  # the middles of frames of 2 s, every 6 s
    assert cut.layout.signal == (backbone.feature_dim,)
    assert (cut.layout.amplitude, cut.layout.regions) == ((0,), 6)
    batch = collate([clip, cut.clip(0)])
    assert batch.amplitude_BSP.shape == (2, 6, 0)
    assert batch.numbered
    with pytest.raises(ParameterError, match="range within 0 to 16"):
        cut.clip(13)


def test_freds_recipe_is_one_line(run: CachedRun, backbone: Backbone) -> None:
    summary = temporal_summary(slices(run, SPEC, backbone))
    features_TSF = frozen_features(run, SPEC, backbone)
    mean, log_std = summary.reshape(2, 6, -1)
    np.testing.assert_allclose(mean, features_TSF.mean(0), atol=1e-6)
    np.testing.assert_allclose(log_std, np.log(features_TSF.std(0) + 1e-3), atol=1e-5)


def test_features_are_computed_once(run: CachedRun, backbone: Backbone, looks: Looks) -> None:
    first = frozen_features(run, SPEC, backbone)
    seen = looks.count
    assert seen > 0
    again = frozen_features(run, SPEC, backbone)
    assert looks.count == seen
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(again, first)
    frozen_features(run, replace(SPEC, frames=7), backbone)  # the length of a clip changes no feature
    assert looks.count == seen
    assert [path.suffix for path in kept(run)] == [".json", ".npy"]


@pytest.mark.parametrize("other", [{"per_axis": 3}, {"side": 32}, {"every_s": 12.0}])
def test_another_spec_is_kept_apart(
    run: CachedRun, backbone: Backbone, looks: Looks, other: dict[str, float]
) -> None:
    frozen_features(run, SPEC, backbone)
    seen = looks.count
    changed = replace(SPEC, **other)  # type: ignore[arg-type]
    frozen_features(run, changed, backbone)
    assert looks.count > seen
    seen = looks.count
    frozen_features(run, SPEC, backbone)
    frozen_features(run, changed, backbone)
    assert looks.count == seen
    assert len(kept(run)) == 4


def test_another_model_is_kept_apart(run: CachedRun, backbone: Backbone) -> None:
    plain = np.array(frozen_features(run, SPEC, backbone))
    other = load_backbone(PICTURES, device="cpu", shared=False, seed=1)
    found = frozen_features(run, SPEC, other)
    assert np.abs(found - plain).max() > 1e-3
    np.testing.assert_array_equal(frozen_features(run, SPEC, backbone), plain)


def test_a_run_that_was_changed_is_looked_at_anew_and_not_kept(
    run: CachedRun, backbone: Backbone, looks: Looks
) -> None:
    plain = np.array(frozen_features(run, SPEC, backbone))
    before = [path.stat().st_mtime_ns for path in kept(run)]
    quiet = np.array(run.std_V)
    quiet[: len(quiet) // 2] *= 0.2
    changed = [
        replace(run, std_V=quiet),
        replace(run, std_V=run.std_V * np.linspace(0.1, 2, len(quiet), dtype=np.float32)),
        replace(run, series_TV=run.series_TV[:30]),
        replace(run, series_TV=np.array(run.series_TV)[::-1].copy()),
    ]
    for one in changed:
        seen = looks.count
        found = frozen_features(one, SPEC, backbone)
        assert looks.count > seen
        assert found.shape != plain.shape or np.abs(found - plain).max() > 1e-4
    assert [path.stat().st_mtime_ns for path in kept(run)] == before


def test_what_is_stale_or_damaged_is_computed_again(run: CachedRun, backbone: Backbone, looks: Looks) -> None:
    plain = np.array(frozen_features(run, SPEC, backbone))
    table, series = kept(run)

    def stale() -> None:
        table.write_text(json.dumps({**json.loads(table.read_text()), "run": "another"}))

    def cut_short() -> None:
        series.write_bytes(series.read_bytes()[:500])

    def of_another_shape() -> None:
        np.save(series, np.zeros((3, 2, 1), np.float32))

    for damage in (
        stale,
        cut_short,
        of_another_shape,
        lambda: table.write_text("{"),
        series.unlink,
        table.unlink,
    ):
        damage()
        seen = looks.count
        np.testing.assert_array_equal(frozen_features(run, SPEC, backbone), plain)
        assert looks.count > seen
        seen = looks.count
        np.testing.assert_array_equal(frozen_features(run, SPEC, backbone), plain)
        assert looks.count == seen


@pytest.mark.parametrize("name", ["std.npy", "series.npy"])
def test_a_run_that_was_prepared_anew_is_looked_at_anew(
    run: CachedRun, backbone: Backbone, looks: Looks, name: str
) -> None:
    """In the same folder, of the same shape: only what it holds is another."""
    plain = np.array(frozen_features(run, SPEC, backbone))
    path = Path(run.series_TV.filename).parent / name
    values = np.load(path)
    changed = values * np.linspace(0.2, 2, values.shape[-1]) if name == "std.npy" else values[::-1]
    path.unlink()  # the open run's map stays whole
    np.save(path, changed.astype(values.dtype))
    seen = looks.count
    found = frozen_features(open_run(path.parent, "sub-x"), SPEC, backbone)
    assert looks.count > seen
    assert np.abs(found - plain).max() > 1e-4


def test_an_interrupted_writing_leaves_nothing_that_speaks(
    run: CachedRun, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of what lay there before must not vouch for the new series."""
    frozen_features(run, SPEC, backbone)
    table, series = kept(run)
    table.write_text(json.dumps({**json.loads(table.read_text()), "run": "another"}))

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("neuro.tokens.slice_features.write_whole", broken)
        with pytest.raises(KeyboardInterrupt):
            frozen_features(run, SPEC, backbone)
    assert kept(run) == [series]
    looked = Looks(backbone, monkeypatch)
    frozen_features(run, SPEC, backbone)
    assert looked.count > 0


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(
    run: CachedRun, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr("neuro.tokens.slice_features.write_whole", read_only)
    assert frozen_features(run, SPEC, backbone).shape == (16, 6, backbone.feature_dim)


def test_the_model_is_the_one_that_the_spec_names(run: CachedRun, backbone: Backbone) -> None:
    with pytest.raises(ParameterError, match="backbone must be the one that is cut for"):
        slices(run, replace(SPEC, backbone="embedded:lite"), backbone)


@pytest.mark.parametrize("wrong", [{"per_axis": 0}, {"side": 0}, {"every_s": 0.0}, {"frames": 0}])
def test_specs_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="positive"):
        SliceSpec(**wrong)  # type: ignore[arg-type]


# --- places -----------------------------------------------------------------------------------------------


def without_model(run: CachedRun, monkeypatch: pytest.MonkeyPatch, per_axis: int = 2) -> SliceTokens:
    """Slices whose features are their numbers: no picture model is needed for places."""
    spec = SliceSpec(frames=1, per_axis=per_axis)

    def numbers(run: CachedRun, spec: SliceSpec, backbone: Backbone | None) -> np.ndarray:
        frames = len(range(0, run.n_frames, spec.step(run.tr)))
        return np.broadcast_to(np.arange(spec.slices, dtype=np.float32)[:, None], (frames, spec.slices, 1))

    monkeypatch.setitem(slices.__globals__, "frozen_features", numbers)
    return slices(run, spec)


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_centres_are_those_of_the_slices_brain(monkeypatch: pytest.MonkeyPatch, turn: float) -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((9, 8, 7)) > 0.5
    affine = affine_of((3, 4, 5), (-20, 10, 3), turn)
    cut = without_model(made_run(mask, affine=affine), monkeypatch)
    for (axis, index), centre in zip(cut.places, cut.centres_S3, strict=True):
        inside = [affine @ [*ijk, 1] for ijk in np.argwhere(mask) if ijk[axis] == index]
        np.testing.assert_allclose(centre, np.mean(inside, axis=0)[:3], atol=1e-4)


def test_a_slice_through_a_gap_has_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.ones((9, 4, 4), bool)
    mask[3:7] = False
    cut = without_model(made_run(mask, affine=affine_of()), monkeypatch, per_axis=1)
    assert cut.places[0] == (0, 4)
    np.testing.assert_allclose(cut.centres_S3[0], [16, 6, 6])


def test_the_same_brain_on_another_grid_has_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        without_model(made_run(mask, affine=affine), monkeypatch).centres_S3
        for mask, affine in (
            ball((4, 4, 4), (100, 100, 100), corner_mm=(-50, -50, -50)),
            ball((2, 3, 2.5), (120, 110, 90), corner_mm=(-70, -48, -44)),
        )
    ]
    np.testing.assert_allclose(found[0], found[1], atol=4)


def test_values_are_painted_onto_slices_and_averaged_where_they_cross(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    mask = rng.random((6, 5, 7)) > 0.3
    cut = without_model(made_run(mask), monkeypatch)
    values = rng.normal(size=len(cut.places)).astype(np.float32)
    volume = untokenize(cut, values)
    np.testing.assert_array_equal(untokenize(cut, values[:, None]), volume)
    for ijk in np.ndindex(mask.shape):
        on = [value for (axis, index), value in zip(cut.places, values, strict=True) if ijk[axis] == index]
        expected = np.mean(on) if on and mask[ijk] else 0
        assert volume[ijk] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ParameterError, match="values must be of shape"):
        untokenize(cut, cut.clip(0).signal_WSV)


def test_slices_and_cubes_of_one_run_speak_of_the_same_brain(monkeypatch: pytest.MonkeyPatch) -> None:
    mask, affine = ball((4, 4, 4), (100, 100, 100), corner_mm=(-50, -50, -50))
    run = made_run(mask, affine=affine)
    cut = without_model(run, monkeypatch)
    np.testing.assert_allclose(
        cut.centres_S3.mean(0), cubes(run, VolumeSpec(frames=1)).centres_S3.mean(0), atol=4
    )
