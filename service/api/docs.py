"""GET /docs: every route, to be read and tried, in a page that asks no other host."""

import mimetypes
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.exceptions import HTTPException

PAGE = """<!doctype html>
<html lang="en">
  <meta charset="utf-8">
  <title>GiMeFive: the API</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="docs/swagger-ui.css">
  <main id="api"></main>
  <script src="docs/swagger-ui-bundle.js"></script>
  <script src="docs/start.js"></script>
</html>
"""
START = 'SwaggerUIBundle({ url: "openapi.json", dom_id: "#api", deepLinking: true });\n'
FROM_PACKAGE = ("swagger-ui.css", "swagger-ui-bundle.js")

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""It runs its own files and nothing else, inside no other page; Swagger UI's icons are data."""


def router() -> APIRouter:
    """The routes; the files are read once, here."""
    package = files("fastapi_offline") / "static"
    assets = {name: (package / name).read_bytes() for name in FROM_PACKAGE}
    assets["start.js"] = START.encode()
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    async def page() -> Response:
        return Response(PAGE, media_type="text/html", headers=HEADERS)

    @routes.get("/docs/{name}")
    async def asset(name: str) -> Response:
        if name not in assets:
            raise HTTPException(404, "there is no such file")
        return Response(assets[name], media_type=mimetypes.guess_type(name)[0], headers=HEADERS)

    return routes
