"""The metrics match what clients observed."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import processes
from tests.api import check_counts, explain, png, post, samples, serving
from tests.fakes import POISON
from tests.processes import shut
from tests.waiting import LIMIT, wait_until


def test_metrics_under_load_match_what_clients_counted(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with (
        serving(
            processes.gated, str(gate), queue_items=6, max_frames=6, deadline_ms=1000 * LIMIT
        ) as client,
        ThreadPoolExecutor(7) as pool,
    ):

        def ask(value: int) -> int:
            return post(client, png(value), faces="whole").status_code

        with shut(gate):
            asked = [pool.submit(ask, 1)]
            wait_until(Path(f"{gate}.log").exists)
            asked += [pool.submit(ask, value) for value in (2, 3, POISON, 4, POISON, 5)]
            wait_until(lambda: samples(client)["gimefive_queue_depth{'lane': 'interactive'}"] == 6)
            refused = [ask(6) for _ in range(3)]
        statuses = [each.result() for each in asked] + refused
        text = client.get("/metrics").text
    assert Counter(statuses) == {200: 5, 500: 2, 503: 3}
    check_counts(text, statuses)


def test_durations_are_reported_in_seconds() -> None:
    model = {"model": "gimefive", "version": "1"}
    with serving() as client:
        start = time.perf_counter()
        post(client, png(1), faces="whole")
        explain(client, png(9))
        took = time.perf_counter() - start
        seen = samples(client)
    passes = "gimefive_inference_duration_seconds_sum"
    assert seen[passes + str({"kind": "scores", **model})] == 0.25
    assert seen[passes + str({"kind": "explain", **model})] == 0.5
    assert 0 < seen["gimefive_request_duration_seconds_sum{'route': '/classify'}"] < took
