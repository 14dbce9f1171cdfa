"""The cache: what it holds, that it resumes, that it is whole or absent, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.signal import clean

from data.caches import run_writing
from data.caches.cache import Cache, prepare
from data.cleaning.confounds import load_confounds
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.errors import BadFileError, FingerprintMismatchError, ParameterError

RECIPE = Recipe(confounds="6p")


@pytest.fixture
def cohort(derivative) -> Cohort:
    return Cohort.from_derivatives(derivative)


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "cache"


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def cut_short(path: str | Path) -> None:
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) // 2])


def test_a_cached_run_is_the_cleaned_run(cohort, out):
    cache = prepare(cohort, RECIPE, out, progress=False)
    assert len(cache) == 4
    for i in range(4):
        run, row = cache.run(i), cohort.table.iloc[i]
        assert (run.run_id, run.participant_id) == (row["run_id"], row["participant_id"])
        image, mask_XYZ = nib.load(row["bold"]), nib.load(row["mask"]).get_fdata() != 0
        raw_TV = image.get_fdata()[mask_XYZ].T
        confounds = load_confounds(Path(row["confounds"]), "6p", 80).values_TK
        cleaned = clean(raw_TV, t_r=2.0, high_pass=0.01, low_pass=0.1, confounds=confounds, standardize=None)
        cleaned -= cleaned.mean(axis=0)
        std_V = cleaned.std(axis=0, ddof=1)
        assert isinstance(run.series_TV, np.memmap)
        assert run.series_TV.dtype == np.float16
        np.testing.assert_allclose(run.series_TV, cleaned / std_V, atol=2e-3)
        np.testing.assert_allclose(run.mean_V, raw_TV.mean(0), rtol=1e-6)
        np.testing.assert_allclose(run.std_V, std_V, rtol=1e-4)
        np.testing.assert_array_equal(run.mask_XYZ, mask_XYZ)
        np.testing.assert_allclose(run.affine, image.affine)
        assert run.tr == 2.0
        # The cleaned signal can be had back in raw units: z times std.
        back = run.series_TV.astype(np.float64) * run.std_V
        np.testing.assert_allclose(back, cleaned, atol=2e-3 * std_V.max())


def test_the_table_carries_the_cohort_and_what_was_measured(cohort, out):
    prepared = prepare(cohort, RECIPE, out, progress=False)
    opened = Cache.open(out)
    pd.testing.assert_frame_equal(prepared.table, opened.table)
    table = opened.table
    assert opened.identity == RECIPE.identity == prepared.identity
    assert opened.recipe == RECIPE
    pd.testing.assert_frame_equal(table[cohort.table.columns], cohort.table)
    assert set(table["n_frames"]) == {80}
    assert set(table["n_voxels"]) == {4 * 5 * 4}
    assert set(table["tr"]) == {2.0}
    assert table["fd_mean"].between(0.05, 0.15).all()
    assert table["freedom"].between(10, 40).all()
    assert (table[["n_constant", "n_nonfinite"]] == 0).all(axis=None)
    written = json.loads((out / "recipe.json").read_text())
    assert written["identity"] == RECIPE.identity
    assert {"nilearn", "numpy"} <= written["versions"].keys()


def test_identifiers_that_look_like_numbers_stay_words(tmp_path, write_run, out):
    root = tmp_path / "derivative"
    for subject in ("001", "1e3"):
        write_run(root, subject)
    (root / "participants.tsv").write_text(
        "participant_id\tgroup\tsite\tsex\tage\nsub-001\tPD\t01\t1\t\nsub-1e3\tHC\t02\tNA\t44\n"
    )
    cache = prepare(Cohort.from_derivatives(root), RECIPE, out, progress=False)
    assert list(cache.table["participant_id"]) == ["sub-001", "sub-1e3"]
    assert list(cache.table["site"]) == ["01", "02"]
    assert list(cache.table["sex"]) == ["n/a", "n/a"]  # 1 might be either
    assert np.isnan(cache.table["age"][0])


def test_constant_and_broken_voxels_are_counted(cohort, out):
    path = cohort.runs[0].bold
    image = nib.load(path)
    data = image.get_fdata(dtype=np.float32)
    data[2, 2, 2] = 777
    data[2, 3, 2, 5] = np.nan
    nib.save(nib.Nifti1Image(data, image.affine, image.header), path)
    cache = prepare(cohort, RECIPE, out, progress=False)
    row = cache.table.iloc[0]
    assert (row["n_constant"], row["n_nonfinite"]) == (1, 1)
    run = cache.run(0)
    assert (run.std_V == 0).sum() == 2
    assert not run.series_TV[:, run.std_V == 0].any()
    assert np.isfinite(run.series_TV).all()


def test_non_steady_frames_are_gone_from_the_series(cohort, out):
    path = cohort.runs[1].confounds
    table = pd.read_csv(path, sep="\t", na_values="n/a")
    table["non_steady_state_outlier00"] = np.r_[1.0, np.zeros(79)]
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    cache = prepare(cohort, RECIPE, out, progress=False)
    assert list(cache.table["n_frames"]) == [80, 79, 80, 80]
    assert cache.run(1).series_TV.shape == (79, 80)


def test_a_finished_run_is_not_made_again_until_its_inputs_change(cohort, out, monkeypatch):
    prepare(cohort, RECIPE, out, progress=False)
    before = files(out)
    made = []
    original = run_writing.clean_into
    monkeypatch.setattr(
        run_writing, "clean_into", lambda run, *rest: made.append(run.run_id) or original(run, *rest)
    )
    prepare(cohort, RECIPE, out, progress=False)
    assert made == []
    assert files(out) == before
    os.utime(cohort.runs[2].bold, ns=(1, 1))
    sidecar = cohort.runs[0].bold.with_name(cohort.runs[0].bold.name.replace(".nii.gz", ".json"))
    sidecar.write_text('{"RepetitionTime": 2.5}')
    cache = prepare(cohort, RECIPE, out, progress=False)
    assert made == ["sub-01_task-rest", "sub-03_task-rest"]
    assert list(cache.table["tr"]) == [2.5, 2.0, 2.0, 2.0]


def test_an_interrupted_preparation_goes_on_where_it_stopped(cohort, out, monkeypatch):
    original = run_writing.clean_into
    made = []

    def stop_at_the_third(run, recipe, folder, atlases):
        if len(made) == 2:
            (folder / "series.npy").write_bytes(b"half")
            raise KeyboardInterrupt
        made.append(run.run_id)
        return original(run, recipe, folder, atlases)

    monkeypatch.setattr(run_writing, "clean_into", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        prepare(cohort, RECIPE, out, progress=False)
    assert sorted(p.name for p in (out / "runs").iterdir()) == made
    with pytest.raises(BadFileError, match=r"finished cache .* got an unfinished one"):
        Cache.open(out)
    # What a kill without warning leaves behind is swept away.
    (out / "runs" / ".partial-sub-03_task-rest-999").mkdir()
    (out / "runs" / ".partial-sub-03_task-rest-999" / "series.npy").write_bytes(b"half")
    (out / ".cohort.999.partial.tsv").write_text("half")
    monkeypatch.setattr(run_writing, "clean_into", original)
    assert len(prepare(cohort, RECIPE, out, progress=False)) == 4
    assert not list(out.rglob(".*"))


def test_a_preparation_killed_in_its_first_file_can_be_begun_again(cohort, out):
    out.mkdir(parents=True)
    (out / ".recipe.999.partial.json").write_text("half")
    assert len(prepare(cohort, RECIPE, out, progress=False)) == 4
    assert not list(out.rglob(".*"))


def test_another_recipe_in_the_same_folder_is_refused(cohort, out):
    prepare(cohort, RECIPE, out, progress=False)
    before = files(out)
    with pytest.raises(
        FingerprintMismatchError, match=r"that of the cache \(6p\+.*got none\+.*another folder"
    ):
        prepare(cohort, Recipe(confounds="none"), out, progress=False)
    assert files(out) == before


def test_a_bad_run_ends_it_and_leaves_nothing(cohort, out):
    cut_short(cohort.runs[0].bold)
    with pytest.raises(BadFileError, match=r"sub-01_.*bold.nii.gz: .*cut short"):
        prepare(cohort, RECIPE, out, progress=False)
    assert not out.exists()
    # So another recipe may have the folder.
    assert len(prepare(cohort, Recipe(confounds="none"), out, progress=False, on_error="exclude")) == 3


def test_a_bad_run_can_be_left_out_and_listed(cohort, out):
    cut_short(cohort.runs[1].bold)
    cache = prepare(cohort, RECIPE, out, progress=False, on_error="exclude")
    assert list(cache.table["participant_id"]) == ["sub-01", "sub-03", "sub-04"]
    ((what, why),) = cache.excluded
    assert what == "sub-02_task-rest"
    assert "cut short" in why
    assert cache.run(1).participant_id == "sub-03"
    for run in cohort.runs:
        cut_short(run.bold)
    with pytest.raises(
        BadFileError, match=r"at least one usable run, got none; the first reason: .*cut short"
    ):
        prepare(cohort, RECIPE, out.with_name("other"), progress=False, on_error="exclude")
    assert not out.with_name("other").exists()


def test_a_recipe_that_does_not_fit_names_the_run(cohort, out):
    with pytest.raises(ParameterError, match=r"sub-01_.*bold.nii.gz: low_pass must be below 0.25 Hz"):
        prepare(cohort, Recipe(confounds="none", low_pass=0.3), out, progress=False)


def test_workers_make_the_same_cache(cohort, out):
    cut_short(cohort.runs[2].bold)
    alone = prepare(cohort, RECIPE, out, progress=False, on_error="exclude")
    together = prepare(cohort, RECIPE, out.with_name("two"), progress=False, on_error="exclude", workers=2)
    pd.testing.assert_frame_equal(alone.table, together.table)
    assert alone.excluded == together.excluded
    assert files(out) == files(together.root)
    with pytest.raises(BadFileError, match="cut short"):
        prepare(cohort, RECIPE, out.with_name("three"), progress=False, workers=2)


def test_the_bar_goes_to_standard_error(cohort, out, capfd):
    prepare(cohort, RECIPE, out, progress=True)
    shown = capfd.readouterr()
    assert "Cleaning runs" in shown.err
    assert shown.out == ""


def test_folders_that_are_no_cache_are_refused_and_left_alone(cohort, tmp_path, out):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(ParameterError, match=r"new or empty folder, got .*mine, which holds other things"):
        prepare(cohort, RECIPE, mine, progress=False)
    assert files(mine) == {"thesis.txt": b"years of work"}
    with pytest.raises(BadFileError, match=r"must be a finished cache .* got no cache"):
        Cache.open(mine)
    (mine / "recipe.json").write_text("{}")
    with pytest.raises(BadFileError, match="cache's recipe must be one that this version wrote"):
        Cache.open(mine)
    with pytest.raises(ParameterError, match="cohort must be at least one run, got none"):
        prepare(Cohort(runs=[], table=cohort.table[:0], excluded=[]), RECIPE, out)
    assert not out.exists()


def test_a_run_that_is_gone_is_named(cohort, out):
    cache = prepare(cohort, RECIPE, out, progress=False)
    shutil.rmtree(out / "runs" / "sub-04_task-rest")
    with pytest.raises(BadFileError, match=r"sub-04_task-rest: cached run must be whole"):
        cache.run(3)
