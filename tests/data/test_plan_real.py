"""The verdict on every real file, one by one; docs/fmri.md has the same table in words."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data.caches.plan import LEAVE_OUT, USE, Plan, plan
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort

pytestmark = pytest.mark.shared
DEFAULT = Recipe(confounds="none")
UNFILTERED = Recipe(confounds="none", high_pass=None, low_pass=None)
SHORT, NO_BRAIN, FLAT = "must be more than the filter's edges", "a brain stands out", "must be 4-D"


@pytest.fixture
def planned(tmp_path) -> Callable[..., Plan]:
    """The plan for plain files in a table, with their masks by name where they have one."""

    def make(paths: list[Path], recipe: Recipe, masks: dict[str, Path] | None = None) -> Plan:
        lines = ["participant_id\tgroup\tbold\tmask\trun"]
        for i, path in enumerate(paths):
            lines.append(f"{i:02d}\tPD\t{path}\t{(masks or {}).get(path.name, '')}\t1")
        table = tmp_path / "runs.tsv"
        table.write_text("\n".join(lines))
        return plan(Cohort.from_table(table), recipe)

    return make


def verdicts(found: Plan) -> dict[str, tuple[str, str]]:
    return {
        Path(row["bold"]).name: (row["verdict"], row["why"] or row["notes"])
        for row in found.table.to_dict("records")
    }


# file: with a filter, without one, and words of the reason or of the notes of each
NIFTI = {
    "FIACH_motion_ex.nii.gz": ((LEAVE_OUT, SHORT), (USE, "the header's TR is 1 s")),
    "PyMVPA_bold_haxby_slice.nii.gz": ((USE, "4 mm thin"), (USE, "4 mm thin")),
    "cudaBayesregData_fmri.nii.gz": ((USE, "TR is 1 s"), (USE, "neither qform nor sform")),
    "cudaBayesregData_fmri_filtered_func_data.nii.gz": (
        (USE, "30 mm thin"),
        (USE, "neither qform nor sform"),
    ),
    "nibabel_functional.nii": ((LEAVE_OUT, SHORT), (LEAVE_OUT, NO_BRAIN)),
    "niivue_pcasl_NC.nii.gz": ((LEAVE_OUT, SHORT), (USE, "no mask is given")),
    "nitime_fmri1.nii.gz": ((LEAVE_OUT, NO_BRAIN), (LEAVE_OUT, NO_BRAIN)),
    "tedana_echo1.nii.gz": ((LEAVE_OUT, SHORT), (LEAVE_OUT, "degrees of freedom")),
    "tedana_mask.nii.gz": ((LEAVE_OUT, FLAT), (LEAVE_OUT, FLAT)),
}


@pytest.mark.parametrize(("recipe", "column"), [(DEFAULT, 0), (UNFILTERED, 1)])
def test_plain_files(shared_data, planned, recipe, column):
    folder = shared_data / "nifti"
    paths = sorted(folder.glob("*.nii*"))
    masks = {"tedana_echo1.nii.gz": folder / "tedana_mask.nii.gz"}
    found = verdicts(planned(paths, recipe, masks))
    assert set(found) == set(NIFTI)
    for name, expected in NIFTI.items():
        verdict, words = expected[column]
        assert found[name][0] == verdict, name
        assert words in found[name][1], name


def test_volumes_of_the_loose_derivatives_are_no_runs(shared_data, planned):
    paths = sorted((shared_data / "fmriprep").glob("*.nii.gz"))
    found = verdicts(planned(paths, DEFAULT))
    assert len(found) == 3
    assert all(verdict == LEAVE_OUT and FLAT in why for verdict, why in found.values())


def test_the_real_tree_as_a_derivative(shared_data, tmp_path):
    table = tmp_path / "people.tsv"
    table.write_text("participant_id\tgroup\n01\tHC\n")
    root = shared_data / "pybids_truncated_ds005"
    found = plan(Cohort.from_derivatives(root, table=table), DEFAULT).table
    assert list(found["what"]) == [f"sub-01_task-mixedgamblestask_run-0{i}" for i in (1, 2)]
    assert list(found["verdict"]) == [LEAVE_OUT] * 2
    assert "found only the raw run" in found["why"][0]
    assert found["why"][1].startswith("bold: no such file")


def test_the_real_trees_images_one_by_one(shared_data, planned):
    paths = sorted((shared_data / "pybids_truncated_ds005").rglob("*.nii.gz"))
    in_space = [path for path in paths if "_space-" in path.name]
    others = [path for path in paths if path not in in_space]
    assert (len(in_space), len(others)) == (4, 5)
    found = verdicts(planned(in_space, UNFILTERED)) | verdicts(planned(others, UNFILTERED))
    (run,) = [name for name in found if found[name][0] == USE]
    assert run == "sub-01_task-mixedgamblestask_run-01_bold.nii.gz"
    assert "no mask is given" in found[run][1]
    assert all(FLAT in why for verdict, why in found.values() if verdict == LEAVE_OUT)
    assert SHORT in verdicts(planned(others, DEFAULT))[run][1]


# table, TR, and the verdict of each strategy
CONFOUNDS = {
    "nilearn_test_desc-confounds_regressors.tsv": {
        "none": USE,
        "6p": USE,
        "9p": USE,
        "simple": "degrees of freedom",
        "scrubbing": "degrees of freedom",
        "compcor": "degrees of freedom",
    },
    "nilearn_test-v21_desc-confounds_timeseries.tsv": {
        "none": USE,
        "6p": USE,
        "9p": USE,
        "simple": "degrees of freedom",
        "scrubbing": "every frame flagged",
        "compcor": "confounds sidecar",
    },
    "neurocaps_ds000031_task-rest_desc-confounds_timeseries.tsv": {
        "none": USE,
        "6p": USE,
        "9p": "a column 'csf'",
        "simple": "a column 'csf'",
        "scrubbing": "a column 'csf'",
        "compcor": "confounds sidecar",
    },
}


@pytest.mark.parametrize("name", CONFOUNDS)
def test_real_confounds_of_two_versions(shared_data, tmp_path, rng, name):
    """Beside a made-up run of as many frames, under the names that fMRIPrep gave them."""
    table = shared_data / "fmriprep" / name
    frames = len(pd.read_csv(table, sep="\t"))
    func = tmp_path / "sub-01" / "func"
    func.mkdir(parents=True)
    stem = "sub-01_task-rest"
    image = nib.Nifti1Image(rng.normal(900, 9, (4, 4, 4, frames)).astype(np.float32), np.diag([3.0, 3, 3, 1]))
    image.header["pixdim"][4] = 2
    nib.save(image, func / f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz")
    mask = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), image.affine)
    nib.save(mask, func / f"{stem}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz")
    for path in (table, table.with_suffix(".json")):
        if path.is_file():
            shutil.copyfile(path, func / f"{stem}_desc-{path.name.split('desc-')[1]}")
    (tmp_path / "participants.tsv").write_text("participant_id\tgroup\n01\tPD\n")
    cohort = Cohort.from_derivatives(tmp_path)
    for strategy, expected in CONFOUNDS[name].items():
        (row,) = plan(cohort, Recipe(confounds=strategy, high_pass=None, low_pass=None)).table.to_dict(
            "records"
        )
        assert row["verdict"] == (expected if expected == USE else LEAVE_OUT), strategy
        assert expected == USE or expected in row["why"], strategy
