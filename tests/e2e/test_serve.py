"""`gimefive serve` with the real model, over real HTTP."""

import asyncio
import itertools
import os
import shutil
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.servers import ROOT, Server, command, running_server, wait_for_the_end_of
from tests.waiting import LIMIT, wait_until

JPEG = {"Content-Type": "image/jpeg"}


def test_the_smiling_portrait_is_classified_as_happiness(server: Server, photograph: bytes) -> None:
    response = httpx.post(f"{server.url}/classify", content=photograph, headers=JPEG, timeout=LIMIT)
    assert response.status_code == 200
    (face,) = response.json()["faces"]
    assert face["emotion"] == "happiness"
    assert face["confidence"] > 0.8
    assert sum(face["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert face["landmarks"]["right_eye"][0] < face["landmarks"]["left_eye"][0]


def test_concurrent_requests_get_the_same_scores(server: Server, photograph: bytes) -> None:
    with (
        httpx.Client(base_url=server.url, headers=JPEG, timeout=LIMIT) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        answers = list(pool.map(lambda _: client.post("/classify", content=photograph), range(64)))
    assert {answer.status_code for answer in answers} == {200}
    scores = [answer.json()["faces"][0]["scores"] for answer in answers]
    assert all(row == pytest.approx(scores[0], abs=0.02) for row in scores)


def test_explain_reports_the_emotion_and_confidence_of_classify(
    server: Server, photograph: bytes
) -> None:
    with httpx.Client(base_url=server.url, headers=JPEG, timeout=LIMIT) as client:
        (face,) = client.post("/classify", content=photograph).json()["faces"]
        explained = client.post("/explain", content=photograph)
    assert explained.headers["Content-Type"] == "image/png"
    assert explained.headers["X-Emotion"] == face["emotion"]
    assert float(explained.headers["X-Confidence"]) == pytest.approx(face["confidence"], abs=0.05)
    assert explained.headers["X-Map-Empty"] == "false"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_cleanly(sent: signal.Signals) -> None:
    with running_server(workers=1, drain_delay=0.1) as server:
        workers = server.workers()
        assert workers
        server.process.send_signal(sent)
        assert server.process.wait(LIMIT) == 0
        wait_for_the_end_of(workers)


def test_requests_accepted_before_sigterm_are_answered(photograph: bytes) -> None:
    async def ask(server: Server, accepted: asyncio.Barrier, stopped: asyncio.Event) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(server.url).port)
        writer.write(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(photograph)
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await accepted.wait()
        await stopped.wait()
        writer.write(photograph)
        answer = await reader.read()
        writer.close()
        return answer

    async def load(server: Server) -> list[bytes]:
        accepted, stopped = asyncio.Barrier(17), asyncio.Event()
        asking = [asyncio.create_task(ask(server, accepted, stopped)) for _ in range(16)]
        await accepted.wait()
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_until, lambda: refuses(server))
        stopped.set()
        return await asyncio.gather(*asking)

    with running_server(workers=1, client_timeout=LIMIT, drain_timeout=LIMIT) as server:
        answers = asyncio.run(load(server))
        assert server.process.wait(LIMIT) == 0
    assert [answer.partition(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 200 OK"] * 16


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0))


def refuses(server: Server) -> bool:
    """Whether the server accepts no connection any more."""
    try:
        connect(server).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("fronts", [1, 2])
def test_connections_during_shutdown_are_answered_or_refused(fronts: int) -> None:
    async def client(server: Server, answered: asyncio.Barrier) -> None:
        request = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        for number in itertools.count(1):
            try:
                connection = connect(server)
            except ConnectionRefusedError:
                return
            connection.sendall(request)  # at once: the server does not wait for long
            reader, writer = await asyncio.open_connection(sock=connection)
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()
            if number == 1:
                await answered.wait()

    async def run_clients(server: Server) -> None:
        answered = asyncio.Barrier(33)
        async with asyncio.TaskGroup() as clients:
            for _ in range(32):
                clients.create_task(client(server, answered))
            await answered.wait()
            server.process.send_signal(signal.SIGTERM)

    with running_server(workers=1, fronts=fronts) as server:
        asyncio.run(run_clients(server))
        assert server.process.wait(LIMIT) == 0


def test_readiness_fails_first_and_requests_are_served_during_the_drain_delay(
    photograph: bytes,
) -> None:
    with (
        running_server(workers=1, drain_delay=2 * LIMIT) as server,
        httpx.Client(base_url=server.url, headers=JPEG, timeout=LIMIT) as client,
    ):
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/livez").status_code == 200
        assert client.post("/classify", content=photograph).status_code == 200


def test_a_second_signal_ends_the_service_without_waiting_for_open_requests() -> None:
    with running_server(workers=1, client_timeout=2 * LIMIT, drain_delay=2 * LIMIT) as server:
        workers = server.workers()
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as unfinished:
            unfinished.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
            httpx.get(f"{server.url}/livez", timeout=LIMIT)  # by now the other one is accepted
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: httpx.get(f"{server.url}/readyz", timeout=LIMIT).status_code == 503)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(LIMIT) == 0
        wait_for_the_end_of(workers)


def wait_for_both_up(server: Server) -> None:
    """The second model process starts when the service is ready."""
    with httpx.Client(base_url=server.url, timeout=LIMIT) as client:
        wait_until(lambda: "gimefive_worker_up 2.0" in client.get("/metrics").text)


def test_killing_the_front_end_process_ends_the_model_processes() -> None:
    with running_server(workers=2) as server:
        wait_for_both_up(server)
        workers = server.workers()
        assert len(workers) == 2
        server.process.kill()
        wait_for_the_end_of(workers)


def test_a_killed_model_process_is_replaced_while_requests_succeed(photograph: bytes) -> None:
    with (
        running_server(workers=2) as server,
        httpx.Client(base_url=server.url, headers=JPEG, timeout=LIMIT) as client,
    ):
        wait_for_both_up(server)
        os.kill(server.workers()[0], signal.SIGKILL)
        for _ in range(5):
            assert client.post("/classify", content=photograph).status_code == 200
        assert client.get("/livez").status_code == 200
        wait_for_both_up(server)


@pytest.mark.parametrize("damage", ["altered", "truncated", "missing"])
def test_a_damaged_model_artefact_fails_startup_with_one_line(tmp_path: Path, damage: str) -> None:
    store = tmp_path / "model_store"
    shutil.copytree(ROOT / "model_store", store)
    for artefact in store.glob("gimefive/*/model.*.pt"):
        data = artefact.read_bytes()
        match damage:
            case "altered":
                artefact.write_bytes(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
            case "truncated":
                artefact.write_bytes(data[:-1])
            case "missing":
                artefact.unlink()
    ended_start = subprocess.run(
        command("serve", "--port", "0"),
        env={**os.environ, "GIMEFIVE_MODEL_STORE": str(store)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended_start.returncode == 1
    (line,) = ended_start.stderr.splitlines()
    assert line.startswith(f"gimefive: {store}")
    assert ("No such file" if damage == "missing" else "truncated or altered") in line


def test_an_invalid_setting_fails_startup_naming_it() -> None:
    ended_start = subprocess.run(
        command("serve", "--port", "70000"), capture_output=True, text=True, check=False
    )
    assert ended_start.returncode == 2
    assert ended_start.stderr.startswith("gimefive: GIMEFIVE_PORT:")
