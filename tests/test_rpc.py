"""RPC between two processes, with both ends in this one."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from service import errors, wire
from service.core import Core
from service.errors import NotReady, Overloaded, ServiceError
from service.remote_core import RemoteCore
from service.rpc import RpcConnection
from service.session import Session
from service.settings import Settings
from service.tracer import UNTRACED
from service.wire import Message
from tests import processes
from tests.waiting import LIMIT, settle, until

pytestmark = pytest.mark.anyio

Answer = Callable[[Message], Awaitable[Message]]

REFUSALS: list[ServiceError] = [
    errors.Overloaded("full", 2.5),
    errors.NotReady("starting", 7.0),
    errors.RateLimited("too many", 0.5),
    errors.TooLarge("too many faces"),
    errors.DeadlineExceeded("too late"),
    errors.ModelFailure("no finite scores"),
    errors.WorkerLost("gone"),
]


async def nothing(_: Message) -> Message:
    return Message({})


@asynccontextmanager
async def linked(
    answer: Answer, back: Answer = nothing
) -> AsyncIterator[tuple[RpcConnection, RpcConnection]]:
    """A connected pair: the calling end, and the answering end, whose calls `back` answers."""
    ends = [await asyncio.open_connection(sock=each) for each in socket.socketpair()]
    connections = RpcConnection(*ends[0], back), RpcConnection(*ends[1], answer)
    running = [asyncio.create_task(connection.run()) for connection in connections]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()
        await asyncio.gather(*running)


async def test_cancelling_a_connection_cancels_the_work_it_was_doing() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work(_: Message) -> Message:
        begun.set()
        try:
            await asyncio.Event().wait()
            raise AssertionError
        finally:
            ended.set()

    ends = [await asyncio.open_connection(sock=each) for each in socket.socketpair()]
    here, there = RpcConnection(*ends[0], nothing), RpcConnection(*ends[1], work)
    running = [asyncio.create_task(each.run()) for each in (here, there)]
    call = asyncio.create_task(here.call({}))
    await begun.wait()
    running[1].cancel()
    await asyncio.wait([running[1]])
    assert ended.is_set()
    assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], NotReady)
    await running[0]


async def test_concurrent_calls_each_get_their_own_answer() -> None:
    async def answer_in_reverse(message: Message) -> Message:
        for _ in range(10 - message.header["value"]):
            await asyncio.sleep(0)
        return Message({"value": message.header["value"]}, message.body)

    async with linked(answer_in_reverse) as (here, _):
        calls = [here.call({"value": value}, bytes([value])) for value in range(10)]
        answers = await asyncio.gather(*calls)
    assert [(each.header["value"], each.body[0]) for each in answers] == [
        (value, value) for value in range(10)
    ]


@pytest.mark.parametrize("header", [b"no JSON", b"[]", b'{"answer": []}'])
async def test_what_is_no_message_ends_the_connection_and_is_logged(header: bytes) -> None:
    ours, theirs = socket.socketpair()
    here = RpcConnection(*await asyncio.open_connection(sock=ours), nothing)
    with theirs, capture_logs() as log:
        running = asyncio.create_task(here.run())
        call = asyncio.create_task(here.call({"op": "samples"}))
        theirs.sendall(struct.pack("!II", len(header), 0) + header)
        await asyncio.wait_for(running, LIMIT)
        with pytest.raises(NotReady):
            await call
    assert [line["log_level"] for line in log] == ["error"]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda each: type(each).__name__)
async def test_a_service_error_arrives_unchanged(refusal: ServiceError) -> None:
    async def refuse(_: Message) -> Message:
        raise refusal

    async with linked(refuse) as (here, _):
        with pytest.raises(type(refusal)) as raised:
            await here.call({})
    assert type(raised.value) is type(refusal)
    assert str(raised.value) == str(refusal)
    assert vars(raised.value) == vars(refusal)


async def test_an_unknown_error_type_arrives_as_a_service_error_with_its_text() -> None:
    class Newer(ServiceError):
        pass

    async def refuse(_: Message) -> Message:
        raise Newer("not with me")

    async with linked(refuse) as (here, _):
        with pytest.raises(ServiceError, match="not with me"):
            await asyncio.wait_for(here.call({}), LIMIT)


async def test_an_unexpected_error_arrives_without_its_text_and_is_logged() -> None:
    async def fail(_: Message) -> Message:
        raise ZeroDivisionError("a secret")

    async with linked(fail) as (here, _):
        with pytest.raises(ServiceError) as raised, capture_logs() as log:
            await here.call({"op": "divide"})
    assert "secret" not in str(raised.value)
    (line,) = log
    assert (line["log_level"], line["op"]) == ("error", "divide")
    assert line["exc_info"]


class Endless:
    """Work that ends only when it is cancelled."""

    def __init__(self) -> None:
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()

    async def answer(self, _: Message) -> Message:
        self.begun.set()
        try:
            return await asyncio.Future()
        finally:
            self.cancelled.set()


async def test_a_cancelled_call_is_cancelled_at_the_other_end() -> None:
    wait = Endless()
    async with linked(wait.answer) as (here, _):
        call = asyncio.create_task(here.call({}))
        await wait.begun.wait()
        call.cancel()
        await asyncio.wait_for(wait.cancelled.wait(), LIMIT)


@asynccontextmanager
async def two_calls() -> AsyncIterator[
    tuple[RpcConnection, list[asyncio.Task[Message]], Callable[[int], None]]
]:
    """An end with two pending calls, and a function that delivers the answer to one at once."""
    heard = asyncio.StreamReader()
    ours, theirs = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    asked, other = await asyncio.open_connection(sock=theirs)
    here = RpcConnection(heard, writer, nothing)
    running = asyncio.create_task(here.run())
    calls = [asyncio.create_task(here.call({})) for _ in range(2)]
    numbers = [(await wire.receive(asked)).header["call"] for _ in calls]
    try:
        yield here, calls, lambda one: heard.feed_data(Message({"answer": numbers[one]}).pack())
    finally:
        heard.feed_eof()
        other.close()
        await running


async def test_an_answer_to_a_call_being_cancelled_does_not_affect_other_calls() -> None:
    async with two_calls() as (_, calls, answer):
        answer(0)
        calls[0].cancel()
        answer(1)
        await calls[1]
        assert calls[0].cancelled()


async def test_closing_during_a_cancellation_answers_other_calls_with_not_ready() -> None:
    async with two_calls() as (here, calls, _):
        calls[0].cancel()
        here.close()
        with pytest.raises(NotReady):
            await calls[1]
        assert calls[0].cancelled()


@pytest.mark.parametrize("unread", [True, False])
async def test_a_peer_that_dies_during_a_send_ends_the_connection_without_error(
    unread: bool,
) -> None:
    ours, theirs = socket.socketpair()
    here = RpcConnection(*await asyncio.open_connection(sock=ours), nothing)
    running = asyncio.create_task(here.run())
    call = asyncio.create_task(here.call({}))
    await settle()
    if not unread:
        theirs.recv(1024)
    theirs.close()
    here.notify({})
    with pytest.raises(NotReady):
        await call
    await running


async def test_closing_one_end_cancels_its_work_and_fails_the_calls_of_the_other() -> None:
    wait = Endless()
    async with linked(wait.answer) as (here, there):
        call = asyncio.create_task(here.call({}))
        await wait.begun.wait()
        there.close()
        with pytest.raises(NotReady):
            await call
        await asyncio.wait_for(wait.cancelled.wait(), LIMIT)
        with pytest.raises(NotReady):
            await here.call({})


@asynccontextmanager
async def front_of(
    core: Core, settings: Settings
) -> AsyncIterator[tuple[RemoteCore, RpcConnection]]:
    """A core as seen by one of its fronts, and the core's end of the connection."""
    session = Session(core, core.healthy, core.render_metrics)
    async with linked(session.answer) as (here, there):
        yield RemoteCore(here, settings, core.info, UNTRACED), there
    await session.close()


async def test_places_are_shared_by_all_fronts_and_freed_when_a_front_disconnects() -> None:
    settings = Settings().with_changes(workers=1, max_videos=1)
    async with (
        Core.open(settings, lambda _: processes.argv(processes.sound)) as core,
        front_of(core, settings) as (one, _),
    ):
        async with front_of(core, settings) as (other, _), one.reserve("video"):
            with pytest.raises(Overloaded):
                await other.reserve("video").__aenter__()
            async with other.reserve("camera"):
                pass
        async with front_of(core, settings) as (other, lost):
            await other.reserve("video").__aenter__()
            with pytest.raises(Overloaded):
                await one.reserve("video").__aenter__()
            lost.close()
        async with one.reserve("video"):
            pass


async def test_an_unknown_operation_is_refused() -> None:
    settings = Settings().with_changes(workers=1)
    async with Core.open(settings, lambda _: processes.argv(processes.sound)) as core:
        session = Session(core, core.healthy, core.render_metrics)
        async with linked(session.answer) as (here, _):
            with pytest.raises(ServiceError):
                await here.call({"op": "fly"})


LARGE = 2**20


@asynccontextmanager
async def unread(
    answer: Answer,
) -> AsyncIterator[tuple[RpcConnection, asyncio.StreamWriter, socket.socket]]:
    """An end whose peer reads nothing by itself, its writer, and the peer's socket."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    here = RpcConnection(reader, writer, answer)
    running = asyncio.create_task(here.run())
    with theirs:
        yield here, writer, theirs
    await running


async def test_calls_wait_in_order_for_a_peer_that_does_not_read_and_fill_no_memory() -> None:
    async with unread(nothing) as (here, writer, theirs):
        calls = [asyncio.create_task(here.call({}, bytes([n]) * LARGE)) for n in range(20)]
        await settle()
        assert writer.transport.get_write_buffer_size() < 2 * LARGE
        for call in calls[1:10]:
            call.cancel()
        await settle()
        asked, other = await asyncio.open_connection(sock=theirs.dup())
        messages = [await wire.receive(asked) for _ in range(11)]
        assert [message.body[0] for message in messages] == [0, *range(10, 20)]
        other.close()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in ended] == [
        NotReady,
        *[asyncio.CancelledError] * 9,
        *[NotReady] * 10,
    ]


async def test_answers_wait_for_a_peer_that_does_not_read_and_fill_no_memory() -> None:
    async def answer(_: Message) -> Message:
        return Message({}, bytes(LARGE))

    async with unread(answer) as (_, writer, theirs):
        for number in range(20):
            theirs.sendall(Message({"call": number}).pack())
        await until(writer.transport.get_write_buffer_size)
        await settle()
        assert writer.transport.get_write_buffer_size() < 2 * LARGE


@pytest.mark.parametrize("dies", [True, False])
async def test_calls_that_wait_for_room_get_not_ready_when_the_connection_ends(dies: bool) -> None:
    async with unread(nothing) as (here, _, theirs):
        calls = [asyncio.create_task(here.call({}, bytes(LARGE))) for _ in range(3)]
        await settle()
        if dies:
            theirs.close()
        else:
            here.close()
        answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), LIMIT)
        assert {type(answer) for answer in answers} == {NotReady}


async def test_both_ends_may_send_more_than_fits_at_once() -> None:
    async def echo(message: Message) -> Message:
        return Message({}, message.body)

    async with linked(echo, echo) as ends:
        calls = [end.call({}, bytes([n]) * LARGE) for n in range(10) for end in ends]
        answers = await asyncio.wait_for(asyncio.gather(*calls), LIMIT)
    assert [answer.body[0] for answer in answers] == [n for n in range(10) for _ in ends]
