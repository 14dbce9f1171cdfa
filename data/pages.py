"""A stream in pieces, for what is asked or written some at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def pages(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one shorter; no more than one is held (`itertools.batched` of 3.12)."""
    stream = iter(items)
    while page := list(itertools.islice(stream, size)):
        yield page
