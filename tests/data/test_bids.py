"""Finding runs by name, new and old, and saying what is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from data.errors import BadFileError, ParameterError
from data.scans.bids import find_runs, parse_entities

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


SPACE = "space-MNI152NLin2009cAsym"
ECHOES = [f"sub-01/func/sub-01_task-rest_echo-{i}_desc-preproc_bold.nii.gz" for i in (1, 2, 3)]


@pytest.mark.parametrize(
    "confounds",
    [
        "sub-01_task-rest_desc-confounds_timeseries.tsv",
        "sub-01_task-rest_desc-confounds_regressors.tsv",
        "sub-01_task-rest_echo-1_desc-confounds_regressors.tsv",  # of echoes before 21.0
    ],
)
def test_echoes_are_runs_of_their_own_with_the_scans_confounds(tmp_path, confounds):
    names = [*ECHOES, NEW, NEW.replace("preproc_bold", "brain_mask"), f"sub-01/func/{confounds}"]
    runs = find_runs(touch(tmp_path, *names))
    assert {run.run_id for run in runs} == {"sub-01_task-rest"}
    assert sorted(run.entities.get("echo", "all") for run in runs) == ["1", "2", "3", "all"]
    assert {run.confounds.name for run in runs} == {confounds}
    (combined,) = [run for run in runs if "echo" not in run.entities]
    assert combined.usable
    assert combined.notes == ()


def test_the_echo_less_confounds_win(tmp_path):
    tables = [f"sub-01/func/sub-01_task-rest_{echo}desc-confounds_timeseries.tsv" for echo in ("", "echo-1_")]
    (run,) = find_runs(touch(tmp_path, NEW, *tables))
    assert run.confounds == tmp_path / tables[0]
    assert [line.split(":")[0] for line in run.missing] == ["mask"]


def test_a_mask_of_the_same_space_stands_in_and_is_named(tmp_path):
    bold = "sub-01/func/sub-01_task-rest_space-MNI_res-2_desc-preproc_bold.nii.gz"
    mask = "sub-01/func/sub-01_task-rest_space-MNI_desc-brain_mask.nii.gz"
    elsewhere = "sub-01/func/sub-01_task-rest_space-T1w_desc-brain_mask.nii.gz"
    (run,) = find_runs(touch(tmp_path, bold, mask, elsewhere))
    assert run.mask == tmp_path / mask
    assert run.notes == (f"its mask is {tmp_path / mask}",)
    (tmp_path / mask).unlink()
    (run,) = find_runs(tmp_path)
    assert run.mask is None
    own = bold.replace("preproc_bold", "brain_mask")
    (run,) = find_runs(touch(tmp_path, mask, own))
    assert (run.mask, run.notes) == (tmp_path / own, ())


def test_resolutions_are_told_apart_and_asked_for_as_fmriprep_does(tmp_path):
    names = [
        f"sub-01/func/sub-01_task-rest_space-{space}_desc-{end}.nii.gz"
        for space in ("MNI_res-1", "MNI_res-2", "MNIPediatricAsym_cohort-3_res-2")
        for end in ("preproc_bold", "brain_mask")
    ]
    root = touch(tmp_path, *names, *ECHOES[:1])
    assert len(find_runs(root)) == 4
    assert [run.entities["res"] for run in find_runs(root, space="MNI:res-2")] == ["2"]
    assert [run.space for run in find_runs(root, space="MNIPediatricAsym:cohort-3:res-2")] == [
        "MNIPediatricAsym"
    ]
    assert [run.space for run in find_runs(root, space="native")] == [None]
    with pytest.raises(ParameterError, match=r"space must be .* got MNI:2"):
        find_runs(root, space="MNI:2")
    (none,) = find_runs(root, space="MNI:res-3")
    assert none.missing[0].startswith("bold: none in the space MNI:res-3; there is MNI:res-1, MNI:res-2, ")
    assert not none.usable


XCPD = "sub-01/func/sub-01_task-rest_run-1"


@pytest.mark.parametrize("desc", ["denoised", "residual"])
def test_xcpds_runs_are_denoised_and_take_fmriprep_masks_from_beside(tmp_path, desc):
    made = touch(
        tmp_path / "xcp_d",
        f"{XCPD}_{SPACE}_res-2_desc-{desc}_bold.nii.gz",
        f"{XCPD}_{SPACE}_res-2_desc-{desc}Smoothed_bold.nii.gz",
        f"{XCPD}_desc-filtered_motion.tsv",
        f"{XCPD}_motion.tsv",
        f"{XCPD}_outliers.tsv",
        f"{XCPD}_desc-preproc_design.tsv",
        f"{XCPD}_{SPACE}_res-2_stat-alff_boldmap.nii.gz",
        f"{XCPD}_space-fsLR_den-91k_desc-denoised_bold.dtseries.nii",
        f"sub-01/anat/sub-01_{SPACE}_desc-preproc_T1w.nii.gz",
    )
    run = next(run for run in find_runs(made) if run.desc == desc)
    assert run.denoised
    assert run.mask is None
    assert run.confounds.name.endswith("run-1_motion.tsv")
    assert [line.split(":")[0] for line in run.missing] == ["mask"]
    source = touch(
        tmp_path / "fmriprep",
        f"{XCPD}_{SPACE}_res-2_desc-preproc_bold.nii.gz",
        f"{XCPD}_{SPACE}_res-2_desc-brain_mask.nii.gz",
    )
    run = next(run for run in find_runs(made) if run.desc == desc)
    assert run.usable
    assert run.mask == (source / f"{XCPD}_{SPACE}_res-2_desc-brain_mask.nii.gz")
    assert run.notes == (f"its mask is of another derivative, {run.mask}",)
    assert {run.desc for run in find_runs(made)} <= {desc, f"{desc}Smoothed"}  # no run is lent, masks only


def test_masks_come_from_the_derivative_that_the_description_links_to(tmp_path):
    made = touch(tmp_path / "out" / "xcp_d", f"{XCPD}_{SPACE}_desc-denoised_bold.nii.gz")
    touch(tmp_path / "prep", f"{XCPD}_{SPACE}_desc-brain_mask.nii.gz")
    links = {"preprocessed": "../../prep", "templateflow": "https://templateflow.org"}
    (made / "dataset_description.json").write_text(json.dumps({"DatasetLinks": links}))
    (run,) = find_runs(made)
    assert run.mask.parts[-4:-2] == ("prep", "sub-01")
    for broken in ("{", "[]", '{"DatasetLinks": 3}', '{"DatasetLinks": {"a": "http://x"}}'):
        (made / "dataset_description.json").write_text(broken)
        (run,) = find_runs(made)
        assert run.mask is None


def test_old_aroma_runs_are_denoised_variants_of_the_scan(tmp_path):
    stem = "sub-01/func/sub-01_task-rest_bold_space-MNI152NLin2009cAsym"
    root = touch(
        tmp_path,
        f"{stem}_preproc.nii.gz",
        f"{stem}_variant-smoothAROMAnonaggr_preproc.nii.gz",
        f"{stem}_brainmask.nii.gz",
        "sub-01/func/sub-01_task-rest_bold_confounds.tsv",
    )
    runs = find_runs(root)
    assert [(run.run_id, run.desc, run.denoised) for run in runs] == [
        ("sub-01_task-rest", "preproc", False),
        ("sub-01_task-rest", "smoothAROMAnonaggr", True),
    ]


def test_what_is_there_instead_of_a_run_is_told(tmp_path):
    root = touch(
        tmp_path,
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-02/func/sub-02_task-rest_space-fsLR_den-91k_bold.dtseries.nii",
    )
    raw, surface = find_runs(root)
    assert "found only the raw run, which is not preprocessed: sub-01" in raw.missing[0]
    assert "found only surfaces (CIFTI): sub-02" in surface.missing[0]


def test_one_name_in_two_folders_is_told_with_both_places(tmp_path):
    root = touch(tmp_path, f"fmriprep/{NEW}", f"fmriprep-old/{NEW}")
    (run,) = find_runs(root)
    assert run.bold is None
    assert str(tmp_path / "fmriprep" / NEW) in run.missing[0]
    assert str(tmp_path / "fmriprep-old" / NEW) in run.missing[0]


def test_links_to_folders_are_followed_once(tmp_path):
    touch(tmp_path / "store", NEW)
    root = tmp_path / "derivative"
    root.mkdir()
    (root / "sub-01").symlink_to(tmp_path / "store" / "sub-01")
    (root / "again").symlink_to(root)
    (run,) = find_runs(root)
    assert run.bold == root / NEW


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    root = touch(tmp_path, NEW)

    def walk(top, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", str(root / "sub-01")))

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(BadFileError, match=r"sub-01: folder must be readable, got Permission denied"):
        find_runs(root)


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
    assert "found only the raw run" in runs[0].missing[0]
    assert "sub-01_task-mixedgamblestask_run-01_bold.nii.gz" in runs[0].missing[0]
    assert "found only" not in runs[1].missing[0]  # of the second run even the raw one was cut away
    derived = find_runs(root / "ds005" / "derivatives")
    assert [(run.run_id, run.mask, run.confounds) for run in derived] == [
        (run.run_id, run.mask, run.confounds) for run in runs
    ]
    assert not any("found only" in run.missing[0] for run in derived)


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
