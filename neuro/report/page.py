"""The report of an evaluation as one self-contained HTML file, pictures inside, nothing fetched."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from data.writing import write_whole
from neuro.report.blocks import Document
from neuro.report.markdown import write_markdown

MARKDOWN = (".md", ".markdown")


def write_document(document: Document, path: str | Path) -> None:
    """As Markdown with a folder of figures where `path` ends so, as one HTML file where not."""
    if Path(path).suffix.lower() in MARKDOWN:
        write_markdown(document, Path(path))
    else:
        write_whole(path, as_html(document))


def as_html(document: Document) -> str:
    """The page."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    source = resources.files("neuro.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(document=document)
