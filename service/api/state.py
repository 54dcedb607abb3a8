"""Typed lifespan state, which every request can reach: no globals."""

from typing import Annotated, Any, Protocol, TypedDict

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.engine import Engine
from service.metrics import Metrics


class Operated(Protocol):
    """What probes and metrics tell of: an engine, or the supervisor above several.

    Attributes:
        draining: whether requests are no longer welcome, though still answered.
        metrics: what is counted in this process.
    """

    draining: bool
    metrics: Metrics

    async def ready(self) -> bool:
        """Whether requests are welcome."""

    async def healthy(self) -> bool:
        """False once only a new start can help."""

    async def render_metrics(self) -> bytes:
        """All metrics in Prometheus' text format."""


class State(TypedDict):
    """The lifespan's state.

    Attributes:
        engine: the opened engine.
    """

    engine: Engine


class OpsState(TypedDict):
    """That of the operations port.

    Attributes:
        engine: what probes and metrics tell of.
    """

    engine: Operated


async def _engine(connection: HTTPConnection) -> Any:  # noqa: ANN401  # an `Operated`, or an `Engine`
    # No plain function: FastAPI would run it in a thread.
    return connection.state.engine


EngineOf = Annotated[Engine, Depends(_engine)]
"""The engine, as a route's argument."""


OperatedBy = Annotated[Operated, Depends(_engine)]
"""What probes and metrics tell of, as a route's argument."""
