"""Adding up the metrics of several processes."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Samples: TypeAlias = list[tuple[str, str, dict[str, str], float]]
"""For each sample the metric's name, its own name, its labels and its value."""

SUMMABLE = ("counter", "histogram")
"""Types of metrics that are counted in every process; the others belong to the core."""


def samples_of(registry: CollectorRegistry) -> Samples:
    """The samples of this process."""
    return [
        (metric.name, sample.name, sample.labels, sample.value)
        for metric in registry.collect()
        if metric.type in SUMMABLE
        for sample in metric.samples
    ]


def merged(parts: Iterable[Samples]) -> Samples:
    """The samples of several processes, added up."""
    sums: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
    for part in parts:
        for name, sample, labels, value in part:
            key = name, sample, tuple(labels.items())
            sums[key] = _joined(sample, sums[key], value) if key in sums else value
    return [(name, sample, dict(labels), value) for (name, sample, labels), value in sums.items()]


class Aggregate(Collector):
    """A registry's metrics plus the samples of other processes."""

    def __init__(self, registry: CollectorRegistry, others: Iterable[Samples]) -> None:
        self._registry = registry
        self._samples = merged([samples_of(registry), *others])

    def collect(self) -> Iterator[Metric]:
        """The metrics, each once."""
        for own in self._registry.collect():
            if own.type not in SUMMABLE:
                yield own
                continue
            metric = Metric(own.name, own.documentation, own.type, own.unit)
            for name, sample, labels, value in self._samples:
                if name == own.name:
                    metric.add_sample(sample, labels, value)
            yield metric


def _joined(sample: str, one: float, other: float) -> float:
    """Two processes' values as one; creation times are not added."""
    return min(one, other) if sample.endswith("_created") else one + other
