"""POST /classify: one image."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse

from service import errors
from service.api import bodies, schemas
from service.api.problems import responses
from service.api.state import EngineOf
from service.intake import FaceMode

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
    engine: EngineOf,
    faces: Faces = "detect",
    threshold: Threshold = None,
    deadline_ms: Deadline = None,
) -> JSONResponse:
    """Classify the faces of an image, the largest first; no face gives an empty list."""
    data = await bodies.image(request, engine.settings.max_body_bytes)
    answer = await engine.classify(data, faces, deadline_ms and deadline_ms / 1000)
    request.state.timings = answer.timings
    limit = engine.threshold if threshold is None else threshold
    return JSONResponse(schemas.classification(answer, engine.info, limit))
