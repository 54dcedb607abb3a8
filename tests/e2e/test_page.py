"""The page in a real browser, with the real model."""

import csv
import io
import re
from itertools import combinations
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from service.records import EMOTIONS
from tests.e2e.browser import PORTRAIT, face, heat, open_file, wait_painted, watched_page
from tests.servers import Server
from tests.waiting import LIMIT


def test_the_api_docs_work_without_another_host(browser: Browser, server: Server) -> None:
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


def test_a_photo_shows_its_faces_with_boxes_and_scores(
    page: Page, server: Server, photograph: bytes
) -> None:
    open_file(page, PORTRAIT)
    expect(page.locator("#emotion")).to_have_text("Happiness")
    mark = page.get_by_role("button", name="Face 1: Happiness")
    drawn, frame = mark.bounding_box(), page.locator("#frame").bounding_box()
    assert drawn is not None
    assert frame is not None
    (face,) = httpx.post(
        f"{server.url}/classify",
        content=photograph,
        headers={"Content-Type": "image/jpeg"},
        timeout=LIMIT,
    ).json()["faces"]
    scale = frame["width"] / 512
    assert drawn["x"] - frame["x"] == pytest.approx(face["box"]["x"] * scale, abs=1)
    assert drawn["height"] == pytest.approx(face["box"]["height"] * scale, abs=1)
    assert page.locator("#bars button").count() == len(EMOTIONS)
    expect(page.get_by_role("status")).to_have_text("One face.")


def test_choosing_an_emotion_shows_its_heat_map(
    page: Page, server: Server, photograph: bytes
) -> None:
    open_file(page, PORTRAIT)
    page.get_by_role("button", name="Surprise", exact=False).last.click()
    expect(page.locator("#why-words")).to_contain_text("evidence for surprise")
    shown = heat(page)
    drawn = httpx.post(
        f"{server.url}/explain",
        params={"target": "surprise", "alpha": 1},
        content=photograph,
        headers={"Content-Type": "image/jpeg"},
        timeout=LIMIT,
    )
    with Image.open(io.BytesIO(drawn.content)) as image:
        oracle = np.array(image.convert("RGB"))[:512, :512]
    covered = shown[..., 3] == 255
    assert 60**2 < covered.sum() < 110**2
    differences = np.abs(shown[covered][:, :3].astype(int) - oracle[covered].astype(int))
    assert np.median(differences) <= 4


def test_the_opacity_slider_changes_the_heat_map_without_a_request(page: Page) -> None:
    expect(page.locator("#serving")).not_to_be_empty()
    open_file(page, PORTRAIT)
    page.locator("#bars button").first.click()
    expect(page.locator("#why-words")).to_contain_text("evidence for happiness")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("Heat map opacity").fill("0.8")
    expect(page.locator("#heat")).to_have_css("opacity", "0.8")
    assert asked == []


@pytest.mark.parametrize(
    ("control", "choice"),
    [("Method", "layercam"), ("Layer", "conv3"), ("Colours", "viridis")],
)
def test_another_explain_option_gives_another_heat_map(
    page: Page, control: str, choice: str
) -> None:
    open_file(page, PORTRAIT)
    if control == "Method":  # at conv5 the methods give the same map
        page.locator("#layer").evaluate("select => { select.value = 'conv4'; }")
    page.locator("#bars button").first.click()
    expect(page.locator("#why-words")).to_contain_text("evidence for happiness")
    before = heat(page)
    with page.expect_response(lambda response: f"{choice}" in response.url):
        page.get_by_label(control, exact=True).select_option(choice)
    expect(page.locator("#frame")).not_to_have_attribute("aria-busy", "true")
    assert (heat(page) != before).any()


def test_activations_are_not_described_as_evidence_for_an_emotion(page: Page) -> None:
    open_file(page, PORTRAIT)
    page.locator("#bars button").first.click()
    expect(page.locator("#why-words")).to_contain_text("evidence for happiness")
    page.get_by_label("Method").select_option("activations")
    expect(page.locator("#why-words")).to_contain_text("whatever the emotion")


def test_the_previous_heat_map_is_cleared_while_the_next_one_loads(page: Page) -> None:
    open_file(page, PORTRAIT)
    page.locator("#bars button").first.click()
    expect(page.locator("#why-words")).to_contain_text("evidence for happiness")
    wait_painted(page, "#closeup-face")
    page.route("**/explain**", lambda _: None)  # never answers
    page.locator("#bars button").nth(5).click()
    expect(page.get_by_role("heading", name="Why fear?")).to_be_visible()
    expect(page.locator("#why-words")).to_have_text("Computing the heat map.")
    for canvas in ("#closeup-face", "#closeup-heat", "#heat"):
        wait_painted(page, canvas, painted=False)


def test_an_explain_problem_is_hidden_when_the_next_request_succeeds(page: Page) -> None:
    open_file(page, PORTRAIT)
    page.route("**/explain**", lambda route: route.fulfill(status=503, json={}))
    page.locator("#bars button").first.click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.unroute("**/explain**")
    page.locator("#bars button").nth(5).click()
    expect(page.locator("#why-words")).to_contain_text("evidence for fear")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_the_page_can_be_used_with_the_keyboard(page: Page) -> None:
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
    page.get_by_role("button", name="Hide the heat map").press("Enter")
    expect(page.locator("#bars button").nth(5)).to_be_focused()


def test_opening_a_file_moves_the_focus_to_the_stage(page: Page) -> None:
    page.get_by_role("button", name="Choose a photo").focus()
    open_file(page, PORTRAIT)
    expect(page.locator("#stage")).to_be_focused()
    expect(page.get_by_role("heading", level=1)).to_have_text("GiMeFive")


def test_scores_and_images_can_be_downloaded(page: Page, tmp_path: Path) -> None:
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


def test_each_newly_opened_file_shows_its_own_progress(page: Page, walk: Path) -> None:
    page.route("**/classify**", lambda _: None)  # never answers
    words = page.locator("#progress-words")
    for path, doing in (
        (PORTRAIT, "Looking"),
        (walk, "Sending"),
        (walk, "Sending"),
        (PORTRAIT, "Looking"),
    ):
        open_file(page, path)
        expect(words).to_contain_text(doing)
    page.evaluate("() => new Promise(requestAnimationFrame)")  # the aborted request has ended
    expect(words).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(words).to_be_hidden()
    expect(page.locator("#stage")).to_be_focused()


def test_a_photo_that_decodes_late_does_not_cover_a_video_opened_later(
    page: Page, walk: Path
) -> None:
    page.evaluate(
        "() => { HTMLImageElement.prototype.decode ="
        " () => new Promise(resolve => { window.decoded = resolve; }); }"
    )
    open_file(page, PORTRAIT)
    open_file(page, walk)
    expect(page.get_by_role("status")).to_contain_text("one person")
    page.evaluate("() => { decoded(); return new Promise(requestAnimationFrame); }")
    expect(page.locator("#film")).to_be_visible()
    expect(page.locator("#photo")).to_be_hidden()


def test_cancelling_by_double_click_activates_nothing_else_and_can_be_retried(
    page: Page,
) -> None:
    page.route("**/classify", lambda _: None)  # never answers
    open_file(page, PORTRAIT)
    page.get_by_role("button", name="Cancel").dblclick()
    expect(page.locator("#source")).to_have_text(PORTRAIT.name)
    expect(page.get_by_role("alert")).to_contain_text("Cancelled")
    page.unroute("**/classify")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#emotion")).to_have_text("Happiness")


def visible_tags(page: Page) -> list[tuple[float, float, float, float]]:
    """The left, top, right and bottom of each visible tag, in CSS pixels."""
    found: list[tuple[float, float, float, float]] = page.locator(".tag").evaluate_all(
        "tags => tags.filter(tag => getComputedStyle(tag).visibility === 'visible')"
        ".map(tag => tag.getBoundingClientRect())"
        ".map(({left, top, right, bottom}) => [left, top, right, bottom])"
    )
    return found


def show_faces(
    page: Page, path: Path, faces: list[dict[str, object]], size: tuple[int, int] = (640, 480)
) -> None:
    """Open a grey image for which the service returns these faces."""
    Image.new("RGB", size, "grey").save(path)
    answer = {"image": {"width": size[0], "height": size[1]}, "faces": faces}
    page.route("**/classify", lambda route: route.fulfill(json=answer))
    open_file(page, path)
    expect(page.get_by_role("status")).to_contain_text("face")
    page.evaluate("() => new Promise(requestAnimationFrame)")  # the tags are placed again by then


def test_tags_stay_in_the_image_and_overlap_neither_faces_nor_each_other(
    page: Page, tmp_path: Path
) -> None:
    corners = [(0, 0), (520, 0), (0, 330), (520, 330), (250, 165), (390, 165)]
    show_faces(page, tmp_path / "group.png", [face(x, y, 120, 150) for x, y in corners])
    frame = page.locator("#frame").bounding_box()
    assert frame is not None
    tags = visible_tags(page)
    assert len(tags) >= 5
    for left, top, right, bottom in tags:
        assert frame["x"] <= left < right <= frame["x"] + frame["width"] + 0.5
        assert frame["y"] <= top < bottom <= frame["y"] + frame["height"] + 0.5
    boxes: list[tuple[float, float, float, float]] = page.locator("#marks button").evaluate_all(
        "marks => marks.map(mark => mark.getBoundingClientRect())"
        ".map(({left, top, right, bottom}) => [left, top, right, bottom])"
    )
    for a, b in [*combinations(tags, 2), *((tag, box) for tag in tags for box in boxes)]:
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_in_a_crowd_only_the_selected_and_the_hovered_face_have_tags(
    page: Page, tmp_path: Path
) -> None:
    crowd = [face(x, y, 40, 50) for y in range(60, 400, 90) for x in range(20, 600, 80)]
    show_faces(page, tmp_path / "crowd.png", crowd)
    (first,) = visible_tags(page)
    page.get_by_role("button", name="Face 32: Happiness").hover()
    expect(page.locator(".tag").filter(visible=True)).to_have_count(2)
    assert first in visible_tags(page)


def test_the_page_states_the_limits_of_the_model(page: Page) -> None:
    limits = page.get_by_role("contentinfo")
    expect(limits).to_contain_text("Expression, not feeling")
    expect(limits).to_contain_text("No neutral face")
    expect(limits).to_contain_text("On faces it had never seen")


def test_a_narrow_screen_has_no_horizontal_overflow(browser: Browser, server: Server) -> None:
    with watched_page(browser, server.url, viewport={"width": 360, "height": 740}) as page:
        open_file(page, PORTRAIT)
        page.locator("#bars button").first.click()
        expect(page.locator("#why-words")).to_contain_text("evidence for happiness")
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_save_buttons_are_visible_without_scrolling(browser: Browser, server: Server) -> None:
    with watched_page(browser, server.url, viewport={"width": 1366, "height": 768}) as page:
        open_file(page, PORTRAIT)
        expect(page.get_by_role("button", name="Save PNG")).to_be_in_viewport(ratio=1)


def test_on_a_phone_the_first_score_is_visible_below_a_tall_image(
    browser: Browser, server: Server, tmp_path: Path
) -> None:
    with watched_page(browser, server.url, viewport={"width": 390, "height": 844}) as page:
        show_faces(page, tmp_path / "high.png", [face(100, 100, 300, 400)], (540, 960))
        expect(page.locator("#bars button").first).to_be_in_viewport(ratio=1)
