"""The pool that looks at pictures: what nobody waits for any more is not looked at."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from service.errors import Overloaded
from service.faces import FaceDetector
from service.intake import Intake
from service.records import Picture

pytestmark = pytest.mark.anyio

YUNET = Path(__file__).parents[1] / "model_store" / "yunet" / "1" / "model.onnx"


class Door:
    """An intake of one thread, which is held up until the door opens."""

    def __init__(self, intake: Intake, dropped: list[str], refused: list[str]) -> None:
        self.intake, self.dropped, self.refused = intake, dropped, refused
        self.open = threading.Event()
        self.begun = threading.Event()
        self.decoded: list[str] = []

    def decode(self, name: str) -> Picture:
        self.begun.set()
        self.open.wait(30)
        self.decoded.append(name)
        return np.zeros((64, 64, 3), dtype=np.uint8)

    def look(self, name: str, deadline: float | None = None) -> asyncio.Task[object]:
        looking = self.intake.look(lambda: self.decode(name), "whole", deadline)
        return asyncio.create_task(looking)


@contextmanager
def door(max_waiting: int = 10) -> Iterator[Door]:
    dropped: list[str] = []
    refused: list[str] = []
    intake = Intake(
        FaceDetector(YUNET),
        threads=1,
        max_waiting=max_waiting,
        refused=refused.append,
        dropped=dropped.append,
    )
    door = Door(intake, dropped, refused)
    try:
        yield door
    finally:
        door.open.set()
        intake.close()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_picture_whose_caller_has_gone_is_not_decoded() -> None:
    with door() as d:
        first, gone, stays = d.look("first"), d.look("gone"), d.look("stays")
        await settle()
        gone.cancel()
        await settle()
        d.open.set()
        await asyncio.gather(first, stays)
    assert d.decoded == ["first", "stays"]
    assert d.dropped == ["cancelled"]


async def test_a_picture_that_is_given_up_after_its_deadline_has_expired() -> None:
    with door() as d:
        first, late = d.look("first"), d.look("late", deadline=time.monotonic())
        await settle()
        late.cancel()
        await settle()
        d.open.set()
        await first
    assert d.decoded == ["first"]
    assert d.dropped == ["expired"]


async def test_a_picture_that_is_being_decoded_is_not_counted_as_dropped() -> None:
    with door() as d:
        begun = d.look("begun")
        await asyncio.to_thread(d.begun.wait, 30)
        begun.cancel()
        await settle()
    assert d.decoded == ["begun"]
    assert d.dropped == []


async def test_one_that_has_gone_leaves_its_place_to_another() -> None:
    with door(max_waiting=2) as d:
        first, gone = d.look("first"), d.look("gone")
        await settle()
        with pytest.raises(Overloaded):
            await d.look("refused")
        gone.cancel()
        await settle()
        another = d.look("another")
        d.open.set()
        await asyncio.gather(first, another)
    assert d.decoded == ["first", "another"]
    assert d.refused == ["intake_full"]
