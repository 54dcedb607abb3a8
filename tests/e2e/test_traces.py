"""Traces that a collector receives from a running service."""

import gzip
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

import service
from tests.servers import running_server
from tests.waiting import LIMIT


@contextmanager
def collecting() -> Iterator[tuple[str, list[ResourceSpans]]]:
    """The URL of an OTLP/HTTP collector, and the spans that it received."""
    seen: list[ResourceSpans] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                seen.extend(ExportTraceServiceRequest.FromString(body).resource_spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


def test_a_collector_gets_every_span_of_a_request_before_the_service_ends(
    photograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {
        "Content-Type": "image/jpeg",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    with collecting() as (url, seen):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        with running_server(traces=True, workers=1) as server:
            answer = httpx.post(
                f"{server.url}/explain", content=photograph, headers=headers, timeout=LIMIT
            )
            assert answer.status_code == 200
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(LIMIT) == 0
    resources = {
        tuple(sorted((fact.key, fact.value.string_value) for fact in sent.resource.attributes))
        for sent in seen
    }
    assert [dict(facts) for facts in resources] == [
        {
            "deployment.environment.name": "test",
            "service.name": "gimefive",
            "service.version": service.__version__,
        }
    ]
    spans = [span for sent in seen for scope in sent.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in spans} == {"0af7651916cd43dd8448eb211c80319c"}
    request = next(span for span in spans if span.name == "POST /explain")
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    assert sorted(span.name for span in spans if span.parent_span_id == request.span_id) == [
        "batch",
        "decode",
        "detect",
        "draw",
        "inference",
        "queue",
    ]
