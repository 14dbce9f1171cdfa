"""What a run writes into the store: metadata, and what is dropped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from data.errors import BadFileError, ParameterError
from data.photo_facts import Coordinates
from vision.retrieval.ingest import Ingest, IngestOptions
from vision.retrieval.picture import Picture, Place, folder_tags
from vision.retrieval.picture_reader import PictureReader
from vision.retrieval.summary import IndexSummary
from vision.store.edge_store import EdgeStore

Run = Callable[..., IndexSummary]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = EdgeStore.create(tmp_path / "store", 3)
    yield store
    store.close()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos/2024/Ünï trip"
    folder.mkdir(parents=True)
    exif = Image.Exif()
    exif.update({ExifTags.Base.Make: "Maker", ExifTags.Base.Model: "One"})
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:02:29 12:00:00"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "S", 2: (33.0, 30.0, 0.0), 3: "E", 4: (151.0, 0.0, 0.0)})
    Image.new("RGB", (40, 30), "red").save(folder / "a.jpg", exif=exif)
    return tmp_path / "photos"


def pictures(store: EdgeStore) -> list[Picture]:
    return [Picture.from_payload(row.payload) for row in store.scan()]


@pytest.fixture
def run(store: Any, photos: Path, colours: Any) -> Run:
    def run(*paths: Path, roots: tuple[Path, ...] = (photos,), **options: Any) -> IndexSummary:
        ingest = Ingest(store, colours, IngestOptions(**options), roots=roots)
        ingest.add(paths)
        return ingest.finish()

    return run


def test_everything_known_of_a_picture_is_in_its_payload(run: Run, store: Any, photos: Path) -> None:
    path = photos / "2024/Ünï trip/a.jpg"
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    run(path)
    (row,) = store.scan()
    payload = dict(row.payload)
    assert len(payload.pop("content")) == 64
    assert payload == {
        "size": path.stat().st_size,
        "width": 40,
        "height": 30,
        "format": "JPEG",
        "taken_at": "2024-02-29T12:00:00",
        "camera": "Maker One",
        "gps": {"lat": -33.5, "lon": 151.0},
        "files": [
            {
                "path": str(path),
                "mtime_ns": 1_700_000_000_123_456_789,
                "mtime": "2023-11-14T22:13:20+00:00",
                "tags": ["2024", "Ünï trip"],
            }
        ],
    }


def test_columns_and_captions_survive_a_move_a_copy_and_a_second_reading(
    run: Run, store: Any, photos: Path
) -> None:
    path = photos / "2024/Ünï trip/a.jpg"
    run(path)
    (row,) = store.scan()
    added = {"caption": "a red thing", "columns": {"kind": "thing", "certainty": 0.5}}
    store.replace_payload(row.id, {**row.payload, **added})
    run(path, rehash=True)
    path.rename(photos / "b.jpg")
    assert run(photos / "b.jpg").moved == 1
    shutil.copy(photos / "b.jpg", photos / "c.jpg")
    assert run(photos / "c.jpg").added == 1
    (picture,) = pictures(store)
    assert (picture.caption, picture.columns) == (added["caption"], added["columns"])
    assert [place.path.name for place in picture.places] == ["b.jpg", "c.jpg"]


def test_a_single_file_keeps_the_tags_it_has(run: Run, store: Any, photos: Path) -> None:
    path = photos / "2024/Ünï trip/a.jpg"
    run(path)
    run(path, roots=(), rehash=True)
    assert pictures(store)[0].places[0].tags == ("2024", "Ünï trip")


def test_tags_are_the_folders_below_the_root() -> None:
    assert folder_tags(Path("/a/b/c/d.jpg"), Path("/a")) == ("b", "c")
    assert folder_tags(Path("/a/b.jpg"), Path("/a")) == ()
    assert folder_tags(Path("/a/b.jpg"), None) == ()
    assert folder_tags(Path(os.fsdecode(b"/a/caf\xe9/b.jpg")), Path("/a")) == ("caf�",)


def test_payloads_of_before_still_load() -> None:
    old = {
        "content": "0" * 64,
        "size": 1,
        "width": 2,
        "height": 3,
        "format": "PNG",
        "files": [{"path": "/a.png", "mtime_ns": 5}],
    }
    picture = Picture.from_payload(old)
    assert (picture.taken_at, picture.camera, picture.gps, picture.caption, picture.columns) == (
        *[None] * 4,
        {},
    )
    assert picture.places == (Place(path=Path("/a.png"), mtime_ns=5),)


@given(
    gps=st.none() | st.builds(Coordinates, st.floats(-90, 90), st.floats(-180, 180)),
    mtime_ns=st.integers(-(2**63), 2**63 - 1),
    words=st.none() | st.text(),
    columns=st.dictionaries(st.text(), st.text() | st.integers() | st.floats(allow_nan=False)),
)
def test_a_picture_comes_back_from_its_payload(gps: Any, mtime_ns: int, words: Any, columns: Any) -> None:
    place = Place(path=Path("/x/y.jpg"), mtime_ns=mtime_ns, tags=("x",))
    known = {"taken_at": words, "camera": words, "caption": words, "gps": gps, "columns": columns}
    picture = Picture(content="ab", size=1, width=1, height=1, format="GIF", places=(place,), **known)
    assert Picture.from_payload(picture.to_payload()) == picture


def test_forgetting_takes_what_is_gone_and_nothing_else(
    run: Run, store: Any, photos: Path, colours: Any
) -> None:
    paths = [photos / name for name in ("x.png", "trip/y.png", "trip/z.png", "trippy.png")]
    (photos / "trip").mkdir()
    for number, path in enumerate(paths):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(path)
    run(*paths)

    def forget(*names: str) -> int:
        ingest = Ingest(store, colours, IngestOptions(), roots=[photos])
        ingest.forget([photos / name for name in names])
        return ingest.finish().removed

    assert forget("x.png", "trip") == 0
    paths[0].unlink()
    assert forget("x.png") == 1
    shutil.rmtree(photos / "trip")
    assert forget("trip") == 2
    assert [picture.places[0].path.name for picture in pictures(store)] == ["trippy.png"]


@pytest.mark.parametrize("patterns", [{"include": ("",)}, {"exclude": ("!a",)}])
def test_patterns_are_checked_with_the_options(patterns: Any) -> None:
    with pytest.raises(ParameterError, match="pattern must be"):
        IngestOptions(**patterns)


# Reading


def test_bytes_and_files_are_read_alike(photos: Path, colours: Any) -> None:
    reader = PictureReader(preprocess=colours.preprocess)
    path = photos / "2024/Ünï trip/a.jpg"
    picture, pixels_CHW = reader.read(path)
    again, same_CHW = reader.read(path.read_bytes())
    assert picture == again
    assert np.array_equal(pixels_CHW, same_CHW)
    assert (pixels_CHW.shape, pixels_CHW.dtype) == ((3, 8, 8), np.uint8)
    with pytest.raises(BadFileError, match="no picture in a format"):
        reader.read(b"words")


def test_fast_reads_large_jpegs_scaled_and_all_else_alike(tmp_path: Path, colours: Any) -> None:
    x, y = np.meshgrid(np.linspace(0, 255, 800), np.linspace(0, 255, 600))
    image = Image.fromarray(np.stack([x, y, x * y / 255], axis=-1).astype(np.uint8))
    noisy = np.random.default_rng(3).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    image.save(tmp_path / "a.jpg")
    image.save(tmp_path / "a.png")
    Image.fromarray(noisy).save(tmp_path / "noisy.jpg")
    exact, fast = (PictureReader(preprocess=colours.preprocess, decode=mode) for mode in ("exact", "fast"))
    assert fast.read(tmp_path / "a.jpg")[0] == exact.read(tmp_path / "a.jpg")[0]
    apart = np.abs(fast.read(tmp_path / "a.jpg")[1].astype(int) - exact.read(tmp_path / "a.jpg")[1])
    assert apart.max() <= 3
    assert np.array_equal(fast.read(tmp_path / "a.png")[1], exact.read(tmp_path / "a.png")[1])
    assert not np.array_equal(fast.read(tmp_path / "noisy.jpg")[1], exact.read(tmp_path / "noisy.jpg")[1])


def test_another_way_of_decoding_is_refused(colours: Any) -> None:
    with pytest.raises(ParameterError, match="decode must be one of"):
        PictureReader(preprocess=colours.preprocess, decode="quick")  # type: ignore[arg-type]
