"""Same bytes and near pictures, against comparing every pair one by one."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import ParameterError
from vision.retrieval import ImageIndex, duplicates
from vision.retrieval.duplicates import DuplicateGroup, find_duplicates
from vision.retrieval.picture import Picture, Place
from vision.store.vector_store import Row, Vectors


class ListStore:
    """What `find_duplicates` asks of a store, over files made for it."""

    def __init__(self, folder: Path, vectors_NE: Vectors):
        folder.mkdir()
        self.paths = [folder / f"{number:04}.jpg" for number in range(len(vectors_NE))]
        for path in self.paths:
            path.touch()
        self.vectors_NE = vectors_NE
        self.ids = [str(uuid.UUID(int=number)) for number in range(len(vectors_NE))]
        self.rows = {id: self.row(id, path) for id, path in zip(self.ids, self.paths, strict=True)}

    def row(self, id: str, path: Path) -> Row:
        places = (Place(path=path, mtime_ns=0),)
        picture = Picture(content=uuid.UUID(id).hex, size=1, width=1, height=1, format="PNG", places=places)
        return Row(id=id, payload=picture.to_payload())

    def scan(self) -> Iterator[Row]:
        yield from self.rows.values()

    def get(self, ids: Sequence[str]) -> list[Row]:
        return [self.rows[id] for id in reversed(ids)]

    def scan_vectors(self, page: int = 1000) -> Iterator[tuple[list[str], Vectors]]:
        for start in range(0, len(self.ids), 7):
            yield self.ids[start : start + 7], self.vectors_NE[start : start + 7]


def slow_groups(vectors_NE: Vectors, near: float) -> dict[frozenset[int], float]:
    """Members of each group and its least linking cosine, one pair after the other."""
    groups = [{n} for n in range(len(vectors_NE))]
    links = []
    for a in range(len(vectors_NE)):
        for b in range(a):
            cosine = float(vectors_NE[a].astype(float) @ vectors_NE[b].astype(float))
            if cosine >= near:
                links.append((a, cosine))
                groups = [group for group in groups if not group & {a, b}] + [
                    set().union(*(group for group in groups if group & {a, b}))
                ]
    return {
        frozenset(group): min(cosine for a, cosine in links if a in group)
        for group in groups
        if len(group) > 1
    }


def unit(vectors_NE: np.ndarray) -> Vectors:
    return (vectors_NE / np.linalg.norm(vectors_NE, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("near", [0.5, 0.8, 0.95, 0.999])
@pytest.mark.parametrize("block", [1, 5, 64])
def test_near_groups_are_those_of_all_pairs(
    near: float, block: int, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "BLOCK", block)
    vectors_NE = unit(rng.normal(size=(40, 4)))
    vectors_NE[7] = vectors_NE[30]
    store = ListStore(tmp_path / "photos", vectors_NE)
    found = list(find_duplicates(store, near=near))  # type: ignore[arg-type]
    expected = slow_groups(vectors_NE, near)
    assert {frozenset(int(path.stem) for path in group.paths): group.cosine for group in found} == (
        pytest.approx(expected, abs=1e-6)
    )
    assert len(found) == len(expected) > 0


def test_files_that_are_gone_do_not_count(tmp_path: Path) -> None:
    store = ListStore(tmp_path / "photos", unit(np.array([[1, 0], [1, 0.01], [1, 0.02], [0, 1]])))
    store.paths[1].unlink()
    (group,) = find_duplicates(store, near=0.9)  # type: ignore[arg-type]
    assert [path.stem for path in group.paths] == ["0000", "0002"]
    store.paths[2].unlink()
    assert list(find_duplicates(store, near=0.9)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 1])
def test_a_store_of_nearly_nothing_holds_no_duplicates(count: int, tmp_path: Path) -> None:
    store = ListStore(tmp_path / "photos", unit(np.ones((count, 3))))
    assert list(find_duplicates(store, near=0.9)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("near", [0, -0.5, 1.01, float("nan")])
def test_near_must_be_a_cosine_above_0(near: float, tmp_path: Path) -> None:
    store = ListStore(tmp_path / "photos", unit(np.ones((2, 3))))
    with pytest.raises(ParameterError, match="near must be above 0 and at most 1"):
        find_duplicates(store, near=near)  # type: ignore[arg-type]


def test_copies_in_an_index_are_found_and_near_ones_on_request(
    tmp_path: Path, album: Path, colours: Any
) -> None:
    for name in ("b.png", "a.png"):
        shutil.copy(album / "red.png", album / name)
    with ImageIndex.create(tmp_path / "store", colours) as index:
        index.add_folder([album])
        store = index._store
        (same,) = find_duplicates(store)
        assert same == DuplicateGroup(paths=(album / "a.png", album / "b.png", album / "red.png"))
        assert (same.label, same.to_dict()["cosine"]) == ("same bytes", None)
        _, near = find_duplicates(store, near=0.8)  # white and yellow: sqrt(2/3)
        assert [path.stem for path in near.paths] == ["white", "yellow"]
        assert near.label == "0.8181"
