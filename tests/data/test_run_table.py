"""Plain NIfTI files and a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.caches.cache import prepare
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.errors import BadFileError


@pytest.fixture
def files(tmp_path, write_run) -> Path:
    """A folder `plain` with two runs of names that say nothing, their masks and confounds."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for i, name in enumerate(("anna", "bert")):
        bold = write_run(tmp_path / "derivative", f"0{i}", seed=i)
        bold.rename(folder / f"{name}.nii.gz")
        for end, new in (("desc-brain_mask.nii.gz", "mask.nii.gz"), ("timeseries.tsv", "confounds.tsv")):
            next(bold.parent.glob(f"*{end}")).rename(folder / f"{name}_{new}")
    return folder


def table(folder: Path, *lines: str, name: str = "runs.tsv") -> Path:
    path = folder / name
    path.write_text("\n".join("\t".join(line.split("|")) for line in lines), encoding="utf-8")
    return path


HEADER = "participant_id|dx|bold|mask|confounds"
ROWS = (
    "anna|PD|anna.nii.gz|anna_mask.nii.gz|anna_confounds.tsv",
    "bert|hc|bert.nii.gz|bert_mask.nii.gz|bert_confounds.tsv",
)


def test_a_table_of_files_is_a_cohort_that_can_be_prepared(files, tmp_path):
    cohort = Cohort.from_table(table(files, HEADER, *ROWS), label="dx")
    assert list(cohort.table["run_id"]) == ["sub-anna", "sub-bert"]
    assert list(cohort.table["label"]) == [1, 0]
    assert list(cohort.table["space"]) == ["unknown"] * 2
    assert list(cohort.table["bold"]) == [str(files / f"{name}.nii.gz") for name in ("anna", "bert")]
    assert cohort.excluded == []
    cache = prepare(cohort, Recipe(confounds="6p"), tmp_path / "cache", progress=False)
    assert list(cache.table["run_id"]) == ["sub-anna", "sub-bert"]
    assert np.isfinite(np.asarray(cache.run(0).series_TV)).all()


def test_absolute_paths_and_stated_names_spaces_and_tr_count(files):
    bold = files / "anna.nii.gz"
    path = table(
        files,
        "Participant_ID|group|BOLD|Mask|session|task|run|space|tr|site",
        f"anna|PD|{bold}|anna_mask.nii.gz|ses-1|rest|2|MNI152NLin6Asym|2.5|A",
        "bert|HC|bert.nii.gz|bert_mask.nii.gz||||||",
    )
    cohort = Cohort.from_table(path, space="MNI152NLin6Asym")
    assert list(cohort.table["run_id"]) == ["sub-anna_ses-1_task-rest_run-2", "sub-bert"]
    assert list(cohort.table["space"]) == ["MNI152NLin6Asym"] * 2
    assert [run.tr for run in cohort.runs] == [2.5, None]
    assert list(cohort.table["site"]) == ["A", "unknown"]
    assert list(cohort.table["session"]) == ["1", ""]
    # Without the space of the others the second run is of an unknown one, and is not mixed in.
    cohort = Cohort.from_table(path)
    why = "space unknown (a column `space` can tell it); the cohort uses MNI152NLin6Asym"
    assert cohort.excluded == [("bert.nii.gz", why)]


def test_names_of_bids_fill_what_the_table_leaves_open(files):
    named = files / "sub-99_task-rest_run-3_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz"
    (files / "anna.nii.gz").rename(named)
    cohort = Cohort.from_table(
        table(files, HEADER, f"anna|PD|{named.name}|anna_mask.nii.gz|", ROWS[1]), label="dx"
    )
    assert cohort.runs[0].run_id == "sub-anna_task-rest_run-3"
    assert cohort.runs[0].space == "MNI152NLin6Asym"


def test_several_runs_of_a_person_need_names(files):
    path = table(files, HEADER, *ROWS, "anna|PD|bert.nii.gz|bert_mask.nii.gz|")
    cohort = Cohort.from_table(path, label="dx")
    assert list(cohort.table["run_id"]) == ["sub-bert"]
    assert [what for what, _ in cohort.excluded] == ["sub-anna"] * 2
    assert "2 rows of one name (this is line 2: " in cohort.excluded[0][1]
    assert "column `session` or `run`" in cohort.excluded[1][1]
    path = table(
        files, f"{HEADER}|run", f"{ROWS[0]}|1", f"{ROWS[1]}|1", "anna|PD|bert.nii.gz|bert_mask.nii.gz||2"
    )
    cohort = Cohort.from_table(path, label="dx")
    assert list(cohort.table["run_id"]) == ["sub-anna_run-1", "sub-bert_run-1", "sub-anna_run-2"]
    assert list(cohort.table["person"]) == ["sub-anna", "sub-bert", "sub-anna"]


def test_what_is_missing_is_listed(files):
    (files / "link.nii.gz").symlink_to(files / "annex" / "gone")
    path = table(
        files,
        HEADER,
        ROWS[0],
        "b|PD|gone.nii.gz|anna_mask.nii.gz|",
        "c|PD|bert.nii.gz|no_mask.nii.gz|",
        "d|PD|link.nii.gz|anna_mask.nii.gz|",
        "e|PD|n/a||",
        "|PD|bert.nii.gz|bert_mask.nii.gz|",
        "f|MSA|bert.nii.gz|bert_mask.nii.gz|",
        "g||bert.nii.gz|bert_mask.nii.gz|",
    )
    cohort = Cohort.from_table(path, label="dx")
    assert list(cohort.table["run_id"]) == ["sub-anna"]
    reasons = dict(cohort.excluded)
    assert reasons["sub-b"] == f"bold: {files / 'gone.nii.gz'} is no file"
    assert reasons["sub-c"] == f"mask: {files / 'no_mask.nii.gz'} is no file"
    assert "datalad get" in reasons["sub-d"]
    assert reasons["sub-e"] == "bold: none in line 6 of runs.tsv"
    assert reasons["line 7"] == "no participant_id in runs.tsv"
    assert reasons["sub-f"] == "dx is 'MSA'; wanted HC or PD (letter case does not count)"
    assert reasons["sub-g"].startswith("no dx; wanted")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("participant_id|dx", "a|PD"), "a column 'bold'"),
        (("bold|dx", "a|PD"), "a column 'participant_id'"),
        (("participant_id|bold", "a|b"), "a column 'dx'"),
        ((HEADER, "../a|PD|anna.nii.gz||"), r"sub in line 2 must be of letters, .* got '../a'"),
        ((HEADER, "a b|PD|anna.nii.gz||"), r"sub in line 2 must be .* got 'a b'"),
        ((f"{HEADER}|run", "a|PD|anna.nii.gz|||1/2"), r"run in line 2 must be .* got '1/2'"),
        ((f"{HEADER}|tr", "a|PD|anna.nii.gz|||2s"), r"tr in line 2 must be a number of seconds, got '2s'"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(files, lines, message):
    with pytest.raises(BadFileError, match=message):
        Cohort.from_table(table(files, *lines), label="dx")


def test_a_run_without_a_mask_gets_one_computed(files):
    cohort = Cohort.from_table(table(files, "participant_id|dx|bold", "anna|PD|anna.nii.gz"), label="dx")
    (run,) = cohort.runs
    assert run.computed_mask
    assert run.usable
    assert run.notes[0].startswith("no mask is given: one is computed")
    assert list(cohort.table["mask"]) == [""]
