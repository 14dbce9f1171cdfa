"""What a report says, before it is HTML or Markdown: inputs -> document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neuro.explain import StudyMap
from neuro.protocol.results import Results
from neuro.report.blocks import Document
from neuro.report.cohort_words import cohort_in_words
from neuro.report.reading import Reading
from neuro.report.sections.explanation import where_it_was_read
from neuro.report.sections.method import identity, protocol
from neuro.report.sections.outcome import chance, in_words, results, site_to_site, told_apart
from neuro.report.sections.people import cohort, quality, who_was_tested
from neuro.report.sections.trust import groups, probabilities

TITLE = "Parkinson's disease or control, from resting-state fMRI"


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportInputs:
    """What a report is made of.

    Attributes:
        results: of the evaluation.
        relevance: the map of where the difference was read, or words on why there is none; None where
            nothing is known of one.
        planted: NIfTI image of the region where a simulation planted its effect, or None.
        files: SHA-256 of the files that the results stand on, by their names, where they were kept.
    """

    results: Results
    relevance: StudyMap | None = None
    planted: Any | None = None
    files: Mapping[str, str] = field(default_factory=dict)


def document_of(inputs: ReportInputs, reading: Reading) -> Document:
    """The whole report.

    Args:
        inputs: what it is made of.
        reading: what its results say.
    """
    facts = inputs.results.facts
    sections = (
        in_words(reading),
        results(reading),
        chance(reading),
        site_to_site(reading),
        told_apart(reading),
        probabilities(reading),
        groups(reading),
        where_it_was_read(inputs.relevance, inputs.planted),
        cohort(reading),
        who_was_tested(reading),
        quality(reading),
        protocol(reading),
        identity(reading, inputs.files),
    )
    return Document(
        title=str(facts.get("title") or TITLE),
        lead=f"{cohort_in_words(inputs.results.table)} {facts['remark']}".strip(),
        sections=tuple(section for section in sections if section is not None),
    )
