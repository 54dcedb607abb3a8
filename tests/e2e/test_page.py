"""The page as people use it, in a real browser, with the real model behind it."""

import base64
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, Route, expect

from service.records import EMOTIONS
from tests import videos
from tests.e2e.browser import PATIENCE, chromium, playing, watched_page
from tests.e2e.conftest import ROOT, Server

PORTRAIT = ROOT / "examples" / "eileen-collins.jpg"

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with playing() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with chromium(playwright) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    with watched_page(browser, server.url) as page:
        yield page


def open_file(page: Page, path: Path) -> None:
    page.set_input_files("#file", path)


def heat(page: Page) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """What lies over the picture, RGBA."""
    url = page.locator("#heat").evaluate("canvas => canvas.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.array(image.convert("RGBA"))


def test_the_document_of_the_api_is_read_and_tried_with_no_other_host(
    browser: Browser, server: Server
) -> None:
    refused: list[str] = []
    with watched_page(browser, f"{server.url}/docs", base=server.url) as page:
        page.on("console", lambda said: refused.append(said.text) if said.type == "error" else None)
        page.reload()
        expect(page.get_by_text("/classify/video", exact=True)).to_be_visible()
        page.get_by_role("button", name=re.compile("livez")).first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        expect(page.locator(".live-responses-table")).to_contain_text('"live": true')
    assert refused == []


def test_a_photo_gets_its_faces_boxed_and_scored(
    page: Page, server: Server, photograph: bytes
) -> None:
    open_file(page, PORTRAIT)
    expect(page.locator("#emotion")).to_have_text("Happiness")
    mark = page.get_by_role("button", name="Face 1: Happiness")
    drawn, frame = mark.bounding_box(), page.locator("#frame").bounding_box()
    assert drawn is not None
    assert frame is not None
    (face,) = httpx.post(
        f"{server.url}/classify", content=photograph, headers={"Content-Type": "image/jpeg"}
    ).json()["faces"]
    scale = frame["width"] / 512
    assert drawn["x"] - frame["x"] == pytest.approx(face["box"]["x"] * scale, abs=1)
    assert drawn["height"] == pytest.approx(face["box"]["height"] * scale, abs=1)
    assert page.locator("#bars button").count() == len(EMOTIONS)
    expect(page.get_by_role("status")).to_have_text("One face.")


def test_an_emotion_that_is_chosen_shows_where_it_comes_from(
    page: Page, server: Server, photograph: bytes
) -> None:
    open_file(page, PORTRAIT)
    page.get_by_role("button", name="Surprise", exact=False).last.click()
    expect(page.locator("#why-words")).to_contain_text("speaks for surprise")
    shown = heat(page)
    drawn = httpx.post(
        f"{server.url}/explain",
        params={"target": "surprise", "alpha": 1},
        content=photograph,
        headers={"Content-Type": "image/jpeg"},
    )
    with Image.open(io.BytesIO(drawn.content)) as image:
        oracle = np.array(image.convert("RGB"))[:512, :512]
    covered = shown[..., 3] == 255
    assert 60**2 < covered.sum() < 110**2
    differences = np.abs(shown[covered][:, :3].astype(int) - oracle[covered].astype(int))
    assert np.median(differences) <= 4


def test_the_strength_of_the_heat_follows_the_slider_without_asking_again(page: Page) -> None:
    open_file(page, PORTRAIT)
    page.locator("#bars button").first.click()
    expect(page.locator("#why-words")).not_to_be_empty()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("Strength of the heat map").fill("0.8")
    expect(page.locator("#heat")).to_have_css("opacity", "0.8")
    assert asked == []


@pytest.mark.parametrize(
    ("control", "choice"),
    [("Method", "layercam"), ("Layer", "conv3"), ("Colours", "viridis")],
)
def test_another_way_to_explain_gives_another_map(page: Page, control: str, choice: str) -> None:
    open_file(page, PORTRAIT)
    if control == "Method":  # at conv5 they agree
        page.locator("#layer").evaluate("select => { select.value = 'conv4'; }")
    page.locator("#bars button").first.click()
    expect(page.locator("#why-words")).not_to_be_empty()
    before = heat(page)
    with page.expect_response(lambda response: f"{choice}" in response.url):
        page.get_by_label(control, exact=True).select_option(choice)
    expect(page.locator("#frame")).not_to_have_attribute("aria-busy", "true")
    assert (heat(page) != before).any()


def test_all_of_it_works_from_the_keyboard(page: Page) -> None:
    open_file(page, PORTRAIT)
    expect(page.locator("#emotion")).to_have_text("Happiness")
    page.locator("#marks button").focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator("#bars button").nth(5).evaluate("each => each === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#bars button").nth(5)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("heading", name="Why fear?")).to_be_visible()


def test_scores_and_pictures_can_be_kept(page: Page, tmp_path: Path) -> None:
    open_file(page, PORTRAIT)
    with page.expect_download() as scores:
        page.get_by_role("button", name="Scores as CSV").click()
    assert scores.value.suggested_filename == "eileen-collins.csv"
    (row,) = csv.DictReader(io.StringIO(Path(scores.value.path()).read_text()))
    assert row["emotion"] == "happiness"
    assert sum(float(row[emotion]) for emotion in EMOTIONS) == pytest.approx(1, abs=1e-4)
    page.get_by_label("Picture to save").select_option("panel")
    with page.expect_download() as picture:
        page.get_by_role("button", name="Save PNG").click()
    picture.value.save_as(tmp_path / "panel.png")
    with Image.open(tmp_path / "panel.png") as panel:
        assert panel.width > 2 * panel.height


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
    if route.request.headers.get("x-api-key") == "open sesame":
        route.continue_()
    else:
        route.fulfill(status=401, json={"title": "A key is needed", "status": 401})


def test_a_key_is_asked_for_once_where_the_service_wants_one(page: Page) -> None:
    for path in ("models*", "models/**", "classify"):
        page.route(f"**/{path}", guarded)
    page.reload()
    expect(page.locator("#serving")).to_be_empty()
    open_file(page, PORTRAIT)
    page.get_by_label("API key", exact=True).fill("open sesame")
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("#emotion")).to_have_text("Happiness")
    expect(page.locator("#serving")).to_contain_text("int8")
    assert page.evaluate("Object.keys(localStorage)") == []
    page.get_by_role("link", name="model card").click()
    page.wait_for_url("blob:**")
    expect(page.locator("body")).to_contain_text("10478086")


def test_what_is_opened_meanwhile_has_a_progress_of_its_own(page: Page, walk: Path) -> None:
    page.route("**/classify**", lambda _: None)  # nobody answers
    words = page.locator("#progress-words")
    for path, doing in (
        (PORTRAIT, "Looking"),
        (walk, "Sending"),
        (walk, "Sending"),
        (PORTRAIT, "Looking"),
    ):
        open_file(page, path)
        expect(words).to_contain_text(doing)
    page.evaluate("() => new Promise(requestAnimationFrame)")  # what was left off has ended
    expect(words).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(words).to_be_hidden()


def test_it_says_what_it_does_not_know(page: Page) -> None:
    limits = page.get_by_role("contentinfo")
    expect(limits).to_contain_text("Expression, not feeling")
    expect(limits).to_contain_text("No neutral face")
    expect(limits).to_contain_text("Of faces it had never seen")


def test_on_a_phone_nothing_reaches_over_the_edge(browser: Browser, server: Server) -> None:
    with watched_page(browser, server.url, viewport={"width": 360, "height": 740}) as page:
        open_file(page, PORTRAIT)
        page.locator("#bars button").first.click()
        expect(page.locator("#why-words")).not_to_be_empty()
        assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of video in which the portrait wanders from left to right."""
    path = tmp_path_factory.mktemp("video") / "walk.webm"
    path.write_bytes(videos.encode(videos.moving_portrait(24, (480, 360), 320), "webm", rate=8))
    return path


def test_a_video_is_followed_on_a_timeline_that_seeks(page: Page, walk: Path) -> None:
    open_file(page, walk)
    expect(page.get_by_role("status")).to_contain_text("one person")
    timeline = page.get_by_role("slider", name="Time in the video")
    page.get_by_role("button", name="Person 1").wait_for()
    first = page.locator("#marks button").bounding_box()
    timeline.focus()
    page.keyboard.press("End")
    expect(page.locator("#film")).to_have_js_property("seeking", False)
    expect(timeline).to_have_attribute("aria-valuetext", re.compile("person 1 happiness"))
    last = page.locator("#marks button").bounding_box()
    assert first is not None
    assert last is not None
    assert last["x"] > first["x"] + 50
    with page.expect_download() as kept:
        page.get_by_role("button", name="Scores as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(kept.value.path()).read_text())))
    assert {row["track"] for row in rows} == {"1"}
    assert float(rows[-1]["time"]) > 2


def test_a_paused_video_is_explained_where_it_stands(page: Page, walk: Path) -> None:
    open_file(page, walk)
    expect(page.get_by_role("status")).to_contain_text("one person")
    page.locator("#bars button").first.click()
    expect(page.locator("#why-words")).to_contain_text("speaks for happiness")
    assert (heat(page)[..., 3] > 0).any()


def test_between_two_frames_the_one_that_was_looked_at_is_shown_and_explained(
    page: Page, walk: Path
) -> None:
    open_file(page, walk)
    page.get_by_label("Look at").select_option("2")
    expect(page.get_by_role("status")).to_contain_text("6 frames")
    film = page.locator("#film")
    film.evaluate("film => { film.currentTime = 1.4; }")
    expect(film).to_have_js_property("seeking", False)
    page.locator("#bars button").first.click()
    expect(page.locator("#why-words")).to_contain_text("speaks for happiness")
    assert film.evaluate("film => film.currentTime") == pytest.approx(1, abs=0.02)
    assert (heat(page)[..., 3] > 0).any()


def test_the_annotated_video_can_be_kept(page: Page, walk: Path) -> None:
    open_file(page, walk)
    expect(page.get_by_role("status")).to_contain_text("one person")
    with page.expect_download() as kept:
        page.get_by_role("button", name="Video as MP4").click()
    assert kept.value.suggested_filename == "walk-gimefive.mp4"
    assert Path(kept.value.path()).read_bytes()[4:8] == b"ftyp"


def test_a_video_that_the_browser_cannot_play_is_classified_all_the_same(
    page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "walk.avi"
    path.write_bytes(videos.encode(videos.moving_portrait(16, (480, 360), 320), "avi", rate=8))
    open_file(page, path)
    expect(page.get_by_role("status")).to_contain_text("one person")
    expect(page.get_by_role("status")).to_contain_text("cannot play")
    mark = page.get_by_role("button", name="Person 1: Happiness")
    first = mark.bounding_box()
    timeline = page.get_by_role("slider", name="Time in the video")
    timeline.focus()
    page.keyboard.press("End")
    expect(timeline).to_have_attribute("aria-valuetext", re.compile("person 1 happiness"))
    last = mark.bounding_box()
    assert first is not None
    assert last is not None
    assert last["x"] > first["x"] + 50
    page.locator("#bars button").first.click()
    expect(page.get_by_role("alert")).to_contain_text("cannot play")


def test_what_is_no_video_is_told(page: Page, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_text("no video at all")
    open_file(page, tmp_path / "film.mp4")
    expect(page.get_by_role("alert")).to_be_visible()


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
