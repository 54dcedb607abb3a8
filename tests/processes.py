"""Fake model processes, most of which fail in one way: ``python -m tests.processes NAME [FILE]``.

They use the real wire protocol and do not import torch, so that they start quickly.
"""

import fcntl
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service import codec, wire
from service.explanation import Explanation, Features
from service.records import ModelInfo
from service.wire import Message
from tests.fakes import POISON, scores_of

INFO = ModelInfo("gimefive", "1", "fp32", "cpu", "0" * 64, "a fake", 32)


def send(message: Message) -> None:
    sys.stdout.buffer.write(message.pack())
    sys.stdout.buffer.flush()


def requests() -> Iterator[Message]:
    while (request := wire.read(sys.stdin.buffer)) is not None:
        yield request


def batches() -> Iterator[NDArray[np.uint8]]:
    for request in requests():
        yield codec.decode_faces(request)


def report_ready() -> None:
    send(Message({"ready": asdict(INFO)}))


def answer(faces: NDArray[np.uint8]) -> None:
    send(Message({"seconds": 0.25}, scores_of(faces).tobytes()))


def explain(request: Message, poison: float = POISON) -> None:
    """Answer with heat maps whose top left cell is the grey value, and all others zero."""
    heats = np.zeros((len(codec.decode_faces(request)), 4, 4), dtype=np.float32)
    heats[:, 0, 0] = codec.decode_faces(request)[:, 0, 0]
    heats[heats == POISON] = poison
    explanations = [
        Explanation(
            question=question,
            target=question.target or 0,
            logits=np.eye(6, dtype=np.float32)[0] * 9,
            heat=heat,
            features=Features(heat[None], np.array([7]), 1024)
            if question.method == "activations"
            else None,
        )
        for question, heat in zip(codec.decode_questions(request), heats, strict=True)
    ]
    send(codec.encode_response(explanations, 0.5))


def sound() -> None:
    report_ready()
    for request in requests():
        if request.header["op"] == "explain":
            explain(request)
        else:
            answer(codec.decode_faces(request))


def refuses() -> None:
    send(Message({"error": "model.pt is altered"}))


def ends_at_once() -> None:
    sys.exit(3)


def never_gets_ready() -> None:
    for _ in batches():
        pass


def raises() -> None:
    report_ready()
    for request in requests():
        if (codec.decode_faces(request) == POISON).any():
            send(Message({"error": "cannot compute this"}))
        elif request.header["op"] == "explain":
            explain(request)
        else:
            answer(codec.decode_faces(request))


def answers_too_few() -> None:
    report_ready()
    for faces in batches():
        answer(faces[1:])


def answers_nan() -> None:
    """Answers poison with NaN."""
    report_ready()
    for request in requests():
        if request.header["op"] == "explain":
            explain(request, poison=np.nan)
        else:
            scores = scores_of(codec.decode_faces(request))
            scores[scores == POISON] = np.nan
            send(Message({"seconds": 0.25}, scores.tobytes()))


def sends_garbage() -> None:
    """Answers poison with bytes that are not a message."""
    report_ready()
    for faces in batches():
        if (faces == POISON).any():
            sys.stdout.buffer.write(bytes(8))  # two lengths of zero, without a header
            sys.stdout.buffer.flush()
        else:
            answer(faces)


def restarts_as_another_version() -> None:
    """Needs FILE, which marks the first start; later starts report an unknown field."""
    memory = Path(sys.argv[2])
    if memory.exists():
        send(Message({"ready": asdict(INFO) | {"novelty": 1}}))
    else:
        memory.touch()
        dies()


def dies() -> None:
    report_ready()
    for faces in batches():
        if (faces == POISON).any():
            os.abort()
        answer(faces)


def answers_only_two_together() -> None:
    """Answers its first request only after receiving the second."""
    report_ready()
    asked = batches()
    first, second = next(asked), next(asked)
    answer(first)
    answer(second)


def runs_out_of_memory() -> None:
    report_ready()
    for _ in batches():
        send(Message({"error": "no memory left", "memory_ran_out": True}))


def leaks() -> None:
    """Reports 1,000 bytes at first and 1,000 more per batch; its scores are the thousands."""
    send(Message({"ready": asdict(INFO), "memory": 1000}))
    for number, faces in enumerate(batches(), start=2):
        body = np.full((len(faces), 6), number, dtype=np.float32).tobytes()
        send(Message({"seconds": 0.25, "memory": number * 1000}, body))


def leaks_and_stays() -> None:
    """As `leaks`, but does not exit when its input ends."""
    leaks()
    time.sleep(600)


def grows_once() -> None:
    """Needs a NUMBER: reports 1,000 bytes at first, and NUMBER after each batch."""
    send(Message({"ready": asdict(INFO), "memory": 1000}))
    for faces in batches():
        body = scores_of(faces).tobytes()
        send(Message({"seconds": 0.25, "memory": int(sys.argv[2])}, body))


def leaks_behind_the_gate() -> None:
    """Grows to 2,000 bytes; needs FILE, whose lock it awaits before it answers poison."""
    send(Message({"ready": asdict(INFO), "memory": 1000}))
    for faces in batches():
        if (faces == POISON).any():
            with Path(sys.argv[2]).open("a") as gate:
                fcntl.flock(gate, fcntl.LOCK_SH)
        send(Message({"seconds": 0.25, "memory": 2000}, scores_of(faces).tobytes()))


def needs_much_memory() -> None:
    """Needs 64 MiB for each batch, and answers how many page faults that caused."""
    report_ready()
    for faces in batches():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        b"64 bytes" * 8 * 2**20
        new = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        body = np.full((len(faces), 6), new, dtype=np.float32).tobytes()
        send(Message({"seconds": 0.25}, body))


def hangs() -> None:
    report_ready()
    for faces in batches():
        while (faces == POISON).any():
            time.sleep(60)  # it hangs
        answer(faces)


def gated() -> None:
    """Needs FILE, whose lock it awaits before it answers; logs its batches in FILE.log."""
    report_ready()
    for faces in batches():
        answer_behind_the_gate(faces)


def explains_at_once() -> None:
    """As `gated`, but explanations are answered at once."""
    report_ready()
    for request in requests():
        if request.header["op"] == "explain":
            explain(request)
        else:
            answer_behind_the_gate(codec.decode_faces(request))


def answer_behind_the_gate(faces: NDArray[np.uint8]) -> None:
    with Path(f"{sys.argv[2]}.log").open("a") as log:
        print([int(face[0, 0]) for face in faces], file=log)
    with Path(sys.argv[2]).open("a") as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
    if (faces == POISON).any():
        send(Message({"error": "cannot compute this"}))
    else:
        answer(faces)


@contextmanager
def shut(gate: Path) -> Iterator[None]:
    """Hold the lock, so that processes behind the gate wait."""
    with gate.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start_only_once() -> None:
    """Needs FILE, which marks the first start."""
    memory = Path(sys.argv[2])
    if memory.exists():
        sys.exit(1)
    memory.touch()


def starts_only_once() -> None:
    """Needs FILE, which marks the first start."""
    start_only_once()
    dies()


def ends_when_ready() -> None:
    """Needs FILE, which marks the first start."""
    start_only_once()
    report_ready()


def leaks_and_starts_only_once() -> None:
    """Needs FILE, which marks the first start."""
    start_only_once()
    leaks()


PROCESSES: dict[str, Callable[[], None]] = {
    process.__name__: process
    for process in (
        sound,
        refuses,
        ends_at_once,
        never_gets_ready,
        raises,
        answers_too_few,
        answers_nan,
        sends_garbage,
        restarts_as_another_version,
        dies,
        hangs,
        answers_only_two_together,
        runs_out_of_memory,
        leaks,
        leaks_and_stays,
        grows_once,
        leaks_behind_the_gate,
        needs_much_memory,
        gated,
        explains_at_once,
        starts_only_once,
        ends_when_ready,
        leaks_and_starts_only_once,
    )
}


def argv(process: Callable[[], None], *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.processes", process.__name__, *arguments)


if __name__ == "__main__":
    PROCESSES[sys.argv[1]]()
