"""The process that owns a device: reads batches from stdin, runs the model, answers on stdout.

It lives exactly as long as its front: when stdin ends it ends, so that no orphan is left even
where the front was killed. `service.remote.RemoteModel` is the other side.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from itertools import count, takewhile
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from service import wire
from service.errors import ServiceError
from service.model import Model, place
from service.records import FACE_SIZE, Scores, WorkerConfig
from service.store import ModelStore
from service.wire import Message


class Scorer(Protocol):
    """What `serve` needs of a model."""

    def scores(self, faces: NDArray[np.uint8]) -> Scores:
        """As `Model.scores`."""


def serve(model: Scorer, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until their stream ends; a failing batch is answered with its error."""
    while (request := wire.read(requests)) is not None:
        answers.write(_answer(model, request).pack())
        answers.flush()


def _answer(model: Scorer, request: Message) -> Message:
    faces = np.frombuffer(bytearray(request.body), dtype=np.uint8)
    start = time.perf_counter()
    try:
        scores = model.scores(faces.reshape(-1, FACE_SIZE, FACE_SIZE))
    except (RuntimeError, ValueError) as error:
        return Message({"error": str(error).splitlines()[0]})
    header: dict[str, Any] = {"seconds": time.perf_counter() - start}
    return Message(header, np.ascontiguousarray(scores, dtype=np.float32).tobytes())


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
