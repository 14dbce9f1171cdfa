"""The parts of the server by themselves, and what it says of itself."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.errors import BadFileError, HubUnreachableError, ParameterError
from data.photos import photo_file, read_photo
from tests.vision.asking import API, NOBODY, Serve, ids_by_name, problem
from vision.retrieval import ImageIndex
from vision.retrieval.picture import Picture
from vision.retrieval.text_memory import CROWD, TextMemory
from vision.server import serve as serving
from vision.server import thumbnails as server_thumbnails
from vision.server import uploads as server_uploads
from vision.server.cursors import read_cursor, write_cursor
from vision.server.library import Library
from vision.server.metrics import Metrics
from vision.server.options import Limits, ServerOptions
from vision.server.problems import KINDS, Problem, as_problem
from vision.server.routes import classify, collections, explain, jobs, pictures, search, service
from vision.server.serve import listen, url_of
from vision.server.text_batches import MOST, TextBatches
from vision.server.thumbnails import Thumbnails
from vision.server.uploads import EXPIRES_S, Uploads
from vision.server.words import words_of

# Cursors


@given(
    mark=st.integers(0, 10**9) | st.text(max_size=40),
    query=st.text() | st.dictionaries(st.text(), st.integers()),
)
def test_a_cursor_gives_back_what_it_holds(mark: int | str, query: Any) -> None:
    cursor = write_cursor(mark, query)
    assert re.fullmatch(r"[\w-]+", cursor, re.ASCII)
    assert read_cursor(cursor, query, type(mark)) == mark
    with pytest.raises(Problem, match="of this very query"):
        read_cursor(cursor, [query], type(mark))
    with pytest.raises(Problem, match="of this very query"):
        read_cursor(cursor, query, str if isinstance(mark, int) else int)


@given(text=st.text(max_size=200))
def test_other_texts_are_no_cursors(text: str) -> None:
    for kind in (int, str):
        with pytest.raises(Problem, match="of this very query"):
            read_cursor(text, "query", kind)


# Batches of sentences


def test_sentences_that_come_while_the_tower_works_go_together() -> None:
    calls, sizes, gate = list[list[str]](), list[int](), threading.Event()

    def encode(sentences: list[str]) -> None:
        calls.append(sentences)
        assert gate.wait(60)

    async def ask() -> None:
        with ThreadPoolExecutor(1) as thread:
            batches = TextBatches(encode, thread, sizes.append)
            asked = [asyncio.ensure_future(batches.ready([f"{one // 2}"])) for one in range(40)]
            await batches.ready([])  # which is ready at once
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(*asked)
            await batches.ready(["a", "b", "a"])

    asyncio.run(ask())
    # All forty came before the tower was first called, each sentence twice.
    assert calls == [[f"{one}" for one in range(20)], ["a", "b"]]
    assert sizes == [20, 2]


def test_a_call_is_never_longer_than_what_is_remembered() -> None:
    calls: list[int] = []

    async def ask() -> None:
        with ThreadPoolExecutor(1) as thread:
            batches = TextBatches(lambda sentences: calls.append(len(sentences)), thread)
            await asyncio.gather(
                *(batches.ready([f"{one}, {part}" for part in range(16)]) for one in range(40))
            )

    asyncio.run(ask())
    assert sum(calls) == 640
    assert max(calls) <= MOST < CROWD


def test_one_who_gives_up_keeps_nobody_waiting() -> None:
    gate = threading.Event()

    async def ask() -> None:
        with ThreadPoolExecutor(1) as thread:
            batches = TextBatches(lambda sentences: gate.wait(60), thread)
            first, second = (asyncio.ensure_future(batches.ready([one])) for one in "ab")
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            gate.set()
            await second
            await batches.ready(["c"])

    asyncio.run(asyncio.wait_for(ask(), 60))


def test_an_error_is_told_to_all_who_waited_for_that_call() -> None:
    def encode(sentences: list[str]) -> None:
        if "bad" in sentences:
            raise ValueError("bad")

    async def ask() -> None:
        with ThreadPoolExecutor(1) as thread:
            batches = TextBatches(encode, thread)
            told = await asyncio.gather(
                batches.ready(["bad"]), batches.ready(["good"]), return_exceptions=True
            )
            assert [str(one) for one in told] == ["bad", "bad"]
            await batches.ready(["good"])

    asyncio.run(ask())


def test_the_sentences_of_many_labels_push_no_query_out_of_memory() -> None:
    asked: list[int] = []

    def encode(sentences: Sequence[str]) -> np.ndarray:
        asked.append(len(sentences))
        return np.ones((len(sentences), 3), dtype=np.float32)

    memory = TextMemory(encode, most=CROWD)
    memory.vectors(["a dog"])
    for _ in range(2):
        memory.vectors([f"label {number}" for number in range(CROWD)])  # as `ensemble` cuts them
    memory.vectors(["a dog"])
    assert asked == [1, CROWD, CROWD]


# Thumbnails


def photograph(folder: Path, number: int) -> Any:
    path = folder / f"{number}.png"
    noise = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return read_photo(path)


def test_thumbnails_that_were_not_asked_for_the_longest_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_thumbnails, "CHECK_EVERY", 2)
    files = [photograph(tmp_path, number) for number in range(7)]
    size = len(server_thumbnails.thumbnail(files[0], 160))
    kept = Thumbnails(tmp_path / "cache", most_bytes=4 * size)
    for number, file in enumerate(files[:4]):
        kept.make(file, 160)
        path = next(path for path in kept.folder.glob("??/*.jpg") if path.stat().st_mtime > 1e9)
        os.utime(path, (number, number))
    assert kept.read(files[0].content, 160) is not None  # asked for now: no longer the oldest
    kept.make(files[4], 160)
    assert [kept.read(file.content, 160) is not None for file in files[:5]] == [
        True,
        False,
        False,
        True,
        True,
    ]
    assert kept.read(files[0].content, 320) is None


def test_what_shrinks_the_cache_touches_nothing_else(tmp_path: Path) -> None:
    kept = Thumbnails(tmp_path / "cache", most_bytes=1)
    (tmp_path / "cache/ab").mkdir(parents=True)
    other = tmp_path / "cache/ab/notes.txt"
    other.write_text("mine")
    kept.make(photograph(tmp_path, 1), 160)
    assert other.read_text() == "mine"
    assert not list(kept.folder.glob("??/*.jpg"))


def test_a_thumbnail_of_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="no picture"):
        Thumbnails(tmp_path, 1).make(photo_file(Path("x"), b"nothing"), 160)
    assert not [*tmp_path.iterdir()]


# Uploads


PICTURE = Picture(content="", size=0, width=1, height=1, format="PNG", places=())
VECTOR = np.zeros(3, dtype=np.float32)


def test_uploads_are_forgotten_after_an_hour() -> None:
    now = [0.0]
    kept = Uploads(Limits(), lambda: now[0])
    first = kept.add(b"1", PICTURE, VECTOR)
    now[0] = 10
    second = kept.add(b"2", PICTURE, VECTOR)
    now[0] = EXPIRES_S - 0.1
    assert kept.get(first.id).file.data == b"1"
    now[0] = EXPIRES_S
    with pytest.raises(Problem, match="send it again"):
        kept.get(first.id)
    assert kept.get(second.id).file.data == b"2"
    assert len({first.id, second.id}) == 2
    assert min(len(first.id), len(second.id)) >= 20  # not to be guessed


def test_the_oldest_uploads_go_when_they_are_too_many_bytes() -> None:
    kept = Uploads(Limits(uploads_bytes=10), lambda: 0.0)
    uploads = [kept.add(b"1234", PICTURE, VECTOR) for _ in range(3)]
    with pytest.raises(Problem):
        kept.get(uploads[0].id)
    assert [kept.get(one.id).id for one in uploads[1:]] == [one.id for one in uploads[1:]]


def test_a_bug_over_an_upload_is_no_fault_of_its_sender(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("vision.server.routes.pictures.decode_upload", broken)
    problem(client.post(f"{API}/uploads", content=b"x"), "internal", 500)
    assert "RuntimeError: a bug" in caplog.text
    assert server_uploads.DECODE_S > 0


# What it says of itself


def test_health_tells_how_far_the_model_is(
    serve: Serve, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = serve(colour_index).get(f"{API}/health").json()
    assert (said["status"], said["pictures"], said["model"]) == ("ok", 5, "fake:colours")
    assert said["model_state"] == "not loaded"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", said["version"])
    monkeypatch.setattr("vision.server.library.start_decoders", lambda: None)
    library = Library(colour_index, Limits(), Metrics())

    def load(outcome: Any) -> str:
        monkeypatch.setattr(ImageIndex, "backbone", property(outcome))
        library.warm_up()
        library._threads["model"].submit(lambda: None).result(timeout=60)
        return library.model_state

    def unreachable(index: ImageIndex) -> None:
        raise HubUnreachableError("weights", must_be="there", got="none")

    def broken(index: ImageIndex) -> None:
        raise RuntimeError("a bug")

    states = [load(outcome) for outcome in (unreachable, broken, lambda index: library.model_state)]
    assert states == ["failed", "failed", "ready"]
    for threads in library._threads.values():
        threads.shutdown()


def values(client: Any) -> dict[str, float]:
    answer = client.get(f"{API}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def requests(kept: dict[str, float], route: str, status: int, method: str = "GET") -> float:
    return kept.get(f'chiasm_requests_total{{method="{method}",route="{route}",status="{status}"}}', 0)


def test_figures_rise_with_every_answer(
    client: Any, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = values(client)
    assert before["chiasm_pictures"] == 5
    assert before["process_resident_memory_bytes"] > 1e6
    id = ids_by_name(client)["red"]
    for _ in range(3):
        client.get(f"{API}/pictures/{id}/thumbnail")
    client.get(f"{API}/pictures/{NOBODY}")
    client.post(f"{API}/search", json={"terms": [{"text": "red"}, {"text": "blue"}]})
    client.get(f"{API}/health", headers={"host": "evil.example"})
    client.request("BREW", f"{API}/health")
    after = values(client)
    assert requests(after, "/pictures/{id}/thumbnail", 200) == 3
    assert after['chiasm_request_seconds_count{route="/pictures/{id}/thumbnail"}'] == 3
    assert after['chiasm_request_seconds_bucket{le="30.0",route="/pictures/{id}/thumbnail"}'] == 3
    assert requests(after, "/pictures/{id}", 404) == 1
    assert requests(after, "/search", 200, "POST") == 2
    assert requests(after, "none", 421) == 1
    assert requests(after, "/health", 405, "other") + requests(after, "none", 405, "other") == 1
    assert requests(after, "/metrics", 200) == 1
    assert after["chiasm_text_batch_sentences_sum"] == 2
    assert after["chiasm_text_batch_sentences_count"] == 1
    assert after["chiasm_requests_at_work"] == 1
    colour_index.store.delete([id])
    assert values(client)["chiasm_pictures"] == 4


def test_no_caller_can_make_up_series(client: Any) -> None:
    for number in range(30):
        client.get(f"{API}/pictures/{NOBODY[:-2]}{number:02}")
        client.get(f"{API}/nothing-{number}")
        client.get(f"/page/{number}.js")
        client.request(f"M{number}", "/")
        client.get("/", headers={"host": f"{number}.example"})
    text = client.get(f"{API}/metrics").text
    assert NOBODY[:-2] not in text
    assert "nothing-" not in text
    assert len([line for line in text.splitlines() if line.startswith("chiasm_requests_total")]) < 8


def test_a_client_that_goes_is_no_error_of_ours() -> None:
    metrics = Metrics()

    async def gone(scope: Any, receive: Any, send: Any) -> None:
        return

    async def nothing(message: Any = None) -> Any:
        return {"type": "http.disconnect"}

    asyncio.run(metrics.around(gone)({"type": "http", "method": "GET"}, nothing, nothing))
    text = metrics.text().decode()
    assert 'status="500"' not in text
    assert "chiasm_requests_at_work 0.0" in text


def test_the_description_is_whole(client: Any) -> None:
    described = client.get(f"{API}/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    schemas = described["components"]["schemas"]
    text = str(described)
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) <= set(schemas)
    assert "HTTPValidationError" not in schemas
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            where = f"{method} {path}"
            assert route["summary"], where
            assert route["description"], where
            assert {"401", "403", "421", "429", "500", "503", "504"} <= set(route["responses"]), where
            for status, response in route["responses"].items():
                if int(status) >= 400:
                    assert set(response["content"]) == {"application/problem+json"}, (where, status)
            body = route.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None:
                name = body["schema"]["$ref"].rpartition("/")[2]
                properties = schemas[name]["properties"].values()
                has_example = "examples" in schemas[name] or any("examples" in one for one in properties)
                assert has_example or name in ("JobRequest", "SessionRequest"), name


def test_examples_of_the_description_are_understood(client: Any) -> None:
    schemas = client.get(f"{API}/openapi.json").json()["components"]["schemas"]
    for name, url in {
        "SearchRequest": "search",
        "ClassifyRequest": "classify",
        "ExplainRequest": "explain",
    }.items():
        for example in schemas[name]["examples"]:
            text = (
                str(example)
                .replace("a dog on a beach", "red")
                .replace("people", "blue")
                .replace("a dog", "red")
            )
            text = text.replace("animal", "red").replace("food", "green").replace("building", "blue")
            answer = client.post(f"{API}/{url}", json=eval(text))
            assert answer.status_code == (404 if name == "ExplainRequest" else 200), answer.text


def test_every_error_of_the_family_is_some_problem() -> None:
    assert as_problem(ParameterError("k", must_be="1", got=0)).name == "unprocessable"
    assert as_problem(HubUnreachableError("weights", must_be="there", got="none")).name == "unavailable"
    assert as_problem(BadFileError("store", must_be="readable", got="trouble")).name == "internal"
    for name, (status, title) in KINDS.items():
        answer = Problem(name, "Because.").response()
        assert (answer.status_code, answer.media_type) == (status, "application/problem+json")
        assert title.encode() in answer.body


def test_other_methods_and_places_are_told(client: Any) -> None:
    answer = client.put(f"{API}/search")
    problem(answer, "method-not-allowed", 405)
    assert answer.headers["allow"] == "GET, POST"
    assert client.put("/").headers["allow"] == "GET"
    for url in (
        f"{API}/search/",
        f"{API}/",
        API,
        "/page/",
        "/page/nothing.js",
        f"{API}/health/x",
        "/docs",
        "/redoc",
        "/openapi.json",
    ):
        problem(client.get(url), "not-found", 404)


def test_files_of_the_page_are_not_sent_twice(client: Any) -> None:
    for url in ("/", "/sign-in", "/favicon.ico", "/page/style.css"):
        first = client.get(url)
        assert first.status_code == 200
        assert first.headers["cache-control"] == "no-cache"
        again = client.get(url, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(url, headers={"if-none-match": '"another"'}).content == first.content


@pytest.mark.skipif(os.fsencode("\udce9") != b"\xe9", reason="file names are no bytes here")
def test_names_become_words() -> None:
    assert words_of("日本 é") == "日本 é"
    assert words_of(Path(os.fsdecode(b"a/caf\xe9"))) == "a/caf\\xe9"


# Where it listens


def test_the_address_is_that_of_the_page() -> None:
    with listen(ServerOptions(port=0)) as listening:
        port = listening.getsockname()[1]
        assert url_of(listening, "127.0.0.1") == f"http://127.0.0.1:{port}/"
        assert url_of(listening, "0.0.0.0") == f"http://127.0.0.1:{port}/"
        assert url_of(listening, "::") == f"http://[::1]:{port}/"
        assert url_of(listening, "::1") == f"http://[::1]:{port}/"
        assert url_of(listening, "localhost") == f"http://localhost:{port}/"
        with pytest.raises(ParameterError, match="address must be free and of this machine") as error:
            listen(ServerOptions(port=port))
        assert f"127.0.0.1:{port}" in str(error.value)
        with socket.create_connection(("127.0.0.1", port)):
            pass
    for host in ("192.0.2.1", "nothing.invalid"):
        with pytest.raises(ParameterError, match="address must be"):
            listen(ServerOptions(host=host, port=0, token="long-enough-for-this"))
    assert serving.GRACE_S < 10


def test_answers_do_not_wait_for_company() -> None:
    """Head and body are written apart: by Nagle's algorithm the second would wait for a receipt."""
    with (
        listen(ServerOptions(port=0)) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_nothing_is_called_in_threads_that_nobody_counted() -> None:
    """FastAPI puts plain functions, routes and what they depend on, into a pool of its own."""
    found = 0
    for part in (classify, collections, explain, jobs, pictures, search, service):
        for route in part.router.routes:
            for one in (route.dependant, *route.dependant.dependencies):  # type: ignore[attr-defined]
                assert inspect.iscoroutinefunction(one.call), one.call
                found += 1
    assert found > 30
