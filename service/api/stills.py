"""POST /classify: one image."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from service import deadlines, errors
from service.api import bodies, schemas
from service.api.problems import responses
from service.engine import Engine
from service.records import FaceMode

router = APIRouter(tags=["classify"])

Faces = Annotated[
    FaceMode,
    Query(description="detect: find every face; whole: the image is one aligned face crop."),
]
Threshold = Annotated[
    float | None,
    Query(ge=0, le=1, examples=[0.5], description="Confidence below which `abstained` is true."),
]
Deadline = Annotated[
    float | None,
    Header(
        alias="X-Deadline-Ms",
        gt=0,
        allow_inf_nan=False,
        examples=[2000],
        description="Longest that the request may take, its body included, in ms.",
    ),
]


class Parameters(BaseModel):
    """What a request to classify may say beside the image."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=False)

    faces: Faces = "detect"
    threshold: Threshold = None
    deadline_ms: Deadline = None


@router.post(
    "/classify",
    responses={
        200: {"model": schemas.ClassifyResponse},
        **responses(errors.NotAnImage, errors.ModelFailure, errors.DeadlineExceeded),
    },
    openapi_extra=bodies.OPENAPI,
)
async def classify(
    request: Request,
    faces: Faces = "detect",
    threshold: Threshold = None,
    deadline_ms: Deadline = None,
) -> Response:
    """Classify the faces of an image, the largest first; no face gives an empty list.

    `curl -F file=@face.jpg http://localhost:8000/classify`
    """
    return await answer(
        request, Parameters(faces=faces, threshold=threshold, deadline_ms=deadline_ms)
    )


ROUTE = router.routes[-1]
"""The route as metrics and logs name it, whoever answers."""


async def answer(request: Request, parameters: Parameters) -> Response:
    """Read, classify, shape.

    Raises:
        ServiceError: as `service.engine.Engine.classify` says.
    """
    engine: Engine = request.state.engine
    async with received(request, engine, parameters.deadline_ms) as (data, deadline):
        found = await engine.classify(data, parameters.faces, deadline)
    request.state.timings = found.timings
    limit = engine.threshold(parameters.threshold)
    document = schemas.classification(found, engine.info, limit)
    return Response(orjson.dumps(document), media_type="application/json")


def within(deadline_ms: float | None) -> AbstractAsyncContextManager[float | None]:
    """The client's deadline, from now on, as `deadlines.within`; nothing if it named none."""
    return nullcontext() if deadline_ms is None else deadlines.within(deadline_ms / 1000)


@asynccontextmanager
async def received(
    request: Request, engine: Engine, deadline_ms: float | None
) -> AsyncIterator[tuple[bytes, float | None]]:
    """A request's image, encoded, in memory that is held for it, and the deadline of `within`.

    Raises:
        BadInput: as `bodies.image` says.
        Overloaded: too many pictures are held.
        DeadlineExceeded: the client's deadline has passed.
    """
    async with within(deadline_ms) as deadline:
        with engine.memory.growing() as take:
            yield await bodies.image(request, engine.settings.max_body_bytes, take), deadline
