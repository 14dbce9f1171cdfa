"""The page of a cache's quality: whole, self-contained, safe against awkward names, and true to the table."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.caches.cache import Cache
from data.quality.group_differences import GroupTest, group_tests
from neuro.cli import main
from neuro.quality.figures import carpet_rows, mosaic
from neuro.quality.report import QualityReport, write_quality_report
from neuro.quality.words import motion_in_words, others_in_words, p_in_words, verdict_counts

AWKWARD = "<b>&\"'$x$"


@pytest.fixture(scope="module")
def report(cache, tmp_path_factory) -> QualityReport:
    return write_quality_report(cache, tmp_path_factory.mktemp("qc") / "qc.html", pictured=2)


class Tags(HTMLParser):
    """Counts tags and collects what a page would fetch."""

    VOID = frozenset({"img", "meta", "br", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.names: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page: Path) -> Tags:
    tags = Tags()
    tags.feed(page.read_text(encoding="utf-8"))
    assert tags.open == []
    return tags


def test_the_page_is_whole_and_fetches_nothing(report) -> None:
    tags = parsed(report.page)
    assert tags.sources
    assert all(source.startswith("data:image/") for source in tags.sources)
    assert "script" not in tags.names
    text = report.page.read_text(encoding="utf-8")
    assert "For research, not for diagnosis" in text
    assert not re.search(r"https?://", re.sub(r"data:image[^\"]+", "", text))


def test_every_run_stands_in_page_and_table_and_the_worst_is_first(report, cache) -> None:
    text = report.page.read_text(encoding="utf-8")
    table = pd.read_csv(report.table, sep="\t", na_values="n/a")
    assert set(table["run_id"]) == set(cache.table["run_id"])
    assert all(f"<td>{run_id}</td>" in text for run_id in table["run_id"])
    places = [text.index(f"<td>{run_id}</td>") for run_id in table["run_id"]]
    assert places == sorted(places)
    np.testing.assert_allclose(table["tsnr"], report.runs.set_index("run_id").loc[table["run_id"], "tsnr"])


def test_the_number_of_pictures_is_limited_and_told(report) -> None:
    """The cohort's runs last under two minutes: all are flagged."""
    text = report.page.read_text(encoding="utf-8")
    assert text.count("Carpet plot of") // 2 == 2
    assert f"The 2 worst of {len(report.runs)} flagged runs are shown." in text


def test_the_json_holds_limits_tests_and_verdicts(report) -> None:
    facts = json.loads(report.facts.read_text(encoding="utf-8"))
    assert sum(facts["verdicts"].values()) == len(report.runs)
    assert {limit["measure"] for limit in facts["limits"]} >= {"fd_mean", "tsnr", "cover_midbrain"}
    motion = next(test for test in facts["group_tests"] if test["measure"] == "fd_mean")
    expected = group_tests(report.runs, ["fd_mean"])[0]
    assert motion["auc"] == pytest.approx(expected.auc)
    assert motion["p"] == expected.p
    assert motion["cliffs_delta"] == pytest.approx(2 * expected.auc - 1)
    assert facts["identity"] in report.page.read_text(encoding="utf-8")


def test_pictures_follow_the_theme_and_hold_one_drawing(report) -> None:
    text = report.page.read_text(encoding="utf-8")
    drawings = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", text)
    assert len(drawings) == 2
    for drawing in drawings:
        svg = base64.b64decode(drawing).decode()
        assert "prefers-color-scheme:dark" in svg
        assert "#1c2733" not in re.sub(r"<style>.*?</style>", "", svg)


def test_awkward_names_are_text_in_every_place(cache, tmp_path) -> None:
    root = tmp_path / "awkward"
    shutil.copytree(cache.root, root)
    table = pd.read_csv(root / "cohort.tsv", sep="\t", dtype=str, keep_default_na=False)
    table["site"] = AWKWARD
    table.to_csv(root / "cohort.tsv", sep="\t", index=False)
    excluded = pd.DataFrame([[AWKWARD, "<script>alert(1)</script>"]], columns=["what", "why"])
    excluded.to_csv(root / "excluded.tsv", sep="\t", index=False)
    made = write_quality_report(Cache.open(root), tmp_path / "qc.html", pictured=0, command=AWKWARD)
    tags = parsed(made.page)
    assert "b" not in tags.names
    assert "script" not in tags.names
    assert "<script>alert" not in made.page.read_text(encoding="utf-8")


def test_a_cohort_without_motion_or_of_one_group_still_has_a_page(cache, tmp_path) -> None:
    root = tmp_path / "quiet"
    shutil.copytree(cache.root, root)
    for path in (root / "runs").glob("*/run.json"):
        facts = json.loads(path.read_text())
        facts["quality"].update(fd_mean=None, fd_max=None)
        path.write_text(json.dumps(facts))
        path.with_name("trace.tsv").unlink()
    made = write_quality_report(Cache.open(root), tmp_path / "qc.html", pictured=1)
    assert "Motion was not compared" in made.words[1]
    parsed(made.page)


def test_the_command_writes_three_files_and_says_what_it_found(cache, tmp_path, run_command) -> None:
    ending = run_command(main, "neuro", "qc", cache.root, "-o", tmp_path / "qc.html", "--pictures", 0)
    assert ending.code == 0
    assert ending.err == ""
    assert "12 runs:" in ending.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["qc.html", "qc.json", "qc.tsv"]


def test_the_command_refuses_what_cannot_be_a_page_and_what_is_no_cache(cache, tmp_path, run_command) -> None:
    wrong = run_command(main, "neuro", "qc", cache.root, "-o", tmp_path / "qc.tsv")
    assert (wrong.code, "must be a page ending in .html" in wrong.err) == (2, True)
    absent = run_command(main, "neuro", "qc", tmp_path / "nothing", "-o", tmp_path / "qc.html")
    assert (absent.code, "neuro prepare" in absent.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_carpet_shows_what_moves_the_whole_brain_at_the_top(rng) -> None:
    common_T = rng.standard_normal(60)
    follows_V = np.arange(2000) % 10 == 0
    series_TV = rng.standard_normal((60, 2000)) + 3 * np.outer(common_T, follows_V)
    series_TV[:, 7] = 0
    rows_RT = carpet_rows(series_TV.astype(np.float16), rows=2000)
    assert rows_RT.shape == (1999, 60)
    np.testing.assert_allclose(rows_RT.std(axis=1), 1, atol=1e-3)
    likeness = np.array([np.corrcoef(row, common_T)[0, 1] for row in rows_RT])
    assert likeness[:200].min() > 0.7
    assert np.abs(likeness[200:]).max() < 0.7
    assert len(carpet_rows(series_TV, rows=300)) <= 300
    assert carpet_rows(np.zeros((60, 5))).shape == (1, 60)


def test_a_mosaic_is_drawn_in_any_space(cache) -> None:
    run = cache.run(0)
    assert mosaic(run).startswith("data:image/png")


def test_a_mosaic_of_a_cache_in_percent_is_not_one_grey(cache) -> None:
    run = cache.run(0)
    percent = replace(run, mean_V=np.full_like(run.mean_V, 100))
    assert len(mosaic(percent)) > 0.5 * len(mosaic(run))


def motion(auc: float, low: float, high: float) -> GroupTest:
    return GroupTest(
        measure="fd_mean", patients=20, controls=18, auc=auc, low=low, high=high, p=0.02, p_corrected=0.1,
        sites=(), unknown=0,
    )  # fmt: skip


def test_words_say_who_moved_more_and_never_that_there_is_no_difference() -> None:
    more = " ".join(motion_in_words(motion(0.8, 0.6, 0.9)))
    assert "Patients moved more than controls: in 80 %" in more
    assert "A classifier could read motion instead of the disease" in more
    less = " ".join(motion_in_words(motion(0.2, 0.1, 0.4)))
    assert "Controls moved more than patients: in 80 %" in less
    open_ = " ".join(motion_in_words(motion(0.6, 0.4, 0.75)))
    assert "No difference in motion between patients and controls is shown" in open_
    assert "no proof that there is none" in open_
    assert "up to AUC 0.75" in open_
    assert "cannot tell" in motion_in_words(None)[0]


def test_words_of_verdicts_other_measures_and_p() -> None:
    table = pd.DataFrame({"verdict": ["ok", "ok", "leave out"]})
    assert verdict_counts(table) == "3 runs: 2 within all limits, 1 better left out. Nothing was removed."
    assert others_in_words([motion(0.8, 0.6, 0.9)]) == ""
    assert [p_in_words(p) for p in (0.0001, 0.004, 0.5)] == ["< 0.001", "0.004", "0.50"]
    assert p_in_words(0.02, sign=True) == "= 0.020"
