from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright

from tests import videos
from tests.e2e.browser import chromium, playwright_instance, watched_page
from tests.servers import ROOT, Server, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The service as `gimefive serve` starts it, with the embedded model."""
    with running_server() as running:
        yield running


@pytest.fixture(scope="session")
def photograph() -> bytes:
    """NASA's portrait of Eileen Collins, smiling."""
    return (ROOT / "examples" / "eileen-collins.jpg").read_bytes()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with playwright_instance() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with chromium(playwright) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    with watched_page(browser, server.url) as page:
        yield page


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of video in which the portrait moves from left to right."""
    path = tmp_path_factory.mktemp("video") / "walk.webm"
    path.write_bytes(videos.encode(videos.moving_portrait(24, (480, 360), 320), "webm", rate=8))
    return path
