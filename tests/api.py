"""The API over a fake model: requests to it and checks of its responses."""

import hashlib
import io
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from fastapi.testclient import TestClient
from httpx2 import Response
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message, Receive

from service.api.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests import processes

Process = Callable[[], None]

KEY = "correct horse"


def png(value: int = 0, size: tuple[int, int] = (64, 64)) -> bytes:
    out = io.BytesIO()
    Image.new("L", size, value).save(out, "PNG")
    return out.getvalue()


@asynccontextmanager
async def _open(settings: Settings, model: Sequence[str]) -> AsyncIterator[Engine]:
    async with Engine.open(settings, lambda _: model) as engine:
        yield engine


@contextmanager
def serving(
    process: Process = processes.sound, *arguments: str, **changes: object
) -> Iterator[TestClient]:
    settings = Settings().with_changes(**{"workers": 1, **changes})
    with TestClient(
        create_app(settings, partial(_open, model=processes.argv(process, *arguments)))
    ) as client:
        yield client


def post(client: TestClient, body: bytes, kind: str = "image/png", **query: Any) -> Response:  # noqa: ANN401  # any value of a query
    return client.post("/classify", content=body, headers={"Content-Type": kind}, params=query)


def said(
    client: TestClient, path: str, headers: Mapping[str, str], receive: Receive
) -> list[Message]:
    """The ASGI messages sent in response to a request whose body comes from `receive`."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "state": dict(client.app_state),
    }
    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    return sent


def explain(client: TestClient, body: bytes, accept: str = "*/*", **query: Any) -> Response:  # noqa: ANN401  # any value of a query
    headers = {"Content-Type": "image/png", "Accept": accept}
    return client.post(
        "/explain", content=body, headers=headers, params={"faces": "whole", **query}
    )


def rejected(client: TestClient) -> dict[str, float]:
    """The number of rejections per reason, read from the metrics."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [
        s for family in families for s in family.samples if s.name.endswith("rejected_total")
    ]
    return {sample.labels["reason"]: sample.value for sample in samples}


def samples(client: TestClient) -> dict[str, float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        sample.name + str(dict(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def check_problem(response: Response, status: int, slug: str) -> str:
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail", "request_id"}
    assert problem["type"] == f"urn:gimefive:{slug}"
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert "Traceback" not in problem["detail"]
    return str(problem["detail"])


def check_counts(text: str, answers: list[int]) -> None:
    """Check that the metrics match the statuses that a client got for single faces."""
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
    assert total("failures_total", lane="interactive") == seen[500]
    assert total("batch_size_sum", lane="interactive") == seen[200]
    assert total("queue_duration_seconds_count", lane="interactive") == seen[200]
    assert total("inference_duration_seconds_count") == total("batch_size_count")
    assert total("queue_depth") == total("dropped_total") == 0


def line(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}\n"
