"""Requests as traces, read where an exporter would get them."""

import asyncio
import os
import subprocess
import sys
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
"""The example of W3C Trace Context."""
UNSAMPLED = PARENT[:-1] + "0"
STEPS = ("decode", "queue", "inference", "batch")


@dataclass
class Traced:
    """A service, and the spans that it wrote."""

    client: TestClient
    exporter: InMemorySpanExporter

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def span(self, name: str) -> ReadableSpan:
        (span,) = self.spans(name)
        return span

    def names(self) -> Counter[str]:
        return Counter(span.name for span in self.exporter.get_finished_spans())


def written_down() -> tuple[Traces, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider), exporter


@contextmanager
def traced(process: Callable[[], None] = processes.sound) -> Iterator[Traced]:
    traces, exporter = written_down()

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


def place(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def linked(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


def facts(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def test_a_request_goes_on_with_the_trace_of_who_asked(service: Traced) -> None:
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
    here = place(request)
    told = answer.headers["traceresponse"].split("-")
    assert told[:3] == ["00", f"{here.trace_id:032x}", f"{here.span_id:016x}"]
    assert facts(request) == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "url.path": "/classify",
        "http.route": "/classify",
        "http.response.status_code": 200,
        "gimefive.request_id": answer.headers["X-Request-ID"],
    }
    assert request.status.status_code is StatusCode.UNSET


def test_a_request_without_a_trace_begins_one(service: Traced) -> None:
    post(service.client, png(1), faces="whole")
    assert service.span("POST /classify").parent is None


def test_each_step_is_a_span_below_the_request_and_within_its_time(service: Traced) -> None:
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
        assert step.parent.span_id == place(request).span_id
        assert step.start_time is not None
        assert step.end_time is not None
        order += [step.start_time, step.end_time]
    rounding = 1000  # nanoseconds: moments are floats
    assert all(before <= after + rounding for before, after in pairwise(order))
    assert order[-1] <= (request.end_time or 0) + rounding


def test_an_explanation_is_drawn_in_a_span_of_its_own(service: Traced) -> None:
    headers = {"Content-Type": "image/png"}
    service.client.post("/explain?faces=whole", content=png(1), headers=headers)
    assert service.names() == Counter(
        ["POST /explain", "decode", "queue", "batch", "inference", "draw"]
    )
    assert facts(service.span("batch"))["gimefive.lane"] == "explain"


@pytest.mark.anyio
async def test_a_camera_is_followed_from_its_first_frame_to_its_last() -> None:
    traces, exporter = written_down()
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
    assert facts(stream)["http.response.status_code"] == 101
    assert Counter(step.name for step in steps) == dict.fromkeys(STEPS, 2)
    assert all(step.parent == place(stream) for step in steps)


@pytest.mark.anyio
async def test_a_camera_that_is_refused_is_traced_with_what_it_was_answered() -> None:
    traces, exporter = written_down()
    async with served(processes.argv(processes.sound), traces) as (_, url):
        live = f"ws{url.removeprefix('http')}/live"
        with pytest.raises(InvalidStatus):
            await connect(live, origin=Origin("https://elsewhere.example"))
    assert facts(exporter.get_finished_spans()[-1])["http.response.status_code"] == 403


@pytest.mark.anyio
async def test_requests_that_share_a_batch_are_linked_by_its_span() -> None:
    traces, exporter = written_down()
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
    assert facts(batch) == {"gimefive.lane": "interactive", "gimefive.faces": 3}
    assert [link.context for link in batch.links] == asked
    passes = [span for span in spans if span.name == "inference"]
    assert [span.parent for span in passes] == asked
    assert all(link.context == place(batch) for span in passes for link in span.links)
    assert len({place(batch).trace_id, *(each.trace_id for each in asked)}) == 2


def test_a_failure_of_the_service_shows_and_a_clients_mistake_does_not() -> None:
    with traced(processes.raises) as service:
        post(service.client, png(POISON), faces="whole")
        failed = service.span("POST /classify")
        assert failed.status.status_code is StatusCode.ERROR
        assert facts(failed)["error.type"] == "500"
        for name in ("batch", "inference"):
            step = service.span(name)
            assert step.status.status_code is StatusCode.ERROR
            assert facts(step)["error.type"] == "ModelFailure"
        service.exporter.clear()
        post(service.client, b"hello")
    mistaken = service.span("POST /classify")
    assert mistaken.status.status_code is StatusCode.UNSET
    assert facts(mistaken)["http.response.status_code"] == 400


def test_what_who_asked_does_not_sample_is_not_recorded(service: Traced) -> None:
    headers = {"Content-Type": "image/png", "traceparent": UNSAMPLED}
    answer = service.client.post("/classify?faces=whole", content=png(1), headers=headers)
    assert answer.headers["traceresponse"].startswith(UNSAMPLED[:36])
    assert service.exporter.get_finished_spans() == ()


def test_probes_leave_no_trace(service: Traced) -> None:
    for path in ("/livez", "/readyz", "/startupz", "/metrics"):
        assert "traceresponse" not in service.client.get(path).headers
    assert service.exporter.get_finished_spans() == ()


def test_a_long_request_stops_writing_steps_and_says_how_many_are_missing() -> None:
    traces, exporter = written_down()
    with traces.request("POST", {}, {}):
        for _ in range(MOST_STEPS + 5):
            traces.span("decode", 0.0, 1.0)
    request = exporter.get_finished_spans()[-1]
    assert len(exporter.get_finished_spans()) == MOST_STEPS + 1
    assert facts(request)["gimefive.steps_left_out"] == 5


@pytest.mark.parametrize("names", [["sundial"], ["otlp", "sundial"]])
def test_an_exporter_that_is_not_installed_is_named(names: Sequence[str]) -> None:
    with pytest.raises(TracesUnusable, match="sundial"), exporting(names):
        pass


def test_without_the_extra_a_wish_for_traces_says_what_to_install() -> None:
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


def test_without_the_wish_nothing_of_the_sdk_is_loaded() -> None:
    script = "import sys, service.cli; print([n for n in sys.modules if 'opentelemetry.sdk' in n])"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"
