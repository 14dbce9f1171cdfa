"""Fixtures shared by all tests: real data, fixed seeds, commands in this process, and a browser."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

# Models in tests are tiny: threads would only get into each other's way, and into that of other processes.
# OpenMP reads this once, when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Stores sync to the disk at every step, and hundreds of tests make one: in memory that costs nothing, as long
# as each test's folder goes with it (`tmp_path_retention_policy` in pyproject.toml).
if Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")

# In the background of a shell Ctrl-C is ignored, also by processes started from there: tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np
import pytest

from tests.browser_watch import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs and scans; the test is skipped where it is absent."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CHIASM_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is absent (set CHIASM_SHARED to its place)")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)


class Outcome(NamedTuple):
    """How a command ended: its exit code, and what it printed where."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run the command `main`, called so, with these arguments, in this process."""

    def run(main: Callable[[], object], name: str, *arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            main()
        return Outcome(int(ending.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; closed after each module, as Playwright's event loop would be in other tests' way.

    Without Chromium or Playwright the tests that ask for it are skipped.
    """
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    api.expect.set_options(timeout=PATIENCE)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()
