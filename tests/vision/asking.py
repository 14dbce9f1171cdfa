"""What tests ask a server, and how they read its answers."""

from __future__ import annotations

import importlib
import pkgutil
import threading
from collections.abc import Callable
from typing import Any

import pytest

from vision.server import page_files, routes

API = "/api/v1"
NOBODY = "5f3c1e0a-8b1d-4c5e-9a77-0d1f2b3c4d5e"  # an identifier that no picture has

Serve = Callable[..., Any]


def ids_by_name(client: Any) -> dict[str, str]:
    """Identifiers of all pictures, by the names of their files without the ending."""
    answer = client.post(f"{API}/search", json={})
    return {one["name"].partition(".")[0]: one["id"] for one in answer.json()["pictures"]}


def problem(answer: Any, name: str, status: int) -> str:
    """The sentence of a problem, which must be one in all its parts."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    said = answer.json()
    assert (said["type"], said["status"]) == (f"urn:chiasm:problem:{name}", status)
    assert said["title"]
    assert said["detail"].endswith((".", "?"))
    return str(said["detail"])


def hold(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> tuple[threading.Event, threading.Event]:
    """Have a method wait at a gate: what is set when it gets there, and what to set to let it go on."""
    reached, gate, real = threading.Event(), threading.Event(), getattr(owner, name)

    def held(*arguments: Any) -> Any:
        reached.set()
        assert gate.wait(60)
        return real(*arguments)

    monkeypatch.setattr(owner, name, held)
    return reached, gate


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
