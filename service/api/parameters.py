"""What several routes may be asked, under one name each."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from difflib import get_close_matches
from typing import Annotated

from fastapi import Depends, Header, Query
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query as QueryInfo
from pydantic import BeforeValidator
from starlette.requests import HTTPConnection

from service import deadlines
from service.errors import BadParameter
from service.explanation import Colormap, Layer, Method, Question
from service.records import EMOTIONS, Emotion, FaceMode

Faces = Annotated[
    FaceMode,
    Query(description="detect: find every face; whole: the image is one aligned face crop."),
]
Threshold = Annotated[
    float | None,
    Query(
        ge=0,
        le=1,
        allow_inf_nan=False,
        examples=[0.5],
        description="Confidence below which `abstained` is true.",
    ),
]
Track = Annotated[
    bool,
    Query(
        description="Follow people from frame to frame: adds `track` and `smoothed` to each face."
    ),
]
Deadline = Annotated[
    float | None,
    Header(
        alias="X-Deadline-Ms",
        gt=0,
        allow_inf_nan=False,
        examples=[2000],
        description="Time limit for the request in ms, including its upload.",
    ),
]


def _pluses(value: object) -> object:
    """In a query a plus means a space; no method has one in its name."""
    return value.replace(" ", "+") if isinstance(value, str) else value


SpelledMethod = Annotated[Method, BeforeValidator(_pluses)]
"""A method, `gradcam++` as it is written or as ``gradcam%2B%2B``."""
LayerQuery = Annotated[Layer, Query(description="Convolutional layer to explain.")]
Alpha = Annotated[
    float, Query(ge=0, le=1, allow_inf_nan=False, description="Opacity of the heat map.")
]
ColormapQuery = Annotated[Colormap, Query(description="Colours of the heat map.")]


async def _question(
    target: Annotated[
        Emotion | None, Query(description="Emotion to explain; default: the predicted one.")
    ] = None,
    method: Annotated[
        SpelledMethod, Query(description="Explanation method; gradcam is the paper's.")
    ] = "gradcam",
    layer: LayerQuery = "conv5",
) -> Question:
    return Question(method, layer, None if target is None else EMOTIONS.index(target))


QuestionOf = Annotated[Question, Depends(_question)]
"""What is asked, as a route's argument."""


async def known_alone(connection: HTTPConnection) -> None:
    """Refuse a query with a parameter that its route does not have, such as a misspelled one.

    Raises:
        BadParameter: it does.
    """
    known = query_names(connection)
    for name in connection.query_params:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            choices = f"use {', '.join(sorted(known))}" if known else "this address takes none"
            hint = f"did you mean {near[0]}?" if near else choices
            raise BadParameter(f"unknown parameter {name!r}: {hint}")


def query_names(connection: HTTPConnection) -> list[str]:
    """The parameters that a connection's route has."""
    fields = get_flat_params(connection.scope["route"].dependant)
    return [field.alias for field in fields if isinstance(field.field_info, QueryInfo)]


def within(deadline_ms: float | None) -> AbstractAsyncContextManager[float | None]:
    """The client's deadline, from now on, as `deadlines.within`; nothing if it named none."""
    return nullcontext() if deadline_ms is None else deadlines.within(deadline_ms / 1000)


def deadline_of(deadline_ms: float | None) -> float | None:
    """When the client's deadline passes, by the event loop's clock; None if it named none."""
    return deadline_ms and asyncio.get_running_loop().time() + deadline_ms / 1000
