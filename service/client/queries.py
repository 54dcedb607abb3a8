"""The query parameters of each route, under the service's own names."""

from collections.abc import Mapping
from typing import Literal, TypedDict, TypeVar

from service.explanation import Colormap, Layer, Method, View
from service.records import Emotion, FaceMode


class _Question(TypedDict, total=False):
    faces: FaceMode
    target: Emotion | None
    method: Method
    layer: Layer


class _Part(TypedDict, total=False):
    track: bool
    fps: float | None
    every: int | None
    start: float
    end: float | None


class NumbersQuery(_Question, total=False):
    """Of POST /explain, answered in numbers."""

    face: int
    threshold: float | None
    faithfulness: bool


class ExplainQuery(NumbersQuery, total=False):
    """Of POST /explain, drawn."""

    view: View
    alpha: float
    colormap: Colormap


class VideoQuery(_Part, total=False):
    """Of POST /classify/video."""

    faces: FaceMode
    threshold: float | None


class DrawnVideoQuery(_Part, _Question, total=False):
    """Of POST /explain/video."""

    face: int | None
    threshold: float | None
    faithfulness: bool
    view: Literal["overlay"]
    alpha: float
    colormap: Colormap
    landmarks: bool


class LiveQuery(TypedDict, total=False):
    """Of WebSocket /live."""

    faces: FaceMode
    threshold: float | None
    explain: Method | None
    layer: Layer


QueryT = TypeVar("QueryT", bound=Mapping[str, object])


def known(query: QueryT, kind: type[QueryT]) -> QueryT:
    """The query, checked.

    Raises:
        TypeError: it has an option that its route does not have.
    """
    for name in query.keys() - kind.__annotations__.keys():
        options = ", ".join(sorted(kind.__annotations__))
        raise TypeError(f"unknown option {name!r}: use {options}")
    return query
