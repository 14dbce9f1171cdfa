"""How it was done, and what repeats it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuro.report.blocks import Block, Code, Section, Terms
from neuro.report.reading import Reading

VERSIONS = "Versions"
DIGEST = 16  # hexadecimal digits that are shown of one


def protocol(reading: Reading) -> Section:
    """Terms and what they were in this study."""
    rows = [(str(term), str(text)) for term, text in reading.results.facts["protocol"] if term != VERSIONS]
    return Section(
        title="How it was done", blocks=(Terms((*rows, ("Tests", reading.findings.verdict.tests))),)
    )


def identity(reading: Reading, files: Mapping[str, str]) -> Section:
    """What these figures are of, and the command that repeats them.

    Args:
        reading: of the evaluation.
        files: SHA-256 of the files that its results stand on, as far as they were kept.
    """
    facts = reading.results.facts
    rows = identity_rows(facts)
    if files:
        told = "; ".join(f"{name} {digest[:DIGEST]}" for name, digest in sorted(files.items()))
        rows.append(("SHA-256", f"{told} (the first {DIGEST} digits; all are in results.json)"))
    blocks: list[Block] = [Terms(tuple(rows))]
    if facts["command"]:
        blocks.append(Code("Command", str(facts["command"])))
    return Section(title="What repeats it", blocks=tuple(blocks))


def identity_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Recipe, cohort, seeds and versions, as far as an evaluation kept them."""
    rows = [("Recipe", str(facts["recipe_identity"]))]
    if "cohort_digest" in facts:
        rows.append(("Cohort's digest", str(facts["cohort_digest"])))
    if "seeds" in facts:
        rows.append(("Seeds", ", ".join(f"{what} {seed}" for what, seed in facts["seeds"].items())))
    versions = [(VERSIONS, str(text)) for term, text in facts["protocol"] if term == VERSIONS]
    if not versions and "code" in facts:
        versions = [(VERSIONS, ", ".join(f"{what} {one}" for what, one in facts["code"].items()))]
    return [*rows, *versions]
