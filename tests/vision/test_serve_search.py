"""Searches over REST, against the index that they go to."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from data.errors import ParameterError
from tests.vision.asking import API, NOBODY, Serve, ids_by_name, problem
from vision.retrieval import ImageIndex, Query
from vision.retrieval.hits import passes
from vision.retrieval.search import Search
from vision.server import searching
from vision.server.cursors import write_cursor
from vision.server.schemas import SearchRequest
from vision.server.text_batches import TextBatches


def found(answer: Any) -> list[tuple[str, float]]:
    assert answer.status_code == 200, answer.text
    return [(one["id"], pytest.approx(one["score"], abs=1e-5)) for one in answer.json()["pictures"]]


def hits(index: ImageIndex, query: Any, **options: Any) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in index.search(query, **options)]


def named(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json()["pictures"]]


@pytest.fixture
def shades(tmp_path: Path) -> Path:
    """Sixty pictures from red to blue, no two alike, in two folders."""
    for number in range(60):
        folder = tmp_path / "shades" / ("warm" if number < 30 else "cold")
        folder.mkdir(parents=True, exist_ok=True)
        rgb = (255 - 4 * number, number % 7, 4 * number)
        Image.new("RGB", (10 + number, 12), rgb).save(folder / f"{number:02}.png")
    return tmp_path / "shades"


@pytest.fixture
def shades_index(tmp_path: Path, shades: Path, colours: Any) -> Any:
    with ImageIndex.create(tmp_path / "store", colours) as index:
        for folder in ("warm", "cold"):  # so few at once need no further process
            index.add_folder([shades / folder])
        yield index


def all_pages(client: Any, ask: dict[str, Any], k: int) -> list[dict[str, Any]]:
    pages, cursor = [], None
    while True:
        answer = client.post(f"{API}/search", json={**ask, "k": k, "cursor": cursor})
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        assert len(pages[-1]["pictures"]) + pages[-1]["left_out"] <= k
        cursor = pages[-1]["next"]
        if cursor is None:
            return pages
        assert len(pages) < 99


# What is found


def test_words_find_what_the_index_finds(client: Any, colour_index: ImageIndex, album: Path) -> None:
    answer = client.post(f"{API}/search", json={"terms": [{"text": " something blue "}]})
    assert found(answer) == hits(colour_index, "something blue", k=60)
    said = answer.json()
    assert (said["next"], said["fits"], said["left_out"], said["recall"]) == (None, 5, 0, None)
    assert said["took_ms"] > 0
    first = said["pictures"][0]
    assert (first["name"], first["path"], first["copies"]) == ("blue.png", f"{album}/blue.png", [])
    assert (first["width"], first["height"], first["format"], first["tags"]) == (22, 10, "PNG", [])
    assert first["size"] == (album / "blue.png").stat().st_size
    assert (first["taken_at"], first["caption"], first["columns"], first["by_caption"]) == (
        None,
        None,
        {},
        False,
    )
    assert first["relevance"] is None  # of so few pictures nobody can tell


def test_pictures_uploads_and_sums_find_what_the_index_finds(client: Any, colour_index: ImageIndex) -> None:
    by_name = ids_by_name(client)
    yellow = colour_index.store.vectors([by_name["yellow"]])[by_name["yellow"]]
    by_id = client.post(f"{API}/search", json={"terms": [{"id": by_name["yellow"]}]})
    assert found(by_id) == hits(colour_index, yellow, k=60)
    terms = [{"text": "red"}, {"text": "green", "weight": -0.5}, {"id": by_name["yellow"], "weight": 2}]
    query = Query.of("red").minus("green", 0.5).plus(yellow, 2)
    assert found(client.post(f"{API}/search", json={"terms": terms})) == hits(colour_index, query, k=60)


def test_feedback_turns_a_query(client: Any, colour_index: ImageIndex) -> None:
    by_name = ids_by_name(client)
    vectors = colour_index.store.vectors([*by_name.values()])
    more, less = ([vectors[by_name[name]]] for name in ("blue", "yellow"))
    ask = {"terms": [{"text": "red"}], "more_like": [by_name["blue"]], "less_like": [by_name["yellow"]]}
    query = Query.of("red").feedback(more, less)
    assert found(client.post(f"{API}/search", json=ask)) == hits(colour_index, query, k=60)
    alone = client.post(f"{API}/search", json={"more_like": [by_name["blue"]]})
    assert found(alone) == hits(colour_index, Query().feedback(more), k=60)


def test_a_picture_that_was_sent_finds_its_like(client: Any, colour_index: ImageIndex, album: Path) -> None:
    data = (album / "below/white.png").read_bytes()
    sent = client.post(f"{API}/uploads", content=data, headers={"content-type": "image/png"})
    assert sent.status_code == 201
    answer = client.post(f"{API}/search", json={"terms": [{"upload": sent.json()["id"]}]})
    assert found(answer) == hits(colour_index, data, k=60)
    assert named(answer)[0] == "white.png"


def test_the_short_form_asks_the_same(client: Any) -> None:
    short = client.get(
        f"{API}/search", params={"q": ["red", "blue"], "minus": "green", "k": 3, "where": "width > 19"}
    )
    terms = [{"text": "red"}, {"text": "blue"}, {"text": "green", "weight": -1}]
    long = client.post(f"{API}/search", json={"terms": terms, "k": 3, "where": "width > 19"})
    assert len(found(short)) == 3
    assert short.json() | {"took_ms": 0} == long.json() | {"took_ms": 0}
    follow = client.get(
        f"{API}/search",
        params={
            "q": ["red", "blue"],
            "minus": "green",
            "k": 3,
            "where": "width > 19",
            "cursor": long.json()["next"],
        },
    )
    assert len(found(follow)) == 2


def test_similar_pictures_leave_out_the_one_asked_about(serve: Serve, shades_index: ImageIndex) -> None:
    client = serve(shades_index)
    me = client.post(f"{API}/search", json={"terms": [{"text": "red"}], "cut": 0, "k": 1}).json()["pictures"][
        0
    ]["id"]
    vector = shades_index.store.vectors([me])[me]
    others = [hit for hit in hits(shades_index, vector, k=60) if hit[0] != me]
    assert len(others) == 59
    for k in (1, 7, 59, 60):
        seen: list[Any] = []
        cursor = None
        while True:
            ask = {"k": k, "cut": 0} | ({"cursor": cursor} if cursor else {})
            page = client.get(f"{API}/pictures/{me}/similar", params=ask)
            seen += found(page)
            cursor = page.json()["next"]
            if cursor is None or len(seen) > 60:
                break
            assert len(page.json()["pictures"]) == k
        assert seen == others


def test_a_filter_narrows_and_counts(serve: Serve, shades_index: ImageIndex) -> None:
    client = serve(shades_index)
    where = "width >= 20 and tags is null and path contains 'warm'"
    answer = client.post(f"{API}/search", json={"terms": [{"text": "red"}], "where": where, "cut": 0, "k": 5})
    assert answer.json()["fits"] == 20
    assert found(answer) == hits(shades_index, "red", k=5, where=where)
    browsed = client.post(f"{API}/search", json={"where": where})
    assert (browsed.json()["fits"], len(named(browsed))) == (20, 20)
    assert {one["score"] for one in browsed.json()["pictures"]} == {None}


NO_FILTERS = (
    "",
    "width",
    "widht > 3",
    "width > 'much'",
    "taken_at > 'soon'",
    "path = 'x' or",
    "'",
    "(" * 99,
    "near(99, 0, 1)",
)


def test_a_bad_filter_is_refused_in_the_words_of_the_command_line(
    client: Any, colour_index: ImageIndex
) -> None:
    for where in NO_FILTERS:
        with pytest.raises(ParameterError) as error:
            colour_index.count(where)
        for ask in ({"terms": [{"text": "red"}]}, {}):
            answer = client.post(f"{API}/search", json={**ask, "where": where})
            assert problem(answer, "unprocessable", 422) == str(error.value)


def test_numbers_that_no_computer_holds_are_no_filter(client: Any) -> None:
    for number in ("1e999", "9" * 400, "-" + "9" * 309):
        answer = client.post(f"{API}/search", json={"where": f"width < {number}"})
        assert "a number for width" in problem(answer, "unprocessable", 422)
    for number in ("9" * 300, "1e-300", "0.1"):
        assert client.post(f"{API}/search", json={"where": f"width > {number}"}).status_code == 200


def test_captions_find_pictures_and_can_be_left_alone(
    client: Any, colour_index: ImageIndex, album: Path
) -> None:
    colour_index.set_captions({album / "green.png": "a red herring"})
    ask = {"terms": [{"text": "red herring"}]}
    answer = client.post(f"{API}/search", json=ask)
    assert found(answer) == hits(colour_index, "red herring", k=60)
    by_caption = {one["name"]: one["by_caption"] for one in answer.json()["pictures"]}
    assert by_caption == {
        "red.png": False,
        "green.png": True,
        "blue.png": False,
        "yellow.png": False,
        "white.png": False,
    }
    assert next(one["caption"] for one in answer.json()["pictures"] if one["by_caption"]) == "a red herring"
    without = client.post(f"{API}/search", json={**ask, "captions": 0}).json()["pictures"]
    assert not any(one["by_caption"] for one in without)
    heavy = client.post(f"{API}/search", json={**ask, "captions": 10})
    assert named(heavy)[0] == "green.png"


def test_what_is_unlikely_is_left_out_and_counted(serve: Serve, shades_index: ImageIndex) -> None:
    client = serve(shades_index)
    every = shades_index.search("red", k=60)
    chances = sorted({hit.relevance for hit in every}, reverse=True)
    assert len(chances) > 3
    for cut in (0.0, chances[2], 1.0):
        answer = client.post(f"{API}/search", json={"terms": [{"text": "red"}], "cut": cut, "k": 60}).json()
        shown = [hit for hit in every if passes(hit, cut)]
        assert [one["id"] for one in answer["pictures"]] == [hit.id for hit in shown]
        assert [one["relevance"] for one in answer["pictures"]] == [hit.relevance for hit in shown]
        assert answer["left_out"] == 60 - len(shown)
    # The pages end with the first that has nothing to show, not with the last picture.
    ask = {"terms": [{"text": "red"}], "cut": chances[2]}
    pages = all_pages(client, ask, k=5)
    count = sum(len(page["pictures"]) for page in pages)
    assert count == sum(passes(hit, chances[2]) for hit in every)
    assert len(pages) < 12


def test_files_that_are_gone_are_passed_over(client: Any, album: Path) -> None:
    (album / "red.png").unlink()
    assert "red.png" not in named(client.post(f"{API}/search", json={"terms": [{"text": "red"}]}))
    pages = all_pages(client, {}, k=3)
    assert [len(page["pictures"]) for page in pages] == [3, 1]
    assert "red.png" not in [one["name"] for page in pages for one in page["pictures"]]


def test_the_recall_is_told_where_a_graph_was_searched(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageIndex, "recall", "0.99 of the truth")
    assert (
        client.post(f"{API}/search", json={"terms": [{"text": "red"}]}).json()["recall"]
        == "0.99 of the truth"
    )
    assert client.post(f"{API}/search", json={}).json()["recall"] is None


# Pages


@pytest.mark.parametrize("where", [None, "path contains 'cold'"])
def test_pages_of_a_ranking_join(serve: Serve, shades_index: ImageIndex, where: str | None) -> None:
    client = serve(shades_index)
    ask = {"terms": [{"text": "blue"}], "cut": 0, "where": where}
    for k in (1, 7, 60, 200):
        seen = [one["id"] for page in all_pages(client, ask, k) for one in page["pictures"]]
        assert seen == [hit.id for hit in shades_index.search("blue", k=60, where=where)]
        assert len(seen) == (60 if where is None else 30)


@pytest.mark.parametrize("where", [None, "path contains 'cold'"])
def test_pages_of_everything_join(serve: Serve, shades_index: ImageIndex, where: str | None) -> None:
    client = serve(shades_index)
    for k in (1, 7, 60, 200):
        seen = [one["id"] for page in all_pages(client, {"where": where}, k) for one in page["pictures"]]
        assert seen == [id for id, _ in shades_index.browse(where)]


def test_pages_of_words_and_captions_together_join(
    serve: Serve, shades_index: ImageIndex, shades: Path
) -> None:
    shades_index.set_captions({path: "blue sky" for path in sorted(shades.glob("warm/*"))[5:25]})
    ask = {"terms": [{"text": "blue sky"}], "cut": 0}
    seen = [one["id"] for page in all_pages(serve(shades_index), ask, 9) for one in page["pictures"]]
    assert seen == [hit.id for hit in shades_index.search("blue sky", k=60)]
    assert len(set(seen)) == 60


def test_the_length_of_a_page_may_change_on_the_way(serve: Serve, shades_index: ImageIndex) -> None:
    client = serve(shades_index)
    first = client.post(f"{API}/search", json={"terms": [{"text": "red"}], "cut": 0, "k": 10}).json()
    rest = client.post(
        f"{API}/search", json={"terms": [{"text": "red"}], "cut": 0, "k": 50, "cursor": first["next"]}
    )
    ids = [one["id"] for one in (*first["pictures"], *rest.json()["pictures"])]
    assert ids == [hit.id for hit in shades_index.search("red", k=60)]


def test_paging_ends_at_its_depth(
    serve: Serve, shades_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "DEPTH", 25)
    client = serve(shades_index)
    ask = {"terms": [{"text": "red"}], "cut": 0}
    assert [len(page["pictures"]) for page in all_pages(client, ask, 10)] == [10, 10, 5]
    key = [shades_index.model.key, SearchRequest(**ask).model_dump(mode="json", exclude={"cursor", "k"})]
    for offset in (25, 10**9, -1):
        answer = client.post(f"{API}/search", json={**ask, "cursor": write_cursor(offset, key)})
        assert "one of the first 25" in problem(answer, "unprocessable", 422)
    assert found(client.post(f"{API}/search", json={**ask, "k": 9, "cursor": write_cursor(24, key)}))


def test_a_cursor_belongs_to_its_query(serve: Serve, shades_index: ImageIndex) -> None:
    client = serve(shades_index)
    ask = {"terms": [{"text": "red"}], "cut": 0}
    cursor = client.post(f"{API}/search", json={**ask, "k": 2}).json()["next"]
    browsing = client.post(f"{API}/search", json={"k": 2}).json()["next"]
    assert found(client.post(f"{API}/search", json={**ask, "cursor": cursor}))
    for wrong in (
        {"terms": [{"text": "blue"}], "cut": 0, "cursor": cursor},
        {**ask, "where": "width > 1", "cursor": cursor},
        {**ask, "cut": 0.1, "cursor": cursor},
        {**ask, "cursor": cursor[:-2]},
        {**ask, "cursor": "A" + cursor},
        {**ask, "cursor": cursor[:3] + "_" + cursor[4:]},
        {**ask, "cursor": "é" * 20},
        {**ask, "cursor": "W1tbW1tb"},
        {**ask, "cursor": browsing},
        {"cursor": cursor},
        {"where": "width > 1", "cursor": browsing},
    ):
        sentence = problem(client.post(f"{API}/search", json=wrong), "unprocessable", 422)
        assert sentence == "cursor must be `next` of a page of this very query."
    for wrong in ("", " ", "../../etc/passwd", "A" * 201, "\0"):
        problem(client.post(f"{API}/search", json={**ask, "cursor": wrong}), "unprocessable", 422)


def test_a_forged_cursor_leads_nowhere(client: Any, colour_index: ImageIndex) -> None:
    key = [colour_index.model.key, SearchRequest().model_dump(mode="json", exclude={"cursor", "k"})]
    assert client.post(f"{API}/search", json={"cursor": write_cursor("0" * 32, key)}).status_code == 200
    for mark in ("", "nothing", "../../x", "0" * 31, 5, "\ud800"):
        answer = client.post(f"{API}/search", json={"cursor": write_cursor(mark, key)})
        problem(answer, "unprocessable", 422)


# What is refused


NO_SENSE: list[tuple[Any, str]] = [
    ({"terms": [{}]}, "body.terms.0"),
    ({"terms": [{"text": "red", "id": NOBODY}]}, "body.terms.0"),
    ({"terms": [{"text": " \n"}]}, "body.terms.0.text"),
    ({"terms": [{"text": "re\0d"}]}, "body.terms.0.text"),
    ({"terms": [{"text": "\ud800"}]}, "body.terms.0.text"),
    ({"terms": [{"id": "../../etc/passwd"}]}, "body.terms.0.id"),
    ({"terms": [{"upload": "../x"}]}, "body.terms.0.upload"),
    ({"terms": "red"}, "body.terms"),
    ({"k": "5"}, "body.k"),
    ({"k": True}, "body.k"),
    ({"k": None}, "body.k"),
    ({"cut": -0.1}, "body.cut"),
    ({"captions": 11}, "body.captions"),
    ({"offset": 5}, "body.offset"),
    ({"where": "tags = '\0'"}, "body.where"),
    ([], "body"),
]


def test_a_request_that_makes_no_sense_is_told_where(client: Any) -> None:
    for ask, at in NO_SENSE:
        answer = client.post(
            f"{API}/search", content=json.dumps(ask), headers={"content-type": "application/json"}
        )
        problem(answer, "unprocessable", 422)
        assert at in [error["at"] for error in answer.json()["errors"]]


NO_JSON = (b"{", b"[" * 100_000, b'{"k": ' + b"9" * 5000 + b"}", b'{"where": "\xff"}', b"\xfe\xff")


def test_a_body_that_is_no_json_is_problem(client: Any) -> None:
    for body in NO_JSON:
        answer = client.post(f"{API}/search", content=body, headers={"content-type": "application/json"})
        problem(answer, "bad-request", 400)
    # A form, which any page may send without asking first, is none either.
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        problem(
            client.post(f"{API}/search", content=b'{"k": 5}', headers={"content-type": media_type}),
            "unprocessable",
            422,
        )


def test_numbers_that_json_does_not_have_are_problem(client: Any) -> None:
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        for body in (f'{{"cut": {number}}}', f'{{"terms": [{{"text": "red", "weight": {number}}}]}}'):
            answer = client.post(f"{API}/search", content=body, headers={"content-type": "application/json"})
            problem(answer, "unprocessable", 422)


def test_pictures_that_are_not_there_are_told(client: Any) -> None:
    for ask in ({"terms": [{"id": NOBODY}]}, {"more_like": [NOBODY]}, {"less_like": [NOBODY]}):
        assert NOBODY in problem(client.post(f"{API}/search", json=ask), "not-found", 404)
    problem(client.get(f"{API}/pictures/{NOBODY}/similar"), "not-found", 404)
    answer = client.post(f"{API}/search", json={"terms": [{"upload": "nothing"}]})
    assert "send it again" in problem(answer, "not-found", 404)


def test_terms_that_take_each_other_away_are_told(client: Any) -> None:
    terms = [{"text": "red"}, {"text": "red", "weight": -1}]
    answer = client.post(f"{API}/search", json={"terms": terms})
    assert "take each other away" in problem(answer, "unprocessable", 422)
    answer = client.post(f"{API}/search", json={"terms": [{"text": "red", "weight": 0}]})
    assert "no term with a weight" in problem(answer, "unprocessable", 422)


def test_a_model_without_words_says_so(serve: Serve, tmp_path: Path, album: Path, no_text: Any) -> None:
    with ImageIndex.create(tmp_path / "store", no_text) as index:
        index.add_folder([album])
        client = serve(index)
        assert client.get(f"{API}/collections").json()["collections"][0]["has_text"] is False
        answer = client.post(f"{API}/search", json={"terms": [{"text": "red"}]})
        assert "cannot read" in problem(answer, "unprocessable", 422)
        assert "cannot read" in problem(client.get(f"{API}/search?q=red"), "unprocessable", 422)
        labels = {"labels": ["red", "blue"], "ids": [*ids_by_name(client).values()]}
        assert "cannot read" in problem(client.post(f"{API}/classify", json=labels), "unprocessable", 422)
        me = ids_by_name(client)["red"]
        assert named(client.post(f"{API}/search", json={"terms": [{"id": me}]}))[0] == "red.png"


# Several at once


class Gated:
    """The text tower of a model, which waits until the gate is opened, and notes what it was asked."""

    def __init__(self, model: Any, monkeypatch: pytest.MonkeyPatch):
        self.gate, self.calls = threading.Event(), list[list[str]]()
        self.arrived = threading.Semaphore(0)
        encode, ready = model.encode_text, TextBatches.ready

        def encode_text(sentences: Any) -> torch.Tensor:
            self.calls.append(list(sentences))
            assert self.gate.wait(60)
            return encode(sentences)

        async def noted(batches: TextBatches, sentences: Any) -> None:
            self.arrived.release()
            await ready(batches, sentences)

        monkeypatch.setattr(model, "encode_text", encode_text)
        monkeypatch.setattr(TextBatches, "ready", noted)

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.arrived.acquire(timeout=60)


def test_searches_at_once_share_calls_of_the_text_tower(
    client: Any, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = Gated(colour_index.backbone, monkeypatch)
    words = [f"{colour} {number}" for number in range(10) for colour in ("red", "green", "blue")]
    with ThreadPoolExecutor(len(words)) as threads:
        asked = [
            threads.submit(client.post, f"{API}/search", json={"terms": [{"text": one}]}) for one in words
        ]
        try:
            tower.wait_for(len(words))
        finally:
            tower.gate.set()
        answers = [one.result() for one in asked]
    assert [named(one)[0] for one in answers] == [f"{one.split()[0]}.png" for one in words]
    assert len(tower.calls) == 2
    assert sorted(sentence for call in tower.calls for sentence in call) == sorted(words)
    again = client.post(f"{API}/search", json={"terms": [{"text": words[3]}]})
    assert (found(again), len(tower.calls)) == (found(answers[3]), 2)


def test_a_request_that_is_given_up_breaks_no_other(
    serve: Serve, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(colour_index, timeout_s=0.5)
    tower = Gated(colour_index.backbone, monkeypatch)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(client.post, f"{API}/search", json={"terms": [{"text": "red 1"}]})
        second = threads.submit(client.post, f"{API}/search", json={"terms": [{"text": "blue 1"}]})
        tower.wait_for(2)
        assert [problem(one.result(), "timeout", 504) for one in (first, second)]
        third = threads.submit(client.post, f"{API}/search", json={"terms": [{"text": "green 1"}]})
        tower.wait_for(1)
        tower.gate.set()
        assert named(third.result())[0] == "green.png"


def test_a_tower_that_fails_fails_those_alone_that_needed_it(
    client: Any, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(sentences: Any) -> torch.Tensor:
        raise RuntimeError("a bug with a secret in it")

    with monkeypatch.context() as patch:
        patch.setattr(colour_index.backbone, "encode_text", broken)
        answer = client.post(f"{API}/search", json={"terms": [{"text": "red"}]})
        assert "secret" not in problem(answer, "internal", 500)
        assert "a bug with a secret in it" in caplog.text
        assert client.post(f"{API}/search", json={}).status_code == 200
    assert named(client.post(f"{API}/search", json={"terms": [{"text": "red"}]}))[0] == "red.png"


def test_searches_at_once_draw_one_sample(
    serve: Serve, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = Search._draw

    def slowly(search: Search) -> Any:
        drawn.append(1)
        time.sleep(0.2)  # in which the others come this far, if they can
        return draw(search)

    monkeypatch.setattr(Search, "_draw", slowly)
    client = serve(colour_index)
    ids = [*ids_by_name(client).values()][:4]
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(client.get, f"{API}/pictures/{id}/similar") for id in ids]
        assert [one.result().status_code for one in asked] == [200] * 4
    assert drawn == [1]
