"""Videos on the page."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import videos
from tests.e2e.browser import face, heat, open_file, watched_page
from tests.servers import Server


def test_a_person_is_tracked_on_a_timeline_that_seeks(page: Page, walk: Path) -> None:
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


def test_a_video_can_be_explained_at_the_current_frame(page: Page, walk: Path) -> None:
    open_file(page, walk)
    expect(page.get_by_role("status")).to_contain_text("one person")
    page.locator("#bars button").first.click()
    expect(page.locator("#why-words")).to_contain_text("evidence for happiness")
    assert (heat(page)[..., 3] > 0).any()


def test_between_analysed_frames_the_previous_one_is_shown_and_explained(
    page: Page, walk: Path
) -> None:
    open_file(page, walk)
    page.get_by_label("Analyse").select_option("2")
    expect(page.get_by_role("status")).to_contain_text("6 frames")
    seek(page, 1.4)
    page.locator("#bars button").first.click()
    expect(page.locator("#why-words")).to_contain_text("evidence for happiness")
    assert page.locator("#film").evaluate("film => film.currentTime") == pytest.approx(1, abs=0.02)
    assert (heat(page)[..., 3] > 0).any()


def test_the_annotated_video_can_be_downloaded(page: Page, walk: Path) -> None:
    open_file(page, walk)
    expect(page.get_by_role("status")).to_contain_text("one person")
    with page.expect_download() as kept:
        page.get_by_role("button", name="Video as MP4").click()
    assert kept.value.suggested_filename == "walk-gimefive.mp4"
    assert Path(kept.value.path()).read_bytes()[4:8] == b"ftyp"


def test_a_video_that_the_browser_cannot_play_is_still_classified(
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


def test_an_invalid_video_is_reported(page: Page, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_text("no video at all")
    open_file(page, tmp_path / "film.mp4")
    expect(page.get_by_role("alert")).to_contain_text("no video in a known format")


def test_a_video_can_be_played_paused_and_unmuted(page: Page, walk: Path) -> None:
    open_file(page, walk)
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.locator("#film")).to_have_js_property("paused", False)
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator("#film")).to_have_js_property("paused", True)
    page.get_by_role("button", name="Sound").click()
    expect(page.locator("#film")).to_have_js_property("muted", False)


def answer_with(
    page: Page,
    *moments: tuple[float, list[dict[str, object]]],
    summary: dict[str, object] | None = None,
) -> None:
    """Have the service answer a video of three seconds with these faces at these times.

    Without a summary, the answer breaks off.
    """
    lines: list[dict[str, object]] = [
        {"video": {"width": 480, "height": 360, "duration": 3, "sampled_frames": 6}},
        *({"frame": at, "time": time, "faces": faces} for at, (time, faces) in enumerate(moments)),
    ]
    if summary:
        lines.append({"summary": summary})
    body = "".join(json.dumps(line) + "\n" for line in lines)
    page.route("**/classify/video**", lambda route: route.fulfill(body=body))


def seek(page: Page, time: float) -> None:
    page.locator("#film").evaluate("(film, time) => { film.currentTime = time; }", time)
    timeline = page.get_by_role("slider", name="Time in the video")
    expect(timeline).to_have_attribute("aria-valuenow", f"{time:.2f}")


def test_one_frame_and_one_face_are_named_in_the_singular(page: Page, walk: Path) -> None:
    summary: dict[str, object] = {"frames": 1, "faces": 1, "tracks": []}
    answer_with(page, (0, [face(20, 60, 90, 90, track=1)]), summary=summary)
    open_file(page, walk)
    expect(page.get_by_role("status")).to_have_text("1 frame, 1 face.")


def test_people_keep_their_order_and_the_selection_survives_an_absence(
    page: Page, walk: Path
) -> None:
    one, two = face(20, 60, 90, 90, track=1), face(250, 60, 90, 90, track=2)
    answer_with(page, (0, [one, two]), (1, [two, one]), (2, [one]))
    open_file(page, walk)
    people = page.locator("#people button")
    people.nth(1).click()
    expect(people.nth(1)).to_have_attribute("aria-pressed", "true")
    seek(page, 1)
    expect(page.locator("#marks button").first).to_have_attribute("aria-label", re.compile("2"))
    expect(people).to_have_text(["1", "2"])
    expect(people.nth(1)).to_have_attribute("aria-pressed", "true")
    seek(page, 2)
    expect(page.get_by_role("button", name="Person 1: ", pressed=True)).to_be_visible()
    seek(page, 0)
    expect(people.nth(1)).to_have_attribute("aria-pressed", "true")


def test_seeking_to_an_unanalysed_part_is_reported(page: Page, walk: Path) -> None:
    answer_with(page, (0, [face(20, 60, 90, 90, track=1)]))
    open_file(page, walk)
    expect(page.locator("#emotion")).to_have_text("Happiness")
    seek(page, 2)
    expect(page.get_by_role("status")).to_contain_text("has not been analysed")
    seek(page, 0)
    expect(page.get_by_role("status")).to_be_empty()


def test_on_a_phone_the_progress_of_the_video_export_scrolls_into_view(
    browser: Browser, server: Server, walk: Path
) -> None:
    with watched_page(browser, server.url, viewport={"width": 390, "height": 844}) as page:
        page.route("**/explain/video**", lambda _: None)  # never answers
        open_file(page, walk)
        page.get_by_role("button", name="Video as MP4").click()
        expect(page.locator("#progress")).to_be_in_viewport(ratio=1)
