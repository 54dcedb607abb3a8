"""What a front asks the model, and what it is answered, as messages."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from service import codec
from service.explanation import Question
from service.queues import Answer
from service.records import EMOTIONS
from service.wire import Message


def ask(
    lane: str, items: Sequence[Any], *, deadline: float | None = None, wait: bool = False
) -> Message:
    """The request to have `items` worked on in a lane, as `service.model_lanes` knows it."""
    manner = {"lane": lane, "deadline": deadline, "wait": wait}
    if lane == "explain":
        faces, questions = zip(*items, strict=True)
        asked = codec.ask(faces, questions)
        return Message({**asked.header, **manner}, asked.body)
    return Message(manner, np.stack(items).tobytes())


def asked(request: Message) -> list[Any]:
    """The items of `ask`."""
    faces = codec.faces(request)
    if request.header["lane"] == "explain":
        return [*zip(faces, codec.asked(request), strict=True)]
    return [*faces]


def answer(lane: str, answers: Sequence[Answer[Any]]) -> Message:
    """The answer to `ask`."""
    results = [each.result for each in answers]
    if lane == "explain":
        told = codec.answer(results, 0.0)
    else:
        told = Message({}, np.stack(results).tobytes())
    times = {
        "queue": [each.queue for each in answers],
        "seconds": [each.seconds for each in answers],
    }
    return Message({**told.header, **times}, told.body)


def answered(lane: str, items: Sequence[Any], message: Message) -> list[Answer[Any]]:
    """The answers of `answer` to a request for `items`."""
    results: Sequence[Any]
    if lane == "explain":
        questions: list[Question] = [question for _, question in items]
        results = codec.answered(message, questions)
    else:
        results = [*np.frombuffer(message.body, dtype=np.float32).reshape(-1, len(EMOTIONS))]
    header = message.header
    return [Answer(*each) for each in zip(results, header["queue"], header["seconds"], strict=True)]
