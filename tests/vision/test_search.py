"""Searches in an index: sums of terms, filters, captions, relevance, and pictures that need no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.errors import BadFileError, ParameterError
from vision.retrieval import ImageIndex, Query
from vision.retrieval.hits import fused_order, passes


@pytest.fixture
def index(album: Path, tmp_path: Path, colours: Any) -> Any:
    with ImageIndex.create(tmp_path / "s", colours) as index:
        index.add_folder([album])
        yield index


@pytest.fixture
def crowd(tmp_path: Path, colours: Any, rng: np.random.Generator) -> Any:
    """A hundred greys of all shades and casts, and one bright red."""
    folder = tmp_path / "crowd"
    folder.mkdir()
    for number in range(100):
        shade = 60 + 1.3 * number + rng.integers(-25, 25, 3)
        Image.new("RGB", (9, 9), tuple(map(int, shade))).save(folder / f"{number}.png")
    Image.new("RGB", (9, 9), (255, 0, 0)).save(folder / "red.png")
    with ImageIndex.create(tmp_path / "c", colours) as index:
        index.add_folder([folder])
        yield index


def names(hits: Any) -> list[str]:
    return [hit.path.name for hit in hits]


def test_terms_add_and_take_away(index: Any, album: Path) -> None:
    assert names(index.search(Query.of("red").plus("green"), 1)) == ["yellow.png"]
    assert names(index.search(Query.of("yellow").minus("green"), 1)) == ["red.png"]
    both = Query.of(album / "red.png").like(album / "below/yellow.png").minus("red", 0.2)
    assert names(index.search(both, 1)) == ["yellow.png"]
    with pytest.raises(ParameterError, match="take each other away"):
        index.search(Query.of("red").minus("red"))
    with pytest.raises(ParameterError, match="query must be something to look for, got nothing"):
        index.search(Query())


def test_a_picture_that_the_index_holds_needs_no_model(index: Any, album: Path, colours: Any) -> None:
    seen = colours.pictures_seen
    assert names(index.search(album / "red.png", 1)) == ["red.png"]
    assert colours.pictures_seen == seen
    red = (album / "red.png").read_bytes()
    assert index.search(red, 1)[0].score == pytest.approx(1, abs=1e-5)
    assert colours.pictures_seen == seen + 1
    (album / "red.png").write_bytes((album / "blue.png").read_bytes())
    assert names(index.search(album / "red.png", 1)) == ["blue.png"]
    assert colours.pictures_seen == seen + 2
    with pytest.raises(BadFileError, match="picture must be a readable picture"):
        index.search(b"no picture")
    with pytest.raises(BadFileError, match=r"gone\.png"):
        index.search(album / "gone.png")


def test_filters_narrow(index: Any) -> None:
    assert names(index.search("red", where="width >= 23")) == ["yellow.png", "white.png"]
    assert names(index.search("red", where="tags contains 'below'")) == ["yellow.png", "white.png"]
    assert index.search("red", where="width > 1000") == []
    with pytest.raises(ParameterError, match=r"did you mean width"):
        index.search("red", where="widht > 3")


def test_columns_are_added_kept_and_filtered_by(index: Any, album: Path) -> None:
    ids = {hit.path.name: hit.id for hit in index.search("red")}
    rows = [(ids["red.png"], {"kind": "warm", "kind_probability": 0.9}), ("0" * 32, {"kind": "none"})]
    assert index.set_columns(rows) == 1
    assert names(index.search("blue", where="columns.kind = 'warm'")) == ["red.png"]
    assert names(index.search("blue", where="columns.kind_probability > 0.5")) == ["red.png"]
    (album / "red.png").rename(album / "tomato.png")
    index.add_folder([album])
    hit = index.search("blue", where="columns.kind = 'warm'")[0]
    assert (hit.path.name, hit.picture.columns["kind"]) == ("tomato.png", "warm")


def test_captions_are_searched_with_the_pictures(index: Any, album: Path) -> None:
    captions = {album / "green.png": "three red apples", album / "blue.png": "the sea", album / "x.png": "?"}
    assert index.set_captions(captions) == (2, 1)
    hits = index.search("red apple", k=3)
    assert names(hits)[:2] == ["green.png", "red.png"]
    assert [hit.by_caption for hit in hits] == [True, False, False]
    assert hits[0].score < hits[1].score
    assert names(index.search("red apple", k=1, captions=0)) == ["red.png"]
    assert set(names(index.search("red sea", where="caption is not null"))) == {"blue.png", "green.png"}


def test_ranks_are_fused() -> None:
    assert fused_order(["a", "b", "c"], [], 1) == ["a", "b", "c"]
    assert fused_order(["a", "b", "c"], ["c"], 1)[0] == "c"
    assert fused_order(["a", "b", "c"], ["c"], 0.001) == ["a", "b", "c"]
    assert fused_order(["a"], ["z"], 2) == ["z", "a"]


def test_what_stands_out_is_relevant_and_the_rest_is_not(crowd: Any) -> None:
    hits = crowd.search("red", k=8)
    assert names(hits)[0] == "red.png"
    assert hits[0].relevance > 0.9
    assert all(hit.relevance < 0.5 for hit in hits[1:])
    assert [passes(hit, 0.5) for hit in hits] == [True] + [False] * 7
    assert not any(passes(hit, 0.5) for hit in crowd.search("yellow", k=8, where="path contains '1'"))


def test_a_small_collection_tells_no_relevance(index: Any) -> None:
    hits = index.search("red")
    assert {hit.relevance for hit in hits} == {None}
    assert all(passes(hit, 0.5) for hit in hits)


def test_the_background_follows_the_collection(crowd: Any, tmp_path: Path, album: Path) -> None:
    crowd.search("red")
    assert crowd.notes.sampled_of == 101
    crowd.add_folder([album])
    crowd.search("red")
    assert crowd.notes.sampled_of == 101
    crowd.close()
    with ImageIndex.open(tmp_path / "c", crowd.backbone) as again:
        again.search("red")
        assert again.notes.sampled_of == 101  # five more of a hundred and one change little
        for number in range(30):
            Image.new("RGB", (9, 9), (number * 8, 0, 0)).save(album / f"more{number}.png")
        again.add_folder([album])
        again.search("red")
        assert again.notes.sampled_of == 136


def test_texts_are_ranked_for_a_picture(index: Any, album: Path) -> None:
    ranked = index.rank_texts(album / "blue.png", ["a red one", "a blue one", "a white one"])
    assert [text for text, _ in ranked] == ["a blue one", "a white one", "a red one"]
    assert ranked[0][1] == pytest.approx(1, abs=1e-5)


def test_hits_are_ready_for_json(index: Any, album: Path) -> None:
    index.set_captions({album / "red.png": "warm"})
    assert index.search("red", k=1)[0].to_dict() == {
        "score": 1.0,
        "relevance": None,
        "path": str(album / "red.png"),
        "copies": [],
        "width": 20,
        "height": 10,
        "caption": "warm",
    }


def test_an_optimised_index_says_what_it_finds(crowd: Any) -> None:
    assert crowd.recall is None
    paths = [hit.path for hit in crowd.search("white", k=20)]
    crowd.set_captions({path: "rather red" for path in paths})
    seen: list[tuple[int, int]] = []
    recall = crowd.optimize(lambda done, total: seen.append((done, total)))
    assert crowd.facts().graph_rows == 101
    assert seen[-1] == (101, 101)
    assert recall.estimate > 0.99
    assert crowd.recall == recall
    assert names(crowd.search("red", k=1, captions=0)) == ["red.png"]


@pytest.mark.parametrize("size", [1, 7, 60])
@pytest.mark.parametrize("captioned", [0, 70])
def test_pages_of_a_ranking_join(crowd: Any, size: int, captioned: int) -> None:
    """By sight alone, and with captions for more than are fused: what comes up never depends on k."""
    paths = [hit.path for hit in crowd.search("white", k=101)][:captioned]
    crowd.set_captions({path: "rather red" for path in paths})
    whole = crowd.search("red", k=101)
    pages = [crowd.search("red", k=size, offset=offset) for offset in range(0, 101, size)]
    joined = [hit for page in pages for hit in page]
    assert len({hit.id for hit in whole}) == len(whole) == 101
    assert [hit.id for hit in joined] == [hit.id for hit in whole]
    assert [hit.relevance for hit in joined] == [hit.relevance for hit in whole]
    assert crowd.search("red", k=3, offset=101) == []
    with pytest.raises(ParameterError, match="offset must be a whole number of at least 0, got -1"):
        crowd.search("red", offset=-1)


def test_browsing_shows_all_that_fits_once(crowd: Any) -> None:
    seen = [id for id, _ in crowd.browse()]
    assert sorted(seen) == seen
    assert len(seen) == len(crowd) == crowd.count() == 101
    assert [id for id, _ in crowd.browse(after=seen[40])] == seen[41:]
    narrow = "path contains 'crowd/3'"
    some = [(id, picture) for id, picture in crowd.browse(narrow)]
    assert len(some) == crowd.count(narrow) == len(crowd.pictures([id for id, _ in some]))
    assert all(picture.places[0].path.name.startswith("3") for _, picture in some)


def test_a_sentence_is_encoded_once(index: Any, colours: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    encode = colours.encode_text

    def counting(sentences: list[str]) -> Any:
        asked.append(list(sentences))
        return encode(sentences)

    monkeypatch.setattr(colours, "encode_text", counting)
    first = index.encode_texts(["red", "blue", "red"])
    again = index.encode_texts(["blue", "green"])
    assert asked == [["red", "blue"], ["green"]]
    np.testing.assert_array_equal(first[1], again[0])
    np.testing.assert_array_equal(first[0], first[2])
    index.encode_texts([f"red {number}" for number in range(300)])  # labels: they push no query out
    index.encode_texts(["red"])
    assert [len(sentences) for sentences in asked] == [2, 1, 300]
