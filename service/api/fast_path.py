"""The hot path: POST /classify answered without FastAPI, which costs more than all the rest.

FastAPI keeps the route: it documents it, and it answers whatever is not plainly right, so that
there is one place that says what is wrong.
"""

from functools import lru_cache
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import problems, stills
from service.api.stills import Parameters
from service.errors import ServiceError


class FastPath:
    """Pure ASGI, the innermost of what stands before FastAPI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI says."""
        parameters = _plain(scope)
        if parameters is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = stills.ROUTE
        request = Request(scope, receive)
        try:
            response = await stills.answer(request, parameters)
        except ServiceError as error:
            response = problems.refusal(error, scope["state"]["request_id"])
        await response(scope, receive, send)


def _plain(scope: Scope) -> Parameters | None:
    """The parameters of a sound request to classify; None for anything else."""
    if scope["type"] != "http" or scope["path"] != "/classify" or scope["method"] != "POST":
        return None
    deadlines = [value for name, value in scope["headers"] if name == b"x-deadline-ms"]
    return _parameters(scope["query_string"], *deadlines[:1])


@lru_cache(maxsize=256)
def _parameters(query: bytes, deadline: bytes | None = None) -> Parameters | None:
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    if "deadline_ms" in given:  # a header sets it, and no parameter
        return None
    try:
        return Parameters.model_validate({**given, "deadline_ms": deadline})
    except ValidationError:
        return None
