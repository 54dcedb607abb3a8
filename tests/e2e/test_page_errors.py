"""Error messages and the API key dialog of the page."""

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.e2e.browser import PORTRAIT, open_file


def test_an_invalid_image_shows_the_message_of_the_service(page: Page, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("no picture at all")
    open_file(page, tmp_path / "holiday.jpg")
    expect(page.get_by_role("alert")).to_contain_text("Not a readable image")
    expect(page.get_by_role("alert")).to_contain_text("send a JPEG")


def test_an_invalid_image_clears_the_previous_one(page: Page, tmp_path: Path) -> None:
    open_file(page, PORTRAIT)
    expect(page.locator("#emotion")).to_have_text("Happiness")
    (tmp_path / "holiday.jpg").write_text("no picture at all")
    open_file(page, tmp_path / "holiday.jpg")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator("#photo")).to_be_hidden()
    expect(page.get_by_role("button", name="Scores as CSV")).to_be_hidden()


def test_an_image_without_a_face_is_reported(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (320, 240), "grey").save(tmp_path / "wall.png")
    open_file(page, tmp_path / "wall.png")
    expect(page.get_by_role("status")).to_contain_text("No face was found. Try")
    expect(page.get_by_role("button", name="Scores as CSV")).to_be_hidden()


def test_an_unreachable_service_is_reported_and_can_be_retried(page: Page) -> None:
    page.route("**/classify", lambda route: route.abort())
    open_file(page, PORTRAIT)
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.unroute("**/classify")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#emotion")).to_have_text("Happiness")
    expect(page.get_by_role("alert")).to_be_hidden()


def require_key(route: Route) -> None:
    if route.request.headers.get("x-api-key") == "open-sesame":
        route.continue_()
    else:
        route.fulfill(status=401, json={"title": "A key is needed", "status": 401})


def test_the_api_key_is_requested_once_and_not_stored(page: Page) -> None:
    for path in ("models*", "models/**", "classify"):
        page.route(f"**/{path}", require_key)
    page.reload()
    expect(page.locator("#serving")).to_be_empty()
    open_file(page, PORTRAIT)
    page.get_by_label("API key", exact=True).fill("open-sesame")
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("#emotion")).to_have_text("Happiness")
    expect(page.locator("#serving")).to_contain_text("int8")
    assert page.evaluate("Object.keys(localStorage)") == []
    page.get_by_role("link", name="model card").click()
    page.wait_for_url("blob:**")
    expect(page.locator("body")).to_contain_text("10478086")


def test_a_wrong_api_key_is_reported_and_can_be_replaced(page: Page) -> None:
    page.route("**/classify", require_key)
    open_file(page, PORTRAIT)
    expect(page.get_by_role("dialog")).to_contain_text("needs an API key")
    page.get_by_label("API key", exact=True).fill("open says me")
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_label("API key", exact=True)).to_have_js_property("validity.valid", False)
    page.get_by_label("API key", exact=True).fill("open-says-me")
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_role("dialog")).to_contain_text("does not accept this key")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Try again").click()
    page.get_by_label("API key", exact=True).fill("open-sesame")
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("#emotion")).to_have_text("Happiness")


def test_an_unsupported_file_is_reported_and_the_current_image_stays(
    page: Page, tmp_path: Path
) -> None:
    open_file(page, PORTRAIT)
    expect(page.locator("#emotion")).to_have_text("Happiness")
    (tmp_path / "letter.pdf").write_bytes(b"%PDF-1.7")
    open_file(page, tmp_path / "letter.pdf")
    expect(page.get_by_role("alert")).to_contain_text("This page takes photos (JPEG,")
    expect(page.locator("#emotion")).to_have_text("Happiness")
    expect(page.locator("#source")).to_have_text(PORTRAIT.name)


@pytest.mark.parametrize(
    ("status", "words"),
    [(413, "choose a smaller one"), (502, "Try again in a moment"), (504, "took too long")],
)
def test_an_error_of_a_proxy_is_explained_in_plain_words(
    page: Page, status: int, words: str
) -> None:
    page.route("**/classify", lambda route: route.fulfill(status=status, body="<h1>nginx</h1>"))
    open_file(page, PORTRAIT)
    expect(page.get_by_role("alert")).to_contain_text(words)


def test_an_error_status_is_shown_only_once(page: Page) -> None:
    page.route("**/classify", lambda route: route.fulfill(status=500, body="<h1>nginx</h1>"))
    open_file(page, PORTRAIT)
    expect(page.get_by_role("alert")).to_contain_text("status 500")
    assert page.get_by_role("alert").inner_text().count("500") == 1


def test_a_lost_connection_during_a_video_is_reported(page: Page, walk: Path) -> None:
    page.evaluate(
        "() => { ReadableStreamDefaultReader.prototype.read ="
        " () => Promise.reject(new TypeError('network error')); }"
    )
    open_file(page, walk)
    expect(page.get_by_role("alert")).to_contain_text("connection was lost")
