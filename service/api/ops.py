"""Probes and metrics, which an operations port may serve, too; models."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict

from service import errors
from service.api.json_response import JsonResponse
from service.api.parameters import known_alone
from service.api.problems import responses
from service.api.state import EngineOf, OperatedBy
from service.contract import schemas
from service.engine import Engine
from service.errors import NotReady

probes = APIRouter(tags=["operations"])
router = APIRouter(tags=["models"], dependencies=[Depends(known_alone)])

Name = Annotated[str, Path(examples=["gimefive"], description="One of those listed by /models.")]


class Card(BaseModel):
    """A model's card; its other fields differ from model to model."""

    model_config = ConfigDict(extra="allow")

    name: str
    version: str


class Liveness(BaseModel):
    """Whether the process and its model are sound."""

    live: bool


class Readiness(BaseModel):
    """Requests are welcome."""

    ready: Literal[True]


@probes.get(
    "/livez",
    responses={
        200: {"model": Liveness},
        503: {"model": Liveness, "description": "Only a restart can help."},
    },
)
async def livez(service: OperatedBy) -> JsonResponse:
    """Whether the process and its model are sound; never fails because of load."""
    healthy = await service.healthy()
    return JsonResponse({"live": healthy}, 200 if healthy else 503)


@probes.get("/readyz", response_model=Readiness)
@probes.get("/startupz", name="startupz", response_model=Readiness)
async def readyz(service: OperatedBy) -> dict[str, bool]:
    """Whether the service takes requests: the model is warm and it is not draining."""
    if not await service.ready():
        raise NotReady(
            "this process is shutting down: connect again to reach another"
            if service.draining
            else "no model process is up yet: try again in 1 s"
        )
    return {"ready": True}


@probes.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "content": {
                "text/plain": {"schema": {"type": "string"}, "example": "gimefive_worker_up 1.0\n"}
            }
        }
    },
)
async def metrics(service: OperatedBy) -> Response:
    """Prometheus metrics."""
    return Response(await service.render_metrics(), media_type=CONTENT_TYPE_LATEST)


@router.get("/models", response_model=schemas.ModelList, responses=responses(errors.BadParameter))
async def models(engine: EngineOf) -> dict[str, list[dict[str, Any]]]:
    """The models in the store, and which of them is served."""
    return {"models": [_entry(engine, name) for name in engine.store.names()]}


@router.get(
    "/models/{name}",
    response_model=schemas.ModelEntry,
    responses=responses(errors.NotFound, errors.BadParameter),
)
async def model(engine: EngineOf, name: Name) -> dict[str, Any]:
    """One model in the store."""
    return _entry(engine, name)


@router.get(
    "/models/{name}/card",
    response_model=None,
    responses={200: {"model": Card}, **responses(errors.NotFound, errors.BadParameter)},
)
async def model_card(
    engine: EngineOf,
    name: Name,
    version: Annotated[
        str | None, Query(examples=["10"], description="Default: the one that is served.")
    ] = None,
) -> Mapping[str, Any]:
    """The model card: training data, evaluation, limits."""
    if version is None and name == engine.info.name:
        return engine.stored.document
    return engine.store.document(name, version)


def _entry(engine: Engine, name: str) -> dict[str, Any]:
    serving = asdict(engine.info) if name == engine.info.name else None
    return {"name": name, "versions": engine.store.versions(name), "serving": serving}
