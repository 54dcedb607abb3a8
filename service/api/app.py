"""The application: routers, state, and what surrounds every request."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

import service
from service.api import batches, explanations, ops, page, problems, stills
from service.api.hangups import CancelOnHangUp
from service.api.observe import Observe
from service.api.state import State
from service.engine import Engine
from service.settings import Settings

DESCRIPTION = """
Classifies the expression that faces show into six emotions, after
[GiMeFive](https://arxiv.org/abs/2402.15662).

It measures the expression a face shows, not what a person feels, and it knows no neutral face:
see the model card at `/models/gimefive/card` before you rely on it.
"""


def create_app(
    settings: Settings,
    open_engine: Callable[[Settings], AbstractAsyncContextManager[Engine]] = Engine.open,
) -> FastAPI:
    """The ASGI application; the engine opens when it starts and closes when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:  # noqa: ARG001  # Starlette's signature
        async with open_engine(settings) as engine:
            yield {"engine": engine}

    app = FastAPI(
        title="GiMeFive",
        summary="Facial-emotion classification",
        description=DESCRIPTION,
        version=service.__version__,
        lifespan=lifespan,
    )
    problems.install(app)
    app.include_router(stills.router)
    app.include_router(batches.router)
    app.include_router(explanations.router)
    app.include_router(ops.router)
    app.include_router(page.router())
    app.add_middleware(CancelOnHangUp)
    app.add_middleware(Observe)
    return app
