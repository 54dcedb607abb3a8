"""A front's requests to the core, and their answers, as messages."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from service import codec
from service.explanation import Question
from service.lanes import Answer
from service.wire import Message


def encode_request(
    lane: str, items: Sequence[Any], *, deadline: float | None = None, wait: bool = False
) -> Message:
    """The request to submit `items` to a lane of `service.model_lanes`."""
    options = {"lane": lane, "deadline": deadline, "wait": wait}
    if lane == "explain":
        faces, questions = zip(*items, strict=True)
        explaining = codec.encode_request(faces, questions)
        return Message({**explaining.header, **options}, explaining.body)
    return Message(options, np.stack(items).tobytes())


def decode_request(request: Message) -> list[Any]:
    """The items of `encode_request`."""
    faces = codec.decode_faces(request)
    if request.header["lane"] == "explain":
        return [*zip(faces, codec.decode_questions(request), strict=True)]
    return [*faces]


def encode_response(lane: str, answers: Sequence[Answer[Any]]) -> Message:
    """The answer to `encode_request`."""
    results = [each.result for each in answers]
    if lane == "explain":
        encoded = codec.encode_response(results, 0.0)
    else:
        encoded = Message({}, np.stack(results).tobytes())
    times = {
        "queue": [each.queue for each in answers],
        "seconds": [each.seconds for each in answers],
    }
    return Message({**encoded.header, **times}, encoded.body)


def decode_response(lane: str, items: Sequence[Any], message: Message) -> list[Answer[Any]]:
    """The answers of `encode_response` to a request for `items`."""
    results: Sequence[Any]
    if lane == "explain":
        questions: list[Question] = [question for _, question in items]
        results = codec.decode_response(message, questions)
    else:
        results = codec.decode_scores(message)
    header = message.header
    return [Answer(*each) for each in zip(results, header["queue"], header["seconds"], strict=True)]
