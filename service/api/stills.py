"""POST /classify: one image."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from service import errors
from service.api import bodies
from service.api.json_response import JsonResponse
from service.api.parameters import Deadline, Faces, Threshold, known_alone
from service.api.problems import responses
from service.contract import schemas
from service.engine import Engine

router = APIRouter(tags=["classify"], dependencies=[Depends(known_alone)])


class Parameters(BaseModel):
    """The parameters of a request to classify."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=False
    )

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
"""The route as metrics and logs name it, also if the fast path answers."""


async def answer(request: Request, parameters: Parameters) -> Response:
    """Read, classify, shape.

    Raises:
        ServiceError: as `service.engine.Engine.classify` says.
    """
    engine: Engine = request.state.engine
    async with bodies.received(request, engine, parameters.deadline_ms) as (data, deadline):
        found = await engine.classify(data, parameters.faces, deadline, request.state.timings)
    limit = engine.threshold(parameters.threshold)
    document = schemas.classification(found, engine.info, limit)
    return JsonResponse(document)
