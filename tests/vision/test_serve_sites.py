"""By which name the server is asked, which pages may ask, and what browsers are told."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from tests.vision.asking import API, NOBODY, Serve, every_route, ids_by_name, problem
from vision.retrieval import ImageIndex
from vision.server import page_files
from vision.server.security_headers import SECURITY_HEADERS

EVIL = "http://evil.example"


# The name that is asked by


STRANGERS = [
    "evil.example",
    "localhost.evil.example",
    "evil.example:8765",
    "",
    "127.0.0.1.nip.io",
    "localhost@evil.example",
    "evil.example#@localhost",
    "localhost/evil.example",
    "localhost, evil.example",
    "192.168.1.5",
    "[::1",
    "[::ffff:1.2.3.4]",
    "local host",
    "\xe4",
    "localhost\\evil.example",
    "2130706433",
]
OURS = [
    "127.0.0.1",
    "127.0.0.1:8765",
    "127.0.0.1:1",
    "localhost",
    "LOCALHOST:99",
    "[::1]",
    "[::1]:8765",
    "127.9.9.9",
]


def test_only_our_own_names_are_answered(client: Any) -> None:
    for host in STRANGERS:
        for url in ("/", f"{API}/health", "/sign-in", "/nothing"):
            answer = client.get(url, headers={"host": host.encode("latin-1")})
            assert problem(answer, "misdirected", 421)
    for host in OURS:
        assert client.get(f"{API}/health", headers={"host": host}).status_code == 200, host


def test_names_that_were_given_are_answered(serve: Serve, colour_index: ImageIndex) -> None:
    client = serve(colour_index, names=["Pictures.Example"])
    for host in ("pictures.example", "PICTURES.example:80", "localhost"):
        assert client.get(f"{API}/health", headers={"host": host}).status_code == 200
    for host in ("example", "my.pictures.example", "pictures.example.evil.example"):
        problem(client.get(f"{API}/health", headers={"host": host}), "misdirected", 421)


# The page that asks


def test_pages_of_other_sites_may_ask_for_nothing(client: Any) -> None:
    for method, url in every_route():
        for headers in (
            {"origin": EVIL},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
            {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
            {"sec-fetch-site": "cross-site"},
        ):
            problem(client.request(method, url, headers=headers), "forbidden", 403)
    for method in ("OPTIONS", "HEAD", "PUT", "PATCH", "TRACE"):
        answer = client.request(
            method, f"{API}/search", headers={"origin": EVIL, "access-control-request-method": "POST"}
        )
        assert answer.status_code == 403


def test_origins_are_compared_whole(client: Any) -> None:
    for origin in (
        "http://127.0.0.1",
        "http://127.0.0.1:8766",
        "http://127.0.0.1:8765.evil.example",
        "http://evil@127.0.0.1:8765",
        "http://[",
        "127.0.0.1:8765",
        "",
        "http://localhost:8765",
        "\xe4",
        "file://",
        "http://127.0.0.1:8765 http://evil.example",
    ):
        answer = client.get(f"{API}/health", headers={"origin": origin.encode("latin-1")})
        problem(answer, "forbidden", 403)
    assert client.get(f"{API}/health", headers={"origin": "http://127.0.0.1:8765"}).status_code == 200
    same = {"host": "localhost:99", "origin": "http://LOCALHOST:99"}
    assert client.get(f"{API}/health", headers=same).status_code == 200


def test_links_from_elsewhere_lead_to_the_page_alone(client: Any) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    for url in ("/", "/sign-in"):
        assert client.get(url, headers=link).status_code == 200
        problem(client.post(url, headers=link), "forbidden", 403)
    for url in (f"{API}/health", f"{API}/search?q=red", f"{API}/pictures/{NOBODY}/original", "/page/main.js"):
        problem(client.get(url, headers=link), "forbidden", 403)
    for site in ("same-origin", "none"):
        assert client.get(f"{API}/health", headers={"sec-fetch-site": site}).status_code == 200


def test_no_other_origin_is_ever_invited(client: Any) -> None:
    for method, url in every_route():
        answer = client.request(method, url, headers={"origin": "http://127.0.0.1:8765"})
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_web_sockets_are_turned_away(client: Any) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect) as ending, client.websocket_connect(f"{API}/jobs"):
        pass
    assert ending.value.code == 1008


# What every answer says to browsers


def test_every_answer_bears_the_headers(
    serve: Serve, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(colour_index, body_bytes=1000, timeout_s=0.3)
    id = ids_by_name(client)["red"]
    tag = client.get("/").headers["etag"]
    hold = threading.Event()

    def slow(*_: Any) -> None:
        hold.wait(60)

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    answers = [client.request(method, url) for method, url in every_route()]
    answers += [
        client.get("/", headers={"if-none-match": tag}),
        client.get(f"{API}/pictures/{id}/thumbnail"),
        client.get(f"{API}/pictures/{id}/original"),
        client.get("/nothing"),
        client.put("/"),
        client.head("/"),
        client.options(f"{API}/search"),
        client.get("/", headers={"host": "evil.example"}),
        client.get("/", headers={"origin": EVIL}),
        client.post(f"{API}/search", content=b"x" * 1001),
        client.post(f"{API}/jobs", json={}),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(colour_index, "facets", broken)
        answers.append(client.get(f"{API}/collections/{colour_index.model.key}/facets"))
        patch.setattr(colour_index, "facets", slow)
        answers.append(client.get(f"{API}/collections/{colour_index.model.key}/facets"))
        hold.set()
    limited = serve(colour_index, rate=0.001, burst=1)
    answers += [limited.get("/"), limited.get("/")]
    assert {200, 202, 304, 403, 404, 405, 413, 421, 422, 429, 500, 504} <= {
        one.status_code for one in answers
    }
    for answer in answers:
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers.get_list(name) == [value], (answer.request.url, name)
        caching = answer.headers["cache-control"]
        assert caching in ("no-store", "no-cache") or "private" in caching


def test_the_policy_is_strict() -> None:
    policy = SECURITY_HEADERS["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }


# What makes scripts or elements of words.
UNSAFE = re.compile(
    r"\b(eval|importScripts)\s*\(|new Function|(inner|outer)HTML|insertAdjacentHTML|document\.write|srcdoc"
)


def test_the_page_needs_no_third_party_and_nothing_inline() -> None:
    page = page_files.read_page()
    assert {"index.html", "sign-in.html", "sign-in.js", "style.css"} <= set(page)
    for name, file in page.items():
        text = file.data.decode("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:|wss?:|[\"'(=]\s*)//[\w-]+\.", text), name
        assert "@import" not in text
        assert not UNSAFE.search(text), name
        if name.endswith(".html"):
            assert not re.search(
                r"<style|<base|<iframe|\sstyle=|\son\w+\s*=|javascript:", text, re.IGNORECASE
            ), name
            assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text)), name
