"""The application: routers, state, and what surrounds every request."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import chain
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

import service
from service.api import (
    batches,
    docs,
    explanations,
    live,
    openapi,
    ops,
    page,
    problems,
    stills,
    videos,
)
from service.api.disconnects import CancelOnDisconnect
from service.api.fast_path import FastPath
from service.api.guard import Guard
from service.api.observe import Observe
from service.api.security import Keys
from service.api.state import Operated, OpsState, State
from service.api.tracing import TraceRequests
from service.engine import Engine
from service.settings import Settings

if TYPE_CHECKING:
    from service.traces import Traces

EXPOSED = [
    "Retry-After",
    "Server-Timing",
    "traceresponse",
    "X-Confidence",
    "X-Emotion",
    "X-Failed-Frames",
    "X-Map-Empty",
    "X-Map-Max",
    "X-Map-Place",
    "X-Request-ID",
    "X-Target",
]
"""Headers that another site's page may read, where it may ask at all."""
TRACE = ["traceparent", "tracestate"]
"""Headers that say whose trace a request belongs to."""
DESCRIPTION = """
Classifies facial expressions into six emotions, after
[GiMeFive](https://arxiv.org/abs/2402.15662).

It classifies what a face shows, not what a person feels, and has no class for neutral faces: read
the model card at `/models/gimefive/card` before you rely on it.
"""


def create_app(
    settings: Settings,
    open_engine: Callable[[Settings], AbstractAsyncContextManager[Engine]] = Engine.open,
    traces: "Traces | None" = None,
) -> ASGIApp:
    """The ASGI application; the engine opens when it starts and closes when it ends.

    What surrounds every request stands before FastAPI and not in its middleware stack, whose own
    layers the hot path does without.

    Args:
        settings: what is served, and to whom.
        open_engine: opens what answers.
        traces: follows requests; the engine's tracer, too.

    Raises:
        KeysUnusable: the file of API keys cannot be read.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:  # noqa: ARG001  # Starlette's signature
        async with open_engine(settings) as engine:
            yield {"engine": engine}

    keys = Keys(settings.keys_file) if settings.keys_file else None
    app = FastAPI(
        title="GiMeFive",
        summary="Facial-emotion classification",
        description=DESCRIPTION,
        version=service.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_tags=openapi.TAGS,
        generate_unique_id_function=lambda route: route.name,  # as generated clients call it
    )
    problems.install(app, "see /docs for the API")
    live.install(app)
    openapi.install(app, settings)
    answering = (stills, batches, explanations, videos, ops, live)
    routers = [ops.probes, *(each.router for each in answering), page.router(), docs.router()]
    for router in routers:
        app.include_router(router)
    guarded: ASGIApp = Guard(CancelOnDisconnect(FastPath(app)), settings, keys)
    if settings.origins:
        guarded = CORSMiddleware(
            guarded,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "X-Request-ID", "X-Deadline-Ms", *TRACE],
            expose_headers=EXPOSED,
        )
    observed = Observe(guarded, _paths(app, *routers))
    return TraceRequests(observed, traces) if traces else observed


def create_ops_app(operated: Operated) -> ASGIApp:
    """Probes and metrics of an engine or a supervisor, without a key, for a port of their own."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[OpsState]:  # noqa: ARG001  # Starlette's signature
        yield {"engine": operated}

    app = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    paths = _paths(ops.probes)
    problems.install(app, f"this port has only {', '.join(sorted(paths))}")
    app.include_router(ops.probes)
    return Observe(app, paths)


def _paths(*routers: FastAPI | APIRouter) -> frozenset[str]:
    routes = chain.from_iterable(router.routes for router in routers)
    return frozenset(route.path for route in routes if isinstance(route, Route))
