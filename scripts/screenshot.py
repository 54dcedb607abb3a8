"""Take a screenshot of a running service's page for the README, with Debian's Chromium.

From the root of the repository, while ``make serve`` runs::

    python -m scripts.screenshot
"""

from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import expect, sync_playwright

PORTRAIT = Path("examples/eileen-collins.jpg")
PICTURE = Path("docs/images/page.png")
CHROMIUM = "/usr/bin/chromium"


def main(
    url: Annotated[str, typer.Argument(help="URL of the service")] = "http://127.0.0.1:8000",
) -> None:
    """Open the portrait, request an explanation, and save a screenshot."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1240, "height": 940})
        page.goto(url)
        page.set_input_files("#file", PORTRAIT)
        happiness = page.get_by_role("button", name="Happiness").last
        happiness.click()
        expect(page.get_by_text("Why happiness?")).to_be_visible()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    typer.run(main)
