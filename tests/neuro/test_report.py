"""The report: one file that fetches nothing, says everything, and believes no name it is given."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from markupsafe import escape

from data.caches.cache import Cache
from data.interval import Interval
from neuro.explain import StudyMap
from neuro.model import ModelConfig
from neuro.protocol.metrics import METRICS
from neuro.protocol.plan import draw_plan
from neuro.protocol.results import Results
from neuro.protocol.roster import Roster
from neuro.report.content import ReportInputs
from neuro.report.findings import Findings, find
from neuro.report.protocol_words import protocol_rows
from neuro.study import StudyConfig

from .full_report import pictures, render, write_page
from .made_results import made_results

pytest_plugins = ("tests.neuro.report_fixtures",)

OTHERS = "by models of the others</td>"  # a row of probabilities for each site
MAP, PLANTED = "Map of relevance over the brain", "Yellow: the region where the simulation"


@pytest.fixture(scope="module")
def mapped() -> StudyMap:
    volume = np.random.default_rng(0).normal(size=(12, 14, 12)).astype(np.float32)
    affine = np.diag([12.0, 12, 12, 1])
    affine[:3, 3] = -66, -100, -50
    image = nib.Nifti1Image(volume, affine)
    return StudyMap(image=image, in_mni=True, words=("Made by a method.",))


def picture(html: str, words: str) -> bytes:
    return next(content for alt, (_, content) in pictures(html).items() if alt.startswith(words))


def test_one_file_that_fetches_nothing(inputs: ReportInputs, mapped: StudyMap, tmp_path: Path) -> None:
    html = render(replace(inputs, relevance=mapped), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "http:" not in html
    assert "https:" not in html
    for tag in ("<script", "<link", "<iframe", "@import", "url("):
        assert tag not in html
    assert len(re.findall("<img ", html)) == len(pictures(html)) == 8
    for kind, content in pictures(html).values():
        if kind == "png":
            assert content.startswith(b"\x89PNG")
            continue
        svg = content.decode()
        assert "<svg" in svg
        assert "<script" not in svg
        # What is fetched in an SVG stands in an href, a src or a url(); namespaces and metadata are not.
        for target in re.findall(r"""(?:href|src)=["']([^"']*)|url\(([^)]*)\)""", svg):
            assert "".join(target).startswith("#") or "".join(target).startswith("data:")


def tables(html: str) -> str:
    """Those of the models: from the results to the next section after that of sites."""
    return html.partition("<h2>Results</h2>")[2].partition("<h2>Who was told apart</h2>")[0]


def cells(figures: dict[str, Interval]) -> str:
    return "".join(
        f'<td class="n">{value.estimate:.3f}<br><small>{value.low:.2f} – {value.high:.2f}</small></td>'
        for value in (figures[name] for name in METRICS)
    )


@pytest.mark.usefixtures("undrawn")
def test_every_figure_of_every_model_stands_in_it(
    inputs: ReportInputs, results: Results, tmp_path: Path
) -> None:
    html = render(inputs, tmp_path)
    for model in results.models:
        row = next(line for line in html.splitlines() if f"<td>{escape(model.name)}<br>" in line)
        assert f"<small>{escape(model.note)}</small>" in row
        assert cells(model.figures) in row
        across = next(line for line in html.splitlines() if f"<td>{escape(model.name)}</td>" in line)
        assert cells(model.figures_across) in across
    for metric in METRICS.values():
        assert tables(html).count(f'<th class="n">{escape(metric.title)}</th>') == 2  # within and across


@pytest.mark.usefixtures("undrawn")
def test_sites_are_compared_only_where_they_were(
    inputs: ReportInputs, results: Results, tmp_path: Path
) -> None:
    html = render(inputs, tmp_path)
    assert "Each of A, B tested by models of the others." in html
    assert html.count(OTHERS) == 2
    alone = replace(results, models=[replace(m, across=None, figures_across={}) for m in results.models])
    html = render(replace(inputs, results=alone), tmp_path)
    assert "tested by models of the others" not in html
    assert OTHERS not in html
    assert "It was not tested on a site that it had not seen" in html


@pytest.mark.usefixtures("undrawn")
def test_the_verdict_and_its_warnings_stand_on_the_first_screen(
    inputs: ReportInputs, findings: Findings, tmp_path: Path
) -> None:
    html = render(inputs, tmp_path)
    first, rest = html.split("<h2>Results</h2>")
    assert f"<strong>{escape(findings.verdict.headline)}</strong>" in first
    assert findings.first_screen
    for line in findings.first_screen:
        assert f"<p>{escape(line)}</p>" in first
    for line in findings.verdict.words:
        assert str(escape(line)) in first
    assert str(escape(findings.verdict.tests)) in rest


@pytest.mark.usefixtures("undrawn")
def test_groups_that_differ_are_told_on_the_first_screen_and_others_further_down(tmp_path: Path) -> None:
    """Ours tells men from nobody: found anew, from predictions alone."""
    made = made_results(people=80)
    ours = made.ours.within
    sex = np.where(np.arange(80) // 4 % 2, "M", "F")
    blind = np.where(sex == "M", -np.abs(ours.scores), ours.scores + 6 * ours.labels - 3)
    called = np.where(sex == "M", 0, ours.labels)[None].repeat(ours.deals, 0)
    model = replace(made.ours, within=replace(ours, scores=blind, called=called))
    made = replace(made, models=[model, *made.models[1:]], table=made.table.assign(sex=sex))
    found = write_page(ReportInputs(results=made), tmp_path / "report.html")
    differing = [notice.words for notice in found.notices if notice.kind == "differs"]
    others = [notice.words for notice in found.notices if notice.kind != "differs"]
    assert any("for women" in words and "for men" in words for words in differing)
    assert found.first_screen[:-1] == differing
    assert "must not be believed" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    first, rest = (tmp_path / "report.html").read_text(encoding="utf-8").split("<h2>Results</h2>")
    for words in differing:
        assert f"<p>{escape(words)}</p>" in first
        assert str(escape(words)) not in rest
    assert others  # medication is known of nobody
    for words in others:
        assert f"<li>{escape(words)}</li>" in rest
        assert str(escape(words)) not in first


def test_whom_the_verdict_is_about_and_against_whom(findings: Findings, results: Results) -> None:
    assert findings.verdict.model == results.ours.name
    compared = [(one.kind, one.against) for one in findings.verdict.comparisons]
    assert compared == [
        ("confound", "age + sex"),
        ("confound", "head motion"),
        ("baseline", "connectivity + SVM"),
    ]
    assert findings.coverage is not None
    assert findings.coverage.asked == 0.9
    assert findings.beyond.people == 40


def test_probabilities_and_groups_are_drawn_and_told(
    inputs: ReportInputs, findings: Findings, tmp_path: Path
) -> None:
    html = render(inputs, tmp_path)
    assert str(escape(findings.reliability.in_words())) in html
    assert findings.coverage is not None
    assert str(escape(findings.coverage.in_words())) in html
    assert b"<svg" in picture(html, "Observed share of patients")
    forest = picture(html, "AUC, sensitivity and specificity by sex")
    for group in findings.groups["group"]:
        assert f"<!-- {escape(group)}".encode() in forest
    without = render(
        replace(inputs, results=replace(inputs.results, facts={**inputs.results.facts, "title": "A trial"})),
        tmp_path,
    )
    assert "<h1>A trial</h1>" in without


@pytest.mark.usefixtures("undrawn")
def test_it_says_what_it_is_and_how_it_came_about(inputs: ReportInputs, tmp_path: Path) -> None:
    rows = [["Split", "5 folds <by person>"], ["Cleaning", "6p+detrend"]]
    facts = {**inputs.results.facts, "protocol": rows, "remark": "Simulated & planted."}
    html = render(replace(inputs, results=replace(inputs.results, facts=facts)), tmp_path)
    assert "not for diagnosis" in html
    assert "<dt>Split</dt><dd>5 folds &lt;by person&gt;</dd>" in html
    assert "<dt>Cleaning</dt><dd>6p+detrend</dd>" in html
    assert "<code>neuro evaluate cache --out found</code>" in html
    assert "20 patients and 20 controls from 2 sites. Simulated &amp; planted." in html
    assert "Nothing was left out." in html


def test_how_it_was_done_in_words(cache: Cache, study: StudyConfig) -> None:
    config = replace(study, slice_backbone="embedded:lite")
    plan = draw_plan(Roster.of(cache), config.plan)
    rows = dict(protocol_rows(cache, config, plan, config.tokens))
    assert rows["Split"].startswith("2 folds by person, stratified by group and site, dealt out 1 time (seed")
    assert rows["Split"].endswith("each of 2 sites by models of the others")
    assert "(platt): the last three by 2 inner folds by person" in rows["Inside the training fold"]
    assert rows["Settings to choose among"].startswith("1 of the Transformer")
    assert rows["Cleaning"] == cache.identity
    assert "initialised from scratch, with no pretrained weights" in rows["Transformer"]
    assert rows["Frozen pictures"] == "embedded:lite sees slices of the runs; nothing in it is trained"
    assert rows["Training"].startswith("2 epochs, batches of ")
    assert "scikit-learn" in rows["Versions"]
    pretrained = replace(study, model=ModelConfig(backbone="clip:ViT-B-32/x"))
    plan = draw_plan(Roster.of(cache), replace(config.plan, across=False, repeats=2))
    rows = dict(protocol_rows(cache, pretrained, plan, study.tokens))
    assert "initialised from scratch" not in rows["Transformer"]
    assert "pretrained on pictures" in rows["Transformer"]
    assert "dealt out 2 times" in rows["Split"]
    assert "models of the others" not in rows["Split"]
    assert "Frozen pictures" not in rows


def test_the_map_stands_there_only_where_there_is_one(
    inputs: ReportInputs, mapped: StudyMap, tmp_path: Path
) -> None:
    assert MAP not in render(inputs, tmp_path)
    without = render(replace(inputs, relevance=mapped), tmp_path)
    assert MAP in without
    assert PLANTED not in without
    outline = render(replace(inputs, relevance=mapped, planted=mapped.image), tmp_path)
    assert PLANTED in outline
    assert picture(outline, "Map of") != picture(without, "Map of")


@pytest.mark.filterwarnings("ignore:empty mask")  # nilearn says so, and draws the template
def test_a_map_of_nothing_is_still_a_map(inputs: ReportInputs, mapped: StudyMap, tmp_path: Path) -> None:
    image = mapped.image
    nothing = nib.Nifti1Image(np.zeros(image.shape, np.float32), image.affine)
    assert MAP in render(replace(inputs, relevance=replace(mapped, image=nothing)), tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_without_sets_there_is_no_word_of_coverage(
    inputs: ReportInputs, findings: Findings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "<li>Sets held the true label" in render(inputs, tmp_path)
    monkeypatch.setattr("neuro.report.reading.find", lambda _: replace(findings, coverage=None))
    assert "<li>Sets held the true label" not in render(inputs, tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_a_failed_write_leaves_the_earlier_report(
    inputs: ReportInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("an earlier one")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_page(inputs, path)
    assert path.read_text() == "an earlier one"
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


def test_what_is_found_is_the_same_twice(results: Results, findings: Findings) -> None:
    again: Callable[[Results], Findings] = find
    found = again(results)
    assert found.first_screen == findings.first_screen
    assert found.verdict.words == findings.verdict.words
    pd.testing.assert_frame_equal(found.groups, findings.groups)
