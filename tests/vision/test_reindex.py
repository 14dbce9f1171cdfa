"""Turning an index over to another model: beside, whole, resumable, all kept but the vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from vision.retrieval import ImageIndex, IngestOptions
from vision.retrieval.reindex import Reindexing


@pytest.fixture
def store(album: Path, tmp_path: Path, colours: Any) -> Path:
    with ImageIndex.create(tmp_path / "s", colours) as index:
        index.add_folder([album])
        index.set_captions({album / "red.png": "a tomato"})
        index.set_columns([(index.search("green", k=1)[0].id, {"kind": "leaf"})])
    return tmp_path / "s"


class Mirrored:
    """Another model: what it sees it sees with red and blue exchanged."""

    def __init__(self, inner: Any, stop_after: int | None = None):
        self.inner, self.stop_after = inner, stop_after
        self.name, self.fingerprint, self.output_dim, self.has_text = "fake:mirrored", "fake-3", 3, True
        self.preprocess = inner.preprocess

    def encode_image(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        if self.stop_after is not None:
            if self.stop_after == 0:
                raise KeyboardInterrupt
            self.stop_after -= 1
        vectors: torch.Tensor = self.inner.encode_image(pixels_BCHW).flip(1)
        return vectors

    def encode_text(self, sentences: Any) -> torch.Tensor:
        vectors: torch.Tensor = self.inner.encode_text(sentences)
        return vectors


def turn_over(store: Path, model: Any, **options: Any) -> Any:
    with Reindexing.open(store) as work:
        return work.run(model, "exact", IngestOptions(**options))


def test_all_is_kept_but_the_vectors(store: Path, album: Path, colours: Any) -> None:
    summary = turn_over(store, Mirrored(colours))
    assert (summary.added, summary.failed, summary.unchanged) == (5, [], 0)
    with pytest.raises(FingerprintMismatchError, match=r"fake:mirrored .*got fake:colours"):
        ImageIndex.open(store, colours)
    with ImageIndex.open(store, Mirrored(colours)) as index:
        assert len(index) == 5
        assert index.search("red", k=1)[0].path == album / "blue.png"
        assert (
            index.search("x red tomato", k=5, where="caption contains 'tomato'")[0].path == album / "red.png"
        )
        assert [hit.path.name for hit in index.search("red", where="columns.kind = 'leaf'")] == ["green.png"]
        assert index.add_folder([album]).unchanged == 5
    assert len(list((store / "collections").iterdir())) == 1


def test_until_the_swap_searches_use_the_old_vectors_and_work_goes_on(
    store: Path, album: Path, colours: Any
) -> None:
    with pytest.raises(KeyboardInterrupt):
        turn_over(store, Mirrored(colours, stop_after=2), batch_size=1)
    with ImageIndex.open(store, colours) as index:
        assert index.search("red", k=1)[0].path == album / "red.png"
    summary = turn_over(store, Mirrored(colours), batch_size=1)
    assert (summary.unchanged, summary.added) == (2, 3)
    with ImageIndex.open(store, Mirrored(colours)) as index:
        assert len(index) == 5


def test_files_that_changed_or_went_are_told(store: Path, album: Path, colours: Any) -> None:
    (album / "red.png").write_bytes((album / "green.png").read_bytes())
    (album / "below" / "white.png").unlink()
    (album / "blue.png").write_bytes(b"")
    summary = turn_over(store, Mirrored(colours))
    assert (summary.added, summary.removed) == (2, 1)
    reasons = {failure.path.name: failure.reason for failure in summary.failed}
    assert reasons == {
        "red.png": "changed since; `vision index` takes it in",
        "blue.png": "an empty file (0 bytes)",
    }


def test_an_unplugged_disk_does_not_empty_the_index(store: Path, album: Path, colours: Any) -> None:
    album.rename(album.with_name("elsewhere"))
    with pytest.raises(BadFileError, match="pictures must be readable, got none of 5"):
        turn_over(store, Mirrored(colours))
    album.with_name("elsewhere").rename(album)
    with ImageIndex.open(store, colours) as index:
        assert len(index.search("red", k=9)) == 5


def test_the_same_model_is_nothing_to_do(store: Path, colours: Any) -> None:
    with pytest.raises(ParameterError, match="model must be another one than now, got fake-1"):
        turn_over(store, colours)
    with Reindexing.open(store) as work, pytest.raises(ParameterError, match="decode must be one of"):
        work.run(colours, "quick")  # type: ignore[arg-type]
    with Reindexing.open(store) as work:
        assert work.run(colours, "fast").added == 5
