"""Videos through a real server and the real command: disconnects, signals and Ctrl-C."""

import csv
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import processes
from tests.fronts import fake_model_server
from tests.served import open_files
from tests.servers import command, running_server
from tests.videos import counting, encode, moving_portrait
from tests.waiting import LIMIT, wait_until

MP4 = {"Content-Type": "video/mp4"}
FRAMES = 1000
"""In the long video, each with a face."""


@pytest.fixture(scope="module")
def long_video() -> bytes:
    """A video of 40 seconds, far longer than any test processes."""
    return encode(list(moving_portrait(10)) * (FRAMES // 10))


@contextmanager
def watching(port: int, video: bytes, path: str = "/classify/video") -> Iterator[socket.socket]:
    """A client with a small receive buffer that has sent a video."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\n"
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(f"{head}Content-Length: {len(video)}\r\n\r\n".encode() + video)
        yield client


def busy(url: str) -> bool:
    """Whether no other video is accepted."""
    answer = httpx.post(f"{url}/classify/video", content=b"?", headers=MP4, timeout=LIMIT)
    return answer.status_code == 503


def computed(url: str) -> float:
    """How many faces the model has classified or explained."""
    text = httpx.get(f"{url}/metrics", timeout=LIMIT).text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return sum(each.value for each in samples if each.name == "gimefive_batch_size_sum")


def test_a_disconnected_client_releases_its_video_slot(long_video: bytes, tmp_path: Path) -> None:
    with running_server(workers=1, max_videos=1, temp_dir=tmp_path) as server:
        port = int(server.url.rpartition(":")[2])
        for path in ("/classify/video", "/explain/video"):
            before = computed(server.url)
            with watching(port, long_video, path) as client:
                if path == "/classify/video":
                    told = b""
                    while b'{"frame":0' not in told:
                        piece = client.recv(4096)
                        assert piece, "the answer ended before its first frame"
                        told += piece
                wait_until(lambda: busy(server.url))
                assert list(tmp_path.iterdir()) == [], "no name that a crash could leave behind"
            wait_until(lambda: not busy(server.url))
            assert computed(server.url) - before < FRAMES, "the work went on for nobody"


def test_sigterm_ends_a_stream_with_a_not_ready_problem(tmp_path: Path) -> None:
    gate, url, video = tmp_path / "gate", "/classify/video?faces=whole", encode(counting(2))
    with (
        processes.shut(gate),
        fake_model_server(processes.gated, str(gate), drain_timeout=6) as server,
        httpx.stream(
            "POST", f"{server.url}{url}", content=video, headers=MP4, timeout=LIMIT
        ) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        *_, last = [json.loads(line) for line in lines]
        assert server.process.wait(LIMIT) == 0
    assert last["problem"]["type"] == "urn:gimefive:not-ready"


def test_sigkill_during_an_upload_leaves_no_file(long_video: bytes, tmp_path: Path) -> None:
    with running_server(workers=1, temp_dir=tmp_path) as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            head = "POST /classify/video HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\n"
            client.sendall(f"{head}Content-Length: {len(long_video)}\r\n\r\n".encode())
            client.sendall(long_video[:-1])
            wait_until(lambda: open_files(tmp_path, server.process.pid))
            server.process.kill()
            server.process.wait()
    assert list(tmp_path.iterdir()) == []


def test_the_video_command_writes_a_video_and_a_csv_file(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(encode(moving_portrait(12), sound="aac"))
    done = subprocess.run(
        command("video", str(source), "-o", "out.mp4", "--csv", "out.csv", "--every", "4"),
        cwd=tmp_path,
        env={**os.environ, "GIMEFIVE_WORKERS": "1", "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "3 faces in 3 frames" in done.stdout
    assert "happiness" in done.stdout
    with (tmp_path / "out.csv").open() as table:
        assert [row["frame"] for row in csv.DictReader(table)] == ["0", "4", "8"]
    with av.open(str(tmp_path / "out.mp4"), "r") as video:
        assert {stream.type for stream in video.streams} == {"video", "audio"}
        assert len(list(video.decode(video=0))) == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.csv", "out.mp4"]


def begun(folder: Path) -> bool:
    """Whether an output there has its first bytes."""
    return any(path.suffix == ".part" and path.stat().st_size for path in folder.iterdir())


def test_ctrl_c_leaves_no_file(tmp_path: Path, long_video: bytes) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(long_video)
    with subprocess.Popen(
        command("video", str(source), "-o", "out.mp4", "--csv", "out.csv"),
        cwd=tmp_path,
        env={**os.environ, "GIMEFIVE_WORKERS": "1", "PYTHONPATH": str(Path.cwd())},
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_until(lambda: process.poll() is not None or begun(tmp_path))
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
