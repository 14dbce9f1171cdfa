"""Explanations by way of an index: of what it holds and of what it does not, for any query."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.errors import BadFileError, ParameterError, UnknownNameError
from data.photos import load_photo
from vision.backbones import load_backbone
from vision.demo import packaged_photographs
from vision.explain import explain
from vision.retrieval import ImageIndex, Query


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageIndex]:
    with ImageIndex.create(tmp_path_factory.mktemp("s") / "store", load_backbone("embedded:lite")) as index:
        index.add_files(
            path for path in packaged_photographs() if path.stem in ("chelsea", "coffee", "rocket")
        )
        yield index


@pytest.fixture
def cat() -> Path:
    return next(path for path in packaged_photographs() if path.stem == "chelsea")


def test_an_index_explains_as_its_model_does(index: ImageIndex, cat: Path) -> None:
    found = index.explain(cat, "a cat")
    backbone = load_backbone("embedded:lite")
    truth = explain(backbone, load_photo(cat).pixels_HWC, backbone.encode_text(["a cat"])[0].numpy())
    np.testing.assert_allclose(found.map_RC, truth.map_RC, atol=1e-3)
    assert found.method == truth.method == index.explain_methods()[0]
    assert found.score == pytest.approx(index.search("a cat", 1)[0].score, abs=1e-4)


def test_bytes_and_sums_are_explained_too(index: ImageIndex, cat: Path) -> None:
    query = Query.of("a cat").minus("a cup of coffee", 0.5)
    by_path, by_bytes = index.explain(cat, query), index.explain(cat.read_bytes(), query)
    np.testing.assert_array_equal(by_path.map_RC, by_bytes.map_RC)
    assert by_path.score == pytest.approx(index.search(query, 1)[0].score, abs=1e-4)
    by_picture = index.explain(cat, cat)
    assert by_picture.score == pytest.approx(1, abs=1e-3)
    assert not np.allclose(by_picture.map_RC, by_path.map_RC)


def test_what_cannot_be_explained_says_why(index: ImageIndex, cat: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="picture must be a readable picture"):
        index.explain(b"no picture", "a cat")
    with pytest.raises(BadFileError, match=r"gone\.png"):
        index.explain(tmp_path / "gone.png", "a cat")
    with pytest.raises(ParameterError, match="query must be some words"):
        index.explain(cat, " ")
    with pytest.raises(UnknownNameError, match="method must be one that embedded:lite has, of grad-cam"):
        index.explain(cat, "a cat", method="tea leaves")


def test_a_tiny_picture_is_explained(index: ImageIndex) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 3), "orange").save(buffer, "PNG")
    found = index.explain(buffer.getvalue(), "an orange")
    assert found.on_picture(3, 1).shape == (3, 1)
    assert np.isfinite(found.map_RC).all()
