"""API keys, rate limits, headers, timeouts and TLS, with the real API over a fake model."""

import asyncio
import os
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from starlette.testclient import WebSocketDenialResponse
from starlette.types import Message
from structlog.testing import capture_logs

from service.api.guard import LEAST_RATE, SlowBodyGuard
from service.api.security import Keys, subprotocol
from service.client import AsyncClient
from service.errors import KeysUnusable, RateLimited, SlowClient, Unauthorised
from service.limits import RateLimiter
from tests.api import KEY, check_problem, line, png, post, rejected, serving
from tests.servers import running_server
from tests.virtual import VirtualLoop
from tests.waiting import LIMIT


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    lines = "# who may ask\n\n" + line("camera", KEY) + line("nightly", "other")
    path.write_text(lines, "utf-8-sig")  # with a byte order mark, as Windows editors write it
    return path


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {KEY}"},
        {"X-API-Key": KEY},
        {"x-api-key": "other"},
    ],
)
def test_a_known_key_is_accepted_and_a_missing_or_wrong_one_gets_401(
    keys_file: Path, headers: dict[str, str]
) -> None:
    with serving(keys_file=keys_file) as client:
        assert client.get("/models", headers=headers).status_code == 200
        assert client.get("/metrics", headers=headers).status_code == 200
        for none in ({}, {"X-API-Key": "wrong"}, {"Authorization": f"Basic {KEY}"}):
            for path in ("/models", "/metrics", "/models/gimefive/card", "/nowhere"):
                refused = client.get(path, headers=none)
                detail = check_problem(refused, 401, "unauthorized")
                assert KEY not in detail
                assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        check_problem(post(client, png()), 401, "unauthorized")


def test_probes_and_open_metrics_need_no_key(keys_file: Path) -> None:
    with serving(keys_file=keys_file, metrics_open=True) as client:
        for path in ("/livez", "/readyz", "/startupz", "/metrics"):
            assert client.get(path).status_code == 200
        assert client.get("/models").status_code == 401


def test_the_page_loads_without_a_key(keys_file: Path) -> None:
    with serving(keys_file=keys_file) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert page.headers.get_list("X-Frame-Options") == ["DENY"]
        files = re.findall(r'"/?(web/[^"]+\.js)"', page.text)
        assert files
        assert all(client.get(f"/{file}").status_code == 200 for file in files)


def test_the_api_docs_load_without_a_key_and_describe_authentication(
    keys_file: Path,
) -> None:
    with serving(keys_file=keys_file) as client:
        assert client.get("/docs").status_code == 200
        assert client.get("/docs/start.js").status_code == 200
        document = client.get("/openapi.json").json()
        for named in document["security"]:
            (scheme,) = (document["components"]["securitySchemes"][name] for name in named)
            headers = (
                {"Authorization": f"{scheme['scheme']} {KEY}"}
                if scheme["type"] == "http"
                else {scheme["name"]: KEY}
            )
            assert client.get("/models", headers=headers).status_code == 200


def test_without_a_keys_file_no_key_is_required() -> None:
    with serving() as client:
        assert client.get("/models").status_code == 200
        assert "security" not in client.get("/openapi.json").json()


def test_a_websocket_without_a_key_gets_the_same_401(keys_file: Path) -> None:
    with serving(keys_file=keys_file) as client:
        camera = client.websocket_connect("/live", headers={"X-Request-ID": "camera-1"})
        with pytest.raises(WebSocketDenialResponse) as refused, camera:
            pass
        assert refused.value.status_code == 401
        assert refused.value.headers["X-Request-ID"] == "camera-1"
        assert refused.value.json()["request_id"] == "camera-1"
        assert refused.value.json()["type"] == "urn:gimefive:unauthorized"
        assert refused.value.headers["X-Content-Type-Options"] == "nosniff"


def test_a_key_in_the_websocket_subprotocol_is_accepted_and_selected(keys_file: Path) -> None:
    scope = {"headers": [], "subprotocols": ["chat", f"gimefive.key.{KEY}"]}
    assert Keys(keys_file).authenticate(scope) == "camera"
    assert subprotocol(scope) == f"gimefive.key.{KEY}"
    assert subprotocol({"subprotocols": ["chat"]}) is None


def key_scope(key: str) -> dict[str, object]:
    return {"headers": [(b"x-api-key", key.encode())]}


def test_a_key_may_have_characters_outside_ascii(tmp_path: Path) -> None:
    keys_file = tmp_path / "keys"
    keys_file.write_text(line("kamera", "Schlüssel €"))
    assert Keys(keys_file).authenticate(key_scope("Schlüssel €")) == "kamera"


def test_a_changed_keys_file_takes_effect_and_an_invalid_one_is_ignored(keys_file: Path) -> None:
    keys = Keys(keys_file)
    keys_file.write_text(line("camera", "new key"))
    assert keys.authenticate(key_scope("new key")) == "camera"
    with pytest.raises(Unauthorised):
        keys.authenticate(key_scope(KEY))
    keys_file.write_text("no key at all")
    assert keys.authenticate(key_scope("new key")) == "camera"
    keys_file.unlink()
    assert keys.authenticate(key_scope("new key")) == "camera"
    keys_file.write_text("")
    with pytest.raises(Unauthorised):
        keys.authenticate(key_scope("new key"))


def test_a_missing_keys_file_is_logged_once_and_read_when_it_returns(
    keys_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = Keys(keys_file)
    content = keys_file.read_text()
    keys_file.unlink()
    for _ in range(3):
        assert keys.authenticate(key_scope(KEY)) == "camera"
    assert capsys.readouterr().out.count("the keys file is unusable") == 1
    keys_file.write_text(content.replace("camera", "door"))
    assert keys.authenticate(key_scope(KEY)) == "door"


def test_each_disappearance_of_the_keys_file_is_logged_and_so_is_each_return(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume, away = tmp_path / "volume", tmp_path / "away"
    volume.mkdir()
    (volume / "keys").write_text(line("camera", KEY))
    keys = Keys(volume / "keys")
    for _ in range(2):
        volume.rename(away)
        assert keys.authenticate(key_scope(KEY)) == "camera"
        away.rename(volume)
        assert keys.authenticate(key_scope(KEY)) == "camera"
    log = capsys.readouterr().out
    assert (log.count("the keys file is unusable"), log.count("keys read")) == (2, 2)


def test_a_keys_file_is_read_again_once_a_passing_error_is_over(
    keys_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(keys_file)
    keys_file.write_text(line("camera", "new key"))

    def fail(*_: object) -> str:
        raise OSError("stale file handle")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_text", fail)
        assert keys.authenticate(key_scope(KEY)) == "camera"
    assert keys.authenticate(key_scope("new key")) == "camera"


def test_an_empty_keys_file_refuses_everybody(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    with serving(keys_file=tmp_path / "keys") as client:
        refused = client.get("/models", headers={"X-API-Key": KEY})
        check_problem(refused, 401, "unauthorized")
        check_problem(client.get("/models", headers={"X-API-Key": ""}), 401, "unauthorized")


def test_a_keys_file_changed_without_a_new_mtime_takes_effect(keys_file: Path) -> None:
    keys, before = Keys(keys_file), keys_file.stat()
    keys_file.write_text(
        keys_file.read_text().replace(line("camera", KEY), line("camera", "new key"))
    )
    os.utime(keys_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    while keys_file.stat().st_ctime_ns == before.st_ctime_ns:  # until the file system's clock ticks
        os.utime(keys_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert keys_file.stat().st_size == before.st_size
    assert keys.authenticate(key_scope("new key")) == "camera"


@pytest.mark.parametrize("content", ["camera", "camera:abc", "a b:" + "0" * 64, "camera=" + KEY])
def test_an_invalid_keys_line_is_reported_by_number_without_its_content(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "keys"
    path.write_text("# one\n" + content)
    with pytest.raises(KeysUnusable, match="line 2") as unusable:
        Keys(path)
    assert KEY not in str(unusable.value)


def test_a_keys_file_missing_at_startup_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeysUnusable, match=str(tmp_path)):
        Keys(tmp_path / "keys")


def test_the_rate_limiter_allows_a_burst_and_then_its_rate_per_key() -> None:
    now = 0.0
    rate = RateLimiter(2, burst=3, clock=lambda: now)
    for _ in range(3):
        rate.take("camera")
    with pytest.raises(RateLimited) as limited:
        rate.take("camera")
    assert limited.value.retry_after == 0.5
    rate.take("nightly")
    now = 0.25
    with pytest.raises(RateLimited) as limited:
        rate.take("camera")
    assert limited.value.retry_after == 0.25
    now = 0.5
    rate.take("camera")
    with pytest.raises(RateLimited):
        rate.take("camera")
    now = 1000
    for _ in range(3):
        rate.take("camera")
    with pytest.raises(RateLimited):
        rate.take("camera")


def test_rejected_attempts_do_not_delay_the_refill_of_the_rate_limiter() -> None:
    now = 0.0
    rate = RateLimiter(2, burst=1, clock=lambda: now)
    rate.take("camera")
    for now in (0.25, 0.484375):
        with pytest.raises(RateLimited) as limited:
            rate.take("camera")
        assert limited.value.retry_after == 0.5 - now
    now = 0.5
    rate.take("camera")


def test_rate_limits_apply_to_cameras_and_wrong_keys_still_get_401(keys_file: Path) -> None:
    with serving(keys_file=keys_file, rate_limit=0.01, rate_burst=1, metrics_open=True) as client:
        wrong, camera = {"X-API-Key": "wrong"}, {"X-API-Key": KEY}
        for _ in range(3):
            check_problem(client.get("/models", headers=wrong), 401, "unauthorized")
        assert client.get("/models", headers=camera).status_code == 200
        refused = client.websocket_connect("/live?faces=whole", headers=camera)
        with capture_logs() as log, pytest.raises(WebSocketDenialResponse) as told, refused:
            pass
        assert told.value.status_code == 429
        assert [(one["event"], one["key"]) for one in log] == [("camera refused", "camera")]
        check_problem(client.get("/nowhere", headers=camera), 429, "rate-limited")
        check_problem(client.get("/models", headers=wrong), 401, "unauthorized")
        assert client.get("/metrics", headers=camera).status_code == 200
        assert rejected(client) == {"rate_limited": 2}


def test_the_log_has_the_name_of_the_key_and_never_the_key(keys_file: Path) -> None:
    with serving(keys_file=keys_file) as client, capture_logs() as log:
        client.get("/models", headers={"X-API-Key": KEY})
        client.get("/models", headers={"X-API-Key": "wrong"})
    asked = [line for line in log if line["event"] == "request"]
    assert [(line["status"], line.get("key")) for line in asked] == [(200, "camera"), (401, None)]
    assert KEY not in str(log)


def test_a_key_over_its_rate_gets_429_with_retry_after(keys_file: Path) -> None:
    with serving(keys_file=keys_file, rate_limit=0.01, rate_burst=1) as client:
        camera, nightly = {"X-API-Key": KEY}, {"X-API-Key": "other"}
        assert client.get("/models", headers=camera).status_code == 200
        refused = client.get("/models", headers=camera)
        check_problem(refused, 429, "rate-limited")
        assert 90 <= int(refused.headers["Retry-After"]) <= 100
        assert client.get("/models", headers=nightly).status_code == 200
        assert client.get("/readyz", headers=camera).status_code == 200


def test_every_response_has_security_headers_and_no_server_header(keys_file: Path) -> None:
    with serving() as client, serving(keys_file=keys_file) as locked:
        for response in (client.get("/models"), client.get("/nowhere"), locked.get("/models")):
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert "Server" not in response.headers


def test_cors_headers_are_sent_only_to_configured_origins() -> None:
    preflight = {
        "Origin": "https://lab.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key",
    }
    with serving() as client:
        assert "Access-Control-Allow-Origin" not in client.get("/models", headers=preflight).headers
    with serving(cors_origins="https://lab.example, https://other.example") as client:
        allowed = client.options("/classify", headers=preflight)
        assert allowed.status_code == 200
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://lab.example"
        answer = client.get("/models", headers={"Origin": "https://lab.example"})
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"X-Emotion", "X-Failed-Frames", "X-Map-Place"} <= set(exposed)
        stranger = client.get("/models", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in stranger.headers


def test_a_draining_service_sends_connection_close() -> None:
    with serving() as client:
        assert "Connection" not in client.get("/models").headers
        client.app_state["engine"].draining = True
        assert client.get("/models").headers["Connection"] == "close"


class Client:
    """Sends pieces of a body, each after a delay."""

    def __init__(self, pieces: list[tuple[float, int]]) -> None:
        self._pieces = pieces

    async def receive(self) -> Message:
        if not self._pieces:
            await asyncio.Event().wait()
        seconds, size = self._pieces.pop(0)
        await asyncio.sleep(seconds)
        return {"type": "http.request", "body": b"." * size, "more_body": bool(self._pieces)}


def receive_all(client: Client, grace: float) -> int:
    async def run() -> int:
        guard = SlowBodyGuard(client.receive, grace, asyncio.get_running_loop().time)
        size, more = 0, True
        while more:
            message = await guard.receive()
            size, more = size + len(message["body"]), message["more_body"]
        return size

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


def test_a_slow_upload_is_accepted_if_its_bytes_earn_the_time() -> None:
    assert receive_all(Client([(9, 1000), (0.5, 0)]), grace=10) == 1000
    fast_enough = [(1.0, 2 * LEAST_RATE)] * 20 + [(15.0, 0)]
    assert receive_all(Client(fast_enough), grace=10) == 40 * LEAST_RATE


def test_time_earned_by_a_fast_upload_is_capped() -> None:
    fast = [(0.1, 1000 * LEAST_RATE)] * 3
    assert receive_all(Client([*fast, (29.0, 0)]), grace=10) == 3000 * LEAST_RATE
    with pytest.raises(SlowClient):
        receive_all(Client([*fast, (31.0, 0), (0.1, 0)]), grace=10)


@pytest.mark.parametrize("pieces", [[(6, 1), (6, 1), (1, 1)], [(1.0, 100)] * 12])
def test_a_trickling_body_raises_slow_client(pieces: list[tuple[float, int]]) -> None:
    with pytest.raises(SlowClient):
        receive_all(Client(pieces), grace=10)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 "
        f"-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout {path} -out {path}.crt"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture(scope="module")
def tls_server(certificate: Path) -> Iterator[tuple[int, int]]:
    """The port and the operations port of a TLS server with a short client timeout.

    It is longer than a busy machine may keep a client from sending what it is about to send.
    """
    with running_server(
        "https", workers=1, ops_port=0, tls_cert=certificate, client_timeout=5
    ) as server:
        assert server.ops_port
        yield int(server.url.rpartition(":")[2]), server.ops_port


def test_tls_is_served_when_a_certificate_is_configured(
    tls_server: tuple[int, int], certificate: Path
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    url = f"https://localhost:{tls_server[0]}/models"
    response = httpx.get(url, verify=trusting, timeout=LIMIT)
    assert response.status_code == 200
    assert "server" not in response.headers


@pytest.mark.anyio
async def test_the_client_streams_a_camera_over_tls(
    tls_server: tuple[int, int], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def frames() -> AsyncIterator[bytes]:
        yield png(1)

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with AsyncClient(f"https://localhost:{tls_server[0]}") as client:
        (answer,) = [answer async for answer in client.live(frames(), faces="whole")]
    assert answer.faces


def test_the_operations_port_serves_only_probes_and_metrics(
    tls_server: tuple[int, int],
) -> None:
    with httpx.Client(base_url=f"http://localhost:{tls_server[1]}", timeout=LIMIT) as client:
        for path in ("/livez", "/readyz", "/startupz"):
            assert client.get(path).status_code == 200
        assert "gimefive_worker_up 1.0" in client.get("/metrics").text
        for path in ("/models", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 404


@pytest.mark.anyio
async def test_clients_that_never_finish_a_message_are_disconnected(
    tls_server: tuple[int, int],
) -> None:
    """All at the same time, as each is given five seconds."""

    async def keep_waiting(finished: bytes, unfinished: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", tls_server[1])
        with closing(writer):
            async with asyncio.timeout(LIMIT):
                if finished:
                    writer.write(finished)
                    await reader.readuntil(b'{"live":true}')
                writer.write(unfinished)
                assert await reader.read() == b""

    head = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
    async with asyncio.TaskGroup() as clients:
        for finished, unfinished in (
            (b"", b""),
            (b"", head + b"X-Slow: "),
            (head + b"\r\n", b"\r\n"),
            (head + b"Content-Length: 1000000\r\n\r\n", b"."),
        ):
            clients.create_task(keep_waiting(finished, unfinished))


def test_a_client_that_stalls_in_its_body_gets_408_and_is_disconnected(
    tls_server: tuple[int, int], certificate: Path
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection(("127.0.0.1", tls_server[0]), timeout=LIMIT) as plain,
        trusting.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            b"Content-Length: 1000\r\n\r\n..."
        )
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"urn:gimefive:slow-client" in answer
