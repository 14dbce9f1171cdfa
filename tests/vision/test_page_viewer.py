"""The grid and the viewer: rows that fill the width, the keyboard, the explanation over a picture."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.vision.browser_album import HOSTILE
from tests.vision.browser_inspection import TOO_WIDE, inspect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

pytest_plugins = ("tests.vision.browser_fixtures",)
pytestmark = [pytest.mark.browser, pytest.mark.slow]

BOXES = """() => {
  const grid = document.querySelector("#grid").getBoundingClientRect();
  return [...document.querySelectorAll("#grid .cell")].map((cell) => {
    const { left, right, top, height } = cell.getBoundingClientRect();
    return { left: left - grid.left, right: grid.right - right, top: top - grid.top, height };
  });
}"""
INK = """(canvas) => {
  const { width, height } = canvas;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  let ink = 0;
  for (let place = 3; place < data.length; place += 4) ink += data[place];
  return ink / 255 / width / height;
}"""


def shots(page: Page) -> Locator:
    return page.locator("#grid .shot:visible")


def rows(page: Page) -> list[list[dict[str, float]]]:
    boxes: list[dict[str, float]] = page.evaluate(BOXES)
    tops = sorted({box["top"] for box in boxes})
    return [[box for box in boxes if box["top"] == top] for top in tops]


@pytest.mark.parametrize(
    ("width", "height", "name"), [(360, 740, "narrow"), (1280, 800, None), (2560, 1440, "wide")]
)
def test_rows_fill_every_width_exactly(page: Page, width: int, height: int, name: str | None) -> None:
    from playwright.sync_api import expect

    page.set_viewport_size({"width": width, "height": height})
    page.goto("/")
    expect(shots(page)).to_have_count(28)
    *full, last = rows(page)
    assert full
    for row in full:
        assert len({box["height"] for box in row}) == 1
        assert min(box["left"] for box in row) == 0
        assert min(box["right"] for box in row) == 0
    assert min(box["right"] for box in last) >= 0
    inspect(page, name)


def test_a_window_made_narrow_lays_out_anew_and_puts_filters_into_a_drawer(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/?q=a+cat&all=1")
    page.get_by_role("button", name="Filters", exact=True).click()
    expect(page.get_by_role("complementary", name="Filters")).to_be_visible()
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.get_by_role("complementary", name="Filters")).to_be_hidden()
    assert page.evaluate(TOO_WIDE) <= 0
    page.get_by_role("button", name="Filters", exact=True).click()
    drawer = page.get_by_role("dialog", name="Filters")
    expect(drawer).to_be_visible()
    inspect(page)
    drawer.get_by_role("checkbox", name=re.compile("^kitchen")).check()
    drawer.get_by_role("button", name="Show the pictures").click()
    expect(drawer).to_be_hidden()
    expect(shots(page)).to_have_count(1)


def test_pictures_come_page_by_page_each_once(page: Page) -> None:
    from playwright.sync_api import expect

    asked: list[dict[str, Any]] = []

    def with_small_pages(route: Route) -> None:
        body = route.request.post_data_json | {"k": 8}
        asked.append(body)
        route.continue_(post_data=json.dumps(body))

    page.route("**/api/v1/search", with_small_pages)
    page.set_viewport_size({"width": 1280, "height": 400})
    page.goto("/")
    expect(shots(page).first).to_be_visible()
    while len(asked) < 4:
        with page.expect_response("**/api/v1/search"):
            page.keyboard.press("End")
    expect(shots(page)).to_have_count(28)
    ids = page.evaluate("() => [...document.querySelectorAll('.shot')].map((shot) => shot.dataset.id)")
    assert len(set(ids)) == 28
    assert [bool(body["cursor"]) for body in asked] == [False, True, True, True]


def test_arrows_walk_the_grid_by_rows_and_columns(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    expect(shots(page)).to_have_count(28)
    first, second, *_ = rows(page)
    assert page.locator(".shot[tabindex='0']").count() == 1
    shots(page).first.focus()
    page.keyboard.press("ArrowRight")
    expect(shots(page).nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(shots(page).nth(len(first) - 1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(shots(page).nth(len(first) + len(second) - 1)).to_be_focused()
    page.keyboard.press("Home")
    expect(shots(page).nth(len(first))).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(shots(page).first).to_be_focused()
    page.keyboard.press("Control+End")
    expect(shots(page).last).to_be_focused()
    expect(shots(page).last).to_be_in_viewport(ratio=0.9)


def test_the_viewer_by_keyboard(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/?q=a+cat&all=1")
    expect(shots(page)).to_have_count(28)
    page.keyboard.press("/")
    shots(page).first.focus()
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog", name="chelsea.png")
    expect(viewer).to_be_visible()
    expect(viewer).to_contain_text("451 × 300, PNG")
    expect(viewer.get_by_role("button", name="Previous picture")).to_be_disabled()
    expect(page).to_have_url(re.compile("&open="))
    page.wait_for_function("() => document.querySelector('#shot').naturalWidth > 400")
    inspect(page, "viewer")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#shot-place")).to_have_text("3 of 28")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#shot-place")).to_have_text("2 of 28")
    with page.expect_download() as download:
        page.get_by_role("link", name="Original").click()
    assert download.value.suggested_filename == page.locator("#shot-name").text_content()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(shots(page).nth(1)).to_be_focused()
    expect(page).not_to_have_url(re.compile("open="))
    page.go_forward()
    expect(page.locator("#shot-place")).to_have_text("2 of 28")
    page.reload()
    expect(page.locator("#shot-place")).to_have_text("2 of 28")
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("#viewer")).to_be_hidden()


def test_similar_pictures_are_found_from_the_viewer(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/?where=camera+contains+'Canon'")
    expect(shots(page)).to_have_count(2)
    shots(page).first.click()
    name = page.locator("#shot-name").text_content()
    page.keyboard.press("s")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page).to_have_url(re.compile(r"\?picture="))
    expect(shots(page)).to_have_count(1)  # the other one, not itself
    expect(shots(page)).not_to_have_accessible_name(re.compile(re.escape(name or "")))


def test_an_explanation_lies_exactly_over_the_picture(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/?q=a+cat&q=whiskers&minus=a+cup+of+coffee&all=1")
    page.get_by_role("button", name=re.compile("^chelsea")).click()
    page.get_by_role("button", name="Explain").click()
    why = page.get_by_role("region", name="Explanation")
    expect(why).to_contain_text("Asked: a cat and whiskers, without a cup of coffee. Cosine 0.")
    heat = page.locator("#heat")
    expect(heat).to_be_visible()
    assert heat.bounding_box() == page.locator("#shot").bounding_box()
    strong = heat.evaluate(INK)
    assert 0 < strong < 1
    page.wait_for_function("() => document.querySelector('#shot').naturalWidth > 400")
    inspect(page, "explain")
    why.get_by_label("Strength").fill("10")
    assert 0 < heat.evaluate(INK) < strong
    why.get_by_label("Asked").select_option("a cat")
    expect(why).to_contain_text("Asked: a cat. Cosine 0.")
    why.get_by_label("Asked").select_option("a cup of coffee (taken away)")
    expect(why).to_contain_text("Asked: a cup of coffee. Cosine")
    page.set_viewport_size({"width": 800, "height": 900})
    page.wait_for_function("() => document.querySelector('#stage').clientWidth === innerWidth")
    assert heat.bounding_box() == page.locator("#shot").bounding_box()
    page.get_by_role("button", name="Explain").press("e")
    expect(heat).to_be_hidden()


def test_where_nothing_was_asked_there_is_nothing_to_explain(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    shots(page).first.click()
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#why-text")).to_contain_text("Nothing has been asked yet.")


def test_a_name_is_text_whatever_it_holds(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/?where=path+contains+'onerror'")
    expect(shots(page)).to_have_count(1)
    expect(shots(page)).to_have_accessible_name(HOSTILE)
    shots(page).click()
    expect(page.locator("#shot-name")).to_have_text(HOSTILE)
    expect(page.locator("#facts")).to_contain_text(HOSTILE)
