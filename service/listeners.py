"""Sockets on which several processes listen at one address, and how listening ends."""

import ctypes
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeAlias

from service.errors import ServiceError

Address: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]
"""A family and an address in it."""

SO_ATTACH_FILTER = 26
"""Linux's socket option, which Python does not name."""

NO_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of the TCP header that holds its flags
        (0x54, 0, 0, 0x12),  # keep SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone?
        (0x06, 0, 0, 0),  # then drop the packet
        (0x06, 0, 0, 0xFFFFFFFF),  # else take all of it
    )
)
"""A classic BPF program, as Linux's networking/filter documentation has it."""


@contextmanager
def listeners(host: str, port: int, count: int) -> Iterator[list[list[socket.socket]]]:
    """For each of `count` processes its sockets, bound to all addresses that `host` has.

    They do not listen yet. The kernel spreads connections over them evenly, by hashing. Were one
    socket shared, whichever process is awake would accept all of a burst.

    Raises:
        ServiceError: the address cannot be had.
    """
    with ExitStack() as stack:
        try:
            addresses = _free(host, port)
            sockets = [
                [stack.enter_context(_bound(*each, shared=True)) for each in addresses]
                for _ in range(count)
            ]
        except OSError as error:
            raise ServiceError(f"cannot listen on {host}, port {port}: {error.strerror}") from error
        yield sockets


def _free(host: str, port: int) -> list[Address]:
    """A host's addresses, if nobody listens there: not even another service that shares."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses: list[Address] = []
    for family, _, _, _, address in found:
        with _bound(family, address, shared=False) as probe:
            addresses.append((family, probe.getsockname()))
    return addresses


def _bound(
    family: socket.AddressFamily, address: tuple[Any, ...], *, shared: bool
) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def drop_new_connections(listening: socket.socket) -> None:
    """Take no new connection; whoever has connected may still be accepted, and served.

    A socket that is closed resets who waits in its queue, after their requests may have been sent.
    Behind this filter the queue can be emptied first. Who knocks now is not answered, tries again
    a second later, and is refused by then. Where there is no such filter, nothing changes.
    """
    program = ctypes.create_string_buffer(NO_SYN)
    length = len(NO_SYN) // struct.calcsize("HBBI")
    with suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET,
            SO_ATTACH_FILTER,
            struct.pack("HP", length, ctypes.addressof(program)),
        )
