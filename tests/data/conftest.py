"""A small fMRIPrep derivative on disk, written run by run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data.caches.cache import Cache
from data.exchange.parcel_cohort import ParcelCohort, prepare_parcels

GRID = (6, 7, 5)
AFFINE = np.array([[-4.0, 0, 0, 12], [0, 4, 0, -12], [0, 0, 4, -8], [0, 0, 0, 1]])
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


def confounds_table(n_frames: int, seed: int = 0) -> pd.DataFrame:
    """fMRIPrep's columns with derivatives and squares, `n/a` in first rows, cosines and outliers."""
    rng = np.random.default_rng([seed, 7])
    table = pd.DataFrame({name: 0.02 * rng.standard_normal(n_frames).cumsum() for name in MOTION})
    for name in ("csf", "white_matter", "global_signal"):
        table[name] = 500 + 5 * rng.standard_normal(n_frames)
    for name in list(table):
        table[f"{name}_derivative1"] = table[name].diff()
        table[f"{name}_power2"] = table[name] ** 2
        table[f"{name}_derivative1_power2"] = table[f"{name}_derivative1"] ** 2
    table["framewise_displacement"] = np.r_[np.nan, 0.05 + 0.1 * rng.random(n_frames - 1)]
    table["std_dvars"] = np.r_[np.nan, 0.9 + 0.2 * rng.random(n_frames - 1)]
    for k in range(3):
        table[f"a_comp_cor_{k:02d}"] = rng.standard_normal(n_frames)
    for k in range(1, 3):
        table[f"cosine{k - 1:02d}"] = np.cos(np.pi / n_frames * (np.arange(n_frames) + 0.5) * k)
    return table


def compcor_metadata() -> dict[str, dict[str, object]]:
    facts = {"Method": "aCompCor", "Mask": "combined", "Retained": True, "VarianceExplained": 0.1}
    kinds = {"a_comp_cor_00": facts, "a_comp_cor_01": facts, "a_comp_cor_02": {**facts, "Mask": "CSF"}}
    return {**kinds, "dropped_0": {**facts, "Retained": False}}


@pytest.fixture
def write_run() -> Callable[..., Path]:
    """Write one run with its mask, confounds and sidecars; returns the path of the run."""

    def write(
        root: Path, subject: str, *, n_frames: int = 80, tr: float = 2.0, seed: int = 0, entities: str = ""
    ) -> Path:
        rng = np.random.default_rng([seed, 1])
        func = root / f"sub-{subject}" / "func"
        func.mkdir(parents=True, exist_ok=True)
        scan = f"sub-{subject}{entities}_task-rest"
        stem = f"{scan}_space-MNI152NLin2009cAsym"
        mask = np.zeros(GRID, np.uint8)
        mask[1:-1, 1:-1, 1:] = 1
        data = 1000 + 20 * rng.standard_normal((*GRID, n_frames)) + 0.5 * np.arange(n_frames)
        image = nib.Nifti1Image(data.astype(np.float32), AFFINE)
        image.header["pixdim"][4] = tr
        image.header.set_xyzt_units("mm", "sec")
        path = func / f"{stem}_desc-preproc_bold.nii.gz"
        nib.save(image, path)
        (func / f"{stem}_desc-preproc_bold.json").write_text(json.dumps({"RepetitionTime": tr}))
        nib.save(nib.Nifti1Image(mask, AFFINE), func / f"{stem}_desc-brain_mask.nii.gz")
        table = func / f"{scan}_desc-confounds_timeseries.tsv"
        confounds_table(n_frames, seed).to_csv(table, sep="\t", index=False, na_rep="n/a")
        table.with_suffix(".json").write_text(json.dumps(compcor_metadata()))
        return path

    return write


@pytest.fixture
def derivative(tmp_path, write_run) -> Path:
    """Four subjects at two sites, two patients and two controls, and their participants table."""
    root = tmp_path / "fmriprep"
    for i in range(1, 5):
        write_run(root, f"{i:02d}", seed=i)
    (root / "participants.tsv").write_text(
        "participant_id\tgroup\tsite\tage\tsex\n"
        "sub-01\tPD\tA\t61.5\tF\nsub-02\tHC\tA\t60\tM\nsub-03\tPD\tB\tn/a\tM\nsub-04\tHC\tB\t70\tF\n"
    )
    return root


@pytest.fixture
def two_sites(tmp_path: Path) -> Cache:
    """Parcel series of 23 people at two sites, one of them at both: 24 runs without voxels."""
    rng = np.random.default_rng(3)
    people, frames, regions = 24, 40, 5
    paths = []
    for site, first in (("one", 0), ("two", people // 2)):
        ids = [0, *range(first + 1, first + people // 2)]
        series = rng.normal(900, 30, (len(ids), frames, regions)).astype(np.float32)
        series[:, :, 4] = 7  # no signal
        path = tmp_path / f"{site}.npz"
        np.savez(
            path,
            ts_mine=series,
            regions_mine=np.array(["a", "b", "c", "d", "e"]),
            subject=np.array([f"p{i:02d}" for i in ids]),
            y=np.array([i % 2 for i in ids]),
            age=np.array([50 + i for i in ids], np.float32),
            sex=np.array(["FM"[i % 2] for i in ids]),
            tr=np.float32(1.5 if site == "one" else 2.0),
        )
        paths.append(path)
    return prepare_parcels(ParcelCohort.from_npz(paths), tmp_path / "two_sites")
