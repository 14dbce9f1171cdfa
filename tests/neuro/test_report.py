"""The report: one file that fetches nothing, says everything, and believes no name it is given."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from markupsafe import escape

from data.caches.cache import Cache
from data.interval import Interval
from neuro.evaluate import Evaluation, Outcome
from neuro.model import ModelConfig
from neuro.report import ReportInputs, verdict, write_report
from neuro.study import SLICES, TRANSFORMER, StudyConfig, labels_and_people, study_folds


def outcome(name: str, estimate: float, low: float, high: float, count: int = 12) -> Outcome:
    return Outcome(
        name=name,
        note=f"note of {name}",
        scores=np.random.default_rng(0).normal(size=count),
        auc=Interval(estimate=estimate, low=low, high=high),
        balanced_accuracy=0.6125,
        sensitivity=0.2345,
        specificity=0.9876,
        fitted=[],
    )


FIGURES = [
    outcome(TRANSFORMER, 0.8111, 0.6222, 0.9333),
    outcome(SLICES, 0.7111, 0.5222, 0.8333),
    outcome("connectivity + SVM", 0.4111, 0.3222, 0.5333),
    outcome("majority", 0.5, 0.5, 0.5),
]


def make(cache: Cache, study: StudyConfig, outcomes: list[Outcome]) -> Evaluation:
    labels, people = labels_and_people(cache)
    folds = study_folds(cache, study)
    fold_of = np.zeros(12, int)
    for number, (_, test) in enumerate(folds):
        fold_of[test] = number
    return Evaluation(labels=labels, groups=people, folds=folds, fold_of=fold_of, outcomes=outcomes)


@pytest.fixture
def inputs(cache: Cache, study: StudyConfig) -> ReportInputs:
    return ReportInputs(
        cache=cache,
        config=replace(study, slice_backbone="embedded:lite"),
        evaluation=make(cache, study, FIGURES),
        command="neuro evaluate cache --out found",
    )


@pytest.fixture
def votes(cache: Cache) -> nib.Nifti1Image:
    run = cache.run(0)
    volume = np.zeros(run.mask_XYZ.shape, np.float32)
    volume[run.mask_XYZ] = np.random.default_rng(0).normal(size=int(run.mask_XYZ.sum()))
    return nib.Nifti1Image(volume, run.affine)


def render(inputs: ReportInputs, tmp_path: Path) -> str:
    return write_report(inputs, tmp_path / "report.html").read_text(encoding="utf-8")


def pictures(html: str) -> list[tuple[str, bytes]]:
    found = re.findall(r'src="data:image/([a-z+]+);base64,([^"]+)"', html)
    return [(kind, base64.b64decode(content, validate=True)) for kind, content in found]


def test_one_file_that_fetches_nothing(inputs: ReportInputs, votes: object, tmp_path: Path) -> None:
    html = render(replace(inputs, votes=votes), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "http:" not in html
    assert "https:" not in html
    for tag in ("<script", "<link", "<iframe", "@import", "url("):
        assert tag not in html
    assert len(re.findall("<img ", html)) == len(pictures(html)) == 4
    for kind, content in pictures(html):
        if kind == "png":
            assert content.startswith(b"\x89PNG")
            continue
        svg = content.decode()
        assert "<svg" in svg
        assert "<script" not in svg
        # What is fetched in an SVG stands in an href, a src or a url(); namespaces and metadata are not.
        for target in re.findall(r"""(?:href|src)=["']([^"']*)|url\(([^)]*)\)""", svg):
            assert "".join(target).startswith("#") or "".join(target).startswith("data:")


def test_every_figure_of_every_model_stands_in_it(inputs: ReportInputs, tmp_path: Path) -> None:
    html = render(inputs, tmp_path)
    for found in FIGURES:
        row = next(line for line in html.splitlines() if f"<td>{found.name}<br>" in line)
        assert found.note in row
        auc = found.auc
        for figure in (auc.estimate, auc.low, auc.high, 0.6125, 0.2345, 0.9876):
            assert f"{figure:.3f}" in row
    for line in verdict(inputs.evaluation):
        assert line in html


def test_it_says_what_it_is_and_how_it_came_about(inputs: ReportInputs, tmp_path: Path) -> None:
    html = render(inputs, tmp_path)
    assert "not for diagnosis" in html
    assert inputs.cache.identity in html
    assert "initialised from scratch, with no pretrained weights" in html
    assert "neuro evaluate cache --out found" in html
    assert "2 folds by person" in html
    assert "embedded:lite sees slices of the runs; nothing in it is trained" in html
    assert "6 patients and 6 controls from 2 sites." in html
    assert "Nothing was left out." in html
    pretrained = render(
        replace(inputs, config=replace(inputs.config, model=ModelConfig(backbone="clip:ViT-B-32/x"))),
        tmp_path,
    )
    assert "initialised from scratch" not in pretrained
    assert "pretrained on pictures" in pretrained


def test_the_cohort_is_counted_by_people(inputs: ReportInputs, tmp_path: Path) -> None:
    html = render(inputs, tmp_path)
    rows = re.findall(r"<tr><td>(site-.)</td><td>(\w+)</td><td class=\"n\">(\d+)</td>", html)
    expected = inputs.cache.table.groupby(["site", "label"])["participant_id"].nunique()
    assert {(s, g): int(n) for s, g, n in rows} == {
        (site, "patients" if label else "controls"): count for (site, label), count in expected.items()
    }


def test_what_was_left_out_is_listed(inputs: ReportInputs, tmp_path: Path) -> None:
    cache = replace(inputs.cache, excluded=[("sub-99", "no mask <here>")])
    html = render(replace(inputs, cache=cache), tmp_path)
    assert "<li>sub-99: no mask &lt;here&gt;</li>" in html
    assert "Left out: 1" in html


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\"'&", r"$\frac{$", "a $5 and $6 site"])
def test_a_hostile_site_name_is_only_a_name(inputs: ReportInputs, tmp_path: Path, name: str) -> None:
    table = inputs.cache.table.assign(site=name)
    html = render(
        replace(inputs, cache=replace(inputs.cache, table=table), command=f"neuro {name}"), tmp_path
    )
    assert "<script" not in html
    assert all(b"<script" not in content for _, content in pictures(html))
    assert f"<td>{escape(name)}</td>" in html


def test_a_person_of_two_participant_ids_is_counted_once(inputs: ReportInputs, tmp_path: Path) -> None:
    table = inputs.cache.table.copy()
    assert "6 patients and 6 controls from 2 sites." in render(inputs, tmp_path)
    first, second = table.index[table["label"] == 1][:2]
    table.loc[second, "person"] = table.loc[first, "person"]
    html = render(replace(inputs, cache=replace(inputs.cache, table=table)), tmp_path)
    assert "5 patients and 6 controls from 2 sites." in html


def test_the_map_stands_there_only_with_votes(inputs: ReportInputs, votes: object, tmp_path: Path) -> None:
    heading, planted = "Where the difference was read", "Yellow: the region where the simulation"
    assert heading not in render(inputs, tmp_path)
    without = render(replace(inputs, votes=votes), tmp_path)
    assert heading in without
    assert planted not in without
    outline = render(replace(inputs, votes=votes, planted=votes), tmp_path)
    assert planted in outline
    assert pictures(outline)[-1][1] != pictures(without)[-1][1]


@pytest.mark.filterwarnings("ignore:empty mask")  # nilearn says so, and draws the template
def test_a_map_of_nothing_is_still_a_map(
    inputs: ReportInputs, votes: nib.Nifti1Image, tmp_path: Path
) -> None:
    nothing = nib.Nifti1Image(np.zeros(votes.shape, np.float32), votes.affine)
    assert "Where the difference was read" in render(replace(inputs, votes=nothing), tmp_path)


def test_unknown_ages_and_sexes_do_no_harm(inputs: ReportInputs, tmp_path: Path) -> None:
    table = inputs.cache.table.assign(age=np.nan, sex="n/a", fd_mean=np.nan)
    assert "site-A" in render(replace(inputs, cache=replace(inputs.cache, table=table)), tmp_path)


def test_a_failed_write_leaves_the_earlier_report(
    inputs: ReportInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("an earlier one")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(inputs, path)
    assert path.read_text() == "an earlier one"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.501, 0.9, "above chance"),
        (0.5, 0.9, "not told from chance"),
        (0.3, 0.5, "not told from chance"),
        (0.1, 0.499, "below chance"),
    ],
)
def test_the_verdict_says_what_the_interval_allows(
    cache: Cache, study: StudyConfig, low: float, high: float, words: str
) -> None:
    found = verdict(make(cache, study, [outcome(TRANSFORMER, 0.45, low, high), FIGURES[3]]))
    assert found == [
        f"The brain Transformer tells patients from controls with AUC 0.450 [{low:.3f}, {high:.3f}]: {words}."
    ]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.9, 0.95, "Its interval lies above that of the best of the others (frozen picture features)."),
        (0.1, 0.2, "Its interval lies below that of the best of the others (frozen picture features)."),
        (
            0.6,
            0.9,
            "Its interval overlaps that of the best of the others (frozen picture features):"
            " no difference is shown.",
        ),
    ],
)
def test_the_verdict_compares_with_the_best_of_the_others(
    cache: Cache, study: StudyConfig, low: float, high: float, words: str
) -> None:
    found = verdict(make(cache, study, [outcome(TRANSFORMER, 0.6, low, high), *FIGURES[1:]]))
    assert found[1:] == [
        "Frozen picture features: AUC 0.711 [0.522, 0.833], above chance.",
        "Connectivity + SVM: AUC 0.411 [0.322, 0.533], not told from chance.",
        words,
    ]
