"""Traces of requests, read from an in-memory exporter."""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from service.api.app import create_app
from service.batching import Batcher
from service.engine import Engine
from service.errors import TracesUnusable
from service.settings import Settings
from service.traces import MOST_STEPS, Traces, exporting
from tests import processes
from tests.api import png, post
from tests.batching.harness import Notes, lane
from tests.fakes import POISON, FakeWorker, face
from tests.served import served

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The example in W3C Trace Context."""
UNSAMPLED = PARENT[:-1] + "0"
STEPS = ("decode", "queue", "inference", "batch")


@dataclass
class Traced:
    """A service and the spans that it exported."""

    client: TestClient
    exporter: InMemorySpanExporter

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def span(self, name: str) -> ReadableSpan:
        (span,) = self.spans(name)
        return span

    def names(self) -> Counter[str]:
        return Counter(span.name for span in self.exporter.get_finished_spans())


def in_memory_traces() -> tuple[Traces, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider), exporter


@contextmanager
def traced(process: Callable[[], None] = processes.sound) -> Iterator[Traced]:
    traces, exporter = in_memory_traces()

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Engine]:
        argv = processes.argv(process)
        async with Engine.open(settings, lambda _: argv, traces) as engine:
            yield engine

    with TestClient(create_app(Settings().with_changes(workers=1), opened, traces)) as client:
        yield Traced(client, exporter)


@pytest.fixture
def service() -> Iterator[Traced]:
    with traced() as service:
        yield service


def context_of(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def linked_ids(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


def attributes_of(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def test_a_request_continues_the_trace_of_its_client(service: Traced) -> None:
    answer = service.client.post(
        "/classify?faces=whole",
        content=png(1),
        headers={"Content-Type": "image/png", "traceparent": PARENT},
    )
    request = service.span("POST /classify")
    assert request.kind is SpanKind.SERVER
    assert request.parent is not None
    assert f"{request.parent.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]
    here = context_of(request)
    told = answer.headers["traceresponse"].split("-")
    assert told[:3] == ["00", f"{here.trace_id:032x}", f"{here.span_id:016x}"]
    assert attributes_of(request) == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "url.path": "/classify",
        "http.route": "/classify",
        "http.response.status_code": 200,
        "gimefive.request_id": answer.headers["X-Request-ID"],
    }
    assert request.status.status_code is StatusCode.UNSET


def test_a_request_without_traceparent_starts_a_trace(service: Traced) -> None:
    post(service.client, png(1), faces="whole")
    assert service.span("POST /classify").parent is None


def test_each_stage_is_a_child_span_within_the_time_of_the_request(service: Traced) -> None:
    photograph = Path(__file__).parent.parent / "examples" / "eileen-collins.jpg"
    answer = post(service.client, photograph.read_bytes(), "image/jpeg")
    assert len(answer.json()["faces"]) == 1
    assert service.names() == Counter(
        ["POST /classify", "decode", "detect", "queue", "batch", "inference"]
    )
    request = service.span("POST /classify")
    order = [request.start_time or 0]
    for name in ("decode", "detect", "queue", "inference"):
        step = service.span(name)
        assert step.parent is not None
        assert step.parent.span_id == context_of(request).span_id
        assert step.start_time is not None
        assert step.end_time is not None
        order += [step.start_time, step.end_time]
    rounding = 1000  # nanoseconds, because times are floats
    assert all(before <= after + rounding for before, after in pairwise(order))
    assert order[-1] <= (request.end_time or 0) + rounding


def test_steps_stay_within_their_request_if_the_process_stalls_at_its_start(
    service: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: read() - 10**9)  # read a second ago
    post(service.client, png(1), faces="whole")
    request, step = service.span("POST /classify"), service.span("decode")
    assert (request.start_time or 0) <= (step.start_time or 0)
    assert (step.end_time or 0) <= (request.end_time or 0)


def test_explain_has_a_draw_span(service: Traced) -> None:
    headers = {"Content-Type": "image/png"}
    service.client.post("/explain?faces=whole", content=png(1), headers=headers)
    assert service.names() == Counter(
        ["POST /explain", "decode", "queue", "batch", "inference", "draw"]
    )
    assert attributes_of(service.span("batch"))["gimefive.lane"] == "explain"


@pytest.mark.anyio
async def test_a_camera_stream_is_one_trace_from_connect_to_close() -> None:
    traces, exporter = in_memory_traces()
    async with served(processes.argv(processes.sound), traces) as (_, url):
        live = f"ws{url.removeprefix('http')}/live?faces=whole"
        async with connect(live, additional_headers={"traceparent": PARENT}) as camera:
            for _frame in range(2):
                await camera.send(png(1))
                await camera.recv()
    steps = list(exporter.get_finished_spans())
    stream = steps.pop()
    assert stream.name == "GET /live"
    assert stream.parent is not None
    assert f"{stream.parent.span_id:016x}" == PARENT.split("-")[2]
    assert attributes_of(stream)["http.response.status_code"] == 101
    assert Counter(step.name for step in steps) == dict.fromkeys(STEPS, 2)
    assert all(step.parent == context_of(stream) for step in steps)


@pytest.mark.anyio
async def test_a_rejected_camera_is_traced_with_its_status() -> None:
    traces, exporter = in_memory_traces()
    async with served(processes.argv(processes.sound), traces) as (_, url):
        live = f"ws{url.removeprefix('http')}/live"
        with pytest.raises(InvalidStatus):
            await connect(live, origin=Origin("https://elsewhere.example"))
    assert attributes_of(exporter.get_finished_spans()[-1])["http.response.status_code"] == 403


@pytest.mark.anyio
async def test_a_request_whose_body_is_not_http_is_traced_with_its_status() -> None:
    traces, exporter = in_memory_traces()
    async with served(processes.argv(processes.sound), traces) as (_, url):
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        writer.write(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\nno number\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    (request,) = exporter.get_finished_spans()
    assert attributes_of(request)["http.response.status_code"] == 400


@pytest.mark.anyio
async def test_requests_in_one_batch_are_linked_to_the_batch_span() -> None:
    traces, exporter = in_memory_traces()
    interactive = lane()
    batcher = Batcher([FakeWorker()], [interactive], Notes(), tracer=traces)

    async def ask(values: list[int]) -> SpanContext:
        with traces.request("POST", {}, {}) as traced:
            await batcher.submit(interactive, [face(value) for value in values])
        return traced.span_context

    asked = list(await asyncio.gather(ask([1, 2]), ask([3])))
    await batcher.close()

    spans = exporter.get_finished_spans()
    (batch,) = [span for span in spans if span.name == "batch"]
    assert attributes_of(batch) == {"gimefive.lane": "interactive", "gimefive.faces": 3}
    assert [link.context for link in batch.links] == asked
    passes = [span for span in spans if span.name == "inference"]
    assert [span.parent for span in passes] == asked
    assert all(link.context == context_of(batch) for span in passes for link in span.links)
    assert len({context_of(batch).trace_id, *(each.trace_id for each in asked)}) == 2


def test_server_failures_are_error_spans_and_client_errors_are_not() -> None:
    with traced(processes.raises) as service:
        post(service.client, png(POISON), faces="whole")
        failed = service.span("POST /classify")
        assert failed.status.status_code is StatusCode.ERROR
        assert attributes_of(failed)["error.type"] == "500"
        for name in ("batch", "inference"):
            step = service.span(name)
            assert step.status.status_code is StatusCode.ERROR
            assert attributes_of(step)["error.type"] == "ModelFailure"
        service.exporter.clear()
        post(service.client, b"hello")
    mistaken = service.span("POST /classify")
    assert mistaken.status.status_code is StatusCode.UNSET
    assert attributes_of(mistaken)["http.response.status_code"] == 400


def test_an_unsampled_request_is_not_recorded(service: Traced) -> None:
    headers = {"Content-Type": "image/png", "traceparent": UNSAMPLED}
    answer = service.client.post("/classify?faces=whole", content=png(1), headers=headers)
    assert answer.headers["traceresponse"].startswith(UNSAMPLED[:36])
    assert service.exporter.get_finished_spans() == ()


def test_probes_are_not_traced(service: Traced) -> None:
    for path in ("/livez", "/readyz", "/startupz", "/metrics"):
        assert "traceresponse" not in service.client.get(path).headers
    assert service.exporter.get_finished_spans() == ()


def test_steps_over_the_limit_are_dropped_and_counted() -> None:
    traces, exporter = in_memory_traces()
    with traces.request("POST", {}, {}):
        for _ in range(MOST_STEPS + 5):
            traces.span("decode", 0.0, 1.0)
    request = exporter.get_finished_spans()[-1]
    assert len(exporter.get_finished_spans()) == MOST_STEPS + 1
    assert attributes_of(request)["gimefive.steps_left_out"] == 5


@pytest.mark.parametrize("names", [["sundial"], ["otlp", "sundial"]])
def test_an_exporter_that_is_not_installed_is_named(names: Sequence[str]) -> None:
    with pytest.raises(TracesUnusable, match="sundial"), exporting(names):
        pass


def test_traces_without_the_extra_tell_what_to_install() -> None:
    script = (
        "import sys; sys.modules['opentelemetry.sdk.trace'] = None\n"
        "from service.cli import app; app(['serve'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "GIMEFIVE_TRACES": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == "gimefive: traces need: pip install 'gimefive[traces]'\n"


def test_without_traces_the_opentelemetry_sdk_is_not_imported() -> None:
    script = "import sys, service.cli; print([n for n in sys.modules if 'opentelemetry.sdk' in n])"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"
