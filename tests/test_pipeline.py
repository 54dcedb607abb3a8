"""Concurrent work on the items of a source, with results in order."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from service.pipeline import overlapped
from tests.waiting import settle


class Workload:
    """A source of numbers, and work on each that waits until it is released."""

    def __init__(self, count: int, fails_at: int | None = None) -> None:
        self.count = count
        self.fails_at = fails_at
        self.yielded = 0
        self.started: list[int] = []
        self.cancelled: list[int] = []
        self.gates = [asyncio.Event() for _ in range(count)]
        self.closed = False

    async def source(self) -> AsyncGenerator[int]:
        try:
            for number in range(self.count):
                if number == self.fails_at:
                    raise EOFError(number)
                self.yielded += 1
                yield number
        finally:
            self.closed = True

    async def work(self, number: int) -> int:
        self.started.append(number)
        try:
            await self.gates[number].wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        return number * 10

    def release(self, *numbers: int) -> None:
        for number in numbers:
            self.gates[number].set()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_results_are_in_order_even_if_work_finishes_out_of_order() -> None:
    async def test() -> None:
        workload = Workload(4)
        results = overlapped(workload.source(), workload.work, 4)
        first = asyncio.ensure_future(anext(results))
        workload.release(3, 1, 2)
        await settle()
        assert not first.done()
        workload.release(0)
        assert [await first, *[result async for result in results]] == [0, 10, 20, 30]

    run(test)


def test_work_is_limited_to_the_window_and_one_item_is_read_ahead() -> None:
    async def test() -> None:
        workload = Workload(10)
        async with aclosing(overlapped(workload.source(), workload.work, 3)) as results:
            workload.release(0)
            assert await anext(results) == 0
            await settle()
            assert workload.started == [0, 1, 2]
            assert workload.yielded == 4

    run(test)


def test_items_read_before_the_source_failed_are_still_processed() -> None:
    async def test() -> None:
        workload = Workload(5, fails_at=2)
        workload.release(*range(5))
        results = overlapped(workload.source(), workload.work, 3)
        assert [await anext(results), await anext(results)] == [0, 10]
        with pytest.raises(EOFError):
            await anext(results)

    run(test)


def test_work_error_is_raised_in_order_and_cancels_the_rest() -> None:
    async def test() -> None:
        workload = Workload(5)

        async def fails(number: int) -> int:
            if number == 1:
                raise ValueError(number)
            return await workload.work(number)

        workload.release(0)
        results = overlapped(workload.source(), fails, 3)
        assert await anext(results) == 0
        with pytest.raises(ValueError, match="1"):
            await anext(results)
        assert set(workload.cancelled) == set(workload.started[1:])

    run(test)


def test_closing_cancels_outstanding_work() -> None:
    async def test() -> None:
        workload = Workload(9)
        results = overlapped(workload.source(), workload.work, 3)
        workload.release(0)
        await anext(results)
        await settle()
        await results.aclose()
        assert set(workload.cancelled) == {1, 2}
        assert workload.closed
        assert len(asyncio.all_tasks()) == 1

    run(test)


def test_cancellation_also_cancels_the_work_of_a_nested_pipeline() -> None:
    async def test() -> None:
        workload = Workload(9)

        async def never(_: int) -> None:
            await asyncio.Event().wait()

        async def source() -> AsyncGenerator[int]:
            async with aclosing(overlapped(workload.source(), workload.work, 9)) as inner:
                async for number in inner:
                    yield number

        results = overlapped(source(), never, 2)
        workload.release(0, 1, 2)  # one more than the window: the source is suspended at its yield
        reading = asyncio.ensure_future(anext(results))
        await settle()
        reading.cancel()
        await asyncio.wait([reading])
        assert workload.closed
        assert set(workload.cancelled) == set(range(3, 9))
        assert len(asyncio.all_tasks()) == 1

    run(test)
