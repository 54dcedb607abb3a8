"""Model processes that fail in one way each: ``python -m tests.processes NAME [FILE]``.

They speak the real wire and import no torch, so that they start at once.
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


def say(message: Message) -> None:
    sys.stdout.buffer.write(message.pack())
    sys.stdout.buffer.flush()


def requests() -> Iterator[Message]:
    while (request := wire.read(sys.stdin.buffer)) is not None:
        yield request


def batches() -> Iterator[NDArray[np.uint8]]:
    for request in requests():
        yield codec.decode_faces(request)


def get_ready() -> None:
    say(Message({"ready": asdict(INFO)}))


def answer(faces: NDArray[np.uint8]) -> None:
    say(Message({"seconds": 0.25}, scores_of(faces).tobytes()))


def explain(request: Message, poison: float = POISON) -> None:
    """Evidence in the top left cell for faces that are not black, none for those that are."""
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
    say(codec.encode_response(explanations, 0.5))


def sound() -> None:
    get_ready()
    for request in requests():
        if request.header["op"] == "explain":
            explain(request)
        else:
            answer(codec.decode_faces(request))


def refuses() -> None:
    say(Message({"error": "model.pt is altered"}))


def ends_at_once() -> None:
    sys.exit(3)


def never_gets_ready() -> None:
    for _ in batches():
        pass


def raises() -> None:
    get_ready()
    for request in requests():
        if (codec.decode_faces(request) == POISON).any():
            say(Message({"error": "cannot compute this"}))
        elif request.header["op"] == "explain":
            explain(request)
        else:
            answer(codec.decode_faces(request))


def answers_too_few() -> None:
    get_ready()
    for faces in batches():
        answer(faces[1:])


def answers_no_numbers() -> None:
    """Answers poison with what is no number."""
    get_ready()
    for request in requests():
        if request.header["op"] == "explain":
            explain(request, poison=np.nan)
        else:
            scores = scores_of(codec.decode_faces(request))
            scores[scores == POISON] = np.nan
            say(Message({"seconds": 0.25}, scores.tobytes()))


def babbles() -> None:
    """Answers poison with what is no message."""
    get_ready()
    for faces in batches():
        if (faces == POISON).any():
            sys.stdout.buffer.write(bytes(8))  # two lengths, and no header
            sys.stdout.buffer.flush()
        else:
            answer(faces)


def becomes_another_version() -> None:
    """Needs FILE, which remembers the first start; after it, tells what nobody here knows."""
    memory = Path(sys.argv[2])
    if memory.exists():
        say(Message({"ready": asdict(INFO) | {"novelty": 1}}))
    else:
        memory.touch()
        dies()


def dies() -> None:
    get_ready()
    for faces in batches():
        if (faces == POISON).any():
            os.abort()
        answer(faces)


def answers_only_two_together() -> None:
    """Answers its first request only when it has the second."""
    get_ready()
    asked = batches()
    first, second = next(asked), next(asked)
    answer(first)
    answer(second)


def has_no_memory() -> None:
    get_ready()
    for _ in batches():
        say(Message({"error": "no memory left", "memory_ran_out": True}))


def leaks() -> None:
    """Occupies 1,000 bytes at first, 1,000 more after each batch, and says so in its scores."""
    say(Message({"ready": asdict(INFO), "memory": 1000}))
    for number, faces in enumerate(batches(), start=2):
        body = np.full((len(faces), 6), number, dtype=np.float32).tobytes()
        say(Message({"seconds": 0.25, "memory": number * 1000}, body))


def leaks_and_stays() -> None:
    """Likewise, and does not end when it should."""
    leaks()
    time.sleep(600)


def grows_once() -> None:
    """Needs a NUMBER: occupies 1,000 bytes at first, and so many after a batch."""
    say(Message({"ready": asdict(INFO), "memory": 1000}))
    for faces in batches():
        body = scores_of(faces).tobytes()
        say(Message({"seconds": 0.25, "memory": int(sys.argv[2])}, body))


def leaks_behind_the_gate() -> None:
    """Grows likewise, to 2,000 bytes; with poison it needs FILE, whose lock it awaits before."""
    say(Message({"ready": asdict(INFO), "memory": 1000}))
    for faces in batches():
        if (faces == POISON).any():
            with Path(sys.argv[2]).open() as gate:
                fcntl.flock(gate, fcntl.LOCK_SH)
        say(Message({"seconds": 0.25, "memory": 2000}, scores_of(faces).tobytes()))


def works_in_much_memory() -> None:
    """Needs 64 MB for each batch, and says in its scores how many pages were new to it."""
    get_ready()
    for faces in batches():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        b"64 bytes" * 8 * 2**20
        new = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        body = np.full((len(faces), 6), new, dtype=np.float32).tobytes()
        say(Message({"seconds": 0.25}, body))


def hangs() -> None:
    get_ready()
    for faces in batches():
        while (faces == POISON).any():
            time.sleep(60)  # what hanging is
        answer(faces)


def gated() -> None:
    """Needs FILE, whose lock it awaits before it answers; its batches it notes in FILE.log."""
    get_ready()
    for faces in batches():
        answer_behind_the_gate(faces)


def explains_at_once() -> None:
    """Likewise, but only scores wait."""
    get_ready()
    for request in requests():
        if request.header["op"] == "explain":
            explain(request)
        else:
            answer_behind_the_gate(codec.decode_faces(request))


def answer_behind_the_gate(faces: NDArray[np.uint8]) -> None:
    with Path(f"{sys.argv[2]}.log").open("a") as log:
        print([int(face[0, 0]) for face in faces], file=log)
    with Path(sys.argv[2]).open() as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
    if (faces == POISON).any():
        say(Message({"error": "cannot compute this"}))
    else:
        answer(faces)


@contextmanager
def shut(gate: Path) -> Iterator[None]:
    """Whoever is behind the gate waits meanwhile."""
    with gate.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start_only_once() -> None:
    """Needs FILE, which remembers the first start."""
    memory = Path(sys.argv[2])
    if memory.exists():
        sys.exit(1)
    memory.touch()


def starts_only_once() -> None:
    """Needs FILE, which remembers the first start."""
    start_only_once()
    dies()


def leaks_and_starts_only_once() -> None:
    """Needs FILE, which remembers the first start."""
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
        answers_no_numbers,
        babbles,
        becomes_another_version,
        dies,
        hangs,
        answers_only_two_together,
        has_no_memory,
        leaks,
        leaks_and_stays,
        grows_once,
        leaks_behind_the_gate,
        works_in_much_memory,
        gated,
        explains_at_once,
        starts_only_once,
        leaks_and_starts_only_once,
    )
}


def argv(process: Callable[[], None], *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.processes", process.__name__, *arguments)


if __name__ == "__main__":
    PROCESSES[sys.argv[1]]()
