"""Prometheus metrics, in a registry of their own."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.aggregation import Aggregate, Samples
from service.records import EMOTIONS, DropReason, ModelInfo, Refusal

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class WatchedWorker(Protocol):
    """What the metrics show of a model process."""

    @property
    def up(self) -> bool:
        """Whether it can be asked now."""

    @property
    def restarts(self) -> int:
        """How often it was replaced."""


class Metrics:
    """All metrics of the service; the batcher's `Observer`."""

    def __init__(self, model: ModelInfo, workers: Sequence[WatchedWorker]) -> None:
        """Make all metrics; those with labels appear once they have a value."""
        self.registry = CollectorRegistry()
        self.registry.register(_Workers(workers))
        self._model = {"model": model.name, "version": model.version}
        requests = self._counter("requests", "Requests answered.", ("route", "method", "status"))
        seconds = self._histogram(
            "request_duration_seconds", "Time to answer a request.", ("route",)
        )
        # Looking up a labelled counter costs more than counting, and every request needs these.
        self._requests = lru_cache(requests.labels)
        self._request_seconds = lru_cache(seconds.labels)
        self._queue_seconds = self._histogram(
            "queue_duration_seconds",
            "Time a face waited for the model.",
            ("model", "version", "lane"),
        )
        self._model_seconds = self._histogram(
            "inference_duration_seconds", "Time of a model pass.", ("model", "version", "kind")
        )
        self._batch_size = Histogram(
            "gimefive_batch_size",
            "Faces in a model pass.",
            ("model", "version", "lane"),
            buckets=BATCH_SIZES,
            registry=self.registry,
        )
        self._depth = self._gauge("queue_depth", "Faces waiting.", ("lane",))
        self._in_progress = self._gauge(
            "in_progress", "Cameras connected, and videos being processed.", ("kind",)
        )
        self._rejected = self._counter(
            "rejected", "Requests refused, and videos ended by a shutdown.", ("reason",)
        )
        self._dropped = self._counter(
            "dropped",
            "Faces, or images not yet decoded, dropped before they were processed.",
            ("reason",),
        )
        self._failed = self._counter(
            "failures", "Faces that the model could not answer for.", ("lane",)
        )
        self._lost_fronts = self._counter(
            "front_restarts", "Times a front-end process was replaced.", ()
        )
        faces = self._counter("faces", "Faces classified.", ("emotion",))
        self._faces = {emotion: faces.labels(emotion) for emotion in EMOTIONS}
        info = ("name", "version", "precision", "device", "sha256")
        self._gauge("model_info", "The model in use.", info).labels(
            **{name: getattr(model, name) for name in info}
        ).set(1)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests(route, method, status).inc()
        self._request_seconds(route).observe(seconds)

    def waiting(self, lane: str, items: int) -> None:
        """So many items wait now."""
        self._depth.labels(lane).set(items)

    def batch(self, lane: str, queue_seconds: Sequence[float], seconds: float) -> None:
        """A batch was answered."""
        kind = "explain" if lane == "explain" else "scores"
        self._batch_size.labels(**self._model, lane=lane).observe(len(queue_seconds))
        self._model_seconds.labels(**self._model, kind=kind).observe(seconds)
        waited = self._queue_seconds.labels(**self._model, lane=lane)
        for wait in queue_seconds:
            waited.observe(wait)

    def in_progress(self, kind: str, count: Callable[[], float]) -> None:
        """Have each scrape ask `count` how many of a kind are in progress."""
        self._in_progress.labels(kind).set_function(count)

    def rejected(self, reason: Refusal) -> None:
        """A request was refused."""
        self._rejected.labels(reason=reason).inc()

    def failed(self, lane: str) -> None:
        """The model could not answer for an item."""
        self._failed.labels(lane).inc()

    def dropped(self, reason: DropReason) -> None:
        """An item was dropped before it was computed."""
        self._dropped.labels(reason=reason).inc()

    def front_lost(self) -> None:
        """A front process ended by itself."""
        self._lost_fronts.inc()

    def classified(self, emotion: str) -> None:
        """A face was classified."""
        self._faces[emotion].inc()

    def text(self, others: Sequence[Samples] = ()) -> bytes:
        """All metrics in Prometheus' text format, including the counts of other processes."""
        return generate_latest(Aggregate(self.registry, others) if others else self.registry)

    def _counter(self, name: str, help_text: str, labels: Sequence[str]) -> Counter:
        return Counter(f"gimefive_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, labels: Sequence[str]) -> Gauge:
        return Gauge(f"gimefive_{name}", help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, labels: Sequence[str]) -> Histogram:
        return Histogram(
            f"gimefive_{name}", help_text, labels, buckets=SECONDS, registry=self.registry
        )


class _Workers(Collector):
    """Reads the workers' state at each scrape."""

    def __init__(self, workers: Sequence[WatchedWorker]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "gimefive_worker_up",
            "Model processes that are up.",
            value=sum(worker.up for worker in self._workers),
        )
        yield CounterMetricFamily(
            "gimefive_worker_restarts",
            "Times a model process was replaced.",
            value=sum(worker.restarts for worker in self._workers),
        )
