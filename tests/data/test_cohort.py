"""Runs joined to the participants table, and everything that is left out."""

from __future__ import annotations

import numpy as np
import pytest

from data.cohort import Cohort
from data.errors import BadFileError


def rewrite(derivative, text: str, name: str = "participants.tsv"):
    path = derivative / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_a_run_with_label_site_age_and_sex(derivative, write_run):
    write_run(derivative, "03", entities="_ses-2")
    cohort = Cohort.from_derivatives(derivative)
    table = cohort.table
    assert list(table["run_id"]) == [
        "sub-01_task-rest",
        "sub-02_task-rest",
        "sub-03_ses-2_task-rest",
        "sub-03_task-rest",
        "sub-04_task-rest",
    ]
    assert list(table["label"]) == [1, 0, 1, 1, 0]
    assert table["label"].dtype.kind == "i"
    assert list(table["site"]) == ["A", "A", "B", "B", "B"]
    assert table["age"][0] == 61.5
    assert np.isnan(table["age"][2])
    assert list(table["sex"]) == ["F", "M", "M", "M", "F"]
    assert [str(run.bold) for run in cohort.runs] == list(table["bold"])
    assert [run.run_id for run in cohort.runs] == list(table["run_id"])
    assert cohort.excluded == []
    assert len(cohort) == 5
    described = cohort.describe()
    assert described.to_dict("list") == {
        "site": ["A", "A", "B", "B"],
        "label": [0, 1, 0, 1],
        "runs": [1, 1, 1, 2],
        "subjects": [1, 1, 1, 1],
    }


def test_the_table_is_forgiving_about_letter_case_blanks_prefix_and_byte_order_mark(derivative):
    rewrite(
        derivative,
        "\ufeffparticipant_id \tgroup\tSite\n01\tpd \nsub-02\thc\tA\nsub-03\t PD\tB\n04\tHC\tB\n\t\t\n",
    )
    cohort = Cohort.from_derivatives(derivative)
    assert list(cohort.table["label"]) == [1, 0, 1, 0]
    assert list(cohort.table["site"]) == ["unknown", "A", "B", "B"]
    assert cohort.table["age"].isna().all()
    assert list(cohort.table["sex"]) == ["n/a"] * 4


def test_a_csv_with_other_words_for_the_labels(derivative):
    path = rewrite(
        derivative,
        "participant_id,dx\nsub-01,Patient\nsub-02,Control\nsub-03,MSA\nsub-04,\n",
        "other.csv",
    )
    cohort = Cohort.from_derivatives(
        derivative, table=path, label="dx", positive="patient", negative="control"
    )
    assert list(cohort.table["participant_id"]) == ["sub-01", "sub-02"]
    assert [what for what, _ in cohort.excluded] == ["sub-03_task-rest", "sub-04_task-rest"]
    assert "dx is 'MSA'" in cohort.excluded[0][1]
    assert "no dx" in cohort.excluded[1][1]


def test_a_table_above_the_derivative_is_found(derivative):
    (derivative.parent / "derivatives").mkdir()
    moved = derivative.rename(derivative.parent / "derivatives" / "fmriprep")
    (moved / "participants.tsv").rename(moved.parents[1] / "participants.tsv")
    assert len(Cohort.from_derivatives(moved)) == 4


def test_a_subject_with_scans_and_no_row_is_named(derivative):
    path = rewrite(derivative, "participant_id\tgroup\nsub-01\tPD\nsub-04\tHC\n")
    with pytest.raises(
        BadFileError, match=r"participants.tsv: .*no row for sub-02, sub-03; add the row"
    ) as error:
        Cohort.from_derivatives(derivative)
    assert error.value.path == path


def test_duplicates_missing_columns_and_missing_tables_are_refused(derivative):
    rewrite(derivative, "participant_id\tgroup\nsub-01\tPD\n01\tHC\n")
    with pytest.raises(BadFileError, match=r"one row a subject, got several rows for sub-01"):
        Cohort.from_derivatives(derivative)
    rewrite(derivative, "participant_id\tgrupo\nsub-01\tPD\n")
    with pytest.raises(BadFileError, match=r"a column 'group', got .*grupo; did you mean grupo"):
        Cohort.from_derivatives(derivative)
    rewrite(derivative, "subject\tgroup\nsub-01\tPD\n")
    with pytest.raises(BadFileError, match=r"a column 'participant_id'"):
        Cohort.from_derivatives(derivative)
    rewrite(derivative, "")
    with pytest.raises(BadFileError, match=r"participants.tsv: participants table must be a table"):
        Cohort.from_derivatives(derivative)
    (derivative / "participants.tsv").unlink()
    with pytest.raises(BadFileError, match=r"participants.tsv: participants table must be .* got nothing"):
        Cohort.from_derivatives(derivative)
    with pytest.raises(BadFileError, match=r"mine.tsv"):
        Cohort.from_derivatives(derivative, table=derivative / "mine.tsv")


def test_what_cannot_be_used_is_listed(derivative):
    next(derivative.glob("sub-02/func/*mask.nii.gz")).unlink()
    table = derivative / "participants.tsv"
    table.write_text(table.read_text() + "sub-09\tPD\tA\t50\tF\n")
    cohort = Cohort.from_derivatives(derivative)
    assert list(cohort.table["participant_id"]) == ["sub-01", "sub-03", "sub-04"]
    reasons = dict(cohort.excluded)
    assert reasons["sub-02_task-rest"].startswith("mask: no such file")
    assert reasons["sub-09"] == "in the participants table, but has no run"


def test_one_space_is_taken_for_the_whole_cohort(derivative):
    func = derivative / "sub-01" / "func"
    for path in list(func.glob("*MNI152NLin2009cAsym*.nii.gz")):
        (func / path.name.replace("MNI152NLin2009cAsym", "MNI152NLin6Asym")).write_bytes(path.read_bytes())
    cohort = Cohort.from_derivatives(derivative)
    assert set(cohort.table["space"]) == {"MNI152NLin2009cAsym"}
    assert len(cohort) == 4
    ((what, why),) = cohort.excluded
    assert "MNI152NLin6Asym" in what
    assert "the cohort uses MNI152NLin2009cAsym" in why
    assert len(Cohort.from_derivatives(derivative, space="MNI152NLin6Asym")) == 1


def test_nothing_found_is_an_error(derivative):
    with pytest.raises(BadFileError, match="preprocessed runs of task sleep, got none"):
        Cohort.from_derivatives(derivative, task="sleep")


@pytest.mark.shared
def test_the_real_tree_gives_an_empty_cohort_with_reasons(shared_data, tmp_path):
    table = tmp_path / "people.tsv"
    table.write_text("participant_id\tgroup\nsub-01\tHC\n")
    cohort = Cohort.from_derivatives(shared_data / "pybids_truncated_ds005", table=table)
    assert len(cohort) == 0
    assert [why.split(":")[0] for _, why in cohort.excluded] == ["bold", "bold"]
