"""Voxels of a template's mask in Brainmarks' order, out and back."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow as pa
import pytest

from data.caches.cache import Cache
from data.caches.cache_files import RUNS
from data.cleaning.as_given import AsGiven
from data.cohorts.cohort_rows import table_of
from data.errors import BadFileError, ParameterError
from data.exchange import arrow_layout
from data.exchange.arrow_export import ArrowSpec, export_arrow
from data.exchange.arrow_import import Imported, import_arrow
from data.exchange.arrow_layout import MNI_AFFINE, MNI_SHAPE
from data.exchange.given_cache import UNKNOWN, finish_cache
from data.writing import whole_folder

T = 40


def rows_in(folder: Path, split: str) -> list[dict[str, object]]:
    """Every row of a split, read by pyarrow alone."""
    rows: list[dict[str, object]] = []
    for path in sorted((folder / split).glob("*.arrow")):
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
            rows += stream.read_all().to_pylist()
    return rows


SIZE = 300  # voxels of a small space


@pytest.fixture
def mask(tmp_path, monkeypatch) -> Path:
    """A mask on the template's grid, with x running to the left as FSL's does."""
    rng = np.random.default_rng(5)
    mask_XYZ = np.zeros(MNI_SHAPE, np.uint8)
    chosen = rng.choice(12 * 13 * 14, SIZE, replace=False)
    mask_XYZ[30:42, 40:53, 35:49].reshape(-1)[:] = 0
    inner = np.zeros(12 * 13 * 14, np.uint8)
    inner[chosen] = 1
    mask_XYZ[30:42, 40:53, 35:49] = inner.reshape(12, 13, 14)
    flipped = MNI_AFFINE @ np.array([[-1.0, 0, 0, 90], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(mask_XYZ[::-1], flipped), tmp_path / "mask.nii.gz")
    np.save(tmp_path / "mask.npy", mask_XYZ)
    monkeypatch.setitem(arrow_layout.DIMENSIONS, "mni", SIZE)
    return tmp_path / "mask.nii.gz"


@pytest.fixture
def voxels(tmp_path) -> Cache:
    """Six people on a grid of 2 mm of their own, which shares its voxels with the template's."""
    rng = np.random.default_rng(6)
    shape, affine = (20, 20, 20), MNI_AFFINE.copy()
    affine[:3, 3] += [2 * 25, 2 * 36, 2 * 32]
    mask_XYZ = np.zeros(shape, bool)
    mask_XYZ[6:15, 5:16, 4:15] = True  # some voxels of the space lie outside
    rows, facts = [], {}
    with whole_folder(tmp_path / "voxels") as draft:
        for i in range(6):
            v = int(mask_XYZ.sum())
            folder = draft / RUNS / f"sub-{i}"
            folder.mkdir(parents=True)
            z = rng.normal(size=(T, v))
            z = (z - z.mean(0)) / z.std(0, ddof=1)
            np.save(folder / "series.npy", z.astype(np.float16))
            np.save(folder / "mean.npy", rng.uniform(500, 900, v).astype(np.float32))
            np.save(folder / "std.npy", rng.uniform(5, 9, v).astype(np.float32))
            np.save(folder / "mask.npy", np.packbits(mask_XYZ))
            facts[f"sub-{i}"] = {
                **UNKNOWN,
                "shape": list(shape),
                "affine": affine.tolist(),
                "precision": "float16",
                "tr": 2.0,
                "n_frames": T,
                "n_voxels": v,
                "n_constant": 0,
                "n_nonfinite": 0,
                "atlases": {},
            }
            rows.append(
                {
                    "run_id": f"sub-{i}",
                    "participant_id": f"sub-{i}",
                    "person": f"site:{i}",
                    "session": "",
                    "site": "A",
                    "scanner": "unknown",
                    "label": i % 2,
                    "age": 60.0 + i,
                    "sex": "F",
                    "updrs": np.nan,
                    "hoehn_yahr": np.nan,
                    "medication": "n/a",
                    "space": "MNI152NLin6Asym",
                    "bold": "",
                    "mask": "",
                    "confounds": "",
                }
            )
        table = table_of(rows)
        table["tr"] = 2.0
        finish_cache(draft, AsGiven(given="made for a test"), table, facts, [])
    return Cache.open(tmp_path / "voxels")


def test_voxels_go_out_in_the_order_of_brainmarks(voxels: Cache, mask: Path, tmp_path) -> None:
    """(T, Z, Y, X)[mask], as brainmarks.readers.mni_reader gives them; voxels that a run lacks are 0."""
    folder = export_arrow(voxels, ArrowSpec(space="mni", mask=mask, folds=3), tmp_path / "out")
    mask_XYZ = np.load(tmp_path / "mask.npy").astype(bool)
    row = rows_in(folder, "test")[0]
    i = voxels.table["run_id"].tolist().index(row["path"])
    run = voxels.run(i)
    whole = np.zeros((*MNI_SHAPE, 3), np.float32)  # the first frame raw, mean, std
    for place, values in enumerate((run.raw(0, 1)[0], run.mean_V, run.std_V)):
        volume = np.zeros(run.mask_XYZ.shape, np.float32)
        volume[run.mask_XYZ] = values
        whole[25:45, 36:56, 32:52, place] = volume
    expected = whole.transpose(2, 1, 0, 3)[mask_XYZ.transpose(2, 1, 0)]
    bold, mean, std = (np.array(row[name], np.float32) for name in ("bold", "mean", "std"))
    assert bold.shape == (T, SIZE)
    np.testing.assert_allclose(mean[0], expected[:, 1], rtol=1e-4)
    np.testing.assert_allclose(std[0], expected[:, 2] * np.sqrt((T - 1) / T), rtol=1e-3)
    np.testing.assert_allclose(bold[0] * std[0] + mean[0], expected[:, 0], atol=0.05)
    outside = expected[:, 2] == 0
    assert 0 < outside.sum() < SIZE
    assert not bold[:, outside].any()


def test_voxels_come_back_as_runs(voxels: Cache, mask: Path, tmp_path) -> None:
    folder = export_arrow(voxels, ArrowSpec(space="mni", mask=mask, folds=3), tmp_path / "out")
    back = import_arrow(folder, tmp_path / "back", Imported(mask=mask))
    mask_XYZ = np.load(tmp_path / "mask.npy").astype(bool)
    for i in range(6):
        first, again = voxels.run(i), back.run(back.table["person"].tolist().index(f"site:{i}"))
        assert again.run_id == f"sub-site-{i}"
        np.testing.assert_array_equal(again.mask_XYZ, mask_XYZ)
        np.testing.assert_allclose(again.affine, MNI_AFFINE)
        volume = np.zeros(first.mask_XYZ.shape, np.float32)
        volume[first.mask_XYZ] = first.raw(4, 5)[0]
        whole = np.zeros(MNI_SHAPE, np.float32)
        whole[25:45, 36:56, 32:52] = volume
        np.testing.assert_allclose(again.raw(4, 5)[0], whole[mask_XYZ], atol=0.05)
    assert (back.table["n_voxels"] == SIZE).all()
    with pytest.raises(ParameterError, match="mask must be given for the space mni"):
        import_arrow(folder, tmp_path / "other")
    smaller = np.load(tmp_path / "mask.npy")
    smaller[30:36] = 0
    nib.save(nib.Nifti1Image(smaller, MNI_AFFINE), tmp_path / "smaller.nii.gz")
    with pytest.raises(BadFileError, match=r"bold must be of the mask's \d+ voxels, got 300"):
        import_arrow(folder, tmp_path / "other", Imported(mask=tmp_path / "smaller.nii.gz"))


def test_masks_and_runs_of_other_grids_are_refused(voxels: Cache, mask: Path, tmp_path, monkeypatch) -> None:
    coarse = tmp_path / "coarse.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((10, 10, 10), np.uint8), MNI_AFFINE), coarse)
    with pytest.raises(BadFileError, match=r"mask must be on the template's grid of 2 mm"):
        export_arrow(voxels, ArrowSpec(space="mni", mask=coarse, folds=3), tmp_path / "out")
    facts = voxels.root / RUNS / "sub-3" / "run.json"
    told = json.loads(facts.read_text())
    told["affine"][0][3] += 0.7
    facts.write_text(json.dumps(told))
    with pytest.raises(
        ParameterError, match="run sub-3 must be on a grid of 2 mm whose voxels are the template's"
    ):
        export_arrow(voxels, ArrowSpec(space="mni", mask=mask, folds=3), tmp_path / "out")
    monkeypatch.setitem(arrow_layout.DIMENSIONS, "mni", 228483)
    with pytest.raises(
        ParameterError, match="mask of the space mni must be of 228,483 voxels, as Brainmarks has it"
    ):
        export_arrow(voxels, ArrowSpec(space="mni", mask=mask, folds=3), tmp_path / "out")
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
