"""The batcher under random events: every call ends exactly once, with the right outcome."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.batching import Batcher
from service.errors import (
    DeadlineExceeded,
    ModelFailure,
    NotReady,
    Overloaded,
    TooLarge,
    WorkerLost,
)
from service.lanes import BatchResult, Lane
from tests.virtual import VirtualLoop
from tests.waiting import settle

MAX_ITEMS = 12


@dataclass(eq=False)
class Call:
    """A call to the batcher, and its outcome."""

    wait: bool
    deadline: float | None
    items: list["Item"]
    task: asyncio.Task[list[int]] | None = None
    gone: bool = False
    cancelled: bool = False


@dataclass(eq=False)
class Item:
    """A number, whose correct result is its square."""

    number: int
    poisonous: bool
    call: Call
    losses: int = 0  # of the worker that had begun with it
    sent: int = 0


@dataclass(eq=False)
class Machine:
    """A worker with a pace, which can be killed and records items it should not have been sent."""

    clock: Callable[[], float]
    pace: float = 0.01
    alive: asyncio.Event = field(default_factory=asyncio.Event)
    crash: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    under_way: int = 0
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.alive.set()

    @property
    def up(self) -> bool:
        return self.alive.is_set()

    async def ready(self) -> None:
        await self.alive.wait()

    def kill(self) -> None:
        self.alive.clear()
        self.crash.set()
        self.crash = asyncio.Event()

    async def square(self, items: Sequence[Item]) -> BatchResult[int]:
        self._inspect(items)
        self.under_way += 1
        try:
            await self._compute(items, self.crash)
        finally:
            self.under_way -= 1
        if any(item.poisonous and item.number % 2 for item in items):
            raise ModelFailure("an odd poison fails its batch")
        bad = ModelFailure("an even poison fails alone")
        return BatchResult([bad if item.poisonous else item.number**2 for item in items], self.pace)

    async def _compute(self, items: Sequence[Item], crash: asyncio.Event) -> None:
        """Spend time, on one batch at a time, unless the worker is killed meanwhile."""
        if not self.up:
            raise WorkerLost("down")
        async with self.turn:
            if not crash.is_set():
                try:
                    async with asyncio.timeout(self.pace * len(items)):
                        await crash.wait()
                except TimeoutError:
                    return
                for item in items:
                    item.losses += 1
        raise WorkerLost("killed")

    def _inspect(self, items: Sequence[Item]) -> None:
        now = self.clock()
        for item in items:
            item.sent += 1
            if item.call.gone:
                self.violations.append(f"{item.number} was computed for nobody")
            if item.call.deadline is not None and now >= item.call.deadline:
                self.violations.append(f"{item.number} was computed too late")
            if item.losses > 1:
                self.violations.append(f"{item.number} was tried a third time")
        if self.under_way > 1:
            self.violations.append("more than one batch was sent ahead")


@dataclass
class Recorder:
    """An observer that records what the batcher reports."""

    depth: dict[str, int] = field(default_factory=dict)
    deepest: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
    sizes: list[int] = field(default_factory=list)
    shortest_wait: float = 0.0

    def waiting(self, lane: str, items: int) -> None:
        self.depth[lane] = items
        self.deepest = max(self.deepest, items)

    def batch(self, lane: str, queue_seconds: Sequence[float], seconds: float) -> None:  # noqa: ARG002  # protocol signature
        self.sizes.append(len(queue_seconds))
        self.shortest_wait = min(self.shortest_wait, *queue_seconds)

    def rejected(self, reason: str) -> None:
        self.refused[reason] += 1

    def failed(self, lane: str) -> None:
        """`check` sees failures in the calls themselves."""

    def dropped(self, reason: str) -> None:
        self.given_up[reason] += 1


async def square(worker: Machine, items: Sequence[Item]) -> BatchResult[int]:
    return await worker.square(items)


class Service(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.recorder = Recorder()
        self.calls: list[Call] = []
        self.numbers = 0
        self.closed = False
        self.lanes = [
            Lane("interactive", square, weight=8, max_batch=4, max_items=MAX_ITEMS),
            Lane("bulk", square, weight=1, max_batch=8, max_items=MAX_ITEMS, budget=0.02),
            Lane("explain", square, weight=2, max_batch=2, max_items=MAX_ITEMS, budget=0.02),
        ]
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        self.workers = [Machine(self.loop.time) for _ in range(2)]
        self.batcher = Batcher(self.workers, self.lanes, self.recorder, self.loop.time)

    def run(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def settle(self) -> None:
        self.loop.run_until_complete(settle())

    @rule(
        lane=st.integers(0, 2),
        poison=st.lists(st.sampled_from([False] * 5 + [True]), min_size=1, max_size=MAX_ITEMS + 1),
        within=st.none() | st.floats(-0.01, 0.2),
        wait=st.booleans(),
    )
    def submit(self, lane: int, poison: list[bool], within: float | None, wait: bool) -> None:
        call = Call(wait, None if within is None else self.loop.time() + within, [])
        for poisonous in poison:
            self.numbers += 1
            call.items.append(Item(self.numbers, poisonous, call))
        call.task = self.loop.create_task(self._submit(self.lanes[lane], call))
        self.calls.append(call)
        self.settle()

    async def _submit(self, lane: Lane[Machine, Item, int], call: Call) -> list[int]:
        try:
            answers = await self.batcher.submit(
                lane, call.items, deadline=call.deadline, wait=call.wait
            )
            return [answer.result for answer in answers]
        finally:
            call.gone = True

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.calls))
        assert call.task is not None
        call.cancelled = call.task.cancel() or call.cancelled
        self.settle()

    @rule(seconds=st.floats(0.001, 0.1))
    def pass_time(self, seconds: float) -> None:
        self.run(seconds)

    @rule(worker=st.integers(0, 1), pace=st.sampled_from([0.001, 0.01, 1.0]))
    def work_at(self, worker: int, pace: float) -> None:
        self.workers[worker].pace = pace

    @rule(worker=st.integers(0, 1), down=st.sampled_from([0.0, 0.05, 1.0]))
    def kill(self, worker: int, down: float) -> None:
        self.workers[worker].kill()
        self.loop.call_later(down, self.workers[worker].alive.set)
        self.settle()

    @precondition(lambda self: len(self.calls) > 8)
    @rule()
    def close(self) -> None:
        self.closed = True
        self.loop.run_until_complete(self.batcher.close())
        self.settle()
        assert all(call.task and call.task.done() for call in self.calls)

    @invariant()
    def no_item_is_computed_needlessly(self) -> None:
        assert [each for worker in self.workers for each in worker.violations] == []
        assert self.loop.faults == []

    @invariant()
    def no_lane_exceeds_its_limits(self) -> None:
        assert self.recorder.deepest <= MAX_ITEMS + 8 * 2  # requeued batches come on top
        assert all(size <= 8 for size in self.recorder.sizes)
        assert self.recorder.shortest_wait == 0.0

    def teardown(self) -> None:
        self.run(1000)
        for call in self.calls:
            self.check(call)
        assert set(self.recorder.depth.values()) <= {0}
        if not self.closed:
            self.check_recorder()
        self.loop.run_until_complete(self.batcher.close())
        self.loop.close()

    def check(self, call: Call) -> None:
        assert call.task is not None
        assert call.task.done(), "a call hangs"
        if call.task.cancelled():
            assert call.cancelled
            return
        match call.task.exception():
            case None:
                assert call.task.result() == [item.number**2 for item in call.items]
            case TooLarge():
                assert len(call.items) > MAX_ITEMS
            case Overloaded(retry_after=seconds):
                assert not call.wait
                assert seconds > 0
                assert not any(item.sent for item in call.items)
            case NotReady():
                assert self.closed or not any(item.sent for item in call.items)
            case DeadlineExceeded():
                assert call.deadline is not None
                assert self.loop.time() >= call.deadline
            case WorkerLost():
                assert any(item.losses == 2 for item in call.items)
            case ModelFailure():
                assert any(item.poisonous for item in call.items)
            case error:
                raise AssertionError(error)

    def check_recorder(self) -> None:
        """Items that were neither refused nor sent to a worker were counted as dropped."""
        refusals = (Overloaded, NotReady, TooLarge)
        admitted = [
            call
            for call in self.calls
            if call.task
            and (call.task.cancelled() or not isinstance(call.task.exception(), refusals))
        ]
        unsent = [item for call in admitted for item in call.items if not item.sent]
        assert self.recorder.given_up.total() >= len(unsent)
        reported = sum(self.recorder.refused.values())
        assert reported == sum(
            not call.task.cancelled() and isinstance(call.task.exception(), Overloaded | NotReady)
            for call in self.calls
            if call.task
        )


TestService = Service.TestCase
TestService.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
