"""A cohort with planted faults: each is found in the table, with its reason, and nothing else is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data.caches.cache import Cache, prepare
from data.caches.quality_table import modified_z, quality_table, read_trace, worst_first
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.errors import BadFileError
from data.quality.run_quality import FACTS
from data.simulation.cohort import SimulationSpec, simulate

RECIPE = Recipe(confounds="6p", fd_limit_mm=0.5)
CUT, MIRRORED, DAMAGED, RESTLESS = "sub-003", "sub-006", "sub-009", "sub-012"


def edit_voxels(root: Path, subject: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    path = next((root / subject / "func").glob("*bold.nii.gz"))
    image = nib.load(path)
    made = nib.Nifti1Image(change(np.asarray(image.dataobj, np.float32)), image.affine)
    made.header.set_zooms(image.header.get_zooms())
    made.header.set_xyzt_units("mm", "sec")
    nib.save(made, path)


def cut(volume: np.ndarray) -> np.ndarray:
    volume[:, :, :8] = 0  # up to some 12 mm below the commissures; the mask stays whole
    return volume


def mirror(volume: np.ndarray) -> np.ndarray:
    """Left for right about x = 0, which lies half a voxel beside the middle of this grid."""
    mirrored = volume[::-1].copy()  # of x = -98 to 102 mm
    mirrored[:-1] = (mirrored[:-1] + mirrored[1:]) / 2
    return mirrored


def damage(volume: np.ndarray) -> np.ndarray:
    volume[10, 12, 9, 3] = np.nan
    return volume


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Cache:
    root = tmp_path_factory.mktemp("faulty")
    spec = SimulationSpec(subjects=14, sites=1, voxel_mm=8, frames=140, seed=4)
    derivative = simulate(root / "derivative", spec)
    edit_voxels(derivative, CUT, cut)
    edit_voxels(derivative, MIRRORED, mirror)
    edit_voxels(derivative, DAMAGED, damage)
    path = next((derivative / RESTLESS / "func").glob("*confounds*.tsv"))
    table = pd.read_csv(path, sep="\t", na_values="n/a")
    table["framewise_displacement"] += 0.3
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return prepare(Cohort.from_derivatives(derivative), RECIPE, root / "cache", progress=False)


@pytest.fixture(scope="module")
def table(faulty) -> pd.DataFrame:
    return quality_table(faulty).set_index("participant_id")


def test_preparing_measures_every_run(faulty, table) -> None:
    assert list(table["run_id"]) == list(faulty.table["run_id"])
    known = set(FACTS) - {"header_flip"}
    assert table[list(known)].notna().all(axis=None)
    np.testing.assert_allclose(table["fd_mean"], faulty.table["fd_mean"], atol=1e-4)
    np.testing.assert_allclose(table["minutes_kept"], faulty.table["n_frames"] * 2 / 60, rtol=1e-5)
    for run_id in table["run_id"]:
        trace = read_trace(faulty, run_id)
        assert trace is not None
        assert len(trace) == 140
        row = table.set_index("run_id").loc[run_id]
        assert row["censored_share"] == pytest.approx(1 - trace["kept"].mean(), abs=1e-4)
        assert row["dvars_max"] == pytest.approx(trace["dvars"].max(), abs=1e-4)


def test_each_fault_is_found_with_its_reason(table) -> None:
    assert "midbrain covered" in table.loc[CUT, "reasons"]
    assert "voxels that never change" in table.loc[CUT, "reasons"]
    assert table.loc[CUT, "verdict"] == "leave out"
    assert "asymmetry against that of the others" in table.loc[MIRRORED, "reasons"]
    assert "voxels with NaN" in table.loc[DAMAGED, "reasons"]
    assert table.loc[DAMAGED, "verdict"] == "look at it"
    assert "mean framewise displacement" in table.loc[RESTLESS, "reasons"]


def test_nothing_is_found_that_was_not_planted(table) -> None:
    sound = table.drop(index=[CUT, MIRRORED, DAMAGED, RESTLESS])
    told = sound["reasons"].str.replace(r"unlike its site in [a-z DVARS-]+", "", regex=True)
    told = told.str.replace(r"(mean|largest) framewise displacement [^;]+", "", regex=True)
    assert told.str.strip("; ").eq("").all()  # the simulation's own spikes of motion are real
    assert (sound["flip_correlation"] > 0.3).all()
    assert table.loc[MIRRORED, "flip_correlation"] < -0.3


def test_worst_come_first_and_none_is_lost(table) -> None:
    ordered = worst_first(table.reset_index())
    assert sorted(ordered["participant_id"]) == sorted(table.index)
    rank = ordered["verdict"].map({"leave out": 0, "look at it": 1, "not measured": 2, "ok": 3})
    assert rank.is_monotonic_increasing


def test_modified_z_by_hand() -> None:
    values = np.array([1.0, 2, 3, 4, 5, 40])
    assert modified_z(values)[-1] == pytest.approx(0.6745 * (40 - 3.5) / 1.5)
    assert not modified_z(values[:5]).any()
    assert not modified_z(np.full(9, 2.0)).any()


def test_a_cache_that_was_never_measured_says_so(faulty, tmp_path) -> None:
    root = tmp_path / "old"
    shutil.copytree(faulty.root, root)
    for path in (root / "runs").glob("*/run.json"):
        facts = json.loads(path.read_text())
        del facts["quality"]
        path.write_text(json.dumps(facts))
        path.with_name("trace.tsv").unlink()
    table = quality_table(Cache.open(root))
    assert set(table["verdict"]) == {"not measured"}
    assert table["reasons"].str.contains("neuro prepare").all()
    assert read_trace(Cache.open(root), str(table["run_id"][0])) is None


def test_a_cache_of_parcels_alone_and_a_damaged_one_are_refused(faulty, tmp_path) -> None:
    root = tmp_path / "parcels"
    shutil.copytree(faulty.root, root)
    (next((root / "runs").iterdir()) / "run.json").write_text("{")
    with pytest.raises(BadFileError, match="run `neuro prepare` again"):
        quality_table(Cache.open(root))
    for path in (root / "runs").glob("*/mean.npy"):
        path.unlink()
    with pytest.raises(BadFileError, match="parcel series without voxels"):
        quality_table(Cache.open(root))


@pytest.mark.shared
def test_a_cohort_of_published_parcel_series_is_refused(shared_data, tmp_path) -> None:
    from data.exchange.parcel_cohort import ParcelCohort, prepare_parcels

    cache = prepare_parcels(ParcelCohort.from_npz([shared_data / "pd" / "taowu.npz"], tr=2.0), tmp_path / "c")
    with pytest.raises(BadFileError, match="parcel series without voxels"):
        quality_table(cache)
