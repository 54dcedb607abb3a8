"""Messages between the processes: lengths, a JSON header and raw bytes.

::

    | header bytes: uint32 | body bytes: uint32 | header: JSON object | body |

The body holds arrays in C order, which the header describes. JSON limits the header's numbers to
finite ones of 64 bits. Nothing is pickled.
"""

import asyncio
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

_LENGTHS = struct.Struct("!II")


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        header: what it is.
        body: its arrays' bytes.
    """

    header: dict[str, Any]
    body: bytes = b""

    def pack(self) -> bytes:
        """The message as bytes."""
        header = orjson.dumps(self.header)
        return b"".join((_LENGTHS.pack(len(header), len(self.body)), header, self.body))


async def receive(stream: asyncio.StreamReader) -> Message:
    """The next message of an asyncio stream.

    Raises:
        asyncio.IncompleteReadError: the stream has ended.
        ValueError: what came is no message.
    """
    header, body = _LENGTHS.unpack(await stream.readexactly(_LENGTHS.size))
    return _message(await stream.readexactly(header), await stream.readexactly(body))


def read(stream: BinaryIO) -> Message | None:
    """The next message of a blocking stream; None if the stream has ended, even midway.

    Raises:
        ValueError: what came is no message.
    """
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    header_bytes, body_bytes = _LENGTHS.unpack(lengths)
    header, body = stream.read(header_bytes), stream.read(body_bytes)
    if len(header) < header_bytes or len(body) < body_bytes:
        return None
    return _message(header, body)


def _message(header: bytes, body: bytes) -> Message:
    fields = orjson.loads(header)
    if not isinstance(fields, dict):
        raise ValueError("the header is no JSON object")
    return Message(fields, body)
