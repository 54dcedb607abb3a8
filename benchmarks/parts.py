"""Where a request's CPU time goes within the front-end process: ``python -m benchmarks.parts``.

Each row includes the one above it, with 32 requests in flight. It is the minimum over many rounds,
because disturbances only ever add time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import typer
import uvloop
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from starlette.types import Message, Scope

from benchmarks.pictures import crop
from benchmarks.stub_model import opened
from service import imaging, logs
from service.api.app import create_app
from service.engine import Engine
from service.settings import Settings
from service.traces import Traces

IN_FLIGHT = 32
ROUNDS = 40

Part = Callable[[], Awaitable[object]]


class Sink(SpanExporter):
    """Discards every span."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002  # the SDK's signature
        """Report success."""
        return SpanExportResult.SUCCESS


def parts(engine: Engine, asgi: Callable[..., Awaitable[None]], face: bytes) -> dict[str, Part]:
    """The parts to measure, each including the one before."""

    async def decode() -> None:
        imaging.grey_face(imaging.decode(face, engine.settings.max_pixels))

    async def classify() -> None:
        await engine.classify(face, "whole")

    async def request() -> None:
        body: list[Message] = [{"type": "http.request", "body": face, "more_body": False}]

        async def receive() -> Message:
            if not body:
                await asyncio.Event().wait()  # the client stays connected
            return body.pop()

        await asgi(scope(engine, len(face)), receive, send)

    async def send(_: Message) -> None:
        pass

    return {
        "decode and convert to grey": decode,
        "+ engine: thread pool, if used, batcher and model": classify,
        "+ ASGI: route, body, JSON, metrics, log": request,
    }


def scope(engine: Engine, length: int) -> Scope:
    """A request as uvicorn passes it on."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/classify",
        "raw_path": b"/classify",
        "query_string": b"faces=whole",
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"image/jpeg"),
            (b"content-length", str(length).encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {"engine": engine},
    }


async def cost(part: Part) -> float:
    """CPU time per request over all threads, in microseconds."""
    start = time.process_time()
    await asyncio.gather(*(part() for _ in range(IN_FLIGHT)))
    return (time.process_time() - start) / IN_FLIGHT * 1e6


async def measure() -> dict[str, float]:
    """The cost of every part, with interleaved rounds."""
    settings = Settings().with_changes(workers=1)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Sink()))
    traces = Traces(provider)
    async with opened(settings) as engine, opened(settings, traces) as traced:
        found = parts(engine, create_app(settings), crop())
        *_, followed = parts(traced, create_app(settings, traces=traces), crop()).values()
        found["+ a trace of every request, without its export"] = followed
        costs: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(ROUNDS):
            for name, part in found.items():
                costs[name].append(await cost(part))
    return {name: min(values) for name, values in costs.items()}


def main() -> None:
    """Measure and print."""
    logs.configure(Settings().with_changes(log_format="json"))
    for name, spent in uvloop.run(measure()).items():
        typer.echo(f"{spent:6.0f} us  {name}")


if __name__ == "__main__":
    typer.run(main)
