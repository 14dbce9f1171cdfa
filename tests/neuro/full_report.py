"""A report in which every section has something to say, in both of its forms."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from neuro.explain import StudyMap
from neuro.protocol.permutation import PermutationTest
from neuro.report.content import ReportInputs, document_of
from neuro.report.findings import Findings
from neuro.report.markdown import as_markdown
from neuro.report.page import as_html, write_document
from neuro.report.reading import Reading, read

from .made_results import made_results

PROTOCOL = [
    ["Split", "4 folds by person"],
    ["Inside the training fold", "scaling"],
    ["Settings to choose among", "1"],
    ["Versions", "chiasm 0"],
]


def full(**facts: Any) -> ReportInputs:
    """Every section has something to say."""
    results = made_results(protocol=PROTOCOL, excluded=[["sub-99", "no | mask"]], **facts)
    null = tuple(np.random.default_rng(0).normal(0.5, 0.08, 59))
    permuted = PermutationTest(observed=0.9, null=null, p_value=1 / 60, asked=59, seconds=60.0)
    return ReportInputs(
        results=replace(results, permuted=permuted), relevance=mapped(), files={"cohort.csv": "ab" * 32}
    )


def mapped() -> StudyMap:
    affine = np.diag([12.0, 12, 12, 1])
    affine[:3, 3] = -66, -100, -50
    volume = np.random.default_rng(0).normal(size=(12, 14, 12)).astype(np.float32)
    peak = {"peak": 2.5, "peak_x": -6.0, "peak_y": 4.0, "peak_z": 10.0}
    regions = [
        {"region": f"Region {i}", "mean_abs": 0.5 / (1 + i), "mean": -0.25, "share": 0.125, **peak}
        for i in range(12)
    ]
    clusters = [
        {**peak, "mean": 1.5, "volume_mm3": 2500.0 - i, "at_peak": "Putamen", "regions": "Putamen 60 %"}
        for i in range(6)
    ]
    return StudyMap(
        image=nib.Nifti1Image(volume, affine),
        regions=pd.DataFrame(regions),
        clusters=pd.DataFrame(clusters),
        in_mni=True,
        words=("Made by a method.", "Between folds: 0.24."),
    )


@cache
def full_reading() -> Reading:
    return read(full().results)


def write_page(inputs: ReportInputs, path: Path) -> Findings:
    """The page alone, without the card and the checklist beside it; and what it says."""
    reading = read(inputs.results)
    write_document(document_of(inputs, reading), path)
    return reading.findings


def render(inputs: ReportInputs, tmp_path: Path) -> str:
    write_page(inputs, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def pictures(html: str) -> dict[str, tuple[str, bytes]]:
    """Kind and content of each picture, by the words that stand for it."""
    found = re.findall(r'<img src="data:image/([a-z+]+);base64,([^"]+)" alt="([^"]+)"', html)
    return {words: (kind, base64.b64decode(content, validate=True)) for kind, content, words in found}


def forms(inputs: ReportInputs, reading: Reading | None = None) -> tuple[str, str]:
    """Page and Markdown; of results that say the same as those of `full`, unless another reading is given."""
    document = document_of(inputs, reading or replace(full_reading(), results=inputs.results))
    return as_html(document), as_markdown(document, "study_figures")
