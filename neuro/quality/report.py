"""The quality of a cache as one self-contained page, with its figures as qc.tsv and qc.json beside it."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from data.caches.cache import Cache
from data.caches.quality_table import quality_table, read_trace, worst_first
from data.quality.coverage import is_mni
from data.quality.group_differences import GroupTest, group_tests
from data.quality.limits import LIMITS, OUTLIER_SCORE, OUTLIER_SOURCE, Limit, in_unit
from data.writing import write_whole
from neuro.quality.figures import carpet, group_strips, mosaic, motion_forest
from neuro.quality.words import (
    MOTION,
    NAMES,
    TESTED,
    motion_in_words,
    others_in_words,
    p_in_words,
    verdict_counts,
)

PICTURED = 12  # runs whose carpet and slices are shown: each weighs some 300 KB
LIBRARIES = ("nibabel", "nilearn", "numpy", "pandas", "scipy")


@dataclass(frozen=True, kw_only=True, eq=False)
class QualityReport:
    """What `write_quality_report` wrote.

    Attributes:
        page, table, facts: the paths of the HTML, the TSV and the JSON.
        runs: the quality table.
        tests: of the differences between groups.
        words: the summary in sentences.
    """

    page: Path
    table: Path
    facts: Path
    runs: pd.DataFrame
    tests: list[GroupTest]
    words: list[str]


def write_quality_report(
    cache: Cache, path: str | Path, *, pictured: int = PICTURED, command: str = ""
) -> QualityReport:
    """Write the page, and beside it a table (.tsv) and limits and tests (.json), each whole or not at all.

    Args:
        cache: of cleaned images.
        path: of the page, ending in .html.
        pictured: the most runs to show pictures of, the worst first.
        command: what repeats it.

    Raises:
        BadFileError: the cache holds parcel series alone, or is damaged.
    """
    page = Path(path)
    runs = quality_table(cache)
    tests = group_tests(runs, TESTED)
    words = [verdict_counts(runs), *motion_in_words(_motion(tests)), others_in_words(tests)]
    report = QualityReport(
        page=page,
        table=page.with_suffix(".tsv"),
        facts=page.with_suffix(".json"),
        runs=runs,
        tests=tests,
        words=[line for line in words if line],
    )
    html = _rendered(cache, report, pictured, command)
    write_whole(report.table, worst_first(runs).to_csv(sep="\t", index=False, na_rep="n/a"))
    write_whole(report.facts, json.dumps(_machine_readable(cache, report), indent=1, allow_nan=False))
    write_whole(page, html)
    return report


def _motion(tests: list[GroupTest]) -> GroupTest | None:
    return next((test for test in tests if test.measure == MOTION), None)


def _machine_readable(cache: Cache, report: QualityReport) -> dict[str, Any]:
    return {
        "identity": cache.identity,
        "chiasm": version("chiasm"),
        "verdicts": {str(k): int(v) for k, v in report.runs["verdict"].value_counts().items()},
        "words": report.words,
        "limits": [asdict(limit) for limit in LIMITS],
        "group_tests": [{**asdict(test), "cliffs_delta": test.cliffs_delta} for test in report.tests],
        "excluded": [{"what": what, "why": why} for what, why in cache.excluded],
    }


def _rendered(cache: Cache, report: QualityReport, pictured: int, command: str) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    source = resources.files("neuro.quality").joinpath("qc.html.j2").read_text(encoding="utf-8")
    ordered = worst_first(report.runs)
    flagged = ordered[ordered["verdict"].isin(["leave out", "look at it"])]
    motion = _motion(report.tests)
    return environment.from_string(source).render(
        title="Quality of the cohort",
        lead=f"{len(report.runs)} runs, cleaned by {cache.identity}.",
        words=report.words,
        cohort=_cohort_rows(report.runs),
        excluded=cache.excluded,
        strips=group_strips(report.runs),
        forest=motion_forest(motion) if motion is not None else None,
        sites=[_site_row(site) for site in motion.sites] if motion is not None else [],
        tests=[_test_row(test) for test in report.tests],
        runs=[_run_row(row) for row in ordered.to_dict("records")],
        flagged=len(flagged),
        pictures=list(_pictures(cache, flagged.head(pictured))),
        limits=_limit_rows(),
        outliers={"score": OUTLIER_SCORE, "source": OUTLIER_SOURCE},
        protocol=_protocol(cache, report, command),
    )


def _cohort_rows(runs: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for (site, label), part in runs.groupby(["site", "label"], sort=True):
        people = part.drop_duplicates("person")
        rows.append(
            {
                "site": site,
                "group": _group(label),
                "people": len(people),
                "runs": len(part),
                "age": _median(people["age"], "{:.0f}"),
                "fd": _median(part["fd_mean"], "{:.2f} mm"),
                "tsnr": _median(part["tsnr"], "{:.0f}"),
                "dvars": _median(part["dvars"], "{:.2f}"),
                "minutes": _median(part["minutes_kept"], "{:.1f}"),
                "flagged": int(part["verdict"].isin(["leave out", "look at it"]).sum()),
            }
        )
    return rows


def _group(label: Any) -> str:
    return "patients" if label == 1 else "controls"


def _median(values: pd.Series, form: str) -> str:
    return form.format(values.median()) if values.notna().any() else "unknown"


def _site_row(site: Any) -> dict[str, Any]:
    return {
        "site": site.site,
        "people": f"{site.patients} / {site.controls}",
        "medians": f"{site.patient_median:.2f} / {site.control_median:.2f} mm",
        "auc": f"{site.auc:.2f}",
        "interval": f"{site.low:.2f} – {site.high:.2f}",
        "p": p_in_words(site.p),
    }


def _test_row(test: GroupTest) -> dict[str, Any]:
    return {
        "measure": NAMES[test.measure],
        "auc": f"{test.auc:.2f}",
        "interval": f"{test.low:.2f} – {test.high:.2f}",
        "delta": f"{test.cliffs_delta:+.2f}",
        "p": p_in_words(test.p),
        "corrected": p_in_words(test.p_corrected),
        "people": f"{test.patients} / {test.controls}",
    }


def _run_row(row: dict[Any, Any]) -> dict[str, Any]:
    def shown(name: str, form: str) -> str:
        return "–" if math.isnan(row[name]) else form.format(row[name])

    return {
        "run": row["run_id"],
        "site": row["site"],
        "group": _group(row["label"]),
        "verdict": row["verdict"],
        "reasons": row["reasons"],
        "fd": shown("fd_mean", "{:.2f}"),
        "fd_max": shown("fd_max", "{:.1f}"),
        "censored": "–" if math.isnan(row["censored_share"]) else in_unit(row["censored_share"], "share"),
        "minutes": shown("minutes_kept", "{:.1f}"),
        "tsnr": shown("tsnr", "{:.0f}"),
        "dvars": shown("dvars", "{:.2f}"),
        "dice": shown("template_dice", "{:.2f}"),
        "coverage": "–" if math.isnan(row["cover_lowest"]) else in_unit(row["cover_lowest"], "share"),
    }


def _pictures(cache: Cache, flagged: pd.DataFrame) -> Iterator[dict[str, str]]:
    outline = _template() if any(is_mni(str(space)) for space in flagged["space"]) else None
    for i, row in flagged.iterrows():
        run = cache.run(int(str(i)))
        yield {
            "run": str(row["run_id"]),
            "verdict": str(row["verdict"]),
            "reasons": str(row["reasons"]),
            "carpet": carpet(run, read_trace(cache, str(row["run_id"]))),
            "mosaic": mosaic(run, outline if is_mni(str(row["space"])) else None),
        }


def _template() -> Any:
    from nilearn.datasets import load_mni152_brain_mask

    return load_mni152_brain_mask(resolution=2)


def _limit_rows() -> list[dict[str, str]]:
    """One row a reason: limits that share it, as those of the regions do, are told together."""
    rows: dict[str, list[Limit]] = {}
    for limit in LIMITS:
        rows.setdefault(limit.reason, []).append(limit)
    return [
        {
            "says": ", ".join(limit.says for limit in together),
            "look": _bound(together[0], together[0].look),
            "leave_out": _bound(together[0], together[0].leave_out),
            "reason": reason,
            "source": together[0].source,
        }
        for reason, together in rows.items()
    ]


def _bound(limit: Limit, value: float | None) -> str:
    if value is None:
        return "–"
    side = "over" if limit.beyond == "above" else "under"
    return "where so" if limit.unit == "yes or no" else f"{side} {in_unit(value, limit.unit)}"


def _protocol(cache: Cache, report: QualityReport, command: str) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    found = [
        ("Cleaning", cache.identity),
        ("Measured on", "the raw in-mask series, before cleaning; carpets show it cleaned"),
        (
            "Group tests",
            "one value a person and site; van Elteren's rank sum with labels permuted within sites (9,999"
            " times); intervals after Newcombe 2006; Holm's correction over all measures",
        ),
        (
            "Beside it",
            f"{report.table.name} (every figure of every run), {report.facts.name} (limits, tests)",
        ),
        ("Versions", f"chiasm {version('chiasm')}, Python {platform.python_version()}, {versions}"),
    ]
    if command:
        found.append(("Command", command))
    return found
