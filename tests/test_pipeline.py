"""Work that overlaps and still comes in order."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from service.pipeline import overlapped
from tests.waiting import settle


class Works:
    """A source of numbers and the work on them, which waits until it is let."""

    def __init__(self, count: int, broken: int | None = None) -> None:
        self.count = count
        self.broken = broken
        self.given = 0
        self.started: list[int] = []
        self.cancelled: list[int] = []
        self.gates = [asyncio.Event() for _ in range(count)]
        self.closed = False

    async def source(self) -> AsyncGenerator[int]:
        try:
            for number in range(self.count):
                if number == self.broken:
                    raise EOFError(number)
                self.given += 1
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

    def let(self, *numbers: int) -> None:
        for number in numbers:
            self.gates[number].set()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_results_come_in_order_though_the_work_ends_in_another() -> None:
    async def test() -> None:
        works = Works(4)
        results = overlapped(works.source(), works.work, 4)
        first = asyncio.ensure_future(anext(results))
        works.let(3, 1, 2)
        await settle()
        assert not first.done()
        works.let(0)
        assert [await first, *[result async for result in results]] == [0, 10, 20, 30]

    run(test)


def test_no_more_than_the_window_is_under_way_and_one_item_is_read_ahead() -> None:
    async def test() -> None:
        works = Works(10)
        async with aclosing(overlapped(works.source(), works.work, 3)) as results:
            works.let(0)
            assert await anext(results) == 0
            await settle()
            assert works.started == [0, 1, 2]
            assert works.given == 4

    run(test)


def test_what_a_failing_source_gave_before_is_still_worked_on() -> None:
    async def test() -> None:
        works = Works(5, broken=2)
        works.let(*range(5))
        results = overlapped(works.source(), works.work, 3)
        assert [await anext(results), await anext(results)] == [0, 10]
        with pytest.raises(EOFError):
            await anext(results)

    run(test)


def test_an_error_of_the_work_is_raised_in_its_place_and_ends_the_rest() -> None:
    async def test() -> None:
        works = Works(5)

        async def fails(number: int) -> int:
            if number == 1:
                raise ValueError(number)
            return await works.work(number)

        works.let(0)
        results = overlapped(works.source(), fails, 3)
        assert await anext(results) == 0
        with pytest.raises(ValueError, match="1"):
            await anext(results)
        assert set(works.cancelled) == set(works.started[1:])

    run(test)


def test_closing_cancels_what_is_under_way() -> None:
    async def test() -> None:
        works = Works(9)
        results = overlapped(works.source(), works.work, 3)
        works.let(0)
        await anext(results)
        await settle()
        await results.aclose()
        assert set(works.cancelled) == {1, 2}
        assert works.closed
        assert len(asyncio.all_tasks()) == 1

    run(test)


def test_closing_ends_what_the_source_itself_overlaps() -> None:
    async def test() -> None:
        works = Works(9)

        async def never(_: int) -> None:
            await asyncio.Event().wait()

        async def source() -> AsyncGenerator[int]:
            async with aclosing(overlapped(works.source(), works.work, 9)) as inner:
                async for number in inner:
                    yield number

        results = overlapped(source(), never, 2)
        works.let(0, 1, 2)  # one more than there is room for: the source is stopped where it gives
        reading = asyncio.ensure_future(anext(results))
        await settle()
        reading.cancel()
        await asyncio.wait([reading])
        assert works.closed
        assert set(works.cancelled) == set(range(3, 9))
        assert len(asyncio.all_tasks()) == 1

    run(test)
