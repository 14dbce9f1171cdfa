"""The real server over scikit-image's pictures, and a browser that keeps account of what goes wrong in it.

A plugin of the modules `test_page*.py`; the browser itself is tests/conftest.py's.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser_watch import PATIENCE, Watch
from tests.vision.browser_album import make_album
from tests.vision.browser_server import TOKEN, PageServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def page_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHIASM_")}
    return kept | {
        "CHIASM_CACHE": str(tmp_path_factory.mktemp("cache")),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


@pytest.fixture(scope="session")
def skimage_folder() -> Path:
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        pytest.skip("scikit-image, whose pictures are searched, is not installed")
    return Path(found.submodule_search_locations[0]) / "data"


@pytest.fixture(scope="session")
def page_album(tmp_path_factory: pytest.TempPathFactory, skimage_folder: Path) -> Path:
    """More than twenty pictures, some in folders, some with a camera; one has a name that is HTML."""
    return make_album(skimage_folder, tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def page_store(
    tmp_path_factory: pytest.TempPathFactory, page_album: Path, page_environment: dict[str, str]
) -> Path:
    return _indexed(page_album, tmp_path_factory.mktemp("page") / "store", page_environment)


def _indexed(album: Path, store: Path, environment: dict[str, str]) -> Path:
    command = [sys.executable, "-m", "vision.cli", "index", str(album), "--store", str(store)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return store


@pytest.fixture(scope="module")
def page_server(page_store: Path, page_environment: dict[str, str], browser: Browser) -> Iterator[PageServer]:
    """The server that most tests share; `browser` comes first, so that without one nothing is started."""
    server = PageServer(page_store, page_environment)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def locked_server(tmp_path: Path, page_environment: dict[str, str], browser: Browser) -> Iterator[PageServer]:
    """A server over an index without a picture, that asks for a token."""
    (tmp_path / "none").mkdir()
    store = _indexed(tmp_path / "none", tmp_path / "store", page_environment)
    server = PageServer(store, page_environment | {"CHIASM_TOKEN": TOKEN})
    server.start()
    yield server
    server.stop()


@pytest.fixture
def watch(page_server: PageServer) -> Watch:
    return Watch(page_server.url)


@pytest.fixture
def page(browser: Browser, page_server: PageServer, watch: Watch) -> Iterator[Page]:
    """A page of a fresh profile, not yet anywhere; afterwards nothing must have gone wrong in it."""
    with browser.new_context(
        base_url=page_server.url, viewport={"width": 1280, "height": 800}, reduced_motion="reduce"
    ) as context:
        context.set_default_timeout(PATIENCE)
        watch.over(context)
        yield context.new_page()
        watch.check()
