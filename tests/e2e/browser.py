"""A real browser, and a page in it that is checked for errors and foreign requests."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from service.records import EMOTIONS

PORTRAIT = Path(__file__).parents[2] / "examples" / "eileen-collins.jpg"
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
PATIENCE = 120_000
"""The timeout of every browser operation, in milliseconds; generous, for busy machines."""

expect.set_options(timeout=PATIENCE)


@contextmanager
def playwright_instance() -> Iterator[Playwright]:
    """Start Playwright; only one instance can run at a time."""
    if not CHROMIUM.exists():
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright


@contextmanager
def chromium(playwright: Playwright, *flags: str) -> Iterator[Browser]:
    browser = playwright.chromium.launch(
        executable_path=CHROMIUM, args=[*FLAGS, *flags], timeout=PATIENCE
    )
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def watched_page(
    browser: Browser, url: str, *, base: str | None = None, **options: object
) -> Iterator[Page]:
    """Open the page; on exit, check for no errors and no requests outside `base`."""
    base = base or url
    context = browser.new_context(**options)  # type: ignore[arg-type]  # passed through
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    broken: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("console", lambda said: broken.append(said.text) if said.type == "warning" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    try:
        yield page
    finally:
        context.close()
    assert broken == []
    assert [
        each for each in asked if not each.startswith((base, "blob:", "data:", "ws" + base[4:]))
    ] == []


def open_file(page: Page, path: Path) -> None:
    page.set_input_files("#file", path)


def heat(page: Page) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """The pixels of the heat map canvas, in RGBA."""
    url = page.locator("#heat").evaluate("canvas => canvas.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.array(image.convert("RGBA"))


def wait_painted(page: Page, canvas: str, painted: bool = True) -> None:
    """Wait until the canvas is painted, or empty."""
    page.wait_for_function(
        """([selector, wanted]) => {
          const canvas = document.querySelector(selector);
          if (!canvas.width) return !wanted;
          const copy = new OffscreenCanvas(canvas.width, canvas.height);
          const brush = copy.getContext("2d", { willReadFrequently: true });
          brush.drawImage(canvas, 0, 0);
          return brush.getImageData(0, 0, copy.width, copy.height).data.some(Boolean) === wanted;
        }""",
        arg=[canvas, painted],
    )


def face(
    x: float, y: float, width: float, height: float, track: int | None = None
) -> dict[str, object]:
    """A happy face in the format of the service."""
    happy = dict.fromkeys(EMOTIONS, 0.02) | {"happiness": 0.9}
    return {
        "box": {"x": x, "y": y, "width": width, "height": height},
        "track": track,
        "scores": happy,
        "emotion": "happiness",
        "confidence": 0.9,
        "detection_score": 0.9,
        "abstained": False,
    }
