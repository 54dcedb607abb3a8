"""Probes and metrics, which an operations port may serve, too; models."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service import errors
from service.api import schemas
from service.api.problems import responses
from service.api.state import EngineOf, OperatedBy
from service.engine import Engine
from service.errors import NotReady

probes = APIRouter(tags=["operations"])
router = APIRouter(tags=["operations"])


@probes.get("/livez")
async def livez(service: OperatedBy) -> JSONResponse:
    """Whether the process and its model are sound; load never makes it fail."""
    sound = await service.sound()
    return JSONResponse({"live": sound}, 200 if sound else 503)


@probes.get("/readyz", responses=responses(errors.NotReady))
@probes.get("/startupz", responses=responses(errors.NotReady))
async def readyz(service: OperatedBy) -> dict[str, bool]:
    """Whether requests are welcome: the model is warm and the service does not drain."""
    if not await service.ready():
        raise NotReady(
            "this process is going down: connect again to reach another"
            if service.draining
            else "no model process is up yet: try again in 1 s"
        )
    return {"ready": True}


@probes.get("/metrics", response_class=Response)
async def metrics(service: OperatedBy) -> Response:
    """Prometheus metrics."""
    return Response(await service.counted(), media_type=CONTENT_TYPE_LATEST)


@router.get("/models", response_model=schemas.ModelList)
async def models(engine: EngineOf) -> dict[str, list[dict[str, Any]]]:
    """The models of the store, and which of them answers."""
    return {"models": [_entry(engine, name) for name in engine.store.names()]}


@router.get(
    "/models/{name}", response_model=schemas.ModelEntry, responses=responses(errors.NotFound)
)
async def model(engine: EngineOf, name: str) -> dict[str, Any]:
    """One model of the store."""
    return _entry(engine, name)


@router.get("/models/{name}/card", responses=responses(errors.NotFound))
async def card(
    engine: EngineOf,
    name: str,
    version: Annotated[str | None, Query(description="The one that answers if left out.")] = None,
) -> Mapping[str, Any]:
    """The model card: data, figures, limits."""
    if version is None and name == engine.info.name:
        return engine.stored.document
    return engine.store.document(name, version)


def _entry(engine: Engine, name: str) -> dict[str, Any]:
    serving = asdict(engine.info) if name == engine.info.name else None
    return {"name": name, "versions": engine.store.versions(name), "serving": serving}
