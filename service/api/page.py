"""GET /: the page, and the files it is made of."""

import hashlib
import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

PACKAGE = Path(__file__).parent.parent

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "font-src 'self'",
            "img-src 'self' blob:",
            "media-src 'self' blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
"""The page runs its own files and nothing else, inside no other page."""

FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"


def router() -> APIRouter:
    """The page's routes; its files are read once, here.

    They live below a name made of their content, so that browsers may keep them for ever and still
    get all of a new version at once.
    """
    files = {
        path.name: path.read_bytes()
        for folder in ("web", "fonts")
        for path in sorted((PACKAGE / folder).iterdir())
    }
    version = hashlib.sha256(b"".join(files.values())).hexdigest()[:12]
    page = files.pop("index.html").replace(b"{{web}}", f"web/{version}".encode())
    etag = f'"{version}"'
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def index(request: Request) -> Response:
        headers = {**HEADERS, "Cache-Control": ASK_AGAIN, "ETag": etag}
        if etag in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        return Response(page, media_type="text/html", headers=headers)

    @routes.get("/web/{asked}/{name}")
    async def asset(asked: str, name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "the page has no such file")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        keeping = FOR_EVER if asked == version else ASK_AGAIN
        return Response(files[name], media_type=kind, headers={**HEADERS, "Cache-Control": keeping})

    return routes
