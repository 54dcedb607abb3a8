"""POST /classify: one image."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from service import errors
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
    Query(ge=0, le=1, description="Confidence below which `abstained` is true."),
]
Deadline = Annotated[
    float | None,
    Header(alias="X-Deadline-Ms", gt=0, description="Longest the answer may take, in ms."),
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
        **responses(
            errors.NotAnImage,
            errors.TooLarge,
            errors.UnsupportedMedia,
            errors.BadParameter,
            errors.Overloaded,
            errors.DeadlineExceeded,
        ),
    },
    openapi_extra=bodies.OPENAPI,
)
async def classify(
    request: Request,
    faces: Faces = "detect",
    threshold: Threshold = None,
    deadline_ms: Deadline = None,
) -> Response:
    """Classify the faces of an image, the largest first; no face gives an empty list."""
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
    deadline = parameters.deadline_ms and parameters.deadline_ms / 1000
    with engine.memory.growing() as take:
        data = await bodies.image(request, engine.settings.max_body_bytes, take)
        found = await engine.classify(data, parameters.faces, deadline)
    request.state.timings = found.timings
    limit = engine.threshold if parameters.threshold is None else parameters.threshold
    document = schemas.classification(found, engine.info, limit)
    return Response(orjson.dumps(document), media_type="application/json")
