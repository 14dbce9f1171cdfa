"""What the page shows where there are no pictures: none indexed or found, slow, an error, no server."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser_watch import PATIENCE, Watch
from tests.vision.browser_inspection import inspect
from tests.vision.browser_server import TOKEN, PageServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Route

pytest_plugins = ("tests.vision.browser_fixtures",)
pytestmark = [pytest.mark.browser, pytest.mark.slow]

SEARCH = "**/api/v1/search"


def shots(page: Page) -> Locator:
    return page.locator("#grid .shot:visible")


def problem(route: Route, status: int, detail: str, **headers: str) -> None:
    body = {"type": "urn:chiasm:problem:x", "title": "A title", "status": status, "detail": detail}
    route.fulfill(
        status=status, body=json.dumps(body), content_type="application/problem+json", headers=headers
    )


def changed(route: Route, change: dict[str, Any]) -> None:
    """The server's own answer, with some of it changed."""
    answer = route.fetch()
    route.fulfill(response=answer, json=answer.json() | change)


def test_nothing_stands_out_and_all_are_shown_all_the_same(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/?q=texture")
    expect(page.get_by_role("heading", name="Nothing stands out")).to_be_visible()
    inspect(page, "nothing")
    page.get_by_role("button", name="Show them all the same").click()
    expect(shots(page)).to_have_count(28)
    page.get_by_role("button", name="Only what stands out").click()
    expect(page.get_by_role("heading", name="Nothing stands out")).to_be_visible()


def test_a_filter_that_cannot_be_read_says_why(page: Page, watch: Watch) -> None:
    from playwright.sync_api import expect

    watch.allow(400, 422)
    page.goto("/")
    page.get_by_role("button", name="Filters", exact=True).click()
    field = page.get_by_label("In words of the filter language")
    field.fill("widht > 1000")
    field.press("Enter")
    expect(page.get_by_role("heading", name="The filter cannot be read")).to_be_visible()
    expect(page.locator("#where-error")).to_contain_text("widht")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    inspect(page)
    page.get_by_role("button", name="Remove the filter", exact=True).click()
    expect(shots(page)).to_have_count(28)
    expect(page.locator("#where-error")).to_be_hidden()


def test_an_error_is_told_and_tried_again(page: Page, watch: Watch) -> None:
    from playwright.sync_api import expect

    watch.allow(500)
    page.route(SEARCH, lambda route: problem(route, 500, "The disk is full."))
    page.goto("/?q=a+cat")
    expect(page.get_by_role("alert")).to_contain_text("The disk is full.")
    inspect(page)
    page.unroute(SEARCH)
    page.get_by_role("button", name="Try again").click()
    expect(shots(page).first).to_be_visible()


def test_a_server_that_stops_is_waited_for(page: Page, watch: Watch, page_server: PageServer) -> None:
    from playwright.sync_api import expect

    watch.allow("net::ERR_CONNECTION_REFUSED", "net::ERR_CONNECTION_RESET", "net::ERR_EMPTY_RESPONSE")
    page.goto("/")
    expect(shots(page)).to_have_count(28)
    page_server.stop()
    page.get_by_role("searchbox").fill("a cat")
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_role("heading", name="The server does not answer")).to_be_visible()
    expect(page.locator("#notices").get_by_role("alert")).to_contain_text("Trying again by itself")
    inspect(page, "error")
    page_server.start()
    expect(shots(page).first).to_have_accessible_name(re.compile("^chelsea"), timeout=2 * PATIENCE)
    expect(page.locator("#notices")).not_to_contain_text("does not answer")


def test_a_slow_search_shows_where_pictures_will_be_and_says_why(page: Page) -> None:
    from playwright.sync_api import expect

    held: list[Route] = []
    page.route(SEARCH, lambda route: held.append(route))
    page.route("**/api/v1/health", lambda route: changed(route, {"model_state": "loading"}))
    page.goto("/?q=a+cat")
    expect(page.locator("#grid.waiting .cell").first).to_be_visible()
    expect(page.locator("#count")).to_contain_text("The model is being loaded")
    inspect(page, "slow")
    held[0].continue_()
    expect(shots(page).first).to_have_accessible_name(re.compile("^chelsea"))
    expect(page.locator("#grid.waiting")).to_have_count(0)


def test_an_older_answer_never_comes_over_a_newer_one(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    expect(shots(page)).to_have_count(28)
    held: list[Route] = []

    def hold_the_cat(route: Route) -> None:
        if "a cat" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route(SEARCH, hold_the_cat)
    box = page.get_by_role("searchbox")
    box.fill("a cat")
    box.press("Enter")
    expect(page.locator("#grid.waiting")).to_be_visible()
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/search")):
        page.get_by_role("button", name="Remove a cat").click()
    expect(page.get_by_role("heading", name="All pictures")).to_be_visible()
    expect(shots(page)).to_have_count(28)
    assert len(held) == 1


def test_too_many_requests_are_made_up_for_by_waiting(page: Page, watch: Watch) -> None:
    from playwright.sync_api import expect

    watch.allow(429)
    page.route(SEARCH, lambda route: problem(route, 429, "Too many.", **{"Retry-After": "1"}), times=1)
    page.goto("/?q=a+cat")
    expect(page.get_by_role("heading", name="A little too fast")).to_be_visible()
    expect(shots(page).first).to_be_visible()


def test_a_picture_that_is_gone_leaves_a_quiet_place(page: Page, watch: Watch) -> None:
    from playwright.sync_api import expect

    watch.allow(410)
    page.goto("/?q=a+cat")
    id = shots(page).first.get_attribute("data-id")
    page.route(f"**/pictures/{id}/thumbnail*", lambda route: problem(route, 410, "It is another file now."))
    page.reload()
    expect(shots(page).first).to_have_accessible_name("chelsea.png, no longer there")
    inspect(page)
    shots(page).first.click()
    expect(page.locator("#shot-gone")).to_contain_text("The file is no longer there")


def test_a_model_without_words_asks_for_pictures(page: Page) -> None:
    from playwright.sync_api import expect

    def without_text(route: Route) -> None:
        answer = route.fetch()
        [collection] = answer.json()["collections"]
        route.fulfill(response=answer, json={"collections": [collection | {"has_text": False}]})

    page.route("**/api/v1/collections", without_text)
    page.goto("/")
    expect(page.locator("#no-words")).to_contain_text("knows pictures, not words")
    expect(page.get_by_role("button", name="Labels")).to_be_hidden()
    page.get_by_role("searchbox").fill("a cat")
    page.get_by_role("searchbox").press("Enter")
    expect(page.locator("#notices")).to_contain_text("search by a picture instead")
    inspect(page)


def test_light_dark_and_shortcuts_are_kept(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    page.get_by_role("button", name="Dark colours").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("html")).to_have_css("background-color", "rgb(20, 20, 22)")
    page.get_by_role("button", name="Dark colours").click()
    expect(page.locator("html")).not_to_have_attribute("data-theme", "dark")
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(keys).to_be_visible()
    inspect(page)
    keys.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).not_to_be_focused()


def test_signing_in_leads_to_an_empty_index(browser: Browser, locked_server: PageServer) -> None:
    from playwright.sync_api import expect

    watch = Watch(locked_server.url)
    watch.allow(401)
    with browser.new_context(base_url=locked_server.url, reduced_motion="reduce") as context:
        watch.over(context)
        page = context.new_page()
        page.goto("/?q=a+cat")
        expect(page).to_have_url(re.compile(r"/sign-in\?q=a\+cat$"))
        page.get_by_label("Token").fill("not this one")
        page.get_by_label("Token").press("Enter")
        expect(page.get_by_role("alert")).not_to_be_empty()
        inspect(page)
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_label("Token").press("Enter")
        expect(page.get_by_role("list", name="The query")).to_contain_text("a cat")
        page.wait_for_load_state("networkidle")  # what the page asks first would send it to sign in by itself
        context.clear_cookies()
        page.get_by_role("button", name="Remove a cat").click()
        expect(page).to_have_url(re.compile("/sign-in$"))
        page.goto(f"/sign-in#token={TOKEN}")
        expect(page.get_by_role("searchbox")).to_be_visible()
        assert TOKEN not in page.url
        expect(page.get_by_role("heading", name="No pictures yet")).to_be_visible()
        expect(page.locator("#state")).to_contain_text(
            f"vision index ~/Pictures --store {locked_server.store}"
        )
        inspect(page, "empty")
        watch.check()
