"""What holds in every state of the page: nothing is inaccessible, nothing is wider than the window."""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

GRAVE = ("serious", "critical")
# Of the pictures on the screen, whether each has come; those further down wait until they are scrolled to.
ALL_LOADED = """() => [...document.querySelectorAll(".shot:not(.missing) > img")].every((image) => {
  const { top, bottom, width } = image.getBoundingClientRect();
  return !width || top > innerHeight || bottom < 0 || image.parentElement.classList.contains("loaded");
})"""
SHOW_PATHS = """([pattern, shown]) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    node.data = node.data.replace(new RegExp(pattern, "g"), shown);
  }
}"""
TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def inspect(page: Page, name: str | None = None) -> None:
    """The page as it is, in light and dark; a screenshot in light goes to `$CHIASM_SCREENSHOTS/NAME.jpg`."""
    page.mouse.move(0, 0)  # what lies under it would look otherwise than the rest
    page.wait_for_function(ALL_LOADED)
    take(page, name)
    assert page.evaluate(TOO_WIDE) <= 0, f"{name} is wider than the window"
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        found = violations(page)
        assert not found, f"{name} in {scheme}: " + "\n".join(found)


def take(page: Page, name: str | None) -> None:
    """Write a screenshot, if they are wanted, with a person's folder in the place of this machine's."""
    folder = os.environ.get("CHIASM_SCREENSHOTS")
    if folder and name:
        page.evaluate(SHOW_PATHS, [r"/[^\s]*?/pictures\d*(?=/|$)", "/home/ada/Pictures"])
        page.evaluate(SHOW_PATHS, [r"/[^\s]*?/(?=store$)", "/home/ada/"])
        page.screenshot(path=Path(folder) / f"{name}.jpg", type="jpeg", quality=82)


def violations(page: Page) -> list[str]:
    """What axe finds serious or critical, a line each."""
    page.evaluate(_axe())
    answer: dict[str, Any] = page.evaluate("() => axe.run({ resultTypes: ['violations'] })")
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:200]}"
        for one in answer["violations"]
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]


@functools.cache
def _axe() -> str:
    found = importlib.util.find_spec("axe_playwright_python")
    assert found is not None
    assert found.submodule_search_locations is not None
    return (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")
