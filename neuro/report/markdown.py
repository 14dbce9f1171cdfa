"""A document as Markdown without a tag of HTML, its figures as files: what GitHub shows as it is."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from data.writing import whole_file, write_whole
from neuro.picture import ON_DARK
from neuro.report.blocks import Block, Cell, Document, Picture, pictures_in

FIGURES = "_figures"  # study.md has its figures in study_figures
COLOURS = 128  # of a PNG: a map has few, and weighs a third so
SPECIAL = re.compile(r"([\\`*|])|(?<![^\W_])(_)|(_)(?![^\W_])")
TAKEN = re.compile(r"&(?=[#A-Za-z])|<(?=[A-Za-z/!?])|\$")  # for entities, tags, and by GitHub for formulas
ENTITIES = {"&": "&amp;", "<": "&lt;", "$": "&#36;"}


def write_markdown(document: Document, path: Path) -> None:
    """Write the file and its folder of figures; what an earlier report of this name showed is replaced.

    Args:
        document: what to write.
        path: of the Markdown; FIGURES is added to its name for the folder.
    """
    folder = path.with_name(path.stem + FIGURES)
    files = dict(_file(picture) for section in document.sections for picture in pictures_in(section.blocks))
    earlier = _shown(path)
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        with whole_file(folder / name) as draft:
            draft.write_bytes(content)
    write_whole(path, as_markdown(document, folder.name))
    for name in earlier - set(files):
        (folder / name).unlink(missing_ok=True)


def as_markdown(document: Document, folder: str) -> str:
    """The text.

    Args:
        document: what to write.
        folder: where its figures lie, as seen from the file.
    """
    parts = [f"> **{escaped(document.warning)}**", f"# {escaped(document.title)}", escaped(document.lead)]
    for section in document.sections:
        parts.append(f"## {escaped(section.title)}")
        for block in section.blocks:
            parts += _told(block, folder)
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """Text that stands for itself, on one line."""
    line = _inline(text)
    return re.sub(r"^([#>+=-])|^(\d+)(?=[.)]\s)", lambda found: _opening(*found.groups()), line)


def _inline(text: str) -> str:
    """The same where it does not begin a line."""
    line = re.sub(r"\s+", " ", str(text)).strip()
    line = SPECIAL.sub(lambda found: f"\\{found.group()}", line)
    line = TAKEN.sub(lambda found: ENTITIES[found.group()], line)
    return line.replace("](", "]\\(").replace("~~", "\\~~")


def _opening(sign: str | None, number: str | None) -> str:
    """What would make a heading, a quotation or a list of a line."""
    return f"\\{sign}" if sign else f"{number}\\"


def markdown_table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of a Markdown table."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines]


def _told(block: Block, folder: str) -> list[str]:
    tell: dict[str, Callable[[Any, str], list[str]]] = {
        "words": _words,
        "bullets": lambda block, _: ["\n".join(f"- {escaped(line)}" for line in block.lines)],
        "terms": lambda block, _: [
            "\n".join(f"- **{escaped(term)}**: {escaped(text)}" for term, text in block.rows)
        ],
        "code": _code,
        "table": _table,
        "picture": _picture,
        "pair": _all,
        "folded": lambda block, folder: [f"**{escaped(block.title)}**", *_all(block, folder)],
    }
    return tell[block.kind](block, folder)


def _all(block: Any, folder: str) -> list[str]:
    return [part for inner in block.blocks for part in _told(inner, folder)]


def _words(block: Any, _: str) -> list[str]:
    return [f"**{escaped(block.text)}**" if block.strong else escaped(block.text)]


def _code(block: Any, _: str) -> list[str]:
    line = re.sub(r"\s+", " ", block.text).strip()
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", line)), default=0))
    return [f"{escaped(block.term)}:", f"{fence}sh\n{line}\n{fence}"]


def _table(block: Any, _: str) -> list[str]:
    heads = [_in_table(Cell(head)) for head in block.heads]
    return ["\n".join(markdown_table(heads, [[_in_table(cell) for cell in row] for row in block.rows]))]


def _in_table(cell: Cell) -> str:
    text = f"{cell.text} ({cell.small})" if cell.small else cell.text
    return _inline(text.replace("|", "/"))


def _picture(block: Picture, folder: str) -> list[str]:
    alt = escaped(block.alt).replace("[", "\\[").replace("]", "\\]")
    shown = f"![{alt}]({quote(folder)}/{_name(block)})"
    return [shown, *([f"*{escaped(block.caption)}*"] if block.caption else [])]


def _name(picture: Picture) -> str:
    return f"{picture.name}.{'svg' if picture.uri.startswith('data:image/svg') else 'png'}"


def _file(picture: Picture) -> tuple[str, bytes]:
    content = base64.b64decode(picture.uri.partition(",")[2])
    name = _name(picture)
    return name, slim_svg(content.decode()).encode() if name.endswith("svg") else slim_png(content)


def slim_svg(drawing: str) -> str:
    """The same drawing with fewer bytes, on white and in the colours of a light page.

    A page's theme is not told to a picture that it shows, so that one which follows the system's could stand
    dark on dark.
    """
    for number, colour in enumerate(ON_DARK):
        drawing = drawing.replace(f"var(--c{number})", colour)
    drawing = re.sub(r"<style>:root.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", drawing, flags=re.S)
    drawing = re.sub(r"(\d\d\.\d\d)\d+", r"\1", drawing)  # places, not scales
    drawing = re.sub(r"\s+", " ", drawing).replace("> <", "><")
    return re.sub(r"(<svg[^>]*>)", r'\1<rect width="100%" height="100%" fill="#fff"/>', drawing, count=1)


def slim_png(content: bytes) -> bytes:
    """The same picture with few colours."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS).save(buffer, "PNG", optimize=True)
    return min(content, buffer.getvalue(), key=len)


def _shown(path: Path) -> set[str]:
    """The figures that an earlier report at this place showed."""
    if not path.is_file():
        return set()
    folder = re.escape(quote(path.stem + FIGURES))
    return set(re.findall(rf"\]\({folder}/([\w]+\.(?:svg|png))\)", path.read_text(encoding="utf-8")))
