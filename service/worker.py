"""The process that owns a device: reads batches from stdin, runs the model, answers on stdout.

It lives exactly as long as its front: when stdin ends it ends, so that no orphan is left even
where the front was killed. `service.remote.RemoteModel` is the other side.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count, takewhile
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from service import codec, wire
from service.errors import ServiceError
from service.explanation import Explanation, Question
from service.model import Model, place
from service.records import Scores, WorkerConfig
from service.store import ModelStore
from service.wire import Message


class Answerer(Protocol):
    """What `serve` needs of a model."""

    def scores(self, faces: NDArray[np.uint8]) -> Scores:
        """As `Model.scores`."""

    def explain(
        self, faces: NDArray[np.uint8], questions: Sequence[Question]
    ) -> tuple[Explanation, ...]:
        """As `Model.explain`."""


def serve(model: Answerer, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until their stream ends; a failing batch is answered with its error."""
    while (request := wire.read(requests)) is not None:
        try:
            message = _answer(model, request)
        except (RuntimeError, ValueError) as error:
            message = Message({"error": str(error).splitlines()[0]})
        answers.write(message.pack())
        answers.flush()


def _answer(model: Answerer, request: Message) -> Message:
    faces = codec.faces(request)
    start = time.perf_counter()
    if request.header["op"] == "explain":
        explanations = model.explain(faces, codec.asked(request))
        return codec.answer(explanations, time.perf_counter() - start)
    scores = model.scores(faces)
    return Message({"seconds": time.perf_counter() - start}, scores.tobytes())


def main() -> None:
    """Load the model that the command line names and serve it on stdin and stdout."""
    config = WorkerConfig(**json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up between the messages
    torch.set_num_threads(config.threads)
    try:
        stored = ModelStore(Path(config.store)).gimefive(config.version)
        model = Model(stored, place(stored.card, config.device, config.precision))
    except ServiceError as error:
        answers.write(Message({"error": str(error)}).pack())
        answers.flush()
        return
    model.warm_up(_sizes(config.max_batch))
    answers.write(Message({"ready": asdict(model.info)}).pack())
    answers.flush()
    serve(model, sys.stdin.buffer, answers)


def _sizes(largest: int) -> list[int]:
    """1, 2, 4 ... and `largest` itself."""
    return [*takewhile(lambda size: size < largest, (1 << n for n in count())), largest]


if __name__ == "__main__":
    main()
