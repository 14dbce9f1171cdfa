"""What tests ask a server, and how they read its answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
