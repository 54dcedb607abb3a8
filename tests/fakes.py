"""Fake workers for the batcher, most of which fail in one way each."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.errors import ModelFailure, OutOfMemory, WorkerLost
from service.lanes import BatchResult
from service.records import EMOTIONS, FACE_SIZE, FaceImage, Scores

POISON = 255


def face(value: int) -> FaceImage:
    """A uniform face, which the fakes identify by its grey value."""
    return np.full((FACE_SIZE, FACE_SIZE), value, dtype=np.uint8)


def scores_of(faces: Sequence[FaceImage] | NDArray[np.uint8]) -> Scores:
    """What every working fake answers: one row per face, which begins with its grey value."""
    rows = np.zeros((len(faces), len(EMOTIONS)), dtype=np.float32)
    rows[:, 0] = [face[0, 0] for face in faces]
    return rows


@dataclass(eq=False)
class FakeWorker:
    """Answers when its gate is open, and records its batches."""

    seconds: float = 0.001
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    alive: asyncio.Event = field(default_factory=asyncio.Event)
    batches: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()
        self.alive.set()

    @property
    def up(self) -> bool:
        return self.alive.is_set()

    async def ready(self) -> None:
        await self.alive.wait()

    async def scores(self, faces: Sequence[FaceImage]) -> BatchResult[Scores]:
        self.batches.append([int(face[0, 0]) for face in faces])
        await self.gate.wait()
        return BatchResult([*self.answer(np.stack(faces))], self.seconds)

    def answer(self, faces: NDArray[np.uint8]) -> Scores:
        return scores_of(faces)


class PoisonedWorker(FakeWorker):
    """Fails every batch that contains a poisonous face."""

    def answer(self, faces: NDArray[np.uint8]) -> Scores:
        if (faces == POISON).any():
            raise ModelFailure("cannot compute this")
        return scores_of(faces)


class DyingWorker(FakeWorker):
    """Is lost over every batch that contains a poisonous face, and is up again at once."""

    def answer(self, faces: NDArray[np.uint8]) -> Scores:
        if (faces == POISON).any():
            raise WorkerLost("gone")
        return scores_of(faces)


class BrokenWorker(FakeWorker):
    """Raises an error that no worker should raise."""

    def answer(self, faces: NDArray[np.uint8]) -> Scores:  # noqa: ARG002  # protocol signature
        raise ZeroDivisionError


@dataclass(eq=False)
class CrampedWorker(FakeWorker):
    """Runs out of memory with more faces than it has room for."""

    room: int = 2

    def answer(self, faces: NDArray[np.uint8]) -> Scores:
        if len(faces) > self.room:
            raise OutOfMemory("no memory")
        return scores_of(faces)
