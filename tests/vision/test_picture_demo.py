"""The picture demonstration with its real model on the photographs that scikit-image carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data.errors import BadFileError, MissingDependencyError
from vision import demo
from vision.retrieval import ImageIndex


def test_it_answers_and_draws_and_goes_on_where_it_was(
    tmp_path: Path, album: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = demo.run(tmp_path / "out", [album])
    out = capsys.readouterr().out
    count = len(demo.packaged_photographs())
    assert out.startswith(f"added {count}, unchanged 0, removed 0, failed 0\nadded 5, unchanged 0,")
    assert (first.count, first.model) == (count + 5, "embedded:lite")
    assert [answer.query for answer in first.answers] == list(demo.QUERIES)
    best = {answer.query: answer.hits[0].path.name for answer in first.answers}
    assert best["a cat"] == "chelsea.png"
    assert best["a cup of coffee"] == "coffee.png"
    assert best["a space rocket launching"] == "rocket.jpg"
    assert best["a man taking a photograph"] == "camera.png"
    assert best["coins"] == "coins.png"
    for answer in first.answers:
        assert answer.query in out
        assert answer.sheet.parent == tmp_path / "out/pictures"
        with Image.open(answer.sheet) as sheet:
            assert sheet.format == "JPEG"
    second = demo.run(tmp_path / "out", [album])
    assert capsys.readouterr().out.startswith(f"added 0, unchanged {count}, removed 0, failed 0\n")
    assert second == first


def test_its_own_index_is_made_anew_after_a_change_of_model(tmp_path: Path, colours: Any) -> None:
    ImageIndex.create(tmp_path / "index", type(colours)(fingerprint="older")).close()
    with demo._fresh_or_known(tmp_path / "index", colours) as index:
        assert index.model.fingerprint == "fake-1+exact"


def test_the_packaged_photographs_are_files_and_no_drawings() -> None:
    names = {path.name for path in demo.packaged_photographs()}
    assert {"chelsea.png", "coffee.png", "rocket.jpg", "camera.png", "coins.png"} <= names
    assert not names & {"logo.png", "phantom.png", "page.png"}


def test_a_missing_folder_or_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadFileError, match="photo folder must be a folder, got nothing there"):
        demo.run(tmp_path / "out", [tmp_path / "nowhere"])
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"chiasm\[embedded\]"):
        demo.packaged_photographs()
