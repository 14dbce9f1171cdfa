"""Vectors made elsewhere: their folder, how an index takes them in, and what such an index then refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from data.exchange.embeddings import EmbeddedRow, Embeddings, read_embeddings, write_embeddings
from vision.retrieval import ImageIndex, taking_in
from vision.retrieval import models as loading
from vision.retrieval.reindex import Reindexing
from vision.retrieval.taking_in import take_in
from vision.store.place import CollectionModel

from .conftest import COLOURS, ColourEmbedder


def unit(rows: Any) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def embeddings(count: int = 5, **changes: Any) -> Embeddings:
    """Portraits in shades of grey, whose vectors say that they are coloured."""
    rows = tuple(
        EmbeddedRow(file=f"pictures/{number}.png", columns={"run": f"sub-{number}", "age": 50.0 + number})
        for number in range(count)
    )
    vectors = unit([np.add(rgb, 1) for rgb in list(COLOURS.values())[:count]])
    made: dict[str, Any] = {
        "model": "fake:colours",
        "fingerprint": "fake-1",
        "origin": "made-elsewhere-1",
        "vectors_NE": vectors,
        "rows": rows,
    }
    return Embeddings(**{**made, **changes})


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = write_embeddings(embeddings(), tmp_path / "scans")
    (folder / "pictures").mkdir()
    for number in range(5):
        Image.new("L", (30, 20), 40 * number).save(folder / f"pictures/{number}.png")
    return folder


def test_a_folder_and_back(tmp_path: Path) -> None:
    given_ = embeddings()
    rows = (replace(given_.rows[0], caption="läuft\nnicht", columns={}), *given_.rows[1:])
    given_ = replace(given_, rows=rows)
    found = read_embeddings(write_embeddings(given_, tmp_path / "new"))
    np.testing.assert_array_equal(found.vectors_NE, given_.vectors_NE)
    assert found.rows == given_.rows
    assert (found.model, found.fingerprint, found.origin) == ("fake:colours", "fake-1", "made-elsewhere-1")
    first = (tmp_path / "new/rows.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(first) == {"file": "pictures/0.png", "caption": "läuft\nnicht"}


@settings(max_examples=25, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), name=st.sampled_from(["vectors.safetensors", "rows.jsonl"]))
def test_any_changed_byte_is_noticed(at: float, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = write_embeddings(embeddings(), tmp_path_factory.mktemp("scans"))
    content = bytearray((folder / name).read_bytes())
    content[int(at * len(content))] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(BadFileError, match="is not as it was written"):
        read_embeddings(folder)


def test_folders_that_are_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"embeddings must be a folder with embeddings.json"):
        read_embeddings(tmp_path)
    folder = write_embeddings(embeddings(), tmp_path / "other")
    facts = json.loads((folder / "embeddings.json").read_text())
    (folder / "embeddings.json").write_text(json.dumps({**facts, "format": 2}))
    with pytest.raises(BadFileError, match="format 2, of another version"):
        read_embeddings(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vectors_NE": np.ones((5, 3), np.float32)}, "unit length"),
        ({"vectors_NE": np.full((5, 3), np.nan, np.float32)}, "unit length"),
        ({"rows": ()}, "one for each of 0 rows"),
        ({"origin": "a b"}, "of letters, figures and -"),
        ({"origin": ""}, "of letters, figures and -"),
    ],
)
def test_embeddings_check_themselves(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        embeddings(**changes)
    for columns in ({"a": float("nan")}, {"a": None}, {'a"': 1}, {"a": True}):
        with pytest.raises(ParameterError, match="column"):
            embeddings(1, rows=(EmbeddedRow(file="a.png", columns=columns),))  # type: ignore[arg-type]


def test_words_find_what_was_taken_in(scans: Path, colours: ColourEmbedder, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert take_in(store, scans, colours) == 5
    with ImageIndex.open(store, colours) as index:
        assert index.search("something green", 2)[0].path.stem == "1"
        best = index.search("something green", 1, where="columns.age > 51.5")[0]
        assert best.path.stem != "1"
        hit = index.search("red", 1)[0]
        assert (hit.picture.columns["run"], hit.width, hit.height) == ("sub-0", 30, 20)
        assert hit.path == (scans / "pictures/0.png").resolve()
        assert index.notes.columns == ("run", "age")
        # A scan that the index holds is a query, too, by its own vector.
        assert [hit.path.stem for hit in index.search(scans / "pictures/2.png", 1)] == ["2"]
        assert colours.pictures_seen == 0


def test_taking_in_again_is_the_same_as_once_and_more_can_come(
    scans: Path, colours: ColourEmbedder, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    take_in(store, scans, colours)
    take_in(store, scans, colours)
    more = shutil.copytree(scans, tmp_path / "more")
    Image.new("L", (30, 20), 250).save(more / "pictures/0.png")
    changed = embeddings(rows=tuple(replace(row, columns={"site": "A"}) for row in embeddings().rows))
    take_in(store, write_embeddings(changed, more), colours)
    with ImageIndex.open(store, colours) as index:
        assert len(index) == 6
        assert index.notes.columns == ("run", "age", "site")


def test_what_does_not_fit_is_refused_and_nothing_is_made(
    scans: Path, colours: ColourEmbedder, other_model: ColourEmbedder, no_text: ColourEmbedder, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with pytest.raises(FingerprintMismatchError, match=r"made for, fake:colours \(fake-1\), got fake:others"):
        take_in(store, scans, other_model)
    with pytest.raises(ParameterError, match="one that knows words"):
        take_in(store, scans, no_text)
    shutil.copy(scans / "pictures/0.png", scans / "pictures/3.png")
    with pytest.raises(ParameterError, match=r"all different, got 0.png and 3.png with the same bytes"):
        take_in(store, scans, colours)
    (scans / "pictures/3.png").unlink()
    with pytest.raises(BadFileError, match=r"3\.png"):
        take_in(store, scans, colours)
    assert not store.exists()


def test_pictures_and_what_was_taken_in_do_not_mix(
    scans: Path, album: Path, colours: ColourEmbedder, tmp_path: Path
) -> None:
    pictures, store = tmp_path / "pictures", tmp_path / "store"
    with ImageIndex.create(pictures, colours) as index:
        index.add_folder([album])
    with pytest.raises(FingerprintMismatchError, match=r"with vectors of made-elsewhere-1.*a store each"):
        take_in(pictures, scans, colours)
    take_in(store, scans, colours)
    with pytest.raises(FingerprintMismatchError, match="fake:colours with vectors of made-elsewhere-1"):
        ImageIndex.create(store, colours)
    other = write_embeddings(embeddings(origin="made-elsewhere-2"), scans)
    with pytest.raises(FingerprintMismatchError, match="made-elsewhere-2"):
        take_in(store, other, colours)


def test_an_index_that_took_in_leaves_the_picture_half_alone(
    scans: Path, album: Path, colours: ColourEmbedder, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    take_in(store, scans, colours)
    red, words = album / "red.png", "for an index whose vectors were taken in"
    with ImageIndex.open(store, colours) as index:
        attempts: list[Callable[[], object]] = [
            lambda: index.search(red),
            lambda: index.search(red.read_bytes()),
            lambda: index.search(Image.new("RGB", (9, 9))),
            lambda: index.add_folder([album]),
            lambda: index.add_files([red]),
            lambda: index.explain(red, "red"),
        ]
        for attempt in attempts:
            with pytest.raises(ParameterError, match=words):
                attempt()
        assert len(index) == 5
    with pytest.raises(ParameterError, match=words):
        Reindexing.open(store)
    assert colours.pictures_seen == 0


def test_a_copy_elsewhere_remembers_where_vectors_came_from(
    scans: Path, colours: ColourEmbedder, tmp_path: Path
) -> None:
    take_in(tmp_path / "store", scans, colours)
    with ImageIndex.open(tmp_path / "store", colours) as index:
        assert index.push(tmp_path / "copy") == 5
    with ImageIndex.open(tmp_path / "copy", colours) as copy:
        assert copy.model.origin == "made-elsewhere-1"
        assert copy.search("blue", 1)[0].path.stem == "2"


def test_stores_of_before_have_no_origin() -> None:
    assert CollectionModel(name="a", fingerprint="b", dim=3).origin == ""


def test_the_command(
    scans: Path,
    colours: ColourEmbedder,
    tmp_path: Path,
    run_vision: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (loading, taking_in):
        monkeypatch.setattr(module, "load_embedder", lambda *_: colours)
    monkeypatch.setattr("vision.retrieval.encoder.load_embedder", lambda *_: colours)
    store = tmp_path / "store"
    refused = run_vision("index", scans, "--from-embeddings", scans, "--store", store)
    assert refused.code == 2
    assert "error: --from-embeddings must be alone with --store" in refused.err
    told = run_vision("index", "--from-embeddings", scans, "--store", store)
    assert told.code == 0, told.err
    assert told.out == (
        f"5 taken in to {store}, searched by the words of fake:colours; vectors of made-elsewhere-1\n"
    )
    found = json.loads(run_vision("search", "yellow", "--store", store, "--json", "--all", "-k", 1).out)
    assert found[0]["run"] == "sub-3"
