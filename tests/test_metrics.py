"""What the service counts is what its clients counted."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from prometheus_client.parser import text_string_to_metric_families

from tests import processes
from tests.fakes import POISON
from tests.test_api import explain, png, post, samples, serving


def check_counts(text: str, answers: list[int]) -> None:
    """The metrics say what a client counted that sent nothing but single faces."""
    seen = Counter(answers)
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]

    def total(name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in samples
            if sample.name == f"gimefive_{name}" and labels.items() <= sample.labels.items()
        )

    for status, count in seen.items():
        assert total("requests_total", route="/classify", status=str(status)) == count
    assert total("request_duration_seconds_count", route="/classify") == len(answers)
    assert total("faces_total") == seen[200]
    assert total("rejected_total") == seen[503]
    assert total("batch_size_sum", lane="interactive") == seen[200]
    assert total("queue_duration_seconds_count", lane="interactive") == seen[200]
    assert total("inference_duration_seconds_count") == total("batch_size_count")
    assert total("queue_depth") == total("dropped_total") == 0


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
