"""What the page says when something is wrong, or a key is wanted."""

from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.e2e.browser import PORTRAIT, open_file


def test_what_is_no_picture_is_told_in_the_services_words(page: Page, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("no picture at all")
    open_file(page, tmp_path / "holiday.jpg")
    expect(page.get_by_role("alert")).to_contain_text("Not a readable image")
    expect(page.get_by_role("alert")).to_contain_text("send a JPEG")


def test_a_picture_without_a_face_is_told_so(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (320, 240), "grey").save(tmp_path / "wall.png")
    open_file(page, tmp_path / "wall.png")
    expect(page.get_by_role("status")).to_have_text("No face was found.")


def test_a_service_that_is_gone_is_told_and_can_be_asked_again(page: Page) -> None:
    page.route("**/classify", lambda route: route.abort())
    open_file(page, PORTRAIT)
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.unroute("**/classify")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#emotion")).to_have_text("Happiness")
    expect(page.get_by_role("alert")).to_be_hidden()


def guarded(route: Route) -> None:
    if route.request.headers.get("x-api-key") == "open-sesame":
        route.continue_()
    else:
        route.fulfill(status=401, json={"title": "A key is needed", "status": 401})


def test_a_key_is_asked_for_once_where_the_service_wants_one(page: Page) -> None:
    for path in ("models*", "models/**", "classify"):
        page.route(f"**/{path}", guarded)
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
