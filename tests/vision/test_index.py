"""The index against a fake model: what is embedded, what is found, and what survives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from vision.retrieval import ImageIndex, IngestOptions
from vision.retrieval.picture import path_to_text, text_to_path
from vision.store.place import change_notes


def paint(path: Path, rgb: tuple[int, int, int], size: tuple[int, int] = (12, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, rgb).save(path)


def names(hits: list[Any]) -> list[str]:
    return [hit.path.name for hit in hits]


@pytest.fixture
def index(tmp_path: Path, colours: Any) -> Any:
    with ImageIndex.create(tmp_path / "store", colours) as index:
        yield index


# Finding


def test_words_pictures_and_vectors_find_the_same(index: Any, album: Path) -> None:
    summary = index.add_folder([album])
    assert str(summary) == "added 5, unchanged 0, removed 0, failed 0"
    assert summary.embedded == len(index) == 5
    by_word = index.search("something blue", k=5)
    assert names(by_word)[0] == "blue.png"
    assert len(by_word) == 5
    assert [hit.score for hit in by_word] == sorted((hit.score for hit in by_word), reverse=True)
    assert by_word[0].score == pytest.approx(1, abs=1e-5)
    assert (by_word[0].width, by_word[0].height, by_word[0].copies) == (22, 10, ())
    assert index.search(Image.new("RGB", (3, 3), "blue"), k=5) == by_word
    assert names(index.search(np.array([0.0, 0.0, 9.0]), k=1)) == ["blue.png"]
    assert len(index.search([0, 0, 1], k=99)) == 5


def test_scores_are_cosines(index: Any, album: Path, colours: Any, rng: np.random.Generator) -> None:
    index.add_folder([album])
    query = rng.normal(size=3)
    for hit in index.search(query, k=5):
        pixels = colours.preprocess(Image.open(hit.path))[None]  # by Pillow, as an independent twin
        vector = colours.encode_image(pixels)[0].numpy()
        assert hit.score == pytest.approx(vector @ query / np.linalg.norm(query), abs=1e-5)


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(index: Any, k: int) -> None:
    with pytest.raises(ParameterError, match=f"k must be a whole number of at least 1, got {k}"):
        index.search("red", k=k)


@pytest.mark.parametrize("query", ["", " \n"])
def test_an_empty_text_is_refused(index: Any, query: str) -> None:
    with pytest.raises(ParameterError, match="query must be some words"):
        index.search(query)


@pytest.mark.parametrize("query", [[1, 0], [0, 0, 0], [np.nan, 0, 1], [[1, 0, 0]]])
def test_a_vector_that_does_not_fit_is_refused(index: Any, query: Any) -> None:
    with pytest.raises(ParameterError, match="a finite vector of 3 numbers"):
        index.search(query)


def test_a_model_without_text_says_so(tmp_path: Path, album: Path, no_text: Any) -> None:
    with ImageIndex.create(tmp_path / "store", no_text) as index:
        index.add_folder([album])
        with pytest.raises(ParameterError, match="a text, which fake:colours cannot read"):
            index.search("red")
        assert names(index.search(Image.new("RGB", (3, 3), "red"), k=1)) == ["red.png"]


def test_an_empty_index_finds_nothing(index: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert str(index.add_folder([tmp_path / "empty"])) == "added 0, unchanged 0, removed 0, failed 0"
    assert index.search("red") == []


# Keeping up with the files


def test_a_second_run_embeds_and_reads_nothing(index: Any, album: Path, monkeypatch: Any) -> None:
    index.add_folder([album])
    monkeypatch.setattr("vision.retrieval.decode_pool.read_photo", None)
    summary = index.add_folder([album])
    assert str(summary) == "added 0, unchanged 5, removed 0, failed 0"
    assert summary.embedded == 0


def test_a_touched_file_is_read_but_not_embedded(index: Any, album: Path) -> None:
    index.add_folder([album])
    os.utime(album / "red.png", ns=(1, 1))
    summary = index.add_folder([album])
    assert (summary.unchanged, summary.embedded, summary.changed) == (5, 0, 0)
    assert names(index.search("red", k=1)) == ["red.png"]


def test_a_moved_file_is_not_embedded_again(index: Any, album: Path) -> None:
    index.add_folder([album])
    (album / "new").mkdir()
    (album / "red.png").rename(album / "new/rouge.png")
    summary = index.add_folder([album])
    assert str(summary) == "added 0, unchanged 4, removed 0, failed 0, moved 1"
    assert summary.embedded == 0
    (hit,) = index.search("red", k=1)
    assert (hit.path, hit.copies) == (album / "new/rouge.png", ())


def test_a_changed_file_is_embedded_again(index: Any, album: Path) -> None:
    index.add_folder([album])
    paint(album / "red.png", (0, 0, 200))
    summary = index.add_folder([album])
    assert str(summary) == "added 0, unchanged 4, removed 0, failed 0, changed 1"
    assert (summary.embedded, len(index)) == (1, 5)
    assert set(names(index.search("blue", k=2))) == {"blue.png", "red.png"}


def test_a_deleted_file_leaves(index: Any, album: Path) -> None:
    index.add_folder([album])
    (album / "red.png").unlink()
    assert "red.png" not in names(index.search("red", k=5))  # before the next run, too
    assert str(index.add_folder([album])) == "added 0, unchanged 4, removed 0, failed 0"
    assert len(index) == 5
    assert "red.png" not in names(index.search("red", k=5))
    summary = index.add_folder([album], prune=True)
    assert str(summary) == "added 0, unchanged 4, removed 1, failed 0"
    assert len(index) == 4


def test_what_is_left_out_later_stays_until_it_is_pruned(index: Any, album: Path) -> None:
    index.add_folder([album])
    options = IngestOptions(exclude=("below/",))
    assert str(index.add_folder([album], options=options)) == "added 0, unchanged 3, removed 0, failed 0"
    assert len(index) == 5
    assert index.add_folder([album], options=options, prune=True).removed == 2
    assert len(index) == 3
    assert index.add_folder([album]).added == 2
    only = IngestOptions(include=("*.jpg",))
    assert str(index.add_folder([album], options=only, prune=True)) == (
        "added 0, unchanged 0, removed 5, failed 0"
    )


def test_deletions_beyond_k_do_not_shorten_the_answer(index: Any, tmp_path: Path) -> None:
    for number in range(12):
        paint(tmp_path / f"many/{number:02}.png", (250 - number, 0, 0))
    index.add_folder([tmp_path / "many"])
    for number in range(0, 12, 2):
        (tmp_path / f"many/{number:02}.png").unlink()
    assert len(index.search("red", k=4)) == 4


def test_files_outside_the_given_roots_stay(index: Any, album: Path, tmp_path: Path) -> None:
    paint(tmp_path / "albums/x.png", (9, 9, 9))  # a sibling whose name begins alike
    index.add_folder([tmp_path / "albums", album])
    (tmp_path / "albums/x.png").unlink()
    (album / "red.png").unlink()
    assert index.add_folder([album], prune=True).removed == 1
    assert index.add_folder([tmp_path / "albums"], prune=True).removed == 1


def test_copies_are_one_picture_in_several_places(index: Any, album: Path) -> None:
    index.add_folder([album])
    for name in ("copy b.png", "copy a.png"):
        shutil.copy(album / "red.png", album / name)
    summary = index.add_folder([album])
    assert str(summary) == "added 2, unchanged 5, removed 0, failed 0"
    assert (summary.embedded, len(index)) == (0, 5)
    first, second = index.search("red", k=2)
    assert (first.path, first.copies) == (album / "copy a.png", (album / "copy b.png", album / "red.png"))
    assert second.path.name != "red.png"
    (album / "copy a.png").unlink()
    assert index.search("red", k=1)[0].path == album / "copy b.png"
    assert index.add_folder([album], prune=True).removed == 1


def test_copies_in_one_batch_are_embedded_once(index: Any, album: Path, colours: Any) -> None:
    shutil.copy(album / "red.png", album / "again.png")
    summary = index.add_folder([album])
    assert (summary.added, summary.embedded, colours.pictures_seen) == (6, 5, 5)


def test_two_files_that_swap_names_are_not_embedded_again(index: Any, album: Path) -> None:
    index.add_folder([album])
    (album / "red.png").rename(album / "x")
    (album / "blue.png").rename(album / "red.png")
    (album / "x").rename(album / "blue.png")
    summary = index.add_folder([album])
    assert (summary.changed, summary.embedded, len(index)) == (2, 0, 5)
    assert names(index.search("red", k=1)) == ["blue.png"]


def test_a_file_that_goes_bad_leaves_the_results(index: Any, album: Path) -> None:
    index.add_folder([album])
    (album / "red.png").write_bytes(b"")
    summary = index.add_folder([album])
    assert str(summary) == "added 0, unchanged 4, removed 0, failed 1"
    assert len(index) == 4
    assert "red.png" not in names(index.search("red", k=9))


def test_bad_files_are_listed_and_indexing_goes_on(index: Any, album: Path) -> None:
    (album / "a.jpg").write_bytes(b"")
    (album / "b.jpg").write_text("not a picture")
    (album / "c.png").write_bytes((album / "red.png").read_bytes()[:-30])
    summary = index.add_folder([album], options=IngestOptions(batch_size=2))
    assert (summary.added, [failure.path.name for failure in summary.failed]) == (
        5,
        ["a.jpg", "b.jpg", "c.png"],
    )
    assert summary.failed[0].reason == "an empty file (0 bytes)"
    assert summary.failed[1].reason == "no picture in a format that is read here"
    assert index.add_folder([album]).failed == summary.failed


def test_a_same_sized_rewrite_with_its_time_set_back_needs_rehash(index: Any, tmp_path: Path) -> None:
    path = tmp_path / "p/a.bmp"
    paint(path, (255, 0, 0))
    index.add_folder([tmp_path / "p"])
    before = path.stat()
    paint(path, (0, 0, 255))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert index.add_folder([tmp_path / "p"]).unchanged == 1
    assert index.add_folder([tmp_path / "p"], options=IngestOptions(rehash=True)).changed == 1
    assert index.add_folder([tmp_path / "p"], options=IngestOptions(rehash=True)).unchanged == 1


def test_pictures_without_a_finite_vector_are_failures(index: Any, album: Path, monkeypatch: Any) -> None:
    honest = index.backbone.encode_image

    def broken(pixels_BCHW: torch.Tensor) -> torch.Tensor:
        vectors_BE = honest(pixels_BCHW)
        vectors_BE[1] = float("nan")
        return vectors_BE

    monkeypatch.setattr(index.backbone, "encode_image", broken)
    summary = index.add_folder([album])
    assert (summary.added, summary.embedded, len(index)) == (4, 4, 4)
    assert [failure.reason for failure in summary.failed] == ["a picture that the model cannot embed"]


def test_odd_names_survive_the_store(index: Any, tmp_path: Path) -> None:
    odd = ["two\nlines.png", "Ünï Ж 日本.png", "raw:%41.png", "[bold]x.png"]
    if sys.platform != "darwin":
        odd.append(os.fsdecode(b"caf\xe9.png"))
    for number, name in enumerate(odd):
        paint(tmp_path / "odd" / name, (0, 40 * number, 255))
    index.add_folder([tmp_path / "odd"])
    assert sorted(names(index.search("blue", k=9))) == sorted(odd)
    assert index.add_folder([tmp_path / "odd"]).unchanged == len(odd)


@pytest.mark.parametrize("name", [b"/a/b.jpg", b"/caf\xe9/%41", "/é/日本".encode(), b"/\xff"])
def test_paths_as_text_and_back(name: bytes) -> None:
    path = Path(os.fsdecode(name))
    text = path_to_text(path)
    text.encode("utf-8")
    assert text_to_path(text) == path


def test_progress_ends_at_the_total_and_never_falls(index: Any, album: Path) -> None:
    seen: list[tuple[int, int]] = []
    options = IngestOptions(batch_size=2)
    index.add_folder([album], progress=lambda done, total: seen.append((done, total)), options=options)
    assert seen[-1] == (5, 5)
    assert seen == sorted(seen)


def test_add_files_looks_at_nothing_else(index: Any, album: Path) -> None:
    index.add_folder([album])
    (album / "red.png").unlink()
    paint(album / "new.png", (1, 2, 3))
    assert str(index.add_files([album / "new.png"])) == "added 1, unchanged 0, removed 0, failed 0"


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"decode_workers": 0}])
def test_options_must_be_positive(options: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match="must be a whole number of at least 1, got 0"):
        IngestOptions(**options)


# Opening


def test_it_opens_again_and_remembers_its_model(tmp_path: Path, album: Path, colours: Any) -> None:
    with ImageIndex.create(tmp_path / "store", colours) as index:
        index.add_folder([album])
    with ImageIndex.open(tmp_path / "store") as index:
        assert (index.model.name, index.model.fingerprint, index.model.dim) == (
            "fake:colours",
            "fake-1+exact",
            3,
        )
        assert names(index.search([1, 0, 0], k=1)) == ["red.png"]  # a vector needs no model
    with ImageIndex.create(tmp_path / "store", colours) as index:
        assert str(index.add_folder([album])) == "added 0, unchanged 5, removed 0, failed 0"


@pytest.mark.parametrize("opening", [ImageIndex.open, ImageIndex.create])
def test_another_model_is_refused_with_both_named(
    tmp_path: Path, colours: Any, other_model: Any, opening: Any
) -> None:
    ImageIndex.create(tmp_path / "store", colours).close()
    with pytest.raises(FingerprintMismatchError) as refusal:
        opening(tmp_path / "store", other_model)
    assert "fake:colours (fake-1+exact)" in str(refusal.value)
    assert "fake:others (fake-2+exact)" in str(refusal.value)
    ImageIndex.open(tmp_path / "store", colours).close()  # and lets go of the store


def test_a_model_that_changed_under_its_name_is_refused(
    tmp_path: Path, album: Path, colours: Any, monkeypatch: Any
) -> None:
    with ImageIndex.create(tmp_path / "store", colours) as index:
        index.add_folder([album])
    newer = type(colours)(fingerprint="fake-1b")
    monkeypatch.setattr("vision.backbones.load_backbone", lambda name: newer)
    with (
        ImageIndex.open(tmp_path / "store") as index,
        pytest.raises(FingerprintMismatchError, match="have changed since"),
    ):
        index.search("red")


def test_roots_must_be_folders(index: Any, album: Path) -> None:
    with pytest.raises(BadFileError, match="got nothing there"):
        index.add_folder([album, album / "nowhere"])
    with pytest.raises(BadFileError, match="got a file"):
        index.add_folder([album / "red.png"])
    assert len(index) == 0


# Killed


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path, colours: Any) -> None:
    count = 240
    for number in range(count):
        paint(tmp_path / f"photos/{number:03}.png", (number, 255 - number, number // 2), size=(64, 64))
    here = Path(__file__)
    script = [here.with_name("kill_indexing.py"), here.with_name("conftest.py")]
    done = subprocess.run(
        [sys.executable, *script, tmp_path / "store", tmp_path / "photos"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stderr) == (0, "")
    deaths, midway = map(int, done.stdout.split())
    assert deaths >= 5
    assert midway >= 2
    with ImageIndex.open(tmp_path / "store", colours) as index:
        assert len(index) == count
        found = index.search([1, 1, 1], k=count)
        assert sorted(hit.path.name for hit in found) == [f"{number:03}.png" for number in range(count)]
        assert (
            str(index.add_folder([tmp_path / "photos"])) == f"added 0, unchanged {count}, removed 0, failed 0"
        )


def test_what_threads_note_at_the_same_time_is_all_kept(index: Any) -> None:
    """A search that draws its sample writes notes, too, while another thread indexes."""
    place, model = index._place, index.model

    def note(field: str) -> None:
        for number in range(1, 101):
            change_notes(place, model, **{field: number})
            assert getattr(place.notes(model), field) == number

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(note, ["sampled_of", "captions", "recall"]))
    notes = place.notes(model)
    assert (notes.sampled_of, notes.captions, notes.recall) == (100, 100, 100)
