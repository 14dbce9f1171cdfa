"""The report as Markdown: the same as the page, without a tag, its figures beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from data.errors import ParameterError
from neuro.cli import main
from neuro.report.blocks import pictures_in
from neuro.report.content import ReportInputs, document_of
from neuro.report.figures import auc_forest
from neuro.report.markdown import escaped, slim_svg
from neuro.report.page import write_document
from neuro.report.reading import read
from neuro.report.write import CARD, CHECKLIST, write_reports

from .full_report import PROTOCOL, forms, full, full_reading
from .made_results import made_results

pytest_plugins = ("tests.neuro.report_fixtures",)

HOSTILE = ("<script>alert(1)</script>", "\"'&", r"$\frac{$", "a|b `c` *d* __e__ [f](g) ![h](i)", "# j")
LIGHT = 400_000  # bytes of a whole study


class Page(HTMLParser):
    """Tables of a page as lists of rows of cells, and its paragraphs, terms and items."""

    def __init__(self, html: str):
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "br":
            self.tables[-1][-1][-1] += " "
        elif tag in ("p", "li", "dt", "dd", "code", "figcaption", "h2", "summary"):
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag in ("td", "th", "br", "small") and self.tables:
            if data.strip():
                self.tables[-1][-1][-1] += data
        elif self.texts and self.lasttag != "style":
            self.texts[-1] += data


def rendered(markdown: str) -> Page:
    """As GitHub would, raw HTML refused."""
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return Page(re.sub(r"</?(strong|em)>", "", html))


def bare(rows: list[list[str]]) -> list[list[str]]:
    """Cells of words and figures alone, as brackets stand around what is small in Markdown only."""
    return [[re.sub(r"[()|/\s]+", " ", cell).strip() for cell in row] for row in rows]


def kinds(markdown: str) -> Iterator[str]:
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        yield token.type
        yield from (inner.type for inner in token.children or [])


@pytest.mark.usefixtures("undrawn")
def test_both_forms_hold_the_same_tables_and_the_same_words() -> None:
    html, markdown = forms(full(remark="Made up."))
    page, text = Page(html), rendered(markdown)
    assert len(page.tables) == len(text.tables) == 9
    for one, other in zip(page.tables, text.tables, strict=True):
        assert bare(one) == bare(other)
    told = " ".join(re.sub(r"\s+", " ", line) for line in text.texts)
    for line in page.texts:
        assert re.sub(r"\s+", " ", line).strip() in told
    numbers = sorted(re.findall(r"\d+\.\d+", " ".join(page.texts)))
    assert numbers == sorted(re.findall(r"\d+\.\d+", " ".join(text.texts)))
    assert len(numbers) > 50


@pytest.mark.usefixtures("undrawn")
def test_the_warning_is_the_first_word_and_no_tag_is_in_it() -> None:
    _, markdown = forms(full())
    assert markdown.startswith("> **For research, not for diagnosis.")
    assert not re.search(r"<[a-zA-Z/!]", markdown)
    assert not {"html_inline", "html_block"} & set(kinds(markdown))


@pytest.mark.usefixtures("undrawn")
def test_a_hostile_name_is_only_a_name() -> None:
    text = " ".join(HOSTILE)
    inputs = ReportInputs(
        results=made_results(
            sites=HOSTILE[:4], command=text, remark=text, excluded=[[text, text]], protocol=PROTOCOL
        )
    )
    html, markdown = forms(inputs, read(inputs.results))
    assert not {"html_inline", "html_block", "link_open"} & set(kinds(markdown))
    assert "$" not in re.sub(r"```.*?```", "", markdown, flags=re.S)  # GitHub would set a formula
    assert list(kinds(markdown)).count("image") == html.count("<img ")
    page, told = Page(html), rendered(markdown)
    assert [len(rows) for rows in page.tables] == [len(rows) for rows in told.tables]
    assert {len(row) for row in told.tables[0]} == {8}
    assert any(text in line for line in told.texts)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1))
def test_escaped_text_stands_for_itself(text: str) -> None:
    line = escaped(text)
    tokens = MarkdownIt("commonmark").parse(line)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    children = tokens[1].children or []
    assert all(child.type in ("text", "text_special") for child in children)
    assert "".join(child.content for child in children) == text


def test_every_figure_is_a_file_that_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "my study.md"
    inputs = full()
    document = document_of(inputs, full_reading())
    write_document(document, path)
    folder = tmp_path / "my study_figures"
    shown = [
        unquote(name) for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    ]
    there = {str(found.relative_to(tmp_path)) for found in folder.iterdir()}
    assert set(shown) == there
    assert (
        len(shown)
        == len(there)
        == len(pictures_in(block for one in document.sections for block in one.blocks))
    )
    assert {Path(name).stem for name in shown} == {
        *("auc", "permutations", "scores", "roc", "calibration", "calibration_new_site"),
        *("groups", "relevance", "motion"),
    }
    for found in folder.iterdir():
        content = found.read_bytes()
        assert content.startswith(b"\x89PNG" if found.suffix == ".png" else b"<?xml")
        assert b"var(--" not in content
        assert found.suffix == ".png" or b'fill="#fff"/>' in content
    assert sum(found.stat().st_size for found in (path, *folder.iterdir())) < LIGHT


@pytest.mark.usefixtures("undrawn")
def test_figures_of_an_earlier_report_go_and_other_files_stay(tmp_path: Path) -> None:
    path, folder = tmp_path / "study.md", tmp_path / "study_figures"
    write_reports(full(), path)
    assert (folder / "permutations.svg").is_file()
    (folder / "mine.svg").write_text("a drawing")
    write_reports(ReportInputs(results=made_results(sites=("A",), across=False, protocol=PROTOCOL)), path)
    left = {found.name for found in folder.iterdir()}
    assert "mine.svg" in left
    assert not {"permutations.svg", "calibration_new_site.svg", "relevance.svg"} & left
    assert {"auc.svg", "calibration.svg"} <= left
    assert {found.name for found in tmp_path.iterdir()} == {"study.md", "study_figures", CARD, CHECKLIST}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["study.pdf", "study", CARD])
def test_other_endings_and_the_names_beside_it_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match="--out must be"):
        write_reports(full(), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("undrawn")
def test_the_command_takes_its_form_from_the_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Any
) -> None:
    monkeypatch.setattr("neuro.report.write.inputs_of", lambda _: full())
    done = run_command(main, "neuro", "report", tmp_path, "--out", tmp_path / "study.md")
    assert done.code == 0, done.err
    for name in ("study.md", "study_figures", CARD, CHECKLIST):
        assert str(tmp_path / name) in done.out
        assert (tmp_path / name).exists()


def test_the_same_figure_has_the_same_bytes() -> None:
    """So that a report that is kept under version control changes only where its figures do."""
    shown = [auc_forest(full().results.models) for _ in range(2)]
    assert shown[0] == shown[1]


def test_a_slim_drawing_keeps_scales_and_loses_themes() -> None:
    drawing = (
        '<svg width="1"> <style>:root{--c0:#000;}@media x{:root{--c0:#fff;}}</style>'
        "<metadata>\n who\n</metadata>"
        '<!-- A --><path d="M 12.345678 1" transform="scale(0.015625)" style="fill: var(--c0)"/></svg>'
    )
    slim = slim_svg(drawing)
    assert 'd="M 12.34 1" transform="scale(0.015625)"' in slim
    assert "fill: #1c2733" in slim
    for gone in ("<style>:root", "metadata", "<!--", "var("):
        assert gone not in slim
