"""Sentences about people: what they say, what they never say, and whom they hold of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ParameterError, UnknownNameError
from neuro.align.bank import RIGHT, UNKNOWN, WRONG, SentenceBank, bank_of
from neuro.align.sentences import (
    DECADES,
    FACTS,
    TEMPLATES,
    DiagnosisWords,
    Sentence,
    SentenceConfig,
    facts_of,
    sentences_of,
    severity,
)
from neuro.align.zero_shot import PROMPTS

NAN = float("nan")
ADA = {
    "run_id": "sub-ada_task-rest",
    "participant_id": "sub-ada",
    "person": "ada",
    "session": "01",
    "site": "Torino",
    "scanner": "Prisma",
    "label": 1,
    "age": 64.7,
    "sex": "F",
    "updrs": 40.0,
    "hoehn_yahr": NAN,
    "medication": "off",
    "fd_mean": 0.321,
}
rows = st.fixed_dictionaries(
    {
        "run_id": st.just("sub-zq7_run"),
        "participant_id": st.just("sub-zq7"),
        "person": st.just("zq7"),
        "site": st.just("Xanadu"),
        "fd_mean": st.just(0.4321),
        "label": st.integers(0, 1),
        "age": st.one_of(st.just(NAN), st.floats(18, 99)),
        "sex": st.sampled_from(["F", "M", "O", "n/a"]),
        "updrs": st.one_of(st.just(NAN), st.floats(0, 132)),
        "hoehn_yahr": st.sampled_from([NAN, 0.0, 1.0, 1.5, 2.5, 3.0, 4.0, 5.0]),
        "medication": st.sampled_from(["on", "off", "n/a"]),
    }
)


def encode(texts: list[str]) -> np.ndarray:
    """Each sentence its own direction, the same every time."""
    found = [np.random.default_rng(list(text.encode())).standard_normal(24) for text in texts]
    return np.array(found, np.float32) / np.linalg.norm(found, axis=1, keepdims=True).astype(np.float32)


def texts(row: dict[str, object], **options: object) -> list[str]:
    return [sentence.text for sentence in sentences_of(row, SentenceConfig(**options))]  # type: ignore[arg-type]


def test_what_is_said_of_a_patient_word_for_word() -> None:
    assert texts(ADA) == [
        "a brain scan of a person with Parkinson's disease",
        "resting-state fMRI of a person with Parkinson's",
        "functional MRI of a person with PD",
        "the brain of a person with Parkinson's disease, scanned at rest",
        "a brain scan of a person in their sixties with Parkinson's disease",
        "resting-state fMRI of a person in their sixties with Parkinson's",
        "functional MRI of a person in their sixties with PD",
        "the brain of a person in their sixties with Parkinson's disease, scanned at rest",
        "a brain scan of a woman in her sixties with Parkinson's disease",
        "resting-state fMRI of a woman in her sixties with Parkinson's",
        "functional MRI of a woman in her sixties with PD",
        "the brain of a woman in her sixties with Parkinson's disease, scanned at rest",
        "a brain scan of a woman in her sixties with moderate Parkinson's disease",
        "resting-state fMRI of a woman in her sixties with moderate Parkinson's",
        "functional MRI of a woman in her sixties with moderate PD",
        "the brain of a woman in her sixties with moderate Parkinson's disease, scanned at rest",
    ]


@pytest.mark.parametrize(
    ("changes", "last"),
    [
        ({"label": 0}, "a brain scan of a healthy woman in her sixties"),
        ({"label": 0, "age": NAN, "sex": "n/a"}, "a brain scan of a healthy person"),
        (
            {"age": 80.2, "sex": "M", "updrs": NAN},
            "a brain scan of a man in his eighties with Parkinson's disease",
        ),
        (
            {"age": 18, "sex": "O", "updrs": NAN},
            "a brain scan of a person in their teens with Parkinson's disease",
        ),
        ({"hoehn_yahr": 5.0}, "a brain scan of a woman in her sixties with severe Parkinson's disease"),
    ],
)
def test_what_is_missing_is_left_out(changes: dict[str, object], last: str) -> None:
    found = sentences_of({**ADA, **changes})
    most = max(len(sentence.facts) for sentence in found)
    assert next(sentence.text for sentence in found if len(sentence.facts) == most) == last


def test_site_and_medication_are_told_where_asked_for_and_only_there() -> None:
    assert not any("Torino" in text or "medication" in text for text in texts(ADA))
    assert texts(ADA, told=("diagnosis", "medication", "site"))[-1] == (
        "the brain of a person with Parkinson's disease, off medication, scanned at Torino, scanned at rest"
    )


def test_other_words_for_the_diagnoses() -> None:
    words = DiagnosisWords(positive=("depression",), negative=("tinnitus", "ringing ears"))
    config = SentenceConfig(told=("diagnosis",), words=words)
    assert [s.text for s in sentences_of({**ADA, "label": 0}, config)] == [
        "a brain scan of a person with tinnitus",
        "resting-state fMRI of a person with ringing ears",
        "functional MRI of a person with tinnitus",
        "the brain of a person with ringing ears, scanned at rest",
    ]
    assert words.people(1) == ["a person with depression", "a patient with depression"]
    many = DiagnosisWords(positive=tuple("abcdef"))
    said = sentences_of(ADA, SentenceConfig(told=("diagnosis",), words=many))
    assert all(any(s.text.partition(" with ")[2].startswith(word) for s in said) for word in "abcdef")


@given(row=rows)
def test_names_sites_motion_and_what_is_unknown_are_never_told(row: dict[str, object]) -> None:
    found = texts(row)
    assert found == texts(dict(reversed(row.items())))  # a function of the row, and each once
    assert len(found) == len(set(found))
    for text in found:
        assert not any(
            word in text for word in ("zq7", "Xanadu", "0.43", "nan", "n/a", "None", "  ", "medic")
        )
        assert text.partition(" of ")[2].startswith("a ")
        assert ("healthy" in text) == (row["label"] == 0)
        told_age = row["age"] == row["age"]
        assert told_age or not any(decade in text for decade in DECADES)


@given(row=rows)
def test_each_level_tells_one_thing_more(row: dict[str, object]) -> None:
    found = sentences_of(row)
    counts = [len(sentence.facts) for sentence in found]
    assert counts == sorted(counts)
    assert set(counts) == set(range(1, len(facts_of(row)) + 1))
    assert all(sentence.holds_of(facts_of(row)) is True for sentence in found)


@pytest.mark.parametrize(
    ("stage", "score", "word"),
    [
        (None, None, None),
        (0.0, None, None),
        (1.0, 100.0, "mild"),
        (2.5, None, "mild"),
        (3.0, None, "moderate"),
        (4.0, 3.0, "severe"),
        (None, 32.0, "mild"),
        (None, 33.0, "moderate"),
        (None, 58.0, "moderate"),
        (None, 59.0, "severe"),
    ],
)
def test_severity_by_stage_then_by_score(stage: float | None, score: float | None, word: str | None) -> None:
    assert severity(stage, score) == word


def test_whom_a_sentence_holds_of() -> None:
    said = Sentence(text="", facts=(("diagnosis", 1.0), ("age", 60.0), ("sex", "F")))
    same = {"diagnosis": 1.0, "age": 60.0, "sex": "F"}
    assert said.holds_of(same) is True
    assert said.holds_of({**same, "age": 50.0}) is None  # near enough to be neither right nor wrong
    assert said.holds_of({**same, "age": 80.0}) is False
    assert said.holds_of({**same, "sex": "M"}) is False
    assert said.holds_of({"diagnosis": 1.0, "age": 60.0}) is None
    assert said.holds_of({"diagnosis": 0.0}) is False  # one thing wrong is enough


def test_prompts_are_not_the_sentences_that_were_trained_on() -> None:
    words = DiagnosisWords()
    prompts = {t.format(who) for t in PROMPTS for label in (0, 1) for who in words.people(label)}
    said = {s.text for label in (0, 1) for s in sentences_of({**ADA, "label": label})}
    assert not prompts & said
    assert not set(PROMPTS) & set(TEMPLATES)


def test_options_are_checked() -> None:
    with pytest.raises(UnknownNameError, match=r"facts told must be of diagnosis.*did you mean age"):
        SentenceConfig(told=("diagnosis", "agee"))
    for told in ((), ("age", "age")):
        with pytest.raises(ParameterError, match="at least one, each once"):
            SentenceConfig(told=told)
    for positive in ((), (" ",), ("PD", "PD")):
        with pytest.raises(ParameterError, match="words of a diagnosis"):
            DiagnosisWords(positive=positive)
    with pytest.raises(ParameterError, match="got nothing for sub-ada_task-rest"):
        sentences_of({**ADA, "age": NAN}, SentenceConfig(told=("age",)))
    assert "motion" not in FACTS


@pytest.fixture
def bank() -> SentenceBank:
    people = [
        ADA,
        {**ADA, "label": 0},
        {**ADA, "age": 30.0},
        {**ADA, "age": 64.1, "sex": "n/a", "updrs": NAN},
    ]
    return bank_of(pd.DataFrame(people), encode)


def test_a_meaning_stands_where_the_mean_of_its_sentences_does(bank: SentenceBank) -> None:
    for said, vector_E in zip(bank.texts, bank.vectors_SE, strict=True):
        assert len(said) == len(set(said)) == 4
        mean_E = np.mean([encode([text])[0] for text in said], axis=0)
        np.testing.assert_allclose(vector_E, mean_E / np.linalg.norm(mean_E), atol=1e-6)


def test_truth_of_all_with_all(bank: SentenceBank) -> None:
    texts = [said[0] for said in bank.texts]
    brief = texts.index("a brain scan of a person with Parkinson's disease")
    aged = texts.index("a brain scan of a person in their sixties with Parkinson's disease")
    woman = texts.index("a brain scan of a woman in her sixties with Parkinson's disease")
    assert bank.truth_RS[:, brief].tolist() == [RIGHT, WRONG, RIGHT, RIGHT]
    assert bank.truth_RS[:, aged].tolist() == [RIGHT, WRONG, WRONG, RIGHT]
    assert bank.truth_RS[:, woman].tolist() == [RIGHT, WRONG, WRONG, UNKNOWN]
    for run, own in enumerate(bank.of_run):
        assert (bank.truth_RS[run, list(own)] == RIGHT).all()
    assert bank.of_run[0][0] == bank.of_run[3][0] == brief
    assert bank.written_of(np.array([3])).tolist() == [brief, aged]
