"""A model process: reads requests from stdin, runs the model on its device, answers on stdout.

It ends when stdin does, so that no orphan is left even if its parent is killed.
`service.remote.RemoteModel` is the other side.
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
"""Niceness of a model process: the front goes first, as its work is short."""

RETRY_SECONDS = 0.1
"""Seconds between attempts while the system answers EAGAIN."""

COST_TOLERANCE = 1.15
"""How much more a face may cost than at the cheapest batch size, as a factor."""


class Answerer(Protocol):
    """What `serve` needs of a model."""

    def scores(self, faces: NDArray[np.uint8]) -> Scores:
        """As `Model.scores`."""

    def explain(
        self, faces: NDArray[np.uint8], questions: Sequence[Question]
    ) -> tuple[Explanation, ...]:
        """As `Model.explain`."""


def serve(model: Answerer, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the stream ends; a batch that fails is answered with its error.

    Raises:
        torch.AcceleratorError: the device has failed for good.
    """
    while (request := wire.read(requests)) is not None:
        try:
            message = _answer(model, request)
        except torch.AcceleratorError:
            raise  # this process cannot use the device any more: another one has to
        except Exception as error:  # noqa: BLE001  # the caller is told, and the next request answered
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
    """Resident memory of this process, in bytes; 0 if the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def find_cap(seconds: Callable[[int], float], largest: int) -> int:
    """The largest batch size at which a face costs hardly more than at the cheapest size.

    Large batches pay even where the model itself gains nothing: each batch costs the front a
    message.

    Args:
        seconds: how long a batch of a given size takes.
        largest: the upper limit.

    Returns:
        A power of two.
    """
    sizes = list(takewhile(lambda size: size <= largest, (1 << n for n in count())))
    costs = {size: seconds(size) / size for size in sizes}
    return max(size for size in sizes if costs[size] <= min(costs.values()) * COST_TOLERANCE)


def main() -> None:
    """Load the model that the command line names, and serve it on stdin and stdout."""
    _give_way()
    config = WorkerConfig(**json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keeps what libraries print out of the messages
    torch.set_num_threads(config.threads)
    try:
        stored = ModelStore(Path(config.store)).gimefive(config.version)
        model = Model(stored, choose_device(stored.card, config.device, config.precision))
    except ServiceError as error:
        answers.write(Message({"error": str(error)}).pack())
        answers.flush()
        return
    info = replace(model.info, max_batch=_warm_up(model, config.max_batch))
    with suppress(BrokenPipeError):  # the other side has gone
        answers.write(Message({"ready": asdict(info), "memory": memory()}).pack())
        answers.flush()
        serve(model, sys.stdin.buffer, answers)


def _give_way() -> None:
    """Lower this process's priority, so that the front gets a core whenever it needs one.

    Linux may schedule sessions rather than processes (autogroup), so the session's priority is
    lowered, too. An unprivileged user may do that ten times a second, and gets EAGAIN beyond that.
    """
    with suppress(OSError):
        os.nice(NICENESS)
        while not _lower_session():
            time.sleep(RETRY_SECONDS)


def _lower_session() -> bool:
    """Lower the session's priority; False if it has to be tried again."""
    try:
        Path("/proc/self/autogroup").write_text(str(NICENESS))
    except BlockingIOError:
        return False
    return True


def _warm_up(model: Model, wished: int | None) -> int:
    """Run batches of growing size, so that no request pays for the first; gives the largest to use.

    Args:
        model: the model.
        wished: the largest size, if it is set.
    """
    model.warm_up_explaining()
    if wished is None:
        return find_cap(model.time, model.info.max_batch)
    for size in (*takewhile(lambda size: size < wished, (1 << n for n in count())), wished):
        model.time(size)
    return wished


if __name__ == "__main__":
    main()
