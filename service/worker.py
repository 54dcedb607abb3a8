"""The process that owns a device: reads batches from stdin, runs the model, answers on stdout.

It lives exactly as long as its front: when stdin ends it ends, so that no orphan is left even
where the front was killed. `service.remote.RemoteModel` is the other side.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import count, takewhile
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from service import codec, wire
from service.errors import ServiceError
from service.explanation import Explanation, Question
from service.model import Model, choose_device
from service.records import Scores, WorkerConfig
from service.store import ModelStore
from service.wire import Message

NO_MEMORY = "can't allocate memory"
"""What torch's CPU allocator says, in a RuntimeError."""

NICENESS = 10
"""How much less urgent than the front a model process is, which has a core's work in each batch."""

RETRY_SECONDS = 0.1
"""Seconds after which a busy system may be asked again."""

COST_TOLERANCE = 1.15
"""A face may cost so many times what it costs at the best batch size."""


class Answerer(Protocol):
    """What `serve` needs of a model."""

    def scores(self, faces: NDArray[np.uint8]) -> Scores:
        """As `Model.scores`."""

    def explain(
        self, faces: NDArray[np.uint8], questions: Sequence[Question]
    ) -> tuple[Explanation, ...]:
        """As `Model.explain`."""


def serve(model: Answerer, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until their stream ends; a failing batch is answered with its error.

    Raises:
        torch.AcceleratorError: the device failed, for good.
    """
    while (request := wire.read(requests)) is not None:
        try:
            message = _answer(model, request)
        except torch.AcceleratorError:
            raise  # the device answers nothing more to this process: another has to take over
        except Exception as error:  # noqa: BLE001  # whoever asked is told, and the next one answered
            message = _failure(error)
        answers.write(Message({**message.header, "memory": memory()}, message.body).pack())
        answers.flush()


def _answer(model: Answerer, request: Message) -> Message:
    faces = codec.decode_faces(request)
    start = time.perf_counter()
    match request.header["op"]:
        case "scores":
            scores = model.scores(faces)
            return Message({"seconds": time.perf_counter() - start}, scores.tobytes())
        case "explain":
            explanations = model.explain(faces, codec.decode_questions(request))
            return codec.encode_response(explanations, time.perf_counter() - start)
        case unknown:
            raise ValueError(f"no operation {unknown!r}")


def _failure(error: Exception) -> Message:
    text = (str(error) or type(error).__name__).splitlines()[0]
    ran_out = isinstance(error, MemoryError | torch.OutOfMemoryError) or NO_MEMORY in text
    if ran_out and torch.cuda.is_available():
        torch.cuda.empty_cache()
    return Message({"error": text, "memory_ran_out": ran_out})


def memory() -> int:
    """Bytes that this process occupies; 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def find_cap(seconds: Callable[[int], float], largest: int) -> int:
    """The largest batch size at which a face costs hardly more than at the cheapest.

    That the model itself gains nothing by a larger batch is no reason for a smaller one: each batch
    costs a message and a turn of the front, which fewer batches save.

    Args:
        seconds: how long a batch of a size takes.
        largest: no more than so many.

    Returns:
        A power of two.
    """
    sizes = list(takewhile(lambda size: size <= largest, (1 << n for n in count())))
    costs = {size: seconds(size) / size for size in sizes}
    return max(size for size in sizes if costs[size] <= min(costs.values()) * COST_TOLERANCE)


def main() -> None:
    """Load the model that the command line names and serve it on stdin and stdout."""
    _give_way()
    config = WorkerConfig(**json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up between the messages
    torch.set_num_threads(config.threads)
    try:
        stored = ModelStore(Path(config.store)).gimefive(config.version)
        model = Model(stored, choose_device(stored.card, config.device, config.precision))
    except ServiceError as error:
        answers.write(Message({"error": str(error)}).pack())
        answers.flush()
        return
    info = replace(model.info, max_batch=_warm_up(model, config.max_batch))
    with suppress(BrokenPipeError):  # whoever asked has gone
        answers.write(Message({"ready": asdict(info), "memory": memory()}).pack())
        answers.flush()
        serve(model, sys.stdin.buffer, answers)


def _give_way() -> None:
    """Leave a core to the front as soon as it wants one: it refuses and answers in a millisecond.

    Where the system shares cores by session first, that share is lowered, too. A process without
    privileges may do so ten times a second, all of its user's together, and is told to try again.
    """
    with suppress(OSError):
        os.nice(NICENESS)
        while not _lower_session():
            time.sleep(RETRY_SECONDS)


def _lower_session() -> bool:
    """Lower the session's share; whether that is settled."""
    try:
        Path("/proc/self/autogroup").write_text(str(NICENESS))
    except BlockingIOError:
        return False
    return True


def _warm_up(model: Model, wished: int | None) -> int:
    """Run batches of growing size, so that no request pays for the first; the largest to send."""
    model.warm_up_explaining()
    if wished is None:
        return find_cap(model.time, model.info.max_batch)
    for size in (*takewhile(lambda size: size < wished, (1 << n for n in count())), wished):
        model.time(size)
    return wished


if __name__ == "__main__":
    main()
