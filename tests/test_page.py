"""The page as it is served; see tests/e2e/test_page*.py for its use in a browser."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.drawing.palette import EMOTION_COLOURS

WEB = Path(__file__).parent.parent / "service" / "web"


class Markup(HTMLParser):
    """The links, inline scripts and inline styles of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.inline: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [link for name in ("src", "href") if (link := given.get(name))]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]


def test_every_file_that_the_page_links_is_served_locally(client: TestClient) -> None:
    links = Markup(client.get("/").text).links
    assert [link for link in links if "//" in link] == []
    files = [link for link in links if link.startswith("web/")]
    assert files
    assert {client.get(f"/{link}").status_code for link in files} == {200}


def test_every_imported_module_exists() -> None:
    imported = {
        name
        for module in WEB.glob("*.js")
        for name in re.findall(r'from "\./(.+?)"', module.read_text())
    }
    assert imported <= {module.name for module in WEB.glob("*.js")}


def test_the_page_has_no_inline_code_and_a_strict_content_security_policy(
    client: TestClient,
) -> None:
    response = client.get("/")
    assert Markup(response.text).inline == []
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_api_docs_page_uses_local_files_only(client: TestClient) -> None:
    response = client.get("/docs")
    page = Markup(response.text)
    assert page.inline == []
    assert [link for link in page.links if "//" in link] == []
    files = [link for link in page.links if link.startswith("docs/")]
    assert len(files) == 3
    assert {client.get(f"/{link}").status_code for link in files} == {200}
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert client.get("/docs/nothing.js").headers["Content-Type"] == "application/problem+json"


def test_browsers_cache_page_files_until_they_change(client: TestClient) -> None:
    page = client.get("/")
    (script,) = [link for link in Markup(page.text).links if link.endswith("main.js")]
    assert page.headers["Cache-Control"] == "no-cache"
    etag = page.headers["ETag"]
    for known in (etag, f"W/{etag}", f'"old", {etag}'):  # a proxy that compresses weakens it
        assert client.get("/", headers={"If-None-Match": known}).status_code == 304
    assert client.get("/", headers={"If-None-Match": '"old"'}).status_code == 200
    kept = client.get(f"/{script}")
    assert "immutable" in kept.headers["Cache-Control"]
    assert kept.headers["Content-Type"].startswith("text/javascript")
    assert client.get("/web/another-version/main.js").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "index.html", "..%2Fcli.py", "%2Fetc%2Fpasswd"])
def test_unknown_files_and_path_traversal_get_404(client: TestClient, name: str) -> None:
    response = client.get(f"/web/x/{name}")
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


def test_the_page_uses_the_emotion_colours_of_the_drawings() -> None:
    style = (WEB / "base.css").read_text()
    for emotion, colour in EMOTION_COLOURS.items():
        assert f"--{emotion}: rgb({' '.join(map(str, colour))});" in style
