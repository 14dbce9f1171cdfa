"""What the pictures of an index can be told apart by: the values of their columns, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from vision.retrieval.picture import Picture

MOST = 50  # values of a column
WORDS = 100  # characters of a value that is listed

Value = str | int | float
Facets = dict[str, list[tuple[Value, int]]]


def count_facets(pictures: Iterable[Picture]) -> tuple[int, Facets]:
    """How many pictures there are, and for each column that any has, its most frequent values.

    Years come newest first. Columns of too many different numbers are for comparisons, not for lists.
    """
    total, counts = 0, Counter[tuple[str, Value]]()
    for picture in pictures:
        total += 1
        counts.update(set(_values(picture)))
    fields: dict[str, list[tuple[Value, int]]] = {}
    for (field, value), count in counts.items():
        fields.setdefault(field, []).append((value, count))
    return total, {field: _listed(field, values) for field, values in sorted(fields.items())}


def _values(picture: Picture) -> Iterator[tuple[str, Value]]:
    if picture.taken_at is not None:
        yield "year", picture.taken_at[:4]
    if picture.camera is not None:
        yield "camera", picture.camera
    yield "format", picture.format
    for place in picture.places:
        for tag in place.tags:
            yield "tags", tag
    for name, value in picture.columns.items():
        if isinstance(value, str) and len(value) <= WORDS:
            yield f"columns.{name}", value


def _listed(field: str, values: list[tuple[Value, int]]) -> list[tuple[Value, int]]:
    by_name = sorted(values, key=lambda one: str(one[0]))
    if field == "year":
        return by_name[::-1][:MOST]
    return sorted(by_name, key=lambda one: -one[1])[:MOST]
