"""What the pictures of an index can be told apart by: the values of their columns, counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from data.photo_facts import FIRST_PHOTOGRAPH, LAST_YEAR
from vision.store.fields import FIELDS, column_key
from vision.store.vector_store import VectorStore
from vision.store.where import Compare

MOST = 50  # values of a column
NAMED = ("camera", "format", "tags")

Facets = dict[str, list[tuple[str, int]]]


def count_facets(store: VectorStore, columns: Iterable[str]) -> Facets:
    """For each column that pictures have texts in, the most frequent ones; of `taken_at` the years.

    Years come newest first. Columns of numbers are for comparisons, not for lists.

    Args:
        columns: names of those that were added to the pictures.
    """
    facets: Facets = {"year": list(islice(_years(store), MOST))}
    facets |= {name: store.values(FIELDS[name].key, MOST) for name in NAMED}
    facets |= {f"columns.{name}": store.values(column_key(name), MOST) for name in columns}
    return {name: values for name, values in facets.items() if values}


def _years(store: VectorStore) -> Iterator[tuple[str, int]]:
    """The years that have any pictures; to ask about one that has none costs next to nothing."""
    for year in range(LAST_YEAR, FIRST_PHOTOGRAPH - 1, -1):
        if count := store.count(Compare(field=FIELDS["taken_at"], operator="=", value=f"{year}")):
            yield f"{year}", count
