"""Several front processes over one model process act as one service, over real HTTP."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.settings import variable
from tests import processes
from tests.api import check_counts, png
from tests.fakes import POISON
from tests.fronts import fronts_of, two_fronts
from tests.processes import shut
from tests.servers import Server, command, listens, wait_for_the_end_of
from tests.waiting import LIMIT, wait_until

ROOM = 32
"""Places in the queue."""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def gated(gate: Path) -> Iterator[Server]:
    """Two fronts whose model answers while the gate is open.

    Before its first answer its duration is unknown, so that no batch is sent ahead.
    """
    with two_fronts(processes.gated, str(gate), queue_items=ROOM, max_frames=16) as server:
        yield server


def ask(server: Server, value: int, **headers: str) -> httpx.Response:
    """Classify a face over a new connection."""
    return httpx.post(
        f"{server.url}/classify",
        params={"faces": "whole"},
        content=png(value),
        headers={"Content-Type": "image/png", **headers},
        timeout=LIMIT,
    )


def metric(server: Server, name: str) -> float:
    text = httpx.get(f"{server.url}/metrics", timeout=LIMIT).text
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == f"gimefive_{name}")


def ask_behind_the_gate(
    server: Server, gate: Path, pool: ThreadPoolExecutor, values: range
) -> list[Future[httpx.Response]]:
    """Send requests, the first of which has reached the model behind the shut gate."""
    log = Path(f"{gate}.log")
    before = log.read_text() if log.exists() else ""
    first = pool.submit(ask, server, values[0])
    wait_until(lambda: log.exists() and log.read_text() != before)
    return [first, *(pool.submit(ask, server, value) for value in values[1:])]


def test_both_fronts_serve_clients_and_each_gets_its_own_answer(gated: Server) -> None:
    def files_of(pid: int) -> int:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))

    before = [files_of(pid) for pid in fronts_of(gated)]
    with ExitStack() as stack, ThreadPoolExecutor(ROOM) as pool:
        clients = [
            stack.enter_context(httpx.Client(base_url=gated.url, timeout=LIMIT))
            for _ in range(ROOM)
        ]

        def classify(value: int) -> float:
            headers = {"Content-Type": "image/png"}
            answer = clients[value].post(
                "/classify", params={"faces": "whole"}, content=png(value), headers=headers
            )
            return float(answer.json()["faces"][0]["scores"]["happiness"])

        assert list(pool.map(classify, range(ROOM))) == list(range(ROOM))
        held = [files_of(pid) for pid in fronts_of(gated)]
        assert len(held) == 2
        assert all(now > then for now, then in zip(held, before, strict=True))


def test_frames_of_a_batch_are_answered_in_order(gated: Server) -> None:
    files = [("files", (str(value), png(value), "image/png")) for value in range(16)]
    answer = httpx.post(
        f"{gated.url}/classify/frames", params={"faces": "whole"}, files=files, timeout=LIMIT
    )
    scores = [frame["faces"][0]["scores"]["happiness"] for frame in answer.json()["frames"]]
    assert scores == list(range(16))


def test_a_front_explains_and_all_processes_end_with_the_supervisor() -> None:
    with two_fronts(processes.sound) as server:
        answer = httpx.post(
            f"{server.url}/explain",
            params={"faces": "whole", "target": "anger", "method": "activations"},
            content=png(7),
            headers={"Content-Type": "image/png", "Accept": "application/json"},
            timeout=LIMIT,
        )
        explanation = answer.json()["explanation"]
        assert explanation["target"] == "anger"
        assert explanation["map"][0][0] == 7
        children = server.workers()
        assert len(children) == 3
        server.process.kill()
        wait_for_the_end_of(children)


def test_the_queue_limit_holds_over_both_fronts(gated: Server, gate: Path) -> None:
    with ThreadPoolExecutor(2 * ROOM) as pool:
        with shut(gate):
            asked = ask_behind_the_gate(gated, gate, pool, range(2 * ROOM))
            refused = []
            for done in as_completed(asked):
                refused.append(done.result())
                if len(refused) == ROOM - 1:
                    break
            assert metric(gated, "queue_depth") == ROOM
        statuses = Counter(done.result().status_code for done in asked)
    assert statuses == {200: ROOM + 1, 503: ROOM - 1}
    assert {answer.status_code for answer in refused} == {503}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)


def test_a_request_of_a_disconnected_client_is_not_computed(gated: Server, gate: Path) -> None:
    before = metric(gated, "dropped_total")
    with ThreadPoolExecutor(1) as pool:
        with shut(gate):
            (first,) = ask_behind_the_gate(gated, gate, pool, range(1, 2))
            host, port = gated.url.removeprefix("http://").split(":")
            body = png(99)
            head = (
                f"POST /classify?faces=whole HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            with socket.create_connection((host, int(port))) as leaving:
                leaving.sendall(head.encode() + body)
                wait_until(lambda: metric(gated, "queue_depth"))
            wait_until(lambda: metric(gated, "dropped_total") > before)
        assert first.result().status_code == 200
    assert "99" not in Path(f"{gate}.log").read_text()


def test_a_killed_front_loses_only_its_own_requests_and_is_replaced(
    gated: Server, gate: Path
) -> None:
    def outcome(asked: Future[httpx.Response]) -> int:
        try:
            return asked.result().status_code
        except httpx.TransportError:
            return 0

    requests = metric(gated, "requests_total")
    with ThreadPoolExecutor(20) as pool:
        with shut(gate):
            asked = ask_behind_the_gate(gated, gate, pool, range(20))
            wait_until(lambda: metric(gated, "queue_depth") == 19)
            os.kill(fronts_of(gated)[0], signal.SIGKILL)
            wait_until(lambda: metric(gated, "front_restarts_total"))
        outcomes = Counter(map(outcome, asked))
    assert set(outcomes) == {0, 200}
    assert metric(gated, "requests_total") > requests, "counts never fall"
    assert {ask(gated, 3).status_code for _ in range(20)} == {200}
    assert len(fronts_of(gated)) == 2


def test_probes_tell_whether_one_front_or_none_can_start_and_pass_once_both_are_back(
    tmp_path: Path,
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(hashed := "me:" + hashlib.sha256(b"key").hexdigest())
    settings = {"keys_file": keys, "ops_port": 0}
    with two_fronts(processes.sound, **settings) as server, httpx.Client(timeout=LIMIT) as client:

        def status(probe: str) -> int:
            return client.get(f"http://127.0.0.1:{server.ops_port}/{probe}").status_code

        keys.write_text("no key")
        one, other = fronts_of(server)
        os.kill(one, signal.SIGKILL)
        wait_until(lambda: status("livez") == 503)
        assert status("readyz") == 200  # the other still serves
        os.kill(other, signal.SIGKILL)
        wait_until(lambda: status("readyz") == 503)
        keys.write_text(hashed)
        wait_until(lambda: status("readyz") == 200)
        wait_until(lambda: status("livez") == 200)  # both fronts are back


def test_metrics_over_both_fronts_match_what_clients_counted() -> None:
    values = [POISON if number % 7 == 0 else 1 for number in range(80)]
    with (
        two_fronts(processes.raises, queue_items=6, max_frames=3) as server,
        ThreadPoolExecutor(16) as pool,
    ):
        answers = list(pool.map(lambda value: ask(server, value), values))
        text = httpx.get(f"{server.url}/metrics", timeout=LIMIT).text
    check_counts(text, [answer.status_code for answer in answers])


def test_shutdown_answers_all_requests_that_both_fronts_accepted(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with (
        two_fronts(processes.gated, str(gate), drain_timeout=LIMIT) as server,
        ThreadPoolExecutor(16) as pool,
    ):
        children = server.workers()
        with shut(gate):
            asked = ask_behind_the_gate(server, gate, pool, range(16))
            wait_until(lambda: metric(server, "queue_depth") == 15)
            server.process.send_signal(signal.SIGTERM)
            with suppress(httpx.TransportError):
                while True:  # until the port is closed
                    httpx.get(f"{server.url}/livez", timeout=LIMIT)
        assert {done.result().status_code for done in asked} == {200}
        assert server.process.wait(LIMIT) == 0
        wait_for_the_end_of(children)


ONE_LATE = (
    "import sys; from service.serve import serve; from service.settings import Settings;"
    "from tests import processes; model = processes.argv(processes.gated, sys.argv[1]);"
    "sys.executable = sys.argv[2]; serve(Settings(), lambda _: model)"
)
"""A service over a gated model, whose fronts another program than Python starts."""


def test_a_signal_before_all_fronts_serve_lets_those_that_do_answer(tmp_path: Path) -> None:
    gate, late, program = (tmp_path / name for name in ("gate", "late", "program"))
    program.write_text(
        f'#!/bin/sh\nmkdir {tmp_path}/first || flock -s {late} true\nexec {sys.executable} "$@"\n'
    )
    program.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"fronts": 2, "workers": 1, "port": port, "deadline_ms": 1000 * LIMIT}
    settings |= dict.fromkeys(("start_timeout", "drain_timeout"), LIMIT)
    with (
        subprocess.Popen(
            [sys.executable, "-c", ONE_LATE, gate, program],
            env={**os.environ, **{variable(name): str(each) for name, each in settings.items()}},
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        server = Server(process, f"http://127.0.0.1:{port}", None, [])
        with shut(late), shut(gate):
            wait_until(lambda: listens(server.url))
            (asked,) = ask_behind_the_gate(server, gate, pool, range(1))
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: not listens(server.url))
        assert asked.result().status_code == 200
        _, log = process.communicate()
    events = [json.loads(line)["event"] for line in log.splitlines() if line.startswith("{")]
    assert "ready" not in events
    assert events[-1] == "ended"
    assert process.returncode == 0


def test_fronts_that_do_not_end_in_time_are_killed_and_the_log_says_so() -> None:
    with two_fronts(processes.sound, drain_timeout=0.1) as server:
        children = server.workers()
        fronts = fronts_of(server)

        def ended() -> bool:
            for front in fronts:
                with suppress(ProcessLookupError):
                    os.kill(front, signal.SIGSTOP)  # again and again: `tests.stall` continues them
            return server.process.poll() is not None

        assert not ended()
        server.process.send_signal(signal.SIGTERM)
        wait_until(ended)
        assert server.process.returncode == 0
        wait_for_the_end_of(children)
    errors = [line for line in map(json.loads, server.log) if line["level"] == "error"]
    assert [(line["event"], line["fronts"]) for line in errors] == [("draining took too long", 2)]


def test_rate_limit_and_readiness_span_both_fronts_and_a_second_signal_ends_them(
    tmp_path: Path,
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"camera:{hashlib.sha256(b'key').hexdigest()}\n")
    limits = {"keys_file": keys, "rate_limit": 0.001, "rate_burst": 5}
    with two_fronts(processes.sound, **limits, drain_delay=2 * LIMIT, ops_port=0) as server:
        operations = f"http://127.0.0.1:{server.ops_port}"

        def probed() -> int:
            return httpx.get(f"{server.url}/readyz", timeout=LIMIT).status_code

        statuses = Counter(ask(server, 1, **{"X-API-Key": "key"}).status_code for _ in range(20))
        assert statuses == {200: 5, 429: 15}
        children = server.workers()
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: {probed() for _ in range(16)} == {503})
        assert httpx.get(f"{operations}/readyz", timeout=LIMIT).status_code == 503
        assert httpx.get(f"{operations}/livez", timeout=LIMIT).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(LIMIT) == 0
        wait_for_the_end_of(children)


def test_an_invalid_keys_file_stops_the_start_and_its_line_is_named(
    tmp_path: Path,
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("no key")
    start = subprocess.run(
        [sys.executable, "-m", "tests.fronts", processes.sound.__name__],
        env={**os.environ, "GIMEFIVE_FRONTS": "2", "GIMEFIVE_WORKERS": "1", "GIMEFIVE_PORT": "0"}
        | {"GIMEFIVE_KEYS_FILE": str(keys)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert start.returncode == 1
    assert f"{keys}, line 1" in start.stderr.splitlines()[-1]


def test_an_address_in_use_stops_the_start_with_a_one_line_error() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = str(taken.getsockname()[1])
        start = subprocess.run(
            command("serve", "--fronts", "2", "--port", port),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    assert start.returncode == 1
    assert start.stderr == (
        f"gimefive: cannot listen on 127.0.0.1, port {port}: Address already in use\n"
    )
