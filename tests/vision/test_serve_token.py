"""Who is let in: where the server listens, and the token that it wants."""

from __future__ import annotations

import hmac
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from data.errors import ParameterError
from tests.vision.asking import API, NOBODY, Serve, every_route, problem
from vision.retrieval import ImageIndex
from vision.server import guard
from vision.server.guard import COOKIE, OPEN
from vision.server.options import ServerOptions

TOKEN = "correct-horse-battery-staple"
EVIL = "http://evil.example"


@pytest.fixture
def locked(serve: Serve, colour_index: ImageIndex) -> Any:
    """A client, without the token, of a server that wants one."""
    return serve(colour_index, token=TOKEN)


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


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
