"""A real browser, and a page in it that is watched for what must never happen."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

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
PATIENCE = 30_000
"""Longest a busy machine may take for anything, in milliseconds."""


@contextmanager
def playing() -> Iterator[Playwright]:
    """What starts browsers; there can be one at a time."""
    if not CHROMIUM.exists():
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright


@contextmanager
def chromium(playwright: Playwright, *flags: str) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def watched_page(
    browser: Browser, url: str, *, base: str | None = None, **options: object
) -> Iterator[Page]:
    """The page, opened; at the end, nothing broke in it and nothing was asked outside `base`."""
    base = base or url
    context = browser.new_context(**options)  # type: ignore[arg-type]  # passed on as they are
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
