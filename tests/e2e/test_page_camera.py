"""The camera on the page."""

import io
import json
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, WebSocketRoute, expect

from tests.e2e.browser import PORTRAIT, chromium, face, heat, open_file, wait_painted, watched_page
from tests.servers import Server


@pytest.fixture(scope="module")
def camera(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose fake camera shows the portrait."""
    path = tmp_path_factory.mktemp("camera") / "portrait.mjpeg"
    with Image.open(PORTRAIT) as portrait:
        frame = io.BytesIO()
        portrait.resize((640, 640)).crop((0, 0, 640, 480)).save(frame, "JPEG")
    path.write_bytes(frame.getvalue() * 10)
    with chromium(playwright, f"--use-file-for-fake-video-capture={path}") as browser:
        yield browser


def test_the_camera_is_classified_live_and_can_be_paused_and_explained(
    camera: Browser, server: Server
) -> None:
    with watched_page(camera, server.url) as page:
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_role("button", name="Person 1: Happiness").wait_for()
        expect(page.locator("#figures")).to_contain_text("answers per second")
        page.get_by_label("Show the evidence for each face").check()
        expect(page.locator("#status")).to_have_text("Live.")
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#status")).to_contain_text("Paused")
        page.locator("#bars button").first.click()
        expect(page.locator("#why-words")).to_contain_text("evidence for happiness")
        assert (heat(page)[..., 3] > 0).any()


def test_a_closed_stream_shows_its_reason_and_a_retry_button(
    camera: Browser, server: Server
) -> None:
    with watched_page(camera, server.url) as page:
        reason = "too many cameras are connected (64)"
        page.route_web_socket("**/live*", lambda socket: socket.close(code=1013, reason=reason))
        page.get_by_role("button", name="Use the camera").click()
        expect(page.get_by_role("alert")).to_contain_text("Too many cameras are connected (64)")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NotAllowedError", "allow it next to the address"),
        ("NotReadableError", "Another program may be using"),
        ("NotFoundError", "found no camera"),
    ],
)
def test_an_unavailable_camera_is_reported_and_the_current_image_stays(
    page: Page, name: str, words: str
) -> None:
    page.evaluate(
        "name => { navigator.mediaDevices.getUserMedia = () => "
        "Promise.reject(new DOMException('no', name)); }",
        name,
    )
    open_file(page, PORTRAIT)
    expect(page.locator("#emotion")).to_have_text("Happiness")
    page.get_by_role("button", name="Camera", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(page.locator("#emotion")).to_have_text("Happiness")
    expect(page.locator("#source")).to_have_text(PORTRAIT.name)


@pytest.fixture
def live(camera: Browser, server: Server) -> Iterator[Page]:
    """The page with the camera on and at least one frame answered."""
    with watched_page(camera, server.url) as page:
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_role("button", name="Person 1: Happiness").wait_for()
        yield page


def test_the_heat_map_follows_its_checkbox(live: Page) -> None:
    wish = live.get_by_label("Show the evidence for each face")
    wish.check()
    wait_painted(live, "#heat")
    wish.uncheck()
    wait_painted(live, "#heat", painted=False)


def test_choosing_an_emotion_pauses_the_camera(live: Page) -> None:
    live.locator("#bars button").first.click()
    expect(live.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "true")
    expect(live.locator("#why-words")).to_contain_text("evidence for happiness")
    live.get_by_label("Show the evidence for each face").check()
    expect(live.locator("#status")).to_have_text("Paused.")


def test_turning_the_camera_off_stops_its_track(live: Page) -> None:
    track = live.locator("#camera").evaluate_handle("video => video.srcObject.getTracks()[0]")
    live.get_by_role("button", name="Turn off").click()
    expect(live.get_by_role("button", name="Use the camera")).to_be_visible()
    expect(live.locator("#camera")).to_be_hidden()
    assert track.evaluate("track => track.readyState") == "ended"


def test_a_disconnected_camera_is_reported_and_can_be_restarted(live: Page) -> None:
    live.locator("#camera").evaluate(
        "video => video.srcObject.getTracks()[0].dispatchEvent(new Event('ended'))"
    )
    expect(live.get_by_role("alert")).to_contain_text("The camera was disconnected")
    live.get_by_role("button", name="Try again").click()
    live.get_by_role("button", name="Person 1: Happiness").wait_for()


def test_a_second_click_while_the_camera_starts_is_ignored(camera: Browser, server: Server) -> None:
    with watched_page(camera, server.url) as page:
        page.evaluate("""() => {
          const { play } = HTMLMediaElement.prototype;
          HTMLMediaElement.prototype.play = function () {
            HTMLMediaElement.prototype.play = play;
            const playing = this.play();
            document.querySelector("[data-do=camera]").click();
            return playing;
          };
        }""")
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_role("button", name="Person 1: Happiness").wait_for()


def test_no_frame_is_sent_twice(camera: Browser, server: Server) -> None:
    sent: list[object] = []

    def answer(socket: WebSocketRoute) -> None:
        def received(frame: str | bytes) -> None:
            image = {"width": 640, "height": 480}
            faces = [face(100, 100, 120, 150, track=len(sent) + 1)]
            socket.send(json.dumps({"seq": len(sent), "image": image, "faces": faces}))
            sent.append(frame)

        socket.on_message(received)

    with watched_page(camera, server.url) as page:
        page.evaluate(
            "() => { HTMLVideoElement.prototype.requestVideoFrameCallback ="
            " next => { window.frame = next; }; }"
        )
        page.route_web_socket("**/live*", answer)
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_role("button", name="Person 1: Happiness").wait_for()
        page.evaluate("frame()")
        page.get_by_role("button", name="Person 2: Happiness").wait_for()
        assert len(sent) == 2
