"""Faces, scores and explanations as messages of `service.wire`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.explanation import Explanation, Features, Question
from service.records import EMOTIONS, FACE_SIZE, FaceImage, Scores
from service.wire import Message


def encode_request(faces: Sequence[FaceImage], questions: Sequence[Question]) -> Message:
    """The request to explain each face as its question asks."""
    header = {"op": "explain", "questions": [asdict(question) for question in questions]}
    return Message(header, np.stack(faces).tobytes())


def decode_questions(request: Message) -> list[Question]:
    """The questions of `encode_request`."""
    return [Question(**question) for question in request.header["questions"]]


def decode_faces(request: Message) -> NDArray[np.uint8]:
    """The faces of a request, uint8 ``[N, 64, 64]``, writable."""
    flat = np.frombuffer(bytearray(request.body), dtype=np.uint8)
    return flat.reshape(-1, FACE_SIZE, FACE_SIZE)


def decode_scores(response: Message) -> list[Scores]:
    """The scores of faces, in their order."""
    return [*np.frombuffer(response.body, dtype=np.float32).reshape(-1, len(EMOTIONS))]


def encode_response(explanations: Sequence[Explanation], seconds: float) -> Message:
    """The answer to `encode_request`."""
    header = {"seconds": seconds, "explanations": [_describe(each) for each in explanations]}
    arrays = [array for each in explanations for array in _arrays(each)]
    return Message(header, b"".join(array.astype(np.float32).tobytes() for array in arrays))


def decode_response(message: Message, questions: Sequence[Question]) -> list[Explanation]:
    """The explanations of `encode_response`, each with its question."""
    values = np.frombuffer(message.body, dtype=np.float32)
    described = message.header["explanations"]
    shapes = [shape for each in described for shape in _shapes(each)]
    parts = iter(_cut(values, shapes))
    return [
        _restore(each, question, parts) for each, question in zip(described, questions, strict=True)
    ]


def _describe(explanation: Explanation) -> dict[str, Any]:
    features = explanation.features
    return {
        "target": explanation.target,
        "heat": explanation.heat.shape,
        "features": features
        and {
            "maps": features.maps.shape,
            "channels": features.channels.tolist(),
            "total": features.total,
        },
    }


def _arrays(explanation: Explanation) -> Iterator[NDArray[np.float32]]:
    yield explanation.logits
    yield explanation.heat
    if explanation.features is not None:
        yield explanation.features.maps


def _shapes(described: dict[str, Any]) -> Iterator[tuple[int, ...]]:
    yield (len(EMOTIONS),)
    yield tuple(described["heat"])
    if described["features"]:
        yield tuple(described["features"]["maps"])


def _cut(
    values: NDArray[np.float32], shapes: Sequence[tuple[int, ...]]
) -> Iterator[NDArray[np.float32]]:
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    for part, shape in zip(np.split(values, ends[:-1]), shapes, strict=True):
        yield part.reshape(shape)


def _restore(
    described: dict[str, Any], question: Question, parts: Iterator[NDArray[np.float32]]
) -> Explanation:
    logits, heat = next(parts), next(parts)
    features = described["features"]
    return Explanation(
        question=question,
        target=described["target"],
        logits=logits,
        heat=heat,
        features=features
        and Features(
            maps=next(parts), channels=np.array(features["channels"]), total=features["total"]
        ),
    )
