"""Requests as OpenTelemetry traces; imported only if enabled, as it needs an extra.

The tracer provider is not the global one: a library that finds a global one would trace each
request a second time.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points

from opentelemetry import propagate
from opentelemetry.context import Context, attach, create_key, detach, get_value, set_value
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

import service
from service.errors import TracesUnusable
from service.queues import Entries

MOST_STEPS = 1000
"""Most spans below a request's own; a long video would have millions."""

TRACED = create_key("gimefive.request")


class TracedRequest:
    """A request that is traced.

    Attributes:
        span: the request's own.
        context: the parent context of that span's children.
    """

    def __init__(self, span: Span, parent: Context, epoch: int) -> None:
        """Begin.

        Args:
            span: the request's own.
            parent: the context in which it was started.
            epoch: nanoseconds of the epoch at which the monotonic clock was zero.
        """
        self.span = span
        self.context = set_span_in_context(span, parent)
        self._epoch = epoch
        self._steps = 0

    @property
    def span_context(self) -> SpanContext:
        """The context of the request's span."""
        return self.span.get_span_context()

    @property
    def trace_id(self) -> str:
        """The trace's ID, hexadecimal."""
        return format_trace_id(self.span_context.trace_id)

    @property
    def parent(self) -> str:
        """The request's span as W3C Trace Context writes it."""
        own = self.span_context
        return f"00-{self.trace_id}-{format_span_id(own.span_id)}-{own.trace_flags:02x}"

    def when(self, moment: float) -> int:
        """Nanoseconds of the epoch for a moment of the monotonic clock, in seconds."""
        return self._epoch + int(moment * 1e9)

    def claim_step(self) -> bool:
        """Count a step; False if it may not be written, which the request's span then says."""
        self._steps += 1
        if self._steps <= MOST_STEPS:
            return True
        self.span.set_attribute("gimefive.steps_left_out", self._steps - MOST_STEPS)
        return False

    def answered(self, method: str, route: str | None, status: int, request_id: str | None) -> None:
        """The request was answered."""
        if route:
            self.span.update_name(f"{method} {route}")
            self.span.set_attribute("http.route", route)
        self.span.set_attribute("http.response.status_code", status)
        if request_id:
            self.span.set_attribute("gimefive.request_id", request_id)
        if status >= 500:
            self.failed(str(status))

    def failed(self, kind: str) -> None:
        """The request failed, and not by the client's fault."""
        self.span.set_attribute("error.type", kind)
        self.span.set_status(StatusCode.ERROR)


class Traces:
    """Writes requests, their steps and the batches they went in as spans: a `Tracer`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("gimefive", service.__version__)

    @contextmanager
    def request(
        self, name: str, facts: Mapping[str, AttributeValue], headers: Mapping[str, Sequence[str]]
    ) -> Iterator[TracedRequest]:
        """Trace a request for as long as the context.

        Args:
            name: of its span until its route is known.
            facts: its attributes.
            headers: all of them, by name in lower case; they may continue a trace.
        """
        parent = propagate.extract(headers)
        # All times of a request come from one clock, so that they are in order.
        epoch = time.time_ns() - time.monotonic_ns()
        began = epoch + time.monotonic_ns()
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, facts, start_time=began)
        traced = TracedRequest(span, parent, epoch)
        followed = traced if span.is_recording() else None
        token = attach(set_value(TRACED, followed, traced.context))
        try:
            yield traced
        except Exception as error:
            traced.failed(type(error).__qualname__)
            raise
        finally:
            detach(token)
            span.end(traced.when(time.monotonic()))

    def current(self) -> TracedRequest | None:
        """The current request; None if it is not sampled, or there is none."""
        traced = get_value(TRACED)
        return traced if isinstance(traced, TracedRequest) else None

    def span(self, name: str, began: float, ended: float) -> None:
        """A step was done for the current request."""
        if traced := self.current():
            self._write(traced, name, began, ended)

    def batch_span(
        self, lane: str, entries: Entries, began: float, ended: float, error: Exception | None
    ) -> None:
        """A batch went through a model, or failed there.

        Its span is in the trace of the request that waited longest, with links to all in the batch.
        """
        since: dict[TracedRequest, float] = {}
        for entry in entries:
            if isinstance(entry.traced, TracedRequest):
                since.setdefault(entry.traced, entry.enqueued)
        if not since:
            return
        facts: Mapping[str, AttributeValue] = {
            "gimefive.lane": lane,
            "gimefive.faces": len(entries),
        }
        held = [traced.span_context for traced in since]
        batch = self._write(next(iter(since)), "batch", began, ended, held, facts, error)
        for traced, enqueued in since.items():
            self._write(traced, "queue", enqueued, began)
            self._write(traced, "inference", began, ended, batch, error=error)

    def _write(
        self,
        traced: TracedRequest,
        name: str,
        began: float,
        ended: float,
        links: Sequence[SpanContext] = (),
        facts: Mapping[str, AttributeValue] | None = None,
        error: Exception | None = None,
    ) -> list[SpanContext]:
        """Write a span below a request's, if there is room; gives its context, to link to."""
        if not traced.claim_step():
            return []
        span = self._tracer.start_span(
            name,
            traced.context,
            attributes=facts,
            links=[Link(context) for context in links],
            start_time=traced.when(began),
        )
        if error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR, str(error))
        span.end(traced.when(ended))
        return [span.get_span_context()]


@contextmanager
def exporting(exporters: Sequence[str]) -> Iterator[Traces]:
    """Traces that are exported as the ``OTEL_*`` variables say, and flushed at the end.

    Args:
        exporters: names registered by OpenTelemetry's packages; ``otlp`` is OTLP over HTTP.

    Raises:
        TracesUnusable: there is no such exporter.
    """
    resource = Resource({"service.name": "gimefive", "service.version": service.__version__})
    provider = TracerProvider(resource=resource.merge(OTELResourceDetector().detect()))
    try:
        for name in exporters:
            provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
        yield Traces(provider)
    finally:
        provider.shutdown()


def _exporter(name: str) -> SpanExporter:
    registered = "otlp_proto_http" if name == "otlp" else name
    for found in entry_points(group="opentelemetry_traces_exporter", name=registered):
        exporter: SpanExporter = found.load()()
        return exporter
    raise TracesUnusable(f"OTEL_TRACES_EXPORTER: no exporter named {name} is installed")
