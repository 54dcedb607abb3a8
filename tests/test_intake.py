"""The decode pool: admission, predicted waits, and calls that are cancelled."""

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
from tests.waiting import LIMIT, settle

pytestmark = pytest.mark.anyio

YUNET = Path(__file__).parents[1] / "model_store" / "yunet" / "1" / "model.onnx"


class GatedIntake:
    """An intake of one thread, whose decoding waits until the gate is open."""

    def __init__(self, intake: Intake, dropped: list[str], refused: list[str]) -> None:
        self.intake, self.dropped, self.refused = intake, dropped, refused
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.decoded: list[str] = []
        self.now = 0.0

    def decode(self, name: str, size: int = 1) -> Picture:
        """Take a second of the clock for each byte of `size`."""
        self.begun.set()
        self.gate.wait(LIMIT)
        self.now += size
        self.decoded.append(name)
        return np.zeros((64, 64, 3), dtype=np.uint8)

    def detect(
        self, name: str, deadline: float | None = None, size: int = 1
    ) -> asyncio.Task[object]:
        call = self.intake.detect(lambda: self.decode(name, size), "whole", deadline, size=size)
        return asyncio.create_task(call)


@asynccontextmanager
async def gated_intake(max_waiting: int = 10, max_wait: float = inf) -> AsyncIterator[GatedIntake]:
    dropped: list[str] = []
    refused: list[str] = []
    intake = Intake(
        FaceDetector(YUNET),
        threads=1,
        max_waiting=max_waiting,
        max_wait=max_wait,
        refused=refused.append,
        dropped=dropped.append,
        clock=lambda: gated.now,
    )
    gated = GatedIntake(intake, dropped, refused)
    try:
        yield gated
    finally:
        gated.gate.set()
        await intake.close()


async def test_an_image_of_a_cancelled_call_is_not_decoded() -> None:
    async with gated_intake() as gated:
        first, gone, stays = gated.detect("first"), gated.detect("gone"), gated.detect("stays")
        await settle()
        gone.cancel()
        await settle()
        gated.gate.set()
        await asyncio.gather(first, stays)
    assert gated.decoded == ["first", "stays"]
    assert gated.dropped == ["cancelled"]


async def test_a_call_cancelled_after_its_deadline_is_counted_as_expired() -> None:
    async with gated_intake() as gated:
        first, late = gated.detect("first"), gated.detect("late", deadline=5)
        await settle()
        gated.now = 6
        late.cancel()
        await settle()
        gated.gate.set()
        await first
    assert gated.decoded == ["first"]
    assert gated.dropped == ["expired"]


async def test_calls_waiting_or_arriving_when_the_pool_closes_get_not_ready() -> None:
    async with gated_intake() as gated:
        begun, waits = gated.detect("begun"), gated.detect("waits")
        assert await asyncio.to_thread(gated.begun.wait, 30)
        await settle()
        closing = asyncio.create_task(gated.intake.close())
        with pytest.raises(NotReady):
            await waits
        with pytest.raises(NotReady):
            await gated.detect("comes")
        gated.gate.set()
        await asyncio.gather(begun, closing)
    assert gated.decoded == ["begun"]


async def test_a_call_cancelled_during_decoding_is_not_counted_as_dropped() -> None:
    async with gated_intake() as gated:
        begun = gated.detect("begun")
        assert await asyncio.to_thread(gated.begun.wait, 30)
        begun.cancel()
        await settle()
    assert gated.decoded == ["begun"]
    assert gated.dropped == []


async def test_a_cancelled_call_frees_its_place() -> None:
    async with gated_intake(max_waiting=2) as gated:
        first, gone = gated.detect("first"), gated.detect("gone")
        await settle()
        with pytest.raises(Overloaded):
            await gated.detect("refused")
        gone.cancel()
        await settle()
        another = gated.detect("another")
        gated.gate.set()
        await asyncio.gather(first, another)
    assert gated.decoded == ["first", "another"]
    assert gated.refused == ["intake_full"]


async def learn_one_second(gated: GatedIntake) -> None:
    """Let the intake learn that an image takes a second."""
    gated.gate.set()
    for _ in range(100):
        await gated.detect("learned from")
    gated.gate.clear()
    gated.decoded.clear()


async def test_an_image_that_cannot_meet_its_deadline_is_refused_with_retry_after() -> None:
    async with gated_intake() as gated:
        await learn_one_second(gated)
        waiting = [gated.detect("first"), gated.detect("second")]
        await settle()
        with pytest.raises(Overloaded) as refused:
            await gated.detect("late", deadline=gated.now + 2.9)
        assert refused.value.retry_after == pytest.approx(2, abs=0.01)
        waiting.append(gated.detect("in time", deadline=gated.now + 3.1))
        await settle()
        gated.gate.set()
        await asyncio.gather(*waiting)
    assert gated.decoded == ["first", "second", "in time"]
    assert gated.refused == ["deadline"]


async def test_a_thread_is_busy_until_the_work_of_a_cancelled_call_ends() -> None:
    async with gated_intake() as gated:
        await learn_one_second(gated)
        gated.begun.clear()
        left = gated.detect("left")
        assert await asyncio.to_thread(gated.begun.wait, 30)
        left.cancel()
        await settle()
        with pytest.raises(Overloaded):
            await gated.detect("late", deadline=gated.now + 1.5)
        waiting = gated.detect("in time", deadline=gated.now + 2.1)
        await settle()
        gated.gate.set()
        await waiting
        await gated.detect("alone", deadline=gated.now + 1.1)
    assert gated.decoded == ["left", "in time", "alone"]


async def test_failed_decodes_count_in_the_predicted_duration() -> None:
    def broken(gated: GatedIntake) -> Picture:
        gated.decode("broken")
        raise NotAnImage("broken")

    async with gated_intake() as gated:
        gated.gate.set()
        for _ in range(100):
            with pytest.raises(NotAnImage):
                await gated.intake.detect(lambda: broken(gated), "whole", size=1)
        gated.gate.clear()
        first = gated.detect("first")
        await settle()
        with pytest.raises(Overloaded) as refused:
            await gated.detect("late", deadline=gated.now + 1.9)
        assert refused.value.retry_after == pytest.approx(1, abs=0.01)
        gated.gate.set()
        await first


@pytest.mark.parametrize("before", [0, 100])
async def test_a_large_image_does_not_raise_the_predicted_duration_of_small_ones(
    before: int,
) -> None:
    async with gated_intake() as gated:
        gated.gate.set()
        for size in [*[1] * before, 100]:
            await gated.detect("learned from", size=size)
        gated.gate.clear()
        small = [gated.detect(f"{number}", deadline=gated.now + 3.1) for number in range(3)]
        await settle()
        with pytest.raises(Overloaded) as refused:
            await gated.detect("large", deadline=gated.now + 102, size=100)
        assert refused.value.retry_after == pytest.approx(3, abs=0.1)
        gated.gate.set()
        await asyncio.gather(*small)


async def test_images_queued_before_the_first_measurement_count_with_what_was_learned() -> None:
    async with gated_intake() as gated:
        may_end = threading.Event()

        def take_a_second() -> Picture:
            may_end.wait(LIMIT)
            gated.now += 1
            return np.zeros((64, 64, 3), dtype=np.uint8)

        first = asyncio.create_task(gated.intake.detect(take_a_second, "whole", size=1))
        others = [gated.detect(f"{number}") for number in range(4)]
        await settle()
        may_end.set()
        await first
        with pytest.raises(Overloaded) as refused:
            await gated.detect("late", deadline=gated.now + 4.5)
        assert refused.value.retry_after == pytest.approx(4)
        gated.gate.set()
        await asyncio.gather(*others)


async def test_instant_decode_failures_do_not_lower_the_predicted_duration() -> None:
    def broken() -> Picture:
        raise NotAnImage("broken")

    async with gated_intake() as gated:
        await learn_one_second(gated)
        for _ in range(100):
            with pytest.raises(NotAnImage):
                await gated.intake.detect(broken, "whole", size=1)
        first = gated.detect("first")
        await settle()
        with pytest.raises(Overloaded):
            await gated.detect("late", deadline=gated.now + 1.5)
        gated.gate.set()
        await first


async def test_drawing_does_not_change_the_predicted_duration_of_an_image() -> None:
    async with gated_intake() as gated:
        await learn_one_second(gated)
        gated.gate.set()
        await gated.intake.run("draw", gated.decode, "drawn", 1000)
        gated.gate.clear()
        small = [gated.detect("first"), gated.detect("second", deadline=gated.now + 2.1)]
        await settle()
        gated.gate.set()
        await asyncio.gather(*small)


async def test_a_full_pool_refuses_with_the_predicted_wait_as_retry_after() -> None:
    async with gated_intake(max_waiting=3) as gated:
        await learn_one_second(gated)
        waiting = [gated.detect(f"{number}") for number in range(3)]
        await settle()
        with pytest.raises(Overloaded) as refused:
            await gated.detect("refused")
        assert refused.value.retry_after == pytest.approx(3, abs=0.01)
        gated.gate.set()
        await asyncio.gather(*waiting)


async def test_over_free_queue_an_image_that_would_wait_over_max_wait_is_refused() -> None:
    async with gated_intake(max_waiting=1000, max_wait=100) as gated:
        await learn_one_second(gated)
        queued = [gated.detect("one of a crowd") for _ in range(FREE_QUEUE)]
        await settle()
        with pytest.raises(Overloaded) as refused:
            await gated.detect("one more")
        assert refused.value.retry_after == pytest.approx(FREE_QUEUE, rel=0.01)
        gated.gate.set()
        await asyncio.gather(*queued)
    assert gated.refused == ["intake_full"]


async def test_after_a_refusal_the_queue_is_kept_short_until_overload_hold_passes() -> None:
    async with gated_intake(max_waiting=1000, max_wait=2.5) as gated:
        await learn_one_second(gated)
        queued = [gated.detect("one of a crowd") for _ in range(FREE_QUEUE)]
        await settle()
        with pytest.raises(Overloaded):
            await gated.detect("one more")
        for task in queued[3:]:
            task.cancel()
        await settle()
        with pytest.raises(Overloaded):
            await gated.detect("waits too long")
        gated.now += OVERLOAD_HOLD
        queued[3] = gated.detect("may wait again")
        await settle()
        gated.gate.set()
        await asyncio.gather(*queued[:4])
    assert gated.refused == ["intake_full"] * 2


async def test_a_queue_within_max_wait_may_exceed_free_queue() -> None:
    async with gated_intake(max_waiting=1000, max_wait=1000) as gated:
        await learn_one_second(gated)
        queued = [gated.detect("one of a crowd") for _ in range(FREE_QUEUE + 1)]
        await settle()
        gated.gate.set()
        await asyncio.gather(*queued)
    assert len(gated.decoded) == FREE_QUEUE + 1


async def test_a_single_image_waits_for_at_most_two_images_of_a_batch() -> None:
    async with gated_intake() as gated:
        many = [
            asyncio.create_task(gated.intake.detect_in_turn(lambda: gated.decode("bulk"), "whole"))
            for _ in range(9)
        ]
        await settle()
        single = gated.detect("single")
        await settle()
        gated.gate.set()
        await asyncio.gather(single, *many)
    assert gated.decoded.index("single") <= 2


async def test_a_whole_image_maps_to_its_crop_by_pixel_centres() -> None:
    """The centres of the crop's corner pixels map to those of the image's, on both axes."""
    async with gated_intake() as gated:
        gated.gate.set()
        tall = np.zeros((128, 64, 3), dtype=np.uint8)
        detected = await gated.intake.detect(lambda: tall, "whole", size=1)
    corners = [detected.crop_to_image[0] @ [x, y, 1] for x, y in ((0, 0), (63, 63))]
    np.testing.assert_allclose(corners, [[0, 0.5], [63, 126.5]])
