"""Who is answered, which bytes get out, and what hostile callers, pages and pictures can do."""

from __future__ import annotations

import hmac
import importlib
import logging
import os
import pkgutil
import re
import shutil
import socket
import struct
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data.errors import ParameterError
from tests.vision.asking import API, NOBODY, Serve, ids_by_name, problem
from tests.vision.conftest import ColourEmbedder
from tests.vision.serve_process import Served, served
from vision.retrieval import ImageIndex, decode_pool
from vision.retrieval.decode_pool import start_decoders
from vision.server import guard, page_files, routes, uploads
from vision.server.guard import COOKIE, OPEN
from vision.server.options import ServerOptions
from vision.server.security_headers import SECURITY_HEADERS

TOKEN = "correct-horse-battery-staple"
SECRET = b"TOP-SECRET-0123456789-and-quite-some-more-of-it"
CRASHES, HANGS = 13, 17  # of tests/vision/misbehaving.py
HERE = Path(__file__).parent
EVIL = "http://evil.example"


@pytest.fixture
def locked(serve: Serve, colour_index: ImageIndex) -> Any:
    """A client, without the token, of a server that wants one."""
    return serve(colour_index, token=TOKEN)


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def every_route() -> list[tuple[str, str]]:
    """Method and URL of every route, described or not, with something sensible in the place of parameters."""
    modules = [
        importlib.import_module(f"{routes.__name__}.{one.name}")
        for one in pkgutil.iter_modules(routes.__path__)
    ]
    found = [
        (method, f"{API}{route.path}")
        for module in modules
        for route in getattr(module, "router", SimpleRouter).routes
        for method in route.methods
    ]
    found += [(method, route.path) for route in page_files.router.routes for method in route.methods]  # type: ignore[attr-defined]
    found += [("GET", f"{API}/openapi.json")]
    pages = [("GET", f"/page/{name}") for name in page_files.read_page()]
    filled = [
        (method, path.replace("{id}", "0" * 16 if "/jobs" in path else NOBODY).replace("{key}", "0" * 16))
        for method, path in found
    ]
    return sorted({*((method, path.replace("{name}", "main.js")) for method, path in filled), *pages})


class SimpleRouter:
    routes: tuple[Any, ...] = ()


def test_every_route_of_the_description_is_known_here(client: Any) -> None:
    described = client.get(f"{API}/openapi.json").json()["paths"]
    known = {path.replace("0" * 16, "{id}").replace(NOBODY, "{id}") for _, path in every_route()}
    assert {path.replace("{key}", "{id}") for path in described} <= known
    assert len(every_route()) > len(described) + 5


# Who may listen where


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "192.168.1.5",
        "example.org",
        "127.0.0.1.nip.io",
        "",
        "127.1",
        "localhost.evil.example",
    ],
)
def test_nobody_listens_beyond_loopback_without_a_token(host: str) -> None:
    with pytest.raises(ParameterError, match="token must be given beyond loopback"):
        ServerOptions(host=host)
    assert ServerOptions(host=host, token=TOKEN).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_needs_no_token(host: str) -> None:
    assert ServerOptions(host=host).token is None


@pytest.mark.parametrize(
    "token",
    ["", "short", "fifteen-letters", "ä" * 20, "with a space in it", "line\nbreak-line-break", "\udce9" * 20],
)
def test_tokens_that_are_guessed_or_cannot_be_sent_are_refused(token: str) -> None:
    with pytest.raises(ParameterError, match=r"token must be .*secrets\.token_urlsafe") as error:
        ServerOptions(token=token)
    assert not token or token not in str(error.value)
    assert TOKEN not in repr(ServerOptions(token=TOKEN))


# The token


def test_every_route_wants_the_token(locked: Any) -> None:
    for method, url in every_route():
        answer = locked.request(method, url)
        if (method, url) == ("GET", "/"):
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
            assert not answer.content
        elif url in OPEN:
            assert answer.status_code != 401 or url == f"{API}/session", (method, url)
        else:
            problem(answer, "unauthorised", 401)
            assert answer.headers["www-authenticate"] == "Bearer"
        with_token = locked.request(method, url, headers=bearer())
        assert with_token.status_code != 401, (method, url)


# What HTML names, what a module imports, and what a style sheet fetches.
LED_TO = re.compile(
    r"""(?:src|href)="(/[^"#]*)"|(?:from|import) "\./([^"]+)"|url\(["']?(?!data:)([^)"']+)["']?\)"""
)


def test_what_is_open_is_what_signing_in_needs_and_nothing_else(locked: Any) -> None:
    """The page, what it leads to, and what that leads to."""
    found, left = set[str](), ["/sign-in"]
    while left:
        url = left.pop()
        if url in found:
            continue
        found.add(url)
        text = locked.get(url).text
        assert locked.get(url).status_code == 200, url
        names = LED_TO.findall(text)
        left += [whole or f"/page/{beside or inside}" for whole, beside, inside in names]
    assert found | {f"{API}/session"} == set(OPEN)


WRONG = [
    "Bearer",
    "Bearer ",
    "Bearer " + TOKEN[:-1],
    "Bearer " + TOKEN + "x",
    "Bearer " + TOKEN.upper(),
    "Bearer x" + TOKEN,
    "Bearer " + TOKEN + ", Bearer x",
    "Basic " + TOKEN,
    TOKEN,
    "Bearer \xe4\xf6\xfc",
    "Bearer null",
    "Bearer \t",
]


def test_another_token_is_none(locked: Any) -> None:
    for header in WRONG:
        answer = locked.get(f"{API}/health", headers={"authorization": header.encode("latin-1")})
        problem(answer, "unauthorised", 401)
    for cookie in (
        "",
        TOKEN,
        "0" * 64,
        "x",
        '"' + TOKEN + '"',
        "\xe4",
        hmac.new(b"", TOKEN.encode(), "sha256").hexdigest(),
    ):
        answer = locked.get(f"{API}/health", headers={"cookie": f"{COOKIE}={cookie}".encode("latin-1")})
        problem(answer, "unauthorised", 401)
    for said in (TOKEN[:-1], TOKEN + " ", "", "\xe4", "\ud800", TOKEN.upper()):
        body = f'{{"token": {ascii(said)[1:-1]!r}}}'.replace("'", '"').replace("\\xe4", "\\u00e4")
        answer = locked.post(f"{API}/session", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (401, 422), answer.text
        assert "set-cookie" not in answer.headers
    for url in (f"{API}/health?token={TOKEN}", f"{API}/health?access_token={TOKEN}"):
        problem(locked.get(url), "unauthorised", 401)
    assert locked.get(f"{API}/health", headers={"authorization": f"bearer  {TOKEN} "}).status_code == 200


def test_tokens_are_compared_in_constant_time(locked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `hmac.compare_digest`, and by nothing else before it or after it."""
    signed_in = locked.post(f"{API}/session", json={"token": TOKEN}).cookies[COOKIE]
    locked.cookies.clear()
    for says in (False, True):
        compared: list[tuple[Any, Any]] = []

        def compare(left: Any, right: Any, says: bool = says, compared: Any = compared) -> bool:
            compared.append((left, right))
            return says

        with monkeypatch.context() as patch:
            patch.setattr(guard.hmac, "compare_digest", compare)
            for token in (TOKEN, "another"):
                by_header = locked.get(f"{API}/health", headers=bearer(token)).status_code
                by_session = locked.post(f"{API}/session", json={"token": token}).status_code
                locked.cookies.clear()
                assert (by_header, by_session) == ((200, 204) if says else (401, 401))
            for cookie in (signed_in, "another"):
                answer = locked.get(f"{API}/health", headers={"cookie": f"{COOKIE}={cookie}"})
                assert answer.status_code == (200 if says else 401)
        assert len(compared) >= 6
        assert all(isinstance(left, bytes) and isinstance(right, bytes) for left, right in compared)


def test_signing_in_gives_a_cookie_that_is_not_the_token(locked: Any) -> None:
    answer = locked.post(f"{API}/session", json={"token": TOKEN})
    header = answer.headers["set-cookie"]
    assert (answer.status_code, answer.content) == (204, b"")
    parts = {part.strip().lower().partition("=")[0]: part.partition("=")[2] for part in header.split(";")}
    assert {"httponly", "samesite", "path", "max-age"} <= set(parts)
    assert (parts["samesite"].lower(), parts["path"]) == ("strict", "/")
    assert "domain" not in parts
    assert TOKEN not in header
    assert len(parts[COOKIE]) == 64
    assert locked.get(f"{API}/health").status_code == 200
    assert locked.get("/").status_code == 200
    out = locked.delete(f"{API}/session")
    assert out.status_code == 204
    assert "max-age=0" in out.headers["set-cookie"].lower()
    assert "httponly" in out.headers["set-cookie"].lower()
    problem(locked.get(f"{API}/health"), "unauthorised", 401)


def test_a_cookie_ends_with_its_server(serve: Serve, tmp_path: Path, colours: Any) -> None:
    first = serve(ImageIndex.create(tmp_path / "first", colours), token=TOKEN)
    second = serve(ImageIndex.create(tmp_path / "second", colours), token=TOKEN)
    cookie = first.post(f"{API}/session", json={"token": TOKEN}).cookies[COOKIE]
    header = {"cookie": f"{COOKIE}={cookie}"}
    assert first.get(f"{API}/health", headers=header).status_code == 200
    problem(second.get(f"{API}/health", headers=header), "unauthorised", 401)


def test_there_is_nothing_to_sign_in_to_without_a_token(client: Any) -> None:
    problem(client.post(f"{API}/session", json={"token": ""}), "unauthorised", 401)
    problem(client.post(f"{API}/session", json={"token": TOKEN}), "unauthorised", 401)
    assert client.get("/").status_code == 200


def test_the_token_appears_nowhere(locked: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [
        locked.get(f"{API}/health", headers=bearer()),
        locked.post(f"{API}/session", json={"token": TOKEN}),
        locked.get(f"{API}/health"),
        locked.post(f"{API}/session", json={"token": TOKEN, "more": TOKEN}),
        locked.post(f"{API}/session", json={"token": [TOKEN]}),
        locked.post(f"{API}/session", json={"token": TOKEN * 99}),
        locked.post(f"{API}/session", content=f'{{"token": "{TOKEN}"'),
        locked.get(f"{API}/health", headers={**bearer(), "host": "evil.example"}),
        locked.get(f"{API}/health", headers={**bearer(), "origin": EVIL}),
        locked.get(f"{API}/pictures/nothing", headers=bearer()),
        locked.get(f"{API}/metrics", headers=bearer()),
        locked.get(f"{API}/openapi.json", headers=bearer()),
        locked.get(f"{API}/collections", headers=bearer()),
        locked.get("/sign-in"),
    ]
    for answer in answers:
        assert TOKEN not in answer.text
        assert TOKEN not in str(answer.headers)
    assert TOKEN not in caplog.text


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


# Which bytes get out


def disguises(path: str) -> Iterator[bytes]:
    """A path to a file, and ways to lead to it, as they are written where checks are to be slipped past."""
    for climb in ("../" * 12 + path.lstrip("/"), path):
        plain = climb.encode()
        yield plain
        yield climb.replace("../", "..%2f").replace("/", "%2F").encode()
        yield climb.replace(".", "%2e").replace("/", "%2f").encode()
        yield climb.replace(".", "%252e").replace("/", "%252f").encode()
        yield climb.replace(".", "%c0%ae").replace("/", "%c0%af").encode()
        yield climb.replace("/", "\\").encode()
        yield climb.replace("/", "%5c").encode()
        yield climb.replace("../", "....//").encode()
        yield plain + b"%00"
        yield plain + b"%00.js"
        yield b"%00" + plain
        yield plain + b"?x"
        yield b"main.js/" + plain
        yield climb.replace("/", ";/").encode()
        yield b"file://" + plain


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path, str]]:
    """A real server, a file beside its pictures that is none of its business, and a picture's identifier."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "album").mkdir()
    Image.new("RGB", (20, 10), "red").save(folder / "album/red.png")
    (folder / "secret.txt").write_bytes(SECRET)
    with ImageIndex.create(folder / "store", ColourEmbedder()) as index:
        index.add_folder([folder / "album"])
        (id,) = (id for id, _ in index.browse())
    with served(folder / "store", folder / "cache", "--rate", "0") as server:
        yield server, folder / "secret.txt", id


@pytest.mark.slow
def test_no_way_of_writing_a_path_leads_to_a_file(process: tuple[Served, Path, str]) -> None:
    server, secret, id = process
    bases = [
        "/",
        "/page/",
        f"{API}/",
        f"{API}/pictures/",
        f"{API}/pictures/{id}/",
        f"{API}/uploads/",
        f"{API}/collections/",
        f"{API}/jobs/",
        f"{API}/search?cursor=",
        f"{API}/search?where=",
        f"{API}/pictures/{id}/thumbnail?side=",
        f"{API}/pictures/{id}/similar?cursor=",
    ]
    targets = {
        base.encode() + way
        for base in bases
        for path in (str(secret), "/etc/passwd")
        for way in disguises(path)
    }
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(server.get, sorted(targets)))
    assert len(answers) > 500
    for target, (status, answer) in zip(sorted(targets), answers, strict=True):
        assert status in (400, 404, 422), (target, answer[:200])
        assert SECRET not in answer
        assert b"root:" not in answer
        assert b"Traceback" not in answer
    assert server.get(f"{API}/pictures/{id}/original".encode())[0] == 200


def test_requests_that_are_none_do_no_harm(process: tuple[Served, Path, str]) -> None:
    server, _, _ = process
    host = f"host: 127.0.0.1:{server.port}\r\n".encode()
    close = host + b"connection: close\r\n"
    post = b"POST /api/v1/search HTTP/1.1\r\ncontent-type: application/json\r\n" + close
    long = b"a" * 100_000
    for request in (
        b"\x16\x03\x01\x02\x00\x01\x00",  # somebody speaks TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no name at all
        b"GET / HTTP/1.1\r\n" + host + host + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n",
        b"GET /" + long + b" HTTP/1.1\r\n" + close + b"\r\n",
        b"GET / HTTP/1.1\r\nx: " + long + b"\r\n" + close + b"\r\n",
        b"GET / HTTP/1.1\r\n" + close + b"x\x00y: z\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + close + b"origin: http://[\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\n" + close + b"\r\n\r\n",
        post + b"content-length: -1\r\n\r\n",
        post + b"content-length: \xb2\r\n\r\n",
        post + b"content-length: " + b"9" * 5000 + b"\r\n\r\n",
        post + b"content-length: 99999999999\r\n\r\n",
        post + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        post + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        post + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        post + b"transfer-encoding: chunked\r\n\r\n" + b"ffffffffffffffff\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while more := connection.recv(1 << 16):
                answer += more
        assert b" 500 " not in answer.split(b"\r\n")[0], (request[:80], answer[:300])
        assert b"Traceback" not in answer
    status, answer = server.get(b"/")
    assert status == 200
    assert b"\r\nserver:" not in answer.lower()


def replace_by(kind: str, path: Path, secret: Path) -> None:
    path.unlink()
    if kind == "a link":
        path.symlink_to(secret)
    elif kind == "a hard link":
        path.hardlink_to(secret)
    elif kind == "a link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "a link to itself":
        path.symlink_to(path)
    elif kind == "another file":
        path.write_bytes(secret.read_bytes())
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a linked folder":
        path.parent.rename(path.parent.with_name("away"))
        (secret.parent / "elsewhere").mkdir()
        shutil.copy(secret, secret.parent / "elsewhere" / path.name)
        path.parent.symlink_to(secret.parent / "elsewhere")
    elif kind == "a locked socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.path.relpath(path))


@pytest.mark.parametrize("secret_is", ["words", "a picture"])
@pytest.mark.parametrize(
    "kind",
    [
        "a link",
        "a hard link",
        "a link to a device",
        "a link to itself",
        "another file",
        "a folder",
        "a pipe",
        "a linked folder",
        "a locked socket",
    ],
)
def test_a_file_that_became_another_does_not_get_out(
    client: Any, album: Path, tmp_path: Path, kind: str, secret_is: str
) -> None:
    secret = tmp_path / "secret"
    if secret_is == "words":
        secret.write_bytes(SECRET)
    else:
        Image.new("RGB", (24, 10), "black").save(secret, "PNG")  # of the very size, even
    path = album / "below/white.png"
    id = ids_by_name(client)["white"]
    replace_by(kind, path, secret)
    for part in ("thumbnail", "thumbnail?side=160", "original"):
        answer = client.get(f"{API}/pictures/{id}/{part}")
        problem(answer, "gone", 410)
        assert secret.read_bytes() not in answer.content
    problem(client.post(f"{API}/explain", json={"id": id, "terms": [{"text": "red"}]}), "gone", 410)
    assert client.get(f"{API}/health").status_code == 200


def test_a_thumbnail_shows_what_was_indexed_whatever_became_of_it(
    client: Any, album: Path, tmp_path: Path
) -> None:
    id = ids_by_name(client)["red"]
    before = client.get(f"{API}/pictures/{id}/thumbnail").content
    Image.new("RGB", (20, 10), "black").save(tmp_path / "secret.png")
    replace_by("a link", album / "red.png", tmp_path / "secret.png")
    assert client.get(f"{API}/pictures/{id}/thumbnail").content == before
    problem(client.get(f"{API}/pictures/{id}/thumbnail?side=160"), "gone", 410)


watched: list[str] | None = None


def note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if watched is not None and event == "open":
        watched.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else "")


sys.addaudithook(note_opened)


def test_no_words_of_a_caller_open_a_file(client: Any, tmp_path: Path) -> None:
    global watched
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    ids = [*ids_by_name(client).values()]
    watched = []
    try:
        for path in (str(secret), f"file://{secret}", f"@{secret}"):
            words = f"red {path}"
            asks: list[tuple[str, dict[str, Any]]] = [
                ("search", {"terms": [{"text": words}]}),
                ("search", {"where": f"path = '{path}'"}),
                ("search", {"where": f"path contains '{path}'"}),
                ("search", {"where": path}),
                ("search", {"cursor": path}),
                ("classify", {"labels": [words, f"blue {path}"], "ids": ids}),
                ("classify", {"labels": ["red", "blue"], "ids": ids, "templates": path}),
                ("explain", {"id": ids[0], "terms": [{"text": words}], "method": path}),
                ("explain", {"upload": path, "terms": [{"text": words}]}),
                ("jobs", {"prune": path}),
                ("jobs", {"roots": [path]}),
            ]
            for name, ask in asks:
                answer = client.post(f"{API}/{name}", json=ask)
                assert answer.status_code in (200, 422), (ask, answer.text)
                assert SECRET not in answer.content
            client.get(f"{API}/search", params={"q": words, "where": path})
            client.get(f"{API}/collections/{path}")
        opened = watched
    finally:
        watched = None
    assert opened  # the index' own notes, for one
    assert not [path for path in opened if "secret" in path]


# Pictures that are sent


def png(width: int, height: int, *, data: bytes | None = None) -> bytes:
    """A PNG that says it has so many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (width + 1) * min(height, 99)) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def saved(kind: str, **how: Any) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (30, 20), "red").save(buffer, kind, **how)
    return buffer.getvalue()


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "a page": b"<!doctype html><script>alert(1)</script>",
    "a drawing with a script": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "a script for Ghostscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
    "a document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "a program": b"\x7fELF" + b"\0" * 99,
    "a GIF that is a page": b"GIF89a<script>alert(1)</script>",
    "a cut PNG": saved("PNG")[:-40],
    "a cut JPEG": saved("JPEG")[:200],
    "a bomb": png(60_000, 60_000),
    "a bomb within what Pillow allows": png(12_000, 12_000),
    "a strip": png(60_000, 1),
    "a picture of no pixels": png(0, 0),
    "a PNG of rubbish": png(9, 9, data=b"rubbish"),
    "a list of paths": b"/etc/passwd\n",
    "zeroes": bytes(10_000),
}


def test_what_is_no_picture_is_refused(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drafts").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "drafts"))
    for what, data in HOSTILE.items():
        answer = client.post(f"{API}/uploads", content=data, headers={"content-type": "image/png"})
        assert answer.status_code == 422, what
        sentence = problem(answer, "unprocessable", 422)
        assert sentence.startswith("The body must be a picture, got "), what
        assert "drafts" not in sentence
        assert "chiasm-upload" not in sentence
    assert not [*(tmp_path / "drafts").iterdir()]


def test_a_picture_that_is_something_else_too_comes_back_as_a_picture(client: Any, tmp_path: Path) -> None:
    script = b"<script>alert(document.cookie)</script>"
    for data in (saved("PNG") + script, saved("GIF", comment=script), saved("JPEG", comment=script)):
        sent = client.post(f"{API}/uploads", content=data, headers={"content-type": "text/html"})
        assert sent.status_code == 201
        answer = client.get(f"{API}/uploads/{sent.json()['id']}/thumbnail")
        assert script not in answer.content
        assert answer.headers["content-type"] == "image/jpeg"
        assert Image.open(BytesIO(answer.content)).format == "JPEG"


@pytest.fixture
def misbehaving_client(
    serve: Serve, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    """A server whose decoders crash and hang over pictures of certain widths."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setattr(decode_pool, "_forker", None)
    start_decoders(wait=True)
    from misbehaving_upload import MisbehavingUpload  # type: ignore[import-not-found]

    monkeypatch.setattr(colour_index.backbone, "preprocess", MisbehavingUpload(), raising=False)
    monkeypatch.setattr(uploads, "DECODE_S", 3.0)
    yield serve(colour_index)
    assert decode_pool._forker is not None
    decode_pool._forker.end()


def test_a_picture_that_kills_or_holds_its_decoder_costs_one_request(misbehaving_client: Any) -> None:
    client = misbehaving_client

    def send(width: int) -> Any:
        buffer = BytesIO()
        Image.new("RGB", (width, 10), "red").save(buffer, "PNG")
        return client.post(f"{API}/uploads", content=buffer.getvalue(), headers={"content-type": "image/png"})

    by_name = ids_by_name(client)
    assert "crashes its decoder" in problem(send(CRASHES), "unprocessable", 422)
    assert send(30).status_code == 201
    with ThreadPoolExecutor(2) as threads:
        hanging = [threads.submit(send, HANGS) for _ in range(2)]
        # All else is answered meanwhile: pictures, searches, health.
        assert client.get(f"{API}/pictures/{by_name['red']}/thumbnail").status_code == 200
        assert client.get(f"{API}/pictures/{by_name['red']}/original").status_code == 200
        assert client.post(f"{API}/search", json={"terms": [{"text": "red"}]}).status_code == 200
        assert not any(one.done() for one in hanging)
        for one in hanging:
            assert "takes longer than 3 s" in problem(one.result(), "unprocessable", 422)
    assert send(31).status_code == 201
