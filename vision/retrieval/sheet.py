"""A contact sheet: the pictures found for a query, on one page, best first."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from data.errors import BadFileError
from data.photos import read_photo, small_photo
from data.picture_file import write_picture
from vision.retrieval.hits import Hit

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
PAPER, PANEL, INK, FAINT = "#ffffff", "#f1f1ef", "#1c1c1c", "#77776f"
SHEET = "contact sheet"  # in errors
# For names that Pillow's own font has no letters for: the first of these that has them all is taken.
OTHER_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "PingFang.ttc", "Arial Unicode.ttf")


@dataclass(frozen=True, kw_only=True)
class SheetLayout:
    """Measures of a contact sheet in pixels; all gaps between cells are equal."""

    thumbnail: int = 240
    columns: int = 5
    gap: int = 20
    margin: int = 36
    title: int = 30
    caption: int = 15


def contact_sheet(title: str, hits: Sequence[Hit], layout: SheetLayout | None = None) -> Image.Image:
    """Hits -> a page with `title` above, and rank, relevance and file name under each picture (RGB).

    A picture that cannot be read any more keeps its place, as an empty panel that says so.
    """
    layout = layout or SheetLayout()
    columns = min(layout.columns, max(3, len(hits)))
    rows = math.ceil(len(hits) / columns)
    width = 2 * layout.margin + columns * layout.thumbnail + (columns - 1) * layout.gap
    title_font = _font(_printable(title), layout.title)
    titles = list(_wrapped(_printable(title), title_font, width - 2 * layout.margin))
    top = layout.margin + len(titles) * round(1.3 * layout.title) + layout.gap
    cell = layout.thumbnail + round(3.4 * layout.caption)
    height = top + max(layout.caption * 2, rows * cell + max(0, rows - 1) * layout.gap) + layout.margin
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(titles):
        at = (layout.margin, layout.margin + number * round(1.3 * layout.title))
        draw.text(at, line, INK, title_font)
    if not hits:
        draw.text((layout.margin, top), "No pictures.", FAINT, _font("", layout.caption))
    for number, hit in enumerate(hits):
        row, column = divmod(number, columns)
        x = layout.margin + column * (layout.thumbnail + layout.gap)
        _draw_hit(page, (x, top + row * (cell + layout.gap)), number + 1, hit, layout)
    return page


def save_sheet(page: Image.Image, path: str | Path) -> Path:
    """Write the page as the ending of `path` says; whole, or not at all.

    Raises:
        ParameterError: an ending other than .jpg, .jpeg, .png and .webp.
        BadFileError: the place cannot be written.
    """
    return write_picture(page, path, SHEET)


def _draw_hit(page: Image.Image, corner: tuple[int, int], rank: int, hit: Hit, layout: SheetLayout) -> None:
    (x, y), side = corner, layout.thumbnail
    draw = ImageDraw.Draw(page)
    draw.rectangle((x, y, x + side - 1, y + side - 1), PANEL)
    small = _font("", layout.caption)
    picture = _thumbnail(hit.path, side)
    if picture is None:
        draw.text((x + side / 2, y + side / 2), "cannot be read", FAINT, small, anchor="mm")
    else:
        page.paste(picture, (x + (side - picture.width) // 2, y + (side - picture.height) // 2))
    # By the baseline, so that names in different fonts stand level.
    first, second = y + side + round(1.6 * layout.caption), y + side + round(2.9 * layout.caption)
    draw.text((x, first), f"{rank}", INK, small, anchor="ls")
    draw.text((x + side, first), _verdict(hit), FAINT, small, anchor="rs")
    name = _printable(hit.path.name)
    font = _font(name, layout.caption)
    draw.text((x, second), _elided(name, font, side), INK, font, anchor="ls")


def _verdict(hit: Hit) -> str:
    known = "" if hit.relevance is None else f"{hit.relevance:.0%} relevant"
    return "by its caption" if hit.by_caption else known or f"{hit.score:.3f}"


def _thumbnail(path: Path, side: int) -> Image.Image | None:
    try:
        return small_photo(read_photo(path), side)
    except BadFileError:
        return None


def _elided(text: str, font: Font, width: float) -> str:
    """The text with as much of its middle left out as makes it fit: a name's end tells files apart."""
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if font.getlength(shorter) <= width:
            return shorter
    return "…"


def _wrapped(text: str, font: Font, width: float, lines: int = 3) -> Iterator[str]:
    """At most three lines; what is left of a very long text is elided in the last."""
    line, words = "", text.split()
    while words:
        longer = f"{line} {words[0]}".strip()
        if line and font.getlength(longer) > width:
            if lines == 1:
                yield _elided(" ".join([line, *words]), font, width)
                return
            yield _elided(line, font, width)
            line, lines = "", lines - 1
        else:
            line = longer
            words.pop(0)
    yield _elided(line, font, width)


def _printable(text: str) -> str:
    """One line that a font can be asked to draw: no control characters, no bytes that are no text."""
    valid = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(character if character.isprintable() else " " for character in valid)


@functools.cache
def _font(text: str, size: int) -> Font:
    fonts = _fonts(size)
    return next((font for font in fonts if all(_has(font, letter) for letter in set(text))), fonts[0])


@functools.cache
def _fonts(size: int) -> list[Font]:
    fonts: list[Font] = [ImageFont.load_default(size)]
    for name in OTHER_FONTS:
        try:
            fonts.append(ImageFont.truetype(_shipped(name), size))
        except OSError:  # not on this machine
            continue
    return fonts


def _shipped(name: str) -> str:
    """Matplotlib carries DejaVu in its package; other names are left to the system's font folders."""
    found = importlib.util.find_spec("matplotlib")
    folder = Path(((found and found.submodule_search_locations) or [""])[0]) / "mpl-data/fonts/ttf"
    return str(folder / name) if (folder / name).is_file() else name


@functools.cache
def _has(font: Font, letter: str) -> bool:
    # A font draws the same box for every letter that it lacks, so also for one that no font has.
    return letter.isascii() or bytes(font.getmask(letter)) != bytes(font.getmask("\U0010ffff"))
