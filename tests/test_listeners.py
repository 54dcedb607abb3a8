"""Listeners that stop: existing connections are served, and new ones are dropped."""

import socket

import pytest

from service.listeners import drop_new_connections


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_an_early_connection_is_served_and_a_later_one_times_out(
    family: socket.AddressFamily, host: str
) -> None:
    with (
        socket.create_server((host, 0), family=family) as listening,
        socket.create_connection(listening.getsockname()[:2]) as early,
    ):
        drop_new_connections(listening)
        with pytest.raises(TimeoutError):
            socket.create_connection(listening.getsockname()[:2], timeout=0.2)
        early.sendall(b"request")
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.recv(7) == b"request"
            accepted.sendall(b"answer")
            assert early.recv(6) == b"answer"
