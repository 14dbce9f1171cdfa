"""What a cached run gives back: z-scores, raw units, another grid and TR, parcels, quality."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data.caches import run_writing
from data.caches.cache import Cache, prepare
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.errors import BadFileError, ParameterError
from data.parcels.atlases import load_atlas
from data.quality.run_quality import FACTS

RECIPE = Recipe(confounds="6p")


@pytest.fixture
def cohort(derivative) -> Cohort:
    return Cohort.from_derivatives(derivative)


@pytest.fixture
def atlas_path(tmp_path, derivative) -> Path:
    """Two regions that cut the brain of the fixture's runs along x."""
    image = nib.load(next(derivative.rglob("*brain_mask.nii.gz")))
    labels = np.zeros(image.shape, np.int16)
    labels[:3], labels[3:] = 4, 9
    nib.save(nib.Nifti1Image(labels, image.affine), tmp_path / "halves.nii.gz")
    return tmp_path / "halves.nii.gz"


def prepared(cohort: Cohort, recipe: Recipe, out: Path, **options) -> Cache:
    return prepare(cohort, recipe, out, progress=False, **options)


def test_int8_stores_the_same_run_in_half_the_bytes(cohort, tmp_path):
    half = prepared(cohort, RECIPE, tmp_path / "float16").run(1)
    small = prepared(cohort, replace(RECIPE, precision="int8"), tmp_path / "int8").run(1)
    assert small.series_TV.dtype == np.int8
    assert isinstance(small.series_TV, np.memmap)
    assert small.series_TV.nbytes * 2 == half.series_TV.nbytes
    z_TV = half.frames()
    assert z_TV.dtype == small.frames().dtype == np.float32
    np.testing.assert_array_equal(z_TV, half.series_TV.astype(np.float32))
    apart_TV = np.abs(small.frames() - z_TV)
    assert (apart_TV <= np.abs(z_TV).max(0) / 254 * 1.01 + 2.0**-11 * np.abs(z_TV)).all()
    assert apart_TV.max() > 0
    np.testing.assert_allclose(small.scale_V, np.abs(z_TV).max(0) / 127, rtol=2e-3)
    np.testing.assert_array_equal(small.std_V, half.std_V)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_the_raw_signal_can_be_had_back(derivative, tmp_path, precision):
    """Where cleaning takes nothing away, what comes back is what was scanned, up to the stated error."""
    recipe = Recipe(confounds="none", detrend=False, high_pass=None, low_pass=None, precision=precision)
    cohort = Cohort.from_derivatives(derivative)
    run = prepared(cohort, recipe, tmp_path / "cache").run(0)
    image = nib.load(cohort.runs[0].bold)
    scanned_TV = image.get_fdata()[run.mask_XYZ].T
    error_V = run.std_V * (np.abs(run.frames()).max(0) / 254 * 1.01 if precision == "int8" else 2.5e-3)
    assert (np.abs(run.raw() - scanned_TV) <= error_V + 1e-3).all()
    np.testing.assert_array_equal(run.raw(3, 7), run.raw()[3:7])
    frame_XYZ = np.zeros(run.mask_XYZ.shape, np.float32)
    frame_XYZ[run.mask_XYZ] = run.raw(5, 6)[0]
    np.testing.assert_allclose(frame_XYZ[run.mask_XYZ], scanned_TV[5], atol=error_V.max() + 1e-3)


def test_frames_that_are_not_there_are_refused(cohort, tmp_path):
    run = prepared(cohort, RECIPE, tmp_path / "cache").run(0)
    assert run.frames(78).shape == (2, 80)
    for start, stop in ((-1, 4), (4, 4), (70, 81), (80, None)):
        with pytest.raises(ParameterError, match=r"frames of run sub-01_task-rest must be a range within 0"):
            run.frames(start, stop)


def test_intensity_scales_mean_and_std_and_leaves_z_scores(cohort, tmp_path):
    plain = prepared(cohort, RECIPE, tmp_path / "none").run(0)
    percent = prepared(cohort, replace(RECIPE, intensity="percent"), tmp_path / "percent").run(0)
    grand = prepared(cohort, replace(RECIPE, intensity="grand-mean"), tmp_path / "grand").run(0)
    for scaled in (percent, grand):
        np.testing.assert_array_equal(scaled.series_TV, plain.series_TV)
    np.testing.assert_allclose(percent.mean_V, 100, rtol=1e-5)
    np.testing.assert_allclose(percent.std_V, plain.std_V / plain.mean_V * 100, rtol=1e-5)
    np.testing.assert_allclose(grand.std_V, plain.std_V / plain.mean_V.mean() * 100, rtol=1e-4)
    assert grand.mean_V.mean() == pytest.approx(100, rel=1e-4)


def test_a_voxel_without_a_percentage_counts_as_constant(cohort, tmp_path):
    path = cohort.runs[0].bold
    image = nib.load(path)
    data = image.get_fdata(dtype=np.float32)
    data[2, 2, 2] -= 1000  # air: about zero
    nib.save(nib.Nifti1Image(data, image.affine, image.header), path)
    cache = prepared(cohort, replace(RECIPE, intensity="percent"), tmp_path / "cache")
    run = cache.run(0)
    assert cache.table["n_constant"][0] == 1
    assert (run.std_V == 0).sum() == 1
    assert not run.frames()[:, run.std_V == 0].any()


def test_another_grid_and_repetition_time_are_those_of_the_run(cohort, tmp_path):
    recipe = replace(RECIPE, voxel_mm=6.0, tr=1.5)
    cache = prepared(cohort, recipe, tmp_path / "cache")
    run = cache.run(0)
    np.testing.assert_allclose(np.diag(run.affine)[:3], 6)
    assert run.mask_XYZ.sum() == run.series_TV.shape[1] == cache.table["n_voxels"][0]
    assert run.tr == cache.table["tr"][0] == 1.5
    assert run.facts["tr_raw"] == 2.0
    assert run.n_frames == 106  # 79 steps of 2 s hold 105 of 1.5 s
    np.testing.assert_allclose(run.frames().std(0, ddof=1), 1, atol=2e-3)
    # All runs lie on one grid.
    assert {cache.run(i).mask_XYZ.shape for i in range(4)} == {run.mask_XYZ.shape}


def test_a_grid_that_does_not_fit_names_the_run(cohort, tmp_path):
    with pytest.raises(ParameterError, match=r"sub-01_.*bold.nii.gz: voxel_mm must be"):
        prepared(cohort, replace(RECIPE, voxel_mm=90.0), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_quality_and_trace_lie_beside_the_series(cohort, tmp_path):
    cache = prepared(cohort, RECIPE, tmp_path / "cache")
    facts = cache.run(2).facts["quality"]
    assert set(FACTS) <= facts.keys()
    assert facts["fd_mean"] == pytest.approx(cache.table["fd_mean"][2], abs=1e-4)
    assert facts["tsnr"] > 10
    trace = pd.read_csv(cache.root / "runs" / "sub-03_task-rest" / "trace.tsv", sep="\t", na_values=["n/a"])
    assert len(trace) == 80
    assert {"fd", "dvars", "kept"} <= set(trace)


def test_parcels_of_an_atlas_are_the_mean_of_its_cleaned_voxels(cohort, tmp_path, atlas_path):
    cache = prepared(cohort, RECIPE, tmp_path / "cache", atlases=[atlas_path])
    assert cache.atlases == Cache.open(tmp_path / "cache").atlases == ("halves",)
    parcels, run = cache.parcels(1, "halves"), cache.run(1)
    labels_V = nib.load(atlas_path).get_fdata()[run.mask_XYZ]
    for region, value in enumerate((4, 9)):
        inside_V = labels_V == value
        wanted_T = (run.frames()[:, inside_V] * run.std_V[inside_V]).mean(1)
        np.testing.assert_allclose(parcels.z_FR[:, region], wanted_T / wanted_T.std(ddof=1), atol=5e-3)
        np.testing.assert_allclose(parcels.std_R[region], wanted_T.std(ddof=1), rtol=2e-3)
        np.testing.assert_allclose(parcels.mean_R[region], run.mean_V[inside_V].mean(), rtol=1e-5)
    with pytest.raises(ParameterError, match=r"one of the cache's \(halves\), got aal"):
        cache.parcels(0, "aal")


def test_an_atlas_is_added_without_cleaning_the_voxels_again(cohort, tmp_path, atlas_path, monkeypatch):
    out = tmp_path / "cache"
    at_once = prepared(cohort, RECIPE, tmp_path / "at-once", atlases=[atlas_path])
    prepared(cohort, RECIPE, out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.npy")}
    monkeypatch.setattr(run_writing, "clean_into", lambda *_: pytest.fail("voxels were cleaned"))
    cache = prepared(cohort, RECIPE, out, atlases=[atlas_path])
    assert {p: p.stat().st_mtime_ns for p in before} == before
    for i in range(4):
        np.testing.assert_array_equal(cache.parcels(i, "halves").z_FR, at_once.parcels(i, "halves").z_FR)
    assert json.loads((out / "runs/sub-01_task-rest/run.json").read_text()) == json.loads(
        (tmp_path / "at-once/runs/sub-01_task-rest/run.json").read_text()
    )
    # And another one under the same name takes its place; asking for none keeps what is there.
    labels = nib.load(atlas_path)
    nib.save(nib.Nifti1Image((labels.get_fdata() > 4).astype(np.int16), labels.affine), atlas_path)
    assert (
        len(prepared(cohort, RECIPE, out, atlases=[load_atlas(atlas_path)]).parcels(0, "halves").regions) == 1
    )
    assert prepared(cohort, RECIPE, out).atlases == ("halves",)


def test_atlases_that_cannot_be_told_apart_or_do_not_fit_are_refused(cohort, tmp_path, atlas_path):
    with pytest.raises(ParameterError, match="different names, got 'halves' twice"):
        prepared(cohort, RECIPE, tmp_path / "cache", atlases=[atlas_path, atlas_path])
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = 5000
    far = tmp_path / "far.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.int16), affine), far)
    with pytest.raises(ParameterError, match=r"sub-01_.*bold.nii.gz: atlas far must be of the run's space"):
        prepared(cohort, RECIPE, tmp_path / "cache", atlases=[far])
    assert not (tmp_path / "cache").exists()


def test_files_of_another_run_or_precision_are_noticed(cohort, tmp_path):
    cache = prepared(cohort, RECIPE, tmp_path / "cache")
    folder = cache.root / "runs" / "sub-01_task-rest"
    series = np.load(folder / "series.npy")
    for wrong in (series[:-1], (10 * series).astype(np.int8)):
        np.save(folder / "series.npy", wrong)
        with pytest.raises(BadFileError, match=r"must be whole, got series.npy is not of this run"):
            cache.run(0)
    (folder / "series.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(BadFileError, match="cached run must be whole"):
        cache.run(0)
    (folder / "run.json").write_text('{"shape": null}')
    with pytest.raises(BadFileError, match=r"one with voxels, got parcel series only"):
        cache.run(0)


def test_a_cache_of_another_version_or_with_a_broken_table_is_refused(cohort, tmp_path):
    cache = prepared(cohort, RECIPE, tmp_path / "cache")
    shutil.copytree(cache.root, tmp_path / "old")
    written = json.loads((tmp_path / "old/recipe.json").read_text())
    for change in ({"format": 1}, {"identity": "6p-00000000"}):
        (tmp_path / "old/recipe.json").write_text(json.dumps({**written, **change}))
        with pytest.raises(BadFileError, match="cache's recipe must be one that this version wrote"):
            Cache.open(tmp_path / "old")
        with pytest.raises(BadFileError, match="cache's recipe must be one that this version wrote"):
            prepared(cohort, RECIPE, tmp_path / "old")
    (cache.root / "cohort.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFileError, match=r"cohort.tsv: cache's table must be as `prepare` wrote it"):
        Cache.open(cache.root)
