"""What the service counts is what its clients counted."""

import time
from concurrent.futures import ThreadPoolExecutor

from tests import processes
from tests.api import check_counts, explain, png, post, samples, serving
from tests.fakes import POISON


def test_under_load_every_number_is_the_clients_own() -> None:
    values = [POISON if number % 7 == 0 else 1 for number in range(80)]
    with serving(processes.raises, queue_items=6) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda value: post(client, png(value), faces="whole"), values))
        text = client.get("/metrics").text
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 500, 503}, "the load brings out every kind of answer"
    check_counts(text, statuses)


def test_what_is_counted_in_seconds_is_in_seconds() -> None:
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
