"""How much a request, a client, and all of them together may ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from data.errors import ParameterError
from tests.vision.asking import API, NOBODY, Serve, hold, ids_by_name, problem
from vision.retrieval import ImageIndex
from vision.server.body_limit import with_body_limit
from vision.server.options import Limits, ServerOptions
from vision.server.rate_limit import CLIENTS, with_rate
from vision.server.schemas import IDS_MOST, K_MOST, LABELS_MOST, TERMS_MOST


def ask_app(
    app: Any, receive: Receive, path: str = "/", client: str = "1.2.3.4", **headers: str
) -> dict[str, Any]:
    """Status, headers and body of an application's answer; nothing where it gave none."""
    sent: dict[str, Any] = {}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            sent["status"], sent["headers"] = message["status"], dict(message["headers"])
        else:
            sent["body"] = sent.get("body", b"") + message.get("body", b"")

    lines = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": lines,
        "client": (client, 1),
        "query_string": b"",
    }
    asyncio.run(app(scope, receive, send))
    return sent


def in_parts(*parts: bytes, then: Message | None = None) -> Receive:
    """A body that arrives in parts; where it does not end, `then` follows, or nothing for ever."""
    left = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    left.append(then or {"type": "http.request", "body": b""})

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await PlainTextResponse(body)(scope, receive, send)


# The body


def test_a_body_that_says_that_it_is_too_long_is_not_even_read() -> None:
    app = with_body_limit(echo, Limits(body_bytes=10, upload_bytes=20))

    async def unasked() -> Message:
        raise AssertionError("it was read")

    said = ask_app(app, unasked, content_length="11")
    assert (said["status"], b"at most 10 bytes, got 11" in said["body"]) == (413, True)
    assert ask_app(app, unasked, f"{API}/uploads", content_length="21")["status"] == 413
    for nonsense in ("9" * 400, "9" * 4300):
        assert ask_app(app, unasked, content_length=nonsense)["status"] == 413
    for nonsense in ("-1", "\xb2", "1e9", ""):
        assert ask_app(app, in_parts(b"x" * 11), content_length=nonsense)["status"] == 413


def test_a_body_that_comes_in_parts_is_counted() -> None:
    app = with_body_limit(echo, Limits(body_bytes=10, upload_bytes=20))
    assert ask_app(app, in_parts(b"12345", b"", b"67890"))["body"] == b"1234567890"
    assert ask_app(app, in_parts(b"12345", b"67890", b"1"))["status"] == 413
    assert ask_app(app, in_parts(b"12345", b"67890", b"1"), content_length="3")["status"] == 413
    assert ask_app(app, in_parts(b"12345", b"67890", b"1"), f"{API}/uploads")["body"] == b"12345678901"
    assert ask_app(app, in_parts(*[b"x" * 7] * 3), f"{API}/uploads")["status"] == 413


def test_a_body_that_does_not_come_is_given_up() -> None:
    app = with_body_limit(echo, Limits(timeout_s=0.05))
    slow = in_parts(b"1", then={"type": "http.request", "body": b"2", "more_body": True})
    said = ask_app(app, slow)
    assert (said["status"], b"did not arrive in time" in said["body"]) == (504, True)


def test_all_bodies_together_have_a_limit() -> None:
    """Many that are allowed one by one would fill the memory; what has been answered counts no more."""
    app = with_body_limit(echo, Limits(body_bytes=10, bodies_bytes=25))

    async def several(count: int) -> list[int]:
        gate = asyncio.Event()

        async def ask(number: int) -> int:
            said: list[int] = []
            parts = [{"type": "http.request", "body": b"x" * 9, "more_body": True}]

            async def receive() -> Message:
                if parts:
                    return parts.pop()
                await gate.wait()
                return {"type": "http.request", "body": b""}

            async def send(message: Message) -> None:
                said.append(message.get("status", 0))

            scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
            await app(scope, receive, send)
            return said[0]

        asked = [asyncio.ensure_future(ask(number)) for number in range(count)]
        await asyncio.sleep(0)
        gate.set()
        return list(await asyncio.gather(*asked))

    assert asyncio.run(several(2)) == [200, 200]
    assert asyncio.run(several(4)) == [200, 200, 503, 503]
    assert asyncio.run(several(2)) == [200, 200]


def test_a_client_that_goes_is_not_answered() -> None:
    async def unasked(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it was asked")

    app = with_body_limit(unasked, Limits())
    assert ask_app(app, in_parts(b"1", then={"type": "http.disconnect"})) == {}


def test_bodies_have_their_limits(serve: Serve, colour_index: ImageIndex) -> None:
    client = serve(colour_index, body_bytes=2000, upload_bytes=3000)
    for url in ("search", "classify", "explain", "jobs", "session", "nothing"):
        assert "2,000 bytes" in problem(client.post(f"{API}/{url}", content=b"x" * 2001), "too-large", 413)
    assert client.post(f"{API}/search", json={"where": "x" * 1900}).status_code == 422
    assert "3,000 bytes" in problem(client.post(f"{API}/uploads", content=b"x" * 3001), "too-large", 413)
    problem(client.post(f"{API}/uploads", content=b"x" * 3000), "unprocessable", 422)
    problem(client.post(f"{API}/uploads", content=iter([b"x" * 2000] * 2)), "too-large", 413)
    assert (Limits().body_bytes, Limits().upload_bytes) == (256 << 10, 20 << 20)


def test_pictures_have_their_pixels_counted(serve: Serve, colour_index: ImageIndex) -> None:
    client = serve(colour_index, upload_pixels=600)
    for height, status in ((20, 201), (21, 422)):
        buffer = BytesIO()
        Image.new("RGB", (30, height), "red").save(buffer, "PNG")
        answer = client.post(f"{API}/uploads", content=buffer.getvalue())
        assert answer.status_code == status
    assert "30 x 21 pixels, above the limit of 600" in problem(answer, "unprocessable", 422)


# The query


def within(limit: int, ask: Callable[[int], dict[str, Any]], url: str, client: Any) -> None:
    """So much is understood, and one more is not."""
    assert client.post(f"{API}/{url}", json=ask(limit)).status_code in (200, 404), (url, limit)
    problem(client.post(f"{API}/{url}", json=ask(limit + 1)), "unprocessable", 422)


def test_queries_have_their_limits(client: Any) -> None:
    ids = [*ids_by_name(client).values()]
    within(K_MOST, lambda k: {"k": k}, "search", client)
    within(500, lambda size: {"terms": [{"text": "red".ljust(size, "x")}]}, "search", client)
    within(TERMS_MOST, lambda count: {"terms": [{"text": "red"}] * count}, "search", client)
    within(TERMS_MOST, lambda count: {"more_like": ids[:1] * count}, "search", client)
    within(
        TERMS_MOST, lambda count: {"less_like": ids[:1] * count, "terms": [{"text": "red"}]}, "search", client
    )
    within(2000, lambda size: {"where": "width > 1".ljust(size)}, "search", client)
    within(49, lambda deep: {"where": "(" * deep + "width > 1" + ")" * deep}, "search", client)
    within(49, lambda deep: {"where": "not " * deep + "width > 1"}, "search", client)
    within(100, lambda weight: {"terms": [{"text": "red", "weight": weight}]}, "search", client)
    within(10, lambda captions: {"captions": captions}, "search", client)
    within(1, lambda cut: {"cut": cut}, "search", client)
    labels = [f"red {number}" for number in range(LABELS_MOST + 1)]
    within(LABELS_MOST, lambda count: {"labels": labels[:count], "ids": ids}, "classify", client)
    within(100, lambda size: {"labels": ["red", "blue".ljust(size, "x")], "ids": ids}, "classify", client)
    within(IDS_MOST, lambda count: {"labels": ["red", "blue"], "ids": [NOBODY] * count}, "classify", client)
    for k in (0, -1, 10**30):
        problem(client.post(f"{API}/search", json={"k": k}), "unprocessable", 422)


def test_the_limits_hold_for_links_too(client: Any) -> None:
    id = ids_by_name(client)["red"]
    assert (
        client.get(f"{API}/search", params={"q": ["red"] * 8, "minus": ["blue"] * 8, "k": K_MOST}).status_code
        == 200
    )
    for wrong in (
        {"q": ["red"] * 9},
        {"minus": ["red"] * 9},
        {"q": "x" * 501},
        {"q": " "},
        {"where": "x" * 2001},
        {"k": 0},
        {"k": K_MOST + 1},
        {"k": "x"},
        {"cut": 1.1},
        {"cut": "nan"},
        {"cursor": "x" * 201},
        {"q": "a\0b"},
    ):
        problem(client.get(f"{API}/search", params=wrong), "unprocessable", 422)
        if "q" not in wrong and "minus" not in wrong:
            problem(client.get(f"{API}/pictures/{id}/similar", params=wrong), "unprocessable", 422)


def test_a_long_filter_is_read_quickly(client: Any) -> None:
    """Nothing in the language takes time that grows faster than the text."""
    for where in (
        "'" * 1999,
        "''" * 999 + "'",
        " " * 2000,
        "width = 1 or " * 150 + "width = 1",
        "not " * 499,
        "9" * 1999,
        "9." * 999,
        "width in (" + "1," * 990 + "1)",
        "path contains '" + "a" * 1980 + "'",
        "a" * 2000,
        "é" * 2000,
    ):
        answer = client.post(f"{API}/search", json={"where": where})
        assert answer.status_code in (200, 422)
        assert answer.elapsed.total_seconds() < 20


# One client


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_client_that_asks_too_often_is_told_when_to_ask_again() -> None:
    clock = Clock()
    app = with_rate(echo, Limits(rate=0.5, burst=3), clock)

    def status(client: str = "1.2.3.4") -> int:
        return int(ask_app(app, in_parts(), client=client)["status"])

    assert [status() for _ in range(4)] == [200, 200, 200, 429]
    said = ask_app(app, in_parts())
    assert said["headers"][b"retry-after"] == b"3"  # two seconds, and not a moment too soon
    assert b"0.5 requests a second" in said["body"]
    assert status("5.6.7.8") == 200
    clock.now += 1.9
    assert status() == 429
    clock.now += 0.2
    assert [status(), status()] == [200, 429]
    clock.now += 1e9
    assert [status() for _ in range(4)] == [200, 200, 200, 429]


def test_asking_in_vain_costs_nothing() -> None:
    clock = Clock()
    app = with_rate(echo, Limits(rate=1, burst=1), clock)
    assert ask_app(app, in_parts())["status"] == 200
    for _ in range(9):
        assert ask_app(app, in_parts())["status"] == 429
    clock.now += 1
    assert ask_app(app, in_parts())["status"] == 200


def test_clients_are_forgotten_when_there_are_too_many() -> None:
    app = with_rate(echo, Limits(rate=1, burst=1), Clock())

    async def ask(client: str) -> int:
        status = 0

        async def send(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": (client, 1)}
        await app(scope, in_parts(), send)
        return status

    async def crowd() -> tuple[int, int, int]:
        first = await ask("first"), await ask("first")
        for number in range(CLIENTS):
            await ask(f"{number}")
        return *first, await ask("first")

    assert asyncio.run(crowd()) == (200, 429, 200)


def test_the_rate_is_that_of_the_server(serve: Serve, colour_index: ImageIndex) -> None:
    client = serve(colour_index, rate=0.001, burst=2)
    assert [client.get(f"{API}/health").status_code for _ in range(3)] == [200, 200, 429]
    answer = client.get("/")
    assert "0.001 requests a second" in problem(answer, "too-many-requests", 429)
    assert int(answer.headers["retry-after"]) > 100


def test_pages_of_other_sites_do_not_use_up_what_one_may_ask(serve: Serve, colour_index: ImageIndex) -> None:
    client = serve(colour_index, rate=0.001, burst=2)
    for _ in range(5):
        answer = client.get(f"{API}/health", headers={"origin": "http://evil.example"})
        problem(answer, "forbidden", 403)
    assert client.get(f"{API}/health").status_code == 200


def test_guesses_at_a_token_use_up_what_one_may_ask(serve: Serve, colour_index: ImageIndex) -> None:
    client = serve(colour_index, rate=0.001, burst=3, token="the-token-of-the-server")
    guesses = [client.get(f"{API}/health", headers={"authorization": f"Bearer {n}"}) for n in range(4)]
    assert [guess.status_code for guess in guesses] == [401, 401, 401, 429]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rate": -1}, "rate must be"),
        ({"rate": float("nan")}, "rate must be"),
        ({"timeout_s": 0}, "timeout must be"),
        ({"timeout_s": float("inf")}, "timeout must be"),
    ],
)
def test_limits_that_are_none_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Limits(**wrong)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_ports_are_ports(port: int) -> None:
    with pytest.raises(ParameterError, match="port must be from 0 to 65535"):
        ServerOptions(port=port)


# All of them


def test_what_takes_too_long_is_given_up_and_nothing_else(
    serve: Serve, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(colour_index, timeout_s=0.3)
    _, gate = hold(monkeypatch, colour_index.backbone, "encode_text")
    try:
        answer = client.post(f"{API}/search", json={"terms": [{"text": "red"}]})
        assert "within 0.3 seconds" in problem(answer, "timeout", 504)
        assert len(ids_by_name(client)) == 5
        assert client.get(f"{API}/health").status_code == 200
    finally:
        gate.set()
    assert client.post(f"{API}/search", json={"terms": [{"text": "blue"}]}).status_code == 200


def test_more_than_can_be_worked_on_are_turned_away(
    serve: Serve, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(colour_index, waiting=1)
    reached, gate = hold(monkeypatch, ImageIndex, "facets")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.get, f"{API}/collections/{colour_index.model.key}/facets")
        try:
            assert reached.wait(60)
            for url in ("/", f"{API}/health", f"{API}/nothing"):
                answer = client.get(url)
                problem(answer, "busy", 503)
                assert answer.headers["retry-after"] == "1"
        finally:
            gate.set()
        assert first.result().status_code == 200
    assert client.get(f"{API}/health").status_code == 200
