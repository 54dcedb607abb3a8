"""Load generators and measurements of the benchmarks."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest
from prometheus_client import generate_latest

from benchmarks.arrivals import HUNG_AFTER, Arrivals, open_loop
from benchmarks.closed import batches
from benchmarks.compare import median
from benchmarks.processes import MARK, Processes
from benchmarks.wrk import LoadResult, Request, closed_loop
from service.metrics import Metrics
from service.records import ModelInfo

REQUEST = Request("/", b"a face")


@contextmanager
def server_answering(*statuses: int) -> Iterator[int]:
    """A server with these statuses in turn, whatever the connection; 0 closes the connection."""
    upcoming = cycle(statuses)

    class Answering(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):
                while self.request.recv(1 << 16):
                    status = next(upcoming)
                    if not status:
                        return
                    head = f"HTTP/1.1 {status} So\r\nContent-Length: 2\r\n\r\nso"
                    self.request.sendall(head.encode())

    with ThreadingTCPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def test_arrivals_counts_requests_by_status_and_computes_percentiles() -> None:
    """By hand: of 1, 2, ... 101 ms the 50th percentile is 51 ms and the 99th 100 ms."""
    accepted = [f"200 {1000 * ms}" for ms in range(1, 102)]
    lines = [*accepted, "429 500", "503 1500", "500 7", "404 7", "0 7", "-1 30000000"]
    result = Arrivals.of(20.0, "\n".join(lines))
    assert (result.requests, result.accepted, result.refused) == (107, 101, 2)
    assert (result.failed, result.hung) == (3, 1)
    assert result.accepted_ms == [51.0, 100.0, 100.9]
    assert result.refused_ms[0] == 1.0


def test_arrivals_without_refusals_have_no_refused_percentiles() -> None:
    assert Arrivals.of(1.0, "200 1000").refused_ms == []


@pytest.mark.skipif(not shutil.which("cc"), reason="this machine has no C compiler")
def test_open_loop_sends_all_requests_and_counts_each_status() -> None:
    with server_answering(200, 429, 503, 500, 0) as port:
        result = open_loop(port, REQUEST, rate=50, seconds=1)
    assert (result.requests, result.accepted, result.refused) == (50, 10, 20)
    assert (result.failed, result.hung) == (20, 0)
    assert 0 < result.accepted_ms[0] < 1000 * HUNG_AFTER


@pytest.mark.skipif(not shutil.which("wrk"), reason="this machine has no wrk")
def test_closed_loop_excludes_refusals_from_the_rate() -> None:
    with server_answering(200, 503, 503, 503) as port:
        result = closed_loop(port, REQUEST, connections=1, seconds=1)
    assert result.refused == result.requests * 3 // 4
    assert result.rate * result.seconds == pytest.approx(result.requests - result.refused)
    assert result.lost == 0


def test_rate_counts_only_successful_answers() -> None:
    assert LoadResult(seconds=2.0, requests=100, refused=40, lost=0, p50=1.0, p99=2.0).rate == 30.0


def test_batches_parses_the_interactive_lane_from_metrics() -> None:
    metrics = Metrics(ModelInfo("gimefive", "1", "fp32", "cpu", "0" * 64, "", 32), [])
    for lane, faces in (("bulk", 32), ("interactive", 3), ("interactive", 5)):
        metrics.batch(lane, [0.0] * faces, 0.01)
    assert batches(generate_latest(metrics.registry).decode()) == (8.0, 2.0)
    assert batches("") == (0.0, 0.0)


def test_median_is_taken_per_entry_and_skips_failed_rounds() -> None:
    rounds = [
        {"rate": 10.0, "loops": {32: {"p50": 1.0, "batch": None}}},
        {"failed": "it did not start"},
        {"rate": 30.0, "loops": {32: {"p50": 2.0, "batch": None}}},
        {"rate": 20.0, "loops": {32: {"p50": 9.0, "batch": None}}},
    ]
    assert median(rounds) == {"rate": 20.0, "loops": {32: {"p50": 2.0, "batch": None}}}
    assert median(rounds[1:2]) == {"failed": "it did not start"}


def test_processes_reports_cpu_time_and_memory(tmp_path: Path) -> None:
    script = (
        "import sys, time; block = b'.' * 50_000_000\n"
        "while time.process_time() < 0.3: pass\n"
        "print(time.process_time(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, MARK: str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        used = float(child.stdout.readline())
        processes = Processes(child.pid, str(tmp_path))
        assert processes.pids() == [child.pid]
        assert processes.cpu_seconds() == pytest.approx(used, abs=0.05)
        assert 50_000_000 < processes.memory() < 80_000_000
        child.stdin.close()
