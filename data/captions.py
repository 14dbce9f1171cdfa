"""Pictures and what is said of them: pairs read from CSV, TSV, JSON or JSON Lines.

Read as they are: a table with a column for the picture and one for the caption (Flickr8k's and Flickr30k's
among them), one JSON object a line, a JSON list of objects, a JSON object {picture: caption or captions}, and
COCO's captions. Paths are relative to the file's own folder, unless another one is named.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import BadFileError, nearest
from data.photo_walk import absolute_path

IMAGE_COLUMNS = ("image", "path", "file", "filepath", "filename", "file_name", "image_name")
CAPTION_COLUMNS = ("caption", "captions", "text", "title", "description", "comment")
DELIMITERS = {".csv": ",;|\t", ".tsv": "\t", ".txt": ",\t;|"}
SHOWN = 5  # missing pictures that an error names


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A picture, as an absolute path, and one caption of it; five captions of a picture are five pairs."""

    image: Path
    caption: str


@dataclass(frozen=True, kw_only=True)
class CaptionColumns:
    """Where a file keeps what is wanted.

    Attributes:
        image, caption: name of the column or key; None takes the first of `IMAGE_COLUMNS` and
            `CAPTION_COLUMNS` that is there.
        folder: what relative paths start from; None is the file's own folder.
    """

    image: str | None = None
    caption: str | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class _Entry:
    """A picture's name and a caption as the file has them, and where they stand in it."""

    place: str
    image: object
    caption: object


def read_pairs(path: str | Path, columns: CaptionColumns | None = None) -> list[Pair]:
    """All pairs of a file, in its order.

    Raises:
        BadFileError: the file cannot be read, a line of it is no pair, or pictures are missing (all counted,
            the first named with their lines).
    """
    path, columns = Path(path), columns or CaptionColumns()
    pairs, missing, known = [], [], dict[Path, bool]()
    for entry in _entries(path, columns):
        image = _image(path, columns, entry)
        if image not in known:
            known[image] = image.is_file()
            if not known[image]:
                missing.append(f"{image} ({entry.place})")
        for caption in _captions(path, entry):
            pairs.append(Pair(image=image, caption=caption))
    if missing:
        more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
        raise BadFileError(
            "pictures",
            must_be="there",
            got=f"{len(missing):,} of {len(known):,} missing: {', '.join(missing[:SHOWN])}{more}",
            do="correct the paths, or name the folder that they start from",
            path=path,
        )
    if not pairs:
        raise BadFileError("file of pairs", must_be="of at least one pair", got="none", path=path)
    return pairs


def captions_by_path(path: str | Path, columns: CaptionColumns | None = None) -> dict[Path, str]:
    """The captions of each picture, one a line; pictures need not exist, and may be without a caption.

    Raises:
        BadFileError: the file cannot be read, or a line of it names no picture.
    """
    path, columns = Path(path), columns or CaptionColumns()
    found: dict[Path, list[str]] = {}
    for entry in _entries(path, columns):
        blank = entry.caption is None or entry.caption in ("", [])
        captions = [] if blank else _captions(path, entry)
        found.setdefault(_image(path, columns, entry), []).extend(captions)
    return {image: "\n".join(dict.fromkeys(captions)) for image, captions in found.items() if captions}


def _image(path: Path, columns: CaptionColumns, entry: _Entry) -> Path:
    if not isinstance(entry.image, str) or not entry.image.strip() or "\0" in entry.image:
        raise _bad(path, entry.place, "picture's path", "text", entry.image)
    return absolute_path((columns.folder or path.parent) / Path(entry.image.strip()).expanduser())


def _captions(path: Path, entry: _Entry) -> list[str]:
    given = entry.caption if isinstance(entry.caption, list) else [entry.caption]
    captions = []
    for caption in given:
        if not isinstance(caption, str) or not caption.strip():
            raise _bad(path, entry.place, "caption", "some text", caption)
        captions.append(" ".join(caption.split()))
    return captions


def _entries(path: Path, columns: CaptionColumns) -> Iterator[_Entry]:
    suffix = path.suffix.lower()
    try:
        if suffix in DELIMITERS:
            yield from _table(path, columns)
        elif suffix in (".jsonl", ".ndjson"):
            yield from _json_lines(path, columns)
        elif suffix == ".json":
            yield from _json(path, columns)
        else:
            known = ".csv, .tsv, .txt, .json or .jsonl"
            raise BadFileError("file of pairs", must_be=known, got=repr(path.name), path=path)
    except UnicodeDecodeError as error:
        raise BadFileError("file of pairs", must_be="UTF-8 text", got=str(error), path=path) from error
    except OSError as error:
        said = error.strerror or str(error)
        raise BadFileError("file of pairs", must_be="readable", got=said, path=path) from error


def _table(path: Path, columns: CaptionColumns) -> Iterator[_Entry]:
    """Rows below a heading; strict, as one stray quote would otherwise swallow all rows after it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        heading = file.readline()
        delimiter = _delimiter(heading, DELIMITERS[path.suffix.lower()])
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        names = [name.strip() for name in next(csv.reader([heading], delimiter=delimiter), [])]
        image = _column(path, "line 1", names, columns.image, IMAGE_COLUMNS)
        caption = _column(path, "line 1", names, columns.caption, CAPTION_COLUMNS)
        line = 2
        try:
            for row in reader:
                if any(cell.strip() for cell in row):
                    if len(row) != len(names):
                        raise _bad(path, f"line {line}", "row", f"of {len(names)} cells", len(row))
                    yield _Entry(f"line {line}", row[names.index(image)], row[names.index(caption)])
                line = reader.line_num + 2
        except csv.Error as error:
            raise _bad(path, f"line {line}", "row", "well-formed", error) from error


def _delimiter(heading: str, candidates: str) -> str:
    return max(candidates, key=heading.count)


def _json_lines(path: Path, columns: CaptionColumns) -> Iterator[_Entry]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _picked(path, f"line {number}", _parsed(path, line.strip(), first_line=number), columns)


def _json(path: Path, columns: CaptionColumns) -> Iterator[_Entry]:
    content = _parsed(path, path.read_text(encoding="utf-8-sig"), first_line=1)
    if isinstance(content, list):
        for number, record in enumerate(content, start=1):
            yield _picked(path, f"item {number}", record, columns)
    elif isinstance(content, dict) and isinstance(content.get("annotations"), list):
        yield from _coco(path, content)
    elif isinstance(content, dict):
        for number, (image, caption) in enumerate(content.items(), start=1):
            yield _Entry(f"item {number}", image, caption)
    else:
        raise _bad(path, "line 1", "content", "a list or an object", type(content).__name__)


def _coco(path: Path, content: Mapping[str, Any]) -> Iterator[_Entry]:
    """COCO's captions: `images` with `id` and `file_name`, `annotations` with `image_id` and `caption`."""
    try:
        names = {image["id"]: image["file_name"] for image in content["images"]}
    except (KeyError, TypeError) as error:
        raise _bad(
            path, "images", "each", "an object with id and file_name", f"one without {error}"
        ) from error
    for number, annotation in enumerate(content["annotations"], start=1):
        place = f"annotation {number}"
        if not isinstance(annotation, dict) or annotation.get("image_id") not in names:
            raise _bad(path, place, "image_id", "one of the images", annotation)
        yield _Entry(place, names[annotation["image_id"]], annotation.get("caption"))


def _parsed(path: Path, text: str, *, first_line: int) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        line = first_line + getattr(error, "lineno", 1) - 1
        raise _bad(path, f"line {line}", "content", "JSON", error) from error


def _picked(path: Path, place: str, record: object, columns: CaptionColumns) -> _Entry:
    if not isinstance(record, dict):
        raise _bad(path, place, "pair", "an object", record)
    names = list(record)
    image = _column(path, place, names, columns.image, IMAGE_COLUMNS)
    caption = _column(path, place, names, columns.caption, CAPTION_COLUMNS)
    return _Entry(place, record[image], record[caption])


def _column(path: Path, place: str, names: Sequence[str], wanted: str | None, usual: Sequence[str]) -> str:
    """The name, as the file writes it, of the column that is wanted or of the first usual one."""
    written = {name.lower(): name for name in reversed(names)}
    for candidate in (wanted,) if wanted is not None else usual:
        if candidate.lower() in written:
            return written[candidate.lower()]
    raise BadFileError(
        f"{place}: columns",
        must_be=f"with {wanted!r} among them" if wanted else f"with one of {', '.join(usual)}",
        got=", ".join(names) or "none",
        do=nearest(wanted, names) if wanted else "name the column",
        path=path,
    )


def _bad(path: Path, place: str, what: str, must_be: str, got: object) -> BadFileError:
    shown = "nothing" if got in (None, "") else f"{got}"
    return BadFileError(f"{place}: {what}", must_be=must_be, got=shown[:200], path=path)
