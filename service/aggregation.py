"""Counts of several processes, added up."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Samples: TypeAlias = list[tuple[str, str, dict[str, str], float]]
"""Samples: the metric's name, the sample's, its labels, its value."""

SUMMABLE = ("counter", "histogram")
"""Kinds of metrics of which a front has its part; the others are the core's."""


def samples_of(registry: CollectorRegistry) -> Samples:
    """What was counted in this process."""
    return [
        (metric.name, sample.name, sample.labels, sample.value)
        for metric in registry.collect()
        if metric.type in SUMMABLE
        for sample in metric.samples
    ]


def merged(parts: Iterable[Samples]) -> Samples:
    """Their sum."""
    sums: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
    for part in parts:
        for name, sample, labels, value in part:
            key = name, sample, tuple(labels.items())
            sums[key] = _joined(sample, sums[key], value) if key in sums else value
    return [(name, sample, dict(labels), value) for (name, sample, labels), value in sums.items()]


class Aggregate(Collector):
    """A registry's metrics with the samples of other processes added."""

    def __init__(self, registry: CollectorRegistry, others: Iterable[Samples]) -> None:
        self._registry = registry
        self._samples = merged([samples_of(registry), *others])

    def collect(self) -> Iterator[Metric]:
        """Each metric once."""
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
    """Two processes' values as one; counting began with the first."""
    return min(one, other) if sample.endswith("_created") else one + other
