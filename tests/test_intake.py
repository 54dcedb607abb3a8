"""The pool that looks at pictures: what nobody waits for any more is not looked at."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

import numpy as np
import pytest

from service.errors import NotAnImage, NotReady, Overloaded
from service.faces import FaceDetector
from service.intake import Intake
from service.limits import FREE_QUEUE, OVERLOAD_HOLD
from service.records import Picture
from tests.waiting import settle

pytestmark = pytest.mark.anyio

YUNET = Path(__file__).parents[1] / "model_store" / "yunet" / "1" / "model.onnx"


class Door:
    """An intake of one thread, which is held up until the door opens."""

    def __init__(self, intake: Intake, dropped: list[str], refused: list[str]) -> None:
        self.intake, self.dropped, self.refused = intake, dropped, refused
        self.open = threading.Event()
        self.begun = threading.Event()
        self.decoded: list[str] = []
        self.now = 0.0

    def decode(self, name: str, size: int = 1) -> Picture:
        """One of a hundred bytes takes a hundred seconds."""
        self.begun.set()
        self.open.wait(30)
        self.now += size
        self.decoded.append(name)
        return np.zeros((64, 64, 3), dtype=np.uint8)

    def detect(
        self, name: str, deadline: float | None = None, size: int = 1
    ) -> asyncio.Task[object]:
        looking = self.intake.detect(lambda: self.decode(name, size), "whole", deadline, size=size)
        return asyncio.create_task(looking)


@asynccontextmanager
async def door(max_waiting: int = 10, max_wait: float = inf) -> AsyncIterator[Door]:
    dropped: list[str] = []
    refused: list[str] = []
    intake = Intake(
        FaceDetector(YUNET),
        threads=1,
        max_waiting=max_waiting,
        max_wait=max_wait,
        refused=refused.append,
        dropped=dropped.append,
        clock=lambda: held.now,
    )
    held = Door(intake, dropped, refused)
    try:
        yield held
    finally:
        held.open.set()
        await intake.close()


async def test_an_image_of_a_cancelled_call_is_not_decoded() -> None:
    async with door() as d:
        first, gone, stays = d.detect("first"), d.detect("gone"), d.detect("stays")
        await settle()
        gone.cancel()
        await settle()
        d.open.set()
        await asyncio.gather(first, stays)
    assert d.decoded == ["first", "stays"]
    assert d.dropped == ["cancelled"]


async def test_a_call_cancelled_after_its_deadline_is_counted_as_expired() -> None:
    async with door() as d:
        first, late = d.detect("first"), d.detect("late", deadline=5)
        await settle()
        d.now = 6
        late.cancel()
        await settle()
        d.open.set()
        await first
    assert d.decoded == ["first"]
    assert d.dropped == ["expired"]


async def test_calls_waiting_or_arriving_when_the_pool_closes_get_not_ready() -> None:
    async with door() as d:
        begun, waits = d.detect("begun"), d.detect("waits")
        assert await asyncio.to_thread(d.begun.wait, 30)
        await settle()
        closing = asyncio.create_task(d.intake.close())
        with pytest.raises(NotReady):
            await waits
        with pytest.raises(NotReady):
            await d.detect("comes")
        d.open.set()
        await asyncio.gather(begun, closing)
    assert d.decoded == ["begun"]


async def test_a_call_cancelled_during_decoding_is_not_counted_as_dropped() -> None:
    async with door() as d:
        begun = d.detect("begun")
        assert await asyncio.to_thread(d.begun.wait, 30)
        begun.cancel()
        await settle()
    assert d.decoded == ["begun"]
    assert d.dropped == []


async def test_a_cancelled_call_frees_its_place() -> None:
    async with door(max_waiting=2) as d:
        first, gone = d.detect("first"), d.detect("gone")
        await settle()
        with pytest.raises(Overloaded):
            await d.detect("refused")
        gone.cancel()
        await settle()
        another = d.detect("another")
        d.open.set()
        await asyncio.gather(first, another)
    assert d.decoded == ["first", "another"]
    assert d.refused == ["intake_full"]


async def used_to_seconds(d: Door) -> None:
    """Let the intake learn that a picture takes a second."""
    d.open.set()
    for _ in range(100):
        await d.detect("learned from")
    d.open.clear()
    d.decoded.clear()


async def test_an_image_that_cannot_meet_its_deadline_is_refused_with_retry_after() -> None:
    async with door() as d:
        await used_to_seconds(d)
        waiting = [d.detect("first"), d.detect("second")]
        await settle()
        with pytest.raises(Overloaded) as refused:
            await d.detect("late", deadline=d.now + 2.9)
        assert refused.value.retry_after == pytest.approx(2, abs=0.01)
        waiting.append(d.detect("in time", deadline=d.now + 3.1))
        await settle()
        d.open.set()
        await asyncio.gather(*waiting)
    assert d.decoded == ["first", "second", "in time"]
    assert d.refused == ["deadline"]


async def test_a_thread_is_busy_until_the_work_of_a_cancelled_call_ends() -> None:
    async with door() as d:
        await used_to_seconds(d)
        d.begun.clear()
        left = d.detect("left")
        assert await asyncio.to_thread(d.begun.wait, 30)
        left.cancel()
        await settle()
        with pytest.raises(Overloaded):
            await d.detect("late", deadline=d.now + 1.5)
        waiting = d.detect("in time", deadline=d.now + 2.1)
        await settle()
        d.open.set()
        await waiting
        await d.detect("alone", deadline=d.now + 1.1)
    assert d.decoded == ["left", "in time", "alone"]


async def test_failed_decodes_count_in_the_predicted_duration() -> None:
    def broken(d: Door) -> Picture:
        d.decode("broken")
        raise NotAnImage("broken")

    async with door() as d:
        d.open.set()
        for _ in range(100):
            with pytest.raises(NotAnImage):
                await d.intake.detect(lambda: broken(d), "whole", size=1)
        d.open.clear()
        first = d.detect("first")
        await settle()
        with pytest.raises(Overloaded) as refused:
            await d.detect("late", deadline=d.now + 1.9)
        assert refused.value.retry_after == pytest.approx(1, abs=0.01)
        d.open.set()
        await first


@pytest.mark.parametrize("before", [0, 100])
async def test_a_large_image_does_not_raise_the_predicted_duration_of_small_ones(
    before: int,
) -> None:
    async with door() as d:
        d.open.set()
        for size in [*[1] * before, 100]:
            await d.detect("learned from", size=size)
        d.open.clear()
        small = [d.detect(f"{number}", deadline=d.now + 3.1) for number in range(3)]
        await settle()
        with pytest.raises(Overloaded) as refused:
            await d.detect("large", deadline=d.now + 102, size=100)
        assert refused.value.retry_after == pytest.approx(3, abs=0.1)
        d.open.set()
        await asyncio.gather(*small)


async def test_images_queued_before_the_first_measurement_count_with_what_was_learned() -> None:
    async with door() as d:
        may_end = threading.Event()

        def take_a_second() -> Picture:
            may_end.wait(30)
            d.now += 1
            return np.zeros((64, 64, 3), dtype=np.uint8)

        first = asyncio.create_task(d.intake.detect(take_a_second, "whole", size=1))
        others = [d.detect(f"{number}") for number in range(4)]
        await settle()
        may_end.set()
        await first
        with pytest.raises(Overloaded) as refused:
            await d.detect("late", deadline=d.now + 4.5)
        assert refused.value.retry_after == pytest.approx(4)
        d.open.set()
        await asyncio.gather(*others)


async def test_instant_decode_failures_do_not_lower_the_predicted_duration() -> None:
    def broken() -> Picture:
        raise NotAnImage("broken")

    async with door() as d:
        await used_to_seconds(d)
        for _ in range(100):
            with pytest.raises(NotAnImage):
                await d.intake.detect(broken, "whole", size=1)
        first = d.detect("first")
        await settle()
        with pytest.raises(Overloaded):
            await d.detect("late", deadline=d.now + 1.5)
        d.open.set()
        await first


async def test_drawing_does_not_change_the_predicted_duration_of_an_image() -> None:
    async with door() as d:
        await used_to_seconds(d)
        d.open.set()
        await d.intake.run("draw", d.decode, "drawn", 1000)
        d.open.clear()
        small = [d.detect("first"), d.detect("second", deadline=d.now + 2.1)]
        await settle()
        d.open.set()
        await asyncio.gather(*small)


async def test_a_full_pool_refuses_with_the_predicted_wait_as_retry_after() -> None:
    async with door(max_waiting=3) as d:
        await used_to_seconds(d)
        waiting = [d.detect(f"{number}") for number in range(3)]
        await settle()
        with pytest.raises(Overloaded) as refused:
            await d.detect("refused")
        assert refused.value.retry_after == pytest.approx(3, abs=0.01)
        d.open.set()
        await asyncio.gather(*waiting)


async def test_over_free_queue_an_image_that_would_wait_over_max_wait_is_refused() -> None:
    async with door(max_waiting=1000, max_wait=100) as d:
        await used_to_seconds(d)
        crowd = [d.detect("one of a crowd") for _ in range(FREE_QUEUE)]
        await settle()
        with pytest.raises(Overloaded) as refused:
            await d.detect("one more")
        assert refused.value.retry_after == pytest.approx(FREE_QUEUE, rel=0.01)
        d.open.set()
        await asyncio.gather(*crowd)
    assert d.refused == ["intake_full"]


async def test_after_a_refusal_the_queue_is_kept_short_until_overload_hold_passes() -> None:
    async with door(max_waiting=1000, max_wait=2.5) as d:
        await used_to_seconds(d)
        crowd = [d.detect("one of a crowd") for _ in range(FREE_QUEUE)]
        await settle()
        with pytest.raises(Overloaded):
            await d.detect("one more")
        for looked in crowd[3:]:
            looked.cancel()
        await settle()
        with pytest.raises(Overloaded):
            await d.detect("waits too long")
        d.now += OVERLOAD_HOLD
        crowd[3] = d.detect("may wait again")
        await settle()
        d.open.set()
        await asyncio.gather(*crowd[:4])
    assert d.refused == ["intake_full"] * 2


async def test_a_queue_within_max_wait_may_exceed_free_queue() -> None:
    async with door(max_waiting=1000, max_wait=1000) as d:
        await used_to_seconds(d)
        crowd = [d.detect("one of a crowd") for _ in range(FREE_QUEUE + 1)]
        await settle()
        d.open.set()
        await asyncio.gather(*crowd)
    assert len(d.decoded) == FREE_QUEUE + 1


async def test_a_single_image_waits_for_at_most_two_images_of_a_batch() -> None:
    async with door() as d:
        many = [
            asyncio.create_task(d.intake.detect_in_turn(lambda: d.decode("bulk"), "whole"))
            for _ in range(9)
        ]
        await settle()
        single = d.detect("single")
        await settle()
        d.open.set()
        await asyncio.gather(single, *many)
    assert d.decoded.index("single") <= 2


async def test_a_whole_image_maps_to_its_crop_by_pixel_centres() -> None:
    """The last pixel's middle of the crop is that of the picture, in either direction."""
    async with door() as d:
        d.open.set()
        tall = np.zeros((128, 64, 3), dtype=np.uint8)
        scene = await d.intake.detect(lambda: tall, "whole", size=1)
    corners = [scene.crop_to_image[0] @ [x, y, 1] for x, y in ((0, 0), (63, 63))]
    np.testing.assert_allclose(corners, [[0, 0.5], [63, 126.5]])
