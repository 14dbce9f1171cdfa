"""Runs joined to the participants table, and everything that is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.cohorts.cohort import Cohort
from data.cohorts.cohort_rows import COLUMNS
from data.errors import BadFileError, ParameterError


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


def test_a_subject_with_scans_and_no_row_is_listed_and_a_foreign_table_refused(derivative):
    path = rewrite(derivative, "participant_id\tgroup\nsub-01\tPD\n4\tHC\n")
    cohort = Cohort.from_derivatives(derivative)
    assert list(cohort.table["participant_id"]) == ["sub-01"]
    assert dict(cohort.excluded) == {
        "sub-02_task-rest": "no row for sub-02 in participants.tsv",
        "sub-03_task-rest": "no row for sub-03 in participants.tsv",
        "sub-04_task-rest": "no row for sub-04 in participants.tsv; it has sub-4: were leading zeros lost?",
        "sub-4": "in the participants table, but has no run",
    }
    rewrite(derivative, "participant_id\tgroup\nsub-901\tPD\nsub-904\tHC\n")
    with pytest.raises(
        BadFileError, match=r"no row for sub-01, sub-02, sub-03, sub-04; its own are sub-901, sub-904; give"
    ) as error:
        Cohort.from_derivatives(derivative)
    assert error.value.path == path


def test_words_that_no_row_has_are_refused_with_those_that_are_there(derivative):
    with pytest.raises(
        BadFileError, match=r"column 'group' must be Patient or HD for somebody, got 'HC', 'PD'"
    ):
        Cohort.from_derivatives(derivative, positive="Patient", negative="HD")


def test_duplicates_missing_columns_and_missing_tables_are_refused(derivative):
    rewrite(derivative, "participant_id\tgroup\nsub-01\tPD\n01\tHC\n")
    with pytest.raises(BadFileError, match=r"one row a subject, got several rows for sub-01"):
        Cohort.from_derivatives(derivative)
    rewrite(derivative, "participant_id\tgrupo\nsub-01\tPD\n")
    with pytest.raises(BadFileError, match=r"a column 'group', got .*grupo; did you mean grupo"):
        Cohort.from_derivatives(derivative)
    rewrite(derivative, "name\tgroup\nsub-01\tPD\n")
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


def test_the_facts_of_people_and_sessions_reach_the_table(tmp_path, write_run):
    for session in ("off", "on"):
        write_run(tmp_path, "01", entities=f"_ses-{session}")
    write_run(tmp_path, "02")
    rewrite(
        tmp_path,
        "participant_id\tsession\tgroup\tage\tupdrs_iii\thy\tscanner\tsex\n"
        "01\toff\tPD\t60\t40\t2\tTrio\tm\n01\ton\tPD\t60\t25\t2\tTrio\tm\n02\t\tHC\t61\t\t\t\tf\n",
    )
    table = Cohort.from_derivatives(tmp_path).table
    assert list(table["session"]) == ["off", "on", ""]
    assert list(table["medication"]) == ["off", "on", "n/a"]
    assert list(table["updrs"][:2]) == [40, 25]
    assert list(table["hoehn_yahr"][:2]) == [2, 2]
    assert np.isnan(table["updrs"][2])
    assert list(table["scanner"]) == ["Trio", "Trio", "unknown"]
    assert list(table["sex"]) == ["M", "M", "F"]
    assert list(table["person"]) == ["sub-01", "sub-01", "sub-02"]
    assert list(table.columns) == list(COLUMNS)
    assert list(Cohort.from_derivatives(tmp_path, site="session").table["site"]) == ["off", "on", "unknown"]


@pytest.fixture
def two_sites(tmp_path, write_run) -> list[Path]:
    """Derivatives of two sites with the same subjects' numbers, each with its own table."""
    roots = []
    for site in ("Lyon", "Paris"):
        roots.append(tmp_path / site / "derivatives" / "fmriprep")
        for subject in ("01", "02"):
            write_run(roots[-1], subject)
        rewrite(roots[-1], "participant_id\tgroup\nsub-01\tPD\nsub-02\tHC\n")
    return roots


def test_several_derivatives_are_one_cohort_of_different_people(two_sites):
    cohort = Cohort.from_derivatives(two_sites)
    assert list(cohort.table["run_id"]) == [
        f"{site}_sub-{subject}_task-rest" for site in ("Lyon", "Paris") for subject in ("01", "02")
    ]
    assert [run.run_id for run in cohort.runs] == list(cohort.table["run_id"])
    assert list(cohort.table["site"]) == ["Lyon", "Lyon", "Paris", "Paris"]
    assert cohort.table["person"].nunique() == 4
    assert cohort.table["participant_id"].nunique() == 2
    assert all(Path(bold).is_file() for bold in cohort.table["bold"])


def test_a_column_for_the_person_joins_who_was_scanned_at_two_sites(two_sites):
    for root, other in zip(two_sites, ("p3", "p4"), strict=True):
        rewrite(root, f"participant_id\tgroup\tperson\tsite\n01\tPD\tp1\tX\n02\tHC\t{other}\t\n")
    cohort = Cohort.from_derivatives(two_sites)
    assert list(cohort.table["person"]) == ["p1", "p3", "p1", "p4"]
    assert list(cohort.table["site"]) == ["X", "Lyon", "X", "Paris"]
    assert (
        list(Cohort.from_derivatives(two_sites, site="dataset").table["site"]) == ["Lyon"] * 2 + ["Paris"] * 2
    )
    assert cohort.describe()["subjects"].tolist() == [1, 1, 1]
    rewrite(two_sites[1], "participant_id\tgroup\tperson\n01\tHC\tp1\n02\tHC\tp4\n")
    with pytest.raises(BadFileError, match=r"gives a person one diagnosis, got two for p1 \(Lyon_sub-01"):
        Cohort.from_derivatives(two_sites)


def test_one_table_or_one_for_each_derivative(two_sites, tmp_path):
    table = rewrite(tmp_path, "participant_id\tgroup\n01\tPD\n02\tHC\n", "all.tsv")
    assert len(Cohort.from_derivatives(two_sites, table=table)) == 4
    assert len(Cohort.from_derivatives(two_sites, table=[table, table])) == 4
    with pytest.raises(ParameterError, match=r"tables must be one, or one for each of the 2 .* got 3"):
        Cohort.from_derivatives(two_sites, table=[table] * 3)
    with pytest.raises(ParameterError, match=r"derivatives must be different folders"):
        Cohort.from_derivatives([two_sites[0], two_sites[0]])


def test_notes_name_their_table(derivative):
    table = derivative / "participants.tsv"
    table.write_text(table.read_text() + "sub-01\tPD\tA\t61.5\tF\n")
    cohort = Cohort.from_derivatives(derivative)
    assert len(cohort) == 4
    assert cohort.notes == [f"{table}: sub-01 stands in lines 2 and 6 alike"]


@pytest.mark.shared
def test_the_real_tree_gives_an_empty_cohort_with_reasons(shared_data, tmp_path):
    table = tmp_path / "people.tsv"
    table.write_text("participant_id\tgroup\nsub-01\tHC\n")
    cohort = Cohort.from_derivatives(shared_data / "pybids_truncated_ds005", table=table)
    assert len(cohort) == 0
    assert [why.split(":")[0] for _, why in cohort.excluded] == ["bold", "bold"]
