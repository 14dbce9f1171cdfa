"""Values that pictures can be told apart by, against a count of what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vision.retrieval import ImageIndex


@pytest.fixture
def dated(tmp_path: Path, colours: Any) -> Any:
    """Pictures of three cameras and years, in folders, one without any of it."""
    folder = tmp_path / "dated"
    for number in range(9):
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = "Maker", f"Model {number % 3}"
        exif.get_ifd(0x8769)[0x9003] = f"{2019 + number % 2}:12:31 23:59:59"
        place = folder / ("sea" if number < 6 else "hills")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 10), "red").save(place / f"{number}.jpg", exif=exif)
    Image.new("RGB", (8, 8), "blue").save(folder / "plain.png")
    with ImageIndex.create(tmp_path / "s", colours) as index:
        index.add_folder([folder])
        yield index


def test_columns_list_what_pictures_have(dated: Any) -> None:
    assert dated.facets() == {
        "year": [("2020", 4), ("2019", 5)],
        "camera": [("Maker Model 0", 3), ("Maker Model 1", 3), ("Maker Model 2", 3)],
        "format": [("JPEG", 9), ("PNG", 1)],
        "tags": [("sea", 6), ("hills", 3)],
    }
    ids = [id for id, _ in dated.browse()]
    dated.set_columns((id, {"kind": "warm" if at else "cold", "sure": 0.5}) for at, id in enumerate(ids))
    assert dated.facets()["columns.kind"] == [("warm", 9), ("cold", 1)]
    assert "columns.sure" not in dated.facets()


def test_every_value_is_a_filter_that_finds_as_many(dated: Any) -> None:
    facets = dated.facets()
    for field, quoted in (("camera", "camera = '{}'"), ("tags", "tags contains '{}'")):
        for value, count in facets[field]:
            assert dated.count(quoted.format(value)) == count
    assert sum(count for _, count in facets["year"]) == dated.count("taken_at is not null")


def test_an_empty_index_has_none(tmp_path: Path, colours: Any) -> None:
    with ImageIndex.create(tmp_path / "e", colours) as index:
        assert index.facets() == {}
