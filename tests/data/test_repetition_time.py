"""Where a TR is told: the run's own sidecar, those that BIDS lets it inherit, or a table."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from data.errors import BadFileError
from data.scans.bold import BoldRun
from data.scans.repetition_time import sidecars

BOLD = "sub-01/ses-1/func/sub-01_ses-1_task-rest_run-1_space-MNI_desc-preproc_bold.nii.gz"


def say(path: Path, tr: object, **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"RepetitionTime": tr, **more}))
    return path


@pytest.fixture
def dataset(tmp_path) -> Path:
    """A dataset with a derivative inside, whose one run has a TR of 1 s in its header and no sidecar."""
    bold = tmp_path / "dataset/derivatives/fmriprep" / BOLD
    bold.parent.mkdir(parents=True)
    image = nib.Nifti1Image(np.ones((3, 3, 3, 4), np.float32), np.eye(4))
    image.header["pixdim"][4] = 1
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, bold)
    return tmp_path / "dataset"


def tr_of(dataset: Path) -> float:
    return BoldRun.open(dataset / "derivatives/fmriprep" / BOLD).tr


def test_the_most_particular_statement_wins(dataset):
    prep = dataset / "derivatives/fmriprep"
    assert tr_of(dataset) == 1
    places = [
        dataset / "bold.json",  # no suffix after an underscore: not a sidecar of ours
        dataset / "task-rest_bold.json",
        dataset / "sub-01/sub-01_task-rest_bold.json",
        dataset / "sub-01/ses-1/func/sub-01_ses-1_task-rest_run-1_bold.json",
        prep / "task-rest_bold.json",
        prep / "task-rest_space-MNI_bold.json",
        prep / "sub-01/ses-1/sub-01_ses-1_bold.json",
        (prep / BOLD).with_name("sub-01_ses-1_task-rest_bold.json"),
        (prep / BOLD).with_name(Path(BOLD).name.replace(".nii.gz", ".json")),
    ]
    found = [tr_of(dataset) for i, place in enumerate(places) if say(place, 2 + i / 10)]
    assert found == pytest.approx([1, 2.1, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8])
    assert sidecars(prep / BOLD) == places[:0:-1]


def test_sidecars_of_others_do_not_count(dataset):
    prep = dataset / "derivatives/fmriprep"
    for name in (
        "task-tap_bold.json",
        "task-rest_run-2_bold.json",
        "sub-02_task-rest_bold.json",
        "task-rest_events.json",
        "task-rest_desc-confounds_timeseries.json",
    ):
        say(prep / name, 3)
    say(dataset.parent / "task-rest_bold.json", 3)
    assert tr_of(dataset) == 1


def test_one_that_says_nothing_leaves_it_to_the_next(dataset):
    prep = dataset / "derivatives/fmriprep"
    own = (prep / BOLD).with_name(Path(BOLD).name.replace(".nii.gz", ".json"))
    own.write_text('{"SkullStripped": false}')
    inherited = say(prep / "task-rest_bold.json", 2.5)
    run = BoldRun.open(prep / BOLD)
    assert run.tr == 2.5
    assert run.notes[0] == f"{inherited}'s TR of 2.5 s was taken; the header says 1 s"
    say(inherited, 0)
    with pytest.raises(BadFileError, match=r"task-rest_bold.json: RepetitionTime must be between"):
        BoldRun.open(prep / BOLD)
    inherited.write_text("{")
    with pytest.raises(BadFileError, match=r"task-rest_bold.json: sidecar must be a JSON object"):
        BoldRun.open(prep / BOLD)


def test_plain_files_look_in_their_own_folder_alone(tmp_path):
    image = nib.Nifti1Image(np.ones((3, 3, 3, 4), np.float32), np.eye(4))
    image.header["pixdim"][4] = 2
    (tmp_path / "folder").mkdir()
    nib.save(image, tmp_path / "folder" / "anna.nii.gz")
    say(tmp_path / "task-rest_bold.json", 3)
    say(tmp_path / "folder" / "task-rest_bold.json", 3)
    assert BoldRun.open(tmp_path / "folder" / "anna.nii.gz").tr == 2


def test_a_stated_tr_wins_and_must_be_possible(dataset):
    path = dataset / "derivatives/fmriprep" / BOLD
    say(dataset / "task-rest_bold.json", 2.5)
    run = BoldRun.open(path, tr=2.2)
    assert run.tr == 2.2
    assert run.notes[0] == "the table's TR of 2.2 s was taken; the header says 1 s"
    with pytest.raises(BadFileError, match=r"TR in the table must be between 0.05 and 30 seconds, got 2200"):
        BoldRun.open(path, tr=2200)
