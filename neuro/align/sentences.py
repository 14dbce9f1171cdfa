"""A row of a cohort's table -> sentences about the person: what the text tower is told.

    a brain scan of a woman in her sixties with moderate Parkinson's disease
    resting-state fMRI of a healthy person

What is not known is left out. Names and ids are never told. Site and medication are told only where asked
for, motion never: they say how a scan was made, and an encoder that learned them would find sites.
All of it is a function of the row and the options.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data.errors import ParameterError, UnknownNameError, nearest

FACTS = ("diagnosis", "age", "sex", "severity", "medication", "site")
TOLD = ("diagnosis", "age", "sex", "severity")
TEMPLATES = (
    "a brain scan of {}",
    "resting-state fMRI of {}",
    "functional MRI of {}",
    "the brain of {}, scanned at rest",
)
NOUNS = {"F": "woman", "M": "man"}
DECADES = (
    *("first years", "teens", "twenties", "thirties", "forties"),
    *("fifties", "sixties", "seventies", "eighties", "nineties"),
)
POSSESSIVES = {"F": "her", "M": "his"}
Value = str | float
Facts = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class DiagnosisWords:
    """What the two labels are called; several words for one thing are used in turn.

    Attributes:
        positive: conditions that people of label 1 have.
        negative: conditions that people of label 0 have; none calls them healthy.
    """

    positive: tuple[str, ...] = ("Parkinson's disease", "Parkinson's", "PD")
    negative: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        words = (*self.positive, *self.negative)
        if not self.positive or not all(word.strip() for word in words):
            raise ParameterError("words of a diagnosis", must_be="at least one, none empty", got=words)
        twice = sorted(word for word in set(words) if words.count(word) > 1)
        if twice:
            raise ParameterError("words of a diagnosis", must_be="all different", got=f"{twice[0]!r} twice")

    def of(self, label: int) -> tuple[str, ...]:
        """Of a label; () is healthy."""
        return self.positive if label else self.negative

    def people(self, label: int) -> list[str]:
        """People of a label in words, with nothing else known of them: for prompts."""
        words = self.of(label)
        if not words:
            return ["a healthy person", "a healthy volunteer", "a healthy control"]
        return [f"a {noun} with {word}" for word in words for noun in ("person", "patient")]


@dataclass(frozen=True, kw_only=True)
class SentenceConfig:
    """Which facts are told.

    Attributes:
        told: of `FACTS`, the most important first: sentences tell the first, the first two, and so on.
        words: of the diagnosis.
    """

    told: tuple[str, ...] = TOLD
    words: DiagnosisWords = field(default_factory=DiagnosisWords)

    def __post_init__(self) -> None:
        for name in self.told:
            if name not in FACTS:
                choices = f"of {', '.join(FACTS)}"
                raise UnknownNameError("facts told", must_be=choices, got=name, do=nearest(name, FACTS))
        if not self.told or len(set(self.told)) < len(self.told):
            raise ParameterError("facts told", must_be="at least one, each once", got=self.told)


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """Words, and the facts that they tell, by which it is known whom else they hold of."""

    text: str
    facts: tuple[tuple[str, Value], ...]

    def holds_of(self, person: Facts) -> bool | None:
        """Whether it is true of a person; None where that cannot be said."""
        found = [_agree(kind, value, person.get(kind)) for kind, value in self.facts]
        if any(one is False for one in found):
            return False
        return None if any(one is None for one in found) else True


def facts_of(row: Mapping[str, Any], told: tuple[str, ...] = TOLD) -> dict[str, Value]:
    """What is known of a person and to be told, in the order of `told`.

    Args:
        row: of a cohort's table (`data.cohorts.cohort_rows.COLUMNS`); a column may be missing.
        told: of `FACTS`.
    """
    known = {
        "diagnosis": float(row["label"]) if "label" in row else None,
        "age": _decade(row.get("age")),
        "sex": _word(row.get("sex")),
        "severity": severity(_number(row.get("hoehn_yahr")), _number(row.get("updrs"))),
        "medication": _word(row.get("medication")),
        "site": _word(row.get("site")),
    }
    if known["diagnosis"] == 0:
        known["severity"] = None  # a control's score is no severity of a disease
    return {kind: value for kind in told if (value := known[kind]) is not None}


def severity(hoehn_yahr: float | None, updrs: float | None) -> str | None:
    """Mild, moderate or severe, by Hoehn and Yahr's stage, else by part III of the MDS-UPDRS.

    Cuts after Martínez-Martín et al. 2015 (Parkinsonism & Related Disorders 21): stages 1 and 2, 3, 4 and 5;
    scores up to 32, up to 58, above. The half stages 1.5 and 2.5 count as mild. None where neither is known.
    """
    for value, moderate, severe in ((hoehn_yahr, 3.0, 4.0), (updrs, 33.0, 59.0)):
        if value is not None and value > 0:
            return "mild" if value < moderate else "moderate" if value < severe else "severe"
    return None


def sentences_of(row: Mapping[str, Any], config: SentenceConfig | None = None) -> list[Sentence]:
    """All sentences about a person, those that tell least first, each once.

    Raises:
        ParameterError: nothing of what is to be told is known.
    """
    config = config or SentenceConfig()
    facts = list(facts_of(row, config.told).items())
    if not facts:
        got = f"nothing for {row.get('run_id', 'a run')}"
        raise ParameterError("facts told", must_be="known for each run", got=got, do="tell others, too")
    found = [
        Sentence(text=template.format(who), facts=tuple(facts[:count]))
        for count in range(1, len(facts) + 1)
        for template, who in _said(dict(facts[:count]), config.words)
    ]
    return list(dict.fromkeys(found))


def _said(facts: Facts, words: DiagnosisWords) -> list[tuple[str, str]]:
    """Every template, with the words for the diagnosis in turn."""
    conditions = words.of(int(facts["diagnosis"])) if "diagnosis" in facts else ()
    whom = [_who(facts, condition) for condition in conditions or ("",)]
    turns = max(len(TEMPLATES), len(whom))
    return [(TEMPLATES[turn % len(TEMPLATES)], whom[turn % len(whom)]) for turn in range(turns)]


def _who(facts: Facts, condition: str) -> str:
    """A person in words: "a healthy woman in her sixties", "a person with mild PD, off medication"."""
    sex = str(facts.get("sex"))
    healthy = "healthy " if "diagnosis" in facts and not condition else ""
    has = " ".join(filter(None, (str(facts.get("severity", "")), condition)))
    tail = f" in {POSSESSIVES.get(sex, 'their')} {_decade_words(facts['age'])}" if "age" in facts else ""
    tail += f" with {has}" if condition else ""
    tail += f", {facts['medication']} medication" if "medication" in facts else ""
    tail += f", scanned at {facts['site']}" if "site" in facts else ""
    return f"a {healthy}{NOUNS.get(sex, 'person')}{tail}"


def _decade_words(began: Value) -> str:
    return DECADES[int(float(began)) // 10]


def _agree(kind: str, told: Value, there: Value | None) -> bool | None:
    if there is None:
        return None
    if kind == "age" and abs(float(told) - float(there)) == 10:
        return None  # 59 and 61 are nearer than 61 and 69
    return told == there


def _decade(value: Any) -> float | None:
    """The year that a person's decade began in: what a few dozen people can teach of age."""
    age = _number(value)
    return None if age is None else min(age // 10, len(DECADES) - 1) * 10


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, str):
        return None
    return float(value) if math.isfinite(float(value)) else None


def _word(value: Any) -> str | None:
    return None if value in (None, "", "n/a", "unknown", "O") or value != value else str(value)
