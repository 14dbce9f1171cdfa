"""Every page that `neuro` writes, opened from its file in a real browser, as a reader offline sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

from data.caches.cache import Cache
from neuro.calibration.acquisition import acquisition_table
from neuro.calibration.calibration import calibrate
from neuro.calibration.inner_scores import InnerScores
from neuro.calibration.novelty import Novelty
from neuro.calibration.saved import write_calibration, write_novelty
from neuro.calibration.scan_embedding import embeddings_of
from neuro.classifier import ParkinsonClassifier
from neuro.classifier.run_folder import load_run, save_run
from neuro.explain import DEFAULT
from neuro.explain.figures import write_interactive
from neuro.explain.study_map import StudyMap
from neuro.prediction.predict import predict
from neuro.quality.report import write_quality_report
from neuro.report.content import ReportInputs
from neuro.study import labels_and_people
from neuro.tokens import RunTokens
from tests.browser_watch import PATIENCE, Watch
from tests.vision.browser_inspection import TOO_WIDE, violations

from .full_report import write_page
from .made_results import made_results

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

WIDE, NARROW = 1060, 400  # pixels: a window beside another one, and a telephone
RESEARCH = "For research, not for diagnosis"
PAGES = ("report", "prediction", "quality", "interactive")
DRAWN_OR_BROKEN = """(image) => {
  image.scrollIntoView();
  return image.complete || new Promise((done) => { image.onload = image.onerror = () => done(true); });
}"""
NOT_DRAWN = """() => [...document.images].filter((image) => !image.complete || !image.naturalWidth)
  .map((image) => image.alt || image.src.slice(0, 80))"""
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
HEADINGS = """() => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((one) => +one.tagName[1])"""


@pytest.fixture(scope="module")
def brain() -> nib.Nifti1Image:
    volume = np.random.default_rng(0).normal(size=(12, 14, 12)).astype(np.float32)
    affine = np.diag([12.0, 12, 12, 1])
    affine[:3, 3] = -66, -100, -50
    return nib.Nifti1Image(volume, affine)


@pytest.fixture(scope="module")
def report(brain: nib.Nifti1Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of made-up results, within sites and across, with a map."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    read = StudyMap(image=brain, in_mni=True, method=DEFAULT, words=("Made up.",))
    results = made_results(excluded=[["sub-99", "no mask"]])
    write_page(ReportInputs(results=results, relevance=read), path)
    return path


@pytest.fixture(scope="module")
def prediction(
    fitted: ParkinsonClassifier,
    tokens: list[RunTokens],
    cache: Cache,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Of a run that is calibrated and knows what its scans were like, with a map."""
    folder = tmp_path_factory.mktemp("prediction")
    run = save_run(fitted, cache, folder / "run")
    labels, people = labels_and_people(cache)
    scores = np.where(labels == 1, 2.0, -2.0) + np.linspace(-1, 1, len(labels))
    inner = InnerScores(scores=scores, labels=labels, people=people, fold_of=np.arange(len(labels)) % 3)
    write_calibration(calibrate(inner, resamples=20), run)
    novelty = Novelty.fit(embeddings_of(fitted, tokens), acquisition_table(cache), people=people)
    write_novelty(novelty, run)
    row = cache.table.iloc[2]
    files = {"mask": row["mask"], "confounds": row["confounds"]}
    predict(load_run(run, "cpu"), row["bold"], **files, out=folder / "new")
    return folder / "new" / "prediction.html"


@pytest.fixture(scope="module")
def quality(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_quality_report(cache, tmp_path_factory.mktemp("qc") / "qc.html", pictured=2).page


@pytest.fixture(scope="module")
def interactive(brain: nib.Nifti1Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("map") / "map.html"
    write_interactive(brain, path, title="A map")
    return path


@dataclass
class Reader:
    """A page as it was opened, and what it asked for."""

    page: Page
    watch: Watch
    requests: list[str] = field(default_factory=list)


def opened(browser: Browser, path: Path) -> Reader:
    """A page of a fresh profile, read to its end: pictures further down may wait until they are seen."""
    context = browser.new_context(viewport={"width": WIDE, "height": 800}, color_scheme="light")
    context.set_default_timeout(PATIENCE)
    reader = Reader(page=context.new_page(), watch=Watch("file://"))
    reader.watch.over(context)
    context.on("request", lambda request: reader.requests.append(request.url))
    reader.page.goto(path.as_uri())
    for picture in reader.page.locator("img").all():
        picture.evaluate(DRAWN_OR_BROKEN)
    reader.page.evaluate("() => scrollTo(0, 0)")
    return reader


@pytest.fixture(scope="module", params=PAGES)
def reader(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Reader]:
    found = opened(browser, request.getfixturevalue(request.param))
    yield found
    found.page.context.close()


def test_the_browser_complains_of_nothing_and_asks_for_nothing(reader: Reader) -> None:
    reader.watch.check()
    assert [url for url in reader.requests if not url.startswith(("data:", "blob:"))] == [reader.page.url]


def test_every_picture_is_drawn_and_has_words_in_its_place(reader: Reader) -> None:
    assert reader.page.evaluate(NOT_DRAWN) == []
    for picture in reader.page.locator("img").all():
        assert len((picture.get_attribute("alt") or "").split()) >= 3


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_nothing_is_wider_than_the_window(reader: Reader, width: int) -> None:
    reader.page.set_viewport_size({"width": width, "height": 800})
    reader.page.evaluate(TWO_FRAMES)  # the slices of a map are drawn anew
    assert reader.page.evaluate(TOO_WIDE) <= 0


def test_headings_begin_with_one_and_leave_no_step_out(reader: Reader) -> None:
    levels = reader.page.evaluate(HEADINGS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_what_it_is_not_for_is_seen_without_scrolling(reader: Reader, width: int) -> None:
    reader.page.set_viewport_size({"width": width, "height": 800})
    reader.page.evaluate("() => scrollTo(0, 0)")
    box = reader.page.get_by_text(RESEARCH).first.bounding_box()
    assert box is not None
    assert 0 <= box["y"] < 100


def test_what_is_folded_opens(reader: Reader) -> None:
    for folded in reader.page.locator("details").all():
        inside = folded.locator(":scope > :not(summary)").first
        assert not inside.is_visible()
        folded.locator("summary").click()
        assert inside.is_visible()


def test_nobody_is_shut_out(reader: Reader) -> None:
    assert violations(reader.page) == []
