import asyncio
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import wire
from service.wire import Message

messages = st.builds(
    Message,
    st.dictionaries(
        st.text(),
        st.integers(-(2**63), 2**63 - 1)
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.binary(),
)


@given(st.lists(messages))
def test_a_blocking_reader_returns_the_packed_messages(sent: list[Message]) -> None:
    stream = io.BytesIO(b"".join(message.pack() for message in sent))
    received = list(iter(lambda: wire.read(stream), None))
    assert received == sent


@given(messages)
def test_an_asyncio_reader_returns_the_packed_message(sent: Message) -> None:
    async def round_trip() -> Message:
        stream = asyncio.StreamReader()
        stream.feed_data(sent.pack())
        return await wire.receive(stream)

    assert asyncio.run(round_trip()) == sent


def test_an_asyncio_reader_raises_on_a_truncated_message() -> None:
    async def cut_off() -> None:
        stream = asyncio.StreamReader()
        stream.feed_data(Message({"op": "scores"}, b"1234").pack()[:-1])
        stream.feed_eof()
        await wire.receive(stream)

    with pytest.raises(asyncio.IncompleteReadError):
        asyncio.run(cut_off())


@given(messages, st.data())
def test_a_blocking_reader_treats_a_truncated_message_as_the_end(
    sent: Message, data: st.DataObject
) -> None:
    packed = sent.pack()
    kept = data.draw(st.integers(0, len(packed) - 1))
    assert wire.read(io.BytesIO(packed[:kept])) is None
