"""The JSON response of every route."""

from typing import Any

import orjson
from starlette.responses import Response


class JsonResponse(Response):
    """JSON by orjson: several times as fast as Starlette's own."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:  # noqa: ANN401  # Starlette's signature
        """The content as it is sent."""
        return orjson.dumps(content)
