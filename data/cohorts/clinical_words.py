"""Words of a participants table -> facts with one meaning: age, sex, medication, UPDRS III, Hoehn and Yahr.

A word that may mean two things gives nothing, and a note says so: a wrong fact is worse than none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from data.cohorts.table_file import is_absent

UNKNOWN = float("nan")
OLDEST, HIGHEST_UPDRS, HIGHEST_STAGE = 120.0, 132.0, 5.0  # 33 items of 0 to 4 in MDS-UPDRS part III
SEXES = {
    **dict.fromkeys(("f", "female", "woman", "w", "weiblich", "femme", "femenino"), "F"),
    **dict.fromkeys(("m", "male", "man", "männlich", "homme", "masculino"), "M"),
    **dict.fromkeys(("o", "other", "diverse", "intersex"), "O"),
}
ROMAN = {"i": 1.0, "ii": 2.0, "iii": 3.0, "iv": 4.0, "v": 5.0}
# The usual names of columns, without what is not a letter or a figure, in order of preference.
COLUMNS: dict[str, tuple[str, ...]] = {
    "participant_id": ("participantid", "subjectid", "subject", "participant"),
    "session": ("session", "sessionid", "ses", "visit", "visitid"),
    "person": ("person", "personid", "subjectkey", "guid"),
    "site": (
        "site",
        "siteid",
        "sitename",
        "center",
        "centre",
        "centerid",
        "centreid",
        "scansite",
        "hospital",
    ),
    "scanner": (
        "scanner",
        "scannerid",
        "scannermodel",
        "manufacturersmodelname",
        "manufacturermodelname",
        "mriscanner",
        "manufacturer",
    ),
    "age": ("age", "ageyears", "ageatscan", "ageatmri", "ageatvisit"),
    "sex": ("sex", "gender"),
    "updrs": (
        "mdsupdrsiii",
        "mdsupdrs3",
        "mdsupdrspartiii",
        "mdsupdrspart3",
        "updrsiii",
        "updrs3",
        "updrspartiii",
        "updrspart3",
        "updrsmotor",
        "motorupdrs",
        "updrs3score",
        "updrsiiitotal",
        "updrs3total",
        "np3tot",
        "updrs",
    ),
    "hoehn_yahr": (
        "hoehnyahr",
        "hoehnandyahr",
        "hoehnyahrstage",
        "hoehnandyahrstage",
        "hy",
        "handy",
        "hystage",
        "nhy",
    ),
    "medication": (
        "medication",
        "medicationstate",
        "medicationstatus",
        "medstate",
        "medstatus",
        "med",
        "onoff",
        "levodopastate",
        "dopastate",
        "pdstate",
    ),
}


def plain(name: str) -> str:
    """A column's name without letter case and without what is not a letter or a figure."""
    return "".join(mark for mark in name.casefold() if mark.isalnum())


def find_column(columns: tuple[str, ...], kind: str) -> str | None:
    """The column of this kind, under any of its usual names, or None."""
    known: dict[str, str] = {}
    for column in columns:
        known.setdefault(plain(column), column)
    return next((known[name] for name in COLUMNS[kind] if name in known), None)


def number(word: str, highest: float) -> float | None:
    """A number between 0 and `highest`; NaN where there is none; None where the word means nothing of it."""
    if is_absent(word):
        return UNKNOWN
    if re.fullmatch(r"\d+,\d+", word):
        word = word.replace(",", ".")  # as half of Europe writes it
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= highest else None


def stage(word: str) -> float | None:
    """A stage of Hoehn and Yahr: `2.5`, `II`, `stage 3`."""
    bare = word.casefold().removeprefix("stage").removeprefix("h&y").strip()
    return ROMAN.get(bare, number(bare, HIGHEST_STAGE))


def sex(word: str, levels: Mapping[str, str]) -> str | None:
    """F, M or O; "n/a" where there is none; None where the word has no certain meaning, as 1 and 2 have not.

    Args:
        word: the cell.
        levels: what words mean by participants.json (`Levels`), where there is one.
    """
    if is_absent(word):
        return "n/a"
    return SEXES.get(levels.get(word, word).strip().casefold())


def medication(word: str) -> str | None:
    """`on` or `off`; "n/a" where there is none; None where the word does not tell (1, yes, a drug's name)."""
    if is_absent(word):
        return "n/a"
    bare = plain(word)
    for state in ("on", "off"):
        rest = {bare.removeprefix(state), bare.removesuffix(state)} - {bare}
        if rest & {"", "med", "meds", "medication", "state", "levodopa", "ldopa"}:
            return state
    return None
