"""Sockets for several processes to listen on one address, and to stop listening gracefully."""

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
"""The socket option on Linux, which Python lacks."""

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
"""A classic BPF program, as described in Linux's networking/filter documentation."""


@contextmanager
def listeners(host: str, port: int, count: int) -> Iterator[list[list[socket.socket]]]:
    """Sockets for each of `count` processes, bound to all addresses of `host`, not yet listening.

    Each process has its own, over which the kernel spreads connections by hash. If they shared one
    socket, whichever process is awake would accept a whole burst.

    Raises:
        ServiceError: the address cannot be used.
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
        except UnicodeError as error:
            raise ServiceError(f"cannot listen on {host}: this is no name of a host") from error
        yield sockets


def _free(host: str, port: int) -> list[Address]:
    """The addresses of a host, if nobody listens there, not even with SO_REUSEPORT."""
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
    """Have the kernel ignore new connections; those in the backlog can still be accepted.

    Closing a socket resets the connections in its backlog, whose requests may already be sent. With
    this filter the backlog can be emptied first. A client that connects now gets no reply, retries
    after a second, and is refused then. On systems without such filters this does nothing.
    """
    program = ctypes.create_string_buffer(NO_SYN)
    length = len(NO_SYN) // struct.calcsize("HBBI")
    with suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET,
            SO_ATTACH_FILTER,
            struct.pack("HP", length, ctypes.addressof(program)),
        )
