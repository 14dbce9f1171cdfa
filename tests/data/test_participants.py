"""What is known of people, from tables as they are kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.cohorts.clinical_words import medication, number, sex, stage
from data.cohorts.participants import read_participants
from data.errors import BadFileError


@pytest.fixture
def people(tmp_path):
    """Read a table that is written here as lines of words."""

    def read(*lines: str, label: str = "group", site: str | None = None, name: str = "participants.tsv"):
        path = tmp_path / name
        path.write_text("\n".join("\t".join(line.split("|")) for line in lines), encoding="utf-8")
        return read_participants(path, label, site)

    return read


def test_facts_under_their_usual_names(people):
    table = people(
        "participant_id|group|Site|Scanner|age|sex|MDS_UPDRS_III|Hoehn_Yahr|medication|person_id",
        "sub-01|PD|A|Prisma|61,5|Male|32|2.5|OFF|p7",
        "02|HC|n/a|n/a|n/a|f|n/a|n/a|n/a|",
    )
    first, second = table.of("sub-01", ""), table.of("sub-02", "any")
    assert (first.label, first.person, first.site, first.scanner) == ("PD", "p7", "A", "Prisma")
    assert (first.age, first.sex, first.updrs, first.hoehn_yahr) == (61.5, "M", 32, 2.5)
    assert first.medication == "off"
    assert (second.person, second.site, second.sex, second.medication) == ("", "", "F", "n/a")
    assert np.isnan([second.age, second.updrs, second.hoehn_yahr]).all()
    assert table.notes == ()
    assert table.of("sub-03", "") is None


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("SITE_ID", "site"),
        ("Center", "site"),
        ("centre", "site"),
        ("ManufacturersModelName", "scanner"),
        ("subjectkey", "person"),
        ("Subject Key", "person"),
    ],
)
def test_other_names_of_columns_of_words(people, column, kind):
    assert getattr(people(f"participant_id|group|{column}", "01|PD|x").of("sub-01", ""), kind) == "x"


@pytest.mark.parametrize("column", ["updrs_iii", "UPDRS3", "mds-updrs part III", "NP3TOT", "updrs_part_3"])
def test_other_names_of_updrs(people, column):
    assert people(f"participant_id|group|{column}", "01|PD|31").of("sub-01", "").updrs == 31


def test_a_bare_updrs_is_taken_with_a_note_and_a_total_is_not(people):
    table = people("participant_id|group|UPDRS|updrs_total", "01|PD|31|60")
    assert table.of("sub-01", "").updrs == 31
    assert table.notes == ("UPDRS: taken for part III; its name does not say",)
    assert np.isnan(people("participant_id|group|updrs_total", "01|PD|60").of("sub-01", "").updrs)


def test_ids_keep_their_zeros_and_need_no_prefix(people):
    table = people("participant_id |group", "001|PD", "sub-02|HC ", "1e3|HC")
    assert table.ids == ["sub-001", "sub-02", "sub-1e3"]
    assert table.of("sub-1", "") is None
    assert table.absence("sub-1") == (
        "no row for sub-1 in participants.tsv; it has sub-001: were leading zeros lost?"
    )
    assert table.absence("sub-9") == "no row for sub-9 in participants.tsv"


def test_codes_of_sex_count_only_where_a_sidecar_explains_them(people, tmp_path):
    lines = ("participant_id|group|sex", "01|PD|1", "02|HC|2", "03|HC|M", "04|HC|2")
    table = people(*lines)
    assert [table.of(f"sub-0{i}", "").sex for i in (1, 2, 3)] == ["n/a", "n/a", "M"]
    (note,) = table.notes
    assert note.startswith("sex: '1', '2' in 3 rows could not be understood and counts as unknown; say what")
    levels = {"1": "Male", "2": {"Description": "female"}}
    (tmp_path / "participants.json").write_text(json.dumps({"sex": {"Levels": levels}}))
    table = people(*lines)
    assert [table.of(f"sub-0{i}", "").sex for i in (1, 2, 3)] == ["M", "F", "M"]
    assert table.notes == ()
    for broken in ("{", "[]", '{"sex": 3}', '{"sex": {"Levels": ["1"]}}'):
        (tmp_path / "participants.json").write_text(broken)
        assert people(*lines).of("sub-01", "").sex == "n/a"


def test_sites_that_differ_in_letter_case_are_one(people):
    table = people("participant_id|group|site", "01|PD|Paris", "02|HC|PARIS ", "03|HC|lyon")
    assert [table.of(f"sub-0{i}", "").site for i in (1, 2, 3)] == ["Paris", "Paris", "lyon"]


def test_a_row_a_session(people):
    table = people(
        "participant_id|session_id|group|age|updrs_iii|medication",
        "01|ses-1|PD|60|40|off",
        "01|ses-2|PD|61|25|on",
        "02|ses-1|HC|n/a|n/a|n/a",
    )
    assert [table.of("sub-01", s).medication for s in ("1", "2")] == ["off", "on"]
    assert [table.of("sub-01", s).updrs for s in ("01", "02")] == [40, 25]
    # Of a session without a row what all the rows say is known, and no more.
    third = table.of("sub-01", "3")
    assert (third.label, third.medication) == ("PD", "n/a")
    assert np.isnan([third.age, third.updrs]).all()


def test_sessions_named_after_the_medication(people):
    table = people("participant_id|group", "01|PD")
    assert [table.of("sub-01", s).medication for s in ("on", "OFFmed", "1")] == ["on", "off", "n/a"]
    table = people("participant_id|session|group", "01|ses-on|PD", "01|ses-off|PD")
    assert [table.of("sub-01", s).medication for s in ("on", "off")] == ["on", "off"]


def test_rows_alike_are_merged_and_rows_that_contradict_are_refused(people):
    lines = ("participant_id|group|age|note", "01|PD|60|a", "02|HC|61|b", "sub-01|PD|60|c")
    table = people(*lines)
    assert table.ids == ["sub-01", "sub-02"]
    assert table.notes == ("sub-01 stands in lines 2 and 4 alike",)
    with pytest.raises(
        BadFileError,
        match=r"one row a subject, got several rows for sub-01 \(lines 2 and 4 and 5\) that differ in age;"
        r" keep one, or add a column `session`",
    ):
        people(*lines, "01|PD|70|d")
    assert people(*lines, "01|pd|60|d").of("sub-01", "").label == "PD"
    with pytest.raises(BadFileError, match=r"differ in group"):
        people(*lines, "01|pd2|60|d")
    with pytest.raises(BadFileError, match=r"one row a subject and session.*differ in group; keep one"):
        people("participant_id|ses|group", "01|1|PD", "01|01|HC")


def test_missing_columns_are_named(people):
    with pytest.raises(BadFileError, match=r"a column 'group', got the columns participant_id, grupo; did"):
        people("participant_id|grupo", "01|PD")
    with pytest.raises(BadFileError, match=r"a column 'participant_id'"):
        people("name|group", "01|PD")
    with pytest.raises(BadFileError, match=r"a column 'clinic'"):
        people("participant_id|group", "01|PD", site="clinic")
    assert (
        people("Subject_ID|Group|Clinic", "01|PD|x", label="group", site="clinic").of("sub-01", "").site
        == "x"
    )


@pytest.mark.parametrize(
    ("word", "state"),
    [
        *[(word, "on") for word in ("on", "ON", " On-medication", "ON med", "med-on", "on_state", "onmeds")],
        *[(word, "off") for word in ("off", "OFF", "off medication", "MedOFF", "off-levodopa")],
        *[(word, "n/a") for word in ("", "n/a", "NaN")],
        *[(word, None) for word in ("1", "yes", "levodopa", "madopar on demand", "none known", "onset", "2")],
    ],
)
def test_states_of_medication(word, state):
    assert medication(word) == state


@pytest.mark.parametrize(
    ("word", "value"),
    [("2", 2), ("2.5", 2.5), ("II", 2), ("stage 3", 3), ("Stage III", 3), ("6", None), ("mild", None)],
)
def test_stages(word, value):
    assert stage(word) == value


def test_numbers_out_of_range_are_not_understood(people):
    assert [number(word, 120) for word in ("-1", "999", "61 y", "inf")] == [None] * 4
    table = people("participant_id|group|age|hy", "01|PD|999|2", "02|HC|-1|x", "03|HC|61|n/a")
    assert np.isnan([table.of("sub-01", "").age, table.of("sub-02", "").age]).all()
    assert table.of("sub-03", "").age == 61
    assert [note.split(" in ")[0] for note in table.notes] == ["age: '999', '-1'", "hy: 'x'"]


@given(st.text(max_size=12))
def test_no_word_breaks_the_reading_or_gives_a_foreign_value(word):
    assert sex(word, {}) in {"F", "M", "O", "n/a", None}
    assert medication(word) in {"on", "off", "n/a", None}
    for value in (stage(word), number(word, 120)):
        assert value is None or np.isnan(value) or 0 <= value <= 120
