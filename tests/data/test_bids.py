"""Finding runs by name, new and old, and saying what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.bids import find_runs, parse_entities
from data.errors import BadFileError

NEW = "sub-01/func/sub-01_task-rest_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("name", "entities", "words"),
    [
        (
            Path(NEW).name,
            {"sub": "01", "task": "rest", "space": "MNI152NLin2009cAsym", "desc": "preproc"},
            ("bold",),
        ),
        (
            "sub-A1_ses-b_task-rest_run-02_bold_space-T1w_preproc.nii",
            {"sub": "A1", "ses": "b", "task": "rest", "run": "02", "space": "T1w"},
            ("bold", "preproc"),
        ),
        ("sub-01_task-rest_bold_confounds.tsv", {"sub": "01", "task": "rest"}, ("bold", "confounds")),
        ("sub-01_task-rest_bold.json", {"sub": "01", "task": "rest"}, ("bold",)),
        ("notes-_x.nii.gz", {}, ("notes-", "x")),
    ],
)
def test_names_are_parsed(name, entities, words):
    assert parse_entities(name) == (entities, words)


@pytest.mark.parametrize("suffix", ["timeseries", "regressors"])
def test_new_names_make_a_run(tmp_path, suffix):
    root = touch(
        tmp_path,
        NEW,
        NEW.replace("preproc_bold", "brain_mask"),
        f"sub-01/func/sub-01_task-rest_desc-confounds_{suffix}.tsv",
        "sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
        "sub-01/figures/sub-01_task-rest_desc-preproc_bold.nii.gz",
        "sub-01/func/sub-01_task-rest_space-MNI152NLin2009cAsym_boldref.nii.gz",
    )
    (run,) = find_runs(root)
    assert run.run_id == "sub-01_task-rest"
    assert run.participant_id == "sub-01"
    assert run.space == "MNI152NLin2009cAsym"
    assert run.bold == root / NEW
    assert run.mask == root / NEW.replace("preproc_bold", "brain_mask")
    assert run.confounds.name.endswith(f"{suffix}.tsv")
    assert run.missing == ()
    assert run.usable


def test_old_names_make_a_run(tmp_path):
    stem = "sub-01/ses-1/func/sub-01_ses-1_task-rest_run-01_bold"
    root = touch(
        tmp_path,
        f"{stem}_space-MNI152NLin2009cAsym_preproc.nii.gz",
        f"{stem}_space-MNI152NLin2009cAsym_brainmask.nii.gz",
        f"{stem}_confounds.tsv",
    )
    (run,) = find_runs(root)
    assert run.run_id == "sub-01_ses-1_task-rest_run-01"
    assert run.missing == ()


def test_runs_are_told_apart_by_every_entity_and_sorted(tmp_path):
    names = [
        f"sub-{sub}/func/sub-{sub}_{middle}space-{space}_desc-{end}.nii.gz"
        for sub in ("02", "01")
        for middle in ("task-rest_run-1_", "task-rest_run-2_", "task-tap_")
        for space in ("T1w", "MNI")
        for end in ("preproc_bold", "brain_mask")
    ]
    root = touch(tmp_path, *names)
    runs = find_runs(root)
    assert len(runs) == 12
    assert [run.run_id for run in runs] == sorted(run.run_id for run in runs)
    assert all(run.usable for run in runs)
    assert {run.space for run in find_runs(root, space="MNI")} == {"MNI"}
    assert len(find_runs(root, space="MNI")) == 6
    assert len(find_runs(root, task="tap", space="MNI")) == 2
    assert find_runs(root, task="sleep") == []


def test_each_missing_part_is_told(tmp_path):
    root = touch(
        tmp_path,
        NEW,
        "sub-02/func/sub-02_task-rest_space-MNI_desc-brain_mask.nii.gz",
        "sub-03/func/sub-03_task-rest_desc-confounds_timeseries.tsv",
    )
    first, second, third = find_runs(root)
    assert [line.split(":")[0] for line in first.missing] == ["mask", "confounds"]
    assert [line.split(":")[0] for line in second.missing] == ["bold", "confounds"]
    assert [line.split(":")[0] for line in third.missing] == ["bold", "mask"]
    assert "expected a …desc-brain_mask.nii.gz" in first.missing[0]
    assert not any(run.usable for run in (first, second, third))


def test_two_files_of_one_name_and_links_without_content_are_told(tmp_path):
    root = touch(tmp_path, NEW, NEW.removesuffix(".gz"))
    mask = root / NEW.replace("preproc_bold", "brain_mask")
    mask.symlink_to(root / ".git" / "annex" / "gone")
    (run,) = find_runs(root)
    assert run.bold is None
    assert "2 files of one name" in run.missing[0]
    assert run.mask is None
    assert "datalad get" in run.missing[1]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadFileError, match="derivatives must be a folder"):
        find_runs(tmp_path / "gone")


@pytest.mark.shared
def test_the_real_old_tree_lacks_its_runs_and_says_so(shared_data):
    root = shared_data / "pybids_truncated_ds005"
    runs = find_runs(root)
    assert [run.run_id for run in runs] == [f"sub-01_task-mixedgamblestask_run-0{i}" for i in (1, 2)]
    for run in runs:
        assert run.space == "MNI152NLin2009cAsym"
        assert run.mask.is_file()
        assert run.confounds.is_file()
        assert run.bold is None
        assert len(run.missing) == 1
        assert run.missing[0].startswith("bold: no such file")
    assert find_runs(root / "ds005" / "derivatives") == runs


@pytest.mark.shared
def test_the_real_new_names_are_understood(shared_data, tmp_path):
    """The loose files, put back under the names of one subject each, as their makers had them."""
    loose = {path.name: path for path in (shared_data / "fmriprep").iterdir()}
    func = tmp_path / "sub-colornest001" / "func"
    func.mkdir(parents=True)
    stem = "sub-colornest001_task-rest_run-1"
    space = "space-MNI152NLin2009cAsym"
    (func / f"{stem}_{space}_desc-brain_mask.nii.gz").symlink_to(
        loose[f"xcpd_sub-colornest001_{space}_desc-brain_mask.nii.gz"]
    )
    (func / f"{stem}_desc-confounds_regressors.tsv").symlink_to(
        loose["nilearn_test_desc-confounds_regressors.tsv"]
    )
    (func / f"{stem}_{space}_boldref.nii.gz").symlink_to(
        loose[f"xcpd_sub-colornest001_{space}_boldref.nii.gz"]
    )
    (run,) = find_runs(tmp_path)
    assert run.run_id == "sub-colornest001_task-rest_run-1"
    assert [line.split(":")[0] for line in run.missing] == ["bold"]
    # Without a subject in their names the loose files themselves belong to nobody.
    assert find_runs(shared_data / "fmriprep") == []
