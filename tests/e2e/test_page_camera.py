"""The camera on the page."""

import io
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, Playwright, expect

from tests.e2e.browser import PORTRAIT, chromium, heat, watched_page
from tests.e2e.conftest import Server


@pytest.fixture(scope="module")
def camera(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose camera sees the portrait."""
    path = tmp_path_factory.mktemp("camera") / "portrait.mjpeg"
    with Image.open(PORTRAIT) as portrait:
        frame = io.BytesIO()
        portrait.resize((640, 640)).crop((0, 0, 640, 480)).save(frame, "JPEG")
    path.write_bytes(frame.getvalue() * 10)
    with chromium(playwright, f"--use-file-for-fake-video-capture={path}") as browser:
        yield browser


def test_the_camera_is_answered_live_and_can_be_paused_and_explained(
    camera: Browser, server: Server
) -> None:
    with watched_page(camera, server.url) as page:
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_role("button", name="Person 1: Happiness").wait_for()
        expect(page.locator("#figures")).to_contain_text("answers a second")
        page.get_by_label("Show what speaks for each face").check()
        expect(page.locator("#status")).to_have_text("Looking.")
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#status")).to_contain_text("Paused")
        page.locator("#bars button").first.click()
        expect(page.locator("#why-words")).to_contain_text("speaks for happiness")
        assert (heat(page)[..., 3] > 0).any()


def test_a_stream_that_ends_is_told_with_its_reason_and_can_be_started_again(
    camera: Browser, server: Server
) -> None:
    with watched_page(camera, server.url) as page:
        page.route_web_socket(
            "**/live*", lambda socket: socket.close(code=1013, reason="64 cameras are on already")
        )
        page.get_by_role("button", name="Use the camera").click()
        expect(page.get_by_role("alert")).to_contain_text("64 cameras are on already")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_camera_that_may_not_be_used_is_told(browser: Browser, server: Server) -> None:
    with watched_page(browser, server.url) as page:
        page.evaluate(
            "() => { navigator.mediaDevices.getUserMedia = () => "
            "Promise.reject(new DOMException('no', 'NotAllowedError')); }"
        )
        page.get_by_role("button", name="Use the camera").click()
        expect(page.get_by_role("alert")).to_contain_text("allow it beside the address")
