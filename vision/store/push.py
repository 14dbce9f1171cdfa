"""Rows of one store into another, so that an index can grow out of a laptop, or come back to one."""

from __future__ import annotations

from collections.abc import Callable

from data.pages import pages
from vision.store.vector_store import VectorStore

PAGE = 500


def push(
    source: VectorStore,
    target: VectorStore,
    *,
    prune: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Copy all rows with their vectors and payloads, page by page; run it again to go on after a break.

    A row whose id and payload the target already has is passed over: under one id the vector stays the same,
    as ids are of a picture's content and a store is of one model.

    Args:
        prune: delete rows of the target that the source does not have.
        progress: called with rows gone through and rows in all.

    Returns:
        How many rows were written.
    """
    written, done, total = 0, 0, source.count()
    report = progress or (lambda done, total: None)
    report(0, total)
    for ids, vectors_NE in source.scan_vectors(PAGE):
        there = {row.id: row.payload for row in target.get(ids)}
        payloads = {row.id: row.payload for row in source.get(ids)}
        due = [at for at, id in enumerate(ids) if id in payloads and there.get(id) != payloads[id]]
        if due:
            target.upsert([ids[at] for at in due], vectors_NE[due], [payloads[ids[at]] for at in due])
        written, done = written + len(due), done + len(ids)
        report(done, max(done, total))
    if prune:
        _prune(source, target)
    return written


def _prune(source: VectorStore, target: VectorStore) -> None:
    for ids in pages((row.id for row in target.scan()), PAGE):
        kept = {row.id for row in source.get(ids)}
        target.delete([id for id in ids if id not in kept])
