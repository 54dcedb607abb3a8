"""Client disconnects over real sockets, while the test keeps the model busy."""

import fcntl
import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests import processes
from tests.fronts import fake_model_server
from tests.waiting import LIMIT, wait_until


@contextmanager
def serving(gate: Path) -> Iterator[int]:
    """The port of a server whose model process is blocked by a gate file."""
    with fake_model_server(processes.explains_at_once, str(gate)) as server:
        yield int(server.url.rpartition(":")[2])


def png(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (64, 64), value).save(out, "PNG")
    return out.getvalue()


def ask(port: int, value: int, path: str = "/classify?faces=whole") -> socket.socket:
    """Send a request without waiting for the answer."""
    body = png(value)
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(
        b"POST %b HTTP/1.1\r\nHost: me\r\nConnection: close\r\nAccept: application/json\r\n"
        b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n%b"
        % (path.encode(), len(body), body)
    )
    return client


def status(client: socket.socket) -> int:
    with client, client.makefile("rb") as answer:
        return int(answer.readline().split()[1])


def metric(port: int, name: str, **labels: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=LIMIT).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"gimefive_{name}" and labels.items() <= sample.labels.items()
    )


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    path = tmp_path / "gate"
    path.with_name("gate.log").touch()
    path.touch()
    return path


def test_requests_of_disconnected_clients_are_dropped_from_the_queue(gate: Path) -> None:
    log = gate.with_name("gate.log")
    with gate.open() as held, serving(gate) as port:
        fcntl.flock(held, fcntl.LOCK_EX)
        computing = ask(port, 1)
        wait_until(lambda: log.read_text() == "[1]\n")
        disconnected, waiting = [ask(port, 2), ask(port, 3)], ask(port, 4)
        wait_until(lambda: metric(port, "queue_depth", lane="interactive") == 3)
        for client in disconnected:
            client.close()
        wait_until(lambda: metric(port, "queue_depth", lane="interactive") == 1)
        fcntl.flock(held, fcntl.LOCK_UN)
        assert [status(computing), status(waiting)] == [200, 200]
        assert metric(port, "dropped_total", reason="cancelled") == 2
        assert metric(port, "requests_total", status="499") == 2
    assert log.read_text() == "[1]\n[4]\n"


def test_a_disconnect_during_an_upload_is_counted_and_the_service_continues(gate: Path) -> None:
    with serving(gate) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(
                b"POST /classify HTTP/1.1\r\nHost: me\r\nContent-Type: image/png\r\n"
                b"Content-Length: 1000\r\n\r\nhalf"
            )
        wait_until(lambda: metric(port, "requests_total", status="499") == 1)
        assert status(ask(port, 1)) == 200


def test_a_disconnect_stops_the_faithfulness_measurement(gate: Path) -> None:
    log = gate.with_name("gate.log")
    with gate.open() as held, serving(gate) as port:
        fcntl.flock(held, fcntl.LOCK_EX)
        client = ask(port, 9, "/explain?faces=whole&faithfulness=true")
        wait_until(lambda: log.read_text() != "" and metric(port, "queue_depth", lane="bulk") > 0)
        client.close()
        wait_until(lambda: metric(port, "queue_depth", lane="bulk") == 0)
        fcntl.flock(held, fcntl.LOCK_UN)
        assert status(ask(port, 4)) == 200
        assert metric(port, "requests_total", status="499") == 1
    *measuring, last = log.read_text().splitlines()
    assert last == "[4]"
    assert len(measuring) == 1
