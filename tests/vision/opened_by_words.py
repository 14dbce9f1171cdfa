"""Asks a server for things in words that name a file, and prints what is opened meanwhile, as JSON.

A program of its own: a hook on what Python opens stays for as long as the process does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.testclient import TestClient

from tests.vision.asking import API, ids_by_name
from tests.vision.conftest import ColourEmbedder
from vision.retrieval import ImageIndex
from vision.server.app import create_app
from vision.server.options import Limits, ServerOptions

SECRET = b"TOP-SECRET-0123456789-and-quite-some-more-of-it"


def main(folder: Path) -> None:
    """Serve an album in the folder, beside which the secret file lies."""
    secret = folder / "secret"
    secret.write_bytes(SECRET)
    (folder / "album").mkdir()
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (20 + number, 10), colour).save(folder / f"album/{colour}.png")
    os.environ["CHIASM_CACHE"] = str(folder / "cache")
    with ImageIndex.create(folder / "store", ColourEmbedder()) as index:
        index.add_folder([folder / "album"])
        app = create_app(index, ServerOptions(limits=Limits(rate=0)), warm_up=False)
        with TestClient(app, "http://127.0.0.1:8765") as client:
            ids = [*ids_by_name(client).values()]
            opened: list[str] = []
            sys.addaudithook(lambda event, arguments: note(opened, event, arguments))
            ask_all(client, str(secret), ids)
            print(json.dumps([*opened]))


def note(opened: list[str], event: str, arguments: tuple[Any, ...]) -> None:
    """Remember the name of what is opened."""
    if event == "open":
        opened.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else "")


def ask_all(client: Any, secret: str, ids: list[str]) -> None:
    """In every place where a caller has words, words that name the file."""
    for path in (secret, f"file://{secret}", f"@{secret}"):
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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
