"""The server around the app: start-up checks, signals and the log."""

import json
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from service.errors import ServiceError
from service.serve import serve
from service.settings import Settings
from service.signals import drain_on_signals
from tests import processes, videos
from tests.fronts import fake_model_server
from tests.pictures import encode, quadrants
from tests.served import served
from tests.waiting import LIMIT, until, wait_until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_log_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure no log, as later tests in this process would inherit the configuration."""
    monkeypatch.setattr("service.logs.configure", lambda _: None)


def test_an_address_in_use_is_reported_before_a_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = Settings().with_changes(workers=1, port=other.getsockname()[1])
        with pytest.raises(ServiceError, match="cannot listen"):
            serve(settings, lambda _: pytest.fail("it was"))


def test_a_host_that_cannot_be_a_name_is_reported_before_a_model_is_loaded() -> None:
    with pytest.raises(ServiceError, match=r"cannot listen on a\.\.b: "):
        serve(Settings().with_changes(workers=1, host="a..b"), lambda _: pytest.fail("it was"))


def test_an_operations_port_in_use_is_reported_before_a_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = Settings().with_changes(workers=1, port=0, ops_port=other.getsockname()[1])
        with pytest.raises(ServiceError, match="cannot listen"):
            serve(settings, lambda _: pytest.fail("it was"))


def test_missing_folders_are_reported_before_a_model_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    for changes, told in (
        ({"temp_dir": folder}, "videos cannot be kept in"),
        ({"model_store": folder}, "GIMEFIVE_MODEL_STORE"),
    ):
        settings = Settings().with_changes(workers=1, port=0, **changes)
        folder.rmdir()
        with pytest.raises(ServiceError, match=told):
            serve(settings, lambda _: pytest.fail("it was"))
        folder.mkdir()


def test_an_invalid_certificate_is_reported_before_a_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "tls.pem").write_text("no certificate")
    settings = Settings().with_changes(workers=1, port=0, tls_cert=tmp_path / "tls.pem")
    with pytest.raises(ServiceError, match="cannot be used"):
        serve(settings, lambda _: pytest.fail("it was"))


def test_a_service_with_invalid_keys_never_says_that_it_is_ready(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("no key")
    settings = Settings().with_changes(workers=1, port=0, keys_file=tmp_path / "keys")
    with capture_logs() as log, pytest.raises(ServiceError, match="line 1: not name:sha256"):
        serve(settings, lambda _: processes.argv(processes.sound))
    assert log == []


@pytest.mark.parametrize("fronts", [1, 2])
def test_a_signal_during_model_loading_ends_all_processes(fronts: int) -> None:
    """As the first process of a container, where a signal without a handler is ignored."""
    script = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "from service.serve import serve; from service.settings import Settings;"
        "from tests import processes;"
        f"settings = Settings().with_changes(workers=1, port=0, fronts={fronts});"
        "serve(settings, lambda _: processes.argv(processes.never_gets_ready))"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as running:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        wait_until(children.read_text)
        begun = children.read_text().split()
        running.send_signal(signal.SIGTERM)
        assert running.wait(LIMIT) == 128 + signal.SIGTERM
    assert not [child for child in begun if Path(f"/proc/{child}").exists()]


STOPPED_EARLY = [
    sys.executable,
    "-c",
    "import os, signal; from service import server; from service.serve import serve;"
    "from service.settings import Settings; from tests import processes;"
    "made = server.create_app;"
    "server.create_app = lambda *given: os.kill(os.getpid(), signal.SIGTERM) or made(*given);"
    "settings = Settings().with_changes(workers=1, port=0);"
    "serve(settings, lambda _: processes.argv(processes.sound))",
]
"""A service that gets SIGTERM while its application is made."""


def test_a_signal_while_the_application_is_made_ends_the_service() -> None:
    subprocess.run(STOPPED_EARLY, timeout=LIMIT, check=True)


def test_ending_at_a_second_signal_is_not_logged_as_an_error() -> None:
    with fake_model_server(processes.sound, drain_delay=LIMIT) as it:
        it.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{it.url}/readyz", timeout=LIMIT).status_code == 503)
        it.process.send_signal(signal.SIGTERM)
        assert it.process.wait(LIMIT) == 0
    assert {json.loads(line)["level"] for line in it.log} == {"info"}


def test_the_service_runs_on_when_its_log_cannot_be_written() -> None:
    with Path("/dev/full").open("w") as full:
        subprocess.run(STOPPED_EARLY, stderr=full, timeout=LIMIT, check=True)


def test_a_picture_with_corrupt_exif_data_writes_no_line_of_its_own_to_the_log() -> None:
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x010E, 2, 1000, 1000, 0)
    picture = encode(quadrants(), "JPEG", exif=exif)
    with fake_model_server(processes.sound) as it:
        url, headers = f"{it.url}/classify?faces=whole", {"Content-Type": "image/jpeg"}
        assert httpx.post(url, content=picture, headers=headers, timeout=LIMIT).is_success
        wait_until(lambda: len(it.log) > 1)
    assert [json.loads(line)["event"] for line in it.log] == ["ready", "request"]


async def test_a_signal_handler_defers_its_log_line() -> None:
    """The signal may interrupt the writing of a line, and logging would then deadlock."""
    async with served() as (server, _):
        drain_on_signals(server.drain_or_end)
        with capture_logs() as log:
            signal.raise_signal(signal.SIGTERM)
            assert log == []
            await until(lambda: server.engine.draining)
            assert [line["event"] for line in log] == ["draining"]


def test_the_log_records_a_cut_short_answer_once_and_an_invalid_request() -> None:
    whole = videos.encode(videos.counting(25), "mkv")
    film, form = whole[: len(whole) * 7 // 10], b"--x\r\nno header\r\n--x--"
    with fake_model_server(processes.sound) as it:
        headers = {"Content-Type": "video/x-matroska", "Accept": "text/csv", "X-Request-ID": "a-7"}
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(
                f"{it.url}/classify/video?faces=whole", content=film, headers=headers, timeout=LIMIT
            )
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        refused = httpx.post(f"{it.url}/classify", content=form, headers=kind, timeout=LIMIT)
        assert refused.status_code == 400
        with socket.create_connection(("127.0.0.1", httpx.URL(it.url).port or 0)) as connection:
            connection.sendall(b"no request\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 400"
    log = [json.loads(line) for line in it.log]
    warned = [(line["event"], line.get("id")) for line in log if line["level"] != "info"]
    assert warned == [("answer cut short", "a-7")]
    unmatched = [line for line in log if line.get("route") == "unmatched"]
    assert [(line["status"], line["level"]) for line in unmatched] == [(400, "info")]
