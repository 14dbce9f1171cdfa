"""The search page in a real browser, over the real server: searching, refining, filtering, labelling."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vision.browser_inspection import inspect, take

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

    from tests.browser_watch import Watch

pytest_plugins = ("tests.vision.browser_fixtures",)
pytestmark = [pytest.mark.browser, pytest.mark.slow]

DROP = """([name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  for (const event of ["dragenter", "dragover"]) {
    document.body.dispatchEvent(new DragEvent(event, { dataTransfer, bubbles: true, cancelable: true }));
  }
  const said = document.querySelector("#drop").checkVisibility();
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
  return said;
}"""


def shots(page: Page) -> Locator:
    return page.locator("#grid .shot:visible")


def names(page: Page) -> list[str]:
    return page.locator("#grid .shot .name").all_text_contents()


def search(page: Page, words: str) -> None:
    page.get_by_role("searchbox").fill(words)
    page.get_by_role("searchbox").press("Enter")


def drop(page: Page, path: Path, type: str = "image/png") -> bool:
    data = base64.b64encode(path.read_bytes()).decode()
    said: bool = page.evaluate(DROP, [path.name, type, data])
    return said


def test_words_find_a_picture_and_the_address_keeps_them(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    expect(shots(page)).to_have_count(28)
    expect(page).to_have_title("Chiasm")
    page.keyboard.press("/")
    page.keyboard.type("a cat")
    page.keyboard.press("Enter")
    expect(page).to_have_title("a cat · Chiasm")
    expect(shots(page).first).to_have_accessible_name(re.compile(r"chelsea\.png, relevance \d+ %"))
    expect(page.locator("#foot")).to_contain_text("below the cut")
    assert page.url.endswith("/?q=a+cat")
    inspect(page)

    page.get_by_role("button", name="Show them").click()
    expect(shots(page)).to_have_count(28)
    inspect(page, "search")
    page.emulate_media(color_scheme="dark")
    take(page, "dark")
    page.go_back()
    expect(page.locator("#foot")).to_contain_text("below the cut")
    page.go_back()
    expect(page.get_by_role("heading", name="All pictures")).to_be_visible()
    expect(shots(page)).to_have_count(28)


def test_a_dropped_picture_is_searched_by(page: Page, watch: Watch, skimage_folder: Path) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    assert drop(page, skimage_folder / "coffee.png")
    expect(page.get_by_role("list", name="The query").get_by_role("img", name="your picture")).to_be_visible()
    expect(shots(page).first).to_have_accessible_name(re.compile(r"^coffee\.png, relevance (9\d|100) %"))
    assert "upload=" in page.url
    page.get_by_role("button", name="Show them").click()
    expect(shots(page)).to_have_count(28)
    inspect(page, "picture-query")
    page.reload()
    expect(shots(page).first).to_have_accessible_name(re.compile(r"^coffee\.png"))

    watch.allow(422)
    page.locator("#file").set_input_files(
        files=[{"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}]
    )
    expect(page.get_by_role("alert")).to_contain_text("notes.png could not be searched by.")
    assert drop(page, Path(__file__), "text/x-python")
    expect(page.get_by_role("alert")).to_contain_text("test_page.py is not a picture.")


def test_a_pasted_picture_is_searched_by(page: Page, skimage_folder: Path) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    data = base64.b64encode((skimage_folder / "rocket.jpg").read_bytes()).decode()
    page.evaluate(
        """(data) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File([bytes], "image.png", { type: "image/jpeg" }));
          document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }""",
        data,
    )
    expect(shots(page).first).to_have_accessible_name(re.compile(r"^rocket\.jpg"))


def test_a_link_with_a_picture_that_is_gone_goes_on_without_it(page: Page, watch: Watch) -> None:
    from playwright.sync_api import expect

    watch.allow(404)
    page.goto("/?q=a+cat&upload=0123456789abcdef")
    expect(page.locator("#notices")).to_contain_text("no longer kept by the server")
    expect(shots(page).first).to_have_accessible_name(re.compile("^chelsea"))
    expect(page).to_have_url(re.compile(r"/\?q=a\+cat$"))


def test_a_query_is_refined_by_keyboard_and_by_its_results(page: Page) -> None:
    from playwright.sync_api import expect

    query = page.get_by_role("list", name="The query")
    page.goto("/")
    search(page, "a photograph of a person")
    expect(shots(page).first).to_have_accessible_name(re.compile(r"^camera\.jpg"))
    search(page, "-a retina")
    expect(page).to_have_title("a photograph of a person, without a retina · Chiasm")
    page.get_by_role("button", name="Show them").click()
    expect(shots(page)).to_have_count(28)
    shots(page).first.click()
    page.get_by_role("button", name="More like this").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(query.get_by_text("more like", exact=True)).to_be_visible()
    page.get_by_role("button", name="Show them").click()
    expect(shots(page)).to_have_count(28)
    shots(page).last.click()
    page.get_by_role("button", name="Less like this").click()
    expect(query.get_by_text("less like", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile("q=.*&minus=.*&more=.*&less="))
    page.get_by_role("button", name="Show them").click()
    expect(shots(page)).to_have_count(28)
    inspect(page, "refine")

    page.get_by_role("searchbox").press("Backspace")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    sign = query.get_by_role("button", name="a retina: taken away. Turn round")
    sign.focus()
    sign.press("Enter")
    expect(query.get_by_role("button", name="a retina: wanted. Turn round")).to_be_focused()
    page.keyboard.press("Delete")
    expect(query.get_by_text("a retina")).to_have_count(0)
    expect(query.locator("button:focus")).to_have_count(1)
    query.get_by_role("button", name="Clear").click()
    expect(shots(page)).to_have_count(28)


def test_the_sign_before_the_box_takes_words_away(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/?q=a+cat")
    sign = page.get_by_role("button", name="Take away what I type")
    sign.click()
    expect(sign).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("a cup of coffee")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"q=a\+cat&minus=a\+cup\+of\+coffee"))
    expect(sign).to_have_attribute("aria-pressed", "false")


def test_filters_narrow_what_is_found(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    page.keyboard.press("f")
    page.get_by_role("checkbox", name=re.compile("^space")).check()
    expect(shots(page)).to_have_count(4)
    page.get_by_role("checkbox", name=re.compile("^animals")).check()
    expect(shots(page)).to_have_count(6)
    page.get_by_label("Width at least").fill("500")
    page.get_by_label("Width at least").press("Enter")
    expect(page.get_by_role("list", name="Filters in use")).to_contain_text("at least 500 pixels wide")
    expect(shots(page)).to_have_count(4)
    page.get_by_label("In words of the filter language").fill("format = 'JPEG'")
    page.get_by_label("In words of the filter language").press("Enter")
    expect(shots(page)).to_have_count(2)
    inspect(page, "filters")
    page.reload()
    expect(shots(page)).to_have_count(2)
    expect(page.get_by_role("checkbox", name=re.compile("^space"))).to_be_checked()
    page.get_by_role("button", name="Remove in space").click()
    expect(page.get_by_role("heading", name="No picture fits the filters")).to_be_visible()
    page.get_by_role("button", name="Remove the filters").click()
    expect(shots(page)).to_have_count(28)
    page.get_by_role("checkbox", name=re.compile("^2021")).check()
    page.get_by_role("checkbox", name=re.compile("^Canon")).check()
    expect(shots(page)).to_have_count(2)


def test_labels_are_put_on_what_is_shown(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    page.keyboard.press("l")
    page.keyboard.type("a vehicle, an animal, a texture")
    tally = page.get_by_role("group", name="Show only")
    expect(tally.get_by_role("button", name="All: 28 pictures")).to_be_visible()
    expect(shots(page).first.locator(".badge")).to_be_visible()
    inspect(page, "labels")
    animals = tally.get_by_role("button", name=re.compile("^an animal: "))
    count = int(re.findall(r"\d+", animals.get_attribute("aria-label") or "")[0])
    animals.click()
    expect(shots(page)).to_have_count(count)
    expect(page.locator("#grid .shot:visible .badge", has_text="an animal")).to_have_count(count)
    expect(animals).to_be_focused()
    page.get_by_role("checkbox", name="or none of these").check()
    expect(tally.get_by_role("button", name=re.compile("^none of these: "))).to_be_visible()
    page.locator("#labels").get_by_role("button", name="Clear").click()
    expect(tally).to_be_hidden()
    expect(page.locator(".badge:visible")).to_have_count(0)


def under_way(route: Route) -> None:
    """A job that was just begun, told of as if some of it were done."""
    answer = route.fetch()
    job = answer.json()
    if route.request.method == "POST":
        job |= {"state": "running", "stage": "indexing", "done": 12, "total": 30}
    route.fulfill(response=answer, json=job)


def test_an_update_shows_its_progress_and_what_it_could_not_read(page: Page, page_album: Path) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    expect(shots(page)).to_have_count(28)
    (page_album / "broken <b>.jpg").write_bytes(b"\xff\xd8\xff\xe0 this ends too early")
    shutil.copy(page_album / "kitchen" / "coffee.png", page_album / "again.png")
    # Two files are done in no time: what the server tells of them is held until the progress has been seen.
    held: list[Route] = []
    page.route("**/api/v1/jobs", under_way)
    page.route("**/api/v1/jobs/*/events", lambda route: held.append(route))
    try:
        page.get_by_role("button", name="Update").click()
        bar = page.get_by_role("progressbar", name="Progress of the update")
        expect(bar).to_have_js_property("value", 12)
        expect(page.locator("#notices")).to_contain_text("Updating the index: indexing 12 of 30")
        expect(page.get_by_role("button", name="Update")).to_be_disabled()
        inspect(page, "indexing")
        held[0].continue_()
        expect(page.locator("#notices")).to_contain_text("The index is up to date", timeout=120_000)
        expect(page.locator("#notices")).to_contain_text("1 file could not be read.")
        page.get_by_text("What could not be read").click()
        expect(page.get_by_role("listitem").filter(has_text="broken <b>.jpg")).to_be_visible()
        inspect(page)
        expect(page.get_by_role("button", name="Update")).to_be_enabled()
        page.get_by_role("button", name="Close the summary").click()
        expect(page.get_by_role("button", name="Update")).to_be_focused()
    finally:
        (page_album / "broken <b>.jpg").unlink()
        (page_album / "again.png").unlink()
    expect(shots(page)).to_have_count(28)  # a copy is no further picture
