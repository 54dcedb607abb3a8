"""What every request can reach: typed lifespan state, no globals."""

from typing import Annotated, TypedDict

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.engine import Engine


class State(TypedDict):
    """The lifespan's state.

    Attributes:
        engine: the opened engine.
    """

    engine: Engine


async def _engine(connection: HTTPConnection) -> Engine:
    # No plain function: FastAPI would run it in a thread.
    engine: Engine = connection.state.engine
    return engine


EngineOf = Annotated[Engine, Depends(_engine)]
"""The engine, as a route's argument."""
