"""POST /explain: why a face got its score."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from service import errors
from service.api import bodies
from service.api.accept import prefers
from service.api.json_response import JsonResponse
from service.api.openapi import header
from service.api.parameters import (
    Alpha,
    ColormapQuery,
    Deadline,
    Faces,
    QuestionOf,
    Threshold,
    known_alone,
)
from service.api.problems import responses
from service.api.state import EngineOf
from service.contract import schemas
from service.drawing import Style
from service.explanation import View, check_view
from service.records import EMOTIONS

router = APIRouter(tags=["explain"], dependencies=[Depends(known_alone)])

HEADERS = {
    "X-Emotion": header("The predicted emotion.", "happiness", enum=EMOTIONS),
    "X-Confidence": header("The score of `X-Emotion`.", 0.950783, type="number"),
    "X-Target": header("The emotion explained.", "happiness", enum=EMOTIONS),
    "X-Map-Max": header("The map's maximum before normalising.", 0.12906, type="number"),
    "X-Map-Empty": header(
        "Whether the map is empty: there is no evidence for the target.", False, type="boolean"
    ),
    "X-Map-Place": header(
        "Where the map lies: the JSON's `place`, row by row.",
        "1.71032 -0.148511 175.236 0.148511 1.71032 59.5569",
        type="string",
    ),
}
"""What `schemas.explanation_headers` tells."""


@router.post(
    "/explain",
    response_class=Response,
    responses={
        200: {
            "description": "A PNG, or JSON with `Accept: application/json`.",
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
            "model": schemas.ExplainResponse,
            "headers": HEADERS,
        },
        **responses(
            errors.NotAnImage,
            errors.NoFace,
            errors.ModelFailure,
            errors.DeadlineExceeded,
        ),
    },
    openapi_extra=bodies.OPENAPI,
)
async def explain(
    request: Request,
    engine: EngineOf,
    question: QuestionOf,
    face: Annotated[
        int, Query(ge=0, description="Index in /classify's order; 0 is the largest.")
    ] = 0,
    view: Annotated[View, Query(description="What to draw.")] = "overlay",
    alpha: Alpha = 0.4,
    colormap: ColormapQuery = "jet",
    faithfulness: Annotated[
        bool, Query(description="Also measure the map's faithfulness; in JSON answers only.")
    ] = False,
    faces: Faces = "detect",
    threshold: Threshold = None,
    deadline_ms: Deadline = None,
) -> Response:
    """Explain the score of one face by a heat map of the evidence for it.

    `view`, `alpha` and `colormap` say how an image is drawn; a JSON answer has the raw map.

    `curl -F file=@face.jpg -o why.png http://localhost:8000/explain`
    """
    as_json = prefers(request, "application/json", "image/png")
    if not as_json:
        check_view(view, question.method)
    limit = engine.threshold(threshold)
    async with (
        bodies.received(request, engine, deadline_ms) as (data, deadline),
        engine.explained(
            data,
            question,
            faces=faces,
            face=face,
            measured=faithfulness and as_json,
            deadline=deadline,
            timings=request.state.timings,
        ) as explained,
    ):
        headers = {**schemas.explanation_headers(explained), "Vary": "Accept"}
        if as_json:
            document = schemas.explanation(explained, engine.info, limit)
            return JsonResponse(document, headers=headers)
        png = await engine.draw(explained, view, Style(alpha, colormap, threshold=limit))
        return Response(png, media_type="image/png", headers=headers)
